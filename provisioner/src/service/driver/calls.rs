//! What nodes and the broker are asked for an enrolment.

use std::time::Duration;

use bytes::Bytes;
use overlay_protocol::id::{Identity, Ksuid};
use overlay_protocol::subject;
use overlay_protocol::subject::stream::token_used;
use tokio::time::Instant;

use super::super::node::{Ask, Due, NodeId, Probe, What};
use super::Driver;
use crate::enrol::{Action, Call, CallFault, Input, TokenUse};
use crate::store::{Store, UsedToken, at_revision};

/// How long the broker may take to say that nobody has a name.
const PROBE_LIMIT: Duration = Duration::from_secs(3);

impl Driver {
    /// Asks the broker who hears the requests of a node, before it is sent what others must not hear.
    pub(super) async fn count_listeners(&mut self, id: NodeId, call: Call) {
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

    pub(super) async fn call(&mut self, id: NodeId, call: Call) {
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
    pub(super) async fn probe(&mut self, id: NodeId) {
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
