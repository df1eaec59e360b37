//! How the node is enrolled: its invitation, and what its provisioner may do to it.
//!
//! What must hold:
//! - Whoever lacks the secret of the provisioning token changes nothing, not even the lock.
//! - The files of the node change as a whole or not at all ([`changes`]).
//! - A member renews without a gap: nothing of what it lives by changes before everything new is there.
//! - No secret is logged or audited.
//!
//! ```text
//! ticket ── who may ask, where the brokers are      request ─> applicant ─> settings, csr, release
//! upcoming ── what the files would make of the node               └─────> changes ─> disk
//! ```

mod applicant;
pub mod changes;
pub mod csr;
pub mod lock;
pub mod release;
mod renewal;
pub mod settings;
mod ticket;
mod upcoming;

pub use applicant::{Applicant, Asked, Files, Stance};
pub(crate) use renewal::ROUND;
pub use renewal::Renewal;
pub use ticket::{Ticket, TicketError, find, places};
pub use upcoming::{Former, Outlook, Standing, Upcoming};
