//! The one place of this crate that asks for the time of day.

use std::time::SystemTime;

use overlay_tokens::UnixTime;

/// The time of day.
pub(crate) fn now() -> UnixTime {
    UnixTime::from(wall())
}

/// The time of day in nanoseconds since 1970.
pub(crate) fn now_ns() -> i64 {
    let since = wall()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the edge: all other code is handed the time"
)]
fn wall() -> SystemTime {
    SystemTime::now()
}
