//! The stream of records, as its readers see it.

use std::time::Duration;

use async_nats::{Message, RequestErrorKind};
use futures_util::StreamExt;
use overlay_client::Connection;
use overlay_client::connection::Objection;
use overlay_protocol::subject;
use overlay_protocol::subject::stream::AAA_AUDIT;
use serde::{Deserialize, Deserializer};
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::app::App;
use crate::error::Failure;

/// How long an answer is waited for.
const LIMIT: Duration = Duration::from_secs(5);
/// Messages asked for at a time, and their bytes.
const BATCH: u64 = 256;
const BATCH_BYTES: u64 = 4 << 20;
// What the broker says instead of a message.
const END_OF_BATCH: u16 = 204;
const NOT_FOUND: u16 = 404;

/// Reads the stream of records.
#[derive(Debug)]
pub(super) struct Stream {
    connection: Connection,
}

/// What the stream has.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub(super) struct State {
    /// Messages that are there.
    pub(super) messages: u64,
    /// Sequence of the first of them.
    #[serde(rename = "first_seq")]
    pub(super) first: u64,
    /// Sequence of the last that ever was.
    #[serde(rename = "last_seq")]
    pub(super) last: u64,
    /// When the first of them was stored, in Unix seconds.
    #[serde(rename = "first_ts", deserialize_with = "seconds")]
    pub(super) first_time: Option<i64>,
    /// When the last that ever was was stored, in Unix seconds.
    #[serde(rename = "last_ts", deserialize_with = "seconds")]
    pub(super) last_time: Option<i64>,
    /// How many seconds a message is kept; 0 is for ever.
    #[serde(skip)]
    pub(super) max_age: i64,
}

/// The only setting of the stream that its readers look at.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Settings {
    /// Nanoseconds.
    max_age: i64,
}

/// Reads a time; what is none is not known.
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let time = OffsetDateTime::parse(&text, &Rfc3339).ok();
    Ok(time.map(OffsetDateTime::unix_timestamp))
}

/// One message: lines of records.
#[derive(Debug)]
pub(super) struct Lines {
    /// Its sequence in the stream.
    pub(super) sequence: u64,
    /// The lines.
    pub(super) bytes: bytes::Bytes,
}

#[derive(Deserialize)]
struct Info {
    #[serde(default)]
    state: State,
    #[serde(default)]
    config: Settings,
    error: Option<Problem>,
}

#[derive(Deserialize)]
struct Problem {
    #[serde(default)]
    description: String,
}

impl Stream {
    /// Connects with the caller's own token.
    pub(super) async fn open(app: &App) -> Result<Self, Failure> {
        let config = app.config()?;
        app.warn_of_exposed_key(&config.seed_file);
        let spinner = app.output.spinner("connecting to the broker");
        let connection = Box::pin(Connection::open(&config, "audit")).await;
        drop(spinner);
        let connection = connection?;
        app.warn_of_end(connection.credentials());
        Ok(Self { connection })
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Asks what the stream has.
    pub(super) async fn state(&self) -> Result<State, Failure> {
        let subject = request("STREAM.INFO");
        let question = self.connection.nats().request(subject, "".into());
        tokio::pin!(question);
        let answer = tokio::select! {
            Err(refusal) = self.connection.hear_objection(Objection::Publish) => {
                let failure = Failure::from(refusal).context("cannot read the record");
                return Err(failure.hint("it takes a token with the permission audit_viewer"));
            }
            answer = tokio::time::timeout(LIMIT, &mut question) => answer,
        };
        let message = match answer {
            Ok(Ok(message)) => message,
            Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => {
                return Err(Failure::new("this broker has no stream of records")
                    .hint("does the service keep them in a file? then read it with --from FILE"));
            }
            Ok(Err(error)) => return Err(error.into()),
            Err(_elapsed) => return Err(Failure::new("the stream of records does not answer")),
        };
        let info: Info = serde_json::from_slice(&message.payload)?;
        match info.error {
            None => Ok(State {
                max_age: info.config.max_age / 1_000_000_000,
                ..info.state
            }),
            Some(problem) => Err(Failure::new(format!(
                "no stream of records: {}",
                problem.description
            ))),
        }
    }

    /// Gets the next messages from a sequence on; none when there are no more.
    pub(super) async fn next(&self, from: u64) -> Result<Vec<Lines>, Failure> {
        let nats = self.connection.nats();
        let inbox = nats.new_inbox();
        let mut answers = nats.subscribe(inbox.clone()).await?;
        let question = json!({
            "seq": from,
            "next_by_subj": subject::AUDIT_AAA,
            "batch": BATCH,
            "max_bytes": BATCH_BYTES,
        });
        let payload = serde_json::to_vec(&question)?.into();
        nats.publish_with_reply(request("DIRECT.GET"), inbox, payload)
            .await?;
        let mut found = Vec::new();
        loop {
            let answer = tokio::time::timeout(LIMIT, answers.next()).await;
            let Ok(Some(message)) = answer else {
                return Err(Failure::new(
                    "the stream of records does not answer any more",
                ));
            };
            match message.status.map(|status| status.as_u16()) {
                None | Some(200) => found.push(lines(message)?),
                Some(END_OF_BATCH | NOT_FOUND) => return Ok(found),
                Some(status) => {
                    let why = message.description.unwrap_or_default();
                    return Err(Failure::new(format!(
                        "the stream of records answers {status} {why}"
                    )));
                }
            }
        }
    }
}

fn request(verb: &str) -> String {
    format!("{}.{verb}.{AAA_AUDIT}", subject::AUDIT_API_PREFIX)
}

fn lines(message: Message) -> Result<Lines, Failure> {
    let sequence = message
        .headers
        .as_ref()
        .and_then(|headers| headers.get("Nats-Sequence"))
        .and_then(|sequence| sequence.as_str().parse().ok())
        .ok_or_else(|| Failure::new("a message of the stream of records has no sequence"))?;
    Ok(Lines {
        sequence,
        bytes: message.payload,
    })
}
