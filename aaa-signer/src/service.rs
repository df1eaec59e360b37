//! Puts the parts together: connections, the RPC agent, the listeners.

use overlay_runtime::Context;
use overlay_tokens::UnixTime;

use crate::config::{Config, Keys};
use crate::error::StartError;

/// Logs in, decides, signs and records until the shutdown.
///
/// # Errors
///
/// When a key, a connection or a listener fails at the start. Whatever fails later shows in readiness.
#[expect(clippy::unused_async, reason = "the skeleton")]
pub async fn run(config: Config, cx: Context) -> anyhow::Result<()> {
    for notice in &config.notices {
        tracing::warn!("{notice}");
    }
    let now = UnixTime::from(cx.clock.now());
    let _keys = Keys::load(&config, &cx.secrets, now).map_err(StartError::keys)?;
    cx.started.release();
    Ok(())
}
