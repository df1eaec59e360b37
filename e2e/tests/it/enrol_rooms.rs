//! What a node that is not provisioned may see and say on a cell's broker: itself, and nothing else.

use overlay_testkit::emulated::{AfterRestart, Behaviour, Standing};
use overlay_testkit::eventually;
use std::time::Duration;

use crate::bare::{QUICK, emulated};
use crate::world::{PATIENCE, PERIOD, World};

const ME: &str = "n1.example.net";
const PEER: &str = "n2.example.net";

#[tokio::test(flavor = "multi_thread")]
async fn provision_case_13_a_node_sees_its_own_requests_only_and_forges_nothing() {
    let world = World::new(0, &["--provisioners", "1"]);
    world.edit("provisioner/provisioner.toml", "", QUICK);
    let _up = world.up();
    let fleet = emulated(&world)
        .names([ME, PEER])
        .behaviour(Behaviour::default().after_restart(AfterRestart::Member(Duration::ZERO)))
        .start()
        .await;
    let forbidden = [
        "provisioning.node.>",
        "provisioning.node.n2.example.net",
        "provisioning.reply.>",
        "choria.lifecycle.>",
        "choria.>",
        "_INBOX.>",
        "$JS.>",
        "$KV.>",
    ];
    for subject in forbidden {
        fleet.subscribe(ME, subject).await;
    }
    let unspeakable = [
        "provisioning.node.n2.example.net",
        "provisioning.broadcast.agent.discovery",
        "provisioning.reply.0123456789abcdef0123456789abcdef.x",
        "choria.lifecycle.event.startup.server",
        "choria.lifecycle.event.startup.provisioner",
        "choria.lifecycle.event.governor.server",
        "provisioning.vetted.startup",
        "overlay.audit.provisioning.enrolled",
        "$JS.API.STREAM.INFO.PROVISIONING_EVENTS",
        "$KV.PROVISIONING_CONTROL.paused",
        "fleet.choria.node.n2.example.net",
    ];
    for subject in unspeakable {
        fleet.publish(ME, subject, "x").await;
    }
    let due = forbidden.len() + unspeakable.len();
    eventually(PATIENCE, PERIOD, || async {
        let complaints = fleet.node(ME).complaints;
        if complaints.len() == due {
            Ok(())
        } else {
            Err(format!("{due} are due: {complaints:#?}"))
        }
    })
    .await;
    fleet.announce().await;
    eventually(PATIENCE, PERIOD, || async {
        let tally = fleet.tally();
        if tally.members == 2 {
            Ok(())
        } else {
            Err(format!("{tally:?}: {:#?}", fleet.all()))
        }
    })
    .await;
    for name in [ME, PEER] {
        let seen = fleet.node(name);
        assert!(
            seen.is_enrolled_once() && seen.foreign.is_empty(),
            "{seen:?}"
        );
        assert_eq!(seen.standing, Standing::Member);
    }
}
