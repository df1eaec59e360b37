//! Two brokers, the links to them, and replicators as processes.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::jetstream;
use overlay_testkit::{Broker, Process, Proxy, eventually};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::verdict::{self, Stored};
use super::{LIMIT, PERIOD};

pub(super) const SOURCE: &str = "LOAD";
pub(super) const TARGET: &str = "COPY";
pub(super) const SITE: &str = "SITE";
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// Where messages are copied from and to, with a link to each that can be spoilt.
#[derive(Debug)]
pub(super) struct World {
    pub(super) source: Broker,
    pub(super) target: Broker,
    pub(super) to_source: Proxy,
    pub(super) to_target: Proxy,
    dir: TempDir,
}

impl World {
    /// Brokers with JetStream, the source stream made.
    pub(super) async fn start() -> Self {
        Self::with_target(Broker::builder().name("target").jetstream().start()).await
    }

    pub(super) async fn with_target(target: Broker) -> Self {
        let source = Broker::builder().name("source").jetstream().start();
        let world = Self {
            to_source: Proxy::start(source.port()).await,
            to_target: Proxy::start(target.port()).await,
            source,
            target,
            dir: tempfile::tempdir().unwrap(),
        };
        world.make_source(json!({})).await;
        world
    }

    /// Makes the source stream, with further members of its configuration.
    pub(super) async fn make_source(&self, more: Value) -> Value {
        make(&self.source, SOURCE, "load.>", more).await
    }

    /// Makes the target stream, with further members of its configuration.
    pub(super) async fn make_target(&self, more: Value) -> Value {
        make(&self.target, TARGET, "copy.load.>", more).await
    }

    /// Starts a replicator over the links; `more` is added to its stream's entry in `sr.yaml`.
    pub(super) fn replicator(&self, more: &str) -> Process {
        self.replicator_to(&self.to_target.url(), more)
    }

    pub(super) fn replicator_to(&self, target_url: &str, more: &str) -> Process {
        self.process("sr", target_url, more)
    }

    /// Starts one of several replicators, each with its own files.
    pub(super) fn replica(&self, index: usize, more: &str) -> Process {
        self.process(&format!("replica-{index}"), &self.to_target.url(), more)
    }

    fn process(&self, name: &str, target_url: &str, more: &str) -> Process {
        let path = self.dir.path().join(format!("{name}.yaml"));
        let state = self.dir.path().join(format!("{name}.state"));
        let text = format!(
            "name: {SITE}\nstate_store: {state}\nloglevel: info\nstreams:\n  - stream: {SOURCE}\n    target_stream: {TARGET}\n    \
             target_subject_prefix: copy\n    source_url: {source}\n    target_url: {target_url}\n{more}",
            state = state.display(),
            source = self.to_source.url(),
        );
        fs::write(&path, text).unwrap();
        start(&path)
    }

    /// A directory for files of the test.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Puts messages `from..to` into the source stream; each body is its number.
    pub(super) async fn publish(&self, from: u64, to: u64) {
        let client = connect(&self.source).await;
        let before = last_sequence(&client, SOURCE).await.unwrap();
        for number in from..to {
            let subject = format!("load.{}", number % 7);
            client.publish(subject, body(number)).await.unwrap();
        }
        client.flush().await.unwrap();
        self.stored(&client, before + (to - from)).await;
    }

    /// Waits until the source stream has come at least so far: what another connection sends before may come after.
    pub(super) async fn stored(&self, client: &async_nats::Client, sequence: u64) {
        eventually(LIMIT, PERIOD, || async {
            let last = last_sequence(client, SOURCE).await?;
            if last >= sequence {
                Ok(())
            } else {
                Err(format!("the source has {last}"))
            }
        })
        .await;
    }

