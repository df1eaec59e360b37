//! `overlay replicate`.
#![allow(clippy::unwrap_used, reason = "tests")]

use async_nats::jetstream;
use overlay_protocol::replication::control::{
    DoneReply, Election, LagReply, Letter, LetterReply, LettersReply, Pause, Phase, Replica,
    SERVICE, StateEntry, StateReply, StatusReply, TraceReply, Traced, WorkerLag, WorkerStatus,
};
use overlay_protocol::replication::{Advisory, AdvisoryEvent, TrackedItem, sync_subject};
use overlay_protocol::rpc::{RpcReply, StatusCode, to_data};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::desk::{Desk, Run, assert_shown};
use crate::provisioner::Provisioner as Service;

const NOON: i64 = 1_767_225_600;

fn ok(action: &str, data: &impl Serialize) -> RpcReply {
    RpcReply::ok(action, Value::Object(to_data(data)))
}

fn replicators(
    desk: &Desk,
    answers: impl FnMut(&str, &Map<String, Value>) -> Vec<RpcReply> + Send + 'static,
) -> Service {
    let login = Some(&desk.replicator);
    Service::start_service(desk, SERVICE, "repl.example.net", login, answers)
}

fn run(desk: &Desk, command: &str) -> Run {
    let args: Vec<&str> = command.split_ascii_whitespace().collect();
    desk.run(&args)
}

fn replica(instance: &str) -> Replica {
    Replica {
        replicator: "LHR".to_owned(),
        instance: instance.to_owned(),
        identity: "repl.example.net".to_owned(),
    }
}

fn status(instance: &str, phase: Phase) -> StatusReply {
    let worker = WorkerStatus {
        stream: "NODES".to_owned(),
        worker: "W1".to_owned(),
        target: "FLEET".to_owned(),
        phase,
        election: Some(Election {
            key: "SR_W1_NODES".to_owned(),
            candidate: instance.to_owned(),
            leads: phase == Phase::Copying,
            trouble: None,
        }),
        handled: 88,
        source_last: 100,
        waiting: 12,
        lag_seconds: 3.5,
        pause: (phase == Phase::Paused).then(|| Pause {
            by: "up=bob".to_owned(),
            reason: "upgrade".to_owned(),
            since: NOON,
        }),
        ..WorkerStatus::default()
    };
    StatusReply {
        replica: replica(instance),
        workers: vec![worker],
        ..StatusReply::default()
    }
}

#[test]
fn a_status_has_all_replicas_even_those_of_one_name() {
    let desk = Desk::new(vec![]);
    let seen = replicators(&desk, |action, _| {
        vec![
            ok(action, &status("b2", Phase::Paused)),
            ok(action, &status("a1", Phase::Copying)),
        ]
    });
    let shown = run(&desk, "replicate status").ok();
    assert_eq!(shown.stderr, "", "replies that are proved need no word");
    assert_shown!("replicate_status", shown.stdout);
    let json = run(&desk, "replicate status NODES/W1 --replicator LHR --json")
        .ok()
        .json();
    assert_eq!(json[0]["instance"], "a1");
    assert_eq!(json[1]["workers"][0]["pause"]["by"], "up=bob");
    let asked = &seen.seen()[1].1;
    assert_eq!(
        Value::Object(asked.clone()),
        json!({"replicator": "LHR", "stream": "NODES", "worker": "W1"})
    );
}

#[test]
fn nobody_who_answers_is_a_failure_that_says_what_to_look_for() {
    let desk = Desk::new(vec![]);
    run(&desk, "replicate lag NODES --timeout 0.5").fails(1, "no replicator answers");
    let _deaf = replicators(&desk, |action, _| {
        let said = "You are not authorized to call this agent or action";
        vec![RpcReply::failed(action, StatusCode::Aborted, said)]
    });
    run(&desk, "replicate pause --all").fails(1, "stream_replicator.pause");
    run(&desk, "replicate pause").fails(2, "WORKER");
}

#[test]
fn lag_is_waited_for_until_nothing_waits() {
    let desk = Desk::new(vec![]);
    let mut looks = 0;
    let seen = replicators(&desk, move |action, _| {
        looks += 1;
        let worker = WorkerLag {
            stream: "NODES".to_owned(),
            worker: "W1".to_owned(),
            phase: Phase::Copying,
            handled: 90 + looks,
            source_last: 93,
            waiting: 3_u64.saturating_sub(looks),
            lag_seconds: 1.25,
        };
        vec![ok(
            action,
            &LagReply {
                replica: replica("a1"),
                workers: vec![worker],
            },
        )]
    });
    let shown = run(&desk, "replicate lag --wait --interval 0.05 --json").ok();
    assert_eq!(shown.json()[0]["waiting"], 0);
    assert_eq!(shown.json()[0]["replicator"], "LHR");
    assert_eq!(seen.seen().len(), 3);
    let shown = run(&desk, "replicate lag").ok();
    assert!(shown.stdout.contains("NODES/W1"), "{shown:?}");
}

