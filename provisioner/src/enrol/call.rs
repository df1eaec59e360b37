//! Calling the node, and what comes back.

use std::time::Duration;

use overlay_protocol::provisioning::action::{
    Gen25519Request, GencsrRequest, JwtRequest, ReleaseUpdateRequest, RestartRequest, TokenRequest,
};
use overlay_protocol::provisioning::messages;
use overlay_protocol::provisioning::{DataError, NodeState};
use overlay_protocol::rpc::{RpcReply, StatusCode};
use overlay_tokens::UnixTime;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::command::{Action, Call, CallFault, CallId, Command, NameState, Note, Why, cut};
use super::end::End;
use super::tries::{Tries, plan};
use super::{Enrolment, Stage, not_seen};
use crate::reason::Reason;
use crate::time::after;

/// Makes a node restart at once: the node adds its two seconds.
const SPLAY: i64 = 1;
/// A try that is younger may have reached the node that announces itself.
const STALE: Duration = Duration::from_secs(1);

impl Enrolment {
    /// Begins a call.
    pub(super) fn call(&mut self, action: Action, out: &mut Vec<Command>) {
        self.calls.push(Tries::new(action));
        self.send(action, out);
    }

    /// Sends a try of a call that was begun.
    pub(super) fn send(&mut self, action: Action, out: &mut Vec<Command>) {
        let data = self.inputs(action);
        let plan = plan(action, &self.policy.calls);
        let id = CallId(self.last_call.saturating_add(1));
        let Some(tries) = self.calls.iter_mut().find(|tries| tries.action == action) else {
            return;
        };
        self.last_call = id.0;
        tries.begun = tries.begun.saturating_add(1);
        tries.current = Some(id);
        tries.sent = self.now;
        tries.again = None;
        out.push(Command::Call(Call {
            id,
            action,
            data,
            limit: plan.limit,
            // A key is made for one, and a configuration has secrets.
            alone: matches!(action, Action::Gen25519 | Action::Configure),
        }));
    }

    /// Tries at once again what was not answered for a while: it costs no try.
    pub(super) fn ask_again(&mut self, now: UnixTime, out: &mut Vec<Command>) {
        let stale: Vec<_> = self
            .calls
            .iter_mut()
            .filter(|tries| after(tries.sent, STALE) <= now)
            .map(|tries| {
                tries.begun = tries.begun.saturating_sub(1);
                tries.action
            })
            .collect();
        for action in stale {
            self.send(action, out);
        }
    }

    /// The inputs of an action; nonces are fresh with every try.
    fn inputs(&mut self, action: Action) -> Map<String, Value> {
        let token = self.secret();
        match action {
            Action::Jwt => {
                self.facts.renewal_nonce = self.entropy.nonce();
                JwtRequest {
                    token,
                    nonce: Some(self.facts.renewal_nonce.clone()),
                }
                .to_data()
            }
            Action::Inventory => Map::new(),
            Action::Gen25519 => {
                self.facts.nonce = self.entropy.nonce();
                Gen25519Request {
                    token,
                    nonce: self.facts.nonce.clone(),
                }
                .to_data()
            }
            Action::Gencsr => GencsrRequest {
                token,
                cn: Some(self.identity.to_string()),
                ..GencsrRequest::default()
            }
            .to_data(),
            Action::Configure => {
                let mut request = self.facts.delivery.clone().unwrap_or_default();
                request.token = token;
                request.to_data()
            }
            Action::Restart => RestartRequest {
                token,
                splay: SPLAY,
            }
            .to_data(),
            Action::Shutdown => TokenRequest { token }.to_data(),
            Action::ReleaseUpdate => {
                let upgrades = self.policy.features.upgrades.as_ref();
                ReleaseUpdateRequest {
                    token,
                    repository: upgrades
                        .map(|upgrades| upgrades.repository.clone())
                        .unwrap_or_default(),
                    version: self.wanted_version().to_owned(),
                }
                .to_data()
            }
        }
    }

