//! The provisioner as a process, on a real broker with TLS, with emulated nodes and real helpers.
#![allow(
    clippy::unwrap_used,
    reason = "a test stops where something is not as it must be"
)]

mod cell;
mod control;
mod faults;
mod features;
mod flow;
mod helpers;
mod leader;
mod one_time;
mod operator;
mod pairs;
mod vectors;
mod walk;
