//! Two replicas with an election; either may be killed, stopped or frozen at any time.

use std::time::Duration;

use overlay_testkit::Process;
use serde_json::json;

use super::world::{Load, World, connect, make_by, stop};
use super::{Dice, LIMIT};

/// Age of a key in the election's bucket: how long a replica that is gone still leads.
const KEY_AGE: Duration = Duration::from_secs(3);

struct Pair {
    world: World,
    replicas: Vec<Process>,
}

impl Pair {
    async fn start() -> Self {
        let world = World::start().await;
        let client = connect(&world.source).await;
        let bucket = json!({
            "max_age": u64::try_from(KEY_AGE.as_nanos()).unwrap(), "max_msgs_per_subject": 1, "discard": "new",
            "deny_delete": true, "allow_rollup_hdrs": true, "allow_direct": true,
        });
        make_by(
            &client,
            "KV_CHORIA_LEADER_ELECTION",
            "$KV.CHORIA_LEADER_ELECTION.>",
            bucket,
        )
        .await;
        let replicas = vec![replica(&world, 0), replica(&world, 1)];
        Self { world, replicas }
    }

    /// Ends both; nothing may be lost, doubled or out of order.
    async fn verify(mut self) {
        self.world.copied().await;
        for replica in &mut self.replicas {
            stop(replica);
        }
        self.world.compare().await;
    }
}

/// Each has its own file, since both are written before both are read.
fn replica(world: &World, index: usize) -> Process {
    world.replica(
        index,
        &format!("    leader_election_name: replica-{index}\n"),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_takes_over_from_one_that_is_killed() {
    let mut pair = Pair::start().await;
    let load = Load::start(&pair.world, 0).await;
    let mut dice = Dice::new(31);
    for round in 0..4 {
        tokio::time::sleep(dice.millis(500, 5000)).await;
        let index = round % 2;
        pair.replicas[index].kill();
        pair.replicas[index] = replica(&pair.world, index);
    }
    load.finish().await;
    pair.verify().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_takes_over_from_one_that_is_stopped_and_back() {
    let mut pair = Pair::start().await;
    let load = Load::start(&pair.world, 0).await;
    for round in 0..6 {
        let index = round % 2;
        pair.replicas[index].wait_for_line("replicating", LIMIT);
        tokio::time::sleep(Duration::from_millis(1500)).await;
        stop(&mut pair.replicas[index]);
        pair.replicas[index] = replica(&pair.world, index);
    }
    load.finish().await;
    pair.verify().await;
}

/// A leader that does not know that it is none any more wakes up with a window of messages.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_replica_that_wakes_up_writes_nothing() {
    let mut pair = Pair::start().await;
    let load = Load::start(&pair.world, 0).await;
    let mut dice = Dice::new(33);
    for round in 0..4 {
        tokio::time::sleep(dice.millis(800, 2500)).await;
        let frozen = &mut pair.replicas[round % 2];
        frozen.pause();
        tokio::time::sleep(KEY_AGE + Duration::from_secs(3)).await;
        frozen.unpause();
    }
    load.finish().await;
    pair.verify().await;
}

/// As above, in the middle of a backlog, so that the window is full and the other has the same messages under way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_frozen_in_a_backlog_is_fenced_off() {
    let mut pair = Pair::start().await;
    pair.world.to_target.delay(Duration::from_millis(20));
    pair.world.publish(0, 60_000).await;
    for round in 0..2 {
        pair.world.copied_up_to(1 + round * 8000).await;
        for frozen in &mut pair.replicas {
            frozen.pause();
            tokio::time::sleep(KEY_AGE + Duration::from_secs(2)).await;
            frozen.unpause();
        }
    }
    pair.verify().await;
}
