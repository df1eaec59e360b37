//! The position is taken back, or is ahead of what is true; and whoever finds it must not be led on.

use std::time::Duration;

use overlay_testkit::{Broker, eventually};
use serde_json::{Value, json};

use super::sources::copy_tree;
use super::verdict::assert_same;
use super::world::{SOURCE, TARGET, World, ask, connect, stop};
use super::{LIMIT, PERIOD};

const MANY: u64 = 20_000;

/// The durable consumer begins at the end, as configured; the source that is made anew is copied from its beginning, and a
/// kill in the middle of that must not leave the consumer's place as the furthest that is known.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_after_a_source_was_made_anew_leaves_nothing_out() {
    let world = World::start().await;
    let client = connect(&world.source).await;
    let at_end = "    start_at_end: true\n";
    let mut replicator = world.replicator(at_end);
    eventually(LIMIT, PERIOD, || async {
        let found = ask(
            &client,
            &format!("CONSUMER.INFO.{SOURCE}.SR_SITE"),
            &json!({}),
        )
        .await;
        found["error"].is_null()
    })
    .await;
    world.publish(0, 100).await;
    world.copied().await;
    replicator.kill();
    ask(&client, &format!("STREAM.DELETE.{SOURCE}"), &json!({})).await;
    world.make_source(json!({})).await;
    world.publish(1000, 1000 + MANY).await;
    let mut replicator = world.replicator(at_end);
    world.copied_up_to_second_life(600).await;
    replicator.kill();
    let mut replicator = world.replicator(at_end);
    world.copied_body(1000 + MANY - 1).await;
    stop(&mut replicator);
    let target = world.target_messages().await;
    assert_same(&world.source_messages().await, &target[100..]);
}

/// A target restored to an older state gets what it lost, whatever happens meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_after_the_target_went_back_leaves_nothing_out() {
    let mut world = World::start().await;
    let mut replicator = world.replicator("");
    world.publish(0, 200).await;
    world.copied().await;
    let store = world.target.dir().join("store");
    let kept = world.path("kept");
    world.target.stop();
    copy_tree(&store, &kept);
    world.target.start_again();
    world.publish(200, MANY).await;
    world.copied().await;
    stop(&mut replicator);
    world.target.stop();
    std::fs::remove_dir_all(&store).unwrap();
    copy_tree(&kept, &store);
    world.target.start_again();
    let mut replicator = world.replicator("");
    world.copied_up_to(300).await;
    replicator.kill();
    let mut replicator = world.replicator("");
    world.verify(&mut replicator).await;
}

/// By the time that anybody looks, the source has given out more sequences for a second time than it had before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_went_back_while_nobody_copied_loses_nothing_that_is_new() {
    let mut world = World::start().await;
    let mut replicator = world.replicator("");
    world.publish(0, 200).await;
    world.copied().await;
    let store = world.source.dir().join("store");
    let kept = world.path("kept");
    world.source.stop();
    copy_tree(&store, &kept);
    world.source.start_again();
    world.publish(200, 400).await;
    world.copied().await;
    stop(&mut replicator);
    world.source.stop();
    std::fs::remove_dir_all(&store).unwrap();
    copy_tree(&kept, &store);
    world.source.start_again();
    world.publish(5000, 5300).await;
    let mut replicator = world.replicator("");
    world.copied_body(5299).await;
    stop(&mut replicator);
    let told = replicator.stdout() + &replicator.stderr();
    assert!(told.contains("went back to an earlier state"), "{told}");
    let target = world.target_messages().await;
    let second: Vec<_> = world.source_messages().await.split_off(200);
    assert_same(&second, &target[400..]);
}

