//! Two brokers with a stream to copy, and what is read from them.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use async_nats::Client;
use async_nats::jetstream::{self, consumer, stream};
use futures_util::StreamExt as _;
use overlay_testkit::{Broker, Proxy};
use serde_json::{Value, json};
use tokio::time::Instant;

/// Stream at the source.
pub(super) const SOURCE: &str = "BENCH";
/// Stream at the target.
pub(super) const TARGET: &str = "COPY";
/// Messages between two that are answered while the source is filled: a broker that is behind drops what it has no room for.
const ANSWERED: u64 = 4000;
const POLL: Duration = Duration::from_millis(50);

/// A source and a target on the loopback.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) source: Side,
    pub(super) target: Side,
}

/// One broker, and a link to it that may be far or broken.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) broker: Broker,
    pub(super) client: Client,
    pub(super) link: Proxy,
}

/// What a copy turned out to hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    pub(super) messages: u64,
    /// From the first message stored to the last, by the target's clock, in seconds.
    pub(super) seconds: f64,
}

impl Pair {
    pub(super) async fn start() -> Result<Self> {
        Ok(Self {
            source: Side::start("source").await?,
            target: Side::start("target").await?,
        })
    }

    /// Forgets all streams of both brokers, and makes the source stream anew.
    pub(super) async fn clear(&self) -> Result<()> {
        self.source.clear().await?;
        self.target.clear().await?;
        self.source.make(SOURCE, &["BENCH.>"], json!({})).await
    }

    /// Fills a new source stream with bodies of a size; `senders` is how many nodes send in turn.
    pub(super) async fn fill(
        &self,
        messages: u64,
        size: usize,
        senders: Option<u64>,
    ) -> Result<()> {
        self.clear().await?;
        publish(&self.source.client, 0..messages, size, senders).await?;
        self.source
            .wait_for(SOURCE, messages, Duration::from_secs(300))
            .await?;
        Ok(())
    }
}

impl Side {
    async fn start(name: &str) -> Result<Self> {
        let builder = Broker::builder().name(name).jetstream();
        let broker = builder.try_start().map_err(anyhow::Error::msg)?;
        let client = async_nats::connect(broker.url()).await.context("connect")?;
        let link = Proxy::start(broker.port()).await;
        Ok(Self {
            broker,
            client,
            link,
        })
    }

    /// The broker itself, or the link to it with so much delay each way.
    pub(super) fn url(&self, one_way: Option<Duration>) -> String {
        match one_way {
            None => self.broker.url(),
            Some(delay) => {
                self.link.delay(delay);
                self.link.url()
            }
        }
    }

    fn context(&self) -> jetstream::Context {
        jetstream::new(self.client.clone())
    }

    async fn clear(&self) -> Result<()> {
        let names: Vec<_> = self.context().stream_names().collect().await;
        for name in names {
            let name = name.context("list streams")?;
            self.context()
                .delete_stream(&name)
                .await
                .context("delete a stream")?;
        }
        Ok(())
    }

    /// Makes a stream as it would be by default, with further members of its configuration.
    pub(super) async fn make(&self, name: &str, subjects: &[&str], more: Value) -> Result<()> {
        let mut config = json!({
            "name": name, "subjects": subjects, "storage": "file", "retention": "limits", "num_replicas": 1,
            "max_consumers": -1, "max_msgs": -1, "max_bytes": -1, "max_msg_size": -1, "max_msgs_per_subject": -1,
            "max_age": 0, "discard": "old",
        });
        if let (Some(config), Value::Object(more)) = (config.as_object_mut(), more) {
            config.extend(more);
        }
        let subject = format!("$JS.API.STREAM.CREATE.{name}");
        let reply = self
            .client
            .request(subject, config.to_string().into())
            .await
            .context("make a stream")?;
        let reply: Value = serde_json::from_slice(&reply.payload).context("read the answer")?;
        ensure!(reply["error"].is_null(), "make {name}: {}", reply["error"]);
        Ok(())
    }

