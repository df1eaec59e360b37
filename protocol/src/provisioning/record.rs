use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{DecodeError, Layer};
use crate::id::Identity;
use crate::json::{self, Limits};
use crate::shorten::{cut, shorten};

/// How many times of enrolments a record keeps, for the detection of nodes that come back again and again.
pub const KEPT_ENROLMENTS: usize = 16;
/// Longest text for people that a record keeps, in bytes.
pub const MAX_REASON_BYTES: usize = 1024;

/// Longest other text that a record keeps, in bytes.
pub const MAX_WORD_BYTES: usize = 255;
/// Most collectives that a record names.
pub const MAX_COLLECTIVES: usize = 16;

/// Where a node stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// It was seen and has not been taken up.
    Waiting,
    /// An instance works on it.
    Enrolling,
    /// It got its configuration and has not been seen as a member yet.
    Restarting,
    /// It is a member.
    Member,
    /// The helper put it off.
    Deferred,
    /// The last attempt went wrong; there will be another.
    Failed,
    /// It failed too often, or came back too often, or an operator said so; there will be no attempt until it is released.
    Quarantined,
    /// It may not be enrolled as it presents itself.
    Refused,
}

/// What the provisioner remembers of a node, kept in a bucket under [`record_key`](super::record_key).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// The node.
    pub identity: Identity,
    /// Where it stands.
    pub state: NodeState,
    /// Since when, in Unix seconds.
    #[serde(default)]
    pub since: i64,
    /// When it was seen for the first time, in Unix seconds.
    #[serde(default)]
    pub first_seen: i64,
    /// When this was written, in Unix seconds.
    #[serde(default)]
    pub updated: i64,
    /// How it was found last: `event`, `scan` or `retry`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// Attempts since the last success.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub attempts: u32,
    /// Attempts in a row that failed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failures: u32,
    /// When the first of these was, in Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_failure: Option<i64>,
    /// Attempts in a row that the helper put off.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub deferrals: u32,
    /// Why it is no member, as a word for machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The same for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Before when there is no further attempt, in Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<i64>,
    /// When it was enrolled, in Unix seconds, oldest first; the last [`KEPT_ENROLMENTS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub enrolments: Vec<i64>,
    /// Server token that it was given last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued: Option<Issued>,
    /// Provisioning token that it showed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenFacts>,
    /// Site that its provisioning token names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// Version of its software.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Overlay that the helper placed it in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<String>,
    /// Instance that worked on it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Operator who quarantined or released it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
    /// Whether an operator lets the next attempt take the name though it is live or holds a valid token.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub confirmed: bool,
}

/// A server token that was issued, without the token.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Issued {
    /// Id of the token.
    pub id: String,
    /// Public key of the node, 64 hexadecimal digits.
    pub public_key: String,
    /// When it was issued, in Unix seconds.
    pub at: i64,
    /// When it expires, in Unix seconds.
    pub expires: i64,
    /// Organisation.
    pub organisation: String,
    /// Collectives.
    pub collectives: Vec<String>,
}

/// A token that was shown, without its secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TokenFacts {
    /// SHA-256 of its text, 64 hexadecimal digits.
    pub sha256: String,
    /// Id of the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Organisation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organisation: Option<String>,
    /// Issuer as the token names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// When it expires, in Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<i64>,
    /// The one name that it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound_to: Option<String>,
    /// Whether it is good for one enrolment only.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub one_time: bool,
}

impl NodeState {
    /// All states, in the order in which a node goes through them.
    pub const ALL: [Self; 8] = [
        Self::Waiting,
        Self::Enrolling,
        Self::Restarting,
        Self::Member,
        Self::Deferred,
        Self::Failed,
        Self::Quarantined,
        Self::Refused,
    ];

    /// Returns the word for the state.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Enrolling => "enrolling",
            Self::Restarting => "restarting",
            Self::Member => "member",
            Self::Deferred => "deferred",
            Self::Failed => "failed",
            Self::Quarantined => "quarantined",
            Self::Refused => "refused",
        }
    }
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that names no state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no state of a node")]
pub struct StateError(String);

impl FromStr for NodeState {
    type Err = StateError;

    fn from_str(word: &str) -> Result<Self, StateError> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == word)
            .ok_or_else(|| StateError(word.chars().take(64).collect()))
    }
}

impl NodeRecord {
    /// Makes the record of a node that was seen for the first time.
    #[must_use]
    pub fn new(identity: Identity, now: i64) -> Self {
        Self {
            identity,
            state: NodeState::Waiting,
            since: now,
            first_seen: now,
            updated: now,
            found: None,
            attempts: 0,
            failures: 0,
            first_failure: None,
            deferrals: 0,
            reason: None,
            message: None,
            not_before: None,
            enrolments: Vec::new(),
            issued: None,
            token: None,
            site: None,
            version: None,
            placement: None,
            instance: None,
            operator: None,
            confirmed: false,
        }
    }

    /// Notes an enrolment, and forgets the oldest ones beyond [`KEPT_ENROLMENTS`].
    pub fn note_enrolment(&mut self, now: i64) {
        self.enrolments.push(now);
        let surplus = self.enrolments.len().saturating_sub(KEPT_ENROLMENTS);
        self.enrolments.drain(..surplus);
    }

    /// Sets why the node is no member; a long text is cut.
    pub fn set_reason(&mut self, reason: &str, message: &str) {
        self.reason = Some(cut(reason, 64).to_owned());
        self.message = Some(cut(message, MAX_REASON_BYTES).to_owned());
    }

    /// Decodes a record.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] says which limit was broken, or why it is no record.
    pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Self, DecodeError> {
        let layer = Layer::NodeRecord;
        limits.check(layer, bytes)?;
        serde_json::from_slice(bytes).map_err(|source| DecodeError::Json { layer, source })
    }

    /// Encodes the record; what nodes and helpers may have said at length is cut.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut record = self.clone();
        record.bound();
        json::encode(&record)
    }

    fn bound(&mut self) {
        if let Some(message) = &mut self.message {
            shorten(message, MAX_REASON_BYTES);
        }
        let words = [
            &mut self.found,
            &mut self.reason,
            &mut self.site,
            &mut self.version,
            &mut self.placement,
            &mut self.instance,
            &mut self.operator,
        ];
        for text in words.into_iter().flatten() {
            shorten(text, MAX_WORD_BYTES);
        }
        let surplus = self.enrolments.len().saturating_sub(KEPT_ENROLMENTS);
        self.enrolments.drain(..surplus);
        if let Some(token) = &mut self.token {
            token.bound();
        }
        if let Some(issued) = &mut self.issued {
            issued.bound();
        }
    }
}

impl Issued {
    pub(super) fn bound(&mut self) {
        for text in [&mut self.id, &mut self.public_key, &mut self.organisation] {
            shorten(text, MAX_WORD_BYTES);
        }
        self.collectives.truncate(MAX_COLLECTIVES);
        for text in &mut self.collectives {
            shorten(text, MAX_WORD_BYTES);
        }
    }
}

impl TokenFacts {
    pub(super) fn bound(&mut self) {
        shorten(&mut self.sha256, MAX_WORD_BYTES);
        let words = [
            &mut self.id,
            &mut self.organisation,
            &mut self.issuer,
            &mut self.bound_to,
        ];
        for text in words.into_iter().flatten() {
            shorten(text, MAX_WORD_BYTES);
        }
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_zero(number: &u32) -> bool {
    *number == 0
}
