//! Who may claim what, proved by signatures: the tokens of Choria's protocol v2 and the JWTs of the broker.
//!
//! ```text
//! text ── Unverified::decode ──> Unverified<C> ── verify(issuers, now) ──> Verified<C> ──> a decision
//!                                      └── claims_unverified(): for choosing and showing only
//! ```
//!
//! What must hold:
//!
//! * Only verification makes a [`Verified`], and only a `Verified` gives its claims away without the word "unverified".
//! * The algorithm never chooses the key: an ed25519 key verifies EdDSA and an RSA key verifies RS256/384/512, or nothing.
//! * Signatures are checked over the bytes received; nothing is serialised again in order to be checked.
//! * In a chain both signatures count: the organisation's over the chain issuer, the chain issuer's over the token.
//! * A broker has nothing signed but a nonce: the same key signs requests, and no signature says what it was made for.
//! * No clock, no environment; the time is an argument. Only [`mod@file`] touches the disk.
//! * No foreign bytes panic; texts are bounded in length and depth. Secrets are masked when shown and wiped when dropped.
#![warn(missing_docs)]

pub mod audit;
pub mod broker_jwt;
mod cache;
pub mod claims;
pub mod delegator;
mod encoding;
pub mod file;
pub mod issue;
mod issuers;
mod key;
pub mod key_transport;
mod nonce;
pub mod own;
mod possession;
pub mod request;
pub mod rsa;
mod time;
mod token;
mod verify;

pub use cache::{TokenError, VerifiedCache};
pub use issuers::{Issuers, IssuersError};
pub use key::{Key, KeyError, PublicKey};
pub use nonce::{MAX_NONCE_BYTES, Nonce, NonceError, OfferError, sign_nonce, verify_nonce};
pub use overlay_protocol::SecretText;
pub use possession::{
    NonceRefused, PossessionError, sign_possession, sign_renewal, verify_possession, verify_renewal,
};
pub use time::UnixTime;
pub use token::{
    Algorithm, DecodeError, MAX_TOKEN_BYTES, Part, Token, Unverified, algorithm, purpose,
};
pub use verify::{ChainError, Verified, VerifyError, VerifyKey, VerifyKeyError};
