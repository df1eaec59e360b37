//! The target refuses: it is full, it is smaller, it is another than expected.

use std::time::Duration;

use overlay_testkit::{Broker, Process, eventually, http_get};
use serde_json::{Value, json};

use super::world::{SITE, SOURCE, TARGET, World, ask, connect, start, stop};
use super::{LIMIT, PERIOD};

/// Waits until the replicator told of something.
async fn told(replicator: &Process, part: &str) {
    eventually(LIMIT, PERIOD, || async {
        (replicator.stdout() + &replicator.stderr())
            .contains(part)
            .then_some(())
            .ok_or(format!("nothing with {part:?} is told"))
    })
    .await;
}

/// A replicator, and the port of its admin listener.
fn replicator_with_admin(world: &World) -> (Process, u16) {
    let text = format!(
        "name = \"{SITE}\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[source]\nservers = [{:?}]\n[target]\nservers = [{:?}]\n[[streams]]\n\
         name = \"W\"\nstream = \"{SOURCE}\"\ntarget_stream = \"{TARGET}\"\nprefix = \"copy\"\ncreate_target = true\n",
        world.to_source.url(),
        world.to_target.url(),
    );
    let path = world.path("limits.toml");
    std::fs::write(&path, text).unwrap();
    let mut process = start(&path);
    let line = process.wait_for_line("admin listener", LIMIT);
    let port = line.rsplit(':').next().unwrap().trim().parse().unwrap();
    (process, port)
}

fn readiness(port: u16) -> Result<(bool, String), String> {
    let (status, body) = http_get(port, "/ready").map_err(|error| error.to_string())?;
    let report: Value = serde_json::from_str(&body).map_err(|error| error.to_string())?;
    let part = report["parts"][format!("worker:{SOURCE}/W")].to_string();
    Ok((status == 200, part))
}

/// Waits until the process is not ready because the worker is not, for a reason with this in it.
async fn is_down(port: u16, reason: &str) {
    eventually(LIMIT, PERIOD, || async {
        let (is_ready, part) = readiness(port)?;
        (!is_ready && part.contains(reason))
            .then_some(())
            .ok_or(part)
    })
    .await;
}

async fn is_up(port: u16) {
    eventually(LIMIT, PERIOD, || async {
        let (is_ready, part) = readiness(port)?;
        is_ready.then_some(()).ok_or(part)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_without_room_is_waited_for_and_nothing_is_lost() {
    // Room for a part of it: the broker refuses until there is more.
    let store = tempfile::tempdir().unwrap();
    let room = |size: &str| {
        let store = store.path().display();
        format!("jetstream {{ store_dir: \"{store}\", max_file_store: {size} }}")
    };
    let target = Broker::builder().name("target").config(room("512KB"));
    let mut world = World::with_target(target.start()).await;
    world.publish(0, 6000).await;
    let (mut replicator, port) = replicator_with_admin(&world);
    world.copied_up_to(500).await;
    told(&replicator, "insufficient").await;
    is_down(port, "insufficient").await;
    world.target.set_config(room("64MB"));
    world.target.restart();
    world.copied().await;
    is_up(port).await;
    world.verify(&mut replicator).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_target_that_discards_new_is_waited_for_and_nothing_is_lost() {
    let world = World::start().await;
    world
        .make_target(json!({ "max_msgs": 1000, "discard": "new" }))
        .await;
    world.publish(0, 3000).await;
    let (mut replicator, port) = replicator_with_admin(&world);
    world.copied_up_to(1000).await;
    told(&replicator, "10077").await;
    is_down(port, "10077").await;
    let client = connect(&world.target).await;
    let mut config =
        ask(&client, &format!("STREAM.INFO.{TARGET}"), &json!({})).await["config"].take();
    config["max_msgs"] = json!(-1);
    let updated = ask(&client, &format!("STREAM.UPDATE.{TARGET}"), &config).await;
    assert!(updated["error"].is_null(), "{updated}");
    world.copied().await;
    is_up(port).await;
    world.verify(&mut replicator).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_with_other_limits_keeps_the_newest_in_order() {
    let world = World::start().await;
    world.make_target(json!({ "max_msgs": 1000 })).await;
    world.publish(0, 5000).await;
    let mut replicator = world.replicator("");
    world.copied().await;
    replicator.kill();
    world.publish(5000, 5500).await;
    let mut replicator = world.replicator("");
    world.copied().await;
    stop(&mut replicator);
    let source = world.source_messages().await;
    let target = world.target_messages().await;
    assert_eq!(target.len(), 1000);
    super::verdict::assert_same(&source[4500..], &target);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_with_a_short_window_of_duplicates_doubles_nothing() {
    let world = World::start().await;
    world
        .make_target(json!({ "duplicate_window": 100_000_000_u64 }))
        .await;
    world.publish(0, 10_000).await;
    for round in 0..4 {
        let mut replicator = world.replicator("");
        world.copied_up_to(1 + round * 2000).await;
        replicator.kill();
        // Longer than the window: the broker forgets all message ids.
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    let mut replicator = world.replicator("");
    world.verify(&mut replicator).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_acknowledges_nothing_is_refused_with_the_reason() {
    let world = World::start().await;
    world.make_target(json!({ "no_ack": true })).await;
    world.publish(0, 10).await;
    let mut replicator = world.replicator("");
    told(&replicator, "no_ack").await;
    assert_eq!(world.target_messages().await.len(), 0);
    assert!(replicator.has_ended().is_none(), "it waits for an operator");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_too_large_for_the_target_is_kept_aside_and_the_rest_arrives() {
    let world = World::start().await;
    world.make_target(json!({ "max_msg_size": 1000 })).await;
    let client = connect(&world.source).await;
    world.publish(0, 50).await;
    client
        .publish("load.big", vec![b'x'; 5000].into())
        .await
        .unwrap();
    client.flush().await.unwrap();
    world.stored(&client, 51).await;
    world.publish(50, 100).await;
    let mut replicator = world.replicator("");
    world.copied().await;
    stop(&mut replicator);
    let mut source = world.source_messages().await;
    let big = source.remove(50);
    super::verdict::assert_same(&source, &world.target_messages().await);
    let dead = super::verdict::read(&client, "OVERLAY_REPLICATION_DEAD").await;
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].body, big.body);
    assert_eq!(
        dead[0]
            .headers
            .get("Overlay-Dead-Sequence")
            .unwrap()
            .as_str(),
        "51"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_stream_deleted_under_load_is_waited_for_or_made_anew() {
    let world = World::start().await;
    world.publish(0, 1000).await;
    let mut replicator = world.replicator("");
    world.copied().await;
    let client = connect(&world.target).await;
    ask(&client, &format!("STREAM.DELETE.{TARGET}"), &json!({})).await;
    world.publish(1000, 2000).await;
    world.copied().await;
    stop(&mut replicator);
    // What went with the old stream stays gone, as after a purge; nothing behind it is missing or doubled.
    let source = world.source_messages().await;
    super::verdict::assert_same(&source[1000..], &world.target_messages().await);
}
