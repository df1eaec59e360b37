//! Signatures by others: how a client has its requests signed, and how somebody logs in for that.
//!
//! ```text
//! RPC   agent aaa_signer, action sign: SignRequest ──> SignReply
//! HTTP  POST /choria/v1/sign:          HttpSignRequest ──> HttpSignResponse
//!       POST /choria/v1/login:         LoginRequest ──> LoginResponse
//! ```

pub mod login;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::error::{DecodeError, Layer};
use crate::{SecretText, b64};

pub use login::{LoginRequest, LoginResponse};

/// Agent that signs.
pub const AGENT: &str = "aaa_signer";
/// Its action.
pub const ACTION: &str = "sign";

/// What an HTTP client reads when a request is not signed, whatever the reason.
pub const HTTP_DENIED: &str = "Request denied";
/// What an RPC client reads when a request is not signed, whatever the reason.
pub const RPC_DENIED: &str = "Request Denied";
/// What an HTTP client reads when the service signs nothing.
pub const NO_SIGNER: &str = "No signer configured";
/// What a client reads when a login fails, whatever the reason.
pub const LOGIN_FAILED: &str = "Login failed";
/// What a client reads when a login is good and the service cannot issue a token.
pub const CANNOT_SIGN: &str = "Could not sign JWT token";
/// What a client reads when the service logs nobody in.
pub const NO_AUTHENTICATOR: &str = "No authenticator configured";

/// Inputs of the action `sign`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SignRequest {
    /// The caller's token.
    #[serde(serialize_with = "expose")]
    pub token: SecretText,
    /// The request as text, which is what its signature covers.
    pub request: String,
    /// The caller's Ed25519 signature over the request's bytes, in hexadecimal; empty for a bearer token.
    pub signature: String,
}

/// Outputs of the action `sign`; clients of Choria fall over when the member is absent or no text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignReply {
    /// The signed request as text; empty when it was not signed.
    pub secure_request: String,
}

/// Body of a question over HTTP.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HttpSignRequest {
    /// The caller's token.
    #[serde(serialize_with = "expose")]
    pub token: SecretText,
    /// The request's bytes in padded base64.
    pub request: String,
    /// As in [`SignRequest`], over the decoded bytes.
    pub signature: String,
}

/// Body of an answer over HTTP. Its members are texts, and absent when empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HttpSignResponse {
    /// The signed request in base64.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub secure_request: String,
    /// Why there is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
}

impl SignRequest {
    /// Makes the inputs of the action.
    #[must_use]
    pub fn to_data(&self) -> Map<String, Value> {
        Map::from_iter([
            ("token".to_owned(), self.token.expose().into()),
            ("request".to_owned(), self.request.as_str().into()),
            ("signature".to_owned(), self.signature.as_str().into()),
        ])
    }

    /// Reads the inputs of the action; an absent one is empty.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Json`] when an input is no text.
    pub fn from_data(data: Map<String, Value>) -> Result<Self, DecodeError> {
        from_data(data)
    }
}

impl SignReply {
    /// Makes the outputs of the action.
    #[must_use]
    pub fn to_data(&self) -> Map<String, Value> {
        Map::from_iter([(
            "secure_request".to_owned(),
            self.secure_request.as_str().into(),
        )])
    }

    /// Reads the outputs of the action.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Json`] when the output is absent or no text.
    pub fn from_data(data: Map<String, Value>) -> Result<Self, DecodeError> {
        from_data(data)
    }
}

impl HttpSignRequest {
    /// Makes a question from the request's bytes.
    #[must_use]
    pub fn new(token: SecretText, request: &[u8], signature: String) -> Self {
        Self {
            token,
            request: b64::encode(request),
            signature,
        }
    }

    /// Returns the request's bytes.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Member`] when the text is not padded standard base64.
    pub fn request_bytes(&self) -> Result<Vec<u8>, DecodeError> {
        bytes("request", &self.request)
    }
}

impl HttpSignResponse {
    /// Makes an answer from a signed request's bytes.
    #[must_use]
    pub fn signed(secure_request: &[u8]) -> Self {
        Self {
            secure_request: b64::encode(secure_request),
            error: String::new(),
        }
    }

    /// Makes an answer without a signature.
    #[must_use]
    pub fn refused(error: &str) -> Self {
        Self {
            secure_request: String::new(),
            error: error.to_owned(),
        }
    }

    /// Returns the signed request's bytes.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Member`] when the text is not padded standard base64.
    pub fn secure_request_bytes(&self) -> Result<Vec<u8>, DecodeError> {
        bytes("secure_request", &self.secure_request)
    }
}

fn bytes(member: &'static str, text: &str) -> Result<Vec<u8>, DecodeError> {
    b64::decode(text.as_bytes()).map_err(|error| DecodeError::Member {
        layer: Layer::Signing,
        member,
        reason: error.to_string(),
    })
}

fn from_data<T: serde::de::DeserializeOwned>(data: Map<String, Value>) -> Result<T, DecodeError> {
    serde_json::from_value(Value::Object(data)).map_err(|source| DecodeError::Json {
        layer: Layer::Signing,
        source,
    })
}

/// Writes a secret into a message that carries it.
fn expose<S: Serializer>(secret: &SecretText, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose())
}

#[cfg(test)]
mod tests;
