//! The login service from outside: recorded vectors, and a real broker.
#![allow(
    clippy::unwrap_used,
    reason = "a test helper that cannot go on has nothing better to do"
)]

mod cell;
mod certificates;
mod login;
mod matcher;
mod memory;
mod outages;
mod provision;
mod raw;
mod refusals;
mod rivals;
mod rooms;
mod strangers;
mod streams;
mod vectors;
