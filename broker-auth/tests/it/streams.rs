//! The system streams: made, kept, repaired by one instance, without one hindering the others.

use std::time::Duration;

use async_nats::jetstream::{self, stream};
use overlay_testkit::{Broker, eventually};
use serde_json::{Value, json};

use crate::cell::{Cell, OFTEN, Parts, SOON, Service};

const STREAMS: [&str; 5] = [
    "KV_CHORIA_LEADER_ELECTION",
    "CHORIA_EVENTS",
    "CHORIA_MACHINE",
    "CHORIA_STREAM_ADVISORIES",
    "CHORIA_EXECUTOR",
];

async fn stream(client: &async_nats::Client, name: &str) -> Option<Value> {
    let reply = client
        .request(format!("$JS.API.STREAM.INFO.{name}"), "".into())
        .await
        .ok()?;
    let reply: Value = serde_json::from_slice(&reply.payload).ok()?;
    reply.get("config").cloned()
}

async fn wait_for(
    client: &async_nats::Client,
    name: &str,
    holds: impl Fn(&Value) -> bool,
) -> Value {
    eventually(SOON, OFTEN, || async {
        let config = stream(client, name).await.ok_or(format!("no {name}"))?;
        if holds(&config) {
            Ok(config)
        } else {
            Err(format!("{name} is {config}"))
        }
    })
    .await
}

fn leads(service: &Service) -> bool {
    service.metric("overlay_broker_auth_leader") > 0.0
}

#[tokio::test]
async fn all_streams_are_made_as_choria_makes_them() {
    let cell = Cell::start();
    let client = cell.streams().await;
    for name in STREAMS {
        wait_for(&client, name, |_| true).await;
        cell.service
            .wait_for_metric(
                &format!("overlay_broker_auth_stream_ok{{stream=\"{name}\"}}"),
                1.0,
            )
            .await;
    }
    let day = 86_400_000_000_000_u64;
    for (name, subject, age) in [
        ("CHORIA_EVENTS", "choria.lifecycle.>", day),
        ("CHORIA_MACHINE", "choria.machine.>", day),
        ("CHORIA_STREAM_ADVISORIES", "$JS.EVENT.ADVISORY.>", 7 * day),
        (
            "CHORIA_EXECUTOR",
            "choria.submission.in.choria.executor.>",
            day,
        ),
        (
            "KV_CHORIA_LEADER_ELECTION",
            "$KV.CHORIA_LEADER_ELECTION.>",
            60_000_000_000,
        ),
    ] {
        let config = stream(&client, name).await.unwrap();
        assert_eq!(
            (
                &config["subjects"],
                &config["max_age"],
                &config["storage"],
                &config["retention"],
                &config["num_replicas"],
                config["max_bytes"].as_i64().unwrap() > 0,
            ),
            (
                &json!([subject]),
                &json!(age),
                &json!("file"),
                &json!("limits"),
                &json!(1),
                name != "KV_CHORIA_LEADER_ELECTION",
            ),
            "{name}"
        );
    }
    let bucket = stream(&client, "KV_CHORIA_LEADER_ELECTION").await.unwrap();
    for (setting, value) in [
        ("max_msgs_per_subject", json!(1)),
        ("max_msg_size", json!(1024)),
        ("discard", json!("new")),
        ("deny_delete", json!(true)),
        ("allow_rollup_hdrs", json!(true)),
        ("allow_direct", json!(true)),
    ] {
        assert_eq!(bucket[setting], value, "{setting}");
    }
    let context = jetstream::new(client);
    context
        .publish("choria.submission.in.choria.executor.job.1", "x".into())
        .await
        .unwrap()
        .await
        .unwrap();
    let executor = context.get_stream("CHORIA_EXECUTOR").await.unwrap();
    assert_eq!(
        executor.get_raw_message(1).await.unwrap().subject.as_str(),
        "choria.executor.job.1"
    );
}