#[test]
fn a_wait_that_takes_too_long_fails() {
    let desk = Desk::new(vec![]);
    let _seen = replicators(&desk, |action, _| {
        let worker = WorkerLag {
            waiting: 5,
            phase: Phase::Copying,
            ..WorkerLag::default()
        };
        vec![ok(
            action,
            &LagReply {
                replica: replica("a1"),
                workers: vec![worker],
            },
        )]
    });
    run(&desk, "replicate lag --wait --interval 0.05 --limit 0.1").fails(1, "messages still wait");
}

#[test]
fn pause_and_resume_tell_once_what_all_replicas_did() {
    let desk = Desk::new(vec![]);
    let seen = replicators(&desk, |action, _| {
        let done = |instance: &str| DoneReply {
            replica: replica(instance),
            workers: vec!["NODES/W1".to_owned()],
            message: format!("NODES/W1: {action}d"),
        };
        vec![ok(action, &done("a1")), ok(action, &done("b2"))]
    });
    let paused = run(&desk, "replicate pause NODES/W1 --reason upgrade").ok();
    assert_eq!(paused.stdout, "LHR: NODES/W1: paused\n");
    let resumed = run(&desk, "replicate resume --all --json").ok().json();
    assert_eq!(resumed.as_array().unwrap().len(), 2);
    let seen = seen.seen();
    assert_eq!(seen[0].1["reason"], "upgrade");
    assert_eq!(seen[1].0, "resume");
    assert!(seen[1].1.is_empty());
}

#[test]
fn a_trace_shows_why() {
    let desk = Desk::new(vec![]);
    let seen = replicators(&desk, |action, _| {
        let traced = |sequence, copied: bool| Traced {
            stream: "NODES".to_owned(),
            worker: "W1".to_owned(),
            sequence,
            subject: "nodes.n1".to_owned(),
            target: copied.then(|| "copy.nodes.n1".to_owned()),
            bytes: 12,
            copied,
            why: if copied { "first" } else { "copied lately" }.to_owned(),
            value: Some("h1\u{1b}[2J".to_owned()),
            ..Traced::default()
        };
        vec![ok(
            action,
            &TraceReply {
                replica: replica("a1"),
                decisions: vec![traced(1, true), traced(2, false)],
                missed: 4,
            },
        )]
    });
    let shown = run(&desk, "replicate trace NODES --count 2 --for 1").ok();
    assert_eq!(
        shown.stdout,
        "copy NODES/W1 1 nodes.n1 > copy.nodes.n1 [h1\u{fffd}[2J] 12 B: first\n\
         pass NODES/W1 2 nodes.n1 [h1\u{fffd}[2J] 12 B: copied lately\n"
    );
    assert!(shown.stderr.contains("4 decisions"), "{shown:?}");
    let asked = &seen.seen()[0].1;
    assert_eq!((&asked["count"], &asked["seconds"]), (&json!(2), &json!(1)));
}

#[test]
fn values_are_read_in_pages() {
    let desk = Desk::new(vec![]);
    let seen = replicators(&desk, |action, data| {
        let offset = data["offset"].as_u64().unwrap();
        let values = (offset..2500.min(offset + 1000)).map(|number| StateEntry {
            value: format!("h{number:04}"),
            seen_ns: Some(NOON * 1_000_000_000),
            copied_ns: None,
            size: 28,
            advised: number == 0,
        });
        vec![ok(
            action,
            &StateReply {
                replica: replica("a1"),
                values: values.collect(),
                total: 2500,
            },
        )]
    });
    let shown = run(
        &desk,
        "replicate state NODES/W1 --values --since 5m --no-advised",
    )
    .ok();
    assert_eq!(shown.stdout.lines().count(), 2500);
    let asked: Vec<_> = seen
        .seen()
        .iter()
        .map(|(_, data)| data["offset"].clone())
        .collect();
    assert_eq!(asked, [0, 1000, 2000].map(Value::from));
    let first = &seen.seen()[0].1;
    assert_eq!(
        (&first["since"], &first["advised"]),
        (&json!(300), &json!(false))
    );
    let json = run(&desk, "replicate state --json").ok().json();
    assert_eq!(
        json[0],
        json!({"seen": "2026-01-01T00:00:00Z", "copied": "0001-01-01T00:00:00Z", "advised": true,
               "size": 28, "value": "h0000"})
    );
}

