//! One node's inventory for people.

use serde_json::Value;
use time::OffsetDateTime;

use crate::output::pretty;
use crate::text::{columns, columns_down, plain, visible};

pub(super) fn text(identity: &str, inventory: &Value, stats: &Value, with_facts: bool) -> String {
    let of = |value: &Value, name: &str| value.get(name).map(plain).unwrap_or_default();
    let mut version = of(inventory, "version");
    if inventory
        .get("upgradable")
        .and_then(Value::as_bool)
        .unwrap_or_default()
    {
        version.push_str(" (upgradable during provisioning)");
    }
    let rows = [
        ("Version", version),
        ("Start Time", started(stats)),
        ("Config File", of(stats, "configfile")),
        ("Collectives", texts(inventory, "collectives").join(", ")),
        ("Main Collective", of(inventory, "main_collective")),
        ("Process ID", of(stats, "pid")),
        ("Total Messages", of(stats, "total")),
        ("Messages Passed Filters", of(stats, "passed")),
        ("Messages Filtered", of(stats, "filtered")),
        ("Expired Messages", of(stats, "ttlexpired")),
        ("Replies Sent", of(stats, "replies")),
        ("Events Published", of(stats, "events")),
    ];
    let mut text = format!("Inventory for {identity}\n\n  Choria Server Statistics:\n\n");
    for (name, value) in rows {
        text.push_str(&format!("{name:>27}: {value}\n"));
    }
    text.push_str(&format!(
        "\n  Agents:\n\n{}",
        columns_down(&texts(inventory, "agents"), 3)
    ));
    text.push_str(&format!(
        "\n  Tagged Classes:\n\n{}\n",
        columns_down(&texts(inventory, "classes"), 2)
    ));
    let machines = machines(inventory);
    if !machines.is_empty() {
        text.push_str(&format!(
            "  Autonomous Agents:\n\n{}\n",
            columns(&machines, 3)
        ));
    }
    if with_facts {
        let facts =
            pretty(inventory.get("facts").unwrap_or(&Value::Null), b"  ").unwrap_or_default();
        let facts = visible(&facts).replace('\n', "\n    ");
        text.push_str(&format!("  Facts:\n\n    {facts}\n\n"));
    }
    text
}

fn texts(value: &Value, name: &str) -> Vec<String> {
    let items = value.get(name).and_then(Value::as_array);
    let mut texts: Vec<String> = items.into_iter().flatten().map(plain).collect();
    texts.sort_unstable();
    texts
}

/// Name, version and state of each, three columns.
fn machines(inventory: &Value) -> Vec<String> {
    let machines = inventory.get("machines").and_then(Value::as_array);
    let cell = |machine: &Value, name| machine.get(name).map(plain).unwrap_or_default();
    machines
        .into_iter()
        .flatten()
        .flat_map(|machine| ["name", "version", "state"].map(|name| cell(machine, name)))
        .collect()
}

fn started(stats: &Value) -> String {
    let seconds = stats.get("starttime").and_then(Value::as_i64);
    let format = time::macros::format_description!(
        "[year]-[month]-[day] [hour]:[minute]:[second] +0000 UTC"
    );
    seconds
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .and_then(|time| time.format(format).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn a_node_that_says_little_is_still_shown() {
        let text = super::text("n1", &json!({"version": "1"}), &json!({}), true);
        assert!(text.contains("Version: 1\n"), "{text}");
    }
}
