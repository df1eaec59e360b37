//! What a record says, beside its place in the chain.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{MAX_MESSAGE_BYTES, MAX_WORD_BYTES};
use crate::json;
use crate::shorten::shorten;

/// About what a record takes beside the request.
const FACTS_BYTES: usize = 1024;

/// Data of a record. The first six members are those of Choria's signature audit, in its order.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Data {
    /// [`SIGNATURE_PROTOCOL`](super::SIGNATURE_PROTOCOL) in records of signatures.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub protocol: String,
    /// Who asked; only what the request or login claims, unless the token is verified.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub callerid: String,
    /// What was decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<Decision>,
    /// Site that the service was configured with.
    pub site: String,
    /// When, in Unix seconds.
    pub time: i64,
    /// The request, as it was signed where it was signed, else as it came; an object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<Box<RawValue>>,
    /// Why it was decided so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<Reasons>,
    /// The token that was shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenFacts>,
    /// Agent and action that the request is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rpc: Option<RpcFacts>,
    /// How somebody logged in, or tried to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub login: Option<LoginFacts>,
    /// How the question came: `rpc`, `http` or `broker`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub via: String,
    /// From where it came: an address, or a name that the broker vouches for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub peer: String,
    /// Signature over the chain up to here, in checkpoints.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seal: Option<Seal>,
    /// What did not leave the service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undelivered: Option<Undelivered>,
    /// What a reader must know of the chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notice: Option<Notice>,
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// It was signed, or a token was issued.
    Allow,
    /// It was not.
    Deny,
}

/// Why it was decided so.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reasons {
    /// Reason as a word for machines.
    pub reason: String,
    /// Reason for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Rule of the policy that said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// SHA-256 of the policy's text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Tenant that the token names, or is to name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
}

/// What the shown token says. Nothing of it is proved unless `verified`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TokenFacts {
    /// Whether its signatures and times held.
    pub verified: bool,
    /// Its id.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub jti: String,
    /// Who issued it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub issuer: String,
    /// Organisation.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub organisation: String,
    /// Caller that it names.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub callerid: String,
    /// When it expires, in Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<i64>,
    /// Permissions that it grants, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub permissions: Vec<String>,
    /// Public key that it is bound to, in hexadecimal.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub public_key: String,
}

/// Agent and action that a request is for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RpcFacts {
    /// Agent.
    pub agent: String,
    /// Action; empty for discovery.
    pub action: String,
}

/// How somebody logged in, or tried to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoginFacts {
    /// Name of the method, such as `userlist`, `ldap` or `oidc`.
    pub method: String,
    /// Name that was given.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Second factor that was proved, such as `totp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub factor: Option<String>,
    /// Public key that was proved, in hexadecimal.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub public_key: String,
}

/// A signature over the chain up to its record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Seal {
    /// Ed25519 signature over [`checkpoint_text`](super::checkpoint_text), in hexadecimal.
    pub signature: String,
    /// Server token of the signer.
    pub token: String,
}

/// Allowed records whose outcome did not leave the service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Undelivered {
    /// Their numbers in this chain.
    pub sequences: Vec<u64>,
}

/// What a reader must know of the chain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Notice {
    /// What happened, as a word for machines.
    pub what: String,
    /// What happened, for people.
    pub message: String,
}

impl Decision {
    /// Returns the word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

impl Data {
    /// Cuts texts that others may have said at length.
    pub fn bound(&mut self) {
        for text in [
            &mut self.callerid,
            &mut self.site,
            &mut self.via,
            &mut self.peer,
        ] {
            shorten(text, MAX_WORD_BYTES);
        }
        if let Some(decision) = &mut self.decision {
            shorten(&mut decision.message, MAX_MESSAGE_BYTES);
            shorten(&mut decision.reason, MAX_WORD_BYTES);
            for text in [
                &mut decision.rule,
                &mut decision.policy,
                &mut decision.tenant,
            ]
            .into_iter()
            .flatten()
            {
                shorten(text, MAX_WORD_BYTES);
            }
        }
        if let Some(token) = &mut self.token {
            token.bound();
        }
        if let Some(rpc) = &mut self.rpc {
            shorten(&mut rpc.agent, MAX_WORD_BYTES);
            shorten(&mut rpc.action, MAX_WORD_BYTES);
        }
        if let Some(login) = &mut self.login {
            for text in [&mut login.method, &mut login.user, &mut login.public_key] {
                shorten(text, MAX_WORD_BYTES);
            }
            if let Some(factor) = &mut login.factor {
                shorten(factor, MAX_WORD_BYTES);
            }
        }
        if let Some(notice) = &mut self.notice {
            shorten(&mut notice.what, MAX_WORD_BYTES);
            shorten(&mut notice.message, MAX_MESSAGE_BYTES);
        }
    }

    /// Encodes as JSON.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let request = self.request.as_deref().map_or(0, |raw| raw.get().len());
        json::encode_about(self, request + FACTS_BYTES)
    }
}

impl TokenFacts {
    fn bound(&mut self) {
        for text in [
            &mut self.jti,
            &mut self.issuer,
            &mut self.organisation,
            &mut self.callerid,
            &mut self.public_key,
        ] {
            shorten(text, MAX_WORD_BYTES);
        }
        self.permissions.truncate(32);
        for text in &mut self.permissions {
            shorten(text, MAX_WORD_BYTES);
        }
    }
}
