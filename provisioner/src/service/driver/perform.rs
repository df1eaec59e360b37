//! Does what enrolments ask for, in order, until something has to be waited for.

use bytes::Bytes;
use overlay_protocol::subject;
use tokio::time::Instant;

use super::super::node::NodeId;
use super::{Driver, Helped, Stage};
use crate::answer::{Answer, HelperFault};
use crate::enrol::{Command, Finished, Found, Input, Note, Outcome};
use crate::helper::AskError;
use crate::question::Question;
use crate::reason::Reason;

impl Driver {
    /// Does what a node's enrolment asked for, in order, until something has to be waited for.
    pub(super) async fn perform(&mut self, id: NodeId) {
        loop {
            let Some(node) = self.nodes.get_mut(&id) else {
                return;
            };
            if node.is_held_up() {
                return;
            }
            let Some(command) = node.todo.pop_front() else {
                return;
            };
            self.execute(id, command).await;
        }
    }

    async fn execute(&mut self, id: NodeId, command: Command) {
        match command {
            Command::Call(_) | Command::Record(_) if self.is_lost(id) => {}
            Command::Call(call) if call.alone && self.counts_listeners => {
                self.count_listeners(id, call).await;
            }
            Command::Call(call) => self.call(id, call).await,
            Command::CheckName => self.probe(id).await,
            Command::TakeRates { token, site } => {
                let now = self.now();
                let admission = self.limiter.admit(&token, site.as_deref(), now);
                self.inputs.push_back((id, Input::Rates(admission)));
            }
            Command::UseToken { id: token } => self.use_token(id, &token, 0).await,
            Command::AwaitWorker => self.go(id, Stage::Ready),
            Command::AskHelper(question) => self.ask_helper(id, *question),
            Command::Issue(claims) => {
                let now = self.now();
                let issued = self.parts.issuer.issue(*claims, now);
                self.inputs.push_back((id, Input::Issued(issued)));
            }
            Command::PublishVetted(event) => {
                if let Some(subject) = subject::vetted(event.kind.type_name()) {
                    let payload = event.to_cloudevent_json().into();
                    self.tell(subject, payload).await;
                }
            }
            // What another instance may have written meanwhile is not written over.
            Command::Record(_) if !self.is_fenced() => {
                self.inputs.push_back((id, Input::FenceLost))
            }
            Command::Record(record) => self.record(id, *record).await,
            Command::Audit(record) => self.audit(id, *record).await,
            Command::AwaitMember { limit: _ } => self.await_member(id),
            Command::Tell(note) => self.note(id, &note),
            Command::Finish(finished) => self.finish(id, finished).await,
        }
    }

    fn ask_helper(&mut self, id: NodeId, question: Question) {
        let Some(helper) = self.parts.helper.clone() else {
            let fault = Input::Helper(Err(HelperFault::None));
            self.inputs.push_back((id, fault));
            return;
        };
        let (sender, metrics) = (self.helped.0.clone(), self.parts.metrics.clone());
        self.parts.status.helpers += 1;
        self.parts.tasks.spawn_job("helper question", async move {
            let started = Instant::now();
            let json = Bytes::from_owner(question.to_json());
            let asked = helper.ask(&question.identity, json).await;
            let (answer, fault) = match asked {
                Ok(output) => match Answer::decode(&output) {
                    Ok(answer) => (Ok(Box::new(answer)), None),
                    Err(error) => (Err(HelperFault::from(error)), Some(AskError::ANSWER)),
                },
                Err(error) => {
                    let label = error.label();
                    (Err(HelperFault::from(error)), Some(label))
                }
            };
            metrics.helper(started.elapsed(), fault);
            let helped = Helped { node: id, answer };
            if sender.send(helped).await.is_err() {
                tracing::debug!("nobody waits for the helper's answer any more");
            }
        });
    }

    /// Only the claim and the time are still of interest; whoever watches the claim knows how long it holds.
    fn await_member(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        self.parts.metrics.restarted(node.since.elapsed());
        // Thousands may be awaited: their records are in the mirror, and what they were asked is of no interest any more.
        if let Some(enrolment) = &mut node.enrolment {
            enrolment.rest();
        }
        for ask in std::mem::take(&mut node.asks) {
            self.asks.remove(&ask);
        }
        node.todo.shrink_to_fit();
        if node.seen {
            self.inputs.push_back((id, Input::Member));
        }
        self.go(id, Stage::Settling);
    }

    fn note(&self, id: NodeId, note: &Note) {
        let Some(node) = self.nodes.get(&id) else {
            return;
        };
        let identity = &node.identity;
        match note {
            Note::Helper(_) => tracing::info!(%identity, "{note}"),
            Note::TryFailed { .. } => tracing::debug!(%identity, "{note}"),
            Note::Odd(_) => tracing::warn!(%identity, "{note}"),
        }
    }

    async fn finish(&mut self, id: NodeId, finished: Finished) {
        let Some(node) = self.forget(id) else {
            return;
        };
        let Finished { outcome, pause } = finished;
        self.parts.metrics.finished(&outcome);
        let identity = &node.identity;
        let took = node.since.elapsed();
        let status = &mut self.parts.status;
        let mut keep = None;
        match &outcome {
            Outcome::Enrolled { renewed } => {
                status.enrolled += 1;
                keep = Some(self.streams.keep);
                tracing::info!(renewed, ?took, "Provisioned {identity}");
            }
            Outcome::ShutDown => {
                keep = Some(self.streams.keep);
                tracing::info!(?took, "{identity} was shut down");
            }
            Outcome::Upgraded { version } => {
                tracing::info!(version, ?took, "{identity} replaces its software");
            }
            Outcome::Deferred(why) => {
                status.deferred += 1;
                tracing::info!(
                    reason = why.reason.as_str(),
                    ?pause,
                    "{identity} has to wait: {}",
                    why.message
                );
            }
            Outcome::Refused(why) => {
                status.refused += 1;
                tracing::warn!(
                    reason = why.reason.as_str(),
                    ?pause,
                    "{identity} is refused: {}",
                    why.message
                );
            }
            Outcome::Failed(why) => {
                status.failed += 1;
                tracing::warn!(
                    reason = why.reason.as_str(),
                    ?pause,
                    "Could not provision {identity}: {}",
                    why.message
                );
            }
            Outcome::Quarantined(why) => {
                status.failed += 1;
                tracing::error!(
                    reason = why.reason.as_str(),
                    "{identity} is left alone until it is released: {}",
                    why.message
                );
            }
            Outcome::Stopped(why) => {
                // Nothing else is kept of it: neither a record nor an audit.
                tracing::info!(
                    reason = why.reason.as_str(),
                    "stopped with {identity}: {}",
                    why.message
                );
            }
        }
        self.part(&node, keep).await;
        // A stop of our own making is not the node's: it need not wait until it is found again.
        let is_ours = outcome
            .why()
            .is_some_and(|why| why.reason == Reason::FenceLost);
        if let Some(pause) = pause.or(is_ours.then_some(self.streams.lease)) {
            self.put_off_for(node.identity, Found::Retry, pause);
        }
    }

    /// Publishes what needs no answer.
    pub(super) async fn tell(&self, subject: String, payload: Bytes) {
        if let Err(problem) = self.publish(subject.clone(), None, None, payload).await {
            tracing::warn!(subject, problem, "not published");
        }
    }
}
