//! One leads and the others wait, when it is configured so.

use std::time::Duration;

use async_nats::jetstream;
use overlay_testkit::eventually;

use crate::cell::{Cell, OFTEN, Provisioner, SOON, all_enrolled_once};

/// How long a leader keeps its place without renewing it.
pub(crate) const TTL: Duration = Duration::from_secs(6);
pub(crate) const LEADER: &str = "[leader]\nenabled = true\n[scan]\ninterval = \"10m\"\n";

/// The bucket that a cell has.
pub(crate) async fn bucket(cell: &Cell) -> jetstream::kv::Store {
    jetstream::new(cell.fleet().await)
        .create_key_value(jetstream::kv::Config {
            bucket: "CHORIA_LEADER_ELECTION".to_owned(),
            max_age: TTL,
            ..jetstream::kv::Config::default()
        })
        .await
        .unwrap()
}

pub(crate) async fn wait_for_leader(one: &Provisioner) -> tokio::time::Instant {
    eventually(SOON, Duration::from_millis(20), || async {
        if one.is_active() {
            Ok(())
        } else {
            Err(one.process.stderr())
        }
    })
    .await;
    tokio::time::Instant::now()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_stops_hands_over_within_two_seconds() {
    let cell = Cell::start().await;
    let bucket = bucket(&cell).await;
    let one = cell.provisioner(LEADER);
    wait_for_leader(&one).await;
    assert_eq!(
        bucket.get("provisioner").await.unwrap().unwrap(),
        "provisioner.example.net"
    );
    let two = cell.provisioner(LEADER);
    let fleet = cell.nodes().count(5).start().await;
    fleet.announce().await;
    all_enrolled_once(&fleet, &one).await;
    assert!(!two.is_active());
    assert_eq!(two.metric("choria_provisioner_paused{site=\"lon\"}"), 1.0);

    let within = Duration::from_secs(2);
    let two = follower(&cell, one, two, within, async |one| one.process.terminate()).await;
    let later = cell.nodes().names(["later.example.net"]).start().await;
    later.announce().await;
    all_enrolled_once(&later, &two).await;
}

/// The second one of two, which leads within a time after the end of the first. A machine that is busy with something else
/// is forgiven twice.
async fn follower(
    cell: &Cell,
    mut first: Provisioner,
    mut second: Provisioner,
    within: Duration,
    end: impl AsyncFn(&mut Provisioner),
) -> Provisioner {
    let mut took = Vec::new();
    for _ in 0..3 {
        let ended = tokio::time::Instant::now();
        end(&mut first).await;
        let led = wait_for_leader(&second).await;
        let status = first.process.wait(SOON);
        assert!(status.success() || status.code().is_none(), "{status}");
        took.push(led - ended);
        if led - ended < within {
            return second;
        }
        first = std::mem::replace(&mut second, cell.provisioner(LEADER));
    }
    panic!("{took:?} is longer than {within:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_killed_is_followed_when_its_term_is_over() {
    let cell = Cell::start().await;
    let _bucket = bucket(&cell).await;
    let one = cell.provisioner(LEADER);
    wait_for_leader(&one).await;
    let two = cell.provisioner(LEADER);
    let fleet = cell.nodes().count(5).start().await;
    let within = TTL + Duration::from_secs(3);
    let two = follower(&cell, one, two, within, async |one| {
        one.process.kill();
        fleet.announce().await;
    })
    .await;
    all_enrolled_once(&fleet, &two).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_hangs_works_no_more_when_it_wakes() {
    let cell = Cell::start().await;
    let _bucket = bucket(&cell).await;
    let one = cell.provisioner(LEADER);
    wait_for_leader(&one).await;
    let two = cell.provisioner(LEADER);
    one.process.pause();
    wait_for_leader(&two).await;
    one.process.unpause();
    eventually(SOON, OFTEN, || async { !one.is_active() }).await;
    let fleet = cell.nodes().count(10).start().await;
    fleet.announce().await;
    all_enrolled_once(&fleet, &two).await;
    assert!(two.is_active());
}
