//! What arrives, and in which form.

use std::time::Duration;

use overlay_testkit::{eventually, free_port, http_get};
use serde_json::json;

use super::pair::{Pair, STOP_LIMIT, Stored, stop};
use super::{LIMIT, PERIOD};

const MARK: &str = "Choria-SR-Source";

#[tokio::test(flavor = "multi_thread")]
async fn sr_case_09_a_thousand_messages_arrive_in_order_and_name_their_source() {
    let pair = Pair::with_test().await;
    pair.source.fill("TEST", 1, 1001).await;
    let mut replicator = pair.replicate(&["target_subject_prefix: copy.x"]);
    pair.target.holds("COPY", 1000).await;
    let source = pair.source.stored("TEST").await;
    let target = pair.target.stored("COPY").await;
    assert_eq!(target.len(), 1000);
    for (from, to) in source.iter().zip(&target) {
        assert_eq!(to.subject, "copy.x.TEST");
        assert_eq!(to.body, from.body);
        let mark = format!("TEST {} SITE SITE {}", from.sequence, from.time_ms());
        assert_eq!(to.values(MARK), [mark]);
    }
    stop(&mut replicator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_fulfilled_does_not_end_the_reader() {
    let pair = Pair::with_test().await;
    // More than are asked for ahead, so that requests end; in steps that a broker takes in.
    for step in 0..5 {
        let (from, to) = (step * 4_000, (step + 1) * 4_000);
        pair.source.fill("TEST", from, to).await;
        pair.source.holds("TEST", to).await;
    }
    let mut replicator = pair.replicate(&["target_subject_prefix: copy.x"]);
    pair.target.holds("COPY", 20_000).await;
    let consumers = pair.source.consumers("TEST").await;
    let readers = consumers
        .iter()
        .filter(|consumer| consumer["name"].as_str().unwrap().starts_with("sr-"));
    assert_eq!(readers.count(), 1);
    stop(&mut replicator);
}

#[tokio::test(flavor = "multi_thread")]
async fn sr_case_10_prefix_and_removed_text_make_the_target_subject() {
    let pair = Pair::start().await;
    pair.source.make("NODES", &["NODE_DATA.>"], json!({})).await;
    pair.source
        .publish("NODE_DATA.h.example.net", &[], "x")
        .await;
    let stanza = [
        "target_subject_prefix: FLEET",
        "target_subject_remove: NODE_DATA",
    ];
    let _replicator = pair.replicate_as("SITE", "NODES", "COPY", &stanza);
    pair.target.holds("COPY", 1).await;
    let stored = pair.target.stored("COPY").await;
    assert_eq!(stored[0].subject, "FLEET.h.example.net");
    let info = pair.target.info("COPY").await;
    assert_eq!(info["config"]["subjects"], json!(["FLEET.>"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn sr_case_12_a_missing_target_is_made_like_the_source_and_another_is_left_alone() {
    let pair = Pair::start().await;
    let limits = json!({ "max_msgs_per_subject": 5, "max_age": 3_600_000_000_000_u64, "allow_direct": true });
    pair.source.make("TEST", &["TEST.>"], limits).await;
    pair.source.publish("TEST.a", &[], "x").await;
    let mut replicator = pair.replicate(&["target_subject_prefix: copy"]);
    pair.target.holds("COPY", 1).await;
    replicator.stop(STOP_LIMIT);
    let source = pair.source.info("TEST").await["config"].clone();
    let target = pair.target.info("COPY").await["config"].clone();
    for member in [
        "max_msgs_per_subject",
        "max_age",
        "allow_direct",
        "retention",
        "storage",
    ] {
        assert_eq!(target[member], source[member], "{member}");
    }
    assert_eq!(target["subjects"], json!(["copy.TEST.>"]));

    let other = json!({ "max_msgs": 100 });
    pair.target.make("OTHER", &["other.>"], other).await;
    let before = pair.target.info("OTHER").await["config"].clone();
    let _replicator =
        pair.replicate_as("SITE2", "TEST", "OTHER", &["target_subject_prefix: other"]);
    pair.target.holds("OTHER", 1).await;
    assert_eq!(pair.target.info("OTHER").await["config"], before);
}

#[tokio::test(flavor = "multi_thread")]
async fn sr_case_13_a_source_that_is_not_there_yet_is_waited_for() {
    let pair = Pair::start().await;
    let mut replicator = pair.replicate(&["target_subject_prefix: copy"]);
    replicator.wait_for_line("source stream", LIMIT);
    pair.source.make("TEST", &["TEST"], json!({})).await;
    pair.source.fill("TEST", 1, 6).await;
    pair.holds_exactly(1..=5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sr_case_14_messages_that_are_too_old_are_passed_over() {
    let pair = Pair::with_test().await;
    pair.source.fill("TEST", 1, 1001).await;
    tokio::time::sleep(Duration::from_millis(8200)).await;
    let port = free_port();
    let mut replicator = pair.run_yaml(&format!(
        "name: SITE\nmonitor_port: {port}\nstreams:\n - stream: TEST\n   target_stream: COPY\n   source_url: {}\n   target_url: {}\n   \
         max_age: 8s\n   target_subject_prefix: copy\n",
        pair.source.broker.url(),
        pair.target.broker.url(),
    ));
    replicator.wait_for_line("replicating", LIMIT);
    pair.source.fill("TEST", 1001, 1011).await;
    pair.target.holds("COPY", 10).await;
    let (_, metrics) = http_get(port, "/metrics").unwrap();
    for line in [
        r#"choria_stream_replicator_replicator_too_old_messages{replicator="SITE",stream="TEST",worker="SITE"} 1000"#,
        r#"overlay_stream_replicator_handled_messages_total{outcome="too_old",replicator="SITE",stream="TEST",worker="SITE"} 1000"#,
    ] {
        assert!(
            metrics.lines().any(|it| it == line),
            "no {line} in {metrics}"
        );
    }
    stop(&mut replicator);
    assert_eq!(pair.copied().await, (1001..=1010).collect::<Vec<_>>());
    // The position is at the end: what is newer is all that comes.
    let durable = durable(&pair, "SR_SITE").await;
    assert_eq!(durable["ack_floor"]["stream_seq"], 1010);
}

#[tokio::test(flavor = "multi_thread")]
async fn sr_case_21_a_bucket_is_copied_with_its_deletions() {
    let pair = Pair::start().await;
    let bucket =
        json!({ "max_msgs_per_subject": 5, "allow_rollup_hdrs": true, "deny_delete": true });
    pair.source.make("KV_B", &["$KV.B.>"], bucket).await;
    let key = "$KV.B.k";
    let first = pair.source.publish(key, &[], "one").await;
    let expected = first.to_string();
    let update = [("Nats-Expected-Last-Subject-Sequence", expected.as_str())];
    pair.source.publish(key, &update, "two").await;
    let deletion = [("KV-Operation", "DEL")];
    pair.source.publish(key, &deletion, "").await;
    pair.source
        .publish(
            "$KV.B.other",
            &[("KV-Operation", "PURGE"), ("Nats-Rollup", "sub")],
            "",
        )
        .await;
    let _replicator = pair.replicate_as("SITE", "KV_B", "KV_B", &[]);
    pair.target.holds("KV_B", 4).await;
    let stored = pair.target.stored("KV_B").await;
    assert_eq!(stored.len(), 4);
    assert_eq!(stored[0].body, b"one");
    assert_eq!(stored[1].body, b"two");
    assert!(
        stored[1]
            .values("Nats-Expected-Last-Subject-Sequence")
            .is_empty()
    );
    assert_eq!(stored[2].values("KV-Operation"), ["DEL"]);
    assert_eq!(stored[3].values("Nats-Rollup"), ["sub"]);
    assert!(
        stored
            .iter()
            .all(|message| message.subject.starts_with("$KV.B."))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sr_case_22_a_lifetime_is_left_out_where_the_target_knows_none() {
    let pair = Pair::start().await;
    let ttl = json!({ "allow_msg_ttl": true });
    pair.source.make("TEST", &["TEST.>"], ttl.clone()).await;
    pair.target.make("COPY", &["copy.>"], json!({})).await;
    pair.source
        .publish("TEST.a", &[("Nats-TTL", "1h")], "x")
        .await;
    pair.source.publish("TEST.b", &[], "y").await;
    let mut replicator = pair.replicate(&["target_subject_prefix: copy"]);
    pair.holds_exactly(1..=2).await;
    assert!(
        pair.target.stored("COPY").await[0]
            .values("Nats-TTL")
            .is_empty()
    );
    replicator.stop(STOP_LIMIT);
    // And kept where it does.
    pair.target.make("LIVES", &["lives.>"], ttl).await;
    let _replicator =
        pair.replicate_as("SITE2", "TEST", "LIVES", &["target_subject_prefix: lives"]);
    pair.target.holds("LIVES", 2).await;
    let kept = pair.target.stored("LIVES").await;
    assert_eq!(kept[0].values("Nats-TTL"), ["1h"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn sr_case_23_a_message_that_is_too_large_is_kept_aside_and_the_rest_arrives() {
    let pair = Pair::with_test().await;
    let small = json!({ "max_msg_size": 1000 });
    pair.target.make("COPY", &["copy.>"], small).await;
    pair.source.publish("TEST.a", &[], "first").await;
    pair.source
        .publish("TEST.b", &[("A", "1")], vec![b'x'; 950])
        .await;
    pair.source.publish("TEST.c", &[], "third").await;
    let _replicator = pair.replicate(&["target_subject_prefix: copy"]);
    pair.holds_exactly([1, 3]).await;
    pair.source.holds("OVERLAY_REPLICATION_DEAD", 1).await;
    let dead = pair.source.stored("OVERLAY_REPLICATION_DEAD").await;
    assert_eq!(dead[0].subject, "choria.stream-replicator.dead.TEST.SITE");
    assert_eq!(dead[0].body, vec![b'x'; 950]);
    assert_eq!(dead[0].values("A"), ["1"]);
    assert_eq!(dead[0].values("Overlay-Dead-Subject"), ["TEST.b"]);
    assert_eq!(dead[0].values("Overlay-Dead-Sequence"), ["2"]);
    assert!(!dead[0].values("Overlay-Dead-Reason").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn sr_case_24_what_a_broker_says_of_its_own_sources_is_left_out() {
    let pair = Pair::with_test().await;
    // As a broker's own sourcing leaves it.
    let origin = json!({ "sources": [{ "name": "TEST" }] });
    pair.source.make("DERIVED", &["DERIVED"], origin).await;
    pair.source.publish("TEST.a", &[], "x").await;
    pair.source.holds("DERIVED", 1).await;
    let derived = pair.source.stored("DERIVED").await;
    assert!(!derived[0].values("Nats-Stream-Source").is_empty());
    pair.target.make("COPY", &["copy.>"], json!({})).await;
    let _replicator =
        pair.replicate_as("SITE", "DERIVED", "COPY", &["target_subject_prefix: copy"]);
    pair.holds_exactly([1]).await;
    let stored = pair.target.stored("COPY").await;
    assert!(stored[0].values("Nats-Stream-Source").is_empty());
    assert_eq!(stored[0].subject, "copy.TEST.a");
}

#[tokio::test(flavor = "multi_thread")]
async fn sr_case_25_an_empty_body_with_headers_is_copied_at_the_target_s_initiative() {
    let pair = Pair::with_test().await;
    pair.source
        .publish("TEST.a", &[("KV-Operation", "DEL"), ("A", "1")], "")
        .await;
    pair.source.publish("TEST.b", &[], "").await;
    let stanza = [
        "target_initiated: true",
        "filter_subject: TEST.>",
        "target_subject_prefix: copy",
    ];
    let _replicator = pair.replicate(&stanza);
    pair.holds_exactly([1, 2]).await;
    let stored = pair.target.stored("COPY").await;
    assert_eq!(stored[0].values("KV-Operation"), ["DEL"]);
    assert_eq!(stored[0].values("A"), ["1"]);
    // Nothing is written at the source.
    let consumers = pair.source.consumers("TEST").await;
    assert!(
        consumers
            .iter()
            .all(|it| it["config"]["durable_name"].is_null())
    );
    assert!(!pair.source.info("KV_OVERLAY_REPLICATION").await["error"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn sr_case_29_a_chain_of_copies_keeps_the_first_mark_first() {
    let pair = Pair::with_test().await;
    pair.source.publish("TEST.a", &[], "x").await;
    let _first = pair.replicate_as("A", "TEST", "MIDDLE", &["target_subject_prefix: middle"]);
    pair.target.holds("MIDDLE", 1).await;
    let yaml = format!(
        "name: B\nstreams:\n - stream: MIDDLE\n   target_stream: END\n   target_subject_prefix: end\n   source_url: {0}\n   target_url: {0}\n",
        pair.target.broker.url()
    );
    let _second = pair.run_yaml(&yaml);
    pair.target.holds("END", 1).await;
    let stored = pair.target.stored("END").await;
    let marks = stored[0].values(MARK);
    assert_eq!(marks.len(), 2);
    assert!(marks[0].starts_with("TEST 1 A A "), "{marks:?}");
    assert!(marks[1].starts_with("MIDDLE 1 B B "), "{marks:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_comes_around_is_not_copied_again() {
    let pair = Pair::with_test().await;
    pair.source.publish("TEST.a", &[], "x").await;
    pair.source
        .publish(
            "TEST.b",
            &[(MARK, "TEST 1 SITE SITE 1700000000000")],
            "around",
        )
        .await;
    pair.source
        .publish("TEST.c", &[(MARK, "TEST 1 OTHER SITE 1700000000000")], "y")
        .await;
    let _replicator = pair.replicate(&["target_subject_prefix: copy"]);
    pair.holds_exactly([1, 3]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_filters_choose_what_is_copied_in_one_order() {
    let pair = Pair::with_test().await;
    for subject in ["TEST.a", "TEST.b", "TEST.c", "TEST.a", "TEST.c"] {
        pair.source.publish(subject, &[], "x").await;
    }
    let _replicator = pair.run_toml(
        "[[streams]]\nstream = \"TEST\"\ntarget_stream = \"COPY\"\nprefix = \"copy\"\nfilters = [\"TEST.a\", \"TEST.c\"]\n",
    );
    pair.holds_exactly([1, 3, 4, 5]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sr_case_30_an_identifier_of_ours_on_somebody_else_s_message_is_a_conflict() {
    let pair = Pair::with_test().await;
    pair.target
        .make("COPY", &["copy.>", "foreign"], json!({}))
        .await;
    let created = pair.source.info("TEST").await["created"]
        .as_str()
        .unwrap()
        .to_owned();
    let format = time::format_description::well_known::Rfc3339;
    let created = time::OffsetDateTime::parse(&created, &format).unwrap();
    let ms = created.unix_timestamp_nanos() / 1_000_000;
    let id = format!("SITE:SITE:TEST:{ms}:2");
    pair.target
        .publish("foreign", &[("Nats-Msg-Id", &id)], "foreign")
        .await;
    for body in ["first", "mine", "next"] {
        pair.source.publish("TEST", &[], body).await;
    }
    let mut replicator = pair.replicate(&["target_subject_prefix: copy"]);
    pair.target.holds("COPY", 4).await;
    replicator.wait_for_line("has an identifier of ours and is not", LIMIT);
    let bodies: Vec<_> = pair
        .target
        .stored("COPY")
        .await
        .into_iter()
        .map(|message| String::from_utf8(message.body).unwrap())
        .collect();
    assert_eq!(bodies, ["foreign", "first", "mine", "next"]);
}

/// The durable consumer of that name, once it is there.
pub(super) async fn durable(pair: &Pair, name: &str) -> serde_json::Value {
    eventually(LIMIT, PERIOD, || async {
        let consumers = pair.source.consumers("TEST").await;
        consumers
            .into_iter()
            .find(|consumer| consumer["name"] == name)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_and_bodies_arrive_as_they_are() {
    let pair = Pair::with_test().await;
    let every_byte: Vec<u8> = (0..=255).collect();
    pair.source
        .publish(
            "TEST.bin",
            &[("b-C", "two words"), ("A", "1"), ("A", "2")],
            every_byte.clone(),
        )
        .await;
    let _replicator = pair.replicate(&["target_subject_prefix: copy"]);
    pair.holds_exactly([1]).await;
    let Stored { body, headers, .. } = pair.target.stored("COPY").await.remove(0);
    assert_eq!(body, every_byte);
    let own: Vec<_> = headers
        .iter()
        .filter(|(name, _)| name == "A" || name == "b-C")
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    assert_eq!(own.len(), 3);
    assert!(own.contains(&"b-C=two words".to_owned()));
    let first = own.iter().position(|line| line == "A=1");
    assert!(first < own.iter().position(|line| line == "A=2"));
}
