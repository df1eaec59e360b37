//! What readiness and metrics say.

use overlay_testkit::eventually;

use super::cell::Cell;
use super::{LIMIT, PERIOD};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sr_case_51_readiness_fails_while_one_worker_is_not_running_and_the_others_go_on() {
    let cell = Cell::start().await;
    let second = "[[streams]]\nname = \"W2\"\nstream = \"LATER\"\ntarget_stream = \"LATER_COPY\"\n";
    let replica = cell.replica_with(&cell.config(None, "", second));
    cell.publish(0, 5).await;
    cell.has_copied(5).await;
    replica.is_down("worker:LATER/W2", "").await;
    let (_, parts) = replica.ready().unwrap();
    assert_eq!(parts["worker:NODES/W1"]["status"], "up", "{parts}");
    for line in [
        r#"overlay_stream_replicator_worker_running{replicator="SITE",stream="NODES",worker="W1"} 1"#,
        r#"overlay_stream_replicator_worker_running{replicator="SITE",stream="LATER",worker="W2"} 0"#,
        r#"choria_stream_replicator_replicator_copied_messages{replicator="SITE",stream="NODES",worker="W1"} 5"#,
        r#"choria_stream_replicator_replicator_stream_lag_messages{replicator="SITE",stream="NODES",worker="W1"} 0"#,
        r#"choria_stream_replicator_replicator_stream_sequence{replicator="SITE",stream="NODES",worker="W1"} 5"#,
    ] {
        eventually(LIMIT, PERIOD, || async {
            let metrics = replica.metrics();
            if metrics.contains(line) {
                Ok(())
            } else {
                Err(format!("{line} is missing in\n{metrics}"))
            }
        })
        .await;
    }

    let config = async_nats::jetstream::stream::Config {
        name: "LATER".to_owned(),
        ..async_nats::jetstream::stream::Config::default()
    };
    cell.at_source().await.create_stream(config).await.unwrap();
    replica.is_ready().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copying_goes_on_without_the_home_broker() {
    let mut cell = Cell::start().await;
    cell.home.kill();
    let replica = cell.replica(None);
    cell.publish(0, 5).await;
    cell.has_copied(5).await;
    replica.is_down("broker:control", "").await;
    cell.home.start_again();
    replica.is_ready().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_waits_for_its_target_falls_behind_and_says_so() {
    let mut cell = Cell::start().await;
    let mut replica = cell.replica(None);
    cell.publish(0, 5).await;
    cell.has_copied(5).await;
    assert!(replica.process.stop(LIMIT).success());
    cell.target.kill();
    cell.publish(5, 25).await;
    let replica = cell.replica(None);
    let labels = r#"{replicator="SITE",stream="NODES",worker="W1"}"#;
    eventually(LIMIT, PERIOD, || async {
        let metrics = replica.metrics();
        let value = |name: &str| {
            let start = format!("overlay_stream_replicator_{name}{labels} ");
            let found = metrics.lines().find_map(|line| line.strip_prefix(&start));
            found.and_then(|value| value.parse::<f64>().ok())
        };
        let found = (value("lag_messages"), value("lag_seconds"));
        match found {
            (Some(20.0), Some(seconds)) if seconds > 0.0 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    cell.target.start_again();
    cell.has_copied(25).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn state_that_cannot_be_written_is_told_in_readiness_until_it_can() {
    let cell = Cell::start().await;
    let state = tempfile::tempdir().unwrap();
    // Where the file is made stands a directory.
    let blocked = state.path().join("NODES_W1.json.tmp");
    let sampled = "sampling = { token = 2, interval = \"1h\" }\n";
    let config = cell.config(None, sampled, "");
    let config = format!("state_dir = {:?}\n{config}", state.path());
    std::fs::create_dir(&blocked).unwrap();
    let replica = cell.replica_with(&config);
    cell.publish(0, 5).await;
    replica
        .is_down("worker:NODES/W1", "state is not kept")
        .await;
    cell.has_copied(5).await;
    let labels = r#"{replicator="SITE",stream="NODES",worker="W1"}"#;
    let failures = format!("overlay_stream_replicator_state_write_failures_total{labels} ");
    let metrics = replica.metrics();
    let failures = metrics
        .lines()
        .find_map(|line| line.strip_prefix(&failures));
    assert!(failures.is_some_and(|number| number != "0"), "{metrics}");
    std::fs::remove_dir(&blocked).unwrap();
    replica.is_ready().await;
}
