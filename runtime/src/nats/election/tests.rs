use proptest::prelude::*;

use super::campaign::Before;
use super::*;

const TERM: Duration = Duration::from_secs(60);

fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

fn campaign(caution: Caution) -> Campaign {
    let settings = Settings {
        caution,
        ..Settings::new("e", "c")
    };
    Campaign::new(TERM, &settings).unwrap()
}

fn begun(revision: u64, after_release: bool) -> Term {
    let before = if after_release {
        Before::Released
    } else {
        Before::Nothing
    };
    Term::Begun { revision, before }
}

#[test]
fn terms_are_as_long_as_choria_allows() {
    let settings = Settings::new("e", "c");
    for (term, fits) in [
        (Duration::from_millis(999), false),
        (seconds(1), true),
        (seconds(3600), true),
        (seconds(3601), false),
        (Duration::ZERO, false),
    ] {
        assert_eq!(Campaign::new(term, &settings).is_ok(), fits, "{term:?}");
    }
}

#[test]
fn a_cautious_leader_acts_after_three_quarters_of_a_term() {
    let mut campaign = campaign(Caution::Full);
    campaign.answered(begun(5, false), seconds(0), seconds(0));
    assert!(!campaign.is_leader(seconds(1)));
    for at in [15, 30] {
        let renewed = Term::Renewed { revision: 5 + at };
        campaign.answered(renewed, seconds(at), seconds(at));
        assert!(!campaign.is_leader(seconds(at)));
    }
    campaign.answered(Term::Renewed { revision: 50 }, seconds(45), seconds(45));
    assert!(campaign.is_leader(seconds(45)));
    assert_eq!(campaign.revision(), Some(50));
}

#[test]
fn a_released_key_is_acted_on_at_once_as_is_any_without_caution() {
    let mut cautious = campaign(Caution::Full);
    cautious.answered(begun(5, true), seconds(0), seconds(0));
    assert!(cautious.is_leader(seconds(0)));
    let mut hasty = campaign(Caution::None);
    hasty.answered(begun(5, false), seconds(0), seconds(0));
    assert!(hasty.is_leader(seconds(0)));
}

#[test]
fn caution_after_a_deletion_waits_only_after_a_deletion() {
    let caution = Caution::AfterDeletion(Duration::from_millis(800));
    for (before, at_once) in [
        (Before::Nothing, true),
        (Before::Released, true),
        (Before::Deleted, false),
    ] {
        let mut campaign = campaign(caution);
        let begun = Term::Begun {
            revision: 5,
            before,
        };
        campaign.answered(begun, seconds(0), seconds(0));
        assert_eq!(campaign.is_leader(seconds(0)), at_once, "{before:?}");
        let renewed = |revision| Term::Renewed { revision };
        campaign.answered(renewed(6), Duration::from_millis(400), seconds(1));
        assert_eq!(campaign.is_leader(seconds(1)), at_once, "{before:?}");
        campaign.answered(renewed(7), Duration::from_millis(800), seconds(1));
        assert!(campaign.is_leader(seconds(1)), "{before:?}");
    }
}

#[test]
fn a_leader_renews_as_often_as_it_is_told_but_never_too_late() {
    for (interval, wait) in [
        (None, seconds(15)),
        (Some(Duration::from_millis(400)), Duration::from_millis(400)),
        (Some(seconds(30)), seconds(15)),
    ] {
        let settings = Settings {
            leader_interval: interval,
            ..Settings::new("e", "c")
        };
        let mut campaign = Campaign::new(TERM, &settings).unwrap();
        campaign.answered(begun(1, false), Duration::ZERO, Duration::ZERO);
        assert_eq!(campaign.wait(0.7), wait);
    }
}

#[test]
fn a_leader_without_answers_asks_again_until_its_term_is_over() {
    let mut campaign = campaign(Caution::None);
    campaign.answered(begun(5, false), seconds(0), seconds(0));
    let unclear = || Term::Unclear("timeout".to_owned());
    assert_eq!(
        campaign.answered(unclear(), seconds(15), seconds(20)),
        "unclear"
    );
    assert_eq!(campaign.revision(), Some(5));
    assert!(campaign.is_leader(seconds(44)));
    assert!(!campaign.is_leader(seconds(45)));
    assert_eq!(
        campaign.answered(unclear(), seconds(40), seconds(45)),
        "lost"
    );
    assert_eq!(campaign.revision(), None);
}

#[test]
fn a_leader_whose_key_was_taken_stands_down_at_once() {
    let mut campaign = campaign(Caution::None);
    campaign.answered(begun(5, false), seconds(0), seconds(0));
    assert_eq!(
        campaign.answered(Term::HeldByOther, seconds(15), seconds(15)),
        "lost"
    );
    assert!(!campaign.is_leader(seconds(15)));
}

fn outcomes() -> impl Strategy<Value = Term> {
    prop_oneof![
        (1u64..1000, any::<bool>()).prop_map(|(revision, released)| begun(revision, released)),
        (1u64..1000).prop_map(|revision| Term::Renewed { revision }),
        Just(Term::HeldByOther),
        Just(Term::Unclear("timeout".to_owned())),
    ]
}

proptest! {
    /// Whatever the broker says, a leader's belief ends before the broker forgets its key.
    #[test]
    fn nobody_leads_longer_than_the_key_lives(
        steps in prop::collection::vec((outcomes(), 0u64..40_000, 0u64..15_000, any::<bool>()), 1..60),
        caution in prop_oneof![
            Just(Caution::Full),
            Just(Caution::None),
            Just(Caution::AfterDeletion(seconds(1))),
        ],
    ) {
        let mut campaign = campaign(caution);
        let mut now = Duration::ZERO;
        let mut last_written = None;
        for (outcome, pause, round_trip, _) in steps {
            now += Duration::from_millis(pause);
            let sent = now;
            now += Duration::from_millis(round_trip);
            if matches!(outcome, Term::Begun { .. } | Term::Renewed { .. }) {
                last_written = Some(sent);
            }
            campaign.answered(outcome, sent, now);
            for later in [0, 10, 30, 44, 45, 59, 60, 120] {
                let at = now + seconds(later);
                if campaign.is_leader(at) {
                    prop_assert!(campaign.revision().is_some());
                    prop_assert!(last_written.is_some_and(|written| at < written + TERM));
                }
            }
        }
    }

    #[test]
    fn waits_are_bounded(chance in -1.0f64..2.0, holds in any::<bool>()) {
        let mut campaign = campaign(Caution::Full);
        if holds {
            campaign.answered(begun(1, false), Duration::ZERO, Duration::ZERO);
        }
        let wait = campaign.wait(chance);
        prop_assert!(wait >= Duration::from_millis(2500) && wait <= seconds(15));
    }
}
