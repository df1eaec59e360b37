//! The broker's own JWTs and keys: authorization requests of nats-server, the answers, the users they name.
//!
//! nats-server signs with keys of its own alphabet (`N...` servers, `A...` accounts, `U...` users, `X...` curve keys) and
//! writes `ed25519-nkey` for the algorithm. Nothing else is accepted here, so no header chooses how to verify.

mod callout;
mod curve;
mod nkey;
mod user;

pub use callout::{
    CalloutError, CalloutRequest, CalloutVerifier, ClientInfo, ClientTls, ConnectOpts,
    MAX_CALLOUT_BYTES, ServerId, decode_request,
};
pub use curve::{CurveError, CurveKey};
pub use nkey::{AccountKey, NkeyError, UserKey};
pub use user::{Permissions, Responses, UserJwt, encode_response, encode_user};

/// First segment of the broker's JWTs: `{"typ":"JWT","alg":"ed25519-nkey"}`.
const HEADER: &str = "eyJ0eXAiOiJKV1QiLCJhbGciOiJlZDI1NTE5LW5rZXkifQ";
