//! What the helper answers, read as leniently as the original reads it and no more.

mod read;

use std::collections::BTreeMap;
use std::time::Duration;

use overlay_tokens::SecretText;
use overlay_tokens::claims::ServerPermissions;
use sha2::{Digest as _, Sha256};

/// What the helper decided.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answer {
    /// The node has to wait; comes before everything else.
    pub defer: bool,
    /// The node is to be shut down.
    pub shutdown: bool,
    /// A word for the log.
    pub msg: String,
    /// The node's configuration.
    pub configuration: BTreeMap<String, String>,
    /// What the node's token shall say.
    pub server_claims: Option<WantedClaims>,
    /// Action policies by file name.
    pub action_policies: BTreeMap<String, String>,
    /// Rego policies by file name.
    pub opa_policies: BTreeMap<String, String>,
    /// A private key, PEM.
    pub key: SecretText,
    /// Its certificate, PEM.
    pub certificate: String,
    /// The authorities, PEM.
    pub ca: String,
    /// Where the node shall keep certificates.
    pub ssldir: String,
    /// The version of the software that the node shall have.
    pub upgrade: String,
    /// The name may be taken although it is in use. Ours.
    pub confirm: bool,
    /// The overlay that the node goes to. Ours.
    pub placement: String,
    /// SHA-256 of the output, for records.
    pub digest: [u8; 32],
}

/// What the node's token shall say; the rest of the claims is not the helper's to choose.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WantedClaims {
    /// Organisation.
    pub ou: Option<String>,
    /// Expiry in Unix seconds.
    pub exp: Option<i64>,
    /// Collectives.
    pub collectives: Vec<String>,
    /// Further subjects to publish to.
    pub pub_subjects: Vec<String>,
    /// Permissions.
    pub permissions: Option<ServerPermissions>,
}

/// Why the helper's output cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// Nothing, or white space.
    #[error("the helper said nothing")]
    Empty,
    /// No JSON object, or more than one.
    #[error("the helper's output is no JSON object: {0}")]
    Json(String),
    /// A member of another type than it must be.
    #[error("the helper's `{member}` is of another type: {problem}")]
    Member {
        /// The member.
        member: String,
        /// What is wrong.
        problem: String,
    },
}

/// Why there is no answer of the helper.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HelperFault {
    /// None is configured.
    #[error("no helper is configured")]
    None,
    /// It cannot be started or reached.
    #[error("the helper cannot be run: {0}")]
    NotRun(String),
    /// It took too long, and was ended.
    #[error("the helper took longer than {} s", .0.as_secs_f64())]
    TimedOut(Duration),
    /// It ended with an exit code, by a signal, or answered with a status of failure.
    #[error("the helper failed: {0}")]
    Failed(String),
    /// Its output cannot be used.
    #[error(transparent)]
    Output(#[from] AnswerError),
}

impl Answer {
    /// Reads the helper's output.
    ///
    /// # Errors
    ///
    /// [`AnswerError`] says what cannot be used; a part of an output is never used.
    pub fn decode(output: &[u8]) -> Result<Self, AnswerError> {
        let mut answer = read::answer(output)?;
        answer.digest = Sha256::digest(output).into();
        Ok(answer)
    }

    /// The decision in a word, for records.
    #[must_use]
    pub fn decision(&self) -> &'static str {
        match (self.defer, self.shutdown) {
            (true, _) => "defer",
            (false, true) => "shutdown",
            (false, false) => "enrol",
        }
    }
}

#[cfg(test)]
mod tests;
