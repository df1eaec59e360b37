//! A record as one line for people.

use overlay_protocol::audit::{Decision, Kind, Record};

use crate::app::App;
use crate::output::Color;
use crate::text::visible;

/// Returns the line for a record.
pub(super) fn line(app: &App, record: &Record) -> String {
    let when = record
        .time
        .get(..19)
        .unwrap_or(&record.time)
        .replace('T', " ");
    let what = visible(&what(record)).replace('\n', " ");
    let text = format!("{when}  {what}  [{} {}]", record.chain, record.sequence);
    match record.data.action {
        Some(Decision::Deny) => app.output.paint(Color::Red, text),
        Some(Decision::Allow) => text,
        None if record.data.notice.is_some() || record.data.undelivered.is_some() => {
            app.output.paint(Color::Yellow, text)
        }
        None => text,
    }
}

fn what(record: &Record) -> String {
    let data = &record.data;
    let decision = data.action.map_or("", Decision::as_str);
    let mut parts = Vec::new();
    match record.kind {
        Kind::Signature => {
            parts.push(format!("{decision:<5}  {}", who(record)));
            let rpc = data.rpc.clone().unwrap_or_default();
            parts.push(format!("{} {}", rpc.agent, rpc.action));
        }
        Kind::Login => {
            parts.push(format!("{decision:<5}  {}", who(record)));
            let method = data.login.as_ref().map(|login| login.method.as_str());
            parts.push(match method.filter(|method| !method.is_empty()) {
                Some(method) => format!("logs in by {method}"),
                None => "logs in".to_owned(),
            });
        }
        Kind::Logout => parts.push(format!("{decision:<5}  {}  logs out", who(record))),
        Kind::Opened => parts.push("the record is opened".to_owned()),
        Kind::Checkpoint => parts.push("the record is signed".to_owned()),
        Kind::Closed => parts.push("the record is closed".to_owned()),
        Kind::Undelivered => {
            let sequences = data
                .undelivered
                .as_ref()
                .map(|undelivered| undelivered.sequences.as_slice())
                .unwrap_or_default();
            parts.push(format!("nobody received what was allowed in {sequences:?}"));
        }
        Kind::Notice => parts.push("notice".to_owned()),
    }
    if let Some(notice) = &data.notice {
        parts.push(notice.message.clone());
    }
    if let Some(decision) = &data.decision {
        if let Some(tenant) = &decision.tenant {
            parts.push(format!("tenant {tenant}"));
        }
        if data.action == Some(Decision::Deny) {
            let why = if decision.message.is_empty() {
                &decision.reason
            } else {
                &decision.message
            };
            parts.push(format!("because: {why}"));
        }
        if let Some(rule) = &decision.rule {
            parts.push(format!("by {rule}"));
        }
    }
    if !data.peer.is_empty() {
        parts.push(format!("from {}", data.peer));
    }
    parts.retain(|part| !part.trim().is_empty());
    parts.join("  ")
}

/// The caller, marked when nobody proved to be it.
fn who(record: &Record) -> String {
    let data = &record.data;
    let is_proved = match record.kind {
        Kind::Login => data.action == Some(Decision::Allow),
        Kind::Signature
        | Kind::Logout
        | Kind::Opened
        | Kind::Checkpoint
        | Kind::Closed
        | Kind::Undelivered
        | Kind::Notice => data.token.as_ref().is_some_and(|token| token.verified),
    };
    let tried = data.login.as_ref().map(|login| login.user.as_str());
    let name = [data.callerid.as_str(), tried.unwrap_or_default(), "nobody"]
        .into_iter()
        .find(|name| !name.is_empty())
        .unwrap_or_default();
    if is_proved {
        name.to_owned()
    } else {
        format!("{name} (not proved)")
    }
}