#[test]
fn files_of_state_are_read_with_their_journals() {
    let desk = Desk::new(vec![]);
    let at = "2026-01-01T00:00:00";
    desk.file(
        "NODES_W1.json",
        &format!(
            r#"{{"Items":{{"h2":{{"seen":"{at}.5Z","copied":"{at}+01:00","size":28}},"h1":{{"seen":"{at}Z","copied":"0001-01-01T00:00:00Z","advised":true,"size":7}},"bad":{{"seen":3}},"h3":{{"seen":"{at}Z","copied":"{at}Z","size":1}}}}}}"#
        ),
    );
    desk.file(
        "NODES_W1.journal.2",
        &format!(
            "00000000 value {{\"seen\":\"{at}Z\",\"copied\":\"{at}Z\",\"size\":9,\"value\":\"h4\"}}\n\
             00000000 value {{\"seen\":\"{at}Z\",\"copied\":\"{at}Z\",\"size\":9,\"value\":\"h3\",\"gone\":true}}\n\
             00000000 told 26QSY17sb9aJL6UPPG6MLOVjIrE\ntorn"
        ),
    );
    let shown = desk
        .run(&[
            "replicate",
            "state",
            "--file",
            ".",
            "--at",
            "2026-01-01T00:01:00Z",
        ])
        .ok();
    assert_eq!(
        shown.stdout,
        "           Value: h1\n       Seen Time: 2026-01-01 00:00:00 +0000 UTC (1m0s)\n     Copied Time: never\n    \
         Payload Size: 7\n         Advised: true\n\n           Value: h2\n       Seen Time: 2026-01-01 00:00:00.5 +0000 UTC (1m0s)\n     \
         Copied Time: 2026-01-01 00:00:00 +0100 +0100 (1h1m0s)\n    Payload Size: 28\n         Advised: false\n\n           \
         Value: h4\n       Seen Time: 2026-01-01 00:00:00 +0000 UTC (1m0s)\n     Copied Time: 2026-01-01 00:00:00 +0000 UTC (1m0s)\n    \
         Payload Size: 9\n         Advised: false\n\n"
    );
    assert!(shown.stderr.contains("bad"), "{shown:?}");
    assert!(shown.stderr.contains("1 lines cannot be read"), "{shown:?}");
    for (flags, values) in [
        ("--values --no-advised", "h2\nh4\n"),
        ("--values --only-advised", "h1\n"),
        ("--values --advised --value h[12]", "h1\nh2\n"),
        ("--value nobody", "No items matched\n"),
        ("--value nobody --json", "[]\n"),
        ("--value nobody --values", ""),
        ("--values --since 59800ms --at 2026-01-01T00:01:00Z", "h2\n"),
    ] {
        let shown = run(
            &desk,
            &format!("replicate state --file NODES_W1.json {flags}"),
        )
        .ok();
        assert_eq!(shown.stdout, values, "{flags}");
    }
    run(&desk, "replicate state --file nowhere").fails(1, "nowhere");
    run(&desk, "replicate state --file NODES_W1.journal.2").fails(1, "no state");
    run(&desk, "replicate state --file . --value (").fails(1, "regular expression");
}

#[test]
fn messages_kept_aside_are_listed_shown_and_dealt_with() {
    let desk = Desk::new(vec![]);
    let seen = replicators(&desk, |action, data| {
        let letter = |number: u64| Letter {
            number,
            stream: "NODES".to_owned(),
            worker: "W1".to_owned(),
            sequence: number + 100,
            subject: "nodes.n1".to_owned(),
            reason: "too large".to_owned(),
            at: "2026-01-01T00:00:00Z".to_owned(),
            bytes: 600,
        };
        let number = data.get("number").and_then(Value::as_u64).unwrap_or(0);
        vec![match action {
            "deadletters" => {
                let after = data["after"].as_u64().unwrap();
                ok(
                    action,
                    &LettersReply {
                        replica: replica("a1"),
                        letters: (after + 1..=(after + 2).min(3)).map(letter).collect(),
                        more: after + 2 < 3,
                    },
                )
            }
            "deadletter" => ok(
                action,
                &LetterReply {
                    replica: replica("a1"),
                    letter: letter(number),
                    headers: [("KV-Operation".to_owned(), vec!["DEL".to_owned()])].into(),
                    body: b"hello".to_vec(),
                },
            ),
            _ if number == 2 => {
                RpcReply::failed(action, StatusCode::Aborted, "the target refuses it again")
            }
            _ => ok(
                action,
                &DoneReply {
                    replica: replica("a1"),
                    workers: vec!["NODES/W1".to_owned()],
                    message: format!("NODES/W1: {action} done"),
                },
            ),
        }]
    });
    let listed = run(&desk, "replicate deadletters list NODES").ok();
    assert_shown!("replicate_deadletters", listed.stdout);
    let json = run(&desk, "replicate dead ls --json").ok().json();
    assert_eq!(json.as_array().unwrap().len(), 3);
    let shown = run(&desk, "replicate deadletters show NODES/W1 2").ok();
    for part in [
        " Sequence: 102",
        "   Reason: too large",
        "   Header: KV-Operation: DEL",
        "\nhello\n",
    ] {
        assert!(shown.stdout.contains(part), "{part} is not in {shown:?}");
    }
    run(&desk, "replicate deadletters drop NODES/W1 1 3").ok();
    let retried = run(&desk, "replicate deadletters retry NODES/W1 --all");
    assert!(
        retried.stdout.contains("✓ 3: NODES/W1: retry done"),
        "{retried:?}"
    );
    retried.fails(1, "1 of 3 messages: retry was refused");
    let numbers: Vec<_> = seen
        .seen()
        .iter()
        .filter(|(action, _)| action == "retry")
        .map(|(_, data)| data["number"].clone())
        .collect();
    assert_eq!(numbers, [1, 2, 3].map(Value::from));
    run(&desk, "replicate deadletters retry NODES/W1").fails(2, "NUMBER");
}

