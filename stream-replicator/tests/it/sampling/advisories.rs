//! What is told of values.

use overlay_protocol::lifecycle::{COMPONENT_SERVER, Event, EventKind};
use overlay_testkit::eventually;

use super::cell::{Cell, LIMIT, PERIOD, read, stop, stream, told};

const RELIABLE: &str = "advisory: {subject: adv.%s.%v, reliable: true}";

#[tokio::test(flavor = "multi_thread")]
async fn sr_case_38_and_39_a_node_appears_falls_silent_returns_and_is_forgotten() {
    let cell = Cell::start().await;
    stream(&cell.client, "ADV", &["adv.>"]).await;
    let replicator = cell.replicator(&[
        "inspect_field: sender",
        "inspect_duration: 12s",
        "warn_duration: 3s",
        RELIABLE,
    ]);
    cell.seen(&["h1.example.net"]).await;
    cell.advisories(2).await;
    cell.seen(&["h1.example.net"]).await;
    let advisories = cell.advisories(5).await;
    let node = "h1.example.net";
    assert_eq!(
        told(&advisories),
        [
            ("new", node),
            ("timeout", node),
            ("recover", node),
            ("timeout", node),
            ("expire", node)
        ]
    );
    cell.seen(&["h1.example.net"]).await;
    cell.advisories(6).await;
    let stored = read(&cell.client, "ADV").await.unwrap();
    for (stored, advisory) in stored.iter().zip(&advisories) {
        let subject = format!("adv.{}.h1.example.net", advisory.event.name());
        assert_eq!(stored.subject, subject);
        let id = stored.headers.get("Nats-Msg-Id").unwrap().to_string();
        assert_eq!(id, advisory.event_id.to_string());
        assert_eq!(id.len(), 27);
        assert!(
            stored
                .body
                .starts_with(r#"{"protocol":"io.choria.sr.v2.age_advisory","event_id":""#)
        );
    }
    assert_eq!(
        (advisories[0].age, &*advisories[0].inspect_field),
        (0, "sender")
    );
    assert!((3..12).contains(&advisories[1].age), "{:?}", advisories[1]);
    stop(replicator);
}

#[tokio::test(flavor = "multi_thread")]
async fn sr_case_40_nothing_is_lost_while_no_stream_takes_advisories() {
    const NODES: usize = 2_000;

    let cell = Cell::start().await;
    let mut replicator = cell.replicator(&[
        "inspect_field: sender",
        "inspect_duration: 8s",
        "warn_duration: 4s",
        RELIABLE,
    ]);
    for number in 0..NODES {
        let body = format!(r#"{{"sender":"h{number}"}}"#);
        cell.client
            .publish("nodes.data", body.into())
            .await
            .unwrap();
    }
    cell.client.flush().await.unwrap();
    cell.copies(NODES).await;
    // All fall silent and are forgotten, and nobody takes word of it; nor does it help to be killed.
    eventually(LIMIT, PERIOD, || async {
        let owed = cell.written("one").matches("\"event\":\"expire\"").count();
        if owed >= NODES {
            Ok(())
        } else {
            Err(format!("{owed} are to be told"))
        }
    })
    .await;
    replicator.kill();
    drop(replicator);
    let replicator = cell.replicator(&[
        "inspect_field: sender",
        "inspect_duration: 8s",
        "warn_duration: 4s",
        RELIABLE,
    ]);
    stream(&cell.client, "ADV", &["adv.>"]).await;
    let advisories = cell.advisories(3 * NODES).await;
    let mut events = std::collections::BTreeMap::<_, Vec<_>>::new();
    for advisory in &advisories {
        events
            .entry(&advisory.value)
            .or_default()
            .push(advisory.event.name());
    }
    assert_eq!(events.len(), NODES);
    for (value, events) in &events {
        assert_eq!(*events, ["new", "timeout", "expire"], "{value}");
    }
    stop(replicator);
}

/// After a stop, over a line on which the first message takes longer than the first look at who is silent.
#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_that_has_yet_to_come_makes_nobody_silent() {
    const NODES: [&str; 5] = ["h1", "h2", "h3", "h4", "h5"];
    let lines = [
        "inspect_field: sender",
        "inspect_duration: 1h",
        "warn_duration: 10s",
        RELIABLE,
    ];

    let cell = Cell::start().await;
    stream(&cell.client, "ADV", &["adv.>"]).await;
    let line = overlay_testkit::Proxy::start(cell.source.port()).await;
    let replicator = cell.replica_from(&line.url(), "one", &lines);
    cell.seen(&NODES).await;
    cell.advisories(NODES.len()).await;
    stop(replicator);
    // All go on being well, for longer than a silence is borne.
    for _second in 0..12 {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        cell.seen(&NODES).await;
    }
    line.delay(std::time::Duration::from_millis(900));
    let replicator = cell.replica_from(&line.url(), "one", &lines);
    let well = async {
        loop {
            cell.seen(&NODES).await;
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        }
    };
    let until = async {
        cell.settled("last").await;
        // Some looks at who is silent.
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    };
    tokio::select! {
        () = well => {}
        () = until => {}
    }
    let advisories = cell.advisories(NODES.len() + 1).await;
    let of_nodes: Vec<_> = told(&advisories)
        .into_iter()
        .filter(|(_, value)| *value != "last")
        .collect();
    assert_eq!(of_nodes, NODES.map(|node| ("new", node)));
    stop(replicator);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_shuts_down_in_good_order_raises_no_alarm() {
    let cell = Cell::start().await;
    stream(&cell.client, "ADV", &["adv.>"]).await;
    // Our own file: the original's has no such thing.
    let path = cell.dir.path().join("own.toml");
    let text = format!(
        "name = \"SITE\"\n[[streams]]\nname = \"W1\"\nstream = \"NODES\"\ntarget_stream = \"FLEET\"\nprefix = \"fleet\"\n\
         [streams.source]\nservers = [\"{}\"]\n[streams.target]\nservers = [\"{}\"]\n\
         [streams.sampling]\nfield = \"sender\"\ninterval = \"16s\"\nwarn = \"8s\"\nlifecycle = true\n\
         [streams.advisory]\nsubject = \"adv.%s.%v\"\nreliable = true\n",
        cell.source.url(),
        cell.target.url(),
    );
    std::fs::write(&path, text).unwrap();
    let replicator =
        overlay_testkit::Process::builder(env!("CARGO_BIN_EXE_overlay-stream-replicator"))
            .arg("--config")
            .arg(&path)
            .start();
    cell.seen(&["h1", "h2"]).await;
    cell.advisories(2).await;
    let event = Event::new("1", "h1", COMPONENT_SERVER, 1, EventKind::Shutdown);
    let subject = event.subject().unwrap();
    let body = event.to_cloudevent_json();
    cell.client.publish(subject, body.into()).await.unwrap();
    let advisories = cell.advisories(5).await;
    let mut events = told(&advisories);
    events.sort_unstable();
    assert_eq!(
        events,
        [
            ("expire", "h2"),
            ("new", "h1"),
            ("new", "h2"),
            ("shutdown", "h1"),
            ("timeout", "h2")
        ]
    );
    let shutdown = advisories
        .iter()
        .find(|advisory| advisory.event.name() == "shutdown");
    assert_eq!(
        shutdown.unwrap().event.protocol(),
        "io.overlay.sr.v1.lifecycle_advisory"
    );
    stop(replicator);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_reliable_is_published_once_and_its_subject_is_made_of_the_value_safely() {
    let cell = Cell::start().await;
    let mut heard = cell.client.subscribe("adv.>").await.unwrap();
    let replicator = cell.replicator(&[
        "inspect_field: sender",
        "inspect_duration: 1h",
        "advisory: {subject: adv.%s.%v}",
    ]);
    cell.seen(&["a b.>"]).await;
    let message = tokio::time::timeout(LIMIT, futures_util::StreamExt::next(&mut heard))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(message.subject.as_str(), "adv.new.a_b._");
    assert!(message.headers.is_none());
    eventually(LIMIT, PERIOD, || async {
        if replicator.stderr().contains("panicked") {
            return Err("it fell over");
        }
        Ok(())
    })
    .await;
    stop(replicator);
}
