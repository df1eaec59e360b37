use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a login was refused, and whose it was; all of it but the reason is what the connection claimed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Refusal {
    /// Reason as a word for machines, in lower case with underscores.
    pub reason: String,
    /// Reason as a sentence for people.
    pub message: String,
    /// Purpose of the token that was shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// Caller id of the token that was shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// Organisation of the token that was shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organisation: Option<String>,
    /// Address that the connection came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_host: Option<String>,
    /// Name that the connection gave itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_name: Option<String>,
    /// User name that the connection logged in with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Broker that the connection was made to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "login refused: {} ({})", self.message, self.reason)?;
        if let Some(host) = &self.client_host {
            write!(f, " from {host}")?;
        }
        if let Some(server) = &self.server_name {
            write!(f, " at {server}")?;
        }
        Ok(())
    }
}
