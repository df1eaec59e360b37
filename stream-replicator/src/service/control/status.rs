//! What workers tell of themselves, in the words of the protocol.

use std::time::{SystemTime, UNIX_EPOCH};

use overlay_protocol::replication::control::{
    Election, LastFault, Phase as Word, WorkerLag, WorkerStatus,
};

use super::super::supervise::Post;
use crate::status::Phase;

/// How a worker is doing.
pub(super) fn of(post: &Post) -> WorkerStatus {
    let report = post.status.report();
    let (phase, mut reason) = word(&report.phase);
    if phase == Word::Copying {
        let blocked = || report.blocked.clone();
        reason = report
            .unanswered
            .clone()
            .or_else(blocked)
            .unwrap_or_default();
    }
    WorkerStatus {
        stream: post.config.source.stream.clone(),
        worker: post.config.name.clone(),
        target: post.config.target.stream.clone(),
        phase,
        reason,
        pause: post.pausing.now(),
        election: post.key.as_ref().map(|key| Election {
            key: key.clone(),
            candidate: post.config.candidate.clone().unwrap_or_default(),
            leads: post.leads(),
            trouble: post.trouble(),
        }),
        handled: report.handled,
        handled_at: report.handled_at.map(millis),
        source_last: report.source_last,
        waiting: report.waiting,
        lag_seconds: report.lag.as_secs_f64(),
        target_sequence: report.target_sequence,
        under_way: number(report.under_way),
        order: post.config.order.to_string(),
        keys: report.keys.map(|(open, _)| number(open)),
        keys_held: report.keys.map(|(_, held)| number(held)),
        restarts: post.restarts(),
        fault: report.fault.as_ref().map(|(at, message)| LastFault {
            at: millis(*at) / 1000,
            message: message.clone(),
        }),
    }
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// How far behind a worker is.
pub(super) fn lag_of(post: &Post) -> WorkerLag {
    let report = post.status.report();
    WorkerLag {
        stream: post.config.source.stream.clone(),
        worker: post.config.name.clone(),
        phase: word(&report.phase).0,
        handled: report.handled,
        source_last: report.source_last,
        waiting: report.waiting,
        lag_seconds: report.lag.as_secs_f64(),
    }
}

fn word(phase: &Phase) -> (Word, String) {
    match phase {
        Phase::Starting => (Word::Starting, String::new()),
        Phase::Waiting(why) => (Word::Waiting, why.clone()),
        Phase::Standby => (Word::Standby, String::new()),
        Phase::Paused(why) => (Word::Paused, why.clone()),
        Phase::Copying => (Word::Copying, String::new()),
        Phase::Stopped(why) => (Word::Stopped, why.clone()),
        Phase::Failed(why) => (Word::Failed, why.clone()),
    }
}

fn millis(at: SystemTime) -> i64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
