//! Where a copy begins, as recorded of the original.

use overlay_testkit::vectors::{Loader, Outcome};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::vectors::{at_once, block_on, start};

/// Time settings of the record are relative to its stream: what they choose is computed, not timed.
pub(crate) fn start_positions(file: &Value, _loader: &Loader) -> Outcome {
    at_once(file, |case| block_on(start(file, case)))
}

/// Milliseconds of a recorded time.
pub(super) fn millis(text: &str) -> i128 {
    let time = OffsetDateTime::parse(text, &Rfc3339).unwrap();
    time.unix_timestamp_nanos() / 1_000_000
}
