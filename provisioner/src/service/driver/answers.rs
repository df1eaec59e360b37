//! What comes back: replies of nodes, answers of the broker, silence.

use std::time::Duration;

use async_nats::{Message, StatusCode};
use overlay_protocol::envelope::Limits;
use overlay_protocol::id::{Identity, Ksuid};
use overlay_protocol::lifecycle::{Event, EventKind};
use overlay_runtime::Backoff;
use tokio::time::Instant;

use super::super::node::{Ask, Due, NodeId, What, name_state};
use super::super::wire::id_of;
use super::{Driver, Stage};
use crate::enrol::{Action, CallFault, Found, Input, NameState, TokenUse, Why};
use crate::metrics::Dropped;
use crate::reason::Reason;
use crate::store::{SEQUENCE, Store, UsedToken, Written, is_removal, written};

/// The pause before a write is tried again.
const WRITE_PAUSE: Backoff = Backoff {
    first: Duration::from_millis(500),
    last: Duration::from_secs(10),
    steps: 10,
};

/// How often a write is tried before the node is given up.
const WRITES: usize = 6;
/// How long a node rests when what is known of it could not be stored.
const AFTER_STORE: Duration = Duration::from_secs(60);
/// How long a node rests when somebody else wrote its record.
const AFTER_CONFLICT: Duration = Duration::from_secs(2);

impl Driver {
    /// A reply of a node, or the broker's word that there is none.
    pub(super) fn take_reply(&mut self, message: Message) {
        let Some(id) = id_of(&message.subject) else {
            self.parts.metrics.dropped(Dropped::Unasked).inc();
            return;
        };
        match self.asks.get(&id).map(|ask| &ask.what) {
            Some(What::Scan) => self.take_waiting(&message),
            Some(What::Call { .. }) if message.status == Some(StatusCode::NO_RESPONDERS) => {
                self.call_failed(&id, CallFault::NoResponders);
            }
            Some(What::Call { .. }) => self.take_called(&id, &message),
            Some(_) | None => self.parts.metrics.dropped(Dropped::Unasked).inc(),
        }
    }

    /// A node that waits, as it says: nothing is believed of it yet.
    fn take_waiting(&mut self, message: &Message) {
        if !self.is_active || message.status.is_some() {
            return;
        }
        self.parts.metrics.scan_answers.inc();
        let name = self.parts.speaker.hear_scan(&message.payload);
        match name.map(Identity::new) {
            Some(Ok(identity)) => self.offer(identity, Found::Scan),
            Some(Err(_)) | None => self.parts.metrics.dropped(Dropped::Name).inc(),
        }
    }

    fn take_called(&mut self, id: &Ksuid, message: &Message) {
        let heard = match self.parts.speaker.hear(id, &message.payload) {
            Ok(heard) => heard,
            Err(fault) => {
                self.call_failed(id, fault);
                return;
            }
        };
        let Some(Ask {
            what:
                What::Call {
                    node,
                    call,
                    action,
                    over,
                },
            sent,
        }) = self.asks.get_mut(id)
        else {
            return;
        };
        // A reply in another's name does not end the wait for the node's own.
        let is_own = self
            .nodes
            .get(node)
            .is_some_and(|node| node.identity.as_str() == heard.sender);
        if is_own && !std::mem::replace(over, true) {
            self.parts.metrics.answered(*action, sent.elapsed());
        }
        let input = Input::Reply {
            call: *call,
            sender: heard.sender,
            reply: heard.reply,
        };
        self.inputs.push_back((*node, input));
    }

    /// A member that starts: perhaps one that was restarted here.
    pub(super) async fn take_member(&mut self, message: &Message) {
        let Ok(event) = Event::decode(&message.payload, &Limits::default()) else {
            return;
        };
        if !matches!(event.kind, EventKind::Startup { .. }) {
            return;
        }
        let Ok(identity) = Identity::new(event.identity) else {
            return;
        };
        let Some(&id) = self.names.get(&identity) else {
            // An instance that waits for it hears it as well.
            let record = self.parts.mirror.record(&identity);
            let instance = record.and_then(|record| record.instance);
            let lease = self.streams.lease;
            if instance.is_none_or(|one| self.parts.mirror.is_gone(&one, lease, lease * 2)) {
                self.note_member(&identity).await;
            }
            return;
        };
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        if node.stage == Stage::Settling {
            self.inputs.push_back((id, Input::Member));
        } else {
            node.seen = node.called == Some(Action::Restart);
        }
    }

