//! Events by which the cell knows that this host of services is there.

use std::time::Duration;

use async_nats::Client;
use overlay_protocol::lifecycle::{Event, EventKind};
use overlay_protocol::subject;
use overlay_runtime::{Clock, err_chain};
use overlay_tokens::UnixTime;

/// What hosts of services call themselves.
const COMPONENT: &str = "service_host";
/// How often it is said that this one is still there.
const ALIVE: Duration = Duration::from_secs(30 * 60);

/// Tells of this host.
#[derive(Debug)]
pub(super) struct Teller {
    pub(super) client: Client,
    pub(super) identity: String,
    pub(super) clock: Clock,
}

impl Teller {
    /// Tells the start, and from time to time that the host is still there; without end.
    pub(super) async fn work(&self) {
        let version = || env!("CARGO_PKG_VERSION").to_owned();
        self.tell(EventKind::Startup { version: version() }).await;
        // Hosts that were started together do not speak together.
        let mut wait = first_wait();
        loop {
            tokio::time::sleep(wait).await;
            self.tell(EventKind::Alive { version: version() }).await;
            wait = ALIVE;
        }
    }

    /// Tells one event; one that is lost is no fault.
    pub(super) async fn tell(&self, kind: EventKind) {
        let now = UnixTime::from(self.clock.now());
        let mut random = [0_u8; 16];
        let id = match getrandom::fill(&mut random) {
            Ok(()) => hex::encode(random),
            Err(_no_random) => now.as_nanos().to_string(),
        };
        let Some(subject) = subject::lifecycle_event(kind.type_name(), COMPONENT) else {
            return;
        };
        let event = Event::new(id, self.identity.clone(), COMPONENT, now.secs, kind);
        let payload = event.to_cloudevent_json().into();
        if let Err(error) = self.client.publish(subject, payload).await {
            tracing::debug!(error = err_chain(&error), "an event was not told");
        }
    }
}

/// A part of the interval, by chance.
fn first_wait() -> Duration {
    let mut random = [0_u8; 2];
    match getrandom::fill(&mut random) {
        Ok(()) => ALIVE.mul_f64(f64::from(u16::from_le_bytes(random)) / f64::from(u16::MAX)),
        Err(_no_random) => ALIVE,
    }
}
