//! Programs are killed at moments that they did not choose.

use super::Dice;
use super::world::{Load, World};

/// So many that a copy takes longer than the first few starts.
const MANY: u64 = 20_000;

async fn replicator_killed(seed: u64, more: &str) {
    let world = World::start().await;
    world.publish(0, MANY).await;
    let mut dice = Dice::new(seed);
    for _ in 0..8 {
        let mut replicator = world.replicator(more);
        tokio::time::sleep(dice.millis(30, 400)).await;
        replicator.kill();
    }
    world.publish(MANY, MANY + 100).await;
    let mut replicator = world.replicator(more);
    world.verify(&mut replicator).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replicator_killed_at_any_moment_loses_and_doubles_nothing() {
    replicator_killed(1, "").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_initiated_replicator_killed_at_any_moment_loses_and_doubles_nothing() {
    replicator_killed(
        2,
        "    target_initiated: true\n    filter_subject: load.>\n",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_killed_under_load_gets_each_message_once() {
    let mut world = World::start().await;
    let mut replicator = world.replicator("");
    let mut dice = Dice::new(3);
    let load = Load::start(&world, 0).await;
    for _ in 0..4 {
        tokio::time::sleep(dice.millis(200, 900)).await;
        world.target.kill();
        tokio::time::sleep(dice.millis(50, 1200)).await;
        world.target.start_again();
    }
    load.finish().await;
    world.verify(&mut replicator).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_killed_in_the_middle_of_a_backlog_gets_each_message_once() {
    let mut world = World::start().await;
    world.publish(0, MANY).await;
    let mut replicator = world.replicator("");
    let mut dice = Dice::new(4);
    for step in 1..=4 {
        world.copied_up_to(step * MANY / 8).await;
        world.target.kill();
        tokio::time::sleep(dice.millis(50, 1200)).await;
        world.target.start_again();
    }
    world.verify(&mut replicator).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_killed_under_load_is_copied_once() {
    let mut world = World::start().await;
    let mut replicator = world.replicator("");
    let mut dice = Dice::new(5);
    let load = Load::start(&world, 0).await;
    for _ in 0..4 {
        tokio::time::sleep(dice.millis(200, 900)).await;
        world.source.kill();
        tokio::time::sleep(dice.millis(50, 1200)).await;
        world.source.start_again();
    }
    load.finish().await;
    world.verify(&mut replicator).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_killed_in_the_middle_of_a_backlog_is_copied_once() {
    let mut world = World::start().await;
    world.publish(0, MANY).await;
    let mut replicator = world.replicator("");
    let mut dice = Dice::new(6);
    for step in 1..=4 {
        world.copied_up_to(step * MANY / 8).await;
        world.source.kill();
        tokio::time::sleep(dice.millis(50, 1200)).await;
        world.source.start_again();
    }
    world.verify(&mut replicator).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_three_are_killed_at_once_and_come_back() {
    let mut world = World::start().await;
    world.publish(0, MANY).await;
    let mut replicator = world.replicator("");
    for step in 1..=3 {
        world.copied_up_to(step * MANY / 6).await;
        replicator.kill();
        world.source.kill();
        world.target.kill();
        world.target.start_again();
        world.source.start_again();
        replicator = world.replicator("");
    }
    world.verify(&mut replicator).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clean_stop_and_start_goes_on_where_it_was() {
    let world = World::start().await;
    world.publish(0, 2000).await;
    let mut replicator = world.replicator("");
    world.verify(&mut replicator).await;
    world.publish(2000, 4000).await;
    let mut replicator = world.replicator("");
    world.verify(&mut replicator).await;
}
