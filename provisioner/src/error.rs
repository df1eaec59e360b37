//! What keeps the provisioner from starting.

use overlay_runtime::err_chain;

use crate::config::KeysError;

/// Why the provisioner does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Secrets that the configuration names cannot be used.
    #[error("the secrets of the configuration cannot be used: {}", .0.join("; "))]
    Keys(Vec<String>),
}

impl StartError {
    pub(crate) fn keys(errors: Vec<KeysError>) -> Self {
        Self::Keys(errors.iter().map(|error| err_chain(error)).collect())
    }
}
