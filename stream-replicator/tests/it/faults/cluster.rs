//! The target is a cluster of three: its stream's leader steps down or dies.

use overlay_testkit::{Broker, eventually};
use serde_json::json;

use super::verdict::{self, assert_same};
use super::world::{TARGET, World, ask, connect_to, make_by, stop};
use super::{LIMIT, PERIOD};

const MANY: u64 = 10_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_of_three_replicas_changes_its_leader_under_load() {
    let world = World::start().await;
    let mut cluster = Broker::builder().name("far").jetstream().start_cluster();
    cluster.wait_for_jetstream();
    let client = connect_to(cluster.urls()).await;
    make_by(&client, TARGET, "copy.load.>", json!({ "num_replicas": 3 })).await;
    world.publish(0, MANY).await;
    let mut replicator = world.replicator_to(&cluster.urls(), "");

    for step in 1..=3 {
        reached(&client, step * MANY / 6).await;
        ask(
            &client,
            &format!("STREAM.LEADER.STEPDOWN.{TARGET}"),
            &json!({}),
        )
        .await;
    }
    reached(&client, MANY / 2 + MANY / 6).await;
    let leader = leader(&client).await;
    cluster.named(&leader).kill();
    world.publish(MANY, MANY + 2000).await;
    reached(&client, MANY + 2000).await;
    cluster.named(&leader).start_again();
    cluster.wait_for_jetstream();
    world.publish(MANY + 2000, MANY + 2500).await;
    reached(&client, MANY + 2500).await;
    stop(&mut replicator);
    let target = verdict::read(&client, TARGET).await;
    assert_same(&world.source_messages().await, &target);
}

async fn leader(client: &async_nats::Client) -> String {
    eventually(LIMIT, PERIOD, || async {
        let info = ask(client, &format!("STREAM.INFO.{TARGET}"), &json!({})).await;
        info["cluster"]["leader"].as_str().map(str::to_owned)
    })
    .await
}

/// Waits until the target holds so many messages.
async fn reached(client: &async_nats::Client, messages: u64) {
    eventually(LIMIT, PERIOD, || async {
        let info = ask(client, &format!("STREAM.INFO.{TARGET}"), &json!({})).await;
        let held = info["state"]["messages"].as_u64().unwrap_or_default();
        if held >= messages {
            Ok(())
        } else {
            Err(format!("{held} of {messages} copied"))
        }
    })
    .await;
}
