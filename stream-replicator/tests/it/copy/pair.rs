//! A source and a target, with what tests ask of them.

use std::fs;
use std::future::ready;
use std::time::Duration;

use async_nats::{Client, HeaderMap};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use overlay_testkit::{Broker, Process, eventually};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{LIMIT, PERIOD};

pub(super) const STOP_LIMIT: Duration = Duration::from_secs(20);

/// A message as a stream holds it: headers in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) sequence: u64,
    pub(super) subject: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    pub(super) time: String,
}

impl Stored {
    pub(super) fn values(&self, name: &str) -> Vec<&str> {
        let named = self.headers.iter().filter(|(found, _)| found == name);
        named.map(|(_, value)| value.as_str()).collect()
    }

    /// Its own mark's source sequence.
    pub(super) fn source_sequence(&self) -> u64 {
        let marks = self.values("Choria-SR-Source");
        let fields: Vec<&str> = marks.last().unwrap().split(' ').collect();
        assert_eq!(fields.len(), 5, "{marks:?}");
        fields[1].parse().unwrap()
    }

    /// Its time in milliseconds.
    pub(super) fn time_ms(&self) -> i128 {
        let format = time::format_description::well_known::Rfc3339;
        let at = time::OffsetDateTime::parse(&self.time, &format).unwrap();
        at.unix_timestamp_nanos() / 1_000_000
    }
}

/// A broker and a connection to it.
pub(super) struct Side {
    pub(super) broker: Broker,
    pub(super) client: Client,
}

/// A source and a target.
pub(super) struct Pair {
    pub(super) source: Side,
    pub(super) target: Side,
    pub(super) dir: TempDir,
}

impl Side {
    pub(super) async fn start(name: &str) -> Self {
        Self::over(Broker::builder().name(name).jetstream().start()).await
    }

    pub(super) async fn over(broker: Broker) -> Self {
        let client = eventually(LIMIT, PERIOD, || async_nats::connect(broker.url())).await;
        Self { broker, client }
    }

    /// Asks the JetStream API.
    pub(super) async fn ask(&self, call: &str, question: &Value) -> Value {
        let body = Bytes::from(question.to_string());
        let call = format!("$JS.API.{call}");
        eventually(LIMIT, PERIOD, || async {
            let reply = self.client.request(call.clone(), body.clone()).await;
            let reply = reply.map_err(|error| error.to_string())?;
            let value: Value = serde_json::from_slice(&reply.payload).unwrap();
            match value["error"]["code"].as_u64() {
                Some(503) => Err(value["error"].to_string()),
                _ => Ok(value),
            }
        })
        .await
    }

    /// Makes a stream, with further members of its configuration.
    pub(super) async fn make(&self, name: &str, subjects: &[&str], more: Value) -> Value {
        let mut config = json!({
            "name": name, "subjects": subjects, "storage": "file", "retention": "limits", "num_replicas": 1,
            "max_consumers": -1, "max_msgs": -1, "max_bytes": -1, "max_msg_size": -1, "max_age": 0, "discard": "old",
        });
        for (key, value) in more.as_object().unwrap() {
            config[key] = value.clone();
        }
        let made = self.ask(&format!("STREAM.CREATE.{name}"), &config).await;
        assert!(made["error"].is_null(), "{made}");
        made
    }

    pub(super) async fn info(&self, stream: &str) -> Value {
        self.ask(&format!("STREAM.INFO.{stream}"), &json!({})).await
    }

    /// Consumers of a stream.
    pub(super) async fn consumers(&self, stream: &str) -> Vec<Value> {
        let list = self
            .ask(&format!("CONSUMER.LIST.{stream}"), &json!({}))
            .await;
        list["consumers"].as_array().cloned().unwrap_or_default()
    }

    /// Publishes with an acknowledgement: the sequence.
    pub(super) async fn publish(
        &self,
        subject: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> u64 {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, *value);
        }
        let request = async_nats::Request::new().headers(map).payload(body.into());
        let reply = self
            .client
            .send_request(subject.to_owned(), request)
            .await
            .unwrap();
        let ack: Value = serde_json::from_slice(&reply.payload).unwrap();
        ack["seq"]
            .as_u64()
            .filter(|_| ack["error"].is_null())
            .unwrap_or_else(|| panic!("{ack}"))
    }

    /// Publishes so many messages; each body is its number.
    pub(super) async fn fill(&self, subject: &str, from: u64, to: u64) {
        for number in from..to {
            let body = Bytes::from(number.to_string());
            self.client.publish(subject.to_owned(), body).await.unwrap();
        }
        // A request behind them, answered by the stream of the last one.
        self.client.flush().await.unwrap();
        let client = &self.client;
        eventually(LIMIT, PERIOD, || async {
            let info = client.request("$JS.API.INFO", Bytes::new()).await;
            info.map(drop).map_err(|error| error.to_string())
        })
        .await;
    }

    /// The messages of a stream, whatever is deleted in between.
    pub(super) async fn stored(&self, stream: &str) -> Vec<Stored> {
        let info = self.info(stream).await;
        let state = &info["state"];
        let (first, last) = (
            state["first_seq"].as_u64().unwrap_or(1),
            state["last_seq"].as_u64().unwrap_or(0),
        );
        let subject = format!("STREAM.MSG.GET.{stream}");
        stream::iter(first..=last)
            .map(|sequence| {
                let subject = &subject;
                async move { self.ask(subject, &json!({ "seq": sequence })).await }
            })
            .buffered(16)
            .filter_map(|got| ready(got["error"].is_null().then(|| stored(&got["message"]))))
            .collect()
            .await
    }

    /// The messages of a stream below `subjects`, from a sequence on; others cost nothing.
    pub(super) async fn stored_below(
        &self,
        stream: &str,
        subjects: &str,
        mut from: u64,
    ) -> Vec<Stored> {
        let subject = format!("STREAM.MSG.GET.{stream}");
        let mut found = Vec::new();
        loop {
            let asked = json!({ "seq": from, "next_by_subj": subjects });
            let got = self.ask(&subject, &asked).await;
            if !got["error"].is_null() {
                return found;
            }
            let message = stored(&got["message"]);
            from = message.sequence + 1;
            found.push(message);
        }
    }

    /// Waits until a reader's consumer, which acknowledges nothing, is at the stream.
    pub(super) async fn is_read(&self, stream: &str) {
        eventually(LIMIT, PERIOD, || async {
            let consumers = self.consumers(stream).await;
            consumers
                .iter()
                .any(|it| it["config"]["ack_policy"] == "none")
        })
        .await;
    }

    /// Number of messages in a stream; none without it.
    pub(super) async fn count(&self, stream: &str) -> u64 {
        let info = self.info(stream).await;
        info["state"]["messages"].as_u64().unwrap_or(0)
    }

    /// Waits until the stream holds so many messages, and for a moment whether more come.
    pub(super) async fn holds(&self, stream: &str, messages: u64) {
        eventually(LIMIT, PERIOD, || async {
            let count = self.count(stream).await;
            if count >= messages {
                Ok(())
            } else {
                Err(format!("{count} of {messages} in {stream}"))
            }
        })
        .await;
    }

    /// Removes a stream.
    pub(super) async fn delete(&self, stream: &str) {
        self.ask(&format!("STREAM.DELETE.{stream}"), &json!({}))
            .await;
    }
}

