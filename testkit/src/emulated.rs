//! Emulated unprovisioned nodes on a real broker: thousands of them in one process, each as faulty as a test wants.
//!
//! An emulated node connects as a node with nothing but a `provisioning.jwt` does, answers `choria_provision` and
//! `rpcutil#inventory` of protocol v2 with real keys and signatures, keeps the lock and asks for the secret as Choria's
//! nodes do, and can come back with the token that it was given. [`Fleet`] counts what was done to each.

mod behaviour;
mod connection;
mod fleet;
mod node;
mod record;
mod tls;
mod wire;

pub use behaviour::{AfterRestart, Behaviour, Fault, Step};
pub use fleet::{Builder, Fleet};
pub use record::{Seen, Standing, Tally};
