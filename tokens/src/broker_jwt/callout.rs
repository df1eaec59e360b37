//! The authorization request of nats-server: who wants to log in, and with what.

use std::fmt;

use nkeys::KeyPairType;
use quick_cache::sync::Cache;
use serde::Deserialize;

use super::HEADER;
use super::curve::{CurveError, CurveKey};
use super::nkey::{NkeyError, public_bytes, server_key};
use crate::SecretText;
use crate::UnixTime;
use crate::encoding;
use crate::key::PublicKey;

/// Longest request that is read, in bytes: a control line of 64 KiB and a chain of certificates fit well.
pub const MAX_CALLOUT_BYTES: usize = 256 * 1024;

const AUDIENCE: &str = "nats-authorization-request";
const TYPE: &str = "authorization_request";
/// Servers whose parsed key is remembered.
const SERVERS: usize = 64;

/// Why an authorization request is not answered.
#[derive(Debug, thiserror::Error)]
pub enum CalloutError {
    /// Longer than [`MAX_CALLOUT_BYTES`].
    #[error("authorization request of {bytes} bytes is over the limit of {MAX_CALLOUT_BYTES}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Not three segments of base64url with the header of NATS.
    #[error("authorization request is not a JWT of NATS")]
    Form,
    /// The claims are not those of an authorization request.
    #[error("authorization request not understood")]
    Json(#[source] serde_json::Error),
    /// `iss` is no server key, or `user_nkey` no user key.
    #[error("authorization request names an unusable {what}")]
    Key {
        /// Which of them.
        what: &'static str,
        /// What is wrong with it.
        #[source]
        source: NkeyError,
    },
    /// The sealed request does not open.
    #[error("sealed authorization request not opened")]
    Sealed(#[from] CurveError),
    /// The signature is not that of the server in `iss`.
    #[error("signature of the authorization request is invalid")]
    Signature,
    /// A claim is not what it must be.
    #[error("authorization request has the wrong `{claim}`")]
    Claim {
        /// Its name.
        claim: &'static str,
    },
    /// The server no longer waits, or the clocks differ.
    #[error("authorization request expired {late} s ago, or the clocks differ")]
    Expired {
        /// By how many seconds.
        late: i64,
    },
}

impl ClientTls {
    /// Tells whether the server has verified a certificate of the client.
    pub fn is_verified(&self) -> bool {
        self.verified_chains.iter().any(|chain| !chain.is_empty())
    }
}

/// A verified authorization request. Empty texts are absent ones, as the server omits them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CalloutRequest {
    /// Fresh user key `U...` which the answer and the user JWT must be about.
    pub user_nkey: String,
    /// The server that asks; the answer's audience is its id.
    pub server_id: ServerId,
    /// What the server knows about the connection.
    pub client_info: ClientInfo,
    /// What the client sent in CONNECT.
    pub connect_opts: ConnectOpts,
    /// Absent when the connection has no TLS.
    pub client_tls: Option<ClientTls>,
    /// When the server stops waiting, in Unix seconds.
    pub exp: i64,
    /// When the request was made, in Unix seconds.
    pub iat: i64,
}

/// The server that asks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ServerId {
    /// Configured name.
    pub name: String,
    /// Host it listens on.
    pub host: String,
    /// Public key `N...`, new at each start.
    pub id: String,
    /// Version of nats-server.
    pub version: String,
    /// Cluster name.
    pub cluster: String,
    /// Public curve key `X...` to seal the answer for; empty when sealing is off.
    pub xkey: String,
}

/// What the server knows about the connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ClientInfo {
    /// Address of the peer.
    pub host: String,
    /// Connection id within the server.
    pub id: u64,
    /// User as the server would log it; `[REDACTED]` for a client with only a token. Not to be relied on.
    pub user: String,
    /// Connection name.
    pub name: String,
    /// `Client` or `Leafnode`.
    pub kind: String,
    /// `nats`, `websocket`, `mqtt`, or empty for a leaf node.
    #[serde(rename = "type")]
    pub type_: String,
    /// The nonce of INFO; present only when the client sent a signature.
    pub nonce: String,
}

