//! What workers tell of themselves, in the words of the protocol.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use overlay_protocol::replication::control::{
    Election, LastFault, Phase as Word, WorkerLag, WorkerStatus,
};

use super::super::supervise::Post;
use crate::status::{Phase, Report};

/// How a worker is doing at `now`.
pub(super) fn of(post: &Post, now: SystemTime) -> WorkerStatus {
    let report = post.status.report();
    let (phase, mut reason) = word(&report.phase);
    if phase == Word::Copying {
        reason = report.unanswered.clone().unwrap_or_default();
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
        lag_seconds: lag(&report, now),
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

/// How far behind a worker is at `now`.
pub(super) fn lag_of(post: &Post, now: SystemTime) -> WorkerLag {
    let report = post.status.report();
    WorkerLag {
        stream: post.config.source.stream.clone(),
        worker: post.config.name.clone(),
        phase: word(&report.phase).0,
        handled: report.handled,
        source_last: report.source_last,
        waiting: report.waiting,
        lag_seconds: lag(&report, now),
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

/// How old the last message dealt with is while others wait.
fn lag(report: &Report, now: SystemTime) -> f64 {
    match report.handled_at {
        Some(at) if report.waiting > 0 => now
            .duration_since(at)
            .unwrap_or(Duration::ZERO)
            .as_secs_f64(),
        Some(_) | None => 0.0,
    }
}

fn millis(at: SystemTime) -> i64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_late_while_nothing_waits() {
        let now = UNIX_EPOCH + Duration::from_secs(100);
        let mut report = Report {
            handled_at: Some(UNIX_EPOCH + Duration::from_secs(40)),
            ..Report::default()
        };
        assert_eq!(lag(&report, now), 0.0);
        report.waiting = 2;
        assert_eq!(lag(&report, now), 60.0);
        report.handled_at = Some(now + Duration::from_secs(5));
        assert_eq!(lag(&report, now), 0.0);
    }
}
