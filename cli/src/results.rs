//! What came of a request, as it is shown and as JSON has it.

use std::collections::BTreeMap;

use overlay_client::{Answer, Outcome};
use overlay_protocol::envelope::Limits;
use overlay_protocol::envelope::v2::Reply;
use overlay_protocol::rpc::{RpcReply, StatusCode};
use serde::Serialize;
use serde_json::Value;
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::duration::{Text, nanos};
use crate::output::{Color, Output};
use crate::text;

/// Longer lists of names are cut, unless the user wants to know all.
const MAX_NAMES: usize = 200;

/// One node's reply.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    pub(crate) sender: String,
    pub(crate) action: String,
    pub(crate) statuscode: StatusCode,
    pub(crate) statusmsg: String,
    pub(crate) data: Value,
    pub(crate) time_utc: String,
    #[serde(skip)]
    pub(crate) time_ns: i64,
}

/// The figures of a request; spans are in nanoseconds.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Stats {
    pub(crate) requestid: String,
    pub(crate) no_responses: Vec<String>,
    pub(crate) unexpected_responses: Vec<String>,
    pub(crate) discovered: usize,
    pub(crate) failed: usize,
    pub(crate) ok: usize,
    pub(crate) responses: usize,
    pub(crate) publish_time: u64,
    pub(crate) request_time: u64,
    pub(crate) discover_time: u64,
    pub(crate) start_time_utc: String,
    /// Senders whose replies are not proved to be theirs, and why.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) doubtful_responses: BTreeMap<String, String>,
    #[serde(skip)]
    started: OffsetDateTime,
}

/// Counts replies as they come.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) ok: usize,
    pub(crate) failed: usize,
}

impl Row {
    /// A reply that cannot be read is one that failed.
    pub(crate) fn new(answer: &Answer, limits: &Limits) -> Self {
        let body = answer.body(limits).unwrap_or_else(|error| {
            RpcReply::failed(
                "",
                StatusCode::UnknownError,
                format!("unreadable reply: {error}"),
            )
        });
        Self::of(&answer.reply, body)
    }

    fn of(reply: &Reply, body: RpcReply) -> Self {
        Self {
            sender: reply.sender.clone(),
            action: body.action,
            statuscode: body.statuscode,
            statusmsg: body.statusmsg,
            data: body.data,
            time_utc: utc(reply.time_ns).format(&Rfc3339).unwrap_or_default(),
            time_ns: reply.time_ns,
        }
    }

    pub(crate) fn is_ok(&self) -> bool {
        self.statuscode == StatusCode::Ok
    }
}

impl Tally {
    pub(crate) fn count(&mut self, row: &Row) {
        if row.is_ok() {
            self.ok += 1;
        } else {
            self.failed += 1;
        }
    }
}

impl Stats {
    pub(crate) fn new(outcome: &Outcome, tally: Tally, discover_time: Duration) -> Self {
        let started = utc(outcome.started_ns);
        Self {
            requestid: outcome.id.to_string(),
            no_responses: outcome.missing.clone(),
            unexpected_responses: outcome.unexpected.clone(),
            discovered: outcome.asked,
            failed: tally.failed,
            ok: tally.ok,
            responses: outcome.answered,
            publish_time: nanos(outcome.publish_time),
            request_time: nanos(outcome.request_time),
            discover_time: nanos(discover_time),
            start_time_utc: started.format(&Rfc3339).unwrap_or_default(),
            doubtful_responses: outcome.doubtful.clone(),
            started,
        }
    }

    /// The lines under the replies: how many, how long, who not.
    pub(crate) fn footer(&self, output: &Output, is_verbose: bool) -> String {
        let mut shown = if is_verbose {
            self.all()
        } else {
            self.line(output)
        };
        shown.push_str(&names("No Responses from", &self.no_responses, is_verbose));
        shown.push_str(&names(
            "Unexpected Responses from",
            &self.unexpected_responses,
            is_verbose,
        ));
        shown
    }

    fn line(&self, output: &Output) -> String {
        let color = match self.responses {
            0 => Color::Red,
            some if some != self.discovered => Color::Yellow,
            _ => Color::Green,
        };
        format!(
            "Finished processing {} / {} hosts in {}\n",
            output.paint(color, self.responses),
            output.paint(color, self.discovered),
            Text::rounded(Duration::from_nanos(self.request_time + self.discover_time)),
        )
    }

    fn all(&self) -> String {
        let span = |value| Text(Duration::from_nanos(value));
        let started =
            time::macros::format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]+0000");
        let rows = [
            ("Nodes", format!("{} / {}", self.responses, self.discovered)),
            ("Pass / Fail", format!("{} / {}", self.ok, self.failed)),
            ("No Responses", self.no_responses.len().to_string()),
            (
                "Unexpected Responses",
                self.unexpected_responses.len().to_string(),
            ),
            (
                "Start Time",
                self.started.format(started).unwrap_or_default(),
            ),
            ("Discovery Time", span(self.discover_time).to_string()),
            ("Publish Time", span(self.publish_time).to_string()),
            (
                "Agent Time",
                span(self.request_time.saturating_sub(self.publish_time)).to_string(),
            ),
            (
                "Total Time",
                span(self.request_time + self.discover_time).to_string(),
            ),
        ];
        let mut shown = "---- request stats ----\n".to_owned();
        for (name, value) in rows {
            shown.push_str(&format!("{name:>20}: {value}\n"));
        }
        shown
    }
}

/// Tells of everything that makes an outcome less than it looks.
pub(crate) fn warn(output: &Output, outcome: &Outcome) {
    output.warn_of(&outcome.notices);
    let mut doubtful: Vec<String> = outcome
        .doubtful
        .iter()
        .map(|(name, why)| format!("  {name}: {}", text::visible(why)))
        .collect();
    if doubtful.is_empty() {
        return;
    }
    let count = doubtful.len();
    doubtful.truncate(MAX_NAMES);
    output.warn(format_args!(
        "{count} replies are not proved to be from whom they name:\n{}",
        doubtful.join("\n")
    ));
}

fn names(heading: &str, names: &[String], is_verbose: bool) -> String {
    if names.is_empty() {
        return String::new();
    }
    let is_cut = !is_verbose && names.len() > MAX_NAMES;
    let cut = if is_cut {
        format!(" (showing first {MAX_NAMES})")
    } else {
        String::new()
    };
    let shown = if is_cut {
        names.get(..MAX_NAMES).unwrap_or(names)
    } else {
        names
    };
    format!(
        "\n{heading}{cut}: {}\n\n{}",
        names.len(),
        text::columns(shown, 3)
    )
}

fn utc(nanos: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(nanos))
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}
