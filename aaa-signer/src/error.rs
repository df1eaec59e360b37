//! What keeps the service from starting.

use overlay_runtime::err_chain;

use crate::config::KeysError;

/// Why the service does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Keys and tokens that the configuration names cannot be used.
    #[error("the keys of the configuration cannot be used: {}", .0.join("; "))]
    Keys(Vec<String>),
}

impl StartError {
    pub(crate) fn keys(errors: Vec<KeysError>) -> Self {
        Self::Keys(errors.iter().map(|error| err_chain(error)).collect())
    }
}
