//! The configuration of Choria's own stream replicator, read as leniently as it reads it.
//!
//! Its `sr.yaml` (`.yaml`, `.yml`) becomes keys of ours; what has no meaning here, or means something else, is named in a
//! notice each. Faults are told all at once, in the original's words where operators know them. Nothing behind this module
//! knows these names.

mod duration;
mod original;
mod read;
mod translate;
mod url;
mod yaml;

#[cfg(test)]
mod tests;

use std::path::Path;

use overlay_runtime::Fault;

pub use duration::{DurationError, duration};
pub use original::{Advisory, Beat, ChoriaConnection, Files, Heartbeats, Original, Stream, Times};

/// The largest file that is read.
const MAX_BYTES: u64 = 1 << 20;

/// Reads a file of the original's into our keys, if its name is that of one.
pub(crate) fn read_foreign(path: &Path) -> Option<Result<toml::Table, Vec<Fault>>> {
    let extension = path.extension()?.to_str()?.to_ascii_lowercase();
    if !matches!(extension.as_str(), "yaml" | "yml") {
        return None;
    }
    Some(
        read_text(path)
            .map_err(|error| vec![Fault::new("", error)])
            .and_then(|text| Original::read(&text)?.table()),
    )
}

fn read_text(path: &Path) -> Result<String, String> {
    let bytes = std::fs::metadata(path)
        .map_err(|error| error.to_string())?
        .len();
    if bytes > MAX_BYTES {
        return Err(format!("has {bytes} bytes, the most is {MAX_BYTES}"));
    }
    std::fs::read_to_string(path).map_err(|error| error.to_string())
}
