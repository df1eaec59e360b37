//! What is known between starts.

use std::fs;
use std::time::Duration;

use overlay_runtime::Clock;
use overlay_testkit::{Proxy, eventually};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::cell::{Cell, LIMIT, PERIOD, stop, values};

const FIELD: [&str; 2] = ["inspect_field: sender", "inspect_duration: 1h"];
const FILE: &str = "NODES_W1.json";

#[tokio::test(flavor = "multi_thread")]
async fn sr_case_41_the_originals_file_is_read_and_left_as_it_would_be() {
    let cell = Cell::start().await;
    let state = cell.state("one");
    fs::create_dir_all(&state).unwrap();
    let now = OffsetDateTime::from(Clock::system().now())
        .format(&Rfc3339)
        .unwrap();
    let text = format!(
        r#"{{"Items":{{"h1":{{"seen":"{now}","copied":"{now}","advised":true,"size":15}},"h2":{{"seen":"{now}","copied":"0001-01-01T00:00:00Z","size":15}},"bad":null}}}}"#
    );
    fs::write(state.join(FILE), text).unwrap();
    let replicator = cell.replicator(&FIELD);
    cell.seen(&["h1", "h2", "h3"]).await;
    let copied = cell.settled("last").await;
    let bodies: Vec<_> = copied.iter().map(|copy| copy.body.as_str()).collect();
    assert_eq!(bodies, [r#"{"sender":"h2"}"#, r#"{"sender":"h3"}"#]);
    stop(replicator);
    let text = fs::read_to_string(state.join(FILE)).unwrap();
    assert_eq!(values(&text), ["h1", "h2", "h3", "last"]);
    let left: Vec<_> = fs::read_dir(&state)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(
        left.iter()
            .all(|name| !name.to_string_lossy().contains("journal")),
        "{left:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_known_survives_a_kill() {
    let cell = Cell::start().await;
    let mut replicator = cell.replicator(&FIELD);
    cell.seen(&["h1", "h2"]).await;
    cell.copies(2).await;
    // Known on the disk, in the file or in a journal beside it.
    eventually(LIMIT, PERIOD, || async {
        let text = cell.written("one");
        let copied = text.matches("\"copied\":\"20").count();
        if copied >= 2 { Ok(()) } else { Err(text) }
    })
    .await;
    replicator.kill();
    drop(replicator);
    let replicator = cell.replicator(&FIELD);
    cell.seen(&["h1", "h2"]).await;
    assert_eq!(cell.settled("last").await.len(), 2);
    stop(replicator);
}

#[tokio::test(flavor = "multi_thread")]
async fn sr_case_43_lost_state_is_read_from_the_target_without_a_burst() {
    for (direct, inspect, subjects) in [
        (true, "inspect_field: sender", ["nodes.data", "nodes.data"]),
        (false, "inspect_field: sender", ["nodes.data", "nodes.data"]),
        (true, "inspect_subject_token: 2", ["nodes.h1", "nodes.h2"]),
        (false, "inspect_subject_token: 2", ["nodes.h1", "nodes.h2"]),
    ] {
        let cell = Cell::start().await;
        if !direct {
            let target = async_nats::jetstream::new(cell.at_target.clone());
            let mut config = target
                .get_stream("FLEET")
                .await
                .unwrap()
                .cached_info()
                .config
                .clone();
            config.allow_direct = false;
            target.update_stream(&config).await.unwrap();
        }
        let lines = [inspect, "inspect_duration: 1h"];
        let replicator = cell.replicator(&lines);
        let publish = async || {
            for (subject, node) in subjects.iter().zip(["h1", "h2"]) {
                cell.publish(subject, &format!(r#"{{"sender":"{node}"}}"#))
                    .await;
            }
        };
        publish().await;
        cell.copies(2).await;
        stop(replicator);
        fs::remove_dir_all(cell.state("one")).unwrap();
        let replicator = cell.replicator(&lines);
        publish().await;
        publish().await;
        cell.publish("nodes.last", r#"{"sender":"last"}"#).await;
        let copies = cell.copies(3).await;
        assert_eq!(copies.len(), 3, "{direct} {inspect}: {copies:?}");
        assert_eq!(copies[2].body, r#"{"sender":"last"}"#);
        stop(replicator);
    }
}

/// More than one batch of what the target has, over a line that is slow to answer: all of it is read before the first
/// document is judged.
#[tokio::test(flavor = "multi_thread")]
async fn sr_case_43_many_lost_values_are_read_over_a_slow_line_without_a_burst() {
    const VALUES: u64 = 20_000;

    let cell = Cell::start().await;
    let slow = Proxy::start(cell.target.port()).await;
    slow.delay(Duration::from_millis(50));
    let target = slow.url();
    let start = || cell.replicator_to(&target, &FIELD);
    let documents = async || {
        for number in 0..VALUES {
            let body = format!(r#"{{"sender":"n{number}"}}"#);
            let published = cell.client.publish("nodes.data", body.into());
            published.await.unwrap();
        }
        cell.client.flush().await.unwrap();
    };
    let replicator = start();
    documents().await;
    cell.holds(VALUES).await;
    stop(replicator);
    fs::remove_dir_all(cell.state("one")).unwrap();

    let replicator = start();
    documents().await;
    cell.publish("nodes.data", r#"{"sender":"last"}"#).await;
    cell.holds(VALUES + 1).await;
    stop(replicator);
    // The one that came last of all is the only one.
    let copies = cell.copies(1).await;
    assert_eq!(copies.len() as u64, VALUES + 1);
    assert_eq!(copies.last().unwrap().body, r#"{"sender":"last"}"#);
}
