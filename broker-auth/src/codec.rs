//! From the bytes of a callout request to an attempt, and from a decision to the bytes of the answer.

use overlay_tokens::broker_jwt::{
    AccountKey, CalloutError, CalloutRequest, CalloutVerifier, CurveError, CurveKey,
    Permissions as UserPermissions, Responses, UserJwt, encode_response, encode_user,
};
use overlay_tokens::{KeyError, UnixTime};

use crate::attempt::{Attempt, Hidden, Kind, Tls};
use crate::decide::Decision;
use crate::permissions::Subject;

/// How far clocks may differ, in seconds, before requests are refused for it. An answer is of use only to the connection
/// that was asked about, so an old request opens no door; whether one is too old to bother is [`crate::age`]'s to say.
const CLOCK_LEEWAY: u32 = 3600;

/// Reads requests and writes answers; remembers the servers that it has dealt with.
#[derive(Debug)]
pub struct Codec {
    account: AccountKey,
    curve: Option<CurveKey>,
    verifier: CalloutVerifier,
}

/// Why a request is not read. It is not answered either: nothing is known of who asks.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is sealed, and there is no key to open it.
    #[error("the request is sealed, and no curve key is configured here")]
    NoCurveKey,
    /// It is not a request of a server, or not one for us.
    #[error(transparent)]
    Callout(#[from] CalloutError),
}

/// Why an answer was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Signing failed.
    #[error("sign the answer")]
    Sign(#[from] KeyError),
    /// Sealing failed.
    #[error("seal the answer")]
    Seal(#[from] CurveError),
}

impl Codec {
    /// Takes the key that signs, and the key that opens and seals.
    #[must_use]
    pub fn new(account: AccountKey, curve: Option<CurveKey>) -> Self {
        let verifier = CalloutVerifier::new(account.public()).with_leeway(CLOCK_LEEWAY);
        Self {
            account,
            curve,
            verifier,
        }
    }

    /// Whether requests are expected to be sealed: a curve key is configured here.
    #[must_use]
    pub fn seals(&self) -> bool {
        self.curve.is_some()
    }

    /// Opens, if `sealer` says that it was sealed, and verifies a request.
    ///
    /// # Errors
    ///
    /// When it does not open, or is not a request to our account key that is still waited for.
    pub fn read(
        &self,
        payload: &[u8],
        sealer: Option<&str>,
        now: UnixTime,
    ) -> Result<CalloutRequest, ReadError> {
        match (sealer, &self.curve) {
            (None, _) => Ok(self.verifier.decode(payload, now)?),
            (Some(sealer), Some(curve)) => {
                Ok(self.verifier.decode_sealed(curve, sealer, payload, now)?)
            }
            (Some(_), None) => Err(ReadError::NoCurveKey),
        }
    }

    /// Writes the answer to a request, sealed if the request was.
    ///
    /// A refusal names its reason to the server's log; the client never sees it.
    ///
    /// # Errors
    ///
    /// When it cannot be signed or sealed.
    pub fn write(
        &self,
        request: &CalloutRequest,
        decision: &Decision,
        sealer: Option<&str>,
        now: UnixTime,
    ) -> Result<Vec<u8>, WriteError> {
        let user = match decision {
            Decision::Allow(login) => {
                let user = UserJwt {
                    account: login.account.clone(),
                    name: login.name.clone(),
                    expires: login.expires,
                    permissions: UserPermissions {
                        pub_allow: texts(login.permissions.publish.allow()),
                        pub_deny: texts(login.permissions.publish.deny()),
                        sub_allow: texts(login.permissions.subscribe.allow()),
                        sub_deny: texts(login.permissions.subscribe.deny()),
                    },
                    resp: login.permissions.answers.map(|answers| Responses {
                        max: answers.each,
                        ttl: answers.within,
                    }),
                    // Limits in an answer bind nobody: nats-server reads those of the account only.
                };
                Ok(encode_user(&user, &request.user_nkey, &self.account, now)?)
            }
            Decision::Refuse(refusal) => Err(refusal.message()),
        };
        let answer = encode_response(
            user.as_deref().map_err(String::as_str),
            &request.user_nkey,
            &request.server_id.id,
            &self.account,
            now,
        )?;
        match (sealer, &self.curve) {
            (Some(sealer), Some(curve)) => Ok(curve.seal(sealer, answer.as_bytes())?),
            _ => Ok(answer.into_bytes()),
        }
    }
}

fn texts(subjects: &[Subject]) -> Vec<String> {
    subjects.iter().map(ToString::to_string).collect()
}

impl<'a> From<&'a CalloutRequest> for Attempt<'a> {
    fn from(request: &'a CalloutRequest) -> Self {
        let connect = &request.connect_opts;
        let client = &request.client_info;
        Self {
            kind: match (client.kind.as_str(), client.type_.as_str()) {
                ("Client", "nats" | "websocket") => Kind::Client,
                ("Client", "mqtt") => Kind::Mqtt,
                ("Leafnode", _) => Kind::Leaf,
                _ => Kind::Other,
            },
            tls: match &request.client_tls {
                None => Tls::None,
                Some(tls) if tls.is_verified() => Tls::Verified,
                Some(_) => Tls::Encrypted,
            },
            host: &client.host,
            name: &connect.name,
            library: &connect.lang,
            user: &connect.user,
            password: Hidden(connect.pass.expose()),
            token: Hidden::token(connect.auth_token.expose()),
            signature: &connect.sig,
            nonce: &client.nonce,
        }
    }
}

#[cfg(test)]
mod tests;
