//! The first answers of a node, and the judgement upon them.

use overlay_protocol::lifecycle::EventKind;
use overlay_protocol::provisioning::action::JwtReply;
use overlay_protocol::provisioning::{DataError, InventoryReply, NodeState};
use overlay_tokens::UnixTime;
use serde_json::Value;

use super::call::Unusable;
use super::command::{Action, Command, Found, Note, TokenUse, Why};
use super::end::End;
use super::facts::Inventory;
use super::{Enrolment, Stage, judge};
use crate::candidate::{Turn, admissible};
use crate::reason::Reason;
use crate::time::{after, until};

/// Longest version of a node's software, in bytes.
const MOST_VERSION: usize = 128;

impl Enrolment {
    /// Asks for everything that the judgement needs, all at once, unless the node is to be left alone.
    pub(super) fn start(&mut self, now: UnixTime, out: &mut Vec<Command>) -> Result<(), End> {
        if self.stage != Stage::New {
            return Ok(());
        }
        self.left_alone(now)?;
        self.tell_of_the_lost(now, out);
        if let Some(prior) = &mut self.prior
            && judge::is_unconfirmed(prior)
        {
            prior.issued = None;
        }
        self.stage = Stage::Contact;
        out.push(Command::CheckName);
        self.call(Action::Jwt, out);
        self.call(Action::Inventory, out);
        Ok(())
    }

    /// Ends at once for a node that is in quarantine, or whose next attempt is not due.
    fn left_alone(&self, now: UnixTime) -> Result<(), End> {
        let prior = self.prior.as_deref();
        let quarantined = prior.is_some_and(|prior| prior.state == NodeState::Quarantined);
        let pause = match admissible(prior, now) {
            Turn::Now => return Ok(()),
            Turn::Later(due) => Some(until(now, due)),
            Turn::Never => None,
        };
        let why = if quarantined {
            let message = prior.and_then(|prior| prior.message.clone());
            Why::new(Reason::Quarantined, message.unwrap_or_default())
        } else {
            Why::new(Reason::NotDue, "the next attempt is not due")
        };
        Err(End::LeftAlone { why, pause })
    }

    pub(super) fn jwt(
        &mut self,
        data: Value,
        now: UnixTime,
        out: &mut Vec<Command>,
    ) -> Result<(), Unusable> {
        let reply = JwtReply::from_value(data)?;
        if reply.jwt.is_empty() {
            return Err(DataError::Missing { member: "jwt" }.into());
        }
        let shown = judge::token(reply.token_text(), &self.identity, &self.policy, now)
            .map_err(End::Refused)?;
        if let (Some(token), Some(signature)) = (&reply.server_jwt, &reply.renewal_signature) {
            let proof = (self.facts.renewal_nonce.as_str(), signature.as_str());
            let issued = self
                .prior
                .as_deref()
                .and_then(|prior| prior.issued.as_ref());
            let last = issued.map(|issued| issued.public_key.as_str());
            self.lasting.former_key = judge::renewal(
                token,
                proof,
                &self.identity,
                (last, shown.token.ou.as_deref()),
                &self.policy,
                now,
            )
            .map_err(End::Refused)?
            .map(Box::new);
        }

        self.facts.ecdh_public = reply.ecdh_public;
        self.facts.shown = Some(Box::new(shown));
        self.done(Action::Jwt);
        Ok(self.contacted(now, out)?)
    }

