//! The client against a real broker and emulated nodes.
#![allow(clippy::unwrap_used, reason = "tests")]

mod call;
mod cell;
mod connect;
mod discover;
mod fleet;
mod login;
mod signer;
mod signer_host;
mod vectors;
mod web;