    /// Waits until the target's last message is the source's last one.
    pub(super) async fn copied(&self) {
        let source = connect(&self.source).await;
        let target = connect(&self.target).await;
        eventually(LIMIT, PERIOD, || async {
            let wanted = last_sequence(&source, SOURCE).await?;
            let reached = reached(&target).await?;
            if reached == wanted {
                Ok(())
            } else {
                Err(format!("{reached} of {wanted} copied"))
            }
        })
        .await;
    }

    /// Waits until the copy has come at least so far.
    pub(super) async fn copied_up_to(&self, sequence: u64) {
        let target = connect(&self.target).await;
        eventually(LIMIT, PERIOD, || async {
            let reached = reached(&target).await?;
            if reached >= sequence {
                Ok(())
            } else {
                Err(format!("{reached} copied"))
            }
        })
        .await;
    }

    /// Waits until the target holds so many messages, of whatever life of the source.
    pub(super) async fn copied_up_to_second_life(&self, messages: u64) {
        let target = connect(&self.target).await;
        eventually(LIMIT, PERIOD, || async {
            let held = messages_of(&target).await?;
            if held >= messages {
                Ok(())
            } else {
                Err(format!("{held} of {messages} copied"))
            }
        })
        .await;
    }

    /// Waits until a message with this number is the target's last.
    pub(super) async fn copied_body(&self, number: u64) {
        let target = connect(&self.target).await;
        eventually(LIMIT, PERIOD, || async {
            let last = last_body(&target).await?;
            if last == body(number) {
                Ok(())
            } else {
                Err(format!("the last is {last:?}"))
            }
        })
        .await;
    }

    /// Stops the replicator cleanly and compares source and target: nothing lost, doubled, changed or out of order.
    pub(super) async fn verify(&self, replicator: &mut Process) {
        self.copied().await;
        stop(replicator);
        self.compare().await;
    }

    /// Compares source and target as they are.
    pub(super) async fn compare(&self) {
        let source = self.source_messages().await;
        let target = self.target_messages().await;
        verdict::assert_same(&source, &target);
    }

    pub(super) async fn source_messages(&self) -> Vec<Stored> {
        verdict::read(&connect(&self.source).await, SOURCE).await
    }

    pub(super) async fn target_messages(&self) -> Vec<Stored> {
        verdict::read(&connect(&self.target).await, TARGET).await
    }

    /// Source sequences of the copies, in the target's order.
    pub(super) async fn sequences(&self) -> Vec<u64> {
        let messages = self.target_messages().await;
        let sequences = messages
            .iter()
            .map(|it| verdict::source_sequence(&it.headers));
        sequences.flatten().collect()
    }
}

/// Stops a replicator cleanly. One that has just begun does not hear the signal yet, and would die of it.
pub(super) fn stop(replicator: &mut Process) {
    replicator.wait_for_line("replicating", LIMIT);
    let status = replicator.stop(STOP_LIMIT);
    assert!(status.success(), "a clean stop ends with {status}");
}

/// Starts the replicator with a file.
pub(super) fn start(config: &Path) -> Process {
    Process::builder(env!("CARGO_BIN_EXE_overlay-stream-replicator"))
        .arg("--config")
        .arg(config)
        .start()
}

pub(super) fn body(number: u64) -> bytes::Bytes {
    number.to_string().into()
}

/// A connection that comes up as soon as the broker does.
pub(super) async fn connect(broker: &Broker) -> async_nats::Client {
    connect_to(broker.url()).await
}

pub(super) async fn connect_to(servers: impl Into<String>) -> async_nats::Client {
    let servers: String = servers.into();
    let servers: Vec<String> = servers.split(',').map(str::to_owned).collect();
    eventually(LIMIT, PERIOD, || async_nats::connect(servers.clone())).await
}

