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