/// Stops a replicator cleanly. One that has just begun does not hear the signal yet, and would die of it.
#[track_caller]
pub(super) fn stop(replicator: &mut Process) {
    replicator.wait_for_line("replicating", LIMIT);
    let status = replicator.stop(STOP_LIMIT);
    assert!(status.success(), "a clean stop ends with {status}");
}

impl Pair {
    pub(super) async fn start() -> Self {
        let (source, target) = tokio::join!(
            Box::pin(Side::start("source")),
            Box::pin(Side::start("target"))
        );
        Self {
            source,
            target,
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// A pair whose source has stream TEST on `TEST` and `TEST.>`.
    pub(super) async fn with_test() -> Self {
        let pair = Self::start().await;
        pair.source
            .make("TEST", &["TEST", "TEST.>"], json!({}))
            .await;
        pair
    }

    /// Starts a replicator of site `SITE` from TEST to COPY; `stanza` is added to the stream's entry, a key a line.
    pub(super) fn replicate(&self, stanza: &[&str]) -> Process {
        self.replicate_as("SITE", "TEST", "COPY", stanza)
    }

    pub(super) fn replicate_as(
        &self,
        site: &str,
        stream: &str,
        target: &str,
        stanza: &[&str],
    ) -> Process {
        let mut text = format!(
            "name: {site}\nstreams:\n - stream: {stream}\n   target_stream: {target}\n   source_url: {}\n   target_url: {}\n",
            self.source.broker.url(),
            self.target.broker.url(),
        );
        for line in stanza {
            text.push_str(&format!("   {line}\n"));
        }
        self.run_yaml(&text)
    }

    /// Starts a replicator with a file of the original's form.
    pub(super) fn run_yaml(&self, text: &str) -> Process {
        self.run_file("yaml", text)
    }

    /// Starts a replicator with a file of our form: source and target are written before `text`.
    pub(super) fn run_toml(&self, text: &str) -> Process {
        let head = format!(
            "name = \"SITE\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[source]\nservers = [\"{}\"]\n[target]\nservers = [\"{}\"]\n",
            self.source.broker.url(),
            self.target.broker.url(),
        );
        self.run_file("toml", &format!("{head}{text}"))
    }

    fn run_file(&self, extension: &str, text: &str) -> Process {
        let mut bytes = [0; 6];
        getrandom::fill(&mut bytes).unwrap();
        let name: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let path = self.dir.path().join(format!("{name}.{extension}"));
        fs::write(&path, text).unwrap();
        Process::builder(env!("CARGO_BIN_EXE_overlay-stream-replicator"))
            .arg("--config")
            .arg(&path)
            .start()
    }

    /// Source sequences in the target, in its order.
    pub(super) async fn copied(&self) -> Vec<u64> {
        let stored = self.target.stored("COPY").await;
        stored.iter().map(Stored::source_sequence).collect()
    }

    /// Waits until exactly these source sequences are in the target.
    pub(super) async fn holds_exactly(&self, sequences: impl IntoIterator<Item = u64>) {
        let wanted: Vec<u64> = sequences.into_iter().collect();
        self.target
            .holds("COPY", u64::try_from(wanted.len()).unwrap())
            .await;
        assert_eq!(self.copied().await, wanted);
    }
}

/// A message as a broker shows it.
pub(super) fn stored(message: &Value) -> Stored {
    let decoded = |member: &str| {
        let text = message[member].as_str().unwrap_or_default();
        STANDARD.decode(text).unwrap()
    };
    let lines = String::from_utf8(decoded("hdrs")).unwrap();
    let headers = lines
        .split("\r\n")
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    Stored {
        sequence: message["seq"].as_u64().unwrap(),
        subject: message["subject"].as_str().unwrap().to_owned(),
        headers,
        body: decoded("data"),
        time: message["time"].as_str().unwrap().to_owned(),
    }
}
