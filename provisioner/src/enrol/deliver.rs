//! The helper's decision, and what the node is given by it.

use std::cmp::Ordering;

use overlay_protocol::lifecycle::EventKind;
use overlay_protocol::provisioning::action::MessageReply;
use overlay_protocol::provisioning::audit::Kind;
use overlay_protocol::provisioning::{DataError, Issued, NodeState};
use overlay_tokens::claims::ServerClaims;
use overlay_tokens::{UnixTime, Unverified};
use serde_json::Value;

use super::call::Unusable;
use super::command::{Action, Command, IssuedToken, Note, Why, one_line};
use super::end::End;
use super::facts::Verdict;
use super::{Enrolment, Stage};
use crate::answer::{Answer, HelperFault};
use crate::policy::Upgrades;
use crate::reason::Reason;
use crate::time::until;
use crate::{claims, delivery, version};

/// Longest word of the helper's that is kept, in bytes.
const MOST_WORDS: usize = 1000;

impl Enrolment {
    pub(super) fn helper_answered(
        &mut self,
        answer: Result<Box<Answer>, HelperFault>,
        now: UnixTime,
        out: &mut Vec<Command>,
    ) -> Result<(), End> {
        let took = self.facts.asked.map(|asked| until(asked, now));
        let took_ms = took.and_then(|took| u64::try_from(took.as_millis()).ok());
        let answer = match answer {
            Ok(answer) => answer,
            Err(fault) => {
                self.lasting.helper = Some(Box::new(Verdict {
                    decision: "fault",
                    message: None,
                    confirmed: false,
                    digest: None,
                    took_ms,
                }));
                let reason = match &fault {
                    HelperFault::Output(_) => Reason::HelperOutput,
                    HelperFault::None
                    | HelperFault::NotRun(_)
                    | HelperFault::TimedOut(_)
                    | HelperFault::Failed(_) => Reason::HelperFailed,
                };
                return Err(End::Failed(Why::new(reason, fault.to_string())));
            }
        };
        let words = one_line(&answer.msg, MOST_WORDS);
        if !words.is_empty() {
            out.push(Command::Tell(Note::Helper(words.clone())));
        }
        self.lasting.helper = Some(Box::new(Verdict {
            decision: answer.decision(),
            message: (!words.is_empty()).then(|| words.as_str().into()),
            confirmed: answer.confirm,
            digest: Some(answer.digest),
            took_ms,
        }));
        if answer.defer {
            let message = format!("the helper puts the node off: {words}");
            return Err(End::Deferred(Why::new(Reason::Deferred, message)));
        }
        if answer.shutdown {
            self.facts.answer = Some(answer);
            self.stage = Stage::Shutdown;
            self.call(Action::Shutdown, out);
            return Ok(());
        }
        if let Some(why) = &self.facts.confirm
            && !answer.confirm
        {
            return Err(End::Refused(why.clone()));
        }
        self.facts.answer = Some(answer);
        self.upgrade(now, out)
    }

    /// The version that the helper wants; empty when it does not say.
    pub(super) fn wanted_version(&self) -> &str {
        self.facts
            .answer
            .as_ref()
            .map_or("", |answer| answer.upgrade.as_str())
    }

    /// Replaces the node's software, if that is wanted and can be.
    fn upgrade(&mut self, now: UnixTime, out: &mut Vec<Command>) -> Result<(), End> {
        let wanted = self.wanted_version().to_owned();
        let (Some(upgrades), false) = (self.policy.features.upgrades.clone(), wanted.is_empty())
        else {
            return self.issue(now, out);
        };
        match self.upgradable(&wanted, &upgrades) {
            Ok(true) => {
                self.stage = Stage::Update;
                self.call(Action::ReleaseUpdate, out);
                Ok(())
            }
            Ok(false) => self.issue(now, out),
            Err(message) => self.update_failed(Why::new(Reason::UpgradeFailed, message), now, out),
        }
    }

