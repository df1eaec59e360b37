//! What is copied.

use overlay_testkit::http_get;

use super::cell::{Cell, stop};

const FIELD: [&str; 2] = ["inspect_field: sender", "inspect_duration: 1h"];

#[tokio::test(flavor = "multi_thread")]
async fn sr_case_31_of_a_thousand_documents_of_ten_nodes_ten_are_copied() {
    let cell = Cell::start().await;
    for number in 0..1_000 {
        let body = format!(r#"{{"sender":"h{}","n":{number}}}"#, number % 10);
        cell.client
            .publish("nodes.data", body.into())
            .await
            .unwrap();
    }
    cell.client.flush().await.unwrap();
    let replicator = cell.replicator(&FIELD);
    let copied = cell.settled("last").await;
    let numbers: Vec<_> = copied.iter().map(|copy| copy.body.len()).collect();
    assert_eq!(copied.len(), 10, "{numbers:?}");
    stop(replicator);
}

#[tokio::test(flavor = "multi_thread")]
async fn sr_case_32_what_is_about_nothing_is_copied_and_tells_of_nothing() {
    let cell = Cell::start().await;
    super::cell::stream(&cell.client, "ADV", &["adv.>"]).await;
    let (replicator, port) = cell.replicator_with_metrics(&[
        "inspect_field: sender",
        "inspect_duration: 1h",
        "advisory: {subject: adv.%s.%v, reliable: true}",
    ]);
    for body in [
        r#"{"other":1}"#,
        "no json",
        "",
        r#"{"sender":""}"#,
        r#"{"sender":null}"#,
    ] {
        cell.publish("nodes.data", body).await;
        cell.publish("nodes.data", body).await;
    }
    assert_eq!(cell.settled("h1").await.len(), 10);
    let advisories = cell.advisories(1).await;
    assert_eq!(super::cell::told(&advisories), [("new", "h1")]);
    let (_, metrics) = http_get(port, "/metrics").unwrap();
    let line = r#"overlay_stream_replicator_without_value_messages_total{replicator="SITE",stream="NODES",worker="W1"} 10"#;
    assert!(metrics.lines().any(|it| it == line), "{metrics}");
    let original = "choria_stream_replicator_limiter_messages_without_limit_field_count{";
    let counted = metrics.lines().find(|line| line.starts_with(original));
    assert!(counted.unwrap().ends_with(" 10"), "{counted:?}");
    stop(replicator);
}

#[tokio::test(flavor = "multi_thread")]
async fn sr_case_33_and_34_force_and_size_make_copies() {
    let cell = Cell::start().await;
    let replicator = cell.replicator(&[
        "inspect_field: sender",
        "inspect_force_field: force_copy",
        "inspect_duration: 1h",
        "size_trigger: 1024",
    ]);
    let padded = |size: usize| {
        let head = r#"{"sender":"big","p":""#;
        format!("{head}{}\"}}", "x".repeat(size - head.len() - 2))
    };
    for (body, _) in [
        (r#"{"sender":"a"}"#.to_owned(), true),
        (r#"{"sender":"a"}"#.to_owned(), false),
        (r#"{"sender":"a","force_copy":true}"#.to_owned(), true),
        (r#"{"sender":"a","force_copy":false}"#.to_owned(), true),
        (r#"{"sender":"a"}"#.to_owned(), false),
        (padded(1_024), true),
        (padded(1_999), false),
        (padded(3_023), true),
    ] {
        cell.publish("nodes.data", &body).await;
    }
    let sizes: Vec<_> = cell
        .settled("last")
        .await
        .iter()
        .map(|copy| copy.body.len())
        .collect();
    assert_eq!(sizes, [14, 32, 33, 1_024, 3_023]);
    stop(replicator);
}

#[tokio::test(flavor = "multi_thread")]
async fn sr_case_35_a_document_that_the_target_refuses_is_made_up_for() {
    let cell = Cell::start().await;
    let replicator = cell.replicator(&[
        "inspect_field: sender",
        "inspect_duration: 1h",
        "size_trigger: 10",
    ]);
    cell.seen(&["h1"]).await;
    cell.copies(1).await;
    // Nothing of this size fits, until it may.
    let target = async_nats::jetstream::new(cell.at_target.clone());
    let mut config = target
        .get_stream("FLEET")
        .await
        .unwrap()
        .cached_info()
        .config
        .clone();
    config.max_message_size = 200;
    target.update_stream(&config).await.unwrap();
    let big = format!(r#"{{"sender":"h1","p":"{}"}}"#, "x".repeat(400));
    cell.publish("nodes.data", &big).await;
    let kept = async || {
        super::cell::read(&cell.client, "OVERLAY_REPLICATION_DEAD")
            .await
            .map(|kept| kept.len())
    };
    overlay_testkit::eventually(super::cell::LIMIT, super::cell::PERIOD, || async {
        match kept().await {
            Ok(1) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    config.max_message_size = -1;
    target.update_stream(&config).await.unwrap();
    cell.publish("nodes.data", &big).await;
    let copies = cell.copies(2).await;
    assert_eq!(copies[1].body, big);
    stop(replicator);
}

#[tokio::test(flavor = "multi_thread")]
async fn sr_case_37_subjects_and_headers_sample_as_fields_do() {
    let cell = Cell::start().await;
    let replicator = cell.replicator(&["inspect_subject_token: -1", "inspect_duration: 1h"]);
    for subject in ["nodes.test.1", "nodes.test.1", "nodes.foo.1"] {
        cell.publish(subject, "x").await;
    }
    cell.publish("nodes.last", "x").await;
    let copies = cell.copies(3).await;
    let subjects: Vec<_> = copies.iter().map(|copy| copy.subject.as_str()).collect();
    assert_eq!(
        subjects,
        [
            "fleet.nodes.test.1",
            "fleet.nodes.foo.1",
            "fleet.nodes.last"
        ]
    );
    stop(replicator);

    let cell = Cell::start().await;
    let replicator = cell.replicator(&["inspect_header: Sender", "inspect_duration: 1h"]);
    for node in ["h1", "h1", "h2"] {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Sender", node);
        let sent = cell
            .client
            .publish_with_headers("nodes.data", headers, "x".into());
        sent.await.unwrap();
    }
    cell.client.flush().await.unwrap();
    cell.publish("nodes.data", "last").await;
    let copies = cell.copies(3).await;
    let senders: Vec<_> = copies
        .iter()
        .map(|copy| copy.headers.get("Sender").map(|value| value.as_str()))
        .collect();
    assert_eq!(senders, [Some("h1"), Some("h2"), None]);
    stop(replicator);
}
