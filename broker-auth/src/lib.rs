//! Turns a connection attempt into a permission set or a refusal.

mod attempt;
mod decide;
mod hosts;
mod permissions;
mod policy;
mod reason;
mod streams;

pub use attempt::{Attempt, Hidden, Kind, Tls};
pub use decide::{Decision, Login, Refusal, Role, SELF_CHECK, decide};
pub use hosts::{HostList, Network, NetworkError};
pub use permissions::{Granted, NodeNames, Permissions, Side, Subject};
pub use policy::{
    Accounts, Certificates, Denied, Memory, NodeExpiry, PROVISIONER, Password, Policy, Provisioning,
    System,
};
pub use reason::Reason;
