//! Nodes that were restarted while nobody watched: whoever did it is no more, and their return was heard by nobody.

use std::time::Duration;

use bytes::Bytes;
use overlay_protocol::id::Identity;
use overlay_protocol::provisioning::NodeState;
use overlay_protocol::subject;
use tokio::time::Instant;

use super::super::node::{Ask, Due, What};
use super::Driver;
use crate::enrol::Found;
use crate::record;
use crate::store::{Store, at_revision};

/// How often is looked for them.
const INTERVAL: Duration = Duration::from_secs(30);
/// How many are asked for at a time.
const MOST: usize = 100;
/// How long the broker may take to say that nobody has a name.
const LIMIT: Duration = Duration::from_secs(3);
/// A node is given a little longer than its enrolment gives it.
const MARGIN: Duration = Duration::from_secs(5);

impl Driver {
    /// Asks whether nodes that were restarted long ago are in the fleet.
    pub(super) async fn look_for_stale(&mut self) {
        self.next_stale = Instant::now() + INTERVAL;
        let wait = i64::try_from((self.member + MARGIN).as_secs()).unwrap_or(i64::MAX);
        let before = self.now().secs.saturating_sub(wait);
        let (restarting, _) = self.parts.mirror.page(Some(NodeState::Restarting), 0, MOST);
        for record in restarting {
            if record.updated < before && !self.names.contains_key(&record.identity) {
                self.ask_for_stale(record.identity).await;
            }
        }
    }

    /// As a probe: a name that nobody has is asked for last.
    async fn ask_for_stale(&mut self, identity: Identity) {
        let Some(collective) = self.collectives.first().cloned() else {
            return;
        };
        let Some(nobody) = self.nobody() else {
            return;
        };
        let probe = self.new_id();
        let decoy = self.new_id();
        let questions = [
            (probe, identity.clone(), What::Stale),
            (decoy, nobody, What::StaleDecoy { identity, probe }),
        ];
        let sent = Instant::now();
        for (id, name, what) in questions {
            self.asks.insert(id, Ask { what, sent });
            let subject = subject::fleet_probe(&collective, &name);
            let reply = format!("{}.{id}", self.inbox);
            if let Err(problem) = self.publish(subject, Some(reply), None, Bytes::new()).await {
                tracing::debug!(problem, "not asked");
            }
            self.timers.add(sent + LIMIT, Due::Ask(id));
        }
    }

    /// The broker's answers are here: a member's name was not said to be nobody's.
    pub(super) async fn take_stale(&mut self, identity: Identity, is_member: bool) {
        if is_member {
            self.note_member(&identity).await;
        } else if !self.names.contains_key(&identity) {
            self.offer(identity, Found::Retry);
        }
    }

    /// A node that nobody here waits for is a member.
    pub(super) async fn note_member(&mut self, identity: &Identity) {
        let Some((mut record, revision)) = self.parts.mirror.stored(identity) else {
            return;
        };
        if !record::seen_as_member(&mut record, self.now().secs) {
            return;
        }
        tracing::info!(%identity, "seen in the fleet after the instance that enrolled it was gone");
        // Another instance may write it at the same time: one of them does.
        let headers = at_revision(revision, None);
        let subject = Store::Nodes.of_node(identity);
        let payload = record.encode().into();
        self.ask_broker(subject, Some(headers), payload, What::Told)
            .await;
    }
}