    /// An answer of the broker itself.
    pub(super) async fn take_answer(&mut self, message: Message) {
        let Some(id) = id_of(&message.subject) else {
            self.parts.metrics.dropped(Dropped::Unasked).inc();
            return;
        };
        let Some(Ask { what, sent }) = self.asks.remove(&id) else {
            return;
        };
        let written = || match message.status {
            Some(status) => Written::Refused(format!("status {status}")),
            None => written(&message.payload),
        };
        match what {
            What::Claim { node } => self.take_claim(node, written()).await,
            What::Holder { node } => self.take_holder(node, &message).await,
            What::Parting => {
                self.parting = self.parting.saturating_sub(1);
                if let Written::Refused(problem) | Written::Never(problem) = written() {
                    tracing::debug!(problem, "a claim was not given back; it ends by itself");
                }
            }
            What::Write { node, write } => match written() {
                Written::At(revision) => self.wrote(node, write.store, revision).await,
                Written::Conflict => {
                    let text = "its record was written by somebody else";
                    let why = Why::new(Reason::FenceLost, text);
                    self.give_up(node, why, AFTER_CONFLICT).await;
                }
                Written::Refused(problem) => self.write_failed(&id, node, write, &problem).await,
                Written::Never(problem) => {
                    let why = Why::new(Reason::StoreFailed, problem);
                    self.give_up(node, why, AFTER_STORE).await;
                }
            },
            What::Probe { node } => {
                if message.status == Some(StatusCode::NO_RESPONDERS)
                    && let Some(node) = self.nodes.get_mut(&node)
                    && let Some(probe) = &mut node.probe
                {
                    probe.open = probe.open.saturating_sub(1);
                }
            }
            What::Listeners { node, call } => {
                let count = match message.status {
                    Some(_) => None,
                    None => std::str::from_utf8(&message.payload)
                        .ok()
                        .and_then(|text| text.trim().parse().ok()),
                };
                self.take_listeners(node, *call, count).await;
            }
            What::Decoy { node } => {
                if message.status == Some(StatusCode::NO_RESPONDERS) {
                    self.named(node);
                } else {
                    self.unnamed(node);
                }
            }
            What::TokenUse { node, key } => self.take_token_use(node, key, written()).await,
            What::TokenUser { node, key } => self.take_token_user(node, key, &message).await,
            What::Beat => self.take_beat(sent, written()),
            What::Stale | What::Told => {}
            What::StaleDecoy { identity, probe } => {
                let nobody = message.status == Some(StatusCode::NO_RESPONDERS);
                let is_open = self.asks.remove(&probe).is_some();
                if nobody {
                    self.take_stale(identity, is_open).await;
                }
            }
            What::Call { .. } | What::Scan => {
                self.parts.metrics.dropped(Dropped::Unasked).inc();
            }
        }
    }

    /// Whatever was asked: nothing came in time.
    pub(super) async fn take_silence(&mut self, id: &Ksuid) {
        let Some(ask) = self.asks.get(id) else {
            return;
        };
        if matches!(ask.what, What::Call { .. } | What::Scan) {
            self.call_failed(id, CallFault::TimedOut);
            return;
        }
        let Some(Ask { what, .. }) = self.asks.remove(id) else {
            return;
        };
        let silence = "no answer of the broker in time";
        match what {
            What::Claim { node } => self.claim_failed(node, silence),
            What::Holder { node } => self.claim_failed(node, silence),
            What::Parting => self.parting = self.parting.saturating_sub(1),
            What::Write { node, write } => self.write_failed(id, node, write, silence).await,
            What::Decoy { node } => self.unnamed(node),
            What::Listeners { node, call } => {
                let call = call.id;
                let fault = CallFault::NotSent(silence.to_owned());
                self.inputs
                    .push_back((node, Input::CallFailed { call, fault }));
            }
            What::TokenUse { node, .. } | What::TokenUser { node, .. } => {
                self.parts.metrics.store_error(Store::Tokens).inc();
                let unknown = TokenUse::Unknown(silence.to_owned());
                self.inputs.push_back((node, Input::Token(unknown)));
            }
            What::Probe { .. }
            | What::Beat
            | What::Stale
            | What::StaleDecoy { .. }
            | What::Told
            | What::Call { .. }
            | What::Scan => {}
        }
    }

