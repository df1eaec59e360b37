//! Choria protocol version 2: ed25519 signatures, JSON Web Tokens, base64 layers.

mod reply;
mod request;
mod secure_reply;
mod secure_request;
mod transport;

pub use reply::Reply;
pub use request::Request;
pub use secure_reply::SecureReply;
pub use secure_request::{INSECURE_SIGNATURE, SecureRequest};
pub use transport::{Federation, Transport};

/// Protocol of [`Transport`].
pub const TRANSPORT: &str = "io.choria.protocol.v2.transport";
/// Protocol of [`SecureRequest`].
pub const SECURE_REQUEST: &str = "io.choria.protocol.v2.secure_request";
/// Protocol of [`SecureReply`].
pub const SECURE_REPLY: &str = "io.choria.protocol.v2.secure_reply";
/// Protocol of [`Request`].
pub const REQUEST: &str = "io.choria.protocol.v2.request";
/// Protocol of [`Reply`].
pub const REPLY: &str = "io.choria.protocol.v2.reply";

/// About what a layer has beside its bytes and tokens: names, subjects, a small filter.
const FRAME_BYTES: usize = 512;

#[cfg(test)]
mod tests;
