//! Several provisioners, provisioners that die, and a broker that is restarted: each node once, or told why not.

use std::time::Duration;

use futures_util::StreamExt as _;
use overlay_protocol::envelope::Limits;
use overlay_protocol::lifecycle::Event;
use overlay_testkit::emulated::{Behaviour, Step};
use overlay_testkit::eventually;

use crate::cell::{Cell, OFTEN, Provisioner, SOON, all_enrolled_once, all_restarted, leaving};
use crate::leader::bucket;

/// A claim outlives its instance only so long.
pub(crate) const QUICK: &str = "[streams.claims]\nlease = \"5s\"\nkeep = \"5s\"\n[scan]\ninterval = \"2s\"\n[retry]\nfirst = \"200ms\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn two_provisioners_at_once_enrol_each_node_once() {
    pair(200).await;
}

/// Two provisioners of one name and caller, and so many nodes.
pub(crate) async fn pair(count: usize) {
    let cell = Cell::start().await;
    let (one, two) = (cell.provisioner(""), cell.provisioner(""));
    let fleet = cell
        .nodes()
        .count(count)
        .behaviour(leaving().latency(Duration::from_millis(20)))
        .start()
        .await;
    fleet.announce().await;
    all_enrolled_once(&fleet, &one).await;
    let wanted = f64::from(u32::try_from(count).unwrap());
    eventually(SOON, OFTEN, || async {
        let sum = one.outcome("enrolled") + two.outcome("enrolled");
        if sum >= wanted {
            Ok(())
        } else {
            Err(format!("{sum}"))
        }
    })
    .await;
    assert_eq!(one.outcome("enrolled") + two.outcome("enrolled"), wanted);
    let locked = fleet.names_where(|seen| !seen.refusals.is_empty());
    assert!(locked.is_empty(), "{locked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_instance_takes_over_within_the_lease() {
    let cell = Cell::start().await;
    let fleet = cell
        .nodes()
        .count(50)
        .behaviour(leaving().slow(Step::Configure, Duration::from_millis(500)))
        .start()
        .await;
    let mut one = cell.provisioner(QUICK);
    let two = cell.provisioner(QUICK);
    fleet.announce().await;
    eventually(SOON, OFTEN, || async {
        !fleet
            .names_where(|seen| seen.calls_of(Step::Configure) > 0)
            .is_empty()
    })
    .await;
    one.process.kill();
    let started = tokio::time::Instant::now();
    all_restarted(&fleet, &two).await;
    assert!(
        started.elapsed() < Duration::from_secs(25),
        "{:?}",
        started.elapsed()
    );
    assert!(fleet.names_where(|seen| seen.restarts != 1).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_instance_had_read_and_not_begun_is_done_by_the_other_without_waiting_for_a_scan()
 {
    left_behind("", |first| first.process.kill()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_instance_that_stops_had_read_and_not_begun_is_done_by_the_other_at_once() {
    left_behind("", |first| first.process.terminate()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_leader_had_read_and_not_begun_is_done_by_the_next_one() {
    left_behind("[leader]\nenabled = true\n", |first| {
        first.process.kill();
    })
    .await;
}

/// One of two instances ends with most of what it read not begun. Neither scans again of itself.
async fn left_behind(more: &str, end: impl FnOnce(&mut Provisioner)) {
    let cell = Cell::start().await;
    let _bucket = bucket(&cell).await;
    let config = format!(
        "[streams.claims]\nlease = \"5s\"\nkeep = \"5s\"\n[scan]\ninterval = \"1h\"\n[limits]\nworkers = 2\nfirst_contact = 4\n{more}"
    );
    let mut first = cell.provisioner(&config);
    eventually(SOON, OFTEN, || async { first.is_active() }).await;
    let second = cell.provisioner(&config);
    let fleet = cell
        .nodes()
        .count(50)
        .behaviour(leaving().latency(Duration::from_millis(60)))
        .start()
        .await;
    let scans = second.metric("overlay_provisioner_scans_total");
    fleet.announce().await;
    // It is told of the nodes that wait every now and then.
    first
        .wait_for("overlay_provisioner_nodes{place=\"waiting\"}", 10.0)
        .await;
    end(&mut first);
    all_restarted(&fleet, &second).await;
    assert!(fleet.names_where(|seen| seen.restarts != 1).is_empty());
    assert!(second.metric("overlay_provisioner_scans_total") > scans);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_restarted_in_the_middle_costs_no_node() {
    restart(40).await;
}

/// So many nodes, and a broker that is restarted in the middle.
pub(crate) async fn restart(count: usize) {
    let mut cell = Cell::start().await;
    let fleet = cell
        .nodes()
        .count(count)
        .behaviour(leaving().latency(Duration::from_millis(150)))
        .reconnect(Duration::from_millis(200))
        .start()
        .await;
    // What was under way when the broker ended is given up by its time.
    let calls = "[calls]\nfirst_contact = \"3s\"\nanswer = \"3s\"\n";
    let provisioner = cell.provisioner(&format!("{QUICK}[limits]\nworkers = 4\n{calls}"));
    fleet.announce().await;
    eventually(SOON, OFTEN, || async {
        fleet.names_where(|seen| seen.restarts > 0).len() * 8 >= count
    })
    .await;
    cell.broker.restart();
    all_restarted(&fleet, &provisioner).await;
    assert!(fleet.names_where(|seen| seen.restarts != 1).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_comes_to_an_end_and_gives_back_what_it_held() {
    let cell = Cell::start().await;
    let fleet = cell
        .nodes()
        .count(20)
        .behave(|index, _| match index % 2 {
            0 => Behaviour::dead(),
            _ => leaving().latency(Duration::from_millis(100)),
        })
        .start()
        .await;
    let observer = cell.fleet().await;
    let mut events = observer
        .subscribe("choria.lifecycle.event.*.provisioner")
        .await
        .unwrap();
    observer.flush().await.unwrap();
    let mut one = cell.provisioner(QUICK);
    fleet.announce().await;
    eventually(SOON, OFTEN, || async {
        !fleet.names_where(|seen| !seen.order.is_empty()).is_empty()
    })
    .await;
    let status = one.process.stop(SOON);
    assert!(status.success(), "{status}");
    // The fleet hears that it lives, and that it ends.
    let mut kinds = Vec::new();
    while kinds.last() != Some(&"shutdown") {
        let message = tokio::time::timeout(SOON, events.next()).await.unwrap();
        let event = Event::decode(&message.unwrap().payload, &Limits::default()).unwrap();
        assert_eq!(event.identity, "provisioner.example.net");
        kinds.push(event.kind.type_name());
    }
    assert!(kinds.contains(&"alive"), "{kinds:?}");
    let stopped = tokio::time::Instant::now();
    let two = cell.provisioner(QUICK);
    eventually(SOON, OFTEN, || async {
        let left = fleet.names_where(|seen| seen.restarts == 0).len();
        if left == 10 {
            Ok(())
        } else {
            Err(format!("{left}\n{}", two.process.stderr()))
        }
    })
    .await;
    assert!(stopped.elapsed() < SOON);
    assert!(fleet.names_where(|seen| seen.restarts > 1).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_was_frozen_writes_over_nothing_that_its_successor_wrote() {
    let cell = Cell::start().await;
    let name = "frozen.example.net";
    let fleet = cell
        .nodes()
        .names([name])
        .behaviour(leaving().slow(Step::Configure, Duration::from_secs(2)))
        .start()
        .await;
    let one = cell.provisioner(QUICK);
    fleet.announce().await;
    eventually(SOON, Duration::from_millis(5), || async {
        fleet.node(name).calls_of(Step::Configure) > 0
    })
    .await;
    one.process.pause();
    let two = cell.provisioner(QUICK);
    two.wait_for_outcome("enrolled", 1.0).await;
    one.process.unpause();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let record = cell.record(name).await.unwrap();
    assert_eq!(
        record.state.as_str(),
        "member",
        "{record:?}\n{}",
        one.process.stderr()
    );
    assert_eq!(fleet.node(name).restarts, 1);
    // The successor tells of the token that was issued before it; after it nobody tells anything.
    let kinds = cell.audit_of(name).await;
    assert_eq!(
        kinds.last().map(String::as_str),
        Some("enrolled"),
        "{kinds:?}"
    );
}
