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
/// All questions to the login service.
pub const LOGIN: &str = "overlay.login.v1.*";
/// Records of the login and signing service: lines of chains, several in a message.
pub const AUDIT_AAA: &str = "overlay.audit.aaa.>";
/// Prefix of the stream API as readers of the audit see it.
pub const AUDIT_API_PREFIX: &str = "overlay.audit.api";
/// All of the stream API that readers of the audit see.
pub const AUDIT_API: &str = "overlay.audit.api.>";

/// Returns the inbox prefix of somebody who logs in, or nothing if the key is not 64 lower-case hexadecimal digits.
#[must_use]
pub fn login_reply_prefix(public_key: &str) -> Option<String> {
    let is_key = public_key.len() == 64
        && public_key
            .bytes()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'));
    is_key.then(|| format!("overlay.login.reply.{public_key}"))
}

/// Returns where the records of one chain go.
#[must_use]
pub fn audit_aaa(chain: &Identity) -> String {
    format!("overlay.audit.aaa.{chain}")
}
