//! The fence: each node is worked on by the instance that holds its claim.
//!
//! A claim holds as long as its instance is there: instances say so all the time, stop calling nodes when the broker has
//! not heard of them for some time, and take over the claims of those of whom nothing was heard for somewhat longer.
//! Whoever takes over calls the node as the former instance did, for the node locks everybody else out for two minutes.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Message;
use overlay_protocol::id::Identity;
use overlay_tokens::UnixTime;

use super::super::events::Announcement;
use super::super::node::{Node, NodeId, What};
use super::{Driver, Stage};
use crate::enrol::{Enrolment, Found, Input, Outcome, Why};
use crate::entropy::Entropy;
use crate::metrics::ClaimOutcome;
use crate::store::{ClaimState, ClaimValue, SEQUENCE, Store, Written, at_revision};
use crate::time::{after, until};

/// How long the end of a claim stays in the bucket, for whoever comes next: as long as nodes lock others out.
const PARTING: Duration = Duration::from_secs(130);
/// How much longer than a claim of another is waited: the broker counts in whole seconds.
const AFTER_HELD: Duration = Duration::from_secs(1);
/// How long a node is not tried again when the broker did not take its claim.
const AFTER_FAULT: Duration = Duration::from_secs(5);
/// No node is back sooner than this after it was told to restart: it waits for two seconds first.
const RESTART: Duration = Duration::from_secs(1);
/// Nodes lock other callers out for so long after a call.
const LOCK: i64 = 120;

impl Driver {
    /// Tries to claim a node.
    pub(super) async fn claim(&mut self, identity: Identity, found: Found) {
        let id = self.next;
        self.next += 1;
        self.names.insert(identity.clone(), id);
        self.nodes.insert(id, Box::new(Node::new(identity, found)));
        self.places.enter(id, Stage::Contacting);
        self.write_claim(id, 0).await;
    }

    async fn write_claim(&mut self, id: NodeId, revision: u64) {
        let Some(node) = self.nodes.get(&id) else {
            return;
        };
        let subject = Store::Claims.of_node(&node.identity);
        let value = self.claim_value(ClaimState::Working, node.sender.as_deref());
        let headers = at_revision(revision, Some(self.claim_age));
        let what = What::Claim { node: id };
        self.ask_for(id, subject, Some(headers), value, what).await;
    }

    /// The broker's answer to it.
    pub(super) async fn take_claim(&mut self, id: NodeId, written: Written) {
        match written {
            Written::At(revision) => self.begin(id, revision),
            Written::Conflict => {
                let Some(node) = self.nodes.get(&id) else {
                    return;
                };
                let subject = format!(
                    "$JS.API.DIRECT.GET.{}.{}",
                    Store::Claims.stream(),
                    Store::Claims.of_node(&node.identity)
                );
                let what = What::Holder { node: id };
                self.ask_for(id, subject, None, bytes::Bytes::new(), what)
                    .await;
            }
            Written::Refused(problem) | Written::Never(problem) => {
                self.claim_failed(id, &problem);
            }
        }
    }

    /// The node is ours.
    fn begin(&mut self, id: NodeId, revision: u64) {
        let now = self.now();
        let mut seed = [0_u8; 32];
        if let Err(error) = getrandom::fill(&mut seed) {
            self.claim_failed(id, &format!("no random numbers: {error}"));
            return;
        }
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        let outcome = match node.sender {
            Some(_) => ClaimOutcome::Inherited,
            None => ClaimOutcome::Taken,
        };
        self.parts.metrics.claim(outcome).inc();
        node.claim = revision;
        let (prior, revision) = self.parts.mirror.stored(&node.identity).unzip();
        node.record = revision.unwrap_or_default();
        tracing::debug!("Provisioning {}", node.identity);
        node.enrolment = Some(Box::new(Enrolment::new(
            node.identity.clone(),
            node.found,
            prior,
            Arc::clone(&self.parts.policy),
            Entropy::new(seed),
            now,
        )));
        self.inputs.push_back((id, Input::Start));
    }

    /// A node that is worked on announces itself.
    ///
    /// One that is awaited in the fleet and says so is back without having become a member, unless it said so before it
    /// was restarted and is heard only now: the time at which the broker took the announcement tells.
    fn take_announcement(&mut self, id: NodeId, at: UnixTime) {
        let Some(node) = self.nodes.get(&id) else {
            return;
        };
        let is_news = match node.restarted {
            Some(restarted) => after(restarted, RESTART) < at,
            None => true,
        };
        if is_news && node.enrolment.is_some() {
            self.inputs.push_back((id, Input::Announced));
        }
    }

    /// A node announced itself.
    pub(super) fn take_found(&mut self, found: &Announcement) {
        match self.names.get(&found.identity) {
            Some(&id) => self.take_announcement(id, found.at),
            None => self.offer(found.identity.clone(), Found::Event),
        }
    }

