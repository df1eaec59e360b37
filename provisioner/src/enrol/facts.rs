//! What is known in the course of an enrolment: little that lasts, and much that is needed until the node restarts.

use std::ops::{Deref, DerefMut};
use std::sync::LazyLock;

use overlay_protocol::provisioning::Issued;
use overlay_protocol::provisioning::action::ConfigureRequest;
use overlay_protocol::provisioning::audit::HelperFacts;
use overlay_tokens::{PublicKey, UnixTime};

use super::NameState;
use super::command::Why;
use super::judge::Shown;
use crate::answer::Answer;
use crate::question::{NodeKey, SigningRequest};

/// What the end needs, also of a node that was awaited for long.
#[derive(Debug, Default)]
pub(super) struct Lasting {
    pub(super) former_key: Option<Box<PublicKey>>,
    pub(super) name: Option<NameState>,
    pub(super) helper: Option<Box<Verdict>>,
    pub(super) configured: bool,
}

/// What the helper decided, as small as it is kept.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) decision: &'static str,
    pub(super) message: Option<Box<str>>,
    pub(super) confirmed: bool,
    pub(super) digest: Option<[u8; 32]>,
    pub(super) took_ms: Option<u64>,
}

impl Verdict {
    pub(super) fn facts(&self) -> HelperFacts {
        HelperFacts {
            decision: self.decision.to_owned(),
            message: self.message.as_deref().map(str::to_owned),
            confirmed: self.confirmed,
            sha256: self.digest.map(hex::encode),
            took_ms: self.took_ms,
        }
    }
}

/// What was learned on the way.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// Which of the secrets for its name is tried, or was right.
    pub(super) secret: usize,
    pub(super) renewal_nonce: String,
    pub(super) held_until: Option<i64>,
    pub(super) shown: Option<Box<Shown>>,
    pub(super) ecdh_public: String,
    pub(super) inventory: Option<Inventory>,
    /// Why the helper has to confirm.
    pub(super) confirm: Option<Why>,
    pub(super) nonce: String,
    pub(super) public_key: Option<PublicKey>,
    pub(super) key: Option<NodeKey>,
    pub(super) csr: Option<SigningRequest>,
    pub(super) asked: Option<UnixTime>,
    pub(super) answer: Option<Box<Answer>>,
    pub(super) delivery: Option<Box<ConfigureRequest>>,
    pub(super) issued: Option<Issued>,
}

/// What the node says of itself.
#[derive(Debug)]
pub(super) struct Inventory {
    pub(super) json: String,
    pub(super) version: String,
    pub(super) upgradable: bool,
}

/// Facts that take no room before the first and after they were forgotten.
#[derive(Debug, Default)]
pub(super) struct Learned(Option<Box<Facts>>);

impl Learned {
    pub(super) fn forget(&mut self) {
        self.0 = None;
    }
}

impl Deref for Learned {
    type Target = Facts;

    fn deref(&self) -> &Facts {
        static NOTHING: LazyLock<Facts> = LazyLock::new(Facts::default);
        self.0.as_deref().unwrap_or(&NOTHING)
    }
}

impl DerefMut for Learned {
    fn deref_mut(&mut self) -> &mut Facts {
        self.0.get_or_insert_default()
    }
}