    pub(super) fn reply(
        &mut self,
        call: CallId,
        sender: &str,
        reply: RpcReply,
        now: UnixTime,
        out: &mut Vec<Command>,
    ) -> Result<(), End> {
        if sender != self.identity.as_str() {
            out.push(Command::Tell(Note::Odd(format!(
                "a reply came from {:?} in place of {}, and was passed over",
                cut(sender, 255),
                self.identity
            ))));
            return Ok(());
        }
        let digest: [u8; 32] = Sha256::digest(reply.encode()).into();
        if let Some((_, known)) = self.answered.iter().find(|(known, _)| *known == call) {
            return if *known == digest {
                Ok(())
            } else {
                Err(End::Failed(Why::new(
                    Reason::TwoAnswers,
                    "two nodes answer by this name",
                )))
            };
        }
        let Some(tries) = self
            .calls
            .iter_mut()
            .find(|tries| tries.current == Some(call))
        else {
            // The reply to a try that was given up: a later try counts.
            return Ok(());
        };
        tries.current = None;
        let action = tries.action;
        self.answered.push((call, digest));
        match reply.statuscode {
            StatusCode::Ok => match self.data(action, reply.data, now, out) {
                Err(Unusable::Try(message)) => {
                    let why = Why::new(Reason::BadAnswer, message);
                    self.try_failed(action, why, false, now, out)
                }
                Err(Unusable::End(end)) => Err(*end),
                Ok(()) => Ok(()),
            },
            StatusCode::Aborted
            | StatusCode::UnknownAction
            | StatusCode::MissingData
            | StatusCode::InvalidData
            | StatusCode::UnknownError => self.aborted(action, &reply, now, out),
        }
    }

    /// Gives the data of a good reply to the step that asked for it.
    fn data(
        &mut self,
        action: Action,
        data: Value,
        now: UnixTime,
        out: &mut Vec<Command>,
    ) -> Result<(), Unusable> {
        match action {
            Action::Jwt => self.jwt(data, now, out),
            Action::Inventory => self.inventory(data, now, out),
            Action::Gen25519 => self.gen25519(data, now, out),
            Action::Gencsr => self.gencsr(data, now, out),
            Action::Configure => self.configured(data, now, out),
            Action::Restart => self.restarted(data, now, out),
            Action::Shutdown => self.shut_down(data),
            Action::ReleaseUpdate => self.updated(data, now, out),
        }
    }

    fn aborted(
        &mut self,
        action: Action,
        reply: &RpcReply,
        now: UnixTime,
        out: &mut Vec<Command>,
    ) -> Result<(), End> {
        let message = format!(
            "{action} was refused: {} ({})",
            reply.statusmsg, reply.statuscode
        );
        if reply.statusmsg.starts_with(messages::LOCKED) {
            return Err(End::Stopped(Why::new(
                Reason::Busy,
                "another provisioner is at work on the node",
            )));
        }
        // While a secret is being replaced nodes have the one or the other; that costs no try.
        let secrets = self.policy.secrets_for(self.identity.as_str()).len();
        let is_wrong = reply.statusmsg.starts_with(messages::WRONG_TOKEN);
        if action == Action::Jwt && is_wrong {
            self.facts.secret = self.facts.secret.saturating_add(1);
            if self.facts.secret < secrets {
                if let Some(tries) = self.calls.iter_mut().find(|tries| tries.action == action) {
                    tries.begun = tries.begun.saturating_sub(1);
                }
                self.send(action, out);
                return Ok(());
            }
            self.facts.secret = 0;
        }
        let reason = match action {
            Action::Jwt if reply.statusmsg.starts_with(messages::WRONG_TOKEN) => {
                Reason::WrongSecret
            }
            Action::ReleaseUpdate => Reason::UpgradeFailed,
            Action::Jwt
            | Action::Inventory
            | Action::Gen25519
            | Action::Gencsr
            | Action::Configure
            | Action::Restart
            | Action::Shutdown => Reason::Aborted,
        };
        self.try_failed(action, Why::new(reason, message), false, now, out)
    }

    pub(super) fn call_failed(
        &mut self,
        call: CallId,
        fault: &CallFault,
        now: UnixTime,
        out: &mut Vec<Command>,
    ) -> Result<(), End> {
        let Some(tries) = self
            .calls
            .iter_mut()
            .find(|tries| tries.current == Some(call))
        else {
            return Ok(());
        };
        tries.current = None;
        let action = tries.action;
        if let CallFault::Overheard(_) = fault {
            return Err(End::Failed(Why::new(
                Reason::SharedName,
                format!("{action} was not sent: {fault}"),
            )));
        }
        let (reason, silent) = match fault {
            CallFault::NoResponders => (Reason::Gone, false),
            CallFault::TimedOut => (Reason::NoAnswer, true),
            // The original waits its whole limit for these, too, and then counts the first as a success.
            CallFault::Unreadable(_) | CallFault::TooLarge => (Reason::BadAnswer, false),
            CallFault::NotSent(_) => (Reason::NoAnswer, false),
            CallFault::Overheard(_) => (Reason::SharedName, false),
        };
        // Whoever may have heard a restart and does not listen any more has begun it. Whoever was not there to hear it may
        // have lost the broker for a moment, and is told again.
        if action == Action::Restart && reason == Reason::Gone && tries.silent > 0 {
            self.await_member(now, out);
            return Ok(());
        }
        let why = Why::new(reason, format!("{action}: {fault}"));
        self.try_failed(action, why, silent, now, out)
    }

