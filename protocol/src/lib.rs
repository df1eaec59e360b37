//! What goes over the broker, and nothing that sends it.
//!
//! What must hold:
//!
//! * Nothing here verifies a signature, reads a clock, opens a file or a socket: bytes in, checked values out, and back.
//! * The bytes that a signature or a hash covers are kept as they were received; nothing is serialised again to be checked.
//! * Every decoder of foreign bytes is bounded in bytes and in nesting, and answers with an error, never with a panic.
//! * Subjects are made in [`subject`] only, from checked names, so no name can reach into another subject.
//!
//! ```text
//! envelope::v2::Transport ── data ──> SecureRequest ── request ──> Request ── message ──> rpc::RpcRequest
//!                         └─ data ──> SecureReply   ── reply   ──> Reply   ── message ──> rpc::RpcReply
//! ```
#![warn(missing_docs)]

pub mod audit;
pub mod envelope;
pub mod error;
pub mod filter;
pub mod go_duration;
pub mod id;
pub mod json;
pub mod lifecycle;
pub mod provisioning;
pub mod replication;
pub mod rpc;
pub mod signing;
pub mod subject;

mod b64;
mod secret;
mod shorten;

pub use error::{DecodeError, Layer};
pub use secret::SecretText;
