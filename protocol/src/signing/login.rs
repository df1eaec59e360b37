//! Logging in: with a password over HTTP as in Choria, and by more ways and over the broker as well.
//!
//! Each step is signed with the key that the token is to be bound to; the signature covers the texts of this module.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::expose;
use crate::SecretText;

/// A login with a name and a password.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoginRequest {
    /// Name.
    pub username: String,
    /// Password.
    #[serde(serialize_with = "expose")]
    pub password: SecretText,
    /// Unix seconds in decimal, as the signature covers them.
    pub timestamp: String,
    /// Key that the token is to be bound to, in hexadecimal.
    pub public_key: String,
    /// Signature over [`password_text`], in hexadecimal.
    pub signature: String,
}

/// Outcome of a login. Its members are texts, and absent when empty: clients of Choria read nothing else.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoginResponse {
    /// The token.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub token: String,
    /// Why there is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
}

/// The ways in which a service logs people in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Methods {
    /// The ways, best first.
    pub methods: Vec<Method>,
    /// Organisation that tokens are for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub organisation: String,
    /// Site of the service.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub site: String,
}

/// One way to log in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Method {
    /// Its name, such as `userlist`, `ldap` or `oidc`.
    pub name: String,
    /// What is asked of a person.
    pub kind: MethodKind,
}

/// What a way to log in asks of a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MethodKind {
    /// A name and a password.
    Password,
    /// To confirm a code on a page that is opened anywhere.
    Device,
    /// To log in on a page that comes back to this machine.
    Code,
}

impl MethodKind {
    /// Returns the word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Device => "device",
            Self::Code => "code",
        }
    }
}

/// A login with a name and a password, and a one-time code where one is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PasswordLogin {
    /// As in Choria.
    #[serde(flatten)]
    pub login: LoginRequest,
    /// One-time code.
    #[serde(
        serialize_with = "expose_some",
        skip_serializing_if = "Option::is_none"
    )]
    pub otp: Option<SecretText>,
}

/// Begin of a login that takes several steps.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Begin {
    /// Name of the method.
    pub method: String,
    /// Kind of the method, as on the wire.
    pub kind: String,
    /// Key that the token is to be bound to, in hexadecimal.
    pub public_key: String,
    /// Unix seconds in decimal.
    pub timestamp: String,
    /// Address on this machine that the page comes back to; empty for codes that are confirmed elsewhere.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub redirect_uri: String,
    /// Signature over [`begin_text`], in hexadecimal.
    pub signature: String,
}

/// What a person has to do next, or why there is nothing to do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Begun {
    /// The login so far, sealed; handed back with each further step.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub flow: String,
    /// Page to open on this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorize_url: Option<String>,
    /// Page to open anywhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verification_uri: Option<String>,
    /// The same with the code in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verification_uri_complete: Option<String>,
    /// Code to confirm there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_code: Option<String>,
    /// Seconds to wait between two questions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<u64>,
    /// Seconds until the login must be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<u64>,
    /// Why the login cannot begin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A further step of a login.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Continue {
    /// The login so far.
    pub flow: String,
    /// Code that the page came back with.
    #[serde(
        serialize_with = "expose_some",
        skip_serializing_if = "Option::is_none"
    )]
    pub code: Option<SecretText>,
    /// State that the page came back with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Key that the token is to be bound to, in hexadecimal.
    pub public_key: String,
    /// Unix seconds in decimal.
    pub timestamp: String,
    /// Signature over [`continue_text`], in hexadecimal.
    pub signature: String,
}

/// Outcome of a further step.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Continued {
    /// The token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The person is not done: seconds to wait before the next question.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending: Option<u64>,
    /// Why there is no token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// End of a session: its token is good for nothing any more. Answered by a [`LoginResponse`] with neither member.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Logout {
    /// The token.
    #[serde(serialize_with = "expose")]
    pub token: SecretText,
    /// Unix seconds in decimal.
    pub timestamp: String,
    /// Signature over [`logout_text`] by the token's own key, in hexadecimal.
    pub signature: String,
}

/// Returns what the signature of a login with a password covers.
#[must_use]
pub fn password_text(timestamp: &str, username: &str, password: &str) -> Zeroizing<String> {
    Zeroizing::new([timestamp, ":", username, ":", password].concat())
}

/// Returns what the signature of the begin of a login covers.
#[must_use]
pub fn begin_text(timestamp: &str, method: &str, kind: &str, redirect_uri: &str) -> String {
    format!("overlay-login-begin:{timestamp}:{method}:{kind}:{redirect_uri}")
}

/// Returns what the signature of a further step of a login covers; absent parts are empty.
#[must_use]
pub fn continue_text(timestamp: &str, flow: &str, code: &str, state: &str) -> Zeroizing<String> {
    Zeroizing::new(format!(
        "overlay-login-continue:{timestamp}:{flow}:{code}:{state}"
    ))
}

/// Returns what the signature of the end of a session covers; `jti` is the id of its token.
#[must_use]
pub fn logout_text(timestamp: &str, jti: &str) -> String {
    format!("overlay-logout:{timestamp}:{jti}")
}

#[expect(
    clippy::ref_option,
    reason = "serde calls it with a reference to the field"
)]
fn expose_some<S: serde::Serializer>(
    secret: &Option<SecretText>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.as_ref().map(SecretText::expose).unwrap_or_default())
}
