//! The kit against a real nats-server.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod broker;
mod emulated;
mod mint;
mod process;
mod proxy;

use std::time::Duration;

/// How long a test waits for what takes milliseconds when all is well.
const LIMIT: Duration = Duration::from_secs(20);
const PERIOD: Duration = Duration::from_millis(20);
