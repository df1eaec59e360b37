use overlay_runtime::metrics::text;

use super::*;
use crate::copy::answer::Poison;

/// Names and labels that dashboards and alerts of the original's users know.
const ORIGINAL: [(&str, &[&str]); 28] = [
    ("replicator_total_messages", R),
    ("replicator_total_bytes", R),
    ("replicator_handler_error_count", R),
    ("replicator_meta_parse_failed_count", R),
    ("replicator_ack_failed_count", R),
    ("replicator_consumer_recreated", R),
    ("replicator_processing_time_seconds_sum", R),
    ("replicator_processing_time_seconds_count", R),
    ("replicator_stream_sequence", R),
    ("replicator_stream_lag_messages", R),
    ("replicator_too_old_messages", R),
    ("replicator_copied_messages", R),
    ("replicator_copied_bytes", R),
    ("replicator_skipped_messages", R),
    ("replicator_skipped_bytes", R),
    ("limiter_messages_without_limit_field_count", L),
    ("limiter_messages_copy_forced_count", L),
    ("tracker_total_items", R),
    ("tracker_seen_by_gossip", R),
    ("advisor_total_messages", A),
    ("advisor_publish_errors", A),
    (
        "election_campaigns",
        &["election", "identity", "replicator", "state"],
    ),
    ("election_leader", E),
    ("election_interval_seconds", E),
    ("heartbeat_subjects_count", &["replicator"]),
    ("heartbeat_published_count", &["replicator", "subject"]),
    (
        "heartbeat_published_error_count",
        &["replicator", "subject"],
    ),
    ("heartbeat_paused", &["hostname", "replicator"]),
];
const R: &[&str] = &["replicator", "stream", "worker"];
const L: &[&str] = &["limiter", "replicator", "stream"];
const A: &[&str] = &["advisory", "replicator", "stream"];
const E: &[&str] = &["election", "identity", "replicator"];

#[test]
fn sr_case_51_every_name_of_the_original_is_shown_with_its_labels() {
    let text = text(&all::registry().unwrap()).unwrap();
    for (name, labels) in ORIGINAL {
        let prefix = format!("choria_stream_replicator_{name}{{");
        let line = text.lines().find(|line| line.starts_with(&prefix));
        let line = line.unwrap_or_else(|| panic!("no {name} in\n{text}"));
        let shown: Vec<_> = line[prefix.len()..line.rfind('}').unwrap()]
            .split(',')
            .map(|pair| pair.split('=').next().unwrap())
            .collect();
        assert_eq!(shown, labels, "{name}");
    }
}

#[test]
fn ours_tell_what_the_original_does_not() {
    let text = text(&all::registry().unwrap()).unwrap();
    for line in [
        r#"overlay_stream_replicator_lag_messages{replicator="SITE",stream="S",worker="W"} 3"#,
        r#"overlay_stream_replicator_lag_seconds{replicator="SITE",stream="S",worker="W"} 1.5"#,
        r#"overlay_stream_replicator_missed_messages_total{replicator="SITE",stream="S",worker="W"} 4"#,
        r#"overlay_stream_replicator_dead_letters_total{reason="too_large",replicator="SITE",stream="S",worker="W"} 1"#,
        r#"overlay_stream_replicator_handled_messages_total{outcome="copied",replicator="SITE",stream="S",worker="W"} 1"#,
        r#"overlay_stream_replicator_handled_messages_total{outcome="dead",replicator="SITE",stream="S",worker="W"} 1"#,
        r#"overlay_stream_replicator_worker_running{replicator="SITE",stream="S",worker="W"} 1"#,
        r#"overlay_stream_replicator_operations_total{action="pause",outcome="done"} 1"#,
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
}

#[test]
fn every_reason_of_a_dead_letter_is_at_nothing_before_the_first_one() {
    let registry = Registry::new();
    let metrics = Metrics::register(&registry, "SITE", false).unwrap();
    let worker = metrics.worker("S", "W");
    let shown = || {
        let text = text(&registry).unwrap();
        let name = "overlay_stream_replicator_dead_letters_total{";
        let lines = text.lines().filter(|line| line.starts_with(name));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let at = |reason: &str, letters: u8| {
        format!(
            r#"overlay_stream_replicator_dead_letters_total{{reason="{reason}",replicator="SITE",stream="S",worker="W"}} {letters}"#
        )
    };
    let before = shown();
    let all = [
        Poison::TooLarge,
        Poison::Subject(String::new()),
        Poison::NotTaken,
        Poison::Headers,
        Poison::Unanswered,
        Poison::Refused(0, String::new()),
    ];
    assert_eq!(before.len(), all.len(), "{before:?}");
    for poison in all {
        let line = at(poison.word(), 0);
        assert!(before.contains(&line), "{line} is missing in {before:?}");
        worker.dead(poison.word());
    }
    // Nothing that is counted makes a series that was not there.
    let after = shown();
    assert_eq!(after.len(), before.len(), "{after:?}");
    assert!(after.contains(&at("refused", 1)), "{after:?}");
}

#[test]
fn a_new_candidacy_goes_on_counting() {
    let registry = Registry::new();
    let metrics = Metrics::register(&registry, "SITE", true).unwrap();
    let shown = |state: &str| {
        let start = format!(
            r#"choria_stream_replicator_election_campaigns{{election="k",identity="c",replicator="SITE",state="{state}"}} "#
        );
        let text = text(&registry).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(&start));
        line.unwrap().parse::<u64>().unwrap()
    };
    metrics.follow_election("k", "c", election::Figures::default());
    assert_eq!(shown("candidate"), 0);
    metrics.follow_election("k", "c", election::Figures::default());
    assert_eq!((shown("candidate"), shown("leader")), (0, 0));
}

#[test]
fn the_originals_names_can_be_left_out() {
    let registry = Registry::new();
    let metrics = Metrics::register(&registry, "SITE", false).unwrap();
    metrics.worker("S", "W").received(1);
    let text = text(&registry).unwrap();
    assert!(text.contains("overlay_stream_replicator_received_messages_total"));
    assert!(!text.contains("choria_"), "{text}");
}
