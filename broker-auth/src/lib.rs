//! Turns a connection attempt into a permission set or a refusal: the login service that makes a stock nats-server the
//! broker of a Choria cell.
//!
//! ```text
//! node, client ── CONNECT: token, signature ──> nats-server ── callout ──> codec ──> decide ──> permissions
//!                                                   ^                                   │
//!                                                   └── user JWT or refusal ── codec <──┘
//! ```
//!
//! What must hold:
//!
//! * Everything is refused that no rule of [`decide()`] lets in; no unverified token ever yields a permission.
//! * No side of a [`Permissions`] is without a list: to the broker that would mean "everything".
//! * Each request is answered at most once, within the two seconds that clients wait, or not at all.
//! * Every refusal says why: to the log, to the metrics, and as an event; a storm of them slows no login down.
//! * Delete `service` and every rule can still be tested: nothing else knows a broker, a clock or a file.
//!
//! The rules are those of the Choria broker but where `docs/conformance/broker-auth.md` says otherwise.

mod age;
mod attempt;
mod codec;
mod config;
mod decide;
mod error;
mod hosts;
mod metrics;
mod permissions;
mod policy;
mod reason;
mod service;
mod streams;
mod telling;

pub use attempt::{Attempt, Hidden, Kind, Tls};
pub use codec::{Codec, ReadError, WriteError};
pub use config::{Config, Keys, KeysError, RawConfig};
pub use decide::{Decision, Login, Refusal, Role, SELF_CHECK, decide};
pub use error::StartError;
pub use hosts::{HostList, Network, NetworkError};
pub use permissions::{Answers, Granted, NodeNames, Permissions, Side, Subject};
pub use policy::{
    Accounts, Certificates, Denied, LoginRoom, Memory, NodeExpiry, PROVISIONER, Password, Policy,
    Provisioning, ProvisioningCompat, System,
};
pub use reason::Reason;
pub use service::{QUEUE_GROUP, run};
