//! What can only be seen of running programs: metrics, log lines, elections, pairs of provisioners.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use overlay_testkit::vectors::{self, Loader, Outcome};
use overlay_testkit::{eventually, http_get};
use serde_json::Value;

use crate::cell::{Cell, OFTEN, Provisioner, SOON};
use crate::leader::{LEADER, bucket, wait_for_leader};
use crate::{faults, pairs};

const PREFIX: &str = "choria_provisioner_";
const IDENTITY: &str = "provisioner.example.net";
const EXPECTED: &str = "Nats-Expected-Last-Subject-Sequence";

/// Runs what needs a broker; a panic in it is a verdict.
fn live<T>(work: impl Future<Output = T>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    runtime
        .block_on(AssertUnwindSafe(work).catch_unwind())
        .map_err(|_panic| "it panicked; see above".to_owned())
}

/// A provisioner that enrolled one node, shut one down and failed with one.
async fn worked() -> (Cell, Provisioner) {
    let cell = Cell::start().await;
    let provisioner = cell.provisioner("[retry]\nfirst = \"1h\"\n");
    let names = [
        "n1.example.net",
        "shutdown-1.example.net",
        "wrong-1.example.net",
    ];
    let fleet = cell.nodes().names(names).start().await;
    fleet.announce().await;
    for outcome in ["enrolled", "shutdown", "failed"] {
        provisioner.wait_for_outcome(outcome, 1.0).await;
    }
    fleet.stop().await;
    (cell, provisioner)
}

/// Types, and names of labels, of the original's metrics in a text.
#[derive(Debug, Default)]
struct Exposed {
    types: BTreeMap<String, String>,
    labels: BTreeMap<String, BTreeSet<String>>,
}

impl Exposed {
    fn read<'a>(lines: impl Iterator<Item = &'a str>) -> Self {
        let mut exposed = Self::default();
        for line in lines.filter(|line| line.contains(PREFIX)) {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                if let Some((name, kind)) = rest.split_once(' ') {
                    exposed.types.insert(name.to_owned(), kind.to_owned());
                }
            } else if let Some((name, rest)) =
                line.split_once('{').filter(|_| !line.starts_with('#'))
            {
                let labels = rest.split('}').next().unwrap_or_default();
                let names = labels
                    .split(',')
                    .filter_map(|label| Some(label.split_once('=')?.0.to_owned()));
                exposed.labels.insert(name.to_owned(), names.collect());
            }
        }
        exposed
    }
}

/// Names, types and labels; and which pages there are. Only GET is answered here.
pub(super) fn metrics(file: &Value, _: &Loader) -> Outcome {
    let seen = live(async {
        let (_cell, provisioner) = worked().await;
        let pages = ["/", "/healthz", "/metrics"].map(|page| {
            let status = http_get(provisioner.admin, page).map_or(0, |(status, _)| status);
            (page, u64::from(status))
        });
        (provisioner.metrics(), pages)
    });
    vectors::for_cases(file, |case| {
        let (text, pages) = seen.as_ref().map_err(Clone::clone)?;
        let ours = Exposed::read(text.lines());
        let lines = case["lines"].as_array().into_iter().flatten();
        let theirs = Exposed::read(lines.filter_map(Value::as_str));
        for (name, kind) in &theirs.types {
            if ours.types.get(name) != Some(kind) {
                return Err(format!(
                    "{name} is {kind}, ours is {:?}",
                    ours.types.get(name)
                ));
            }
        }
        for (name, labels) in &theirs.labels {
            if ours.labels.get(name) != Some(labels) {
                let found = ours.labels.get(name);
                return Err(format!("{name} has labels {labels:?}, ours {found:?}"));
            }
        }
        for (request, status) in case["expect"].as_object().into_iter().flatten() {
            let Some(page) = request.strip_prefix("GET ") else {
                continue;
            };
            match pages.iter().find(|(known, _)| *known == page) {
                Some((_, found)) if Some(*found) != status.as_u64() => {
                    return Err(format!("{request} is {status}, ours is {found}"));
                }
                Some(_) | None => {}
            }
        }
        Ok(())
    })
}

/// What a line says, apart from names and what follows them.
const OFFERED: [&str; 11] = [
    "Looking for provisionable hosts",
    "Provisioning ",
    "Fetching JWT",
    "Fetching ED25519 public key",
    "Fetching Inventory",
    "Configuring node",
    "Restarting node",
    "Shutting down node",
    "Provisioned ",
    "Could not provision ",
    "Became leader after winning election",
];

/// Lines that people look for are worded alike; others are not offered, and a deferral is not a failure here.
pub(super) fn log_lines(file: &Value, _: &Loader) -> Outcome {
    let seen = live(async {
        let (_cell, provisioner) = worked().await;
        provisioner.process.stderr()
    });
    vectors::for_cases(file, |case| {
        let log = seen.as_ref().map_err(Clone::clone)?;
        let message = case["msg"].as_str().ok_or("no msg")?;
        let is_deferral = message.contains("configuration defered");
        match OFFERED
            .iter()
            .find(|offered| message.starts_with(**offered))
        {
            Some(offered) if !is_deferral && !log.contains(offered) => {
                Err(format!("{offered:?} is not in our log"))
            }
            Some(_) | None => Ok(()),
        }
    })
}

