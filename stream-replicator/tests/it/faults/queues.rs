//! Sources whose messages go with their acknowledgement: work queues, and streams that keep what somebody wants.

use serde_json::json;

use super::world::{Load, SOURCE, World, ask, connect, stop};
use super::{Dice, LIMIT, PERIOD};

const MANY: u64 = 8000;

/// The bodies in the target must be the numbers from 0 on, each once and in order.
async fn whole(world: &World, published: u64) {
    let bodies: Vec<u64> = world
        .target_messages()
        .await
        .iter()
        .filter_map(|it| std::str::from_utf8(&it.body).ok()?.parse().ok())
        .collect();
    let first_wrong = (0..published)
        .zip(bodies.iter().copied().chain(std::iter::repeat(u64::MAX)))
        .find(|(wanted, found)| wanted != found);
    assert_eq!(first_wrong, None, "(wanted, found) of {published}");
    assert_eq!(bodies.len() as u64, published);
}

/// Waits until nothing is left in the source.
async fn drained(world: &World) {
    let client = connect(&world.source).await;
    overlay_testkit::eventually(LIMIT, PERIOD, || async {
        let info = ask(&client, &format!("STREAM.INFO.{SOURCE}"), &json!({})).await;
        match info["state"]["messages"].as_u64() {
            Some(0) => Ok(()),
            left => Err(format!("{left:?} left in the source")),
        }
    })
    .await;
}

async fn remade(retention: &str) -> World {
    let world = World::start().await;
    let client = connect(&world.source).await;
    ask(&client, &format!("STREAM.DELETE.{SOURCE}"), &json!({})).await;
    world.make_source(json!({ "retention": retention })).await;
    world.make_target(json!({})).await;
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_work_queue_is_emptied_in_order_however_often_the_replicator_is_killed() {
    let world = remade("workqueue").await;
    world.publish(0, MANY).await;
    let mut dice = Dice::new(21);
    for _ in 0..5 {
        let mut replicator = world.replicator("");
        tokio::time::sleep(dice.millis(50, 500)).await;
        replicator.kill();
    }
    let mut replicator = world.replicator("");
    drained(&world).await;
    stop(&mut replicator);
    whole(&world, MANY).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_interest_is_copied_in_order_however_often_the_replicator_is_killed() {
    let world = remade("interest").await;
    let mut replicator = world.replicator("");
    let client = connect(&world.source).await;
    overlay_testkit::eventually(LIMIT, PERIOD, || async {
        let info = ask(&client, &format!("STREAM.INFO.{SOURCE}"), &json!({})).await;
        info["state"]["consumer_count"].as_u64() >= Some(1)
    })
    .await;
    world.publish(0, MANY).await;
    let mut dice = Dice::new(22);
    for _ in 0..5 {
        tokio::time::sleep(dice.millis(50, 500)).await;
        replicator.kill();
        replicator = world.replicator("");
    }
    drained(&world).await;
    stop(&mut replicator);
    whole(&world, MANY).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_work_queue_is_emptied_in_order_while_links_are_cut() {
    let world = remade("workqueue").await;
    let mut replicator = world.replicator("");
    let load = Load::start(&world, 0).await;
    let mut dice = Dice::new(23);
    for _ in 0..6 {
        tokio::time::sleep(dice.millis(50, 400)).await;
        world.to_target.cut();
        tokio::time::sleep(dice.millis(50, 400)).await;
        world.to_source.cut();
    }
    let published = load.finish().await;
    drained(&world).await;
    stop(&mut replicator);
    whole(&world, published).await;
}
