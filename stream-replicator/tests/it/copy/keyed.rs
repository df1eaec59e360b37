//! Copies that keep the order of keys alone.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use overlay_testkit::{Process, eventually};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::pair::{Pair, Stored, stop};
use super::writers::Noise;
use super::{LIMIT, PERIOD};

const KEYS: u64 = 7;

/// What a test copies, and how.
struct Plan {
    /// Lines of the stream's table.
    stream: &'static str,
    /// Whether the subject names the key; else a field of the body does.
    by_subject: bool,
}

const BY_SUBJECT: Plan = Plan {
    stream: "order = \"key\"\n",
    by_subject: true,
};

const BY_TOKEN: Plan = Plan {
    stream: "order = \"key\"\nkey = { token = 2 }\n",
    by_subject: true,
};

const BY_FIELD: Plan = Plan {
    stream: "order = \"key\"\nkey = { field = \"sender\" }\n",
    by_subject: false,
};

impl Plan {
    async fn fill(&self, pair: &Pair, from: u64, to: u64) {
        let client = &pair.source.client;
        for number in from..to {
            let subject = if self.by_subject {
                format!("TEST.k{}.{}", number % KEYS, number % 2)
            } else {
                "TEST.all".to_owned()
            };
            let body = json!({ "sender": format!("k{}", number % KEYS), "number": number });
            let body = Bytes::from(body.to_string());
            client.publish(subject, body).await.unwrap();
        }
        client.flush().await.unwrap();
        pair.source.holds("TEST", to - 1).await;
    }

    fn replicate(&self, pair: &Pair, more: &str) -> Process {
        pair.run_toml(&format!(
            "[[streams]]\nstream = \"TEST\"\ntarget_stream = \"COPY\"\nprefix = \"copy\"\n{}{more}",
            self.stream
        ))
    }

    /// The key of a copy, as coarse as the plan has it.
    fn key(&self, message: &Stored) -> String {
        if self.stream.contains("token") {
            message.subject.split('.').nth(2).unwrap().to_owned()
        } else if self.by_subject {
            message.subject.clone()
        } else {
            let body: Value = serde_json::from_slice(&message.body).unwrap();
            body["sender"].as_str().unwrap().to_owned()
        }
    }

    /// Everything is there once, and in the order of its key.
    async fn judge(&self, pair: &Pair, last: u64, missing: &[u64]) {
        let copies = copies_from(pair, 1).await;
        let mut sequences: Vec<u64> = copies.iter().map(Stored::source_sequence).collect();
        sequences.sort_unstable();
        let due: Vec<u64> = (1..=last)
            .filter(|sequence| !missing.contains(sequence))
            .collect();
        assert_eq!(sequences, due);
        let mut keys: HashMap<String, u64> = HashMap::new();
        for message in &copies {
            let sequence = message.source_sequence();
            let before = keys.insert(self.key(message), sequence);
            assert!(
                before.is_none_or(|before| before < sequence),
                "{sequence} of {} comes behind {before:?}",
                self.key(message)
            );
        }
    }
}

/// Those of the copies from a sequence of the target on.
async fn copies_from(pair: &Pair, from: u64) -> Vec<Stored> {
    let stored = pair.target.stored_below("COPY", "copy.TEST.>", from).await;
    let ours = stored
        .into_iter()
        .filter(|message| !message.values("Choria-SR-Source").is_empty());
    ours.collect()
}

async fn copied(pair: &Pair, count: usize) {
    let seen = Mutex::new((1, 0));
    eventually(LIMIT, PERIOD, || async {
        let (next, copied) = &mut *seen.lock().await;
        let more = copies_from(pair, *next).await;
        *copied += more.len();
        if let Some(last) = more.last() {
            *next = last.sequence + 1;
        }
        if *copied >= count {
            Ok(())
        } else {
            Err(format!("{copied} of {count} copied"))
        }
    })
    .await;
}

