//! How replicas and workers are doing, and how far behind they are.

use std::fmt::Write as _;
use std::time::Duration;

use overlay_protocol::replication::control::{
    LagReply, Phase, StatusReply, WorkerLag, WorkerStatus, name,
};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::control::{Control, Reach, Workers};
use crate::app::App;
use crate::args::seconds;
use crate::duration::Text;
use crate::error::Failure;
use crate::text;

/// Questions in a row that may stay without an answer while something is waited for: another replica takes over meanwhile.
const PATIENCE: u32 = 5;

#[derive(Debug, clap::Args)]
pub(super) struct Status {
    /// Only these workers: STREAM or STREAM/WORKER
    #[arg(value_name = "WORKER")]
    workers: Option<Workers>,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, clap::Args)]
pub(super) struct Lag {
    /// Only these workers: STREAM or STREAM/WORKER
    #[arg(value_name = "WORKER")]
    workers: Option<Workers>,
    /// End when nothing waits any more; a failure when that takes longer than --limit
    #[arg(long)]
    wait: bool,
    /// Wait so long at most
    #[arg(long, value_name = "SECONDS", value_parser = seconds, requires = "wait")]
    limit: Option<Duration>,
    /// Time between two looks
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "1", requires = "wait")]
    interval: Duration,
    #[command(flatten)]
    reach: Reach,
}

pub(super) async fn status(args: Status, app: &App) -> Result<(), Failure> {
    let control = Control::open(app, &args.reach).await?;
    let selection = args.reach.selection(args.workers.as_ref());
    let mut replies: Vec<StatusReply> = control.ask(name::STATUS, &selection).await?;
    if selection != Default::default() {
        replies.retain(|reply| !reply.workers.is_empty());
        if replies.is_empty() {
            return Err(Failure::new("no replicator has such a worker")
                .hint("`overlay replicate status` without a name lists all"));
        }
    }
    replies.sort_by(|one, other| {
        let key = |reply: &StatusReply| {
            (
                reply.replica.replicator.clone(),
                reply.replica.identity.clone(),
                reply.replica.instance.clone(),
            )
        };
        key(one).cmp(&key(other))
    });
    if app.output.is_json() {
        return app.output.json(&replies);
    }
    app.output.text(whole(&replies))
}

fn whole(replies: &[StatusReply]) -> String {
    let mut table = text::table(&[
        "Replicator",
        "Replica",
        "Worker",
        "Target",
        "State",
        "Waiting",
        "Behind",
        "At",
        "Under way",
        "Order",
        "Restarts",
    ]);
    let mut notes = String::new();
    for reply in replies {
        let replica = format!(
            "{} {}",
            text::visible(&reply.replica.identity),
            text::visible(&reply.replica.instance)
        );
        if reply.workers.is_empty() {
            table.add_row([text::visible(&reply.replica.replicator), replica.clone()]);
        }
        for worker in &reply.workers {
            let name = text::visible(&format!("{}/{}", worker.stream, worker.worker));
            table.add_row([
                text::visible(&reply.replica.replicator),
                replica.clone(),
                name.clone(),
                text::visible(&worker.target),
                standing(worker),
                worker.waiting.to_string(),
                span(worker.lag_seconds),
                worker.handled.to_string(),
                worker.under_way.to_string(),
                order(worker),
                worker.restarts.to_string(),
            ]);
            for note in told(worker) {
                writeln!(notes, "{name} on {replica}: {}", text::visible(&note)).ok();
            }
        }
    }
    if notes.is_empty() {
        format!("{table}\n")
    } else {
        format!("{table}\n\n{notes}")
    }
}

fn standing(worker: &WorkerStatus) -> String {
    let leads = worker.election.as_ref().is_some_and(|it| it.leads);
    if leads {
        format!("{}, leads", worker.phase)
    } else {
        worker.phase.to_string()
    }
}

/// The order of copies, with the keys that are held up.
fn order(worker: &WorkerStatus) -> String {
    let order = text::visible(&worker.order);
    match worker.keys {
        Some(keys) => format!(
            "{order} ({keys} open, {} held)",
            worker.keys_held.unwrap_or_default()
        ),
        None => order,
    }
}

/// What is said of a worker besides figures.
fn told(worker: &WorkerStatus) -> Vec<String> {
    let mut told = Vec::new();
    if let Some(trouble) = worker.election.as_ref().and_then(|it| it.trouble.as_ref()) {
        told.push(format!("no election: {trouble}"));
    }
    if let Some(pause) = &worker.pause {
        let since = instant(pause.since);
        let why = match pause.reason.as_str() {
            "" => String::new(),
            reason => format!(": {reason}"),
        };
        told.push(format!("paused by {} since {since}{why}", pause.by));
    } else if !worker.reason.is_empty() {
        told.push(worker.reason.clone());
    }
    if let Some(fault) = &worker.fault {
        let at = instant(fault.at);
        told.push(format!("last fault, at {at}: {}", fault.message));
    }
    told
}

