//! What this instance tells of itself.

use std::time::Duration;

use bytes::Bytes;
use overlay_protocol::json;
use overlay_protocol::lifecycle::{Event, EventKind};
use overlay_protocol::provisioning::{PROVISIONER_COMPONENT, control};
use overlay_protocol::subject::provisioner_event;
use tokio::time::Instant;

use super::super::node::What;
use super::Driver;
use crate::enrol::Input;
use crate::store::{Store, Written, for_time, removal};

/// How often it says so to the fleet.
const ALIVE: Duration = Duration::from_secs(1800);

impl Driver {
    /// Says what this instance does.
    pub(super) async fn beat(&mut self) {
        let now = Instant::now();
        // Several are lost before others take the instance for dead.
        self.next_beat = now + self.streams.lease / 5;
        let status = self.status();
        let payload: Bytes = json::encode(&status).into();
        let subject = Store::Control.subject(&format!("instance.{}", status.id));
        self.ask_broker(
            subject,
            Some(for_time(self.streams.lease)),
            payload,
            What::Beat,
        )
        .await;
        let secs = self.now();
        match self.parts.issuer.expires_at(secs) {
            Ok(Some(expires)) => self.parts.metrics.issuer_expires.set(expires),
            Ok(None) => {}
            Err(problem) => {
                tracing::error!(problem, "no token can be issued");
                self.parts.metrics.issuer_expires.set(0);
            }
        }
        if now >= self.next_alive {
            self.next_alive = now + ALIVE;
            let version = env!("CARGO_PKG_VERSION").to_owned();
            self.live(EventKind::Alive { version }).await;
        }
    }

    /// The broker has the word: until some time after it was sent, nobody takes this instance's claims.
    pub(super) fn take_beat(&mut self, sent: Instant, written: Written) {
        match written {
            Written::At(_) => {
                // It was silent for so long, frozen or cut off, that others may have taken its claims meanwhile.
                if sent.saturating_duration_since(self.fenced) >= self.streams.lease * 3 / 4 {
                    tracing::warn!(
                        nodes = self.nodes.len(),
                        "silent for too long: what was held may be another's"
                    );
                    let held = self.nodes.keys().map(|id| (*id, Input::FenceLost));
                    self.inputs.extend(held.collect::<Vec<_>>());
                }
                self.fenced = self.fenced.max(sent);
            }
            Written::Conflict => {}
            Written::Refused(problem) | Written::Never(problem) => {
                self.parts.metrics.store_error(Store::Control).inc();
                tracing::warn!(
                    problem,
                    "the broker does not take the word that this instance is there"
                );
            }
        }
    }

    /// Whether it is sure that no other instance takes this one for dead.
    pub(super) fn is_fenced(&self) -> bool {
        self.fenced.elapsed() < self.streams.lease * 3 / 4
    }

    fn status(&self) -> control::InstanceStatus {
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let (queue, places) = (&self.queue, &self.places);
        control::InstanceStatus {
            seen: self.now().secs,
            waiting: count(queue.len()),
            contacting: count(places.contacting()),
            enrolling: count(places.working() + places.settling()),
            ..self.parts.status.clone()
        }
    }

    /// Tells the fleet about the life of this process.
    pub(super) async fn live(&self, kind: EventKind) {
        let event = Event::new(
            self.new_id().to_string(),
            self.parts.status.identity.clone(),
            PROVISIONER_COMPONENT,
            self.now().secs,
            kind,
        );
        if let Some(subject) = provisioner_event(event.kind.type_name()) {
            self.tell(subject, event.to_cloudevent_json().into()).await;
        }
    }

    /// Says that it is no more.
    pub(super) async fn farewell(&mut self) {
        let subject = Store::Control.subject(&format!("instance.{}", self.parts.status.id));
        let reply = None;
        if let Err(problem) = self
            .publish(subject, reply, Some(removal()), Bytes::new())
            .await
        {
            tracing::debug!(problem, "the end was not told");
        }
        self.live(EventKind::Shutdown).await;
    }
}
