//! Several replicas as processes: who works, what readiness and metrics say, and what operators can do.

mod cell;
mod control;
mod election;
mod health;
mod lag;
mod operator;
mod stops;
pub(crate) mod vectors;

use std::time::Duration;

/// What must happen does within this.
const LIMIT: Duration = Duration::from_secs(180);
const PERIOD: Duration = Duration::from_millis(25);
/// Nothing comes within this where nothing may come.
const QUIET: Duration = Duration::from_millis(2500);