/// Asks the JetStream API, patiently.
pub(super) async fn ask(client: &async_nats::Client, call: &str, body: &Value) -> Value {
    let payload = bytes::Bytes::from(body.to_string());
    eventually(LIMIT, PERIOD, || async {
        let reply = client
            .request(format!("$JS.API.{call}"), payload.clone())
            .await
            .map_err(|error| error.to_string())?;
        let value: Value =
            serde_json::from_slice(&reply.payload).map_err(|error| error.to_string())?;
        match value["error"]["code"].as_u64() {
            // Not yet there, or no leader yet.
            Some(503) => Err(value["error"].to_string()),
            _ => Ok(value),
        }
    })
    .await
}

async fn make(broker: &Broker, name: &str, subject: &str, more: Value) -> Value {
    let client = connect(broker).await;
    make_by(&client, name, subject, more).await
}

pub(super) async fn make_by(
    client: &async_nats::Client,
    name: &str,
    subject: &str,
    more: Value,
) -> Value {
    let mut config = json!({
        "name": name, "subjects": [subject], "storage": "file", "retention": "limits", "num_replicas": 1,
        "max_consumers": -1, "max_msgs": -1, "max_bytes": -1, "max_msg_size": -1, "max_age": 0, "discard": "old",
    });
    for (key, value) in more.as_object().unwrap() {
        config[key] = value.clone();
    }
    let made = ask(client, &format!("STREAM.CREATE.{name}"), &config).await;
    assert!(made["error"].is_null(), "{made}");
    made
}

async fn last_sequence(client: &async_nats::Client, stream: &str) -> Result<u64, String> {
    let info = jetstream::new(client.clone())
        .get_stream(stream)
        .await
        .map_err(|error| error.to_string())?;
    Ok(info.cached_info().state.last_sequence)
}

/// The source sequence of the target's last message; 0 when there is none.
async fn reached(target: &async_nats::Client) -> Result<u64, String> {
    let context = jetstream::new(target.clone());
    let Ok(stream) = context.get_stream(TARGET).await else {
        return Ok(0);
    };
    let state = &stream.cached_info().state;
    if state.messages == 0 {
        return Ok(0);
    }
    let last = stream
        .get_raw_message(state.last_sequence)
        .await
        .map_err(|error| error.to_string())?;
    Ok(verdict::source_sequence(&last.headers).unwrap_or_default())
}

async fn messages_of(target: &async_nats::Client) -> Result<u64, String> {
    let stream = jetstream::new(target.clone())
        .get_stream(TARGET)
        .await
        .map_err(|error| error.to_string())?;
    Ok(stream.cached_info().state.messages)
}

async fn last_body(target: &async_nats::Client) -> Result<bytes::Bytes, String> {
    let stream = jetstream::new(target.clone())
        .get_stream(TARGET)
        .await
        .map_err(|error| error.to_string())?;
    let last = stream
        .get_raw_message(stream.cached_info().state.last_sequence)
        .await
        .map_err(|error| error.to_string())?;
    Ok(last.payload)
}

/// Messages that go on being published while other things happen.
#[derive(Debug)]
pub(super) struct Load {
    end: CancellationToken,
    tasks: JoinSet<u64>,
}

impl Load {
    /// Publishes numbers from `first` on, a few every few milliseconds, whether or not the broker is there.
    pub(super) async fn start(world: &World, first: u64) -> Self {
        let context = jetstream::new(connect(&world.source).await);
        let end = CancellationToken::new();
        let ended = end.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut number = first;
            while !ended.is_cancelled() {
                let subject = format!("load.{}", number % 7);
                let publish = context.publish(subject, body(number));
                // What an outage swallows is not in the source either: that stream alone is the truth.
                if let Ok(Ok(ack)) = tokio::time::timeout(Duration::from_secs(1), publish).await {
                    drop(tokio::time::timeout(Duration::from_secs(1), ack.into_future()).await);
                }
                number += 1;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            number
        });
        Self { end, tasks }
    }

    /// Ends it; yields the number that would have been next.
    pub(super) async fn finish(mut self) -> u64 {
        self.end.cancel();
        self.tasks.join_next().await.unwrap().unwrap()
    }
}
