//! The main job of a cell, from nothing.

use crate::world::World;

#[test]
fn a_new_cell_answers_signed_requests_through_its_own_files() {
    let world = World::new(3, &[]);
    world.overlay(&["cell", "check", world.path()]).ok();
    let _up = world.up();
    world.wait_for_nodes(3);
    let names = world.answering();

    let ping = world
        .overlay(&["req", "rpcutil", "ping", "--json"])
        .ok()
        .json();
    assert_eq!(ping["request_stats"]["ok"], 3, "{ping}");
    assert_eq!(
        ping["request_stats"]["no_responses"],
        serde_json::json!([]),
        "{ping}"
    );

    let inventory = world
        .overlay(&["inventory", &names[0], "--json"])
        .ok()
        .json();
    assert!(inventory.to_string().contains("rpcutil"), "{inventory}");

    let status = world
        .overlay(&["cell", "status", world.path(), "--json"])
        .ok();
    assert!(status.out.contains("CHORIA_EVENTS"), "{status:?}");
    world.overlay(&["cell", "down", world.path()]).ok();
}

#[test]
fn a_filtered_request_reaches_only_the_nodes_that_it_means() {
    let world = World::new(2, &[]);
    for (index, node) in ["node1", "node2"].iter().enumerate() {
        let facts = serde_json::json!({ "rack": index + 1, "os": { "family": "Debian" } });
        std::fs::write(
            world.dir().join("node").join(node).join("facts.json"),
            facts.to_string(),
        )
        .unwrap();
    }
    let _up = world.up();
    world.wait_for_nodes(2);
    let one = world
        .overlay(&[
            "req",
            "rpcutil",
            "get_fact",
            "fact=rack",
            "-F",
            "rack=2",
            "--json",
        ])
        .ok()
        .json();
    let replies = one["replies"].as_array().unwrap();
    assert_eq!(replies.len(), 1, "{one}");
    assert_eq!(replies[0]["sender"], "node2");
    assert_eq!(replies[0]["data"]["value"], 2);
    let both = world
        .overlay(&["find", "-F", "os.family=debian", "--json"])
        .ok()
        .json();
    assert_eq!(both, serde_json::json!(["node1", "node2"]));
    let none = world
        .overlay(&["find", "-F", "rack=3", "--json"])
        .ok()
        .json();
    assert_eq!(none, serde_json::json!([]));
}

#[test]
fn lifecycle_events_of_nodes_are_kept_in_the_stream() {
    let world = World::new(1, &[]);
    let _up = world.up();
    world.wait_for_nodes(1);
    overlay_testkit::eventually_blocking(crate::world::PATIENCE, crate::world::PERIOD, || {
        let status = world
            .overlay(&["cell", "status", world.path(), "--json"])
            .json();
        let streams = status["streams"].as_array().cloned().unwrap_or_default();
        let events = streams
            .iter()
            .find(|stream| stream["name"] == "CHORIA_EVENTS")
            .cloned();
        match events.and_then(|stream| stream["messages"].as_u64()) {
            Some(count) if count > 0 => Ok(()),
            other => Err(format!("CHORIA_EVENTS holds {other:?}: {status}")),
        }
    });
}
