//! Records of signatures in the forms of Choria's own service.

use serde::Serialize;
use serde_json::value::RawValue;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Data, Decision};
use crate::json;

/// A line as the `logfile` auditor writes it: its members are in alphabetical order.
#[derive(Serialize)]
struct Line<'a> {
    action: &'a str,
    auditor: &'a str,
    caller: &'a str,
    level: &'a str,
    msg: &'a str,
    site: &'a str,
    time: String,
}

/// A document as the `jetstream` auditor publishes it.
#[derive(Serialize)]
struct Document<'a> {
    protocol: &'a str,
    callerid: &'a str,
    action: &'a str,
    site: &'a str,
    time: i64,
    request: &'a RawValue,
}

/// Returns the line of Choria's `logfile` auditor, without a line end; none if there is no request to show.
#[must_use]
pub fn original_line(data: &Data) -> Option<Vec<u8>> {
    let time = OffsetDateTime::from_unix_timestamp(data.time)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
        .format(&Rfc3339)
        .unwrap_or_default();
    Some(json::encode(&Line {
        action: action(data),
        auditor: "logfile",
        caller: &data.callerid,
        level: "info",
        msg: data.request.as_deref()?.get(),
        site: &data.site,
        time,
    }))
}

/// Returns the document of Choria's `jetstream` auditor; none if there is no request to show.
#[must_use]
pub fn original_document(data: &Data) -> Option<Vec<u8>> {
    Some(json::encode(&Document {
        protocol: &data.protocol,
        callerid: &data.callerid,
        action: action(data),
        site: &data.site,
        time: data.time,
        request: data.request.as_deref()?,
    }))
}

fn action(data: &Data) -> &'static str {
    data.action.map_or("unknown", Decision::as_str)
}
