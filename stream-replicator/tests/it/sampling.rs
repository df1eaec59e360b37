//! Sampling, advisories, state and gossip: recorded, and between real brokers.

mod advisories;
mod cell;
mod decisions;
mod replicas;
mod state;
pub(crate) mod vectors;
