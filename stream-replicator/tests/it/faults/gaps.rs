//! The source drops messages behind a copy that cannot keep up: they are counted, or an operator is asked.
//!
//! Of what waits, some thousands were delivered before the target went away: those are no gap, however early the source
//! drops them.

use std::fs;

use overlay_testkit::{Process, eventually, http_get};
use serde_json::{Value, json};

use super::world::{SITE, SOURCE, TARGET, World, ask, connect, start};
use super::{LIMIT, PERIOD};

/// More than is delivered ahead of what the target takes.
const MANY: u64 = 25_000;

/// A replicator with its admin listener.
struct Replicator {
    process: Process,
    port: u16,
}

impl Replicator {
    fn start(world: &World, stream: &str) -> Self {
        let text = format!(
            "name = \"{SITE}\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[source]\nservers = [{:?}]\n[target]\nservers = [{:?}]\n[[streams]]\n\
             name = \"W\"\nstream = \"{SOURCE}\"\ntarget_stream = \"{TARGET}\"\nprefix = \"copy\"\nwindow = {{ messages = 100 }}\n{stream}\n",
            world.to_source.url(),
            world.to_target.url(),
        );
        let path = world.path("gaps.toml");
        fs::write(&path, text).unwrap();
        let mut process = start(&path);
        let line = process.wait_for_line("admin listener", LIMIT);
        let port = line.rsplit(':').next().unwrap().trim().parse().unwrap();
        Self { process, port }
    }

    fn value(&self, name: &str) -> Option<f64> {
        let (_, metrics) = http_get(self.port, "/metrics").ok()?;
        let labels = format!("{{replicator=\"{SITE}\",stream=\"{SOURCE}\",worker=\"W\"}} ");
        let start = format!("overlay_stream_replicator_{name}{labels}");
        let found = metrics.lines().find_map(|line| line.strip_prefix(&start));
        found.and_then(|value| value.parse().ok())
    }

    async fn counts(&self, name: &str, wanted: u64) {
        eventually(LIMIT, PERIOD, || async {
            let found = self.value(name);
            #[expect(clippy::cast_precision_loss, reason = "numbers of a test are small")]
            let wanted = wanted as f64;
            (found == Some(wanted))
                .then_some(())
                .ok_or(format!("{name} is {found:?} and not {wanted}"))
        })
        .await;
    }

    async fn is_down(&self, reason: &str) {
        eventually(LIMIT, PERIOD, || async {
            let (status, body) =
                http_get(self.port, "/ready").map_err(|error| error.to_string())?;
            let report: Value = serde_json::from_str(&body).map_err(|error| error.to_string())?;
            let part = report["parts"][format!("worker:{SOURCE}/W")].to_string();
            (status != 200 && part.contains(reason))
                .then_some(())
                .ok_or(part)
        })
        .await;
    }
}

/// The source keeps so many of its newest messages.
async fn keep(world: &World, messages: u64) {
    let client = connect(&world.source).await;
    let call = format!("STREAM.PURGE.{SOURCE}");
    let purged = ask(&client, &call, &json!({ "keep": messages })).await;
    assert_eq!(purged["success"], true, "{purged}");
}

/// A replicator that copied 300 messages and whose target went away with its window full, and much behind it.
async fn stalled(world: &World, stream: &str) -> Replicator {
    let replicator = Replicator::start(world, stream);
    world.publish(0, 300).await;
    world.copied().await;
    world.to_target.stall();
    world.publish(300, MANY).await;
    replicator.counts("lag_messages", MANY - 300).await;
    replicator
}

