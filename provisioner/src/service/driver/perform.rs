//! Does what enrolments ask for.

use std::time::Duration;

use bytes::Bytes;
use overlay_protocol::id::{Identity, Ksuid};
use overlay_protocol::provisioning::NodeRecord;
use overlay_protocol::provisioning::audit::{Kind, Record};
use overlay_protocol::subject;
use overlay_protocol::subject::stream::token_used;
use tokio::time::Instant;

use super::super::node::{Ask, Due, NodeId, Probe, What, Write};
use super::{Driver, Helped, Stage};
use crate::answer::{Answer, HelperFault};
use crate::enrol::{
    Action, Admission, Call, CallFault, Command, Finished, Found, Input, Note, Outcome, TokenUse,
};
use crate::helper::AskError;
use crate::metrics::Dropped;
use crate::question::Question;
use crate::reason::Reason;
use crate::store::{Store, UsedToken, at_revision, for_time, once};

/// How long is kept what is known of a node that was never enrolled.
const NOT_LASTING: Duration = Duration::from_secs(86_400);
/// Bytes of what a node says of itself that are kept.
const MOST_TEXT: usize = 256;
/// Bytes of a message for people that are kept.
const MOST_MESSAGE: usize = 2048;
/// How long the broker may take to say that nobody has a name.
const PROBE_LIMIT: Duration = Duration::from_secs(3);

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

    /// Asks the broker who hears the requests of a node, before it is sent what others must not hear.
    async fn count_listeners(&mut self, id: NodeId, call: Call) {
        let Some(node) = self.nodes.get(&id) else {
            return;
        };
        let heard = subject::unprovisioned_node(&node.identity);
        let call = Box::new(call);
        let what = What::Listeners { node: id, call };
        let asked = subject::LISTENERS.to_owned();
        self.ask_for(id, asked, None, heard.into(), what).await;
    }

    /// So many hear the requests of a node; nothing: the broker does not tell.
    pub(super) async fn take_listeners(&mut self, id: NodeId, call: Call, count: Option<u64>) {
        let fault = match count {
            // Nobody at all: the call itself will tell.
            Some(0 | 1) => None,
            Some(count) => Some(CallFault::Overheard(count)),
            None => {
                if !std::mem::replace(&mut self.is_deaf, true) {
                    tracing::warn!(
                        "the broker does not tell who listens under a node's name: a second connection of that name would not be seen"
                    );
                }
                None
            }
        };
        match fault {
            None => self.call(id, call).await,
            Some(fault) => {
                let call = call.id;
                self.inputs
                    .push_back((id, Input::CallFailed { call, fault }));
            }
        }
    }

    async fn call(&mut self, id: NodeId, call: Call) {
        let (now, now_ns) = (self.now(), self.now_ns());
        let sent = Instant::now();
        let is_fenced = self.is_fenced();
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        if !is_fenced {
            // The broker has not heard of this instance for so long that another one may have the node by now.
            self.inputs.push_back((id, Input::FenceLost));
            return;
        }
        node.called = Some(call.action);
        if call.action == Action::Restart {
            node.restarted = Some(now);
        }
        let sender = node.sender.clone();
        tracing::debug!(identity = %node.identity, "{}", doing(call.action));
        let subject = subject::unprovisioned_node(&node.identity);
        let ask = self.new_id();
        let holder = self.parts.credentials.holder();
        let spoken = self.parts.speaker.call(
            &holder,
            &ask,
            sender.as_deref(),
            (call.action.agent(), call.action.name()),
            call.data,
            now_ns,
        );
        let what = What::Call {
            node: id,
            call: call.id,
            action: call.action,
            over: false,
        };
        self.asks.insert(ask, Ask { what, sent });
        if let Some(node) = self.nodes.get_mut(&id) {
            node.asks.push(ask);
        }
        let published = match spoken {
            Some(spoken) => {
                self.publish(subject, Some(spoken.reply), None, spoken.payload)
                    .await
            }
            None => Err("the instance's name breaks the subject".to_owned()),
        };
        match published {
            Ok(()) => self.timers.add(sent + call.limit, Due::Ask(ask)),
            Err(problem) => self.call_failed(&ask, CallFault::NotSent(problem)),
        }
    }

    /// A call has no answer; only the first reason counts.
    pub(super) fn call_failed(&mut self, ask: &Ksuid, fault: CallFault) {
        let Some(Ask {
            what:
                What::Call {
                    node,
                    call,
                    action,
                    over,
                },
            sent,
        }) = self.asks.get_mut(ask)
        else {
            return;
        };
        if std::mem::replace(over, true) {
            return;
        }
        self.parts
            .metrics
            .call_failed(*action, &fault, sent.elapsed());
        let input = Input::CallFailed { call: *call, fault };
        self.inputs.push_back((*node, input));
    }

    /// Asks whether a node of the name is connected to the fleet.
    ///
    /// The broker says at once that nobody listens, and nothing when somebody does. So a name that nobody has is asked
    /// for last: when its answer is here and one of the others is not, somebody has the name.
    async fn probe(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        let identity = node.identity.clone();
        node.probe = Some(Probe {
            open: self.collectives.len(),
        });
        let collectives = self.collectives.clone();
        let Some(nobody) = self.nobody() else {
            return;
        };
        for collective in &collectives {
            let subject = subject::fleet_probe(collective, &identity);
            self.probe_one(id, subject, What::Probe { node: id }).await;
        }
        match collectives.last() {
            Some(collective) => {
                let subject = subject::fleet_probe(collective, &nobody);
                self.probe_one(id, subject, What::Decoy { node: id }).await;
            }
            None => self.named(id),
        }
    }

    async fn probe_one(&mut self, id: NodeId, subject: String, what: What) {
        let ask = self.new_id();
        let sent = Instant::now();
        let is_last = matches!(what, What::Decoy { .. });
        self.asks.insert(ask, Ask { what, sent });
        if let Some(node) = self.nodes.get_mut(&id) {
            node.asks.push(ask);
        }
        let reply = format!("{}.{ask}", self.inbox);
        let published = self.publish(subject, Some(reply), None, Bytes::new()).await;
        if is_last {
            let limit = published.map_or(Duration::ZERO, |()| PROBE_LIMIT);
            self.timers.add(sent + limit, Due::Ask(ask));
        }
    }

    /// A name that no node has.
    pub(super) fn nobody(&self) -> Option<Identity> {
        let name = format!("nobody-{}", self.new_id());
        Identity::new(name).ok()
    }

    /// Notes that a token that is good once is used by this node.
    pub(super) async fn use_token(&mut self, id: NodeId, token: &str, revision: u64) {
        let Some(key) = token_used(token) else {
            let unknown = TokenUse::Unknown("the token's id cannot be noted".to_owned());
            self.inputs.push_back((id, Input::Token(unknown)));
            return;
        };
        self.use_key(id, key, revision).await;
    }

    pub(super) async fn use_key(&mut self, id: NodeId, key: String, revision: u64) {
        let at = self.now().secs;
        let Some(node) = self.nodes.get(&id) else {
            return;
        };
        let used = UsedToken {
            by: node.identity.to_string(),
            at,
        };
        let payload = serde_json::to_vec(&used).unwrap_or_default().into();
        let subject = Store::Tokens.subject(&key);
        let what = What::TokenUse { node: id, key };
        let headers = at_revision(revision, None);
        self.ask_for(id, subject, Some(headers), payload, what)
            .await;
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

    /// Keeps what is known of a node: for ever of one that was enrolled, or of which an operator spoke; of others for a
    /// day, and of no more than so many, for anybody who holds a token that many nodes share can make up names.
    async fn record(&mut self, id: NodeId, record: NodeRecord) {
        let record = bounded(record);
        let is_lasting =
            record.issued.is_some() || !record.enrolments.is_empty() || record.operator.is_some();
        if !is_lasting && !self.may_note("record") {
            return;
        }
        let json = record.encode();
        self.parts.mirror.note(&record, &json);
        let write = Write {
            store: Store::Nodes,
            subject: Store::Nodes.of_node(&record.identity),
            id: None,
            ttl: (!is_lasting).then_some(NOT_LASTING),
            payload: json.into(),
            attempt: 0,
        };
        if let Some(node) = self.nodes.get_mut(&id) {
            node.record_pending = true;
        }
        self.write(id, write).await;
    }

    async fn audit(&mut self, id: NodeId, record: Record) {
        let record = shortened(record);
        let is_refusal = matches!(record.kind, Kind::Refused | Kind::Failed | Kind::Deferred);
        let may_be_over = is_refusal || !matches!(record.kind, Kind::Enrolled | Kind::Renewed);
        let is_lost = self.is_lost(id) || !self.is_fenced();
        if (may_be_over && is_lost) || (is_refusal && !self.may_note("audit")) {
            return;
        }
        let write = Write {
            store: Store::Audit,
            subject: record.subject(),
            id: Some(record.id.clone()),
            ttl: None,
            payload: record.to_cloudevent_json().into(),
            attempt: 0,
        };
        self.write(id, write).await;
    }

    /// Whether another instance may have the node by now.
    fn is_lost(&self, id: NodeId) -> bool {
        self.nodes.get(&id).is_some_and(|node| node.is_lost)
    }

    /// Whether one more of what anybody can cause is kept; what is left out is counted.
    fn may_note(&mut self, what: &str) -> bool {
        let now = self.now();
        let granted = self.notes.admit(what, None, now) == Admission::Granted;
        if !granted {
            self.parts.metrics.dropped(Dropped::Note).inc();
        }
        granted
    }

    async fn write(&mut self, id: NodeId, write: Write) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.writes += 1;
        }
        self.send_write(id, write).await;
    }

    pub(super) async fn send_write(&mut self, id: NodeId, write: Write) {
        let headers = match (&write.id, write.store) {
            (Some(id), _) => Some(once(id)),
            // Whoever wrote it since it was read knows better.
            (None, Store::Nodes) => {
                match self.nodes.get(&id).map_or(0, |node| node.record) {
                    // Nothing was known of it; what ended a moment ago may still be told of in the bucket.
                    0 => write.ttl.map(for_time),
                    revision => Some(at_revision(revision, write.ttl)),
                }
            }
            (None, _) => None,
        };
        let (subject, payload) = (write.subject.clone(), write.payload.clone());
        let what = What::Write {
            node: id,
            write: Box::new(write),
        };
        self.ask_for(id, subject, headers, payload, what).await;
    }

    /// Only the claim and the time are still of interest; whoever watches the claim knows how long it holds.
    fn await_member(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        self.parts.metrics.restarted(node.since.elapsed());
        // Thousands may be awaited: what they were asked is of no interest any more.
        for ask in std::mem::take(&mut node.asks) {
            self.asks.remove(&ask);
        }
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
                tracing::debug!(
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

/// A record that fits, whatever a node said.
fn bounded(mut record: NodeRecord) -> NodeRecord {
    for text in [&mut record.version, &mut record.site, &mut record.placement] {
        shorten(text, MOST_TEXT);
    }
    record
}

/// An audit record without what is too long.
fn shortened(mut record: Record) -> Record {
    let details = &mut record.details;
    for text in [&mut details.version, &mut details.placement] {
        shorten(text, MOST_TEXT);
    }
    shorten(&mut details.message, MOST_MESSAGE);
    record
}

fn shorten(text: &mut Option<String>, most: usize) {
    if let Some(text) = text
        && text.len() > most
    {
        let mut end = most;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
}

/// What a call does, in the words of the original's log.
fn doing(action: Action) -> &'static str {
    match action {
        Action::Jwt => "Fetching JWT",
        Action::Inventory => "Fetching Inventory",
        Action::Gen25519 => "Fetching ED25519 public key",
        Action::Gencsr => "Fetching CSR",
        Action::Configure => "Configuring node",
        Action::Restart => "Restarting node",
        Action::Shutdown => "Shutting down node",
        Action::ReleaseUpdate => "Upgrading node",
    }
}
