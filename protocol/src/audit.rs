//! Records of what was decided about logins and signatures: lines of a chain in which each names the one before by its hash.
//!
//! A line is a CloudEvent 1.0 in JSON without a line end. Its extension attributes `chain`, `sequence` and `previous` make
//! the chain, its data has the six members of Choria's signature audit and ours beside them. Some lines are signed
//! *checkpoints*: a signature over one covers all lines before it.

mod data;
mod line;
mod original;
mod text;

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

pub use data::{
    Data, Decision, LoginFacts, Notice, Reasons, RpcFacts, Seal, TokenFacts, Undelivered,
};
pub use line::{Envelope, Record, write_line};
pub use original::{original_document, original_line};
pub use text::{checkpoint_text, head_text};

/// What comes before the name of a chain in the source of its records.
pub const SOURCE_PREFIX: &str = "aaa-signer/";
/// What comes before the kind in the type of a record.
pub const TYPE_PREFIX: &str = "io.overlay.aaa.v1.";
/// Protocol of the records of signatures, as Choria's consumers know it.
pub const SIGNATURE_PROTOCOL: &str = "io.choria.signer.v1.signature_audit";
/// Longest line in bytes.
pub const MAX_LINE_BYTES: usize = 512 << 10;
/// Longest text for people in a record, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 2048;
/// Longest other text in a record, in bytes.
pub const MAX_WORD_BYTES: usize = 255;

/// What a record tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A request was signed, or was not.
    Signature,
    /// Somebody logged in, or could not.
    Login,
    /// Somebody ended a session.
    Logout,
    /// A writer took the chain up; signed.
    Opened,
    /// A signature over all that came before.
    Checkpoint,
    /// A writer ended as it should; signed.
    Closed,
    /// What was allowed in earlier records did not leave the service: whoever asked had gone by then.
    Undelivered,
    /// Something about the chain itself that a reader must know.
    Notice,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 8] = [
        Self::Signature,
        Self::Login,
        Self::Logout,
        Self::Opened,
        Self::Checkpoint,
        Self::Closed,
        Self::Undelivered,
        Self::Notice,
    ];

    /// Returns the word for the kind, as it ends the type of a record.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Signature => "signature",
            Self::Login => "login",
            Self::Logout => "logout",
            Self::Opened => "opened",
            Self::Checkpoint => "checkpoint",
            Self::Closed => "closed",
            Self::Undelivered => "undelivered",
            Self::Notice => "notice",
        }
    }

    /// Tells whether records of this kind carry a signature over the chain.
    #[must_use]
    pub fn is_sealed(self) -> bool {
        match self {
            Self::Opened | Self::Checkpoint | Self::Closed => true,
            Self::Signature | Self::Login | Self::Logout | Self::Undelivered | Self::Notice => {
                false
            }
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that names no kind of record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no kind of audit record")]
pub struct UnknownKind(String);

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(word: &str) -> Result<Self, UnknownKind> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == word)
            .ok_or_else(|| UnknownKind(word.chars().take(64).collect()))
    }
}

/// SHA-256 of the bytes of a line, without its line end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LineHash([u8; 32]);

impl LineHash {
    /// What the first line of a chain names as the one before.
    pub const NONE: Self = Self([0; 32]);

    /// Hashes a line.
    #[must_use]
    pub fn of(line: &[u8]) -> Self {
        Self(Sha256::digest(line).into())
    }
}

impl fmt::Display for LineHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0_u8; 64];
        hex::encode_to_slice(self.0, &mut text).map_err(|_impossible| fmt::Error)?;
        f.write_str(str::from_utf8(&text).map_err(|_impossible| fmt::Error)?)
    }
}

impl fmt::Debug for LineHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LineHash({self})")
    }
}

/// A text that is no hash of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a hash is 64 lower-case hexadecimal digits")]
pub struct NoHash;

impl FromStr for LineHash {
    type Err = NoHash;

    fn from_str(text: &str) -> Result<Self, NoHash> {
        let mut hash = [0; 32];
        let is_lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
        match hex::decode_to_slice(text, &mut hash) {
            Ok(()) if is_lower => Ok(Self(hash)),
            Ok(()) | Err(_) => Err(NoHash),
        }
    }
}

/// The last line of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Its number, from 1; 0 before the first.
    pub sequence: u64,
    /// Its hash.
    pub hash: LineHash,
}

impl Head {
    /// The head of a chain that has no line yet.
    pub const START: Self = Self {
        sequence: 0,
        hash: LineHash::NONE,
    };
}

#[cfg(test)]
mod tests;