/// What the client sent in CONNECT.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ConnectOpts {
    /// Always empty in practice: the server blanks it. Not to be relied on.
    pub jwt: SecretText,
    /// User key of a plain NATS client.
    pub nkey: String,
    /// Signature over the nonce.
    pub sig: String,
    /// The Choria token.
    pub auth_token: SecretText,
    /// User name.
    pub user: String,
    /// Password.
    pub pass: SecretText,
    /// Connection name.
    pub name: String,
    /// Language of the client library.
    pub lang: String,
    /// Version of the client library.
    pub version: String,
    /// Version of the NATS protocol.
    pub protocol: i64,
}

/// TLS of the connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ClientTls {
    /// Version, such as `1.3`.
    pub version: String,
    /// Cipher suite.
    pub cipher: String,
    /// Chains that the server verified, leaf first, each certificate as PEM.
    pub verified_chains: Vec<Vec<String>>,
    /// Certificates that the client showed and nobody verified.
    pub certs: Vec<String>,
}

#[derive(Deserialize)]
struct Raw {
    iss: String,
    sub: String,
    aud: String,
    #[serde(default)]
    exp: i64,
    #[serde(default)]
    iat: i64,
    nats: RawRequest,
}

#[derive(Deserialize)]
struct RawRequest {
    #[serde(rename = "type")]
    type_: String,
    version: i64,
    user_nkey: String,
    server_id: ServerId,
    #[serde(default)]
    client_info: ClientInfo,
    #[serde(default)]
    connect_opts: ConnectOpts,
    #[serde(default)]
    client_tls: Option<ClientTls>,
}

/// Verifies authorization requests that are addressed to one account key.
///
/// Remembers the parsed keys of the servers, and which curve key a server has proved to be its own.
pub struct CalloutVerifier {
    subject: String,
    leeway_secs: i64,
    servers: Cache<String, PublicKey>,
    /// Curve key to server key, from requests that were both sealed by the one and signed by the other.
    sealers: Cache<String, String>,
}

impl CalloutVerifier {
    /// For requests to the account key `subject`, `A...`: the `issuer` of the broker's configuration.
    pub fn new(subject: impl Into<String>) -> Self {
        Self {
            subject: subject.into(),
            leeway_secs: 0,
            servers: Cache::new(SERVERS),
            sealers: Cache::new(SERVERS),
        }
    }

    /// Takes requests for `secs` seconds after the server stopped waiting, for clocks that differ by so much.
    #[must_use]
    pub fn with_leeway(mut self, secs: u32) -> Self {
        self.leeway_secs = i64::from(secs);
        self
    }

    /// Verifies a request's signature, audience, subject and expiry, and hands it out.
    ///
    /// The signature proves that the request is whole and from the server that it names. That this is a server of ours
    /// is proved by the account it arrives in, where only servers may publish, and by sealing.
    pub fn decode(&self, bytes: &[u8], now: UnixTime) -> Result<CalloutRequest, CalloutError> {
        let jwt = Jwt::split(bytes)?;
        let raw = jwt.claims()?;
        self.check_signature(&jwt, &raw)?;
        self.check(raw, now)
    }

    /// Opens and verifies a sealed request from the holder of `sender`, the `Nats-Server-Xkey` of its message.
    ///
    /// A box is proof of its sender too. Once a request has come that a server signed and that it sealed by the curve
    /// key it names, later ones from that curve key in the name of that server are not checked for the signature again.
    pub fn decode_sealed(
        &self,
        key: &CurveKey,
        sender: &str,
        sealed: &[u8],
        now: UnixTime,
    ) -> Result<CalloutRequest, CalloutError> {
        if sealed.len() > MAX_CALLOUT_BYTES {
            return Err(CalloutError::TooLong {
                bytes: sealed.len(),
            });
        }
        let plain = key.open(sender, sealed)?;
        let jwt = Jwt::split(&plain)?;
        let raw = jwt.claims()?;
        if raw.nats.server_id.xkey != sender {
            return Err(CalloutError::Claim { claim: "xkey" });
        }
        if self.sealers.get(sender).as_ref() != Some(&raw.iss) {
            self.check_signature(&jwt, &raw)?;
            self.sealers.insert(sender.to_owned(), raw.iss.clone());
        }
        self.check(raw, now)
    }

