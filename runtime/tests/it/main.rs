//! The process around a component, on a real nats-server.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod connection;
mod election;
mod headers;
mod launch;

use std::time::Duration;

/// How long a test waits for what takes milliseconds when all is well.
const LIMIT: Duration = Duration::from_secs(30);
const PERIOD: Duration = Duration::from_millis(20);