/// Enough of others' messages behind the last one of ours that nobody asks for them one by one.
async fn among_others(more: &str) {
    const OTHERS: u64 = 140_000;

    let world = World::start().await;
    world.publish(0, 100).await;
    let mut replicator = world.replicator(more);
    world.copied().await;
    stop(&mut replicator);
    let client = connect(&world.target).await;
    for _message in 0..OTHERS {
        client
            .publish("copy.load.others", "x".into())
            .await
            .unwrap();
    }
    client.flush().await.unwrap();
    eventually(LIMIT, PERIOD, || async {
        let info = ask(&client, &format!("STREAM.INFO.{TARGET}"), &json!({})).await;
        info["state"]["messages"].as_u64() == Some(100 + OTHERS)
    })
    .await;
    world.publish(100, 200).await;
    let mut replicator = world.replicator(more);
    world.copied().await;
    stop(&mut replicator);
    let ours = world.sequences().await;
    assert_eq!(ours, (1..=200).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_very_many_of_others_the_copy_goes_on() {
    Box::pin(among_others("")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_very_many_of_others_nothing_is_copied_again_where_only_the_target_knows() {
    Box::pin(among_others(
        "    target_initiated: true\n    filter_subject: load.>\n",
    ))
    .await;
}

/// The account's room, not the broker's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_without_room_is_waited_for_and_no_message_given_up() {
    let store = tempfile::tempdir().unwrap();
    let room = |size: u64| {
        format!(
            "jetstream {{ store_dir: \"{}\" }}\nno_auth_user: a\n\
             accounts {{ A {{ users: [{{user: a, password: a}}], jetstream: {{ max_file: {size} }} }} }}",
            store.path().display()
        )
    };
    let target = Broker::builder().name("target").config(room(300_000));
    let mut world = World::with_target(target.start()).await;
    world.publish(0, 4000).await;
    let mut replicator = world.replicator("");
    eventually(LIMIT, PERIOD, || async {
        (replicator.stdout() + &replicator.stderr()).contains("10002")
    })
    .await;
    // By then the first ones would have been given up.
    tokio::time::sleep(Duration::from_secs(3)).await;
    world.target.set_config(room(64_000_000));
    world.target.restart();
    world.verify(&mut replicator).await;
    let source = connect(&world.source).await;
    let dead: Value = ask(&source, "STREAM.INFO.OVERLAY_REPLICATION_DEAD", &json!({})).await;
    assert!(!dead["error"].is_null(), "{dead}");
}

/// Nothing says how far the copy was: the target was purged, and who asks the source for the position gets no answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_does_not_say_where_the_copy_was_is_not_copied_again() {
    let mut world = World::start().await;
    world.publish(0, 100).await;
    let mut replicator = world.replicator("");
    world.copied().await;
    stop(&mut replicator);
    let client = connect(&world.target).await;
    let purged = ask(&client, &format!("STREAM.PURGE.{TARGET}"), &json!({})).await;
    assert_eq!(purged["purged"], 100);
    world.source.set_config(
        "no_auth_user: all\nauthorization: { users: [ { user: all, password: all, permissions: { subscribe: \">\", publish: { allow: \">\", \
         deny: [ \"$JS.API.CONSUMER.INFO.>\", \"$JS.API.STREAM.*.KV_OVERLAY_REPLICATION\", \
         \"$JS.API.STREAM.MSG.GET.KV_OVERLAY_REPLICATION\", \"$JS.API.DIRECT.GET.KV_OVERLAY_REPLICATION.>\" ] } } } ] }\n",
    );
    world.source.restart();
    let mut replicator = world.replicator("");
    replicator.wait_for_line("what was done is not known", LIMIT);
    world.source.set_config("");
    world.source.restart();
    world.publish(100, 101).await;
    world.copied().await;
    stop(&mut replicator);
    let sequences = world.sequences().await;
    assert_eq!(sequences, [101]);
}

/// A target that lost everything gets what it had, and nothing of what it was not to have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_lost_everything_is_filled_from_where_the_copy_was_to_start() {
    let mut world = World::start().await;
    world.make_target(json!({})).await;
    world.target.stop();
    let store = world.target.dir().join("store");
    let kept = world.path("kept");
    copy_tree(&store, &kept);
    world.target.start_again();
    world.publish(0, 200).await;
    let from = "    start_sequence: 101\n";
    let mut replicator = world.replicator(from);
    world.copied().await;
    stop(&mut replicator);
    world.target.stop();
    std::fs::remove_dir_all(&store).unwrap();
    copy_tree(&kept, &store);
    world.target.start_again();
    let mut replicator = world.replicator(from);
    world.copied().await;
    stop(&mut replicator);
    let sequences = world.sequences().await;
    assert_eq!(sequences, (101..=200).collect::<Vec<_>>());
}
