//! Whether an ID token is the provider's, for this service, for this login, and still good; pure.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use openidconnect::core::{
    CoreIdToken, CoreIdTokenClaims, CoreJsonWebKeySet, CoreJwsSigningAlgorithm,
};
use openidconnect::{
    Audience, ClaimsVerificationError, ClientId, IdTokenVerifier, IssuerUrl, Nonce,
    SignatureVerificationError,
};
use overlay_tokens::UnixTime;

use super::claims::Claims;

/// How far ahead the provider's clock may be.
const SKEW_SECONDS: i64 = 5 * 60;

/// Signatures with public keys; what is made with the client's secret is none, as it proves no provider.
const ALGORITHMS: [CoreJwsSigningAlgorithm; 9] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

/// What an ID token must agree with.
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a IssuerUrl,
    pub(super) client_id: &'a ClientId,
    /// Further audiences that it may name.
    pub(super) audiences: &'a [String],
    pub(super) keys: &'a CoreJsonWebKeySet,
}

/// Why an ID token is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum VerifyError {
    /// Issuer, audience, times, nonce or signature.
    #[error("it is not for this login")]
    Claims(#[from] ClaimsVerificationError),
    /// It was made for another party, though this service may hear of it.
    #[error("its authorised party is not this service")]
    Party,
    /// The time of day is none.
    #[error("the clock of this host is out of range")]
    Clock,
    /// What was verified cannot be read.
    #[error("its claims are no JSON object")]
    Unreadable,
}

impl VerifyError {
    /// Whether the provider may have signed with a key that was not known.
    pub(super) fn may_be_a_new_key(&self) -> bool {
        match self {
            Self::Claims(ClaimsVerificationError::SignatureVerification(fault)) => matches!(
                fault,
                SignatureVerificationError::NoMatchingKey
                    | SignatureVerificationError::CryptoError(_)
                    | SignatureVerificationError::AmbiguousKeyId(_)
                    | SignatureVerificationError::InvalidKey(_)
            ),
            Self::Claims(_) | Self::Party | Self::Clock | Self::Unreadable => false,
        }
    }
}

/// Verifies an ID token; without a `nonce` none was sent, as at another device.
pub(super) fn verify(
    id_token: &CoreIdToken,
    expected: &Expected<'_>,
    nonce: Option<&Nonce>,
    now: UnixTime,
) -> Result<Claims, VerifyError> {
    let now = DateTime::<Utc>::from_timestamp(now.secs, now.nanos).ok_or(VerifyError::Clock)?;
    // Whatever the client's secret is, it verifies nothing here.
    let verifier = IdTokenVerifier::new_public_client(
        expected.client_id.clone(),
        expected.issuer.clone(),
        expected.keys.clone(),
    )
    .set_allowed_algs(ALGORITHMS)
    .set_other_audience_verifier_fn(|audience: &Audience| {
        expected
            .audiences
            .iter()
            .any(|known| known == audience.as_str())
    })
    .set_issue_time_verifier_fn(move |issued| {
        let ahead = issued.timestamp().saturating_sub(now.timestamp());
        if ahead > SKEW_SECONDS {
            return Err("it was issued in the future".to_owned());
        }
        Ok(())
    })
    .set_time_fn(move || now);
    let claims = id_token.claims(&verifier, |found: Option<&Nonce>| {
        nonce.map_or(Ok(()), |nonce| {
            openidconnect::NonceVerifier::verify(nonce, found)
        })
    })?;
    check_party(claims, expected)?;
    read(&id_token.to_string()).ok_or(VerifyError::Unreadable)
}

/// Of several audiences one is told apart as the party that the token was made for (OpenID Connect Core 3.1.3.7).
fn check_party(claims: &CoreIdTokenClaims, expected: &Expected<'_>) -> Result<(), VerifyError> {
    match claims.authorized_party() {
        Some(party) if party == expected.client_id => Ok(()),
        None if claims.audiences().len() == 1 => Ok(()),
        Some(_) | None => Err(VerifyError::Party),
    }
}

/// The claims of a token whose signature has been verified, as they stand in it.
fn read(token: &str) -> Option<Claims> {
    let payload = token.split('.').nth(1)?;
    let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
    serde_json::from_slice(&payload).ok().map(Claims::new)
}