    fn check_signature(&self, jwt: &Jwt<'_>, raw: &Raw) -> Result<(), CalloutError> {
        let signature =
            encoding::decode_segment(jwt.signature).map_err(|_encoding| CalloutError::Form)?;
        if self
            .server(&raw.iss)?
            .verify(jwt.signed.as_bytes(), &signature)
        {
            Ok(())
        } else {
            Err(CalloutError::Signature)
        }
    }

    fn server(&self, iss: &str) -> Result<PublicKey, CalloutError> {
        if let Some(key) = self.servers.get(iss) {
            return Ok(key);
        }
        let key = server_key(iss).map_err(|source| CalloutError::Key {
            what: "server key",
            source,
        })?;
        self.servers.insert(iss.to_owned(), key);
        Ok(key)
    }

    fn check(&self, raw: Raw, now: UnixTime) -> Result<CalloutRequest, CalloutError> {
        let request = raw.nats;
        for (claim, wrong) in [
            ("aud", raw.aud != AUDIENCE),
            ("sub", raw.sub != self.subject),
            ("type", request.type_ != TYPE),
            ("version", request.version != 2),
            ("server_id", request.server_id.id != raw.iss),
        ] {
            if wrong {
                return Err(CalloutError::Claim { claim });
            }
        }
        if !now.is_before(raw.exp.saturating_add(self.leeway_secs)) {
            return Err(CalloutError::Expired {
                late: now.secs.saturating_sub(raw.exp),
            });
        }
        public_bytes(&request.user_nkey, &KeyPairType::User, "a user key (U...)").map_err(
            |source| CalloutError::Key {
                what: "user key",
                source,
            },
        )?;
        Ok(CalloutRequest {
            user_nkey: request.user_nkey,
            server_id: request.server_id,
            client_info: request.client_info,
            connect_opts: request.connect_opts,
            client_tls: request.client_tls,
            exp: raw.exp,
            iat: raw.iat,
        })
    }
}

impl fmt::Debug for CalloutVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CalloutVerifier")
            .field("subject", &self.subject)
            .field("leeway_secs", &self.leeway_secs)
            .finish_non_exhaustive()
    }
}

/// A JWT of NATS in its parts.
struct Jwt<'a> {
    signed: &'a str,
    claims: &'a str,
    signature: &'a str,
}

impl<'a> Jwt<'a> {
    fn split(bytes: &'a [u8]) -> Result<Self, CalloutError> {
        if bytes.len() > MAX_CALLOUT_BYTES {
            return Err(CalloutError::TooLong { bytes: bytes.len() });
        }
        let text = str::from_utf8(bytes).map_err(|_binary| CalloutError::Form)?;
        let (signed, signature) = text.rsplit_once('.').ok_or(CalloutError::Form)?;
        let (header, claims) = signed.split_once('.').ok_or(CalloutError::Form)?;
        if header != HEADER && !is_nats_header(header) {
            return Err(CalloutError::Form);
        }
        Ok(Self {
            signed,
            claims,
            signature,
        })
    }

    /// The claims. The signer stands among them, so they are parsed first and believed afterwards.
    fn claims(&self) -> Result<Raw, CalloutError> {
        let json = encoding::decode_segment(self.claims).map_err(|_encoding| CalloutError::Form)?;
        serde_json::from_slice(&json).map_err(CalloutError::Json)
    }
}

/// Verifies one request addressed to the account key `expect_sub`: see [`CalloutVerifier::decode`].
pub fn decode_request(
    bytes: &[u8],
    expect_sub: &str,
    now: UnixTime,
) -> Result<CalloutRequest, CalloutError> {
    CalloutVerifier::new(expect_sub).decode(bytes, now)
}

/// Tells whether a header other than the usual text still names the algorithm of NATS.
fn is_nats_header(segment: &str) -> bool {
    #[derive(Deserialize)]
    struct Header {
        typ: String,
        alg: String,
    }
    encoding::decode_segment(segment)
        .ok()
        .and_then(|json| serde_json::from_slice::<Header>(&json).ok())
        .is_some_and(|header| {
            header.typ.eq_ignore_ascii_case("jwt") && header.alg == "ed25519-nkey"
        })
}
