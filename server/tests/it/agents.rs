//! Every action of the built-in agents, without a broker.

use overlay_protocol::rpc::{RpcReply, StatusCode};
use serde_json::{Value, json};

use crate::support::{Cell, IDENTITY};

/// Calls an action of a node with facts, classes and a status file in its configuration.
async fn call(agent: &str, action: &str, data: Value) -> RpcReply {
    let cell = Cell::new();
    let mut rig = cell.rig("");
    let bytes = cell.signed(&cell.rpc(agent, action, &data), "choria.reply.x.1");
    rig.reply(&bytes, cell.now).await
}

async fn good(agent: &str, action: &str, data: Value) -> Value {
    let reply = call(agent, action, data).await;
    assert_eq!(reply.statuscode, StatusCode::Ok, "{}", reply.statusmsg);
    assert_eq!(reply.statusmsg, "OK");
    assert_eq!(reply.action, action);
    reply.data
}

async fn bad(agent: &str, action: &str, data: Value, code: StatusCode, message: &str) -> Value {
    let reply = call(agent, action, data).await;
    assert_eq!(reply.statuscode, code, "{}", reply.statusmsg);
    assert!(reply.statusmsg.starts_with(message), "{}", reply.statusmsg);
    reply.data
}

fn keys(data: &Value) -> Vec<&str> {
    data.as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

#[tokio::test]
async fn ping_answers_with_the_time() {
    let cell = Cell::new();
    let data = good("rpcutil", "ping", json!({})).await;
    let pong = data["pong"].as_i64().unwrap();
    assert!((pong - cell.now.secs).abs() < 60);
}

#[tokio::test]
async fn inventory_shows_the_node() {
    let data = good("rpcutil", "inventory", json!({})).await;
    assert_eq!(
        data["agents"],
        json!(["choria_util", "discovery", "rpcutil"])
    );
    assert_eq!(data["classes"], json!(["apache", "role::web"]));
    assert_eq!(data["collectives"], json!(["choria"]));
    assert_eq!(data["main_collective"], "choria");
    assert_eq!(data["data_plugins"], json!(["choria", "config_item"]));
    assert_eq!(data["facts"]["os"]["family"], "RedHat");
    assert_eq!(data["machines"], json!([]));
    assert_eq!(data["upgradable"], false);
    assert_eq!(data["version"], env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn agent_inventory_shows_metadata_under_the_wires_names() {
    let data = good("rpcutil", "agent_inventory", json!({})).await;
    let agents = data["agents"].as_array().unwrap();
    let names = agents
        .iter()
        .map(|agent| &agent["agent"])
        .collect::<Vec<_>>();
    assert_eq!(names, ["choria_util", "discovery", "rpcutil"]);
    for agent in agents {
        assert_eq!(agent["name"], agent["agent"]);
        assert!(agent["timeout"].as_u64().unwrap() >= 2);
        for member in ["description", "author", "license", "url", "version"] {
            assert!(
                !agent[member].as_str().unwrap().is_empty(),
                "{member} of {agent}"
            );
        }
    }
}

#[tokio::test]
async fn collective_info_and_daemon_stats_have_all_their_outputs() {
    let data = good("rpcutil", "collective_info", json!({})).await;
    assert_eq!(
        data,
        json!({"main_collective": "choria", "collectives": ["choria"]})
    );
    let data = good("rpcutil", "daemon_stats", json!({})).await;
    assert_eq!(
        keys(&data),
        [
            "agents",
            "configfile",
            "events",
            "filtered",
            "passed",
            "pid",
            "replies",
            "starttime",
            "threads",
            "times",
            "total",
            "ttlexpired",
            "unvalidated",
            "validated",
            "version",
        ]
    );
    assert_eq!(data["pid"], std::process::id());
}

#[tokio::test]
async fn facts_are_found_by_path_and_missing_ones_are_null() {
    let found = |fact: &'static str| good("rpcutil", "get_fact", json!({"fact": fact}));
    assert_eq!(
        found("os.family").await,
        json!({"fact": "os.family", "value": "RedHat"})
    );
    assert_eq!(found("cpus").await["value"], 4);
    assert_eq!(found("os").await["value"], json!({"family": "RedHat"}));
    assert_eq!(found("no.such").await["value"], Value::Null);
    assert_eq!(
        good("rpcutil", "get_fact", json!({})).await,
        json!({"fact": "", "value": null})
    );
    assert_eq!(
        good(
            "rpcutil",
            "get_facts",
            json!({"facts": "os.family, cpus,no.such"})
        )
        .await,
        json!({"values": {"os.family": "RedHat", "cpus": 4, "no.such": null}})
    );
    let start = "Could not parse request data for rpcutil#get_fact: ";
    bad(
        "rpcutil",
        "get_fact",
        json!({"fact": 1}),
        StatusCode::InvalidData,
        start,
    )
    .await;
}

#[tokio::test]
async fn data_sources_and_settings_are_shown_and_unknown_ones_refused() {
    let data = good("rpcutil", "get_data", json!({"source": "choria"})).await;
    assert_eq!(data["agents_count"], 3);
    assert_eq!(data["provisioning"], false);
    let item = json!({"source": "config_item", "query": "collectives"});
    assert_eq!(
        good("rpcutil", "get_data", item).await,
        json!({"present": true, "value": ["choria"]})
    );
    let none = json!({"source": "config_item", "query": "plugin.nats.pass"});
    assert_eq!(
        good("rpcutil", "get_data", none).await,
        json!({"present": false, "value": null})
    );
    let unknown = json!({"source": "nosuch"});
    bad(
        "rpcutil",
        "get_data",
        unknown,
        StatusCode::Aborted,
        "Unknown data plugin",
    )
    .await;

    let item = json!({"item": "identity"});
    assert_eq!(
        good("rpcutil", "get_config_item", item).await,
        json!({"item": "identity", "value": IDENTITY})
    );
    let unknown = json!({"item": "nosuch"});
    bad(
        "rpcutil",
        "get_config_item",
        unknown,
        StatusCode::Aborted,
        "Unknown key",
    )
    .await;
}

#[tokio::test]
async fn choria_util_info_has_all_its_outputs() {
    let data = good("choria_util", "info", json!({})).await;
    assert_eq!(
        keys(&data),
        [
            "choria_version",
            "client_flavour",
            "client_options",
            "client_stats",
            "client_version",
            "connected_server",
            "connector",
            "connector_tls",
            "facter_command",
            "facter_domain",
            "middleware_servers",
            "path",
            "secure_protocol",
            "security",
            "srv_domain",
            "using_srv",
        ]
    );
    assert_eq!(data["security"], "choria");
    assert_eq!(data["facter_domain"], "example.net");
}

#[tokio::test]
async fn machines_are_answered_as_by_a_node_without_any() {
    assert_eq!(
        good("choria_util", "machine_states", json!({})).await,
        json!({"machine_ids": [], "machine_names": [], "states": {}})
    );
    let aborted = StatusCode::Aborted;
    let none = "No search criteria given";
    let data = bad("choria_util", "machine_state", json!({}), aborted, none).await;
    assert_eq!(data["state"], "unknown machine");
    let named = json!({"name": "x"});
    bad(
        "choria_util",
        "machine_state",
        named,
        aborted,
        "No running machines",
    )
    .await;
    let transition = json!({"name": "x", "transition": "GO"});
    let start = "Could not perform GO transition: ";
    let data = bad(
        "choria_util",
        "machine_transition",
        transition,
        aborted,
        start,
    )
    .await;
    assert_eq!(data, json!({"success": false}));
}

#[tokio::test]
async fn every_action_of_a_ddl_is_an_action_of_its_agent() {
    for name in ["rpcutil", "choria_util"] {
        let ddl = overlay_protocol::rpc::ddl::builtin(name).unwrap();
        for action in ddl.action_names() {
            let reply = call(name, action, json!({})).await;
            assert_ne!(
                reply.statuscode,
                StatusCode::UnknownAction,
                "{name}#{action}"
            );
        }
    }
}
