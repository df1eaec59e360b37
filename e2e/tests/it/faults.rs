//! Processes are killed; nothing needs a hand.

use overlay_testkit::eventually_blocking;

use crate::world::{PATIENCE, PERIOD, World};

#[test]
fn every_node_is_back_after_the_broker_was_killed() {
    let world = World::new(3, &[]);
    let _up = world.up();
    world.wait_for_nodes(3);
    let before = world.pid("nats-server").unwrap();
    world.kill("nats-server");
    eventually_blocking(PATIENCE, PERIOD, || {
        let now = world.pid("nats-server");
        if now.is_some_and(|pid| pid != before) {
            Ok(())
        } else {
            Err(format!("the broker is {now:?}"))
        }
    });
    world.wait_for_nodes(3);
}

#[test]
fn a_killed_node_is_named_as_missing_and_comes_back() {
    let world = World::new(2, &[]);
    let _up = world.up();
    world.wait_for_nodes(2);
    world.kill("node2");
    let said = world
        .overlay(&[
            "req", "rpcutil", "ping", "-I", "node1", "-I", "node2", "--json",
        ])
        .json();
    let answered = said["request_stats"]["responses"].as_u64().unwrap();
    if answered < 2 {
        assert_eq!(
            said["request_stats"]["no_responses"],
            serde_json::json!(["node2"]),
            "{said}"
        );
    }
    world.wait_for_nodes(2);
}

#[test]
fn logins_go_on_when_one_of_two_login_services_is_killed() {
    let world = World::new(1, &["--broker-auth", "2"]);
    let _up = world.up();
    world.wait_for_nodes(1);
    world.kill("broker-auth-1");
    // A login that the killed one had in its hands is lost; the next try of the client succeeds.
    for _ in 0..5 {
        world.wait_for_nodes(1);
    }
}

#[test]
fn without_a_login_service_those_inside_stay_and_nobody_enters() {
    let world = World::new(1, &[]);
    let _up = world.up();
    world.wait_for_nodes(1);
    let service = world
        .pid("broker-auth-1")
        .or_else(|| world.pid("broker-auth"))
        .unwrap()
        .to_string();
    let signal = |name: &str| {
        assert!(
            std::process::Command::new("kill")
                .args([name, &service])
                .status()
                .unwrap()
                .success()
        )
    };
    signal("-STOP");
    let refused = world.overlay(&["ping", "--timeout", "2s"]);
    signal("-CONT");
    assert_eq!(refused.code, 1, "fails closed: {refused:?}");
    world.wait_for_nodes(1);
}
