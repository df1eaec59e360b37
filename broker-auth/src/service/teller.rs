//! Logs refusals and publishes them as events, away from where logins are decided.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use overlay_protocol::lifecycle::{COMPONENT_BROKER_AUTH, Event, EventKind, Refusal};
use overlay_runtime::{CancellationToken, Clock};
use overlay_tokens::UnixTime;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::publisher::Outbox;
use super::supervise::Helper;
use crate::config::Refusals;
use crate::metrics::{Metrics, Told};
use crate::reason::Reason;
use crate::telling::{Tale, Valve};

/// Refusals that may wait to be told.
const QUEUE: usize = 1024;

/// Where refusals are handed in; never waits.
#[derive(Debug, Clone)]
pub(super) struct Teller {
    queue: mpsc::Sender<Tale>,
    lost: Arc<AtomicU64>,
    metrics: Metrics,
}

/// Tells what was handed in.
#[derive(Debug)]
pub(super) struct Telling {
    settings: Refusals,
    outbox: Option<Outbox>,
    clock: Clock,
    metrics: Metrics,
    queue: mpsc::Receiver<Tale>,
    lost: Arc<AtomicU64>,
}

impl Teller {
    /// Hands in a refusal; it is counted when there is no room for it.
    pub(super) fn tell(&self, tale: Tale) {
        if self.queue.try_send(tale).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
            self.metrics.told(Told::Dropped).inc();
        }
    }
}

impl Telling {
    /// Makes both ends; events go to `outbox`, if there is one.
    pub(super) fn new(
        settings: Refusals,
        outbox: Option<Outbox>,
        clock: Clock,
        metrics: Metrics,
    ) -> (Teller, Self) {
        let (sender, queue) = mpsc::channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let teller = Teller {
            queue: sender,
            lost: Arc::clone(&lost),
            metrics: metrics.clone(),
        };
        (
            teller,
            Self {
                settings,
                outbox,
                clock,
                metrics,
                queue,
                lost,
            },
        )
    }
}

impl Helper for Telling {
    const NAME: &'static str = "teller";

    /// Tells until the shutdown, and then what is left.
    async fn work(&mut self, shutdown: &CancellationToken) -> anyhow::Result<()> {
        let mut valve = Valve::new(self.settings.per_second);
        let mut last = Instant::now();
        let mut summaries = tokio::time::interval(self.settings.summary);
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                _ = summaries.tick() => self.sum_up(&mut valve),
                tale = self.queue.recv() => {
                    let Some(tale) = tale else { break };
                    self.hear(tale, &mut valve, &mut last);
                }
            }
        }
        while let Ok(tale) = self.queue.try_recv() {
            self.hear(tale, &mut valve, &mut last);
        }
        self.sum_up(&mut valve);
        Ok(())
    }
}

impl Telling {
    fn hear(&self, tale: Tale, valve: &mut Valve, last: &mut Instant) {
        let now = Instant::now();
        let passed = now.duration_since(std::mem::replace(last, now));
        if !valve.lets_through(tale.reason, passed) {
            self.metrics.told(Told::Summarised).inc();
            return;
        }
        log(&tale);
        let identity = tale.identity().to_owned();
        self.publish(identity, tale.refusal);
    }

    fn sum_up(&self, valve: &mut Valve) {
        valve.count_lost(self.lost.swap(0, Ordering::Relaxed));
        let Some(refusal) = valve.summary() else {
            return;
        };
        tracing::warn!(
            reason = refusal.reason,
            why = refusal.message,
            "logins refused"
        );
        let identity = self
            .outbox
            .as_ref()
            .map_or_else(String::new, |outbox| outbox.name().to_owned());
        self.publish(identity, refusal);
    }

    fn publish(&self, identity: String, refusal: Refusal) {
        let Some(outbox) = &self.outbox else {
            self.metrics.told(Told::Logged).inc();
            return;
        };
        let timestamp = UnixTime::from(self.clock.now()).secs;
        outbox.put(Event {
            id: super::publisher::fresh_id(timestamp),
            identity,
            component: COMPONENT_BROKER_AUTH.to_owned(),
            timestamp,
            kind: EventKind::Refused(refusal),
        });
    }
}

fn log(tale: &Tale) {
    let refusal = &tale.refusal;
    let text = |text: &Option<String>| text.as_deref().unwrap_or_default().to_owned();
    let (claimed, purpose) = (text(&refusal.caller), text(&refusal.purpose));
    let (host, name) = (text(&refusal.client_host), text(&refusal.client_name));
    let (user, server) = (text(&refusal.user), text(&refusal.server_name));
    let (reason, why) = (refusal.reason.as_str(), refusal.message.as_str());
    if tale.reason == Reason::NonceNotOffered {
        tracing::error!(
            reason,
            why,
            claimed,
            purpose,
            host,
            name,
            user,
            server,
            "login refused"
        );
    } else {
        tracing::warn!(
            reason,
            why,
            claimed,
            purpose,
            host,
            name,
            user,
            server,
            "login refused"
        );
    }
}
