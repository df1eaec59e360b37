//! What was decided, and what the record says of it.

use std::sync::Arc;

use overlay_policy::Why;
use overlay_protocol::Layer;
use overlay_protocol::audit::{self, Data, Reasons, RpcFacts, SIGNATURE_PROTOCOL, TokenFacts};
use overlay_protocol::envelope::Limits;
use overlay_tokens::claims::ClientClaims;
use overlay_tokens::{Unverified, Verified};
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::{Reason, Submission};
use crate::audit::token_facts;

/// The longest request that a record holds beside everything else.
const MAX_RECORDED_BYTES: usize = audit::MAX_LINE_BYTES - (64 << 10);

/// The longest text of somebody who has proved nothing that a record repeats, in bytes.
const MAX_CLAIM_BYTES: usize = 256;

/// What was decided about a request.
#[derive(Debug)]
pub struct Decision {
    /// What is to be signed, or why nothing is.
    pub verdict: Result<Approved, Reason>,
    /// Why, for people.
    pub message: String,
    /// What the policy said, if it was asked.
    pub why: Option<Why>,
    /// Which kind of policy was asked.
    pub authority: Option<Authority>,
    /// The caller's token, if it was found good.
    pub caller: Option<Arc<Verified<ClientClaims>>>,
    /// Agent and action, if they were understood.
    pub target: Option<RpcFacts>,
}

/// A kind of policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authority {
    /// The token's list of actions.
    ActionList,
    /// The token's policy in Rego.
    Rego,
}

/// A request as it will be signed.
#[derive(Debug)]
pub struct Approved {
    /// Its bytes.
    pub request: Vec<u8>,
    /// Its id.
    pub id: String,
}

/// What a request says of itself that nobody vouches for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Claimed {
    caller: Option<String>,
}

impl Decision {
    /// Nothing is signed because of a fault of this service.
    pub fn fault(message: &str) -> Self {
        Self {
            verdict: Err(Reason::Fault),
            message: message.to_owned(),
            why: None,
            authority: None,
            caller: None,
            target: None,
        }
    }

    /// The reason in a word.
    pub fn reason(&self) -> &'static str {
        match &self.verdict {
            Ok(_) => "allowed",
            Err(reason) => reason.label(),
        }
    }

    /// Whether the caller has proved to be who the token names. A token alone proves nothing: every node sees those of callers.
    pub fn is_proved(&self) -> bool {
        let unsigned = matches!(self.verdict, Err(Reason::Signature | Reason::NoSignature));
        self.caller.is_some() && !unsigned
    }

    /// Who called, as the request names callers: proved, or only claimed.
    pub fn callerid(&self, submission: &Submission) -> String {
        if let Some(caller) = &self.caller {
            return caller.delegated_callerid();
        }
        let claimed: Claimed = serde_json::from_slice(&submission.request).unwrap_or_default();
        cut(claimed.caller.unwrap_or_default())
    }

    /// What the record says. Of somebody whose token was not found good it repeats little: length and hash of the request, and
    /// the beginning of what is claimed, so that strangers do not fill the record.
    pub fn data(&self, submission: &Submission, site: &str, now_secs: i64) -> Data {
        let (action, request) = match &self.verdict {
            Ok(approved) => (audit::Decision::Allow, as_object(&approved.request)),
            Err(_) if self.is_proved() => (audit::Decision::Deny, as_object(&submission.request)),
            Err(_) => (audit::Decision::Deny, None),
        };
        let mut message = self.message.clone();
        if self.caller.is_none() {
            message = cut(message);
        }
        if request.is_none() {
            let bytes = submission.request.len();
            let hash = hex::encode(Sha256::digest(&submission.request));
            message = format!("{message} ({bytes} bytes, sha256 {hash})");
        }
        Data {
            protocol: SIGNATURE_PROTOCOL.to_owned(),
            callerid: self.callerid(submission),
            action: Some(action),
            site: site.to_owned(),
            time: now_secs,
            request,
            decision: Some(Reasons {
                reason: self.reason().to_owned(),
                message,
                rule: self.why.as_ref().map(|why| why.rule.clone()),
                policy: self.why.as_ref().and_then(|why| why.policy.clone()),
                tenant: self
                    .caller
                    .as_ref()
                    .and_then(|caller| caller.tenant.clone()),
            }),
            token: facts(self.caller.as_deref(), submission),
            rpc: self.target.clone(),
            via: submission.via.label().to_owned(),
            peer: cut(submission.peer.clone()),
            ..Data::default()
        }
    }
}

/// What the token says, marked as proved or not.
fn facts(verified: Option<&Verified<ClientClaims>>, submission: &Submission) -> Option<TokenFacts> {
    if let Some(token) = verified {
        return Some(token_facts(token, true));
    }
    let token = Unverified::<ClientClaims>::decode(submission.token.trim()).ok()?;
    let claimed = token_facts(token.claims_unverified(), false);
    Some(TokenFacts {
        jti: cut(claimed.jti),
        issuer: cut(claimed.issuer),
        organisation: cut(claimed.organisation),
        callerid: cut(claimed.callerid),
        public_key: cut(claimed.public_key),
        ..claimed
    })
}

/// The beginning of a text that nobody vouches for.
fn cut(mut text: String) -> String {
    if text.len() > MAX_CLAIM_BYTES {
        text.truncate(text.floor_char_boundary(MAX_CLAIM_BYTES));
        text.push('…');
    }
    text
}

/// The bytes as an object on one line, if they are one and not too long for a record.
fn as_object(bytes: &[u8]) -> Option<Box<RawValue>> {
    let limits = Limits {
        max_bytes: MAX_RECORDED_BYTES,
        ..Limits::default()
    };
    limits.check(Layer::Request, bytes).ok()?;
    let text = str::from_utf8(bytes).ok()?.trim();
    if !text.starts_with('{') {
        return None;
    }
    // Within a text JSON has no line ends: those that are there stand between words.
    let text = if text.contains(['\n', '\r']) {
        text.replace(['\n', '\r'], " ")
    } else {
        text.to_owned()
    };
    RawValue::from_string(text).ok()
}
