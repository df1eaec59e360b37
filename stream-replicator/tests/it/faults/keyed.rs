//! The order of keys under faults: each subject's messages in the source's order, whatever else passes.

use std::collections::BTreeMap;
use std::fs;

use overlay_testkit::{Broker, Process, Way, eventually};
use serde_json::json;

use super::verdict::{self, Stored, assert_same, source_sequence};
use super::world::{
    Load, SITE, SOURCE, TARGET, World, ask, connect, connect_to, make_by, start, stop,
};
use super::{Dice, LIMIT, PERIOD};

const MANY: u64 = 10_000;
/// Identifiers are forgotten so soon that they guard nothing.
const FORGETFUL: u64 = 100_000_000;

fn replicator(world: &World, target: &str) -> Process {
    let servers: Vec<&str> = target.split(',').collect();
    let text = format!(
        "name = \"{SITE}\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[source]\nservers = [\"{}\"]\n[target]\nservers = {servers:?}\n[[streams]]\nstream = \"{SOURCE}\"\n\
         target_stream = \"{TARGET}\"\nprefix = \"copy\"\norder = \"key\"\n",
        world.to_source.url(),
    );
    let path = world.path("keyed.toml");
    fs::write(&path, text).unwrap();
    start(&path)
}

/// Fails unless each message is there once, and the messages of each subject in their order.
#[track_caller]
fn assert_kept(source: &[Stored], target: &[Stored]) {
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    for message in target {
        let sequence = source_sequence(&message.headers).unwrap();
        let before = last.insert(&message.subject, sequence);
        assert!(
            before.is_none_or(|before| before < sequence),
            "{sequence} of {} comes behind {before:?}",
            message.subject
        );
    }
    let mut sorted = target.to_vec();
    sorted.sort_by_key(|message| source_sequence(&message.headers));
    assert_same(source, &sorted);
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

async fn verify(world: &World, replicator: &mut Process) {
    let wanted = u64::try_from(world.source_messages().await.len()).unwrap();
    reached(&connect(&world.target).await, wanted).await;
    stop(replicator);
    assert_kept(
        &world.source_messages().await,
        &world.target_messages().await,
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_keep_their_order_whenever_the_replicator_is_killed() {
    let world = World::start().await;
    world
        .make_target(json!({ "duplicate_window": FORGETFUL }))
        .await;
    world.publish(0, MANY).await;
    let mut dice = Dice::new(21);
    for _ in 0..8 {
        let mut replicator = replicator(&world, &world.to_target.url());
        tokio::time::sleep(dice.millis(100, 600)).await;
        replicator.kill();
    }
    world.publish(MANY, MANY + 100).await;
    let mut replicator = replicator(&world, &world.to_target.url());
    verify(&world, &mut replicator).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_keep_their_order_when_the_target_is_killed_and_links_are_cut() {
    let mut world = World::start().await;
    world
        .make_target(json!({ "duplicate_window": FORGETFUL }))
        .await;
    let mut replicator = replicator(&world, &world.to_target.url());
    let mut dice = Dice::new(22);
    let load = Load::start(&world, 0).await;
    for round in 0..6 {
        tokio::time::sleep(dice.millis(200, 700)).await;
        match round % 3 {
            0 => {
                world.target.kill();
                tokio::time::sleep(dice.millis(50, 800)).await;
                world.target.start_again();
            }
            1 => {
                // The target stores; its word is lost; then the link goes.
                world.to_target.swallow(Way::ToClient);
                tokio::time::sleep(dice.millis(50, 500)).await;
                world.to_target.flow();
                world.to_target.cut();
            }
            _ => world.to_source.cut(),
        }
    }
    load.finish().await;
    verify(&world, &mut replicator).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_keep_their_order_while_a_replicated_target_changes_its_leader() {
    let world = World::start().await;
    let cluster = Broker::builder().name("far").jetstream().start_cluster();
    cluster.wait_for_jetstream();
    let client = connect_to(cluster.urls()).await;
    make_by(&client, TARGET, "copy.load.>", json!({ "num_replicas": 3 })).await;
    world.publish(0, MANY).await;
    let mut replicator = replicator(&world, &cluster.urls());
    for step in 1..=3 {
        reached(&client, step * MANY / 6).await;
        let stepdown = format!("STREAM.LEADER.STEPDOWN.{TARGET}");
        ask(&client, &stepdown, &json!({})).await;
    }
    reached(&client, MANY).await;
    world.publish(MANY, MANY + 500).await;
    reached(&client, MANY + 500).await;
    stop(&mut replicator);
    let target = verdict::read(&client, TARGET).await;
    assert_kept(&world.source_messages().await, &target);
}
