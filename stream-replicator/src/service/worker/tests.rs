//! The worker between two real brokers.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream;
use overlay_runtime::{BrokerUrl, CancellationToken, Context, Tasks};
use overlay_testkit::{Broker, eventually};
use tokio::sync::watch;

use super::*;
use crate::config::Sampling as Settings;
use crate::config::*;
use crate::mapping::Mapping;

fn side(broker: &Broker, stream: &str) -> Side {
    Side {
        stream: stream.to_owned(),
        endpoint: Endpoint {
            servers: vec![broker.url().parse::<BrokerUrl>().unwrap()],
            tls: Tls::default(),
            login: Login::None,
            api_prefix: None,
            attempt_limit: Duration::from_secs(5),
        },
    }
}

pub(in crate::service) fn config(source: &Broker, target: &Broker) -> StreamConfig {
    StreamConfig {
        name: "W".to_owned(),
        source: side(source, "TEST"),
        target: side(target, "COPY"),
        filters: Vec::new(),
        mapping: Mapping {
            prefix: Some("copy".to_owned()),
            remove: None,
        },
        create_target: true,
        ephemeral: false,
        target_initiated: false,
        start: Start::All,
        max_age: None,
        sampling: None,
        advisory: None,
        candidate: None,
        writers: Writers::Auto,
        order: Order::Strict,
        window: Window {
            messages: 4096,
            bytes: 8 << 20,
        },
        poison: Poison {
            tries: 3,
            action: PoisonAction::DeadLetter,
            stream: "OVERLAY_REPLICATION_DEAD".to_owned(),
            limit: 10,
        },
        on_gap: Reaction::Continue,
        on_recreated: Reaction::Continue,
        max_hops: 16,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_copied_in_order() {
    let source = Broker::builder().jetstream().start();
    let target = Broker::builder().jetstream().start();
    let client = async_nats::connect(source.url()).await.unwrap();
    let js = jetstream::new(client);
    js.create_stream(jetstream::stream::Config {
        name: "TEST".to_owned(),
        subjects: vec!["TEST".to_owned()],
        ..Default::default()
    })
    .await
    .unwrap();
    let body = bytes::Bytes::from(vec![b'x'; 256]);
    const COUNT: u64 = 100_000;
    let mut acks = Vec::new();
    for _index in 0..COUNT {
        acks.push(js.publish("TEST", body.clone()).await.unwrap());
        if acks.len() == 2000 {
            for ack in acks.drain(..) {
                ack.await.unwrap();
            }
        }
    }
    let cx = Context::new().unwrap();
    let metrics = metrics::Metrics::register(&cx.registry, "SITE", true).unwrap();
    let (_pause, paused) = watch::channel(None);
    let (_ask, questions) = mpsc::channel(1);
    let status = Status::default();
    let worker = Worker {
        config: Arc::new(config(&source, &target)),
        site: "SITE".to_owned(),
        links: Links::new(&cx),
        clock: cx.clock.clone(),
        metrics: metrics.worker("TEST", "W"),
        status: status.clone(),
        leadership: None,
        paused,
        trace: Trace::default(),
        questions,
        state_dir: None,
        tasks: Tasks::new(),
    };
    let shutdown = CancellationToken::new();
    let began = tokio::time::Instant::now();
    let mut set = tokio::task::JoinSet::new();
    set.spawn(worker.run(shutdown.clone()));
    eventually(Duration::from_secs(180), Duration::from_millis(20), || {
        let report = status.report();
        async move {
            if report.handled == COUNT {
                Ok(())
            } else {
                Err(format!("{report:?}"))
            }
        }
    })
    .await;
    let took = began.elapsed();
    tracing::info!(?took, "copied");
    shutdown.cancel();
    set.join_next().await.unwrap().unwrap().unwrap();
    let client = async_nats::connect(target.url()).await.unwrap();
    let js = jetstream::new(client);
    let stream = js.get_stream("COPY").await.unwrap();
    assert_eq!(stream.get_info().await.unwrap().state.messages, COUNT);
}

/// The clock of this host is a day off that of the brokers: ages, silences and what is told of them go by the source's.
async fn with_a_clock_of(offset: Duration, is_ahead: bool) {
    let source = Broker::builder().jetstream().start();
    let target = Broker::builder().jetstream().start();
    let client = async_nats::connect(source.url()).await.unwrap();
    let js = jetstream::new(client.clone());
    for (name, subject) in [("TEST", "TEST.>"), ("ADV", "adv.>")] {
        js.create_stream(jetstream::stream::Config {
            name: name.to_owned(),
            subjects: vec![subject.to_owned()],
            ..Default::default()
        })
        .await
        .unwrap();
    }
    let cx = Context::new().unwrap();
    let real = cx.clock.now();
    let clock = Clock::manual(if is_ahead {
        real + offset
    } else {
        real - offset
    });
    let mut config = config(&source, &target);
    config.max_age = Some(Duration::from_secs(3600));
    config.sampling = Some(Settings {
        inspect: Inspect::Token(std::num::NonZeroUsize::new(2)),
        force: None,
        force_is_strict: false,
        interval: Duration::from_secs(3600),
        warn: Duration::from_secs(600),
        size_trigger: 0.0,
        lifecycle: false,
    });
    config.advisory = Some(Advisory {
        subject: "adv.%s.%v".to_owned(),
        reliable: true,
    });
    for round in 0..2 {
        let metrics = metrics::Metrics::register(&prometheus::Registry::new(), "SITE", true);
        let (_pause, paused) = watch::channel(None);
        let (_ask, questions) = mpsc::channel(1);
        let status = Status::default();
        let worker = Worker {
            config: Arc::new(config.clone()),
            site: "SITE".to_owned(),
            links: Links::new(&Context::new().unwrap()),
            clock: clock.clone(),
            metrics: metrics.unwrap().worker("TEST", "W"),
            status: status.clone(),
            leadership: None,
            paused,
            trace: Trace::default(),
            questions,
            // What is known is read from the target at the second start.
            state_dir: None,
            tasks: Tasks::new(),
        };
        let shutdown = CancellationToken::new();
        let mut set = tokio::task::JoinSet::new();
        set.spawn(worker.run(shutdown.clone()));
        for node in 0..10 {
            let subject = format!("TEST.h{node}");
            js.publish(subject, "{}".into())
                .await
                .unwrap()
                .await
                .unwrap();
        }
        eventually(Duration::from_secs(180), Duration::from_millis(20), || {
            let report = status.report();
            async move {
                if report.handled == 10 * (round + 1) {
                    Ok(())
                } else {
                    Err(format!("{report:?}"))
                }
            }
        })
        .await;
        // Some looks at who is silent.
        tokio::time::sleep(Duration::from_secs(4)).await;
        shutdown.cancel();
        set.join_next().await.unwrap().unwrap().unwrap();
    }
    let at_target = jetstream::new(async_nats::connect(target.url()).await.unwrap());
    let mut copied = at_target.get_stream("COPY").await.unwrap();
    assert_eq!(
        copied.info().await.unwrap().state.messages,
        10,
        "each node once"
    );
    let mut advisories = js.get_stream("ADV").await.unwrap();
    let state = advisories.info().await.unwrap().state.clone();
    for sequence in 1..=state.last_sequence {
        let told = advisories.get_raw_message(sequence).await.unwrap();
        assert!(told.subject.starts_with("adv.new."), "{told:?}");
        let told: serde_json::Value = serde_json::from_slice(&told.payload).unwrap();
        let at = Duration::from_secs(told["timestamp"].as_u64().unwrap());
        let at = std::time::UNIX_EPOCH + at;
        let real = real - Duration::from_secs(5)..real + Duration::from_secs(120);
        assert!(real.contains(&at), "{told}");
    }
    assert!(state.messages >= 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_ahead_makes_nothing_old_and_nobody_silent() {
    Box::pin(with_a_clock_of(Duration::from_secs(86_400), true)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_behind_makes_nothing_new_and_nobody_silent() {
    Box::pin(with_a_clock_of(Duration::from_secs(86_400), false)).await;
}
