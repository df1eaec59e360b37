//! Awkward situations, recorded of the original with its losses and doubles: here nothing is lost, doubled or turned around.
//!
//! The record has each situation in words. Those are what is done here; what is due follows from them, not from the record.

use std::time::Duration;

use overlay_testkit::vectors::{Loader, Outcome};
use overlay_testkit::{Process, eventually};
use serde_json::{Value, json};

use super::pair::{Pair, STOP_LIMIT, Side};
use super::vectors::{at_once, block_on, equal};
use super::{LIMIT, PERIOD};

const AT_TARGET: &str = " [target-initiated]";
const PREFIX: &str = "target_subject_prefix: copy";
/// Outages of the record, here as long as it takes for everybody to see them.
const OUTAGE: Duration = Duration::from_secs(3);
const QUIET: Duration = Duration::from_millis(700);

/// `behaviour.json`.
pub(crate) fn situations(file: &Value, _loader: &Loader) -> Outcome {
    at_once(file, |case| block_on(situation(case)))
}

/// What a case is about.
struct Case<'a> {
    pair: Pair,
    stanza: Vec<&'a str>,
    expect: &'a Value,
}

async fn situation(case: &Value) -> Result<(), String> {
    let name = case["name"].as_str().unwrap();
    let (words, at_target) = match name.strip_suffix(AT_TARGET) {
        Some(words) => (words, true),
        None => (name, false),
    };
    let pair = Pair::start().await;
    let mut stanza = vec![PREFIX];
    let is_from_target = at_target || !case["expect"]["last_header"].is_null();
    if is_from_target {
        stanza.extend(["target_initiated: true", "filter_subject: TEST"]);
    }
    let it = Case {
        pair,
        stanza,
        expect: &case["expect"],
    };
    let has = |part: &str| words.contains(part);
    if !it.expect["last_header"].is_null() {
        it.last_message().await
    } else if has("deleted and made anew") {
        it.made_anew(words).await
    } else if has("consumer deleted while running") {
        it.consumer_deleted().await
    } else if has("deleted in the source before start") {
        it.holes(words).await
    } else if has("source purged while stopped") {
        it.purged(true).await
    } else if has("target purged while stopped") {
        it.purged(false).await
    } else if has("target stream deleted while running") {
        it.target_deleted().await
    } else if has("larger than the target's max_msg_size") {
        it.too_large().await
    } else if has("a foreign message in the target") {
        it.foreign_identifier().await
    } else if has("work-queue source") {
        it.drained("workqueue", is_from_target).await
    } else if has("interest source") {
        it.drained("interest", is_from_target).await
    } else if has("target killed") {
        it.broker_killed(true).await
    } else if has("source killed") {
        it.broker_killed(false).await
    } else if has("no_ack") {
        it.no_ack().await
    } else if has("SIGTERM during a copy") || has("kill -9 five times") {
        it.stopped(has("SIGTERM")).await
    } else if has("message 2 of 3 carries") {
        it.carries(words, is_from_target).await
    } else if has("cell B starts on the target that cell A filled") {
        it.second_cell().await
    } else if has("max_age") {
        it.too_old().await
    } else {
        Err("this situation is not known here".to_owned())
    }
}

