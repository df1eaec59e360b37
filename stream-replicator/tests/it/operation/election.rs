//! Exactly one works, whether the others are ours or Choria's.

use std::time::Duration;

use async_nats::jetstream::kv;
use futures_util::StreamExt as _;
use overlay_testkit::eventually;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::cell::{Cell, KEY, Replica};
use super::{LIMIT, PERIOD, QUIET};

const TERM: Duration = Duration::from_secs(4);
/// A killed leader's key is there for a term; so much later at most another one copies.
pub(super) const AFTER_THE_TERM: Duration = Duration::from_secs(3);

/// A leader of Choria's: votes every half second until it is told to stop, then deletes the key.
struct Original {
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Original {
    async fn lead(store: kv::Store, name: &'static str) -> Self {
        let mut revision = store.create(KEY, name.into()).await.unwrap();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut votes = tokio::time::interval(Duration::from_millis(500));
            loop {
                tokio::select! {
                    () = stopped.cancelled() => break,
                    _ = votes.tick() => {
                        revision = store.update(KEY, name.into(), revision).await.unwrap();
                    }
                }
            }
            store.delete(KEY).await.unwrap();
        });
        Self { stop, tasks }
    }

    async fn stop(mut self) {
        self.stop.cancel();
        self.tasks.join_next().await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sr_case_44_with_a_replica_of_choria_exactly_one_works() {
    let cell = Cell::start().await;
    // Longer than anything here takes: what happens is no end of a term.
    let store = cell.bucket(Duration::from_secs(60)).await;
    let original = Original::lead(store.clone(), "go1").await;
    let ours = cell.replica(Some("sr1"));
    ours.is_ready().await;
    cell.publish(0, 10).await;
    tokio::time::sleep(QUIET).await;
    assert_eq!(cell.copied().await, 0, "the other one leads");
    assert!(!ours.leads());

    original.stop().await;
    let began = Instant::now();
    cell.has_copied(10).await;
    let took = began.elapsed();
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert_eq!(store.get(KEY).await.unwrap().unwrap(), "sr1");

    // As long as ours leads, nobody of Choria's gets the key.
    let mut tries = tokio::time::interval(Duration::from_millis(200));
    for _ in 0..10 {
        tries.tick().await;
        assert!(store.create(KEY, "go2".into()).await.is_err());
    }
    assert!(ours.leads());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sr_case_45_a_follower_that_stops_does_not_disturb_the_leader() {
    let cell = Cell::start().await;
    let store = cell.bucket(TERM).await;
    let leader = cell.replica(Some("sr1"));
    leader.is_leader().await;
    let mut follower = cell.replica(Some("sr2"));
    follower.is_ready().await;
    cell.publish(0, 10).await;
    cell.has_copied(10).await;

    // One of ours leaves the key alone.
    let source = async_nats::connect(cell.source.url()).await.unwrap();
    let mut votes = source
        .subscribe("$KV.CHORIA_LEADER_ELECTION.>")
        .await
        .unwrap();
    source.flush().await.unwrap();
    assert!(follower.process.stop(LIMIT).success());
    for _ in 0..5 {
        let vote = tokio::time::timeout(LIMIT, votes.next()).await.unwrap();
        let vote = vote.unwrap();
        let headers = vote.headers.unwrap_or_default();
        assert!(headers.get("KV-Operation").is_none(), "{headers:?}");
        assert_eq!(vote.payload, "sr1");
    }

    // One of Choria's deletes it, which the leader mends with its next vote.
    store.delete(KEY).await.unwrap();
    eventually(LIMIT, PERIOD, || async {
        store.get(KEY).await.unwrap().filter(|value| value == "sr1")
    })
    .await;
    cell.publish(10, 20).await;
    cell.has_copied(20).await;
    assert!(leader.leads());
    assert!(!leader.process.stderr().contains("no longer leads"));
    assert_eq!(cell.copies().await, (0..20).collect::<Vec<_>>());
}

/// Publishes a message every few milliseconds, and tells how long the copies stopped at most.
struct Load {
    end: CancellationToken,
    tasks: JoinSet<u64>,
}

impl Load {
    async fn start(cell: &Cell) -> Self {
        let jetstream = cell.at_source().await;
        let end = CancellationToken::new();
        let ended = end.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut number = 0_u64;
            let mut moments = tokio::time::interval(Duration::from_millis(10));
            while !ended.is_cancelled() {
                moments.tick().await;
                let sent = jetstream.publish("nodes.n1", number.to_string().into());
                sent.await.unwrap().await.unwrap();
                number += 1;
            }
            number
        });
        Self { end, tasks }
    }

    async fn end(mut self) -> u64 {
        self.end.cancel();
        self.tasks.join_next().await.unwrap().unwrap()
    }
}

