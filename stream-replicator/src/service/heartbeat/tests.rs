use std::collections::BTreeMap;

use async_nats::jetstream::{self, kv, stream};
use overlay_protocol::replication::{ORIGINATOR_HEADER, SUBJECT_HEADER, heartbeat_time};
use overlay_runtime::Context;
use overlay_testkit::{Broker, eventually};

use super::*;
use crate::config::{Endpoint, Login, Tls};
use crate::metrics::Metrics;

const LIMIT: Duration = Duration::from_secs(30);
const PERIOD: Duration = Duration::from_millis(50);
const INTERVAL: Duration = Duration::from_millis(200);

fn heartbeats(broker: &Broker, candidate: &str, election: bool) -> Heartbeats {
    let beat = |subject: &str| Beat {
        subject: subject.to_owned(),
        interval: INTERVAL,
        headers: vec![
            ("site".to_owned(), "east".to_owned()),
            ("who".to_owned(), candidate.to_owned()),
        ],
    };
    Heartbeats {
        endpoint: Endpoint {
            servers: vec![broker.url().parse().unwrap()],
            tls: Tls::default(),
            login: Login::None,
            api_prefix: None,
            attempt_limit: Duration::from_secs(5),
        },
        election,
        candidate: candidate.to_owned(),
        beats: vec![beat("hb.a"), beat("nowhere")],
    }
}

async fn stream(broker: &Broker) -> (jetstream::Context, stream::Stream) {
    let client = async_nats::connect(broker.url()).await.unwrap();
    let jetstream = jetstream::new(client);
    let stream = jetstream
        .create_stream(stream::Config {
            name: "HB".to_owned(),
            subjects: vec!["hb.>".to_owned()],
            ..stream::Config::default()
        })
        .await
        .unwrap();
    (jetstream, stream)
}

/// All beats by the header `who`.
async fn by_who(stream: &stream::Stream) -> BTreeMap<String, usize> {
    let last = stream.get_info().await.unwrap().state.last_sequence;
    let mut found = BTreeMap::new();
    for sequence in 1..=last {
        let message = stream.get_raw_message(sequence).await.unwrap();
        let who = message.headers.get("who").unwrap().to_string();
        *found.entry(who).or_default() += 1;
    }
    found
}

#[tokio::test]
async fn sr_case_50_a_beat_has_its_time_and_three_groups_of_headers() {
    let broker = Broker::builder().jetstream().start();
    let (_jetstream, stream) = stream(&broker).await;
    let cx = Context::new().unwrap();
    let metrics = Metrics::register(&cx.registry, "US-EAST", true).unwrap();
    let links = Links::new(&cx);
    let beating = beat(
        heartbeats(&broker, "me", false),
        "US-EAST".to_owned(),
        links,
        metrics,
        cx.clock.clone(),
        cx.shutdown.clone(),
    );
    let count = |name: &str, subject: &str| {
        let text = overlay_runtime::metrics::text(&cx.registry).unwrap();
        let start = format!(
            "choria_stream_replicator_{name}{{replicator=\"US-EAST\",subject=\"{subject}\"}} "
        );
        let line = text.lines().find_map(|line| line.strip_prefix(&start));
        line.map_or(0, |number| number.parse::<u64>().unwrap())
    };
    let seen = async {
        eventually(LIMIT, PERIOD, || async {
            count("heartbeat_published_count", "hb.a") >= 3
                && count("heartbeat_published_error_count", "nowhere") >= 1
        })
        .await;
        cx.shutdown.cancel();
    };
    tokio::join!(beating, seen);
    assert_eq!(count("heartbeat_published_error_count", "hb.a"), 0);
    // What no stream took is not counted as sent, as it is in the original.
    assert_eq!(count("heartbeat_published_count", "nowhere"), 0);
    let message = stream.get_raw_message(1).await.unwrap();
    assert_eq!(message.subject.as_str(), "hb.a");
    let header = |name: &str| message.headers.get(name).unwrap().to_string();
    assert_eq!(header(ORIGINATOR_HEADER), host::name());
    assert_eq!(header(SUBJECT_HEADER), "hb.a");
    assert_eq!(
        (header("site"), header("who")),
        ("east".to_owned(), "me".to_owned())
    );
    let sent = heartbeat_time(&message.payload).unwrap();
    assert!((message.time.unix_timestamp() - sent).abs() <= 2);
}

#[tokio::test]
async fn sr_case_50_a_paused_replica_sends_none_and_takes_over() {
    let broker = Broker::builder().jetstream().start();
    let (jetstream, stream) = stream(&broker).await;
    let bucket = kv::Config {
        bucket: "CHORIA_LEADER_ELECTION".to_owned(),
        history: 1,
        max_age: Duration::from_secs(10),
        ..kv::Config::default()
    };
    jetstream.create_key_value(bucket).await.unwrap();
    let stops = [CancellationToken::new(), CancellationToken::new()];
    let replica = |name: &'static str, stop: &CancellationToken| {
        let cx = Context::new().unwrap();
        let metrics = Metrics::register(&cx.registry, "US-EAST", true).unwrap();
        let (links, clock) = (Links::new(&cx), cx.clock.clone());
        let heartbeats = heartbeats(&broker, name, true);
        beat(
            heartbeats,
            "US-EAST".to_owned(),
            links,
            metrics,
            clock,
            stop.clone(),
        )
    };
    let seen = async {
        eventually(LIMIT, PERIOD, || async {
            by_who(&stream).await.values().sum::<usize>() >= 5
        })
        .await;
        let found = by_who(&stream).await;
        assert_eq!(found.len(), 1, "both beat: {found:?}");
        // The leader stops; the other one beats, and nobody else.
        let leads = usize::from(found.contains_key("two"));
        stops.get(leads).unwrap().cancel();
        eventually(LIMIT, PERIOD, || async { by_who(&stream).await.len() == 2 }).await;
        for stop in &stops {
            stop.cancel();
        }
    };
    let [one, two] = &stops;
    tokio::join!(replica("one", one), replica("two", two), seen);
    let store = jetstream
        .get_key_value("CHORIA_LEADER_ELECTION")
        .await
        .unwrap();
    assert_eq!(store.get("SR_US-EAST_HB").await.unwrap(), None);
}
