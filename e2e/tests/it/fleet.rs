//! More than a handful of nodes.

use crate::world::World;

/// As many real node processes as a small machine takes beside other tests.
const FLEET: usize = 25;

#[test]
fn every_node_of_a_fleet_answers_and_none_is_counted_twice() {
    let world = World::new(FLEET, &[]);
    let _up = world.up();
    world.wait_for_nodes(FLEET);
    let ping = |more: &[&str]| {
        let request = ["req", "rpcutil", "ping", "--json"];
        world.overlay(&[&request, more].concat()).ok().json()
    };
    let said = ping(&[]);
    assert_eq!(
        said["request_stats"]["ok"], FLEET,
        "{}",
        said["request_stats"]
    );
    let mut senders: Vec<&str> = said["replies"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|reply| reply["sender"].as_str())
        .collect();
    senders.sort_unstable();
    senders.dedup();
    assert_eq!(senders.len(), FLEET);

    let batched = ping(&["--batch", "10", "--batch-sleep", "0"]);
    assert_eq!(
        batched["request_stats"]["ok"], FLEET,
        "{}",
        batched["request_stats"]
    );
    let limited = ping(&["--limit", "20%"]);
    assert_eq!(
        limited["request_stats"]["ok"],
        FLEET / 5,
        "{}",
        limited["request_stats"]
    );
    let too_many = ping(&["--limit", "1000"]);
    assert_eq!(
        too_many["request_stats"]["ok"], FLEET,
        "{}",
        too_many["request_stats"]
    );
}
