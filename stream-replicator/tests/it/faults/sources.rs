//! The source is not what it was: deleted and made anew, purged, gone back in time.

use serde_json::json;

use super::verdict::{assert_same, source_sequence};
use super::world::{SOURCE, World, ask, connect, stop};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_stream_made_anew_is_copied_from_its_beginning() {
    let world = World::start().await;
    let mut replicator = world.replicator("");
    world.publish(0, 300).await;
    world.copied().await;
    let client = connect(&world.source).await;
    ask(&client, &format!("STREAM.DELETE.{SOURCE}"), &json!({})).await;
    world.make_source(json!({})).await;
    world.publish(1000, 1200).await;
    world.copied_up_to_second_life(500).await;
    stop(&mut replicator);
    let target = world.target_messages().await;
    assert_eq!(target.len(), 500);
    let sequences: Vec<u64> = target
        .iter()
        .filter_map(|it| source_sequence(&it.headers))
        .collect();
    let wanted: Vec<u64> = (1..=300).chain(1..=200).collect();
    assert_eq!(sequences, wanted);
    assert_same(&world.source_messages().await, &target[300..]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_stream_made_anew_while_the_replicator_was_down_is_copied_from_its_beginning() {
    let world = World::start().await;
    let mut replicator = world.replicator("");
    world.publish(0, 300).await;
    world.copied().await;
    replicator.kill();
    let client = connect(&world.source).await;
    ask(&client, &format!("STREAM.DELETE.{SOURCE}"), &json!({})).await;
    world.make_source(json!({})).await;
    world.publish(1000, 1200).await;
    let mut replicator = world.replicator("");
    world.copied_up_to_second_life(500).await;
    stop(&mut replicator);
    let target = world.target_messages().await;
    assert_same(&world.source_messages().await, &target[300..]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_purged_before_they_were_copied_are_told_and_the_rest_arrives() {
    let world = World::start().await;
    let mut replicator = world.replicator("");
    world.publish(0, 300).await;
    world.copied().await;
    replicator.kill();
    world.publish(300, 600).await;
    let client = connect(&world.source).await;
    // Keeps the last hundred.
    ask(
        &client,
        &format!("STREAM.PURGE.{SOURCE}"),
        &json!({ "keep": 100 }),
    )
    .await;
    let mut replicator = world.replicator("");
    world.copied().await;
    stop(&mut replicator);
    let sequences = world.sequences().await;
    assert_eq!(sequences, (1..=300).chain(501..=600).collect::<Vec<_>>());
    let told = replicator.stdout() + &replicator.stderr();
    assert!(
        told.contains("200 messages are gone from the source"),
        "the number that is missed is told: {told}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_deleted_at_the_source_leave_no_hole_in_the_chain() {
    let world = World::start().await;
    world.publish(0, 1000).await;
    let client = connect(&world.source).await;
    for sequence in (1..=1000).filter(|it| it % 3 == 0 || (400..450).contains(it)) {
        ask(
            &client,
            &format!("STREAM.MSG.DELETE.{SOURCE}"),
            &json!({ "seq": sequence }),
        )
        .await;
    }
    let mut replicator = world.replicator("");
    world.verify(&mut replicator).await;
    world.publish(1000, 1100).await;
    let mut replicator = world.replicator("");
    world.verify(&mut replicator).await;
}

/// A broker restored from a copy of its disk gives sequences out for a second time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_went_back_in_time_loses_nothing_that_is_new() {
    let mut world = World::start().await;
    let mut replicator = world.replicator("");
    world.publish(0, 200).await;
    world.copied().await;
    world.source.stop();
    let (store, kept) = (world.source.dir().join("store"), world.path("kept"));
    copy_tree(&store, &kept);
    world.source.start_again();
    world.publish(200, 400).await;
    world.copied().await;
    world.source.stop();
    std::fs::remove_dir_all(&store).unwrap();
    copy_tree(&kept, &store);
    world.source.start_again();
    world.publish(5000, 5300).await;
    world.copied_body(5299).await;
    stop(&mut replicator);
    let bodies: Vec<String> = world
        .target_messages()
        .await
        .iter()
        .map(|it| String::from_utf8_lossy(&it.body).into_owned())
        .collect();
    for number in 5000..5300_u64 {
        let found = bodies
            .iter()
            .filter(|it| **it == number.to_string())
            .count();
        assert_eq!(found, 1, "message {number} of the second life");
    }
}

pub(super) fn copy_tree(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let path = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &path);
        } else {
            std::fs::copy(entry.path(), path).unwrap();
        }
    }
}
