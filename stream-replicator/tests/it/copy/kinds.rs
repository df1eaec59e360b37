//! Sources whose messages have other subjects than the stream is said to take.

use serde_json::json;

use super::pair::{Pair, stop};

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_changes_subjects_is_copied_with_those_that_it_stores() {
    let pair = Pair::start().await;
    let transform = json!({ "subject_transform": { "src": "TEST.>", "dest": "moved.>" } });
    pair.source.make("TEST", &["TEST.>"], transform).await;
    pair.source.fill("TEST.a", 1, 6).await;
    let mut replicator = pair.replicate(&["target_subject_prefix: copy"]);
    pair.holds_exactly(1..=5).await;
    stop(&mut replicator);
    for message in pair.target.stored("COPY").await {
        assert_eq!(message.subject, "copy.moved.a");
    }
    let made = pair.target.info("COPY").await;
    assert_eq!(made["config"]["subjects"], json!(["copy.moved.>"]));
    assert!(made["config"]["subject_transform"].is_null());
    // And once more from its position, behind somebody else's message.
    pair.target.publish("copy.moved.x", &[], "other").await;
    pair.source.fill("TEST.a", 6, 8).await;
    let _replicator = pair.replicate(&["target_subject_prefix: copy"]);
    pair.target.holds("COPY", 8).await;
    let bodies: Vec<_> = pair.target.stored("COPY").await;
    let bodies: Vec<_> = bodies.iter().map(|it| it.body.as_slice()).collect();
    let wanted: [&[u8]; 8] = [b"1", b"2", b"3", b"4", b"5", b"other", b"6", b"7"];
    assert_eq!(bodies, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_is_copied_where_filters_say_what_it_holds_and_refused_with_words_otherwise() {
    let pair = Pair::start().await;
    pair.source.make("ORIGIN", &["TEST"], json!({})).await;
    let mirror = json!({ "name": "TEST", "storage": "file", "mirror": { "name": "ORIGIN" } });
    let made = pair.source.ask("STREAM.CREATE.TEST", &mirror).await;
    assert!(made["error"].is_null(), "{made}");
    pair.source.fill("TEST", 1, 6).await;
    let mut replicator = pair.replicate(&["target_subject_prefix: copy"]);
    replicator.wait_for_line("come from other streams", super::LIMIT);
    stop(&mut replicator);
    let filtered = ["target_subject_prefix: copy", "filter_subject: TEST"];
    let _replicator = pair.replicate(&filtered);
    pair.holds_exactly(1..=5).await;
    let made = pair.target.info("COPY").await;
    assert_eq!(made["config"]["subjects"], json!(["copy.TEST"]));
    assert!(made["config"]["mirror"].is_null());
}
