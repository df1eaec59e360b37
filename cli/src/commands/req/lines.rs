//! `--jsonl`: one line of JSON for each thing that happens.

use std::time::Duration;

use overlay_client::Answer;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::Sink;
use crate::error::Failure;
use crate::results::{Row, Stats};

/// Writes the lines.
pub(super) struct Lines<'a>(&'a mut Sink);

#[derive(Serialize)]
#[serde(tag = "k", rename_all = "lowercase")]
enum Line<'a> {
    Discovery {
        #[serde(skip_serializing_if = "Option::is_none")]
        count: Option<usize>,
        /// Seconds.
        #[serde(skip_serializing_if = "Option::is_none")]
        dt: Option<f64>,
        dm: &'a str,
    },
    Result {
        /// The reply as the protocol has it.
        pr: Box<RawValue>,
        rr: Body<'a>,
    },
    Summaries {
        agg: Value,
    },
    Stats {
        stat: &'a Stats,
    },
    Error {
        err: String,
    },
}

#[derive(Serialize)]
struct Body<'a> {
    action: &'a str,
    statuscode: overlay_protocol::rpc::StatusCode,
    statusmsg: &'a str,
    data: &'a Value,
    sender: &'a str,
    time_utc: &'a str,
}

impl<'a> Lines<'a> {
    pub(super) fn new(sink: &'a mut Sink) -> Self {
        Self(sink)
    }

    pub(super) fn discovering(&mut self, dm: &str) -> Result<(), Failure> {
        self.write(&Line::Discovery {
            count: None,
            dt: None,
            dm,
        })
    }

    pub(super) fn discovered(
        &mut self,
        dm: &str,
        count: usize,
        took: Duration,
    ) -> Result<(), Failure> {
        self.write(&Line::Discovery {
            count: Some(count),
            dt: Some(took.as_secs_f64()),
            dm,
        })
    }

    pub(super) fn result(&mut self, answer: &Answer, row: &Row) -> Result<(), Failure> {
        let pr = RawValue::from_string(String::from_utf8(answer.reply.encode())?)?;
        let rr = Body {
            action: &row.action,
            statuscode: row.statuscode,
            statusmsg: &row.statusmsg,
            data: &row.data,
            sender: &row.sender,
            time_utc: &row.time_utc,
        };
        self.write(&Line::Result { pr, rr })
    }

    pub(super) fn end(&mut self, agg: Value, stat: &Stats) -> Result<(), Failure> {
        self.write(&Line::Summaries { agg })?;
        self.write(&Line::Stats { stat })
    }

    pub(super) fn error(&mut self, failure: &Failure) -> Result<(), Failure> {
        self.write(&Line::Error {
            err: failure.line(),
        })
    }

    fn write(&mut self, line: &Line<'_>) -> Result<(), Failure> {
        self.0.line(serde_json::to_string(line)?)
    }
}
