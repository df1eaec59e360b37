//! Messages to systemd; without `NOTIFY_SOCKET` they go nowhere.

use std::time::Duration;

use sd_notify::NotifyState;

use crate::readiness::{Readiness, Report};

/// Says that the process does its work.
pub(crate) fn ready() {
    send(&[NotifyState::Ready]);
}

/// Says that the process is on its way out.
pub(crate) fn stopping() {
    send(&[NotifyState::Stopping]);
}

/// Sends READY once the last latch is released, and the status whenever it changes.
pub(crate) async fn follow(readiness: Readiness) {
    let mut reports = readiness.watch();
    let mut started = false;
    loop {
        let report = reports.borrow_and_update().clone();
        if report.has_started() && !started {
            started = true;
            tracing::info!("ready for work");
            ready();
        }
        send(&[NotifyState::Status(&status(&report))]);
        if reports.changed().await.is_err() {
            return;
        }
    }
}

/// Shows systemd's watchdog that the async runtime still turns, if the unit wants that.
pub(crate) async fn watchdog() {
    let mut micros = 0;
    if !sd_notify::watchdog_enabled(false, &mut micros) || micros == 0 {
        return;
    }
    let mut beat = tokio::time::interval(Duration::from_micros(micros) / 2);
    loop {
        beat.tick().await;
        send(&[NotifyState::Watchdog]);
    }
}

fn status(report: &Report) -> String {
    if report.stopping {
        return "stopping".to_owned();
    }
    if !report.has_started() {
        let waiting: Vec<&str> = report.waiting_for.keys().copied().collect();
        return format!("starting, waiting for {}", waiting.join(", "));
    }
    let down: Vec<&str> = report
        .parts
        .iter()
        .filter(|(_, status)| **status != crate::Status::Up)
        .map(|(name, _)| name.as_str())
        .collect();
    if down.is_empty() {
        "ready".to_owned()
    } else {
        format!("not ready, down: {}", down.join(", "))
    }
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, states) {
        tracing::debug!(%error, "systemd cannot be told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_says_what_is_missing() {
        let readiness = Readiness::new();
        let latch = readiness.latch("broker");
        assert_eq!(status(&readiness.report()), "starting, waiting for broker");
        latch.release();
        assert_eq!(status(&readiness.report()), "ready");
        let part = readiness.part("broker");
        assert_eq!(status(&readiness.report()), "not ready, down: broker");
        part.up();
        readiness.stopping();
        assert_eq!(status(&readiness.report()), "stopping");
    }
}
