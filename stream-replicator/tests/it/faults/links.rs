//! Links are cut, stall, and lose what goes over them without a word.

use std::time::Duration;

use overlay_testkit::Way;

use super::Dice;
use super::world::{Load, World};

const MANY: u64 = 20_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_17_a_link_cut_between_store_and_acknowledgement_copies_once() {
    let world = World::start().await;
    let mut replicator = world.replicator("");
    world.publish(0, 200).await;
    world.copied().await;
    for round in 1..=5 {
        // The target stores; its word is lost; then the link goes.
        world.to_target.swallow(Way::ToClient);
        world.publish(round * 200, round * 200 + 150).await;
        world.copied().await;
        world.to_target.flow();
        world.to_target.cut();
        world.publish(round * 200 + 150, (round + 1) * 200).await;
        world.copied().await;
    }
    world.verify(&mut replicator).await;
}

/// A link that swallows for a while and is then found dead, without anybody cutting it.
async fn half_open(which: fn(&World) -> &overlay_testkit::Proxy, way: Way) {
    let world = World::start().await;
    world.publish(0, 500).await;
    let mut replicator = world.replicator("");
    world.copied().await;
    let load = Load::start(&world, 500).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    which(&world).swallow(way);
    tokio::time::sleep(Duration::from_secs(3)).await;
    which(&world).flow();
    load.finish().await;
    world.verify(&mut replicator).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_open_link_to_the_target_is_found_and_replaced() {
    half_open(|world| &world.to_target, Way::Both).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_hears_and_is_not_heard_gets_each_message_once() {
    half_open(|world| &world.to_target, Way::ToClient).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_is_heard_and_does_not_hear_gets_each_message_once() {
    half_open(|world| &world.to_target, Way::ToTarget).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_open_link_to_the_source_is_found_and_replaced() {
    half_open(|world| &world.to_source, Way::Both).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_does_not_hear_is_copied_once() {
    half_open(|world| &world.to_source, Way::ToTarget).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_is_not_heard_is_copied_once() {
    half_open(|world| &world.to_source, Way::ToClient).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_of_both_sides_ends_and_everything_arrives_once() {
    let world = World::start().await;
    let mut replicator = world.replicator("");
    let load = Load::start(&world, 0).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    world.to_target.stall();
    world.to_source.stall();
    tokio::time::sleep(Duration::from_secs(8)).await;
    world.to_source.flow();
    world.to_target.flow();
    load.finish().await;
    world.verify(&mut replicator).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_cut_again_and_again_in_a_backlog_lose_and_double_nothing() {
    let world = World::start().await;
    world.publish(0, MANY).await;
    let mut replicator = world.replicator("");
    world.copied_up_to(1).await;
    let mut dice = Dice::new(11);
    for _ in 0..12 {
        tokio::time::sleep(dice.millis(5, 150)).await;
        if dice.below(2) == 0 {
            world.to_target.cut();
        } else {
            world.to_source.cut();
        }
    }
    world.verify(&mut replicator).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_and_narrow_link_is_filled_and_cut_without_harm() {
    let world = World::start().await;
    world.publish(0, 5000).await;
    world.to_target.delay(Duration::from_millis(40));
    world.to_target.limit(2_000_000);
    let mut replicator = world.replicator("");
    for step in 1..=3 {
        world.copied_up_to(step * 1000).await;
        world.to_target.cut();
    }
    world.verify(&mut replicator).await;
}