#[tokio::test]
async fn replication_has_its_streams_and_copies_theirs_where_they_are_wanted() {
    let parts = Parts::new();
    let broker = Broker::builder()
        .tls(&parts.tls)
        .callout(&parts.keys)
        .start();
    let client = parts.streams(broker.port()).await;
    let seed = parts.streams_seed();
    let streams = format!(
        "[streams]\nseed_file = {seed}\ninterval = \"1s\"\nreplication = true\n\
         copies.lon_CHORIA_EVENTS = {{ subjects = [\"replica.lon.CHORIA_EVENTS.>\"] }}\n"
    );
    let service = parts.start_service(&[broker.port()], &streams);
    let day = 86_400_000_000_000_u64;
    for (name, subject, age, bytes) in [
        (
            "KV_OVERLAY_REPLICATION",
            "$KV.OVERLAY_REPLICATION.>",
            0,
            16 << 20,
        ),
        (
            "OVERLAY_REPLICATION_DEAD",
            "choria.stream-replicator.dead.>",
            30 * day,
            256 << 20,
        ),
        (
            "OVERLAY_REPLICATION_ADVISORIES",
            "choria.stream-replicator.advisory.>",
            7 * day,
            256 << 20,
        ),
        (
            "lon_CHORIA_EVENTS",
            "replica.lon.CHORIA_EVENTS.>",
            30 * day,
            1 << 30,
        ),
    ] {
        let config = wait_for(&client, name, |_| true).await;
        assert_eq!(
            (
                &config["subjects"],
                &config["max_age"],
                &config["max_bytes"]
            ),
            (&json!([subject]), &json!(age), &json!(bytes)),
            "{name}"
        );
        service
            .wait_for_metric(
                &format!("overlay_broker_auth_stream_ok{{stream=\"{name}\"}}"),
                1.0,
            )
            .await;
    }
    // The bucket is one that any client takes for one.
    let context = jetstream::new(client.clone());
    let bucket = context.get_key_value("OVERLAY_REPLICATION").await.unwrap();
    let revision = bucket.create("position.A.B", "1".into()).await.unwrap();
    bucket
        .update("position.A.B", "2".into(), revision)
        .await
        .unwrap();
    context.delete_stream("lon_CHORIA_EVENTS").await.unwrap();
    wait_for(&client, "lon_CHORIA_EVENTS", |_| true).await;
}

#[tokio::test]
async fn what_an_operator_changes_or_deletes_is_put_right_and_what_he_adds_is_kept() {
    let cell = Cell::start();
    let client = cell.streams().await;
    let context = jetstream::new(client.clone());
    let mut config = {
        wait_for(&client, "CHORIA_EVENTS", |_| true).await;
        context
            .get_stream("CHORIA_EVENTS")
            .await
            .unwrap()
            .info()
            .await
            .unwrap()
            .config
            .clone()
    };
    config.max_age = Duration::from_secs(60);
    config.duplicate_window = Duration::from_secs(60);
    config.max_bytes = 1 << 20;
    context.update_stream(config).await.unwrap();
    let repaired = wait_for(&client, "CHORIA_EVENTS", |config| {
        config["max_age"] == json!(86_400_000_000_000_u64)
    })
    .await;
    assert_eq!(repaired["max_bytes"], json!(1 << 20));
    context.delete_stream("CHORIA_MACHINE").await.unwrap();
    wait_for(&client, "CHORIA_MACHINE", |_| true).await;
}

