//! Copies between two real brokers: what arrives, in which form, and where a copy goes on.

pub(crate) mod behaviour;
mod cases;
mod counters;
mod keyed;
mod kinds;
mod pair;
pub(crate) mod positions;
mod resume;
mod shared;
pub(crate) mod vectors;
mod writers;

use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(180);
const PERIOD: Duration = Duration::from_millis(25);
