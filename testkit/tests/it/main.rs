//! The kit against a real nats-server.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod broker;
