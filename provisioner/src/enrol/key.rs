//! The node's key, its signing request, and the question to the helper.

use overlay_protocol::provisioning::DataError;
use overlay_protocol::provisioning::action::{Gen25519Reply, GencsrReply};
use overlay_tokens::{PossessionError, UnixTime, verify_possession};
use serde_json::Value;

use super::call::Unusable;
use super::command::{Action, Command, NameState, Why};
use super::end::End;
use super::{Enrolment, Stage};
use crate::csr;
use crate::question::{Details, Hidden, NodeKey, Question, SigningRequest};
use crate::reason::Reason;

impl Enrolment {
    pub(super) fn begin_key(&mut self, out: &mut Vec<Command>) {
        self.stage = Stage::Key;
        self.call(Action::Gen25519, out);
    }

    pub(super) fn gen25519(
        &mut self,
        data: Value,
        now: UnixTime,
        out: &mut Vec<Command>,
    ) -> Result<(), Unusable> {
        let reply = Gen25519Reply::from_value(data)?.complete()?;
        let key = verify_possession(&self.facts.nonce, &reply.public_key, &reply.signature)
            .map_err(|error| {
                let reason = match error {
                    PossessionError::Invalid => Reason::KeyUnproven,
                    PossessionError::NoKey
                    | PossessionError::Key(_)
                    | PossessionError::WeakKey
                    | PossessionError::NoSignature
                    | PossessionError::Encoding => Reason::KeyMalformed,
                };
                End::Refused(Why::new(
                    reason,
                    format!("the node did not prove its key: {error}"),
                ))
            })?;
        self.facts.public_key = Some(key);
        self.facts.key = Some(NodeKey {
            public_key: reply.public_key,
            directory: reply.directory,
            signature: reply.signature,
        });
        self.done(Action::Gen25519);
        if self.policy.features.pki.is_some() {
            self.stage = Stage::Csr;
            self.call(Action::Gencsr, out);
        } else {
            self.ask_helper(now, out);
        }
        Ok(())
    }

    pub(super) fn gencsr(
        &mut self,
        data: Value,
        now: UnixTime,
        out: &mut Vec<Command>,
    ) -> Result<(), Unusable> {
        let reply = GencsrReply::from_value(data)?;
        for (member, text) in [("csr", &reply.csr), ("ssldir", &reply.ssldir)] {
            if text.is_empty() {
                return Err(DataError::Missing { member }.into());
            }
        }
        if let Some(rules) = &self.policy.features.pki {
            csr::check(&reply.csr, &self.identity, rules)
                .map_err(|error| End::Refused(Why::new(error.reason(), error.to_string())))?;
        }
        self.facts.csr = Some(SigningRequest {
            csr: reply.csr,
            public_key: reply.public_key,
            ssldir: reply.ssldir,
        });
        self.done(Action::Gencsr);
        self.ask_helper(now, out);
        Ok(())
    }

    fn ask_helper(&mut self, now: UnixTime, out: &mut Vec<Command>) {
        let rules = &self.policy.helper;
        let question = Question {
            identity: self.identity.to_string(),
            csr: self.facts.csr.clone(),
            ed25519_pubkey: self.facts.key.clone(),
            inventory: self
                .facts
                .inventory
                .as_ref()
                .map(|inventory| inventory.json.clone())
                .unwrap_or_default(),
            jwt: self
                .facts
                .shown
                .as_ref()
                .map(|shown| Hidden::claims(&shown.token, rules)),
            overlay: rules.details.then(|| self.details()),
        };
        self.stage = Stage::Helper;
        self.facts.asked = Some(now);
        out.push(Command::AskHelper(Box::new(question)));
    }

    fn details(&self) -> Details {
        let shown = self.facts.shown.as_deref();
        let prior = self.prior.as_deref();
        Details {
            site: shown.and_then(|shown| shown.site.clone()),
            name: match self.lasting.name {
                Some(NameState::Free) => "free",
                Some(NameState::Live) => "live",
                Some(NameState::Unknown) | None => "unknown",
            },
            held_until: self.facts.held_until,
            renewal: self.lasting.former_key.is_some(),
            must_confirm: self.facts.confirm.is_some(),
            failures: prior.map_or(0, |prior| prior.failures),
            deferrals: prior.map_or(0, |prior| prior.deferrals),
            found: self.found.as_str(),
            token: shown.and_then(|shown| shown.facts.id.clone()),
            token_expires: shown.and_then(|shown| shown.facts.expires),
        }
    }
}
