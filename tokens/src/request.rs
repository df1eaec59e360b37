//! Who may make requests of the fleet, and who answered: signatures of messages together with the tokens behind them.

mod judge;
mod reply;
mod seen;
mod service;

use std::sync::Arc;

use overlay_protocol::DecodeError as MessageError;
use overlay_protocol::envelope::Limits;
use overlay_protocol::envelope::v2::{Request, SecureRequest};

use crate::UnixTime;
use crate::cache::{TokenError, VerifiedCache};
use crate::claims::{Claims as _, ClientClaims};
use crate::issuers::Issuers;
use crate::key::{Key, KeyError, PublicKey};
use crate::token::Unverified;
use crate::verify::{Verified, VerifyError};

pub use judge::Denial;
pub use reply::{BadReply, ReplyTrust, VerifiedReply, sign_reply, verify_reply};
pub use seen::Digest;
pub use service::{
    CallRefusal, DroppedRequest, MAX_REQUEST_LIFE, RefusedCall, ServiceAgent, ServiceCall,
    TakenRequest,
};

/// Why a request is dropped.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The caller's token is not to be trusted, or is no client's.
    #[error("caller token refused")]
    Caller(#[source] TokenError),
    /// The delegator's token is not to be trusted, or is no client's.
    #[error("signer token refused")]
    Signer(#[source] TokenError),
    /// The caller may not make requests.
    #[error("caller `{callerid}` has no fleet management access")]
    NoFleetAccess {
        /// Who called.
        callerid: String,
    },
    /// The caller may make requests only through a delegator.
    #[error("caller `{callerid}` requires authority delegation")]
    RequiresDelegation {
        /// Who called.
        callerid: String,
    },
    /// The signer may not sign for others.
    #[error("signer `{callerid}` is not an authentication delegator")]
    NotADelegator {
        /// Who signed.
        callerid: String,
    },
    /// The token of whoever signed has no usable public key.
    #[error("token of `{callerid}` has no usable public key")]
    NoPublicKey {
        /// Who signed.
        callerid: String,
        /// What is wrong with the key.
        #[source]
        source: KeyError,
    },
    /// The signature is not by the key of the token, or not over these bytes.
    #[error("request signature is invalid")]
    Signature,
    /// The signed bytes are no request.
    #[error("signed request not understood")]
    Request(#[source] MessageError),
    /// The request names another caller than the token.
    #[error("caller name `{request}` does not match token of `{callerid}`")]
    OtherCaller {
        /// Name in the request.
        request: String,
        /// Name in the token.
        callerid: String,
    },
}

/// What a receiver of requests demands.
#[derive(Debug, Clone)]
pub struct RequestPolicy {
    /// With a delegated signature, the request's caller must be the caller id of the caller's token, `@` and `.` written
    /// as `_`. On unless switched off. Choria leaves this to the delegator, so the token beside a request can be swapped
    /// for that of any fleet user, and policies that look at it are led astray. Switch it off only for a delegator that
    /// names callers in another way.
    pub bind_delegated_caller: bool,
    /// Bounds of the request that was signed.
    pub limits: Limits,
}

impl Default for RequestPolicy {
    fn default() -> Self {
        Self {
            bind_delegated_caller: true,
            limits: Limits::default(),
        }
    }
}

/// A request whose signature, tokens and caller were verified.
///
/// Not checked here: whether it is for this node, whether it is still live, and whether it came before.
#[derive(Debug, Clone)]
pub struct VerifiedRequest {
    /// The request.
    pub request: Request,
    /// Whose request it is.
    pub caller: Arc<Verified<ClientClaims>>,
    /// Who vouches for it, when the caller did not sign it itself.
    pub delegator: Option<Arc<Verified<ClientClaims>>>,
}

/// Verifies requests with a memory of the tokens that it saw.
#[derive(Debug)]
pub struct RequestVerifier {
    issuers: Issuers,
    policy: RequestPolicy,
    tokens: VerifiedCache<ClientClaims>,
}

impl RequestVerifier {
    /// Trusts `issuers`, and remembers about `tokens` tokens of callers and delegators, 4 KiB for each.
    pub fn new(issuers: Issuers, policy: RequestPolicy, tokens: usize) -> Self {
        let bytes = u64::try_from(tokens)
            .unwrap_or(u64::MAX)
            .saturating_mul(4096);
        Self {
            issuers,
            policy,
            tokens: VerifiedCache::new(tokens, bytes),
        }
    }

    /// Verifies a request: see [`verify_request`].
    pub fn verify(
        &self,
        request: &SecureRequest,
        now: UnixTime,
    ) -> Result<VerifiedRequest, RequestError> {
        Check {
            issuers: &self.issuers,
            policy: &self.policy,
            tokens: Some(&self.tokens),
            now,
        }
        .request(request)
    }

    /// The issuers that are trusted.
    pub fn issuers(&self) -> &Issuers {
        &self.issuers
    }
}

/// Verifies a request: tokens, permissions, the signature over the bytes received, and only then what they say.
///
/// With one token the caller must be a client with `fleet_management` and without `signed_fleet_management`, must have
/// signed, and must be the caller that the request names. With two, the signer must be a delegator that has signed, and
/// the caller a client with either fleet permission, both under the same issuer, the one of the signer's organisation.
pub fn verify_request(
    request: &SecureRequest,
    issuers: &Issuers,
    now: UnixTime,
    policy: &RequestPolicy,
) -> Result<VerifiedRequest, RequestError> {
    Check {
        issuers,
        policy,
        tokens: None,
        now,
    }
    .request(request)
}

/// Signs a request with the key of the caller's token.
pub fn sign_request(request: Vec<u8>, key: &Key, caller_jwt: &str) -> SecureRequest {
    SecureRequest {
        signature: key.sign(&request).to_vec(),
        request,
        caller: caller_jwt.trim().to_owned(),
        signer: None,
    }
}

struct Check<'a> {
    issuers: &'a Issuers,
    policy: &'a RequestPolicy,
    tokens: Option<&'a VerifiedCache<ClientClaims>>,
    now: UnixTime,
}

impl Check<'_> {
    fn request(&self, request: &SecureRequest) -> Result<VerifiedRequest, RequestError> {
        match &request.signer {
            None => self.direct(request),
            Some(signer) => self.delegated(request, signer),
        }
    }

    fn direct(&self, secure: &SecureRequest) -> Result<VerifiedRequest, RequestError> {
        let caller = self.token(&secure.caller).map_err(RequestError::Caller)?;
        let granted = caller.granted();
        if granted.signed_fleet_management {
            return Err(RequestError::RequiresDelegation {
                callerid: caller.callerid.clone(),
            });
        }
        if !granted.fleet_management {
            return Err(RequestError::NoFleetAccess {
                callerid: caller.callerid.clone(),
            });
        }
        let request = self.signed(secure, &caller)?;
        if request.caller != caller.callerid {
            return Err(other_caller(&request, &caller));
        }
        Ok(VerifiedRequest {
            request,
            caller,
            delegator: None,
        })
    }

    fn delegated(
        &self,
        secure: &SecureRequest,
        signer: &str,
    ) -> Result<VerifiedRequest, RequestError> {
        if self.issuers.is_by_ou() {
            let delegator = self.token(signer).map_err(RequestError::Signer)?;
            let ou = delegator.ou().unwrap_or_default();
            let Some(key) = self.issuers.key_of(ou).copied() else {
                let ou = ou.to_owned();
                return Err(RequestError::Signer(VerifyError::UnknownOu { ou }.into()));
            };
            return self.vouched(secure, delegator, &key);
        }
        let mut found = Err(RequestError::Signer(VerifyError::Signature.into()));
        for key in self.issuers.trusted() {
            found = self
                .token_under(signer, key)
                .map_err(RequestError::Signer)
                .and_then(|delegator| self.vouched(secure, delegator, key));
            if found.is_ok() {
                break;
            }
        }
        found
    }

    /// The rest of a delegated request: the caller stands under the same `key` as the delegator.
    fn vouched(
        &self,
        secure: &SecureRequest,
        delegator: Arc<Verified<ClientClaims>>,
        key: &PublicKey,
    ) -> Result<VerifiedRequest, RequestError> {
        if !delegator.granted().authentication_delegator {
            return Err(RequestError::NotADelegator {
                callerid: delegator.callerid.clone(),
            });
        }
        let caller = self
            .token_under(&secure.caller, key)
            .map_err(RequestError::Caller)?;
        if !caller.granted().has_fleet_access() {
            return Err(RequestError::NoFleetAccess {
                callerid: caller.callerid.clone(),
            });
        }
        let request = self.signed(secure, &delegator)?;
        if self.policy.bind_delegated_caller && request.caller != caller.delegated_callerid() {
            return Err(other_caller(&request, &caller));
        }
        Ok(VerifiedRequest {
            request,
            caller,
            delegator: Some(delegator),
        })
    }

    /// A client token under the issuer of the organisation that it names.
    fn token(&self, text: &str) -> Result<Arc<Verified<ClientClaims>>, TokenError> {
        match self.tokens {
            Some(tokens) => tokens.verify(text, self.issuers, self.now),
            None => Ok(Arc::new(
                Unverified::decode(text)?.verify(self.issuers, self.now)?,
            )),
        }
    }

    /// A client token under one key, whatever organisation it names.
    fn token_under(
        &self,
        text: &str,
        key: &PublicKey,
    ) -> Result<Arc<Verified<ClientClaims>>, TokenError> {
        match self.tokens {
            Some(tokens) => tokens.verify_under(text, key, self.issuers, self.now),
            None => {
                let token = Unverified::decode(text)?;
                Ok(Arc::new(token.verify_under(key, self.issuers, self.now)?))
            }
        }
    }

    /// Checks the signature with the key of `token`, and only then looks at what was signed.
    fn signed(
        &self,
        secure: &SecureRequest,
        token: &Verified<ClientClaims>,
    ) -> Result<Request, RequestError> {
        let key = token
            .public_key()
            .map_err(|source| RequestError::NoPublicKey {
                callerid: token.callerid.clone(),
                source,
            })?;
        if !key.verify(&secure.request, &secure.signature) {
            return Err(RequestError::Signature);
        }
        Request::decode(&secure.request, &self.policy.limits).map_err(RequestError::Request)
    }
}

fn other_caller(request: &Request, token: &Verified<ClientClaims>) -> RequestError {
    RequestError::OtherCaller {
        request: request.caller.clone(),
        callerid: token.callerid.clone(),
    }
}