#[test]
fn advisories_and_gossip_read_as_the_originals() {
    let desk = Desk::new(vec![]);
    let broker = overlay_testkit::Broker::builder().jetstream().start();
    let client_toml = std::fs::read_to_string(desk.dir().join("client.toml")).unwrap();
    let other = client_toml.replace(&desk.broker.url(), &broker.url());
    desk.file("other.toml", &other);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let advisory = |event, value: &str, seen: i64| Advisory {
        event_id: "26QSY17sb9aJL6UPPG6MLOVjIrE".parse().unwrap(),
        inspect_field: "sender".to_owned(),
        age: NOON - seen,
        seen,
        replicator: "US-EAST".to_owned(),
        timestamp: NOON,
        event,
        value: value.to_owned(),
    };
    let client = runtime.block_on(async {
        let client = async_nats::connect(broker.url()).await.unwrap();
        let jetstream = jetstream::new(client.clone());
        let config = jetstream::stream::Config {
            name: "ADV".to_owned(),
            subjects: vec!["adv.>".to_owned()],
            ..jetstream::stream::Config::default()
        };
        jetstream.create_stream(config).await.unwrap();
        for advisory in [
            advisory(AdvisoryEvent::New, "h1", NOON),
            advisory(AdvisoryEvent::Timeout, "h2", NOON - 77),
        ] {
            let sent = jetstream.publish("adv.x", advisory.encode().into()).await;
            sent.unwrap().await.unwrap();
        }
        client
    });
    let all = run(&desk, "replicate advisories ADV --config other.toml").ok();
    assert_eq!(
        all.stdout,
        "Searching for advisories\n\n[2026-01-01 00:00:00]     new h1 seen 0s earlier on US-EAST\n\
         [2026-01-01 00:00:00] timeout h2 seen 1m17s earlier on US-EAST\n"
    );
    let one = run(&desk, "replicate adv ADV h2 --config other.toml").ok();
    assert_eq!(
        one.stdout,
        "Searching 2 messages for advisories related to h2\n\n\
         [2026-01-01 00:00:00] timeout h2 seen 1m17s earlier on US-EAST\n"
    );
    let none = run(&desk, "replicate adv ADV h3 --config other.toml").ok();
    assert_eq!(
        none.stdout,
        "Searching 2 messages for advisories related to h3\n\n"
    );
    run(
        &desk,
        "replicate adv ADV h2 --since 1ms --config other.toml",
    )
    .fails(1, "did not find any messages for \"h2\"");
    run(&desk, "replicate adv MISSING --config other.toml").fails(1, "MISSING");

    let item = TrackedItem {
        size: 16,
        value: "h4".to_owned(),
        ..TrackedItem::default()
    };
    let talk = runtime.spawn(async move {
        loop {
            let sent = client.publish(sync_subject("NODES", "W1"), item.encode().into());
            sent.await.unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
    let heard = run(&desk, "replicate gossip --count 1 --config other.toml").ok();
    assert_eq!(
        heard.stdout,
        "[NODES.W1] size: 16 advised: false: copied: never h4\n"
    );
    let heard = run(
        &desk,
        "replicate gossip --count 1 --json --config other.toml",
    )
    .ok();
    assert_eq!(heard.json()["value"], "h4");
    talk.abort();
}