/// What was seen of an election of ours.
struct Elected {
    /// Subject, expected sequence and payload of what was published.
    published: Vec<(String, Option<String>, String)>,
    /// The `paused` of leader and candidate.
    paused: (f64, f64),
    log: String,
}

async fn elected() -> Elected {
    let cell = Cell::start().await;
    let _bucket = bucket(&cell).await;
    let mut messages = cell
        .client("witness")
        .await
        .subscribe("choria.streams.>")
        .await
        .unwrap();
    let paused = |one: &Provisioner| one.metric("choria_provisioner_paused{site=\"lon\"}");
    let one = cell.provisioner(LEADER);
    wait_for_leader(&one).await;
    let two = cell.provisioner(LEADER);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let both = (paused(&one), paused(&two));
    one.process.pause();
    wait_for_leader(&two).await;
    one.process.unpause();
    eventually(SOON, OFTEN, || async { !one.is_active() }).await;
    let mut published = Vec::new();
    while let Some(Some(message)) = messages.next().now_or_never() {
        let expected = message
            .headers
            .as_ref()
            .and_then(|headers| Some(headers.get(EXPECTED)?.to_string()));
        let payload = String::from_utf8_lossy(&message.payload).into_owned();
        published.push((message.subject.to_string(), expected, payload));
    }
    Elected {
        published,
        paused: both,
        log: one.process.stderr() + &two.process.stderr(),
    }
}

/// The same subjects, the same header, the same value of the key; the same words; and nobody but the leader works.
/// How long a hand-over takes is better here, and so not compared.
pub(super) fn elections(file: &Value, _: &Loader) -> Outcome {
    let seen = live(elected());
    vectors::for_cases(file, |case| {
        let ours = seen.as_ref().map_err(Clone::clone)?;
        for event in case["events"].as_array().into_iter().flatten() {
            if event["what"] == "both" {
                let recorded = |who: &str| event[who].as_str().and_then(|text| text.parse().ok());
                let (leader, other) = ours.paused;
                let mut recorded = [recorded("A"), recorded("B")];
                recorded.sort_by(|one: &Option<f64>, two| one.partial_cmp(two).unwrap());
                if recorded != [Some(leader), Some(other)] {
                    return Err(format!("paused is {recorded:?}, ours {:?}", ours.paused));
                }
            }
        }
        for message in case["messages"].as_array().into_iter().flatten() {
            if message["account"] != "provisioning" || message["answer_to"] == true {
                continue;
            }
            let subject = message["subject"].as_str().unwrap_or_default();
            let expected = message["headers"][EXPECTED][0].as_str();
            let found = ours.published.iter().any(|(one, sequence, payload)| {
                one == subject
                    && sequence.as_deref().map(|text| text == "0")
                        == expected.map(|text| text == "0")
                    && (expected.is_none() || payload == IDENTITY)
            });
            if !found {
                return Err(format!("nothing like {subject} with {expected:?}"));
            }
        }
        for line in case["lines"].as_array().into_iter().flatten() {
            let message = line["msg"].as_str().unwrap_or_default();
            let offered = ["Became leader after winning election", "Lost leadership"];
            if offered.contains(&message) && !ours.log.contains(message) {
                return Err(format!("{message:?} is not in our log"));
            }
        }
        Ok(())
    })
}

/// The nodes that a recorded log names.
fn nodes(case: &Value) -> usize {
    let logs = ["first", "second"].map(|list| case[list].as_array().cloned().unwrap_or_default());
    let names: BTreeSet<_> = logs
        .iter()
        .flatten()
        .filter_map(|line| line["component"].as_str())
        .filter(|component| component.contains('.'))
        .collect();
    names.len().max(1)
}

/// The same situations, made with ours: each node once where the original did so, and also where it did not.
pub(super) fn pairs(file: &Value, _: &Loader) -> Outcome {
    vectors::for_cases(file, |case| {
        if case["expect"].is_object() {
            // Ours are of one name and caller in each pair, which the original cannot bear.
            return live(pairs::pair(nodes(case)));
        }
        if let Some(count) = case["result"]["count"].as_u64() {
            if case["result"]["configured"].as_u64() != Some(count) {
                return Err("not all were configured in the record".to_owned());
            }
            let count = usize::try_from(count).map_err(|error| error.to_string())?;
            return live(pairs::restart(count));
        }
        let enrolled = live(faults::loops())?;
        let recorded = case["events"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|event| {
                event["subject"] == "choria.lifecycle.event.provisioned.provision_mode_server"
            })
            .count();
        let ours = usize::try_from(enrolled).map_err(|error| error.to_string())?;
        if ours < recorded {
            Ok(())
        } else {
            Err(format!("enrolled {ours} times, the original {recorded}"))
        }
    })
}
