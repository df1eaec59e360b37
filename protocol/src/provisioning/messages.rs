//! Texts by which original nodes say why an action was not done; provisioners of either kind go by them.

use crate::id::Identity;

/// The shared secret is another one.
pub const WRONG_TOKEN: &str = "Incorrect provision token supplied";
/// Another caller enrols the node at the moment.
pub const LOCKED: &str = "Could not obtain provisioning lock";
/// The node is a member: `jwt`, `gen25519`, `gencsr`, `configure`.
pub const NOT_PROVISIONING: &str = "Cannot reconfigure a server that is not in provisioning mode";
/// The node is a member: `release_update`.
pub const NOT_PROVISIONING_UPDATE: &str = "Cannot update a server that is not in provisioning mode";
/// The node may not replace its own software.
pub const UPDATES_OFF: &str = "Version updates is not enabled in the configuration";
/// The node is no member: `reprovision`.
pub const ALREADY_PROVISIONING: &str =
    "Server is already in provisioning mode, cannot enable provisioning mode again";
/// The node is a member without a shared secret: `restart`.
pub const CANNOT_RESTART: &str =
    "Cannot restart a server that is not in provisioning mode or with no token set";
/// The node is a member without a shared secret: `shutdown`.
pub const CANNOT_SHUTDOWN: &str =
    "Cannot shutdown a server that is not in provisioning mode or with no token set";
/// The node knows of no file with a provisioning token.
pub const NO_TOKEN_FILE: &str = "No Provisioning JWT file has been configured";
/// The file with the provisioning token is gone.
pub const TOKEN_FILE_MISSING: &str = "Provisioning JWT file does not exist";
/// `configure` without configuration.
pub const NO_CONFIGURATION: &str =
    "Did not receive any configuration to write, cannot write a empty configuration file";
/// `configure` with a private key but no public key to decrypt it with; the slip in it is the original's.
pub const NO_EXCHANGE_KEY: &str = "EDCH Public Key not supplied while providing a private key";
/// `configure` with a private key that is not encrypted.
pub const KEY_NOT_ENCRYPTED: &str = "key is not encrypted";
/// Begins the refusal of a configuration that is no object of texts.
pub const BAD_CONFIGURATION: &str = "Could not decode configuration data";
/// Begins the refusal of a configuration that does not parse.
pub const CONFIGURATION_NOT_WRITTEN: &str = "Could not write config";

/// Returns the reply text of `configure`.
#[must_use]
pub fn wrote(lines: usize, file: &str) -> String {
    format!("Wrote {lines} lines to {file}")
}

/// Returns the reply text of `restart` and `release_update`.
#[must_use]
pub fn restarting(seconds: u64) -> String {
    format!("Restarting Choria Server after {seconds}s")
}

/// Returns the reply text of `shutdown`.
#[must_use]
pub fn shutting_down(seconds: u64) -> String {
    format!("Shutting Choria Server down after {seconds}s")
}

/// Returns the reply text of `reprovision`.
#[must_use]
pub fn reprovisioning(seconds: u64) -> String {
    format!("Restarting after {seconds}s")
}

/// Returns the `sender` of a provisioner's requests: nodes lock by sender and caller, so no two instances may share it.
#[must_use]
pub fn sender(provisioner: &Identity, instance: &str) -> String {
    format!("{provisioner}-{instance}")
}
