//! Where a copy goes on: after stops, kills, purges, other replicas, and the original.

use std::time::Duration;

use futures_util::StreamExt as _;
use overlay_testkit::{Process, eventually};
use serde_json::json;

use super::cases::durable;
use super::pair::{Pair, STOP_LIMIT, Side, stop};
use super::{LIMIT, PERIOD};

const PREFIX: &str = "target_subject_prefix: copy";
const AT_TARGET: [&str; 3] = [
    "target_initiated: true",
    "filter_subject: TEST",
    "target_subject_prefix: copy",
];

#[tokio::test(flavor = "multi_thread")]
async fn sr_case_11_the_original_s_consumer_is_continued() {
    let pair = Pair::with_test().await;
    pair.source.fill("TEST", 1, 11).await;
    // As the original made it, and has acknowledged four messages by it.
    let consumer = json!({ "stream_name": "TEST", "config": {
        "durable_name": "SR_CUSTOM_NAME", "name": "SR_CUSTOM_NAME",
        "description": "Choria Stream Replicator CUSTOM_NAME", "deliver_policy": "all", "ack_policy": "explicit",
        "ack_wait": 30_000_000_000_u64, "max_deliver": -1, "replay_policy": "instant", "max_ack_pending": 1,
    }});
    let made = pair
        .source
        .ask("CONSUMER.CREATE.TEST.SR_CUSTOM_NAME", &consumer)
        .await;
    assert!(made["error"].is_null(), "{made}");
    let inbox = pair.source.client.new_inbox();
    let mut delivered = pair.source.client.subscribe(inbox.clone()).await.unwrap();
    for _message in 0..4 {
        pair.source
            .client
            .publish_with_reply(
                "$JS.API.CONSUMER.MSG.NEXT.TEST.SR_CUSTOM_NAME",
                inbox.clone(),
                "".into(),
            )
            .await
            .unwrap();
        let message = delivered.next().await.unwrap();
        pair.source
            .client
            .request(message.reply.unwrap(), "+ACK".into())
            .await
            .unwrap();
    }
    let mut replicator = pair.replicate(&["name: CUSTOM_NAME", PREFIX]);
    pair.holds_exactly(5..=10).await;
    let kept = durable(&pair, "SR_CUSTOM_NAME").await;
    assert_eq!(kept["created"], made["created"]);
    // At the stop it is moved, so that the original can go on.
    stop(&mut replicator);
    let moved = durable(&pair, "SR_CUSTOM_NAME").await;
    assert_eq!(moved["ack_floor"]["stream_seq"], 10);
    assert_eq!(moved["config"]["max_ack_pending"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn sr_case_15_a_reader_s_consumer_that_is_deleted_is_made_again_without_gap_or_double() {
    let pair = Pair::with_test().await;
    pair.source.fill("TEST", 1, 6).await;
    let _replicator = pair.replicate(&[PREFIX]);
    pair.holds_exactly(1..=5).await;
    for consumer in pair.source.consumers("TEST").await {
        let name = consumer["name"].as_str().unwrap();
        pair.source
            .ask(&format!("CONSUMER.DELETE.TEST.{name}"), &json!({}))
            .await;
    }
    let began = tokio::time::Instant::now();
    pair.source.fill("TEST", 6, 8).await;
    pair.target.holds("COPY", 7).await;
    let took = began.elapsed();
    assert_eq!(pair.copied().await, (1..=7).collect::<Vec<_>>());
    assert!(took < Duration::from_secs(20), "{took:?}");
}

/// Deletes the consumer that the copy is read through; the bookmark of the original stays.
async fn delete_reader(pair: &Pair) {
    let readers = eventually(LIMIT, PERIOD, || async {
        let consumers = pair.source.consumers("TEST").await;
        let names = consumers
            .iter()
            .filter(|it| it["config"]["ack_policy"] == "none")
            .map(|it| it["name"].as_str().unwrap().to_owned());
        let names: Vec<_> = names.collect();
        (!names.is_empty()).then_some(names)
    })
    .await;
    for name in readers {
        let call = format!("CONSUMER.DELETE.TEST.{name}");
        let deleted = pair.source.ask(&call, &json!({})).await;
        assert!(deleted["error"].is_null(), "{deleted}");
    }
}

/// Its requests end with 409, which is heard at once: a silence is noticed after seven seconds.
#[tokio::test(flavor = "multi_thread")]
async fn sr_case_27_a_request_that_the_source_ends_is_made_anew_within_a_second() {
    let pair = Pair::with_test().await;
    pair.source.fill("TEST", 1, 6).await;
    let _replicator = pair.replicate(&[PREFIX]);
    pair.holds_exactly(1..=5).await;
    let mut next = 6;
    // Nothing waits at the source, and then more than is read in a moment.
    for waiting in [0, 5_000] {
        // The quickest of several says what it takes; the others, what else the machine does.
        let mut quickest = Duration::MAX;
        for _try in 0..5 {
            pair.source.fill("TEST", next, next + waiting).await;
            let began = tokio::time::Instant::now();
            delete_reader(&pair).await;
            pair.source
                .fill("TEST", next + waiting, next + waiting + 1)
                .await;
            next += waiting + 1;
            pair.target.holds("COPY", next - 1).await;
            quickest = quickest.min(began.elapsed());
            if quickest < Duration::from_secs(1) {
                break;
            }
        }
        assert!(quickest < Duration::from_secs(1), "{waiting}: {quickest:?}");
    }
    pair.holds_exactly(1..next).await;
}

/// Brokers from 2.14 on say with a feature flag also in which domain and account a message is.
#[tokio::test(flavor = "multi_thread")]
async fn sr_case_26_a_source_with_the_longer_reply_subjects_is_copied_with_the_right_marks() {
    let flags = overlay_testkit::Broker::builder()
        .name("source")
        .jetstream()
        .config("feature_flags { js_ack_fc_v2: true }");
    let source = Box::pin(Side::over(flags.start())).await;
    let pair = Pair {
        source,
        ..Pair::start().await
    };
    pair.source.make("TEST", &["TEST"], json!({})).await;
    pair.source.fill("TEST", 1, 6).await;
    // The broker does use them.
    let consumer = json!({ "stream_name": "TEST", "config": { "name": "look", "ack_policy": "none", "mem_storage": true }});
    let made = pair
        .source
        .ask("CONSUMER.CREATE.TEST.look", &consumer)
        .await;
    assert!(made["error"].is_null(), "{made}");
    let client = &pair.source.client;
    let inbox = client.new_inbox();
    let mut shown = client.subscribe(inbox.clone()).await.unwrap();
    let next = "$JS.API.CONSUMER.MSG.NEXT.TEST.look";
    client
        .publish_with_reply(next, inbox, "".into())
        .await
        .unwrap();
    let shown = shown.next().await.unwrap();
    let tokens = shown.reply.unwrap().split('.').count();
    assert!(tokens >= 11, "{tokens} tokens");

    let _replicator = pair.replicate(&[PREFIX]);
    pair.holds_exactly(1..=5).await;
    let originals = pair.source.stored("TEST").await;
    for (copy, original) in pair.target.stored("COPY").await.iter().zip(&originals) {
        let mark = copy.values("Choria-SR-Source")[0].to_owned();
        let wanted = format!(
            "TEST {} SITE SITE {}",
            original.sequence,
            original.time_ms()
        );
        assert_eq!(mark, wanted);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_has_read_nothing_yet_goes_on_when_its_source_is_back() {
    for more in [
        &[PREFIX][..],
        &[PREFIX, "target_initiated: true", "filter_subject: TEST"][..],
    ] {
        let mut pair = Pair::with_test().await;
        let _replicator = pair.replicate(more);
        pair.source.is_read("TEST").await;
        pair.source.broker.restart();
        pair.source.client = eventually(LIMIT, PERIOD, || {
            async_nats::connect(pair.source.broker.url())
        })
        .await;
        pair.source.fill("TEST", 1, 4).await;
        pair.holds_exactly(1..=3).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sr_case_27_what_the_source_says_of_a_request_is_never_copied() {
    let mut pair = Pair::with_test().await;
    pair.source.fill("TEST", 1, 4).await;
    let _replicator = pair.replicate(&[PREFIX]);
    pair.holds_exactly(1..=3).await;
    // Requests end with 409 when the stream goes, and with 503 while the consumer is not there.
    pair.source.broker.restart();
    pair.source.client = eventually(LIMIT, PERIOD, || {
        async_nats::connect(pair.source.broker.url())
    })
    .await;
    let back = tokio::time::Instant::now();
    pair.source.fill("TEST", 4, 7).await;
    pair.target.holds("COPY", 6).await;
    // Requests are made anew with the connection, not when a silence is noticed, which takes seven seconds.
    let took = back.elapsed();
    assert!(took < Duration::from_secs(6), "{took:?}");
    pair.holds_exactly(1..=6).await;
    for message in pair.target.stored("COPY").await {
        assert_eq!(message.subject, "copy.TEST");
        assert!(message.values("Status").is_empty());
    }
}

async fn stop_in_the_middle(stanza: &[&str]) {
    let pair = Pair::with_test().await;
    pair.source.fill("TEST", 1, 1001).await;
    let mut replicator = pair.replicate(stanza);
    pair.target.holds("COPY", 1000).await;
    stop(&mut replicator);
    pair.source.fill("TEST", 1001, 2001).await;
    let _replicator = pair.replicate(stanza);
    pair.holds_exactly(1..=2000).await;
    let stored = pair.target.stored("COPY").await;
    let mark = stored[1000].values("Choria-SR-Source")[0];
    assert!(mark.starts_with("TEST 1001 "), "{mark}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sr_case_18_a_target_initiated_copy_goes_on_behind_its_last_message() {
    stop_in_the_middle(&AT_TARGET).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_goes_on_behind_its_last_message() {
    stop_in_the_middle(&[PREFIX]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sr_case_19_a_purged_target_gets_what_is_new_and_nothing_of_what_was_purged() {
    let pair = Pair::with_test().await;
    pair.source.fill("TEST", 1, 14).await;
    let mut replicator = pair.replicate(&[PREFIX]);
    pair.target.holds("COPY", 13).await;
    stop(&mut replicator);
    pair.target.ask("STREAM.PURGE.COPY", &json!({})).await;
    pair.source.fill("TEST", 14, 16).await;
    let _replicator = pair.replicate(&[PREFIX]);
    pair.holds_exactly([14, 15]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sr_case_28_an_ephemeral_copy_is_made_anew_at_each_start_and_rests_meanwhile() {
    let pair = Pair::with_test().await;
    let stanza = ["ephemeral: true", PREFIX];
    let mut replicator = pair.replicate(&stanza);
    // Nothing there yet: one consumer, and it stays.
    let consumers = || async {
        let consumers = pair.source.consumers("TEST").await;
        let names: Vec<_> = consumers.iter().map(|it| it["name"].to_string()).collect();
        (names.len() == 1).then_some(names)
    };
    let before = eventually(LIMIT, PERIOD, consumers).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(consumers().await, Some(before));
    pair.source.fill("TEST", 1, 6).await;
    pair.holds_exactly(1..=5).await;
    stop(&mut replicator);
    let _replicator = pair.replicate(&stanza);
    pair.holds_exactly((1..=5).chain(1..=5)).await;
}

/// Two replicas that elect each other.
async fn replicas(pair: &Pair, stanza: &[&str]) -> (Process, Process) {
    pair.source
        .make(
            "KV_CHORIA_LEADER_ELECTION",
            &["$KV.CHORIA_LEADER_ELECTION.>"],
            json!({
                "max_age": 3_000_000_000_u64, "max_msgs_per_subject": 1, "discard": "new", "deny_delete": true,
                "allow_rollup_hdrs": true, "allow_direct": true, "max_msg_size": 1024,
            }),
        )
        .await;
    let start = |name: &str| {
        let candidate = format!("leader_election_name: {name}");
        let mut lines = vec![candidate.as_str()];
        lines.extend(stanza);
        pair.replicate(&lines)
    };
    (start("A"), start("B"))
}

/// Which candidate leads; nothing when none does.
async fn leader(pair: &Pair) -> Option<String> {
    let question = json!({ "last_by_subj": "$KV.CHORIA_LEADER_ELECTION.SR_SITE_TEST" });
    let last = pair
        .source
        .ask("STREAM.MSG.GET.KV_CHORIA_LEADER_ELECTION", &question)
        .await;
    let encoded = last["message"]["data"].as_str()?.to_owned();
    use base64::Engine as _;
    let name = base64::engine::general_purpose::STANDARD
        .decode(encoded)
        .ok()?;
    String::from_utf8(name).ok().filter(|name| !name.is_empty())
}

#[tokio::test(flavor = "multi_thread")]
async fn sr_case_47_leadership_that_goes_and_returns_copies_nothing_again() {
    let pair = Pair::with_test().await;
    let (a, b) = replicas(&pair, &AT_TARGET).await;
    pair.source.fill("TEST", 1, 101).await;
    pair.target.holds("COPY", 100).await;
    let frozen = [a, b];
    let mut next = 101;
    for _round in 0..2 {
        let first = eventually(LIMIT, PERIOD, || leader(&pair)).await;
        let which = usize::from(first == "B");
        frozen[which].pause();
        pair.source.fill("TEST", next, next + 100).await;
        next += 100;
        // The other one takes over.
        pair.target.holds("COPY", next - 1).await;
        frozen[which].unpause();
    }
    pair.source.fill("TEST", next, next + 100).await;
    pair.holds_exactly(1..next + 100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sr_case_48_a_leader_that_was_frozen_under_load_stores_nothing_more() {
    let pair = Pair::with_test().await;
    let (a, b) = replicas(&pair, &[PREFIX]).await;
    let mut replicas = [a, b];
    pair.source.fill("TEST", 1, 20_001).await;
    pair.target.holds("COPY", 500).await;
    let first = eventually(LIMIT, PERIOD, || leader(&pair)).await;
    let which = usize::from(first == "B");
    replicas[which].pause();
    pair.target.holds("COPY", 20_000).await;
    replicas[which].unpause();
    pair.source.fill("TEST", 20_001, 20_101).await;
    pair.target.holds("COPY", 20_100).await;
    for replica in &mut replicas {
        replica.stop(STOP_LIMIT);
    }
    let info = pair.target.info("COPY").await;
    assert_eq!(info["state"]["messages"], 20_100);
    // Order and completeness over the seam.
    let seam = pair.target.stored("COPY").await;
    let sequences: Vec<u64> = seam.iter().map(|it| it.source_sequence()).collect();
    assert_eq!(sequences, (1..=20_100).collect::<Vec<_>>());
}
