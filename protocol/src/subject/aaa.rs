//! Subjects of logins and of the audit of signatures.

use crate::id::Identity;

/// Question which ways to log in there are.
pub const LOGIN_METHODS: &str = "overlay.login.v1.methods";
/// Login with a password.
pub const LOGIN_PASSWORD: &str = "overlay.login.v1.password";
/// Begin of a login that takes several steps.
pub const LOGIN_BEGIN: &str = "overlay.login.v1.begin";
/// Further step of a login.
pub const LOGIN_CONTINUE: &str = "overlay.login.v1.continue";
/// End of a session.
pub const LOGIN_LOGOUT: &str = "overlay.login.v1.logout";
/// All questions to the login service.
pub const LOGIN: &str = "overlay.login.v1.*";
/// Records of the login and signing service: lines of chains, several in a message.
pub const AUDIT_AAA: &str = "overlay.audit.aaa.>";
/// Prefix of the stream API as readers of the audit see it.
pub const AUDIT_API_PREFIX: &str = "overlay.audit.api";

/// Returns the inbox prefix of somebody who logs in, by the public key that the session is bound to.
#[must_use]
pub fn login_reply_prefix(public_key: &[u8; 32]) -> String {
    format!("overlay.login.reply.{}", hex::encode(public_key))
}

/// Returns where the records of one chain go.
#[must_use]
pub fn audit_aaa(chain: &Identity) -> String {
    format!("overlay.audit.aaa.{chain}")
}
