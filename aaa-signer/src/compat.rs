//! The configuration of Choria's own service, read as leniently as it reads it: `aaasvc.json`, and the file of the hosting
//! process that it names.
//!
//! All becomes keys of ours; what has no meaning here is named in a notice each, and what would be unsafe or would only
//! fail later is a fault with its remedy. Nothing behind this module knows these names.

mod duration;
mod host;
mod service;
mod translate;

use std::path::Path;

use overlay_runtime::Fault;
use serde_json::{Map, Value};

pub use service::{Original, OriginalError};

/// The largest file that is read.
const MAX_BYTES: u64 = 1 << 20;

/// Reads a file of the original's into our keys, if its name is that of one.
pub(crate) fn read_foreign(path: &Path) -> Option<Result<toml::Table, Vec<Fault>>> {
    let extension = path.extension()?.to_str()?.to_ascii_lowercase();
    if extension != "json" {
        return None;
    }
    let read = read_text(path)
        .map_err(|error| vec![Fault::new("", error)])
        .and_then(|text| {
            Original::read(&text).map_err(|error| vec![Fault::new(error.key(), error.to_string())])
        })
        .and_then(|original| translate::table(&original, &read_text));
    Some(read)
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

/// Puts a value under a path of keys.
fn put(table: &mut Map<String, Value>, path: &[&str], value: impl Into<Value>) {
    let Some((last, sections)) = path.split_last() else {
        return;
    };
    let mut at = table;
    for section in sections {
        let entry = at
            .entry(*section)
            .or_insert_with(|| Value::Object(Map::new()));
        let Some(members) = entry.as_object_mut() else {
            return;
        };
        at = members;
    }
    at.insert((*last).to_owned(), value.into());
}

#[cfg(test)]
mod tests;
