//! Why the service does not start. A refused login is a decision, not an error.

use overlay_runtime::err_chain;

use crate::config::KeysError;

/// Why the service does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Secrets cannot be used.
    #[error("{0}")]
    Keys(String),
    /// The broker asks nobody about logins.
    #[error(
        "the broker let in a login that proves nothing, without asking: its configuration has no auth_callout"
    )]
    NoCallout,
}

impl StartError {
    pub(crate) fn keys(errors: Vec<KeysError>) -> Self {
        let texts: Vec<_> = errors.iter().map(|error| err_chain(error)).collect();
        Self::Keys(texts.join("; "))
    }
}
