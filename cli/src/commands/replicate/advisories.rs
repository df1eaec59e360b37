//! Advisories of a stream.

use std::time::Duration;

use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use async_nats::jetstream::{self, ErrorCode, context::GetStreamErrorKind};
use futures_util::StreamExt;
use overlay_client::Connection;
use overlay_protocol::envelope::Limits;
use overlay_protocol::replication::Advisory;
use time::OffsetDateTime;

use crate::app::App;
use crate::commands::provision::instant;
use crate::duration::{self, Text};
use crate::error::Failure;
use crate::text;

/// How long an answer is waited for.
const LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The stream that keeps advisories
    #[arg(value_name = "STREAM")]
    stream: String,
    /// Only those of this value
    #[arg(value_name = "VALUE")]
    value: Option<String>,
    /// Begin with those that are so old, such as 90s, 10m or 1d
    #[arg(long, value_name = "SPAN", value_parser = duration::parse, default_value = "1m")]
    since: Duration,
    /// Go on with those that come, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
}

pub(super) async fn run(args: Args, app: &App) -> Result<(), Failure> {
    let config = app.config()?;
    app.warn_of_exposed_key(&config.seed_file);
    let spinner = app.output.spinner("connecting to the broker");
    let connection = Box::pin(Connection::open(&config, "replicate")).await;
    drop(spinner);
    let connection = connection?;
    let jetstream = jetstream::new(connection.nats().clone());
    let read = read(&args, &jetstream, app);
    tokio::select! {
        biased;
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
        result = Box::pin(read) => {
            app.output.warn_of(&connection.take_notices());
            result
        }
    }
}

async fn read(args: &Args, jetstream: &jetstream::Context, app: &App) -> Result<(), Failure> {
    let found = tokio::time::timeout(LIMIT, jetstream.get_stream(&args.stream)).await;
    let stream = found
        .map_err(|_| Failure::new("the broker does not answer for the stream"))?
        .map_err(|error| match error.kind() {
            GetStreamErrorKind::JetStream(refusal)
                if refusal.error_code() == ErrorCode::STREAM_NOT_FOUND =>
            {
                Failure::new(format!("there is no stream {}", args.stream))
            }
            GetStreamErrorKind::JetStream(_)
            | GetStreamErrorKind::EmptyName
            | GetStreamErrorKind::InvalidStreamName
            | GetStreamErrorKind::Request => {
                Failure::from(anyhow::Error::new(error)).context("cannot read the stream")
            }
        })?;
    let now = crate::commands::now();
    let begin = OffsetDateTime::from_unix_timestamp(now.secs).unwrap_or(OffsetDateTime::UNIX_EPOCH)
        + Duration::from_nanos(now.nanos.into())
        - args.since;
    let failed = |error: async_nats::Error| {
        Failure::from(anyhow::Error::from_boxed(error)).context("cannot read the stream")
    };
    let reader = stream
        .create_consumer(pull::OrderedConfig {
            deliver_policy: DeliverPolicy::ByStartTime { start_time: begin },
            ..pull::OrderedConfig::default()
        })
        .await
        .map_err(|error| failed(error.into()))?;
    let mut left = reader.cached_info().num_pending;
    if left == 0 && !args.follow {
        return Err(match &args.value {
            Some(value) => Failure::new(format!("did not find any messages for {value:?}")),
            None => Failure::new("did not find any messages"),
        }
        .hint("--since looks further back"));
    }
    if !app.output.is_json() {
        app.output.line(match &args.value {
            Some(value) => format!(
                "Searching {left} messages for advisories related to {}\n",
                text::visible(value)
            ),
            None => "Searching for advisories\n".to_owned(),
        })?;
    }
    let mut messages = reader
        .messages()
        .await
        .map_err(|error| failed(error.into()))?;
    while args.follow || left > 0 {
        let next = if args.follow {
            messages.next().await
        } else {
            tokio::time::timeout(LIMIT, messages.next())
                .await
                .map_err(|_| Failure::new("the broker sends no more messages"))?
        };
        let Some(message) = next else {
            return Err(Failure::new("the broker sends no more messages"));
        };
        let message = message.map_err(|error| failed(error.into()))?;
        left = left.saturating_sub(1);
        // The stream may have other messages too.
        let Ok(advisory) = Advisory::decode(&message.payload, &Limits::default()) else {
            continue;
        };
        if args
            .value
            .as_ref()
            .is_some_and(|value| *value != advisory.value)
        {
            continue;
        }
        if app.output.is_json() {
            app.output
                .line(String::from_utf8_lossy(&advisory.encode()))?;
        } else {
            app.output.line(line(&advisory))?;
        }
    }
    Ok(())
}

fn line(advisory: &Advisory) -> String {
    let silence = advisory.timestamp.saturating_sub(advisory.seen);
    let silence = Text(Duration::from_secs(u64::try_from(silence).unwrap_or(0)));
    text::visible(&format!(
        "[{}] {:>7} {} seen {silence} earlier on {}",
        instant(advisory.timestamp),
        advisory.event.name(),
        advisory.value,
        advisory.replicator
    ))
}
