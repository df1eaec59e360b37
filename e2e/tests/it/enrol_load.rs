//! Hundreds of emulated nodes at once; the figures for thousands are the benchmark's.

use std::time::Duration;

use overlay_testkit::emulated::{AfterRestart, Behaviour};
use overlay_testkit::{Process, eventually};

use crate::bare::{QUICK, emulated};
use crate::world::{PATIENCE, PERIOD, World};

const NODES: usize = 300;

#[tokio::test(flavor = "multi_thread")]
async fn provision_case_44_one_scan_finds_everybody_who_was_there_before() {
    let world = World::new(0, &["--provisioners", "1"]);
    let _up = world.up_only("nats-server,broker-auth-1");
    let fleet = emulated(&world)
        .count(NODES)
        .behaviour(Behaviour::default().announcements(0))
        .start()
        .await;
    let config = world.dir().join("provisioner/provisioner.toml");
    let _provisioner = Process::builder(Process::locate("overlay-provisioner").unwrap())
        .arg("--config")
        .arg(config)
        .start();
    eventually(PATIENCE, PERIOD, || async {
        let tally = fleet.tally();
        if tally.restarted == NODES {
            Ok(())
        } else {
            Err(format!("{tally:?}"))
        }
    })
    .await;
    assert_eq!(
        fleet.names_where(|seen| !seen.is_enrolled_once()),
        Vec::<String>::new()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn provision_case_45_many_events_at_once_twice_each_enrol_every_node_once() {
    let world = World::new(0, &["--provisioners", "1"]);
    let _up = world.up();
    let fleet = emulated(&world)
        .count(NODES)
        .behaviour(
            Behaviour::default()
                .announcements(2)
                .after_restart(AfterRestart::Member(Duration::from_secs(2))),
        )
        .start()
        .await;
    fleet.announce().await;
    eventually(2 * PATIENCE, PERIOD, || async {
        let tally = fleet.tally();
        if tally.members == NODES {
            Ok(())
        } else {
            Err(format!("{tally:?}"))
        }
    })
    .await;
    assert_eq!(
        fleet.names_where(|seen| !seen.is_enrolled_once()),
        Vec::<String>::new()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn provision_case_46_the_dead_hold_up_nobody() {
    let world = World::new(0, &["--provisioners", "1"]);
    world.edit("provisioner/provisioner.toml", "", QUICK);
    world.edit(
        "provisioner/provisioner.toml",
        "first_contact = \"3s\"",
        "first_contact = \"60s\"",
    );
    // Fewer may be worked on than are dead: with the original each dead node would hold one for minutes.
    world.edit(
        "provisioner/provisioner.toml",
        "",
        "[limits]\nworkers = 4\n",
    );
    let _up = world.up();
    let fleet = emulated(&world)
        .count(NODES)
        .behave(|index, _| match index % 20 {
            0 => Behaviour::dead(),
            _ => Behaviour::default(),
        })
        .start()
        .await;
    fleet.announce().await;
    // All of the living, long before the first of the dead is given up.
    eventually(PATIENCE, PERIOD, || async {
        let tally = fleet.tally();
        if tally.restarted == NODES - NODES / 20 {
            Ok(())
        } else {
            Err(format!("{tally:?}"))
        }
    })
    .await;
    assert_eq!(fleet.tally().configured_again, 0);
}
