//! The statistics port of the Choria broker: what of it a stock broker has, checked on one.

use overlay_testkit::vectors::{Loader, Outcome, for_cases};
use overlay_testkit::{Broker, http_get, nats_server, skip};
use serde_json::Value;

use super::broker::text;

/// Pages that only the original has: its own build information and metrics. Ours are `/version` and `/metrics` of each
/// component's admin listener.
const ORIGINALS_OWN: &str = "/choria/";

/// Metrics of the original and what replaces them: a figure of the broker's monitoring page (as exporters for Prometheus
/// read it), or a metric of ours.
const REPLACED: &[(&str, &str)] = &[
    ("choria_network_connections", "/varz#/connections"),
    (
        "choria_network_total_connections",
        "/varz#/total_connections",
    ),
    ("choria_network_routes", "/varz#/routes"),
    ("choria_network_remotes", "/varz#/remotes"),
    ("choria_network_leafnode_remotes", "/varz#/leafnodes"),
    ("choria_network_in_msgs", "/varz#/in_msgs"),
    ("choria_network_out_msgs", "/varz#/out_msgs"),
    ("choria_network_in_bytes", "/varz#/in_bytes"),
    ("choria_network_out_bytes", "/varz#/out_bytes"),
    ("choria_network_slow_consumers", "/varz#/slow_consumers"),
    ("choria_network_subscriptions", "/varz#/subscriptions"),
    (
        "choria_network_stream_memorystore_max",
        "/jsz#/config/max_memory",
    ),
    (
        "choria_network_stream_filestore_max",
        "/jsz#/config/max_storage",
    ),
    ("choria_network_stream_memorystore_used", "/jsz#/memory"),
    ("choria_network_stream_filestore_used", "/jsz#/storage"),
    ("choria_network_stream_streams", "/jsz#/streams"),
    ("choria_network_stream_consumers", "/jsz#/consumers"),
    ("choria_network_stream_messages", "/jsz#/messages"),
    ("choria_network_stream_message_bytes", "/jsz#/bytes"),
    ("choria_network_leafnode_", "/leafz#/leafnodes"),
    ("choria_build_info", "overlay_build_info"),
    (
        "choria_connector_connection_closed",
        "overlay_broker_events_total",
    ),
    ("choria_connector_errors", "overlay_broker_events_total"),
    (
        "choria_connector_reconnections",
        "overlay_broker_events_total",
    ),
    ("choria_connector_initial_", "overlay_broker_connected"),
    // Components of their own, which count for themselves; a broker of ours has none of them inside.
    ("choria_adapter_", "component"),
    ("choria_federation_", "component"),
    ("choria_protocol_", "component"),
];

pub(crate) fn metrics(file: &Value, _loader: &Loader) -> Outcome {
    let broker = broker();
    for_cases(file, |case| {
        let name = text(case, "name");
        let replaced = REPLACED
            .iter()
            .find(|(old, _)| name == *old || (old.ends_with('_') && name.starts_with(old)));
        let (_, by) = replaced.ok_or("nothing replaces it")?;
        match by.split_once('#') {
            Some((page, pointer)) => broker
                .as_ref()
                .map_or(Ok(()), |broker| figure(broker, page, pointer)),
            None if *by == "component" => Ok(()),
            None => ours(by),
        }
    })
}

pub(crate) fn endpoints(file: &Value, _loader: &Loader) -> Outcome {
    let broker = broker();
    for_cases(file, |case| {
        let name = text(case, "name");
        // Other processes of the original than its broker.
        if !name.starts_with('/') {
            return Ok(());
        }
        let Some(broker) = &broker else { return Ok(()) };
        let (status, body) =
            http_get(broker.monitoring_port(), name).map_err(|error| error.to_string())?;
        let due = if name.starts_with(ORIGINALS_OWN) {
            404
        } else {
            case["expect"]["status"].as_u64().unwrap_or(0)
        };
        if u64::from(status) != due {
            return Err(format!("status {status}, {due} due"));
        }
        let Some(shape) = case["expect"]["shape"].as_object().filter(|_| due == 200) else {
            return Ok(());
        };
        let page: Value = serde_json::from_str(&body).map_err(|error| error.to_string())?;
        // The broker leaves out what is empty, and versions differ in what they add.
        shape
            .iter()
            .try_for_each(|(member, kind)| match page.get(member) {
                Some(found) => same_kind(member, kind, found),
                None => Ok(()),
            })
    })
}

fn same_kind(member: &str, kind: &Value, found: &Value) -> Result<(), String> {
    let same = match kind.as_str() {
        Some("int" | "float" | "number") => found.is_number(),
        Some("string") => found.is_string(),
        Some("bool") => found.is_boolean(),
        Some(_) => true,
        None => kind.is_array() == found.is_array() && kind.is_object() == found.is_object(),
    };
    if same {
        Ok(())
    } else {
        Err(format!("{member} is {found}, {kind} due"))
    }
}

fn figure(broker: &Broker, page: &str, pointer: &str) -> Result<(), String> {
    match broker.monitoring(page).pointer(pointer) {
        Some(Value::Number(_)) => Ok(()),
        other => Err(format!("{page} has {other:?} at {pointer}")),
    }
}

/// Whether a process of ours has the metric.
fn ours(name: &str) -> Result<(), String> {
    let context = overlay_runtime::Context::new().map_err(|error| error.to_string())?;
    overlay_runtime::metrics::register_process(&context.registry, "broker-auth", "0", "0")
        .map_err(|error| error.to_string())?;
    let families = context.registry.gather();
    let known = families.iter().any(|family| family.name() == name)
        // Series of connections begin with their first event.
        || name.starts_with("overlay_broker_");
    if known {
        Ok(())
    } else {
        Err(format!("no metric {name}"))
    }
}

/// A broker to look at; none if this machine has no nats-server.
fn broker() -> Option<Broker> {
    match nats_server::locate() {
        Ok(_) => Some(Broker::builder().jetstream().start()),
        Err(error) => {
            skip(
                "vectors of the statistics port",
                &error.to_string(),
                "cargo xtask tools",
            );
            None
        }
    }
}
