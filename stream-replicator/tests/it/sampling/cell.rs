//! Two brokers, a stream of nodes' documents, and replicators that sample it.

use std::fs;
use std::time::Duration;

use async_nats::jetstream::{self, consumer};
use async_nats::{Client, HeaderMap};
use futures_util::StreamExt as _;
use overlay_protocol::envelope::Limits;
use overlay_protocol::replication::Advisory;
use overlay_testkit::{Broker, Process, eventually, free_port};
use serde_json::Value;
use tempfile::TempDir;

pub(super) const LIMIT: Duration = Duration::from_secs(180);
pub(super) const PERIOD: Duration = Duration::from_millis(50);
const STOP: Duration = Duration::from_secs(30);

/// A source with the stream NODES, and a target.
#[derive(Debug)]
pub(super) struct Cell {
    pub(super) source: Broker,
    pub(super) target: Broker,
    pub(super) client: Client,
    pub(super) at_target: Client,
    pub(super) dir: TempDir,
}

/// A message as it was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) subject: String,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl Cell {
    pub(super) async fn start() -> Self {
        let source = Broker::builder().name("source").jetstream().start();
        let target = Broker::builder().name("target").jetstream().start();
        let client = connect(&source).await;
        let at_target = connect(&target).await;
        stream(&client, "NODES", &["nodes.>"]).await;
        stream(&at_target, "FLEET", &["fleet.>"]).await;
        Self {
            source,
            target,
            client,
            at_target,
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// Starts a replicator with further lines of its stream in `sr.yaml`.
    pub(super) fn replicator(&self, lines: &[&str]) -> Process {
        self.replica("one", lines)
    }

    /// Starts a replica with files of its own.
    pub(super) fn replica(&self, name: &str, lines: &[&str]) -> Process {
        self.replica_from(&self.source.url(), name, lines)
    }

    /// As [`Self::replica`], over another way to the source.
    pub(super) fn replica_from(&self, source: &str, name: &str, lines: &[&str]) -> Process {
        self.run(source, &self.target.url(), name, "", lines)
    }

    /// As [`Self::replicator`], over another way to the target.
    pub(super) fn replicator_to(&self, target: &str, lines: &[&str]) -> Process {
        self.run(&self.source.url(), target, "one", "", lines)
    }

    /// As [`Self::replicator`], and the port of its metrics.
    pub(super) fn replicator_with_metrics(&self, lines: &[&str]) -> (Process, u16) {
        let port = free_port();
        let head = format!("monitor_port: {port}\n");
        let (source, target) = (self.source.url(), self.target.url());
        (self.run(&source, &target, "one", &head, lines), port)
    }

    fn run(&self, source: &str, target: &str, name: &str, head: &str, lines: &[&str]) -> Process {
        let state = self.state(name);
        fs::create_dir_all(&state).unwrap();
        let mut text = format!(
            "name: SITE\n{head}state_store: {}\nstreams:\n  - stream: NODES\n    name: W1\n    target_stream: FLEET\n    \
             target_subject_prefix: fleet\n    source_url: {}\n    target_url: {}\n",
            state.display(),
            source,
            target,
        );
        for line in lines {
            text.push_str("    ");
            text.push_str(line);
            text.push('\n');
        }
        let path = self.dir.path().join(format!("{name}.yaml"));
        fs::write(&path, text).unwrap();
        Process::builder(env!("CARGO_BIN_EXE_overlay-stream-replicator"))
            .arg("--config")
            .arg(&path)
            .start()
    }

    /// Where a replica's state is.
    pub(super) fn state(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(format!("{name}-state"))
    }

    /// What a replica's files say, whichever they are.
    pub(super) fn written(&self, name: &str) -> String {
        let files = fs::read_dir(self.state(name)).unwrap();
        let texts = files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap_or_default());
        texts.collect()
    }

    /// Publishes and waits until the stream has it.
    pub(super) async fn publish(&self, subject: &str, body: &str) {
        let context = jetstream::new(self.client.clone());
        let published = context.publish(subject.to_owned(), body.to_owned().into());
        published.await.unwrap().await.unwrap();
    }

    /// One document of each of these nodes.
    pub(super) async fn seen(&self, nodes: &[&str]) {
        for node in nodes {
            self.publish("nodes.data", &format!(r#"{{"sender":"{node}"}}"#))
                .await;
        }
    }

    /// Waits until the target has so many messages.
    pub(super) async fn holds(&self, messages: u64) {
        let context = jetstream::new(self.at_target.clone());
        eventually(LIMIT, PERIOD, || async {
            let stream = context.get_stream("FLEET").await;
            let stream = stream.map_err(|error| error.to_string())?;
            let held = stream.cached_info().state.messages;
            if held >= messages {
                Ok(())
            } else {
                Err(format!("{held} of {messages} copies"))
            }
        })
        .await;
    }

    /// Waits until so many copies are in the target, and the last message of the source was looked at.
    pub(super) async fn copies(&self, number: usize) -> Vec<Found> {
        eventually(LIMIT, PERIOD, || async {
            let found = read(&self.at_target, "FLEET").await?;
            if found.len() >= number {
                Ok(found)
            } else {
                Err(format!("{} of {number} copies", found.len()))
            }
        })
        .await
    }

    /// Sends a last message about a node of its own; all before it are dealt with once it is copied. Gives the others.
    pub(super) async fn settled(&self, last: &str) -> Vec<Found> {
        self.seen(&[last]).await;
        let body = format!(r#"{{"sender":"{last}"}}"#);
        eventually(LIMIT, PERIOD, || async {
            let mut found = read(&self.at_target, "FLEET").await?;
            match found.iter().position(|message| message.body == body) {
                Some(at) => {
                    found.truncate(at);
                    Ok(found)
                }
                None => Err("the last is not copied".to_owned()),
            }
        })
        .await
    }

    /// Waits until the stream ADV has such advisories; gives all that it has then, as events and values.
    pub(super) async fn advisories(&self, number: usize) -> Vec<Advisory> {
        eventually(LIMIT, PERIOD, || async {
            let found = read(&self.client, "ADV").await?;
            if found.len() < number {
                return Err(format!("{} of {number} advisories", found.len()));
            }
            let decoded = found.iter().map(|message| {
                Advisory::decode(message.body.as_bytes(), &Limits::default()).unwrap()
            });
            Ok(decoded.collect())
        })
        .await
    }
}

pub(super) fn told(advisories: &[Advisory]) -> Vec<(&str, &str)> {
    let told = advisories.iter();
    told.map(|advisory| (advisory.event.name(), advisory.value.as_str()))
        .collect()
}

/// Stops a replicator cleanly. One that has just begun does not hear the signal yet, and would die of it.
#[track_caller]
pub(super) fn stop(mut replicator: Process) {
    replicator.wait_for_line("replicating", LIMIT);
    let status = replicator.stop(STOP);
    assert!(status.success(), "{status}: {}", replicator.stderr());
}

pub(super) async fn connect(broker: &Broker) -> Client {
    eventually(LIMIT, PERIOD, || async_nats::connect(broker.url())).await
}

pub(super) async fn stream(client: &Client, name: &str, subjects: &[&str]) {
    let config = jetstream::stream::Config {
        name: name.to_owned(),
        subjects: subjects
            .iter()
            .map(|subject| (*subject).to_owned())
            .collect(),
        allow_direct: true,
        ..jetstream::stream::Config::default()
    };
    eventually(LIMIT, PERIOD, || async {
        jetstream::new(client.clone())
            .create_stream(config.clone())
            .await
            .map_err(|error| error.to_string())
    })
    .await;
}

/// All messages of a stream.
pub(super) async fn read(client: &Client, name: &str) -> Result<Vec<Found>, String> {
    let words = |error: &dyn std::fmt::Display| error.to_string();
    let context = jetstream::new(client.clone());
    let stream = context
        .get_stream(name)
        .await
        .map_err(|error| words(&error))?;
    let mut left = stream.cached_info().state.messages;
    let consumer = stream
        .create_consumer(consumer::pull::OrderedConfig::default())
        .await
        .map_err(|error| words(&error))?;
    let mut messages = consumer.messages().await.map_err(|error| words(&error))?;
    let mut found = Vec::new();
    while left > 0 {
        let next = tokio::time::timeout(LIMIT, messages.next()).await;
        let message = next
            .map_err(|error| words(&error))?
            .ok_or("the end")?
            .map_err(|error| words(&error))?;
        left -= 1;
        found.push(Found {
            subject: message.subject.to_string(),
            headers: message.headers.clone().unwrap_or_default(),
            body: String::from_utf8(message.payload.to_vec()).map_err(|error| words(&error))?,
        });
    }
    Ok(found)
}

/// What the file of a replica says of values.
pub(super) fn values(text: &str) -> Vec<String> {
    let file: Value = serde_json::from_str(text).unwrap();
    let items = file["Items"].as_object().unwrap();
    items.keys().cloned().collect()
}