    /// Who has the claim that this instance did not get.
    pub(super) async fn take_holder(&mut self, id: NodeId, message: &Message) {
        let now = self.now();
        let lease = self.streams.lease;
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        let revision = message
            .headers
            .as_ref()
            .and_then(|headers| headers.get(SEQUENCE)?.as_str().parse::<u64>().ok());
        let value = serde_json::from_slice::<ClaimValue>(&message.payload).ok();
        if let (Some(revision), Some(value)) = (revision, value.as_ref())
            && value.state == ClaimState::Free
        {
            let is_other = value.sender != self.parts.speaker.sender();
            node.sender = (is_other && is_locked(value, now)).then(|| value.sender.clone());
            self.write_claim(id, revision).await;
            return;
        }
        let is_orphan = value.as_ref().is_some_and(|value| {
            let since = UnixTime::from_secs(value.since);
            let mirror = &self.parts.mirror;
            value.state == ClaimState::Working
                && mirror.is_gone(&value.instance, lease, until(since, now))
        });
        // One that was enrolled a moment ago is believed again when its claim is over, whoever wrote that.
        let done = value
            .as_ref()
            .filter(|value| value.state == ClaimState::Done)
            .map(|value| {
                until(
                    now,
                    after(UnixTime::from_secs(value.since), self.streams.keep),
                )
            });
        if let (Some(revision), Some(value), true) = (revision, value, is_orphan) {
            tracing::info!(
                identity = %node.identity,
                instance = value.instance,
                "taken over from an instance that is no more"
            );
            node.sender = is_locked(&value, now).then_some(value.sender);
            self.write_claim(id, revision).await;
            return;
        }
        // Also when it ended in between: then it is tried again soon enough.
        self.parts.metrics.claim(ClaimOutcome::Held).inc();
        tracing::debug!(identity = %node.identity, "another instance has it, or had it a moment ago");
        let Some(node) = self.forget(id) else {
            return;
        };
        match done {
            Some(left) => self.put_off_for(node.identity, node.found, left + AFTER_HELD),
            None => self.set_aside(node.identity, node.found, lease + AFTER_HELD),
        }
    }

    /// The broker did not take the claim, or did not answer.
    pub(super) fn claim_failed(&mut self, id: NodeId, problem: &str) {
        self.parts.metrics.claim(ClaimOutcome::Failed).inc();
        self.parts.metrics.store_error(Store::Claims).inc();
        if let Some(node) = self.forget(id) {
            tracing::warn!(identity = %node.identity, problem, "no claim");
            self.put_off_for(node.identity, node.found, AFTER_FAULT);
        }
    }

    /// Stops with a node for a reason that is not its own, and tries again later.
    pub(super) async fn give_up(&mut self, id: NodeId, why: Why, pause: Duration) {
        let Some(node) = self.forget(id) else {
            return;
        };
        tracing::warn!(identity = %node.identity, reason = why.reason.as_str(), "given up: {}", why.message);
        self.parts.metrics.finished(&Outcome::Stopped(why));
        self.part(&node, None).await;
        self.put_off_for(node.identity, node.found, pause);
    }

    /// Ends a claim: at once, or after `keep` in which what the node said before is not believed.
    pub(super) async fn part(&mut self, node: &Node, keep: Option<Duration>) {
        let revision = node.claim;
        if revision == 0 {
            return;
        }
        let state = match keep {
            Some(_) => ClaimState::Done,
            None => ClaimState::Free,
        };
        let headers = at_revision(revision, Some(keep.unwrap_or(PARTING)));
        let subject = Store::Claims.of_node(&node.identity);
        let value = self.claim_value(state, node.sender.as_deref());
        self.parting += 1;
        self.ask_broker(subject, Some(headers), value, What::Parting)
            .await;
    }

    /// Takes a node out of all lists.
    pub(super) fn forget(&mut self, id: NodeId) -> Option<Box<Node>> {
        let node = self.nodes.remove(&id)?;
        self.names.remove(&node.identity);
        for ask in &node.asks {
            self.asks.remove(ask);
        }
        self.places.leave(id, node.stage);
        self.grant();
        Some(node)
    }

    fn claim_value(&self, state: ClaimState, sender: Option<&str>) -> bytes::Bytes {
        let value = ClaimValue {
            instance: self.parts.policy.instance.clone(),
            sender: sender.unwrap_or(self.parts.speaker.sender()).to_owned(),
            since: self.now().secs,
            state,
        };
        serde_json::to_vec(&value).unwrap_or_default().into()
    }
}

/// Whether the node may still keep others than the sender of this claim out.
fn is_locked(value: &ClaimValue, now: UnixTime) -> bool {
    // Calls may have come long after the claim; no enrolment calls for longer than a quarter of an hour.
    now.secs.saturating_sub(value.since) < LOCK + 900
}
