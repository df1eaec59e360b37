//! The layers around a request and its replies, by version of the protocol.

pub mod v2;

pub use crate::json::Limits;