    /// Counts a failed try: there will be another after a pause, or the call has failed.
    pub(super) fn try_failed(
        &mut self,
        action: Action,
        why: Why,
        silent: bool,
        now: UnixTime,
        out: &mut Vec<Command>,
    ) -> Result<(), End> {
        let calls = self.policy.calls;
        let plan = plan(action, &calls);
        let Some(tries) = self.calls.iter_mut().find(|tries| tries.action == action) else {
            return Ok(());
        };
        if silent {
            tries.silent = tries.silent.saturating_add(1);
        }
        out.push(Command::Tell(Note::TryFailed {
            action,
            attempt: tries.begun,
            why: why.message.clone(),
        }));
        if tries.has_more(&plan) {
            let pause = self.entropy.jitter(tries.pause(&calls));
            tries.again = Some(after(now, pause));
            return Ok(());
        }
        self.exhausted(action, why, now, out)
    }

    /// A call was tried as often as it may be.
    fn exhausted(
        &mut self,
        action: Action,
        why: Why,
        now: UnixTime,
        out: &mut Vec<Command>,
    ) -> Result<(), End> {
        match (action, why.reason) {
            // Nobody ever said a word: anybody may announce a name, and no record is made of what may not exist.
            (Action::Jwt | Action::Inventory, Reason::Gone) if self.answered.is_empty() => {
                Err(if self.was_lost_on_its_way() {
                    not_seen()
                } else {
                    End::Stopped(why)
                })
            }
            (Action::Jwt, Reason::WrongSecret) => Err(End::Refused(why)),
            // The node may have heard it, or have started again by itself; whether it arrives shows.
            (Action::Restart, Reason::NoAnswer | Reason::BadAnswer | Reason::Gone) => {
                self.await_member(now, out);
                Ok(())
            }
            (Action::ReleaseUpdate, _) => self.update_failed(why, now, out),
            _ => Err(End::Failed(why)),
        }
    }

    /// Whether another instance restarted the node and was gone before it arrived, and it is neither here nor in the fleet.
    fn was_lost_on_its_way(&self) -> bool {
        let prior = self.prior.as_deref();
        prior.is_some_and(|prior| prior.state == NodeState::Restarting)
            && self.lasting.name == Some(NameState::Free)
    }

    /// Forgets a call that was answered well.
    pub(super) fn done(&mut self, action: Action) {
        self.calls.retain(|tries| tries.action != action);
    }

    /// Watches for the node among the fleet.
    pub(super) fn await_member(&mut self, now: UnixTime, out: &mut Vec<Command>) {
        let limit = self.policy.calls.member;
        self.done(Action::Restart);
        self.whole = None;
        // Thousands may wait here: only what the end needs is kept. Further answers are nobody's any more.
        self.facts.forget();
        self.lasting.configured = true;
        self.calls.shrink_to_fit();
        self.answered = Vec::new();
        self.stage = Stage::Member(after(now, limit));
        out.push(Command::AwaitMember { limit });
    }
}

/// Why the data of a good reply are not.
#[derive(Debug)]
pub(super) enum Unusable {
    /// Something is missing: the try failed.
    Try(String),
    /// It is decided.
    End(Box<End>),
}

impl From<End> for Unusable {
    fn from(end: End) -> Self {
        Self::End(Box::new(end))
    }
}

impl From<DataError> for Unusable {
    fn from(error: DataError) -> Self {
        match error {
            DataError::Missing { .. } => Self::Try(format!("the answer is incomplete: {error}")),
            DataError::NoObject | DataError::Type { .. } => Self::from(End::Refused(Why::new(
                Reason::BadAnswer,
                format!("the node's answer is not of the form that it must have: {error}"),
            ))),
        }
    }
}
