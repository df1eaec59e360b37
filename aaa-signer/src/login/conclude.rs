//! The end of an attempt: its record, its line in the log, its place in the figures.

use overlay_protocol::audit::{Data, Decision, Kind, LoginFacts, Reasons, TokenFacts};
use overlay_runtime::err_chain;

use super::attempt::{Known, Outcome};
use super::issuer::Issued;
use super::{Inner, Reason};
use crate::audit::Entry;
use crate::authenticate::Refusal;
use crate::authenticate::userlist::MAX_NAME_BYTES;

impl Inner {
    /// Records what became of an attempt, and lets the token go once the record is durable.
    pub(super) async fn conclude(&self, known: Known, outcome: Outcome) -> Result<String, Reason> {
        let Issued { token, facts } = match outcome {
            Ok(issued) => issued,
            Err(refusal) => return Err(self.refuse(known, refusal).await),
        };
        let (user, caller, jti) = (
            known.user.clone(),
            facts.callerid.clone(),
            facts.jti.clone(),
        );
        let entry = self.entry(&known, None, Some(facts));
        if let Err(error) = self.audit.record(entry).await {
            tracing::error!(error = %err_chain(&error), user, "a login is refused, since its record is not durable");
            self.answered(&known, Some(Reason::Audit));
            return Err(Reason::Audit);
        }
        tracing::info!(
            user,
            caller,
            jti,
            method = known.method,
            via = known.from.via.label(),
            peer = known.from.peer,
            "logged in"
        );
        self.answered(&known, None);
        Ok(token)
    }

    /// Records a refusal. It is one whatever becomes of its record.
    pub(super) async fn refuse(&self, known: Known, refusal: Refusal) -> Reason {
        let reason = refusal.reason;
        tracing::warn!(
            user = ?shown(&known.user),
            reason = reason.code(),
            message = %refusal,
            method = known.method,
            via = known.from.via.label(),
            peer = known.from.peer,
            "login refused"
        );
        let entry = self.entry(&known, Some(refusal), None);
        if let Err(error) = self.audit.record(entry).await {
            tracing::error!(error = %err_chain(&error), "the record of a refused login is not durable");
        }
        self.answered(&known, Some(reason));
        reason
    }

    fn answered(&self, known: &Known, refused: Option<Reason>) {
        // A step of a login whose method nobody knows.
        let method = if known.method.is_empty() {
            "none"
        } else {
            known.method
        };
        self.metrics
            .answered(known.from.via, method, refused, known.began.elapsed());
    }

    fn entry(&self, known: &Known, refusal: Option<Refusal>, token: Option<TokenFacts>) -> Entry {
        let decision = match &refusal {
            None => Decision::Allow,
            Some(_) => Decision::Deny,
        };
        let reasons = match refusal {
            None => Reasons {
                reason: "authenticated".to_owned(),
                ..Reasons::default()
            },
            Some(refusal) => Reasons {
                reason: refusal.reason.code().to_owned(),
                message: refusal.message,
                ..Reasons::default()
            },
        };
        let login = LoginFacts {
            method: known.method.to_owned(),
            user: known.user.clone(),
            factor: known.factor.map(str::to_owned),
            public_key: known.key.map(|key| key.to_string()).unwrap_or_default(),
        };
        let callerid = token
            .as_ref()
            .map(|token| token.callerid.clone())
            .unwrap_or_default();
        self.record(Kind::Login, decision, reasons, known, |data| {
            data.callerid = callerid;
            data.token = token;
            data.login = Some(login);
        })
    }

    pub(super) fn record(
        &self,
        kind: Kind,
        decision: Decision,
        reasons: Reasons,
        known: &Known,
        more: impl FnOnce(&mut Data),
    ) -> Entry {
        let mut data = Data {
            action: Some(decision),
            site: self.site.clone(),
            time: known.now.secs,
            decision: Some(Reasons {
                tenant: known.tenant.clone(),
                ..reasons
            }),
            via: known.from.via.label().to_owned(),
            peer: known.from.peer.clone(),
            ..Data::default()
        };
        more(&mut data);
        Entry { kind, data }
    }
}

/// The beginning of a name that somebody sent.
fn shown(name: &str) -> &str {
    let mut end = name.len().min(MAX_NAME_BYTES);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name.get(..end).unwrap_or_default()
}
