//! The rules of an election, without a clock and without a broker.

use std::time::Duration;

use super::{Caution, Settings};

/// Bounds that Choria sets for the length of a term.
const SHORTEST_TERM: Duration = Duration::from_secs(1);
const LONGEST_TERM: Duration = Duration::from_secs(3600);
const LONGEST_CANDIDATE_INTERVAL: Duration = Duration::from_secs(5);
const LONGEST_ANSWER: Duration = Duration::from_secs(5);

/// One candidate's way through an election; times count from a fixed moment.
#[derive(Clone, Debug)]
pub(super) struct Campaign {
    term: Duration,
    candidate_interval: Duration,
    leader_interval: Duration,
    caution: Caution,
    held: Option<Held>,
}

/// What is known of a key that we hold.
#[derive(Clone, Debug)]
struct Held {
    revision: u64,
    /// When it was created, by the time the request was sent.
    since: Duration,
    /// When it was last renewed, by the time the request was sent.
    renewed: Duration,
    before: Before,
}

/// What stood at the key before we took it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Before {
    /// Nothing, or nothing that is known.
    Nothing,
    /// The mark of a leader that had said that it stopped.
    Released,
    /// The mark of a deletion by whoever it was.
    Deleted,
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Term {
    /// We hold the key since just now.
    Begun { revision: u64, before: Before },
    /// We still hold the key.
    Renewed { revision: u64 },
    /// Another one holds the key, or somebody took it from us.
    HeldByOther,
    /// Nobody knows: no answer, or one that says nothing about the key.
    Unclear(String),
}

/// A length of terms that no election can be held with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bucket's maximum age is {0:?}, it must be from 1 s to 1 h")]
pub(super) struct TermError(Duration);

impl Campaign {
    pub(super) fn new(term: Duration, settings: &Settings) -> Result<Self, TermError> {
        if !(SHORTEST_TERM..=LONGEST_TERM).contains(&term) {
            return Err(TermError(term));
        }
        let interval = (term / 4).min(LONGEST_CANDIDATE_INTERVAL);
        Ok(Self {
            term,
            candidate_interval: settings.candidate_interval.unwrap_or(interval),
            leader_interval: settings.leader_interval.unwrap_or(term / 4).min(term / 4),
            caution: settings.caution,
            held: None,
        })
    }

    /// How long to wait before the next attempt; candidates spread theirs.
    pub(super) fn wait(&self, chance: f64) -> Duration {
        match self.held {
            Some(_) => self.leader_interval,
            None => self
                .candidate_interval
                .mul_f64(0.5 + chance.clamp(0.0, 1.0)),
        }
    }

    /// How long to wait for an answer: a leader has time for a second attempt within its term.
    pub(super) fn answer_limit(&self) -> Duration {
        (self.term / 4).min(LONGEST_ANSWER)
    }

    /// The revision of the key that we hold.
    pub(super) fn revision(&self) -> Option<u64> {
        self.held.as_ref().map(|held| held.revision)
    }

    /// When our term ends unless it is renewed: a quarter before the broker forgets the key, which
    /// covers clocks that run apart.
    pub(super) fn until(&self) -> Duration {
        let renewed = self
            .held
            .as_ref()
            .map_or(Duration::ZERO, |held| held.renewed);
        renewed + self.term * 3 / 4
    }

    /// Whether we lead at `now`.
    pub(super) fn is_leader(&self, now: Duration) -> bool {
        let Some(held) = &self.held else {
            return false;
        };
        let waited = held.renewed.saturating_sub(held.since);
        let may_act = match self.caution {
            Caution::None => true,
            Caution::AfterDeletion(wait) => {
                held.before != Before::Deleted || waited >= wait.min(self.term * 3 / 4)
            }
            Caution::Full => held.before == Before::Released || waited >= self.term * 3 / 4,
        };
        may_act && now < self.until()
    }

    /// Takes in what came of the attempt sent at `sent`, and names it for the metrics.
    pub(super) fn answered(
        &mut self,
        outcome: Term,
        sent: Duration,
        now: Duration,
    ) -> &'static str {
        match (outcome, &mut self.held) {
            (Term::Begun { revision, before }, held) => {
                *held = Some(Held {
                    revision,
                    since: sent,
                    renewed: sent,
                    before,
                });
                "won"
            }
            (Term::Renewed { revision }, Some(held)) => {
                held.revision = revision;
                held.renewed = sent;
                "renewed"
            }
            // The key is ours by an attempt whose answer was lost.
            (Term::Renewed { revision }, held @ None) => {
                *held = Some(Held {
                    revision,
                    since: sent,
                    renewed: sent,
                    before: Before::Nothing,
                });
                "won"
            }
            (Term::HeldByOther, Some(_)) => {
                self.held = None;
                "lost"
            }
            (Term::HeldByOther, None) => "waited",
            (Term::Unclear(error), held) => {
                tracing::debug!(error, "campaign without a clear answer");
                let is_over = held
                    .as_ref()
                    .is_some_and(|held| now >= held.renewed + self.term * 3 / 4);
                if is_over {
                    self.held = None;
                    return "lost";
                }
                "unclear"
            }
        }
    }
}
