//! Streams that keep what somebody wants, read by a consumer that was left with much under way.

use overlay_runtime::{BrokerUrl, CancellationToken, Context};
use overlay_testkit::{Broker, eventually};

use super::*;
use crate::config::{Endpoint, Login, Tls};
use crate::service::connect::Links;
use crate::service::worker::tests::config;

const LIMIT: Duration = Duration::from_secs(30);

struct Source {
    broker: Broker,
    link: Link,
    config: StreamConfig,
}

impl Source {
    /// A stream of ten messages by interest, all of them delivered to nobody who acknowledged them.
    async fn start(window: usize, bytes: usize) -> Self {
        let broker = Broker::builder().jetstream().start();
        let endpoint = Endpoint {
            servers: vec![broker.url().parse::<BrokerUrl>().unwrap()],
            tls: Tls::default(),
            login: Login::None,
            api_prefix: None,
            attempt_limit: Duration::from_secs(5),
        };
        let links = Links::new(&Context::new().unwrap());
        let shutdown = CancellationToken::new();
        let open = links.open("source", &endpoint, &shutdown);
        let mut config = config(&broker, &broker);
        config.window.bytes = window;
        let source = Self {
            link: open.await.unwrap(),
            broker,
            config,
        };
        let stream = json!({ "name": "TEST", "subjects": ["TEST"], "retention": "interest", "storage": "file" });
        let made = || api::create_stream(&source.link.jetstream, "TEST", &stream);
        eventually(LIMIT, Duration::from_millis(20), || async {
            made().await.map_err(|error| error.to_string())
        })
        .await;
        let mut reader = source.open().await;
        for _message in 0..10 {
            let body = Bytes::from(vec![b'x'; bytes]);
            source.link.client.publish("TEST", body).await.unwrap();
        }
        for _message in 0..10 {
            message(&mut reader).await;
        }
        source
    }

    async fn open(&self) -> Reader {
        Reader::open(&self.link, &self.config, From::Behind(0), Mode::Interest)
            .await
            .unwrap()
    }

    async fn acknowledge(&self, message: &Message) {
        let ack = message.reply.clone().unwrap();
        self.link.client.publish(ack, "+ACK".into()).await.unwrap();
    }
}

async fn message(reader: &mut Reader) -> (Message, u64) {
    match tokio::time::timeout(LIMIT, reader.next()).await.unwrap() {
        Read::Message(message, delivery) => (message, delivery.stream),
        other @ (Read::Unplaced | Read::Broken(_)) => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_acknowledged_comes_again_in_order_before_what_is_new() {
    let source = Source::start(1 << 20, 10).await;
    source
        .link
        .client
        .publish("TEST", "new".into())
        .await
        .unwrap();
    let mut reader = source.open().await;
    for sequence in 1..=10 {
        assert_eq!(message(&mut reader).await.1, sequence);
    }
    // Those that nobody acknowledges may come once more; who reads knows them.
    while message(&mut reader).await.1 != 11 {}
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_gone_from_the_stream_meanwhile_is_not_waited_for() {
    let source = Source::start(1 << 20, 10).await;
    let kept: Value = api::ask(
        &source.link.jetstream,
        "STREAM.PURGE.TEST".to_owned(),
        &json!({ "keep": 4 }),
    )
    .await
    .unwrap();
    assert_eq!(kept["purged"], 6);
    let began = Instant::now();
    let mut reader = source.open().await;
    assert!(began.elapsed() < Duration::from_secs(15));
    for sequence in 7..=10 {
        assert_eq!(message(&mut reader).await.1, sequence);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_again_is_taken_in_parts_that_there_is_room_for() {
    let source = Source::start(350_000, 100_000).await;
    let mut read = Vec::new();
    for _part in 0..4 {
        let mut reader = source.open().await;
        assert!(reader.returned.len() <= 3, "{}", reader.returned.len());
        for _message in 0..reader.returned.len() {
            let (message, sequence) = message(&mut reader).await;
            source.acknowledge(&message).await;
            read.push(sequence);
        }
        let is_part = reader.is_part;
        if is_part {
            let next = tokio::time::timeout(LIMIT, reader.next()).await.unwrap();
            assert!(matches!(next, Read::Broken(_)), "{next:?}");
        }
    }
    assert_eq!(read, (1..=10).collect::<Vec<_>>());
    assert!(source.broker.pid().is_some());
}

#[test]
fn a_message_that_did_not_come_again_is_missed() {
    let mut returned = Returned::new(1000);
    let delivery = |stream| Delivery {
        stream,
        consumer: 1,
        times: 2,
        time_ns: 0,
        pending: 0,
    };
    let message = || Message {
        subject: "TEST".into(),
        reply: None,
        payload: Bytes::new(),
        headers: None,
        status: None,
        description: None,
        length: 10,
    };
    for sequence in [2, 4, 2] {
        returned.take(message(), delivery(sequence));
    }
    assert!(returned.is_whole(2) && !returned.is_whole(3));
    returned.take(message(), delivery(3));
    assert!(returned.is_whole(3));
    let (messages, is_part) = returned.into_messages();
    let order: Vec<u64> = messages
        .iter()
        .map(|(_, delivery)| delivery.stream)
        .collect();
    assert_eq!((order, is_part), (vec![2, 3, 4], false));
}

#[tokio::test(flavor = "multi_thread")]
async fn other_filters_in_the_file_become_those_of_the_consumer_that_is_there() {
    let mut source = Source::start(1 << 20, 10).await;
    let stream = json!({
        "name": "TEST", "subjects": ["TEST", "OTHER", "THIRD"], "retention": "interest", "storage": "file",
    });
    let updated: Value = api::ask(
        &source.link.jetstream,
        "STREAM.UPDATE.TEST".to_owned(),
        &stream,
    )
    .await
    .unwrap();
    assert!(updated["config"].is_object(), "{updated}");
    // What was delivered before the change is still owed.
    source.config.filters = vec!["TEST".to_owned(), "OTHER".to_owned()];
    let mut reader = source.open().await;
    for subject in ["TEST", "OTHER", "THIRD", "OTHER"] {
        let published = source.link.client.publish(subject, "new".into());
        published.await.unwrap();
    }
    let mut read = Vec::new();
    while read.last() != Some(&14) {
        let (message, sequence) = message(&mut reader).await;
        source.acknowledge(&message).await;
        read.push(sequence);
    }
    read.sort_unstable();
    read.dedup();
    assert_eq!(read, (1..=12).chain([14]).collect::<Vec<_>>());
    for wanted in [
        source.config.filters.clone(),
        vec!["OTHER".to_owned()],
        Vec::new(),
    ] {
        source.config.filters = wanted.clone();
        let reader = source.open().await;
        let info = api::consumer_info(&source.link.jetstream, "TEST", &reader.name).await;
        assert_eq!(filters(&info.unwrap().config), wanted);
    }
}
