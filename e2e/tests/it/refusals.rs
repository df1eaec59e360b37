//! Who is refused learns why, and so does whoever watches.

use overlay_testkit::Process;
use serde_json::Value;

use crate::world::{PATIENCE, World};

#[test]
fn a_stranger_is_refused_and_the_refusal_is_published_with_its_reason() {
    let world = World::new(1, &[]);
    let _up = world.up();
    world.wait_for_nodes(1);
    let events = Process::builder(Process::locate("overlay").unwrap())
        .args(["events", "--json"])
        .env("OVERLAY_CONFIG", world.dir().join("operator/client.toml"))
        .start();
    // The watcher sees what comes after it subscribed: a second stranger is refused if the first came too early.
    let foreign = world.foreign_issuer();
    let stranger = world.caller("stranger", Some(&foreign), &[]);
    let line = overlay_testkit::eventually_blocking(PATIENCE, crate::world::PERIOD, || {
        let refused = world.overlay_as(&stranger, &["ping", "--timeout", "2s"]);
        assert_eq!(refused.code, 1, "{refused:?}");
        assert!(refused.err.contains("refused"), "{refused:?}");
        events
            .stdout()
            .lines()
            .find(|line| line.contains("refused"))
            .map(str::to_owned)
    });
    let event: Value = serde_json::from_str(&line).unwrap();
    let text = event.to_string();
    assert!(
        text.contains("up=stranger"),
        "the refusal names who it was: {text}"
    );
    assert!(
        text.contains("signature") || text.contains("issuer"),
        "the refusal says why: {text}"
    );
    assert!(
        !text.contains("eyJ"),
        "a refusal never carries a token: {text}"
    );
    drop(events);
    assert_eq!(world.answering().len(), 1, "the rest goes on working");
}

#[test]
fn an_expired_token_is_refused_before_it_reaches_the_broker() {
    let world = World::new(0, &[]);
    let _up = world.up();
    let brief = world.caller("brief", None, &["--validity", "1s"]);
    overlay_testkit::eventually_blocking(PATIENCE, crate::world::PERIOD, || {
        let said = world.overlay_as(&brief, &["ping", "--timeout", "1s"]);
        if said.err.contains("expired") {
            Ok(())
        } else {
            Err(format!("{said:?}"))
        }
    });
}

#[test]
fn a_caller_without_fleet_management_is_told_so() {
    let world = World::new(1, &[]);
    let _up = world.up();
    world.wait_for_nodes(1);
    let viewer = world.caller("viewer", None, &["--no-fleet-management", "--event-viewer"]);
    let said = world.overlay_as(&viewer, &["req", "rpcutil", "ping", "-I", "node1"]);
    // As with Choria this is no failure of the command: no node answered, and the broker said why.
    assert!(said.out.contains("No Responses from: 1"), "{said:?}");
    assert!(said.err.contains("Permissions Violation"), "{said:?}");
}

#[test]
fn a_caller_who_needs_a_signer_is_told_so() {
    let world = World::new(1, &[]);
    let _up = world.up();
    world.wait_for_nodes(1);
    let unsigned = world.caller("unsigned", None, &["--signed-fleet-management"]);
    let said = world.overlay_as(&unsigned, &["req", "rpcutil", "ping", "-I", "node1"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("sign"), "{said:?}");
}
