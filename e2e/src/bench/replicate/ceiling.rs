//! What brokers, client library and machine allow: a stream is copied with a window of unanswered publishes and no promise
//! about faults. A process of its own, so that its processor time is its own.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use async_nats::{Client, ConnectOptions, Subscriber};
use clap::Args;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::super::process::{cpu_seconds, peak_mib};
use super::super::report::say;

/// More than flow control lets the broker send ahead.
const QUEUE: usize = 262_144;

/// Flags of the hidden `replicate-ceiling`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    #[arg(long)]
    source: String,
    #[arg(long)]
    target: String,
    #[arg(long)]
    stream: String,
    #[arg(long)]
    prefix: String,
    #[arg(short = 'n')]
    messages: u64,
    #[arg(long)]
    window: usize,
}

/// Copies, and says what it took as one line of JSON.
///
/// # Errors
///
/// When a broker goes away or refuses a message.
pub(crate) fn run(options: &Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start a runtime")?;
    runtime.block_on(copy(options))?;
    let own = std::process::id();
    say(&json!({ "cpu_s": cpu_seconds(own)?, "peak_mib": peak_mib(own)? }).to_string());
    Ok(())
}

async fn connect(url: &str) -> Result<Client> {
    ConnectOptions::new()
        .subscription_capacity(QUEUE)
        .connect(url)
        .await
        .with_context(|| format!("connect to {url}"))
}

async fn copy(options: &Options) -> Result<()> {
    let source = connect(&options.source).await?;
    let target = connect(&options.target).await?;
    let answers = target.new_inbox();
    let acks = target
        .subscribe(format!("{answers}.*"))
        .await
        .context("subscribe")?;
    let free = Arc::new(Semaphore::new(options.window));
    let mut tasks = JoinSet::new();
    tasks.spawn(count(acks, Arc::clone(&free), options.messages));
    let mut messages = deliver(&source, &options.stream).await?;
    let mut copied = 0;
    while copied < options.messages {
        let message = messages.next().await.context("the source has more")?;
        if message.status.is_some() {
            if let Some(reply) = message.reply {
                source
                    .publish(reply, "".into())
                    .await
                    .context("answer flow control")?;
            }
            continue;
        }
        let reply = message
            .reply
            .as_deref()
            .context("a delivery says what it is")?;
        let mark = mark(&options.stream, reply).context("read a delivery")?;
        let mut headers = message.headers.unwrap_or_default();
        headers.insert("Choria-SR-Source", mark.as_str());
        free.acquire().await.context("wait for room")?.forget();
        copied += 1;
        let subject = format!("{}.{}", options.prefix, message.subject);
        target
            .publish_with_reply_and_headers(
                subject,
                format!("{answers}.{copied}"),
                headers,
                message.payload,
            )
            .await
            .context("publish")?;
    }
    target.flush().await.context("flush")?;
    match tokio::time::timeout(Duration::from_secs(60), tasks.join_next()).await {
        Ok(Some(Ok(Ok(())))) => Ok(()),
        Ok(Some(Ok(Err(error)))) => Err(error),
        Ok(Some(Err(error))) => Err(error.into()),
        Ok(None) | Err(_) => bail!("the answers do not come"),
    }
}

/// An ordered push consumer from the beginning.
async fn deliver(source: &Client, stream: &str) -> Result<Subscriber> {
    let inbox = source.new_inbox();
    let messages = source.subscribe(inbox.clone()).await.context("subscribe")?;
    let request = json!({ "stream_name": stream, "config": {
        "deliver_subject": inbox, "deliver_policy": "all", "ack_policy": "none", "replay_policy": "instant",
        "max_deliver": 1, "flow_control": true, "idle_heartbeat": 5_000_000_000_u64, "mem_storage": true, "num_replicas": 1,
        "inactive_threshold": 30_000_000_000_u64,
    }});
    let call = format!("$JS.API.CONSUMER.CREATE.{stream}");
    let reply = source
        .request(call, request.to_string().into())
        .await
        .context("make a consumer")?;
    let reply: Value = serde_json::from_slice(&reply.payload).context("read the answer")?;
    if !reply["error"].is_null() {
        bail!("make a consumer: {}", reply["error"]);
    }
    Ok(messages)
}

/// Gives room back for each answer, until all have come.
async fn count(mut acks: Subscriber, free: Arc<Semaphore>, messages: u64) -> Result<()> {
    for _ in 0..messages {
        let ack = acks.next().await.context("the answers end")?;
        if ack.payload.starts_with(b"{\"error\"") || ack.status.is_some() {
            bail!("refused: {}", String::from_utf8_lossy(&ack.payload));
        }
        free.add_permits(1);
    }
    Ok(())
}

/// The mark of a copy, from the reply subject of a delivery (nine tokens, or more with a domain).
fn mark(stream: &str, reply: &str) -> Option<String> {
    let tokens: Vec<&str> = reply.split('.').collect();
    let shift = if tokens.len() > 9 { 2 } else { 0 };
    let sequence = tokens.get(5 + shift)?;
    let nanos: i64 = tokens.get(7 + shift)?.parse().ok()?;
    Some(format!(
        "{stream} {sequence} CEILING CEILING {}",
        nanos / 1_000_000
    ))
}