/// Killed again and again, among others who write to the same subjects.
async fn killed(plan: Plan, duplicates: Duration) {
    let pair = Pair::with_test().await;
    let window = u64::try_from(duplicates.as_nanos()).unwrap();
    let config = json!({ "duplicate_window": window });
    pair.target.make("COPY", &["copy.>"], config).await;
    let same = Noise::start(&pair, "copy.TEST.k1.1", Duration::from_millis(100));
    let noise = Noise::start(&pair, "copy.foreign", Duration::from_millis(2));
    let mut replicator = plan.replicate(&pair, "");
    for round in 0..5_u64 {
        plan.fill(&pair, round * 400 + 1, round * 400 + 401).await;
        copied(&pair, usize::try_from(round * 400 + 150).unwrap()).await;
        replicator.kill();
        if duplicates < Duration::from_secs(1) {
            // What identifiers were known is forgotten.
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        replicator = plan.replicate(&pair, "");
    }
    copied(&pair, 2000).await;
    noise.stop().await;
    same.stop().await;
    stop(&mut replicator);
    plan.judge(&pair, 2000, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_subject_killed_again_and_again_nothing_is_lost_doubled_or_turned_around() {
    killed(BY_SUBJECT, Duration::from_millis(100)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_token_killed_again_and_again_nothing_is_lost_doubled_or_turned_around() {
    killed(BY_TOKEN, Duration::from_millis(100)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_field_killed_again_and_again_nothing_is_lost_doubled_or_turned_around() {
    killed(BY_FIELD, Duration::from_secs(60)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_held_up_holds_up_no_other_and_is_not_doubled_by_a_kill() {
    let pair = Pair::with_test().await;
    // Nobody takes what goes to key 3.
    let subjects: Vec<String> = (0..KEYS)
        .filter(|key| *key != 3)
        .map(|key| format!("copy.TEST.k{key}.>"))
        .collect();
    let subjects: Vec<&str> = subjects.iter().map(String::as_str).collect();
    let forgetful = json!({ "duplicate_window": 100_000_000 });
    let made = pair.target.make("COPY", &subjects, forgetful).await;
    let patient = "[streams.poison]\ntries = 1000\n";
    let mut replicator = BY_TOKEN.replicate(&pair, patient);
    BY_TOKEN.fill(&pair, 1, 701).await;
    copied(&pair, 600).await;
    replicator.kill();
    tokio::time::sleep(Duration::from_millis(300)).await;
    // In the strict order it cannot go on: the last copy does not speak for all before it.
    let strict = Plan {
        stream: "",
        by_subject: true,
    };
    let mut stopped = strict.replicate(&pair, "");
    stopped.wait_for_line("messages were left open", LIMIT);
    stop(&mut stopped);
    let mut replicator = BY_TOKEN.replicate(&pair, patient);
    BY_TOKEN.fill(&pair, 701, 1401).await;
    copied(&pair, 1200).await;
    let missing: Vec<u64> = (1..=1400).filter(|number| number % KEYS == 3).collect();
    BY_TOKEN.judge(&pair, 1400, &missing).await;
    let mut config = made["config"].clone();
    config["subjects"] = json!(["copy.>"]);
    let updated = pair.target.ask("STREAM.UPDATE.COPY", &config).await;
    assert!(updated["error"].is_null(), "{updated}");
    copied(&pair, 1400).await;
    stop(&mut replicator);
    BY_TOKEN.judge(&pair, 1400, &[]).await;
    // Stopped with nothing open, it goes on in the strict order.
    let mut replicator = strict.replicate(&pair, "");
    BY_TOKEN.fill(&pair, 1401, 1501).await;
    copied(&pair, 1500).await;
    stop(&mut replicator);
    BY_TOKEN.judge(&pair, 1500, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_of_one_key_is_kept_aside_and_its_key_goes_on() {
    let pair = Pair::with_test().await;
    let config = json!({ "max_msg_size": 600 });
    pair.target.make("COPY", &["copy.>"], config).await;
    let mut replicator = BY_SUBJECT.replicate(&pair, "");
    BY_SUBJECT.fill(&pair, 1, 101).await;
    let large = "x".repeat(1000);
    for key in [1, 1, 2] {
        let subject = format!("TEST.k{key}.1");
        pair.source.publish(&subject, &[], large.clone()).await;
    }
    for number in 104..=200_u64 {
        let subject = format!("TEST.k{}.{}", number % KEYS, number % 2);
        pair.source.publish(&subject, &[], "y").await;
    }
    copied(&pair, 197).await;
    pair.source.holds("OVERLAY_REPLICATION_DEAD", 3).await;
    stop(&mut replicator);
    BY_SUBJECT.judge(&pair, 200, &[101, 102, 103]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replicator_that_was_frozen_doubles_nothing_when_it_comes_back() {
    let pair = Pair::with_test().await;
    let forgetful = json!({ "duplicate_window": 100_000_000 });
    pair.target.make("COPY", &["copy.>"], forgetful).await;
    BY_TOKEN.fill(&pair, 1, 4001).await;
    let mut old = BY_TOKEN.replicate(&pair, "[streams.window]\nmessages = 16\n");
    copied(&pair, 200).await;
    old.pause();
    let mut new = BY_TOKEN.replicate(&pair, "");
    copied(&pair, 4000).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    old.unpause();
    BY_TOKEN.fill(&pair, 4001, 4101).await;
    copied(&pair, 4100).await;
    stop(&mut old);
    stop(&mut new);
    BY_TOKEN.judge(&pair, 4100, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_work_queue_is_drained_in_the_order_of_its_keys() {
    let pair = Pair::start().await;
    let queue = json!({ "retention": "workqueue" });
    pair.source.make("TEST", &["TEST", "TEST.>"], queue).await;
    pair.target.make("COPY", &["copy.>"], json!({})).await;
    BY_TOKEN.fill(&pair, 1, 501).await;
    let mut replicator = BY_TOKEN.replicate(&pair, "");
    copied(&pair, 100).await;
    replicator.kill();
    let mut replicator = BY_TOKEN.replicate(&pair, "");
    copied(&pair, 500).await;
    eventually(LIMIT, PERIOD, || async {
        match pair.source.count("TEST").await {
            0 => Ok(()),
            left => Err(format!("{left} left in the source")),
        }
    })
    .await;
    stop(&mut replicator);
    BY_TOKEN.judge(&pair, 500, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_forgets_identifiers_at_once_is_not_written_where_they_alone_guard() {
    let pair = Pair::with_test().await;
    let forgetful = json!({ "duplicate_window": 100_000_000 });
    pair.target.make("COPY", &["copy.>"], forgetful).await;
    BY_FIELD.fill(&pair, 1, 11).await;
    let mut replicator = BY_FIELD.replicate(&pair, "");
    replicator.wait_for_line("duplicate_window of 30s at least", LIMIT);
    assert_eq!(pair.target.count("COPY").await, 0);
    stop(&mut replicator);
}
