//! Bodies of requests and replies: an action with inputs, a status with data.

mod data;
pub mod ddl;
mod reply;
mod request;

pub use data::{DataError, from_data, to_data};
pub use reply::{RpcReply, StatusCode};
pub use request::RpcRequest;

/// Payload that discovery sends: the base64 of `ping`, which nodes decode once more.
pub const DISCOVERY_PING: &[u8] = b"cGluZw==";
/// Payload that nodes answer discovery with.
pub const DISCOVERY_PONG: &[u8] = b"pong";

#[cfg(test)]
mod tests;