#[tokio::test]
async fn a_stream_that_cannot_be_put_right_hinders_no_other_and_is_told() {
    let parts = Parts::new();
    let broker = Broker::builder()
        .tls(&parts.tls)
        .callout(&parts.keys)
        .start();
    let client = parts.streams(broker.port()).await;
    let context = jetstream::new(client.clone());
    context
        .create_stream(stream::Config {
            name: "CHORIA_EVENTS".to_owned(),
            subjects: vec!["choria.lifecycle.>".to_owned()],
            storage: stream::StorageType::Memory,
            ..stream::Config::default()
        })
        .await
        .unwrap();
    // More replicas than a broker alone can have: these cannot be made either.
    let seed = parts.streams_seed();
    let streams =
        format!("[streams]\nseed_file = {seed}\ninterval = \"1s\"\nmachine = {{ replicas = 3 }}\n");
    let service = parts.start_service(&[broker.port()], &streams);
    for name in [
        "KV_CHORIA_LEADER_ELECTION",
        "CHORIA_STREAM_ADVISORIES",
        "CHORIA_EXECUTOR",
    ] {
        wait_for(&client, name, |_| true).await;
    }
    assert_eq!(
        stream(&client, "CHORIA_EVENTS").await.unwrap()["storage"],
        "memory"
    );
    assert!(stream(&client, "CHORIA_MACHINE").await.is_none());
    eventually(SOON, OFTEN, || async {
        let (_, report) = service.readiness();
        let parts = &report["parts"];
        let down = |name: &str| parts[name]["status"] == "down";
        let up = |name: &str| parts[name]["status"] == "up";
        if down("stream:CHORIA_EVENTS")
            && down("stream:CHORIA_MACHINE")
            && up("stream:CHORIA_EXECUTOR")
        {
            Ok(())
        } else {
            Err(report.to_string())
        }
    })
    .await;
    // Logins do not depend on streams.
    let connect = crate::login::client(&parts.organisation, crate::login::fleet());
    eventually(SOON, OFTEN, || async {
        parts.login(broker.port(), &connect).map(|_| ())
    })
    .await;
}

#[tokio::test]
async fn one_of_two_instances_acts_and_the_other_takes_over() {
    let parts = Parts::new();
    let broker = Broker::builder()
        .tls(&parts.tls)
        .callout(&parts.keys)
        .start();
    let seed = parts.streams_seed();
    let streams = format!(
        "[streams]\nseed_file = {seed}\ninterval = \"1s\"\nelection = {{ retention = \"5s\" }}\n"
    );
    let mut instances = [
        parts.service(&[broker.port()], &streams),
        parts.service(&[broker.port()], &streams),
    ];
    eventually(SOON, OFTEN, || async {
        leads(&instances[0]) != leads(&instances[1])
    })
    .await;
    let leader = usize::from(leads(&instances[1]));
    instances[leader].process.kill();
    let other = &instances[1 - leader];
    other
        .wait_for_metric("overlay_broker_auth_leader", 1.0)
        .await;
    let client = parts.streams(broker.port()).await;
    jetstream::new(client.clone())
        .delete_stream("CHORIA_EVENTS")
        .await
        .unwrap();
    wait_for(&client, "CHORIA_EVENTS", |_| true).await;
}

#[tokio::test]
async fn replicas_are_added_in_a_cluster_and_never_taken_away() {
    let parts = Parts::new();
    let cluster = Broker::builder()
        .name("b")
        .tls(&parts.tls)
        .callout(&parts.keys)
        .start_cluster();
    cluster.wait_for_jetstream();
    let port = cluster.brokers[0].port();
    let client = parts.streams(port).await;
    let seed = parts.streams_seed();
    let with = |replicas: u8| {
        format!(
            "[streams]\nseed_file = {seed}\ninterval = \"1s\"\nreplicas = {replicas}\nelection = {{ retention = \"5s\" }}\n"
        )
    };
    for (replicas, due) in [(1, 1), (3, 3), (1, 3)] {
        let mut service = parts.service(&[port], &with(replicas));
        wait_for(&client, "CHORIA_EVENTS", |config| {
            config["num_replicas"] == json!(due)
        })
        .await;
        service
            .wait_for_metric(
                "overlay_broker_auth_stream_ok{stream=\"CHORIA_EVENTS\"}",
                1.0,
            )
            .await;
        eventually(SOON, OFTEN, || async { leads(&service) }).await;
        service
            .wait_for_metric(
                "overlay_broker_auth_stream_ok{stream=\"CHORIA_MACHINE\"}",
                1.0,
            )
            .await;
        assert_eq!(
            stream(&client, "CHORIA_EVENTS").await.unwrap()["num_replicas"],
            json!(due)
        );
        service.process.terminate();
        service.process.wait(SOON);
    }
}