    /// Whether the node is to be updated; any other version than the wanted one is replaced, a newer one too.
    fn upgradable(&self, wanted: &str, upgrades: &Upgrades) -> Result<bool, String> {
        let (has, can) = self
            .facts
            .inventory
            .as_ref()
            .map_or(("", false), |inventory| {
                (inventory.version.as_str(), inventory.upgradable)
            });
        if has.is_empty() {
            return Err("the node does not tell its version, so it cannot be upgraded".to_owned());
        }
        if version::compare(has, wanted) == Ordering::Equal {
            return Ok(false);
        }
        if upgrades.repository.is_empty() {
            return Err("no repository is configured to upgrade nodes from".to_owned());
        }
        if !can {
            return Err(format!(
                "the node has version {has}, the helper wants {wanted}, and it cannot be upgraded"
            ));
        }
        let tried = self.prior.as_deref().is_some_and(|prior| {
            prior.reason.as_deref() == Some(super::end::UPGRADING)
                && prior.message.as_deref() == Some(wanted)
        });
        if tried {
            return Err(format!(
                "the node was upgraded to {wanted} and came back with version {has}"
            ));
        }
        Ok(true)
    }

    /// The software stays as it is: the enrolment fails, or goes on where upgrades are optional.
    pub(super) fn update_failed(
        &mut self,
        why: Why,
        now: UnixTime,
        out: &mut Vec<Command>,
    ) -> Result<(), End> {
        self.done(Action::ReleaseUpdate);
        let optional = self
            .policy
            .features
            .upgrades
            .as_ref()
            .is_some_and(|upgrades| upgrades.optional);
        // A node that fell silent may be at it: it is not to be configured meanwhile.
        if !optional || matches!(why.reason, Reason::NoAnswer | Reason::Gone) {
            return Err(End::Failed(why));
        }
        out.push(Command::Tell(Note::Odd(format!(
            "the node is enrolled as it is: {}",
            why.message
        ))));
        self.issue(now, out)
    }

    pub(super) fn updated(
        &mut self,
        data: Value,
        now: UnixTime,
        out: &mut Vec<Command>,
    ) -> Result<(), Unusable> {
        message(data)?;
        self.done(Action::ReleaseUpdate);
        let kind = EventKind::Upgraded {
            version: self
                .facts
                .inventory
                .as_ref()
                .map(|inventory| inventory.version.clone())
                .unwrap_or_default(),
            new_version: self.wanted_version().to_owned(),
        };
        let event = self.event(kind, now);
        out.push(Command::PublishVetted(Box::new(event)));
        Err(End::Upgraded(self.wanted_version().to_owned()).into())
    }

    pub(super) fn shut_down(&mut self, data: Value) -> Result<(), Unusable> {
        message(data)?;
        Err(End::ShutDown.into())
    }

    /// Checks what the helper wants for the node, and has its token signed.
    fn issue(&mut self, now: UnixTime, out: &mut Vec<Command>) -> Result<(), End> {
        let key = self.facts.public_key;
        let (Some(answer), Some(key)) = (self.facts.answer.take(), key) else {
            // Cannot be: both come before.
            return Err(End::Failed(Why::new(
                Reason::IssueFailed,
                "there is no answer, or no key",
            )));
        };
        let policy = &self.policy;
        let configuration = delivery::configuration(&answer, &self.identity, &policy.placements)
            .map_err(End::Failed)?;
        let request = delivery::request(
            &answer,
            &configuration,
            self.facts.csr.as_ref(),
            &self.facts.ecdh_public,
            &mut self.entropy,
        )
        .map_err(End::Failed)?;
        let built = claims::build(
            &self.identity,
            key,
            answer.server_claims.as_ref(),
            &configuration,
            &policy.issue,
            now,
            self.entropy.half(),
        )
        .map_err(|error| {
            let reason = match &error {
                claims::ClaimsError::Issue(_) => Reason::IssueFailed,
                claims::ClaimsError::Collective(_)
                | claims::ClaimsError::Subject(_)
                | claims::ClaimsError::TooMany
                | claims::ClaimsError::Organisation
                | claims::ClaimsError::Expiry(_) => Reason::HelperOutput,
            };
            End::Failed(Why::new(reason, error.to_string()))
        })?;
        if let Some(note) = built.note {
            out.push(Command::Tell(Note::Odd(note)));
        }
        let default_on = self
            .facts
            .shown
            .as_ref()
            .is_some_and(|shown| shown.token.chpd);
        if default_on && delivery::leaves_provisioning_on(&configuration) {
            out.push(Command::Tell(Note::Odd(
                "the helper's configuration does not switch provisioning off: the node will come back unprovisioned"
                    .to_owned(),
            )));
        }
        self.facts.delivery = Some(Box::new(request));
        self.facts.answer = Some(answer);
        self.stage = Stage::Issue;
        out.push(Command::Issue(Box::new(built.claims)));
        Ok(())
    }

