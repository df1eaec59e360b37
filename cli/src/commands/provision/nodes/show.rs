//! Nodes in people's words.

use std::fmt::Write as _;

use comfy_table::Table;
use overlay_protocol::provisioning::NodeRecord;
use overlay_protocol::provisioning::audit::Record;
use overlay_protocol::provisioning::control::NodeReply;
use time::OffsetDateTime;
use time::macros::format_description;

use crate::text;

/// Longest text of a reason in a table.
const MAX_WHY: usize = 60;

/// A table of nodes.
pub(super) fn table(nodes: &[NodeRecord]) -> Table {
    let mut table = text::table(&["Node", "State", "Since", "Attempts", "Site", "Why"]);
    for node in nodes {
        table.add_row([
            node.identity.to_string(),
            node.state.to_string(),
            instant(node.since),
            node.attempts.to_string(),
            text::visible(node.site.as_deref().unwrap_or("-")),
            why(node),
        ]);
    }
    table
}

fn why(node: &NodeRecord) -> String {
    let said = node.message.as_deref().or(node.reason.as_deref());
    let mut said = text::visible(said.unwrap_or("-"));
    if said.chars().count() > MAX_WHY {
        said = said.chars().take(MAX_WHY).chain(['…']).collect();
    }
    said
}

/// Everything about one node.
pub(super) fn node(reply: &NodeReply) -> String {
    let mut shown = String::new();
    if let Some(record) = &reply.record {
        shown.push_str(&of_record(record));
    }
    if reply.audit.is_empty() {
        return shown;
    }
    shown.push_str("\n  Decisions, newest first:\n");
    for record in &reply.audit {
        // Writing to a String cannot fail.
        writeln!(shown, "    {}", decision(record)).ok();
    }
    shown
}

fn of_record(node: &NodeRecord) -> String {
    let mut rows: Vec<(&str, String)> = vec![(
        "State",
        format!("{} since {}", node.state, instant(node.since)),
    )];
    let mut row = |label, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            rows.push((label, text::visible(&value)));
        }
    };
    row("Why", node.message.clone().or_else(|| node.reason.clone()));
    row("Reason", node.reason.clone());
    row("Next attempt", node.not_before.map(instant));
    row(
        "First seen",
        (node.first_seen > 0).then(|| instant(node.first_seen)),
    );
    row("Found by", node.found.clone());
    row("Attempts", count(node.attempts));
    row("Failures in a row", count(node.failures));
    row("Put off in a row", count(node.deferrals));
    row("Enrolled", node.enrolments.last().copied().map(instant));
    if let Some(issued) = &node.issued {
        row("Key", Some(issued.public_key.clone()));
        row("Server token", Some(issued.id.clone()));
        row("Good until", Some(instant(issued.expires)));
        row("Collectives", Some(issued.collectives.join(", ")));
    }
    if let Some(token) = &node.token {
        row("Provisioning token", token.id.clone());
        row("Organisation", token.organisation.clone());
        row("Only for", token.bound_to.clone());
        row("Once", token.one_time.then(|| "yes".to_owned()));
    }
    row("Site", node.site.clone());
    row("Version", node.version.clone());
    row("Placement", node.placement.clone());
    row("Instance", node.instance.clone());
    row("Operator", node.operator.clone());
    row(
        "Name",
        node.confirmed
            .then(|| "released: it may be taken once more".to_owned()),
    );
    let width = rows
        .iter()
        .map(|(label, _)| label.len())
        .max()
        .unwrap_or_default();
    let mut shown = format!("{}\n\n", node.identity);
    for (label, value) in rows {
        writeln!(shown, "  {label:<width$}  {value}").ok();
    }
    shown
}

fn count(count: u32) -> Option<String> {
    (count > 0).then(|| count.to_string())
}

fn decision(record: &Record) -> String {
    let details = &record.details;
    let mut shown = format!("{}  {}", instant(record.time), record.kind);
    if let Some(step) = &details.step {
        write!(shown, " at {}", text::visible(step)).ok();
    }
    if let Some(operator) = &details.operator {
        write!(shown, " by {}", text::visible(operator)).ok();
    }
    if let Some(said) = details.message.as_ref().or(details.reason.as_ref()) {
        write!(shown, ": {}", text::visible(said)).ok();
    }
    shown
}

/// A time, as people read it.
pub(in crate::commands) fn instant(seconds: i64) -> String {
    OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|at| {
            let form = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
            at.format(form).ok()
        })
        .unwrap_or_else(|| format!("second {seconds}"))
}