pub(super) async fn lag(args: Lag, app: &App) -> Result<(), Failure> {
    let control = Control::open(app, &args.reach).await?.quietly();
    let selection = args.reach.selection(args.workers.as_ref());
    let began = Instant::now();
    let picture = app.output.spinner("asking the replicators");
    let mut silent = 0;
    let workers = loop {
        let workers = match control.ask::<LagReply>(name::LAG, &selection).await {
            Ok(replies) => {
                silent = 0;
                sorted(replies)
            }
            Err(failure) if !args.wait || silent >= PATIENCE => return Err(failure),
            Err(_) => {
                silent += 1;
                Vec::new()
            }
        };
        let is_over = !workers.is_empty() && workers.iter().all(is_caught_up);
        if !args.wait || is_over {
            break workers;
        }
        if args.limit.is_some_and(|limit| began.elapsed() >= limit) {
            drop(picture);
            show(&workers, app)?;
            return Err(Failure::new("messages still wait"));
        }
        picture.set_message(line(&workers));
        sleep(args.interval).await;
    };
    drop(picture);
    show(&workers, app)
}

/// Each worker once: that of the replica which works.
fn sorted(replies: Vec<LagReply>) -> Vec<(String, WorkerLag)> {
    let mut workers: Vec<_> = replies
        .into_iter()
        .flat_map(|reply| {
            let replicator = reply.replica.replicator;
            let of = move |worker| (replicator.clone(), worker);
            reply.workers.into_iter().map(of)
        })
        .collect();
    workers.sort_by(|one, other| key(one).cmp(&key(other)));
    workers
}

fn key((replicator, worker): &(String, WorkerLag)) -> (&str, &str, &str) {
    (replicator, &worker.stream, &worker.worker)
}

fn is_caught_up((_, worker): &(String, WorkerLag)) -> bool {
    worker.phase == Phase::Copying && worker.waiting == 0 && worker.handled >= worker.source_last
}

fn line(workers: &[(String, WorkerLag)]) -> String {
    if workers.is_empty() {
        return "no replicator answers; asking again".to_owned();
    }
    let waiting: u64 = workers.iter().map(|(_, worker)| worker.waiting).sum();
    let behind = workers
        .iter()
        .map(|(_, worker)| worker.lag_seconds)
        .fold(0.0, f64::max);
    format!("{waiting} messages wait, {} behind", span(behind))
}

fn show(workers: &[(String, WorkerLag)], app: &App) -> Result<(), Failure> {
    if app.output.is_json() {
        let lines: Vec<_> = workers
            .iter()
            .map(|(replicator, worker)| {
                let mut line = json!(worker);
                if let Some(line) = line.as_object_mut() {
                    line.insert("replicator".to_owned(), json!(replicator));
                }
                line
            })
            .collect();
        return app.output.json(&lines);
    }
    let mut table = text::table(&[
        "Replicator",
        "Worker",
        "State",
        "Waiting",
        "Behind",
        "At",
        "Source at",
    ]);
    for (replicator, worker) in workers {
        table.add_row([
            text::visible(replicator),
            text::visible(&format!("{}/{}", worker.stream, worker.worker)),
            worker.phase.to_string(),
            worker.waiting.to_string(),
            span(worker.lag_seconds),
            worker.handled.to_string(),
            worker.source_last.to_string(),
        ]);
    }
    app.output.line(table)
}

fn span(seconds: f64) -> String {
    let span = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    Text::rounded(span).to_string()
}

/// A moment in Unix seconds, for people.
fn instant(seconds: i64) -> String {
    crate::commands::provision::instant(seconds)
}

#[cfg(test)]
mod tests {
    use overlay_protocol::replication::control::{Election, LastFault, Pause, Replica};

    use super::*;

    #[test]
    fn a_status_has_every_replica_and_what_is_wrong() {
        let worker = |phase, leads| WorkerStatus {
            stream: "NODES".to_owned(),
            worker: "W1".to_owned(),
            target: "FLEET".to_owned(),
            phase,
            election: Some(Election {
                leads,
                ..Election::default()
            }),
            waiting: 12,
            lag_seconds: 3.5,
            handled: 88,
            ..WorkerStatus::default()
        };
        let reply = |instance: &str, worker| StatusReply {
            replica: Replica {
                replicator: "LHR".to_owned(),
                instance: instance.to_owned(),
                identity: "repl1".to_owned(),
            },
            workers: vec![worker],
            ..StatusReply::default()
        };
        let mut second = worker(Phase::Paused, false);
        second.pause = Some(Pause {
            by: "up=bob".to_owned(),
            reason: "upgrade\u{1b}".to_owned(),
            since: 0,
        });
        second.fault = Some(LastFault {
            at: 1,
            message: "the disk is full".to_owned(),
        });
        let shown = whole(&[
            reply("a1", worker(Phase::Copying, true)),
            reply("b2", second),
        ]);
        for part in [
            "copying, leads",
            "repl1 a1",
            "3.5s",
            "NODES/W1 on repl1 b2: paused by up=bob since 1970-01-01 00:00:00: upgrade",
            "last fault, at 1970-01-01 00:00:01: the disk is full",
        ] {
            assert!(shown.contains(part), "{part} is missing in\n{shown}");
        }
        assert!(!shown.contains('\u{1b}'));
    }

    #[test]
    fn only_who_copies_and_has_nothing_left_is_caught_up() {
        let mut worker = WorkerLag {
            phase: Phase::Copying,
            handled: 7,
            source_last: 7,
            ..WorkerLag::default()
        };
        let caught_up = |worker: &WorkerLag| is_caught_up(&("LHR".to_owned(), worker.clone()));
        assert!(caught_up(&worker));
        worker.source_last = 8;
        assert!(!caught_up(&worker));
        worker.source_last = 7;
        worker.phase = Phase::Paused;
        assert!(!caught_up(&worker));
    }
}