    pub(super) async fn state(&self, name: &str) -> Result<Option<stream::State>> {
        match self.context().get_stream(name).await {
            Ok(stream) => Ok(Some(stream.cached_info().state.clone())),
            // Not there yet.
            Err(_) => Ok(None),
        }
    }

    /// Waits until a stream has so many messages.
    pub(super) async fn wait_for(
        &self,
        name: &str,
        messages: u64,
        limit: Duration,
    ) -> Result<Held> {
        let end = Instant::now() + limit;
        loop {
            let state = self.state(name).await?;
            if let Some(state) = &state
                && state.messages >= messages
            {
                let seconds = state.last_timestamp - state.first_timestamp;
                return Ok(Held {
                    messages: state.messages,
                    seconds: seconds.as_seconds_f64(),
                });
            }
            if Instant::now() >= end {
                let held = state.map_or(0, |it| it.messages);
                bail!(
                    "{name} has {held} of {messages} messages after {} s",
                    limit.as_secs()
                );
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Source sequences and times of all copies, in the target's order.
    pub(super) async fn copies(&self) -> Result<Vec<(u64, f64)>> {
        let stream = self.context().get_stream(TARGET).await;
        let stream = stream.context("find the target")?;
        let wanted = stream.cached_info().state.messages;
        let mut found = Vec::with_capacity(usize::try_from(wanted).unwrap_or_default());
        if wanted == 0 {
            return Ok(found);
        }
        let config = consumer::pull::OrderedConfig {
            headers_only: true,
            ..Default::default()
        };
        let consumer: consumer::Consumer<consumer::pull::OrderedConfig> = stream
            .create_consumer(config)
            .await
            .context("read the target")?;
        let mut messages = consumer.messages().await.context("read the target")?;
        loop {
            let message = messages
                .next()
                .await
                .context("the target has more")?
                .context("read the target")?;
            let info = message.info().map_err(|error| anyhow::anyhow!("{error}"))?;
            let at = info.published.unix_timestamp_nanos() as f64 / 1e9;
            let pending = info.pending;
            let headers = message.headers.as_ref();
            let mark = headers.and_then(|headers| headers.get_last("Choria-SR-Source"));
            let sequence = mark.and_then(|mark| mark.as_str().split(' ').nth(1)?.parse().ok());
            found.push((sequence.context("a copy has no mark")?, at));
            if pending == 0 {
                return Ok(found);
            }
        }
    }

    /// Fails unless the target holds the source's messages once each and in their order; all of them, when `all` says how many.
    pub(super) async fn verify(&self, all: Option<u64>) -> Result<Vec<f64>> {
        let found = self.copies().await?;
        let mut last = 0;
        for (sequence, _) in &found {
            ensure!(
                *sequence > last,
                "source sequence {sequence} stands behind {last}: doubled or out of order"
            );
            ensure!(
                all.is_none() || *sequence == last + 1,
                "source sequence {} is lost",
                last + 1
            );
            last = *sequence;
        }
        if let Some(all) = all {
            ensure!(last == all, "the last copy is {last} of {all}");
        }
        Ok(found.into_iter().map(|(_, at)| at).collect())
    }
}

/// Publishes to the source; each body says who sends it.
pub(super) async fn publish(
    client: &Client,
    numbers: std::ops::Range<u64>,
    size: usize,
    senders: Option<u64>,
) -> Result<()> {
    for number in numbers {
        let sender = senders.map_or(number, |count| number % count.max(1));
        let mut body = format!("{{\"sender\":\"node{sender}\"}}").into_bytes();
        body.resize(body.len().max(size), b' ');
        if number % ANSWERED == ANSWERED - 1 {
            let stored = client.request("BENCH.data", body.into()).await;
            stored.context("publish")?;
        } else {
            let sent = client.publish("BENCH.data", body.into()).await;
            sent.context("publish")?;
        }
    }
    client.flush().await.context("flush")
}