    /// The probes of a name are answered, as far as they will be.
    pub(super) fn named(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        if let Some(probe) = node.probe.take() {
            let state = name_state(probe.open);
            self.inputs.push_back((id, Input::Name(state)));
        }
    }

    /// Even a name that nobody has seems to be connected: somebody listens to all.
    fn unnamed(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        if node.probe.take().is_some() {
            self.parts.metrics.names_unknown.inc();
            tracing::warn!(
                identity = %node.identity,
                "names cannot be checked: somebody in the fleet's account subscribes to all requests, or the broker does not answer"
            );
            self.inputs.push_back((id, Input::Name(NameState::Unknown)));
        }
    }

    /// A write is stored: what waited for it goes on.
    async fn wrote(&mut self, id: NodeId, store: Store, revision: u64) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.writes = node.writes.saturating_sub(1);
            if store == Store::Nodes {
                node.record = revision;
                node.record_pending = false;
            }
            let now = self.now();
            self.perform(id).await;
            self.watch_deadline(id, now);
        }
    }

    /// Keeps a write, to be tried again: nothing goes on without it. A node does not hold its place for ever by it.
    async fn write_failed(
        &mut self,
        id: &Ksuid,
        node: NodeId,
        mut write: Box<super::super::node::Write>,
        problem: &str,
    ) {
        let Some(known) = self.nodes.get(&node) else {
            return;
        };
        self.parts.metrics.store_error(write.store).inc();
        if write.attempt >= WRITES {
            let why = Why::new(Reason::StoreFailed, problem);
            self.give_up(node, why, AFTER_STORE).await;
            return;
        }
        let wait = WRITE_PAUSE.jittered(write.attempt);
        tracing::warn!(
            identity = %known.identity,
            store = write.store.label(),
            problem,
            ?wait,
            "not stored, and tried again"
        );
        write.attempt += 1;
        let sent = Instant::now();
        let what = What::Write { node, write };
        self.asks.insert(*id, Ask { what, sent });
        self.timers.add(sent + wait, Due::Write(*id));
    }

    pub(super) async fn write_again(&mut self, id: &Ksuid) {
        if let Some(Ask {
            what: What::Write { node, write },
            ..
        }) = self.asks.remove(id)
        {
            self.send_write(node, *write).await;
        }
    }

    async fn take_token_use(&mut self, id: NodeId, key: String, written: Written) {
        match written {
            Written::At(_) => self.inputs.push_back((id, Input::Token(TokenUse::Ours))),
            Written::Conflict => {
                let subject = format!(
                    "$JS.API.DIRECT.GET.{}.{}",
                    Store::Tokens.stream(),
                    Store::Tokens.subject(&key)
                );
                let what = What::TokenUser { node: id, key };
                self.ask_for(id, subject, None, bytes::Bytes::new(), what)
                    .await;
            }
            Written::Refused(problem) | Written::Never(problem) => {
                self.parts.metrics.store_error(Store::Tokens).inc();
                let unknown = TokenUse::Unknown(problem);
                self.inputs.push_back((id, Input::Token(unknown)));
            }
        }
    }

    async fn take_token_user(&mut self, id: NodeId, key: String, message: &Message) {
        let revision = message
            .headers
            .as_ref()
            .and_then(|headers| headers.get(SEQUENCE)?.as_str().parse::<u64>().ok());
        if let (true, Some(revision)) = (is_removal(message.headers.as_ref()), revision) {
            // An operator gave it free.
            self.use_key(id, key, revision).await;
            return;
        }
        let Some(node) = self.nodes.get(&id) else {
            return;
        };
        let used: Result<UsedToken, _> = serde_json::from_slice(&message.payload);
        let outcome = match used {
            _ if message.status.is_some() => {
                TokenUse::Unknown("the registry of used tokens does not answer".to_owned())
            }
            Ok(used) if used.by == node.identity.as_str() => {
                // Its own use counts as used once it became a member by it.
                let record = self.parts.mirror.record(&node.identity);
                let ended_well =
                    record.is_some_and(|record| record.enrolments.iter().any(|at| *at >= used.at));
                if ended_well {
                    TokenUse::Used { by: used.by }
                } else {
                    TokenUse::Ours
                }
            }
            Ok(used) => TokenUse::Used { by: used.by },
            Err(error) => TokenUse::Unknown(format!("an entry that cannot be read: {error}")),
        };
        self.inputs.push_back((id, Input::Token(outcome)));
    }
}
