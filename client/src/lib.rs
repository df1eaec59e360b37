//! Typed request and reply, with deadline, no-responder and many-reply handling.
//!
//! What must hold:
//!
//! - One [`Connection`] serves everything that one command does, with one login.
//! - Every wait has a limit, and every buffer a bound; what is lost is counted.
//! - Whoever was asked and did not answer is named, whoever answered unasked is named, and nobody
//!   counts twice.
//! - With a signer configured, no request leaves with another signature, except to the signer itself; what it signed is
//!   what was asked for, or it is not sent.
//! - A login changes nothing on disk before its token is proved; the old session is there until then.
//! - Names that become part of a subject are checked types; subjects come from
//!   [`overlay_protocol::subject`] only.
//! - Nothing here reads the environment or the home directory: see [`config::Environment`].
#![warn(missing_docs)]

mod clock;
pub mod config;
pub mod connection;
mod credentials;
pub mod ddl;
mod events;
pub mod fleet;
mod gather;
pub mod login;
mod message;
pub mod nodes;
pub mod signer;
pub mod targets;
mod tls;
mod web;
mod window;

pub use config::Config;
pub use connection::{ConnectError, Connection};
pub use credentials::{Credentials, CredentialsError, ExposedKey};
pub use events::{Events, Seen};
pub use fleet::{Batches, Call, CallError, Fleet, Heard, Outcome, Question, Stop, Target};
pub use gather::{Arrival, Gather};
pub use message::{Answer, Trust};
pub use signer::{SignerError, Suspicion};
pub use targets::{Limit, LimitMethod};
pub use web::WebError;
pub use window::Window;
