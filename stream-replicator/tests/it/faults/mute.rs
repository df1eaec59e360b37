//! Messages that the target's broker drops without a word: their subjects are denied to the login.

use std::fs;
use std::time::Duration;

use overlay_testkit::{Broker, Process, eventually, http_get};
use serde_json::{Value, json};

use super::verdict::{self, Stored};
use super::world::{Load, SITE, SOURCE, TARGET, World, ask, connect, start, stop};
use super::{LIMIT, PERIOD};

/// Half a minute when all is well: silences are ten seconds long.
const LONG: Duration = Duration::from_secs(180);
const LETTERS: &str = "OVERLAY_REPLICATION_DEAD";

/// Users of the target; the replicator's may not publish to a subject.
fn users(denied: &str) -> String {
    format!(
        "no_auth_user: all\nauthorization: {{ users: [ {{ user: all, password: all }}, {{ user: sr, password: sr, permissions: {{ \
         publish: {{ allow: \">\", deny: \"{denied}\" }}, subscribe: \">\" }} }} ] }}\n"
    )
}

async fn world() -> World {
    let target = Broker::builder().name("target").jetstream();
    World::with_target(target.config(users("copy.load.denied")).start()).await
}

/// Puts a message into the source whose copy is denied.
async fn publish_denied(world: &World) {
    let client = connect(&world.source).await;
    let context = async_nats::jetstream::new(client);
    let sent = context.publish("load.denied", "denied".into()).await;
    sent.unwrap().await.unwrap();
}

/// A replicator that gives up after two tries, and the port of its admin listener.
fn replicator(world: &World, order: &str) -> (Process, u16) {
    let target = world.to_target.url().replace("://", "://sr:sr@");
    let text = format!(
        "name = \"{SITE}\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[source]\nservers = [{:?}]\n[target]\nservers = [{target:?}]\n[[streams]]\n\
         name = \"W\"\nstream = \"{SOURCE}\"\ntarget_stream = \"{TARGET}\"\nprefix = \"copy\"\n{order}[streams.poison]\ntries = 2\n",
        world.to_source.url(),
    );
    let path = world.path("mute.toml");
    fs::write(&path, text).unwrap();
    let mut process = start(&path);
    let line = process.wait_for_line("admin listener", LIMIT);
    let port = line.rsplit(':').next().unwrap().trim().parse().unwrap();
    (process, port)
}

/// Waits until the worker is said to be up, or down for a reason with this in it.
async fn is(port: u16, wanted: &str) {
    eventually(LONG, PERIOD, || async {
        let (_, body) = http_get(port, "/ready").map_err(|error| error.to_string())?;
        let report: Value = serde_json::from_str(&body).map_err(|error| error.to_string())?;
        let part = report["parts"][format!("worker:{SOURCE}/W")].to_string();
        let found = part.contains(wanted);
        found.then_some(()).ok_or(part)
    })
    .await;
}

/// Waits until so many messages are kept aside.
async fn letters(world: &World, number: u64) -> Vec<Stored> {
    let client = connect(&world.source).await;
    eventually(LONG, PERIOD, || async {
        let info = ask(&client, &format!("STREAM.INFO.{LETTERS}"), &json!({})).await;
        info["state"]["messages"].as_u64() == Some(number)
    })
    .await;
    verdict::read(&client, LETTERS).await
}

fn unanswered(port: u16) -> bool {
    let labels = format!("{{replicator=\"{SITE}\",stream=\"{SOURCE}\",worker=\"W\"}}");
    let line = format!("overlay_stream_replicator_worker_unanswered{labels} 1");
    http_get(port, "/metrics").unwrap().1.contains(&line)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_last_message_that_is_never_answered_is_told_and_copied_once_it_is_allowed() {
    let mut world = world().await;
    world.publish(0, 5).await;
    publish_denied(&world).await;
    let (mut replicator, port) = replicator(&world, "");
    is(port, "message 6 ").await;
    assert!(unanswered(port));
    let warnings = replicator.stderr() + &replicator.stdout();
    assert!(warnings.contains("copy.load.denied"), "{warnings}");
    world.target.set_config(users("other"));
    world.target.reload().unwrap();
    world.copied().await;
    is(port, "\"up\"").await;
    assert!(!unanswered(port));
    stop(&mut replicator);
    assert_eq!(world.sequences().await, [1, 2, 3, 4, 5, 6]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_alone_is_never_answered_is_kept_aside_and_what_is_behind_it_goes_on() {
    let world = world().await;
    world.publish(0, 5).await;
    publish_denied(&world).await;
    publish_denied(&world).await;
    world.publish(5, 10).await;
    let (mut replicator, _port) = replicator(&world, "");
    let letters = letters(&world, 2).await;
    world.copied().await;
    stop(&mut replicator);
    assert_eq!(world.sequences().await, [1, 2, 3, 4, 5, 8, 9, 10, 11, 12]);
    let reason = letters[0].headers.get("Overlay-Dead-Reason").unwrap();
    assert!(reason.as_str().contains("never answers"), "{reason:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_never_answered_is_kept_aside_while_others_go_on() {
    let world = world().await;
    publish_denied(&world).await;
    let load = Load::start(&world, 0).await;
    let (mut replicator, _port) = replicator(&world, "order = \"key\"\n");
    let letters = letters(&world, 1).await;
    load.finish().await;
    let source = connect(&world.source).await;
    let info = ask(&source, &format!("STREAM.INFO.{SOURCE}"), &json!({})).await;
    let last = info["state"]["last_seq"].as_u64().unwrap();
    let target = connect(&world.target).await;
    eventually(LIMIT, PERIOD, || async {
        let info = ask(&target, &format!("STREAM.INFO.{TARGET}"), &json!({})).await;
        info["state"]["messages"].as_u64() == Some(last - 1)
    })
    .await;
    stop(&mut replicator);
    let mut copied = world.sequences().await;
    copied.sort_unstable();
    assert_eq!(copied, (2..=last).collect::<Vec<_>>());
    assert_eq!(letters[0].body, "denied");
}
