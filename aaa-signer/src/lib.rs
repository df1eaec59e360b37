//! Says who asked and whether they may, signs, and leaves a record.
//!
//! ```text
//! RPC agent ──┐                                                    ┌─> stream
//! HTTP ───────┼─> Signer: decide (pure) ──> Audit: durable record ─┼─> file      ──> signature
//!             │                                     ^              └─> spool
//! HTTP ───────┼─> LoginService: authenticator ──────┘──────────────────────────> token
//! broker ─────┘
//! ```
//!
//! What must hold:
//!
//! * No signature and no token leaves before the record of it is durable; a decision is recorded once.
//! * A signature over the bytes received comes before their meaning. What is signed is made from what was understood.
//! * What is decided is decided from the envelope that will be signed; what the message in it says must agree with it.
//! * Every request by RPC is answered, and `secure_request` of the answer is a text. Callers hear that it is denied; why is
//!   for the log, the metrics and the record.
//! * Keys are read whole, or the ones before stay.

pub mod audit;
mod authenticate;
pub mod compat;
mod config;
mod error;
mod http;
mod keyring;
mod login;
mod metrics;
mod rpc;
mod service;
mod sign;
mod signer;
mod source;
mod via;

#[doc(hidden)]
pub use authenticate::userlist::foreign;
pub use config::{
    Authorizer, Config, Delegator, Denied, Keys, KeysError, MAX_REQUEST_BYTES, RawConfig,
    ServerIdentity, Tenants,
};
pub use error::StartError;
pub use http::{SignBody, read_sign_body};
pub use rpc::{Answer, Asked, Dropped, Face, Question};
pub use service::run;
pub use sign::{Approved, Authority, Decision, Judge, Reason, Rules, Submission};
pub use via::Via;
