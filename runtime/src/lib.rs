//! One way to be a process: everything before and after a component's own work.
//!
//! It is a library of functions and values, not a framework: [`launch()`] calls the component's `run`
//! once, and each part can be made by hand in a test.
//!
//! What must hold:
//! - It knows no subject, token or message of any component.
//! - No statics: what a component gets is in its [`Context`]; only [`launch()`] installs the global
//!   log subscriber and reads the environment.
//! - Every fault of a configuration is told in one run, with file, key, value and remedy (exit 78).
//! - No secret is a value in a configuration file, and none is ever shown.
//! - A broker that is away is waited for, with jitter; at the start up to a limit (exit 69), later
//!   without end, with readiness following.
//! - The stop is orderly and bounded in time; a second signal ends the process at once.
//!
//! ```text
//! arguments > config (files, environment) > raw > checked > logs > admin > broker > run(config, cx)
//! signal or fault > not ready > shutdown token > tasks joined within the grace > broker drained
//! ```
#![warn(missing_docs)]

#[cfg(feature = "admin")]
mod admin;
mod args;
pub mod backoff;
mod clock;
pub mod config;
mod context;
mod exit;
mod launch;
pub mod metrics;
pub mod nats;
mod notify;
mod readiness;
mod secret;
mod shutdown;
mod tasks;
pub mod telemetry;

pub use backoff::Backoff;
pub use clock::Clock;
pub use config::{Environment, Fault, FileConfig, Period, Settings, Threads};
pub use context::{Context, NoBroker};
pub use exit::{Exit, err_chain};
pub use launch::{App, launch};
pub use nats::BrokerUrl;
pub use readiness::{Latch, Part, Readiness, Report, Status};
pub use secret::{Secret, SecretError, Secrets};
pub use tasks::Tasks;
pub use tokio_util::sync::CancellationToken;