impl Case<'_> {
    async fn source(&self, more: Value) {
        self.pair.source.make("TEST", &["TEST"], more).await;
    }

    fn start(&self) -> Process {
        self.pair.replicate_as("X", "TEST", "COPY", &self.stanza)
    }

    /// Waits for this many messages, and that no more come.
    async fn settled(&self, messages: usize) {
        self.pair
            .target
            .holds("COPY", u64::try_from(messages).unwrap())
            .await;
        tokio::time::sleep(QUIET).await;
    }

    async fn exactly(&self, wanted: impl IntoIterator<Item = u64>) -> Result<(), String> {
        let wanted: Vec<u64> = wanted.into_iter().collect();
        self.settled(wanted.len()).await;
        equal("source sequences", &self.pair.copied().await, &wanted)
    }

    async fn made_anew(&self, words: &str) -> Result<(), String> {
        let numbers = numbers(words);
        let (second, more) = (numbers[0], *numbers.get(2).unwrap_or(&10));
        self.source(json!({})).await;
        self.pair.source.fill("TEST", 1, 11).await;
        let _replicator = self.start();
        self.exactly(1..=10).await?;
        self.pair.source.delete("TEST").await;
        self.source(json!({})).await;
        self.pair.source.fill("TEST", 101, 101 + second).await;
        self.exactly((1..=10).chain(1..=second)).await?;
        self.pair.source.fill("TEST", 200, 200 + more).await;
        self.exactly((1..=10).chain(1..=second + more)).await
    }

    async fn consumer_deleted(&self) -> Result<(), String> {
        self.source(json!({})).await;
        self.pair.source.fill("TEST", 1, 6).await;
        let _replicator = self.start();
        self.exactly(1..=5).await?;
        for consumer in self.pair.source.consumers("TEST").await {
            let name = consumer["name"].as_str().unwrap();
            let call = format!("CONSUMER.DELETE.TEST.{name}");
            self.pair.source.ask(&call, &json!({})).await;
        }
        self.pair.source.fill("TEST", 6, 8).await;
        self.exactly(1..=7).await
    }

    async fn holes(&self, words: &str) -> Result<(), String> {
        let holes = numbers(words);
        self.source(json!({})).await;
        self.pair.source.fill("TEST", 1, 11).await;
        for sequence in &holes {
            let question = json!({ "seq": sequence });
            self.pair
                .source
                .ask("STREAM.MSG.DELETE.TEST", &question)
                .await;
        }
        let _replicator = self.start();
        self.exactly((1..=10).filter(|it| !holes.contains(it)))
            .await
    }

    async fn purged(&self, at_source: bool) -> Result<(), String> {
        self.source(json!({})).await;
        self.pair.source.fill("TEST", 1, 11).await;
        let mut replicator = self.start();
        self.exactly(1..=10).await?;
        replicator.stop(STOP_LIMIT);
        if at_source {
            self.pair.source.ask("STREAM.PURGE.TEST", &json!({})).await;
        } else {
            self.pair.target.ask("STREAM.PURGE.COPY", &json!({})).await;
        }
        self.pair.source.fill("TEST", 11, 16).await;
        let _replicator = self.start();
        // Rule: without anything kept at the source, a purged target says nothing, and the start settings hold again.
        let from_target = self.stanza.len() > 1;
        match (at_source, from_target) {
            (true, _) => self.exactly(1..=15).await,
            (false, false) => self.exactly(11..=15).await,
            (false, true) => {
                self.settled(5).await;
                let copied = self.pair.copied().await;
                let tail: Vec<u64> = (11..=15).collect();
                equal("the new ones arrive", &copied.ends_with(&tail), &true)
            }
        }
    }

    async fn target_deleted(&self) -> Result<(), String> {
        self.source(json!({})).await;
        self.pair.source.fill("TEST", 1, 6).await;
        let _replicator = self.start();
        self.exactly(1..=5).await?;
        self.pair.target.delete("COPY").await;
        self.pair.source.fill("TEST", 6, 8).await;
        // Rule: the target is made again, and what is new arrives; what was copied is not copied again unless only the
        // target knew of it.
        self.settled(2).await;
        let copied = self.pair.copied().await;
        equal("the new ones arrive", &copied.ends_with(&[6, 7]), &true)
    }

    async fn too_large(&self) -> Result<(), String> {
        self.source(json!({})).await;
        let limit = json!({ "max_msg_size": 1000 });
        self.pair.target.make("COPY", &["copy.>"], limit).await;
        self.pair.source.publish("TEST", &[], "small").await;
        self.pair.source.publish("TEST", &[], vec![b'x'; 960]).await;
        self.pair.source.publish("TEST", &[], "small").await;
        let _replicator = self.start();
        self.exactly([1, 3]).await?;
        self.pair.source.holds("OVERLAY_REPLICATION_DEAD", 1).await;
        Ok(())
    }

    async fn foreign_identifier(&self) -> Result<(), String> {
        self.source(json!({})).await;
        let subjects = ["copy.>", "foreign"];
        self.pair.target.make("COPY", &subjects, json!({})).await;
        let same = [("Nats-Msg-Id", "same")];
        self.pair.target.publish("foreign", &same, "foreign").await;
        self.pair.source.publish("TEST", &same, "mine").await;
        self.pair.source.publish("TEST", &[], "next").await;
        let _replicator = self.start();
        self.settled(3).await;
        let stored = self.pair.target.stored("COPY").await;
        let bodies: Vec<&[u8]> = stored.iter().map(|it| it.body.as_slice()).collect();
        let wanted: Vec<&[u8]> = vec![b"foreign", b"mine", b"next"];
        equal("bodies", &bodies, &wanted)
    }

    async fn drained(&self, retention: &str, from_target: bool) -> Result<(), String> {
        self.source(json!({ "retention": retention })).await;
        let replicator = (retention == "interest").then(|| self.start());
        if replicator.is_some() {
            eventually(LIMIT, PERIOD, || async {
                !self.pair.source.consumers("TEST").await.is_empty()
            })
            .await;
        }
        self.pair.source.fill("TEST", 1, 4).await;
        let _replicator = replicator.unwrap_or_else(|| self.start());
        let _either = from_target;
        self.exactly(1..=3).await?;
        eventually(LIMIT, PERIOD, || async {
            self.pair.source.count("TEST").await == 0
        })
        .await;
        Ok(())
    }

    async fn broker_killed(mut self, of_target: bool) -> Result<(), String> {
        let messages = self.expect["distinct"].as_u64().unwrap_or(4000);
        self.source(json!({})).await;
        self.pair.source.fill("TEST", 1, messages + 1).await;
        let _replicator = self.start();
        self.pair.target.holds("COPY", messages / 8).await;
        let side = if of_target {
            &mut self.pair.target
        } else {
            &mut self.pair.source
        };
        side.broker.kill();
        tokio::time::sleep(OUTAGE).await;
        side.broker.start_again();
        let url = side.broker.url();
        side.client = eventually(LIMIT, PERIOD, || async_nats::connect(url.clone())).await;
        self.pair
            .source
            .fill("TEST", messages + 1, messages + 6)
            .await;
        self.exactly(1..=messages + 5).await
    }

    async fn no_ack(&self) -> Result<(), String> {
        self.source(json!({})).await;
        let mute = json!({ "no_ack": true });
        self.pair.target.make("COPY", &["copy.>"], mute).await;
        self.pair.source.fill("TEST", 1, 4).await;
        let mut replicator = self.start();
        replicator.wait_for_line("no_ack", LIMIT);
        // Rule: it is refused with the reason; the original stores messages again and again.
        equal("messages", &self.pair.target.count("COPY").await, &0)
    }

    async fn stopped(&self, cleanly: bool) -> Result<(), String> {
        let messages = self.expect["distinct"].as_u64().unwrap_or(2000) * 4;
        self.source(json!({})).await;
        self.pair.source.fill("TEST", 1, messages + 1).await;
        let times = if cleanly { 1 } else { 5 };
        for round in 1..=times {
            let mut replicator = self.start();
            self.pair
                .target
                .holds("COPY", messages * round / (times + 2))
                .await;
            if cleanly {
                replicator.stop(STOP_LIMIT);
            } else {
                replicator.kill();
            }
        }
        let _replicator = self.start();
        self.exactly(1..=messages).await
    }

    async fn carries(&self, words: &str, from_target: bool) -> Result<(), String> {
        let carried = words
            .split("carries ")
            .nth(1)
            .and_then(|rest| rest.split([',', '(']).next())
            .unwrap_or_default()
            .trim();
        let all = json!({ "allow_msg_ttl": true, "allow_rollup_hdrs": true });
        self.source(all).await;
        let ahead = words.contains("one ahead");
        let subjects = ["copy.>"];
        self.pair.target.make("COPY", &subjects, json!({})).await;
        if ahead {
            let mark = [("Choria-SR-Source", "OTHER 0 OTHER OTHER 1")];
            self.pair.target.publish("copy.other", &mark, "ahead").await;
        }
        let headers: Vec<(&str, &str)> = match carried {
            "KV delete marker" => vec![("KV-Operation", "DEL")],
            "Nats-Rollup" => vec![(carried, "sub")],
            "Nats-TTL" => vec![(carried, "1h")],
            "Nats-Expected-Stream" => vec![(carried, "TEST")],
            "Nats-Expected-Last-Subject-Sequence" => vec![(carried, "1")],
            other => vec![(other, "some-value")],
        };
        let body = if carried == "KV delete marker" {
            ""
        } else {
            "two"
        };
        self.pair.source.publish("TEST", &[], "one").await;
        self.pair.source.publish("TEST", &headers, body).await;
        self.pair.source.publish("TEST", &[], "three").await;
        let _replicator = self.start();
        // A rollup has taken the first message with it.
        let first = if carried == "Nats-Rollup" { 2 } else { 1 };
        let ahead = ahead.then_some(0);
        self.exactly(ahead.into_iter().chain(first..=3)).await?;
        let stored = self.pair.target.stored("COPY").await;
        let second = stored.iter().find(|it| it.source_sequence() == 2).unwrap();
        let kept = !second.values(carried).is_empty();
        let _either = from_target;
        // Rule: what only a broker acts on is left out; everything else stays, at whoever's initiative.
        let is_ours = carried == "Nats-Msg-Id" || carried == "KV delete marker";
        equal("protocol header is kept", &(kept && !is_ours), &false)?;
        if carried == "KV delete marker" {
            equal("marker", &second.values("KV-Operation"), &vec!["DEL"])?;
        }
        Ok(())
    }

    /// The target's last message has a mark; only one that is ours and possible says where to go on.
    async fn last_message(&self) -> Result<(), String> {
        self.source(json!({})).await;
        self.pair.source.fill("TEST", 1, 11).await;
        self.pair.target.make("COPY", &["copy.>"], json!({})).await;
        let header = self.expect["last_header"].as_object().unwrap();
        let headers: Vec<(&str, &str)> = header
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
            .collect();
        self.pair
            .target
            .publish("copy.TEST", &headers, "last")
            .await;
        let _replicator = self.start();
        let mark = header
            .get("Choria-SR-Source")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let fields: Vec<&str> = mark.split(' ').collect();
        let source = self.pair.source.stored("TEST").await;
        let ours = match fields.as_slice() {
            ["TEST", sequence, "X", "X", time] => source.iter().find(|it| {
                it.sequence.to_string() == *sequence && it.time_ms().to_string() == *time
            }),
            _ => None,
        };
        let from = ours.map_or(1, |message| message.sequence + 1);
        let wanted: Vec<u64> = (from..=10).collect();
        self.settled(wanted.len() + 1).await;
        let stored = self.pair.target.stored("COPY").await;
        let copied: Vec<u64> = stored[1..].iter().map(|it| it.source_sequence()).collect();
        equal("source sequences", &copied, &wanted)
    }

    async fn second_cell(&self) -> Result<(), String> {
        self.source(json!({})).await;
        self.pair.source.fill("TEST", 1, 11).await;
        let mut first = self.pair.replicate_as("A", "TEST", "COPY", &self.stanza);
        self.exactly(1..=10).await?;
        first.stop(STOP_LIMIT);
        let other = Side::start("other").await;
        other.make("TEST", &["TEST"], json!({})).await;
        other.fill("TEST", 1, 21).await;
        let yaml = format!(
            "name: B\nstreams:\n - stream: TEST\n   target_stream: COPY\n   source_url: {}\n   target_url: {}\n   {}\n",
            other.broker.url(),
            self.pair.target.broker.url(),
            self.stanza.join("\n   "),
        );
        let _second = self.pair.run_yaml(&yaml);
        // Rule: each cell has a position of its own.
        self.exactly((1..=10).chain(1..=20)).await
    }

    async fn too_old(&self) -> Result<(), String> {
        self.source(json!({})).await;
        self.pair.source.fill("TEST", 1, 6).await;
        tokio::time::sleep(Duration::from_millis(8200)).await;
        self.pair.source.fill("TEST", 6, 9).await;
        let mut stanza = self.stanza.clone();
        stanza.push("max_age: 8s");
        let mut replicator = self.pair.replicate_as("X", "TEST", "COPY", &stanza);
        self.exactly(6..=8).await?;
        replicator.stop(STOP_LIMIT);
        let durable = super::cases::durable(&self.pair, "SR_X").await;
        equal("ack floor", &durable["ack_floor"]["stream_seq"], &json!(8))
    }
}

/// The numbers in a text.
fn numbers(text: &str) -> Vec<u64> {
    text.split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}
