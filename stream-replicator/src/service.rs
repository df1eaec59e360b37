//! Puts the parts together: everything that touches a broker is below here.

mod connect;
#[allow(dead_code, reason = "those who decide land next")]
mod trace;

use overlay_runtime::Context;

use crate::config::Config;

/// Copies until the shutdown.
///
/// # Errors
///
/// When the metrics fail at the start. Whatever fails later shows in readiness and is tried again.
pub async fn run(_config: Config, _cx: Context) -> anyhow::Result<()> {
    Ok(())
}
