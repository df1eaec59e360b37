//! Replies for people and for programs.

use overlay_protocol::rpc::StatusCode;
use overlay_protocol::rpc::ddl::{self, Action, Aggregates};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{Asking, Display, Lines, Sink};
use crate::error::Failure;
use crate::output::{Color, Output, pretty};
use crate::results::{Row, Stats};
use crate::text::{layout, plain, table, visible};

#[derive(Serialize)]
struct Results<'a> {
    agent: &'a str,
    action: &'a str,
    replies: &'a [Row],
    request_stats: &'a Stats,
    summaries: Value,
}

pub(super) fn show(
    asking: &Asking<'_>,
    rows: &[Row],
    stats: &Stats,
    sink: &mut Sink,
) -> Result<(), Failure> {
    let Asking {
        args, app, action, ..
    } = asking;
    if args.showing.senders {
        return senders(rows, app.output.is_json(), sink);
    }
    let summaries = aggregates(action, rows);
    if app.output.is_json() {
        let results = Results {
            agent: &args.agent,
            action: &args.action,
            replies: rows,
            request_stats: stats,
            summaries: summaries.to_json(),
        };
        return sink.line(pretty(&results, b"   ")?);
    }
    if args.showing.jsonl {
        return Lines::new(sink).end(summaries.to_json(), stats);
    }
    if args.showing.table {
        return sink.text(format_args!("{}\n\n", reply_table(action, rows)));
    }
    let mut text = String::new();
    for row in rows
        .iter()
        .filter(|row| is_shown(row, args.showing.display, action.display))
    {
        text.push_str(&reply(action, row, &app.output, app.global.verbose));
    }
    if !args.showing.silent {
        for summary in summaries.summaries() {
            text.push_str(&format!("Summary of {}:\n\n", summary.display_as));
            if summary.lines.is_empty() {
                text.push_str("   No summary received\n");
            }
            for line in &summary.lines {
                text.push_str(&format!("   {}\n", visible(line)));
            }
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&stats.footer(&app.output, app.global.verbose));
    }
    sink.text(text)
}

fn senders(rows: &[Row], is_json: bool, sink: &mut Sink) -> Result<(), Failure> {
    let names: Vec<&str> = rows
        .iter()
        .filter(|row| row.is_ok())
        .map(|row| row.sender.as_str())
        .collect();
    if is_json {
        return sink.line(pretty(&names, b"  ")?);
    }
    names.iter().try_for_each(|name| sink.line(name))
}

fn aggregates<'a>(action: &'a Action, rows: &[Row]) -> Aggregates<'a> {
    let mut aggregates = Aggregates::new(action);
    for row in rows {
        if let Some(data) = with_defaults(action, row) {
            aggregates.add(&data);
        }
    }
    aggregates
}

/// The reply's data, with the described defaults for what the node left out.
fn with_defaults(action: &Action, row: &Row) -> Option<Map<String, Value>> {
    let mut data = row.data.as_object()?.clone();
    for (name, output) in &action.output {
        if let (false, Some(default)) = (data.contains_key(name), &output.default) {
            data.insert(name.clone(), default.clone());
        }
    }
    Some(data)
}

fn reply_table(action: &Action, rows: &[Row]) -> comfy_table::Table {
    let mut headings = vec!["Sender"];
    headings.extend(
        action
            .output
            .values()
            .map(|output| output.display_as.as_str()),
    );
    let mut table = table(&headings);
    for row in rows.iter().filter(|row| row.is_ok()) {
        let mut cells = vec![row.sender.clone()];
        let cell = |name| row.data.get(name).map(plain).unwrap_or_default();
        cells.extend(action.output.keys().map(cell));
        table.add_row(cells);
    }
    table
}

fn is_shown(row: &Row, asked: Option<Display>, described: ddl::Display) -> bool {
    match asked {
        Some(Display::All) => true,
        Some(Display::None) => false,
        Some(Display::Ok) => row.is_ok(),
        Some(Display::Failed) => !row.is_ok(),
        None => match described {
            ddl::Display::Always => true,
            ddl::Display::Ok => row.is_ok(),
            ddl::Display::Failed => !row.is_ok(),
        },
    }
}

fn reply(action: &Action, row: &Row, output: &Output, is_verbose: bool) -> String {
    let (sender, status) = (visible(&row.sender), status(row.statuscode, output));
    let heading = format!("{sender:<40} {status}\n\n");
    let message = output.paint(Color::Yellow, visible(&row.statusmsg));
    let data = spread(&row.data, "   ", "   ");
    match (row.is_ok(), is_verbose) {
        (true, true) => return format!("{heading}   {data}\n"),
        (false, true) => return format!("{heading}    {message}\n\n   {data}\n"),
        (false, false) => return format!("{heading}    {message}\n\n"),
        (true, false) => {}
    }
    let data = with_defaults(action, row).unwrap_or_default();
    let label = |name: &String| {
        action
            .output
            .get(name)
            .map_or_else(|| visible(name), |output| output.display_as.clone())
    };
    let width = data
        .keys()
        .map(|name| label(name).chars().count())
        .max()
        .unwrap_or(0)
        + 3;
    let inset = " ".repeat(width + 2);
    let mut text = heading;
    for (name, value) in &data {
        let shown = match value {
            Value::Array(_) | Value::Object(_) => visible(&layout(value, &inset)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => plain(value),
        };
        text.push_str(&format!("{:>width$}: {}\n", label(name), shown.trim()));
    }
    text.push('\n');
    text
}

fn status(code: StatusCode, output: &Output) -> String {
    match code {
        StatusCode::Ok => String::new(),
        StatusCode::Aborted => output.paint(Color::Red, "Request Aborted"),
        StatusCode::UnknownAction => output.paint(Color::Yellow, "Unknown Action"),
        StatusCode::MissingData => output.paint(Color::Yellow, "Missing Request Data"),
        StatusCode::InvalidData => output.paint(Color::Yellow, "Invalid Request Data"),
        StatusCode::UnknownError => output.paint(Color::Red, "Unknown Request Status"),
    }
}

/// JSON with every member on its own line.
fn spread(value: &Value, prefix: &str, indent: &str) -> String {
    let text = pretty(value, indent.as_bytes()).unwrap_or_default();
    visible(&text.replace('\n', &format!("\n{prefix}")))
}
