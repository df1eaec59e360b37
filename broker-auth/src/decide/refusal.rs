//! A refused login, and how the faults of tokens become refusals.

use std::error::Error;

use overlay_tokens::claims::{Claims, ClientClaims, Purpose, ServerClaims};
use overlay_tokens::{DecodeError, NonceError, Token, TokenError, Unverified, VerifyError};

use super::shown;
use crate::reason::Reason;

/// A refused login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// The particular fault, where there is more to say than the reason does.
    pub detail: Option<String>,
    /// Who the attempt says it is: proved only if the reason implies it.
    pub claimed: Option<String>,
    /// The purpose of the token, as far as it could be read.
    pub purpose: Option<Purpose>,
    /// The organisation that the token names.
    pub organisation: Option<String>,
}

impl Refusal {
    /// A refusal for a particular fault.
    pub(super) fn with(reason: Reason, fault: &dyn Error) -> Self {
        Self {
            detail: Some(chain_of(fault)),
            ..Self::from(reason)
        }
    }

    /// Adds what is known of the token, unless more was known already.
    pub(super) fn of(self, purpose: Purpose, claimed: &str) -> Self {
        let claimed = self
            .claimed
            .or_else(|| (!claimed.is_empty()).then(|| shown(claimed)));
        Self {
            purpose: self.purpose.or(Some(purpose)),
            claimed,
            ..self
        }
    }

    /// A client token that is not to be trusted, with the caller that it claims.
    pub(super) fn of_client(error: TokenError, token: &str) -> Self {
        let claimed = claimed::<ClientClaims>(token, |claims| &claims.callerid);
        Self::from(error).of(Purpose::Client, &claimed)
    }

    /// A server token that is not to be trusted, with the identity that it claims.
    pub(super) fn of_server(error: TokenError, token: &str) -> Self {
        let claimed = claimed::<ServerClaims>(token, |claims| &claims.identity);
        Self::from(error).of(Purpose::Server, &claimed)
    }

    /// Adds what the attempt says besides: a user name, the organisation of its token.
    pub(super) fn of_attempt(self, user: &str, token: &str) -> Self {
        let claimed = self
            .claimed
            .or_else(|| (!user.is_empty()).then(|| shown(user)));
        let organisation = match Token::decode(token) {
            Ok(Token::Client(token)) => token.ou_unverified().map(shown),
            Ok(Token::Server(token)) => token.ou_unverified().map(shown),
            Ok(Token::Provisioning(token)) => token.ou_unverified().map(shown),
            Ok(Token::Unknown(_)) | Err(_) => None,
        };
        Self {
            claimed,
            organisation,
            ..self
        }
    }

    /// Purpose as metrics, logs and events show it.
    #[must_use]
    pub fn purpose_text(&self) -> Option<String> {
        self.purpose.as_ref().map(|purpose| shown(purpose.as_str()))
    }

    /// The sentence for people, with the particular fault.
    #[must_use]
    pub fn message(&self) -> String {
        match &self.detail {
            Some(detail) => format!("{}: {detail}", self.reason),
            None => self.reason.to_string(),
        }
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self {
            reason,
            detail: None,
            claimed: None,
            purpose: None,
            organisation: None,
        }
    }
}

impl From<DecodeError> for Refusal {
    fn from(error: DecodeError) -> Self {
        Self::with(Reason::TokenMalformed, &error)
    }
}

impl From<VerifyError> for Refusal {
    fn from(error: VerifyError) -> Self {
        let plain = Self::from;
        match &error {
            VerifyError::Algorithm { .. } | VerifyError::KeyType { .. } => {
                Self::with(Reason::TokenAlgorithm, &error)
            }
            VerifyError::UnknownOu { .. } => Self::with(Reason::UnknownOrganisation, &error),
            VerifyError::Chain(fault) => Self::with(Reason::BrokenChain, fault),
            VerifyError::NoOu => plain(Reason::NoOrganisation),
            VerifyError::Signature => plain(Reason::NotSignedByIssuer),
            VerifyError::Expired => plain(Reason::TokenExpired),
            VerifyError::NotYetValid => plain(Reason::TokenNotYetValid),
            VerifyError::Purpose { .. } => plain(Reason::WrongPurpose),
            VerifyError::IssuerExpired => plain(Reason::IssuerExpired),
        }
    }
}

impl From<NonceError> for Refusal {
    fn from(error: NonceError) -> Self {
        match error {
            NonceError::NoSignature => Reason::NonceNotSigned,
            NonceError::NoNonce => Reason::NonceNotOffered,
            NonceError::Encoding => Reason::NonceSignatureMalformed,
            NonceError::Invalid => Reason::NonceSignatureWrong,
        }
        .into()
    }
}

impl From<TokenError> for Refusal {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Decode(error) => error.into(),
            TokenError::Verify(error) => error.into(),
        }
    }
}

/// An error with its sources in one line.
fn chain_of(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    shown(&text)
}

fn claimed<C: Claims>(token: &str, name: fn(&C) -> &String) -> String {
    Unverified::<C>::decode(token)
        .map(|token| name(token.claims_unverified()).clone())
        .unwrap_or_default()
}
