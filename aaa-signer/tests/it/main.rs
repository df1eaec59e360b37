//! The service from outside: recorded vectors, and a real broker.
#![allow(
    clippy::unwrap_used,
    reason = "a test helper that cannot go on has nothing better to do"
)]

mod audit;
mod caller;
mod cell;
mod http;
mod login;
mod metrics;
mod providers;
mod rpc;
mod vectors;
mod wire;
