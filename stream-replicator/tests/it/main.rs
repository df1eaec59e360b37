//! The replicator between real brokers.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod copy;
mod faults;
mod operation;
mod sampling;
mod vectors;
