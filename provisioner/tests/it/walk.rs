//! A provisioner is killed at each step of an enrolment: the next one brings it to its end, once.

use std::time::Duration;

use overlay_protocol::provisioning::NodeState;
use overlay_testkit::emulated::{Behaviour, Fault, Fleet, Step};
use overlay_testkit::eventually;

use crate::cell::{Cell, OFTEN, Provisioner, SOON, leaving, startup};
use crate::pairs::QUICK;

/// Looks for what there is to see.
const CLOSELY: Duration = Duration::from_millis(5);
/// Long enough for a kill in its middle.
const SLOW: Duration = Duration::from_millis(800);

/// Where the provisioner is killed.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// The node was asked for it, and its answer is on its way.
    Node(Step),
    /// The helper was asked, and thinks.
    Helper,
    /// The node was restarted, and is awaited in the fleet.
    Member,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provisioner_that_is_killed_at_any_step_leaves_the_node_to_the_next_one() {
    // Side by side, each step in a cell of its own: most of the time the leases of the dead are waited for.
    futures_util::future::join_all(Step::FLOW.map(|step| killed_at(Place::Node(step)))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_never_arrives_after_its_provisioner_was_killed_is_reported() {
    let place = Place::Member;
    let name = place.node();
    let cell = Cell::with(false).await;
    let fleet = cell
        .nodes()
        .names([name])
        .behaviour(leaving())
        .start()
        .await;
    let config = place.config(&cell);
    let mut first = cell.begin(&config);
    eventually(SOON, OFTEN, || async { first.is_ready() }).await;
    fleet.announce().await;
    place.reached(&cell, &fleet, &first).await;
    first.process.kill();
    let second = cell.begin(&config);
    eventually(SOON * 2, OFTEN, || async {
        let record = cell.record(name).await.ok_or("no record")?;
        match (record.state, record.reason.as_deref()) {
            (NodeState::Failed, Some("not_seen")) => Ok(()),
            _ => Err(format!("{record:?}\n{}", second.process.stderr())),
        }
    })
    .await;
    assert_eq!(cell.audit_of(name).await, ["enrolled", "failed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn so_it_does_where_not_every_enrolment_passes_and_where_others_than_the_node_are_asked() {
    let places = [
        Place::Node(Step::Gencsr),
        Place::Node(Step::ReleaseUpdate),
        Place::Node(Step::Shutdown),
        Place::Helper,
        Place::Member,
    ];
    futures_util::future::join_all(places.map(killed_at)).await;
}

impl Place {
    /// By its name the helper knows what it is to say.
    fn node(self) -> &'static str {
        match self {
            Self::Node(Step::ReleaseUpdate) => "upgrade-walk.example.net",
            Self::Node(Step::Shutdown) => "shutdown-walk.example.net",
            Self::Helper => "slow-walk.example.net",
            Self::Node(_) | Self::Member => "walk.example.net",
        }
    }

    fn behaviour(self) -> Behaviour {
        match self {
            // One that was shut down is gone, and tells nobody.
            Self::Node(Step::Shutdown) => leaving().fault_times(Fault::Silent(Step::Shutdown), 1),
            Self::Node(step) => leaving().slow(step, SLOW).version("0.30.2", true),
            Self::Helper | Self::Member => leaving(),
        }
    }

    fn config(self, cell: &Cell) -> String {
        let more = match self {
            Self::Node(Step::Gencsr) => "[pki]\n".to_owned(),
            Self::Node(Step::ReleaseUpdate) => {
                "[upgrades]\nrepository = \"https://packages.example.net/\"\n".to_owned()
            }
            Self::Helper => {
                let log = cell.dir.path().join("questions");
                let text = format!(
                    "#!/bin/sh\nHELPER_LOG={} exec {}\n",
                    log.display(),
                    cell.helper()
                );
                let program = cell.program("logged.sh", &text);
                format!("[helper]\nmode = \"persistent\"\ncommand = [{program:?}]\n")
            }
            Self::Member => "[calls]\nmember = \"3s\"\n".to_owned(),
            Self::Node(_) => String::new(),
        };
        format!("{more}{QUICK}")
    }

    /// Waits until the enrolment is there.
    async fn reached(self, cell: &Cell, fleet: &Fleet, provisioner: &Provisioner) {
        match self {
            Self::Node(step) => {
                eventually(SOON, CLOSELY, || async {
                    fleet.node(self.node()).calls_of(step) > 0
                })
                .await;
            }
            Self::Helper => {
                let log = cell.dir.path().join("questions");
                eventually(SOON, CLOSELY, || async {
                    std::fs::read_to_string(&log).is_ok_and(|text| text.contains(self.node()))
                })
                .await;
            }
            Self::Member => {
                let awaited = "overlay_provisioner_nodes{place=\"restarting\"}";
                provisioner.wait_for(awaited, 1.0).await;
            }
        }
    }
}

async fn killed_at(place: Place) {
    let name = place.node();
    // A member that is awaited comes when nobody listens.
    let cell = Cell::with(!matches!(place, Place::Member)).await;
    let fleet = cell
        .nodes()
        .names([name])
        .behaviour(place.behaviour())
        .start()
        .await;
    let config = place.config(&cell);
    let mut first = cell.begin(&config);
    eventually(SOON, OFTEN, || async { first.is_ready() }).await;
    fleet.announce().await;
    place.reached(&cell, &fleet, &first).await;
    first.process.kill();
    if matches!(place, Place::Helper) {
        assert_eq!(fleet.node(name).configured, 0, "{place:?}: killed too late");
    }
    if let Place::Member = place {
        return comes_home(&cell, &fleet, &config).await;
    }
    let second = cell.begin(&config);
    let is_shut_down = matches!(place, Place::Node(Step::Shutdown));
    eventually(SOON, OFTEN, || async {
        let is_over = if is_shut_down {
            cell.audit_of(name).await == ["shutdown"]
        } else {
            fleet.node(name).restarts > 0
        };
        if is_over {
            Ok(())
        } else {
            let log = second.process.stderr();
            Err(format!("{place:?}: {:?}\n{log}", fleet.node(name)))
        }
    })
    .await;
    let seen = fleet.node(name);
    assert!(seen.refusals.is_empty(), "{place:?}: {:?}", seen.refusals);
    if is_shut_down {
        assert_eq!((seen.configured, seen.restarts), (0, 0), "{seen:?}");
        return;
    }
    assert_eq!(seen.restarts, 1, "{place:?}");
    assert!(seen.server_token().is_some(), "{place:?}");
}

/// The node comes while no provisioner is there: the next one finds it in the fleet, and its record says so.
async fn comes_home(cell: &Cell, fleet: &Fleet, config: &str) {
    let name = Place::Member.node();
    let record = cell.record(name).await.unwrap();
    assert_eq!(record.state, NodeState::Restarting, "{record:?}");
    let members = cell.fleet().await;
    let _member = members
        .subscribe(format!("choria.node.{name}"))
        .await
        .unwrap();
    members
        .publish(
            overlay_protocol::subject::MEMBER_STARTUP,
            startup(name).into(),
        )
        .await
        .unwrap();
    members.flush().await.unwrap();
    let second = cell.begin(config);
    eventually(SOON * 2, OFTEN, || async {
        let record = cell.record(name).await.ok_or("no record")?;
        if record.state == NodeState::Member {
            Ok(())
        } else {
            Err(format!("{record:?}\n{}", second.process.stderr()))
        }
    })
    .await;
    assert_eq!(cell.audit_of(name).await, ["enrolled"]);
    assert!(
        fleet.node(name).is_enrolled_once(),
        "{:?}",
        fleet.node(name)
    );
}