/// Waits until a new leader copies something: what its predecessor sent last is in the target by then.
async fn copies_more(cell: &Cell) {
    cell.has_copied(cell.copied().await + 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sr_case_46_another_replica_takes_over_from_one_that_stops_or_is_killed() {
    let cell = Cell::start().await;
    let _store = cell.bucket(TERM).await;
    let mut one = cell.replica(Some("sr1"));
    one.is_leader().await;
    let mut two = cell.replica(Some("sr2"));
    two.is_ready().await;
    let load = Load::start(&cell).await;
    cell.has_copied(50).await;

    let stopped = |replica: &mut Replica| assert!(replica.process.stop(LIMIT).success());
    one.process.terminate();
    two.is_leader().await;
    copies_more(&cell).await;
    stopped(&mut one);
    let line = "leadership released";
    assert!(one.process.stderr().contains(line), "{line} is not told");

    // The quickest of several says what it takes; the others, what else the machine does.
    let limit = TERM + AFTER_THE_TERM;
    let mut quickest = Duration::MAX;
    for name in ["sr3", "sr4", "sr5"] {
        let next = cell.replica(Some(name));
        next.is_ready().await;
        let began = Instant::now();
        two.process.kill();
        next.is_leader().await;
        copies_more(&cell).await;
        quickest = quickest.min(began.elapsed());
        two = next;
        if quickest < limit {
            break;
        }
    }
    assert!(quickest < limit, "crash: {quickest:?}");

    let published = load.end().await;
    cell.has_copied(published).await;
    let copies = cell.copies().await;
    assert_eq!(copies, (0..published).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sr_case_46_a_leader_that_stops_hands_over_in_less_than_two_seconds() {
    let cell = Cell::start().await;
    let _store = cell.bucket(Duration::from_secs(30)).await;
    let mut one = cell.replica(Some("sr1"));
    one.is_leader().await;
    let mut two = cell.replica(Some("sr2"));
    two.is_ready().await;
    cell.publish(0, 100).await;
    cell.has_copied(100).await;
    // The quickest of several says what the hand-over takes; the others, what else the machine does.
    let mut quickest = Duration::MAX;
    let mut copied = 100;
    for name in ["sr1", "sr2", "sr1"] {
        let began = Instant::now();
        one.process.terminate();
        cell.publish(copied, copied + 1).await;
        // Whichever of the two copies it, what comes after the stop is the other's.
        assert!(one.process.wait(LIMIT).success());
        cell.publish(copied + 1, copied + 2).await;
        copied += 2;
        cell.has_copied(copied).await;
        quickest = quickest.min(began.elapsed());
        assert!(two.leads());
        if quickest < Duration::from_secs(2) {
            break;
        }
        one = std::mem::replace(&mut two, cell.replica(Some(name)));
        two.is_ready().await;
    }
    assert!(quickest < Duration::from_secs(2), "{quickest:?}");
    assert_eq!(cell.copies().await, (0..copied).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sr_case_49_a_missing_bucket_is_told_and_waited_for() {
    let cell = Cell::start().await;
    let mut replica = cell.replica(Some("sr1"));
    replica.is_down("worker:NODES/W1", "no election").await;
    assert!(replica.process.has_ended().is_none());
    cell.publish(0, 3).await;
    let _store = cell.bucket(TERM).await;
    cell.has_copied(3).await;
    replica.is_ready().await;
}