    pub(super) fn inventory(
        &mut self,
        data: Value,
        now: UnixTime,
        out: &mut Vec<Command>,
    ) -> Result<(), Unusable> {
        let wrong = |member: &'static str, expected: &'static str| {
            Unusable::from(DataError::Type { member, expected })
        };
        let reply = InventoryReply::from_value(data)?;
        let version = match reply.data.get("version") {
            None | Some(Value::Null) => return Err(DataError::Missing { member: "version" }.into()),
            // It is kept in the record of the node, which must stay small.
            Some(Value::String(version)) if version.len() > MOST_VERSION => {
                return Err(wrong("version", "a text of a few letters"));
            }
            Some(Value::String(version)) => version.clone(),
            Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                return Err(wrong("version", "a text"));
            }
        };
        let upgradable = match reply.data.get("upgradable") {
            None | Some(Value::Null) => false,
            Some(Value::Bool(upgradable)) => *upgradable,
            Some(Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_)) => {
                return Err(wrong("upgradable", "true or false"));
            }
        };
        self.facts.inventory = Some(Inventory {
            json: overlay_protocol::json::encode_text(&reply.data),
            version,
            upgradable,
        });
        self.done(Action::Inventory);
        Ok(self.contacted(now, out)?)
    }

    /// Judges, once all first answers are there.
    pub(super) fn contacted(&mut self, now: UnixTime, out: &mut Vec<Command>) -> Result<(), End> {
        let (Some(name), Some(shown), Some(inventory)) =
            (self.lasting.name, &self.facts.shown, &self.facts.inventory)
        else {
            return Ok(());
        };
        let version = inventory.version.clone();
        let token = shown
            .facts
            .id
            .clone()
            .unwrap_or_else(|| shown.facts.sha256.clone());
        let site = shown.site.clone();
        if self.lasting.former_key.is_none() {
            self.loops(now)?;
            let confirmed = self.prior.as_deref().is_some_and(|prior| prior.confirmed);
            let held = self
                .prior
                .as_deref()
                .and_then(|prior| judge::held_until(prior, now));
            // An operator gives a name away that is held, never one that somebody lives under.
            let hold = held.filter(|_| !confirmed);
            self.facts.confirm =
                judge::name(&self.identity, name, hold, &self.policy).map_err(End::Refused)?;
            self.facts.held_until = held;
        }
        if self.found == Found::Event {
            let event = self.event(EventKind::Startup { version }, now);
            out.push(Command::PublishVetted(Box::new(event)));
        }
        self.stage = Stage::Rates;
        out.push(Command::TakeRates { token, site });
        Ok(())
    }

    /// A node that was enrolled again and again, and each time came back, does not stay enrolled.
    fn loops(&self, now: UnixTime) -> Result<(), End> {
        let Some(prior) = &self.prior else {
            return Ok(());
        };
        let rules = &self.policy.quarantine;
        let recent = prior
            .enrolments
            .iter()
            .filter(|at| after(UnixTime::from_secs(**at), rules.loop_window) > now)
            .count();
        let most = usize::try_from(rules.enrolments.get()).unwrap_or(usize::MAX);
        if recent < most {
            return Ok(());
        }
        Err(End::Quarantine(Why::new(
            Reason::Quarantined,
            format!(
                "the node was enrolled {recent} times within {} s and came back each time: does its configuration switch provisioning off?",
                rules.loop_window.as_secs()
            ),
        )))
    }

    /// A place is free: the work begins.
    pub(super) fn placed(&mut self, now: UnixTime, out: &mut Vec<Command>) -> Result<(), End> {
        self.whole = Some(after(now, self.policy.calls.whole));
        let Some(shown) = &self.facts.shown else {
            return Ok(());
        };
        // It may have waited for long.
        if let Err(error) = shown.token.check_at(now) {
            return Err(End::Refused(Why::new(
                Reason::TokenExpired,
                format!("the node's provisioning token is not good any more: {error}"),
            )));
        }
        match &shown.facts.id {
            Some(id) if shown.facts.one_time => {
                self.stage = Stage::TokenUse;
                out.push(Command::UseToken { id: id.clone() });
            }
            Some(_) | None => self.begin_key(out),
        }
        Ok(())
    }

    pub(super) fn token_used(
        &mut self,
        state: TokenUse,
        out: &mut Vec<Command>,
    ) -> Result<(), End> {
        match state {
            TokenUse::Ours => {
                self.begin_key(out);
                Ok(())
            }
            // A member that proves its old key may renew with the token that made it one; an operator may say so, too.
            TokenUse::Used { by }
                if by == self.identity.as_str()
                    && (self.lasting.former_key.is_some()
                        || self.prior.as_deref().is_some_and(|prior| prior.confirmed)) =>
            {
                out.push(Command::Tell(Note::Odd(
                    "the provisioning token was good once, and is used again by the same node"
                        .to_owned(),
                )));
                self.begin_key(out);
                Ok(())
            }
            TokenUse::Used { by } => Err(End::Refused(Why::new(
                Reason::TokenUsed,
                format!("the node's provisioning token was good once, and {by} used it"),
            ))),
            TokenUse::Unknown(error) => Err(End::Failed(Why::new(
                Reason::StoreFailed,
                format!("whether the provisioning token was used cannot be found out: {error}"),
            ))),
        }
    }
}