    /// Keeps what was issued, and only then gives it to the node.
    pub(super) fn issued(
        &mut self,
        issued: Result<IssuedToken, String>,
        now: UnixTime,
        out: &mut Vec<Command>,
    ) -> Result<(), End> {
        let failed = |text: String| End::Failed(Why::new(Reason::IssueFailed, text));
        let issued = issued
            .map_err(|error| failed(format!("the node's token cannot be issued: {error}")))?;
        let token = Unverified::<ServerClaims>::decode(issued.token.expose())
            .map_err(|error| failed(format!("the token that was issued is none: {error}")))?;
        let claims = token.claims_unverified();
        self.facts.issued = Some(Issued {
            id: claims.standard.jti.clone(),
            public_key: claims.standard.public_key.clone(),
            at: claims.standard.iat.unwrap_or(now.secs),
            expires: claims.standard.expires_at().unwrap_or_default(),
            organisation: claims.ou.clone().unwrap_or_default(),
            collectives: claims.collectives.clone(),
        });
        if let Some(request) = &mut self.facts.delivery {
            request.server_jwt = issued.token;
        }
        let mut record = self.record(NodeState::Enrolling, now);
        record.issued = self.issued_token().cloned();
        out.push(Command::Record(Box::new(record)));
        self.stage = Stage::Configure;
        self.call(Action::Configure, out);
        Ok(())
    }

    pub(super) fn configured(
        &mut self,
        data: Value,
        now: UnixTime,
        out: &mut Vec<Command>,
    ) -> Result<(), Unusable> {
        message(data)?;
        self.done(Action::Configure);
        self.lasting.configured = true;
        // The secrets are with the node now.
        self.facts.delivery = None;
        let kind = if self.is_renewal() {
            Kind::Renewed
        } else {
            Kind::Enrolled
        };
        let audit = self.audit(kind, None, now);
        out.push(Command::Audit(Box::new(audit)));
        let mut record = self.record(NodeState::Restarting, now);
        record.issued = self.issued_token().cloned();
        if self.lasting.former_key.is_none() {
            record.note_enrolment(now.secs);
        }
        self.prior = Some(Box::new(record.clone()));
        out.push(Command::Record(Box::new(record)));
        let event = self.event(EventKind::Provisioned, now);
        out.push(Command::PublishVetted(Box::new(event)));
        self.stage = Stage::Restart;
        self.call(Action::Restart, out);
        Ok(())
    }

    pub(super) fn restarted(
        &mut self,
        data: Value,
        now: UnixTime,
        out: &mut Vec<Command>,
    ) -> Result<(), Unusable> {
        message(data)?;
        let event = self.event(EventKind::Shutdown, now);
        out.push(Command::PublishVetted(Box::new(event)));
        self.await_member(now, out);
        Ok(())
    }
}

/// A reply that says what was done.
fn message(data: Value) -> Result<(), DataError> {
    let reply = MessageReply::from_value(data)?;
    if reply.message.is_empty() {
        return Err(DataError::Missing { member: "message" });
    }
    Ok(())
}