/// How many messages were copied before the first one that is missing.
fn whole(sequences: &[u64]) -> u64 {
    let whole = (1..)
        .zip(sequences)
        .take_while(|(wanted, found)| wanted == *found);
    whole.count() as u64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_source_drops_behind_a_stalled_target_is_counted_and_the_rest_arrives() {
    let world = World::start().await;
    let replicator = stalled(&world, "").await;
    keep(&world, 100).await;
    world.publish(MANY, MANY + 50).await;
    assert_eq!(replicator.value("missed_messages_total"), Some(0.0));
    world.to_target.flow();
    world.copied().await;
    let sequences = world.sequences().await;
    let whole = whole(&sequences);
    assert!((400..MANY - 100).contains(&whole), "{whole}");
    let rest = &sequences[usize::try_from(whole).unwrap()..];
    assert_eq!(rest, ((MANY - 99)..=(MANY + 50)).collect::<Vec<_>>());
    let missed = MANY - 100 - whole;
    replicator.counts("missed_messages_total", missed).await;
    let told = format!("{missed} messages are gone from the source");
    assert!(replicator.process.stderr().contains(&told), "{told}");
    // A connection made anew finds the same gap, and counts it no more.
    world.to_source.cut();
    world.publish(MANY + 50, MANY + 60).await;
    world.copied().await;
    replicator.counts("missed_messages_total", missed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_source_drops_to_the_last_message_is_counted_though_nothing_follows() {
    let world = World::start().await;
    let replicator = stalled(&world, "").await;
    keep(&world, 0).await;
    replicator.counts("lag_messages", 100).await;
    world.to_target.flow();
    eventually(LIMIT, PERIOD, || async {
        let missed = replicator.value("missed_messages_total");
        (missed > Some(0.0)).then_some(()).ok_or("none is missed")
    })
    .await;
    let sequences = world.sequences().await;
    let whole = whole(&sequences);
    assert_eq!(sequences.len() as u64, whole);
    replicator
        .counts("missed_messages_total", MANY - whole)
        .await;
    replicator.counts("lag_messages", 0).await;
    world.publish(MANY, MANY + 10).await;
    world.copied().await;
    replicator
        .counts("missed_messages_total", MANY - whole)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_to_stop_at_a_gap_stops_before_what_is_behind_it_and_stays_so() {
    let world = World::start().await;
    let mut replicator = stalled(&world, "on_gap = \"stop\"").await;
    keep(&world, 100).await;
    world.to_target.flow();
    replicator.is_down("messages are gone").await;
    // All that was read before the gap arrives.
    replicator.is_down("stopped: ").await;
    let sequences = world.sequences().await;
    let whole = whole(&sequences);
    assert_eq!(sequences.len() as u64, whole, "nothing behind the gap");
    let reason = format!("stopped: {} messages are gone", MANY - 100 - whole);
    replicator.is_down(&reason).await;
    replicator.counts("missed_messages_total", 0).await;
    replicator.process.kill();
    let mut replicator = Replicator::start(&world, "on_gap = \"stop\"");
    replicator.is_down(&reason).await;
    replicator.process.kill();
    let replicator = Replicator::start(&world, "");
    world.copied().await;
    replicator
        .counts("missed_messages_total", MANY - 100 - whole)
        .await;
    assert_eq!(world.sequences().await.len() as u64, whole + 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_deleted_in_between_is_no_gap_and_nothing_stops() {
    let world = World::start().await;
    world.publish(0, 300).await;
    let client = connect(&world.source).await;
    for sequence in (100..200).filter(|it| it % 3 == 0) {
        let call = format!("STREAM.MSG.DELETE.{SOURCE}");
        ask(&client, &call, &json!({ "seq": sequence })).await;
    }
    let replicator = Replicator::start(&world, "on_gap = \"stop\"");
    world.copied().await;
    assert_eq!(replicator.value("missed_messages_total"), Some(0.0));
    let sequences = world.sequences().await;
    let wanted: Vec<u64> = (1..=300)
        .filter(|it| !(100..200).contains(it) || it % 3 != 0)
        .collect();
    assert_eq!(sequences, wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_whose_source_comes_back_with_less_stops_if_it_is_to() {
    let world = World::start().await;
    let replicator = Replicator::start(&world, "on_gap = \"stop\"");
    world.publish(0, 300).await;
    world.copied().await;
    world.to_source.refuse();
    world.to_source.cut();
    world.publish(300, 600).await;
    keep(&world, 100).await;
    world.to_source.accept();
    replicator.is_down("stopped: 200 messages are gone").await;
    assert_eq!(world.sequences().await, (1..=300).collect::<Vec<_>>());
}
