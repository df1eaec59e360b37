//! Tests of the node, without and with a real broker.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod agents;
mod applicant;
mod bare;
mod cases;
mod config;
mod delivered;
mod live;
mod reconnect;
mod startup;
mod support;
mod update;
mod vectors;
