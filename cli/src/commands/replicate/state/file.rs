//! Files of state: `<stream>_<worker>.json`, as Choria's replicator writes it and ours does, and the journals that ours
//! keeps beside it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use overlay_protocol::envelope::Limits;
use overlay_protocol::replication::TrackedItem;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::app::App;
use crate::error::Failure;

/// Largest file that is read.
const MAX_FILE: u64 = 1 << 30;
/// Kind of a journal's line that tells of a value.
const VALUE: &str = "value";

#[derive(Deserialize)]
struct Document {
    #[serde(rename = "Items", alias = "items", alias = "ITEMS", default)]
    items: Option<BTreeMap<String, Box<RawValue>>>,
}

/// Reads a file, or all files of a directory; entries that cannot be read are told of and passed over.
pub(super) fn read(path: &Path, app: &App) -> Result<Vec<TrackedItem>, Failure> {
    let mut items = Vec::new();
    for path in files(path)? {
        let known = snapshot(&path, app)?;
        let known = journals(&path, known, app)?;
        items.extend(known.into_values().filter(|item| !item.gone));
    }
    Ok(items)
}

fn files(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = |error| Failure::from(error).context(format!("cannot read {}", path.display()));
    if !fs::metadata(path).map_err(failed)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn bytes(path: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |error| Failure::from(error).context(format!("cannot read {}", path.display()));
    if fs::metadata(path).map_err(failed)?.len() > MAX_FILE {
        return Err(Failure::new(format!("{} is too large", path.display())));
    }
    fs::read(path).map_err(failed)
}

fn snapshot(path: &Path, app: &App) -> Result<BTreeMap<String, TrackedItem>, Failure> {
    let text = bytes(path)?;
    let document: Document = serde_json::from_slice(&text).map_err(|error| {
        Failure::from(error).context(format!("{} is no state of a replicator", path.display()))
    })?;
    let mut known = BTreeMap::new();
    for (value, item) in document.items.unwrap_or_default() {
        match TrackedItem::decode(item.get().as_bytes(), &Limits::default()) {
            Ok(item) => {
                let item = TrackedItem {
                    value: value.clone(),
                    ..item
                };
                known.insert(value, item);
            }
            Err(error) => app
                .output
                .warn(format_args!("{}: {value:?}: {error}", path.display())),
        }
    }
    Ok(known)
}

/// What changed since the file was written, in the order of the journals' numbers.
fn journals(
    path: &Path,
    mut known: BTreeMap<String, TrackedItem>,
    app: &App,
) -> Result<BTreeMap<String, TrackedItem>, Failure> {
    let (Some(dir), Some(stem)) = (path.parent(), path.file_stem()) else {
        return Ok(known);
    };
    let prefix = format!("{}.journal.", stem.to_string_lossy());
    let dir = if dir.as_os_str().is_empty() {
        Path::new(".")
    } else {
        dir
    };
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        let number = name.strip_prefix(&prefix).and_then(|end| end.parse().ok());
        numbers.extend(number.map(|number: u64| (number, dir.join(&*name))));
    }
    numbers.sort();
    for (_, path) in numbers {
        let mut bad = 0_usize;
        for line in bytes(&path)?.split(|byte| *byte == b'\n') {
            match change(line) {
                Some(Some(item)) => drop(known.insert(item.value.clone(), item)),
                Some(None) => {}
                None => bad += 1,
            }
        }
        if bad > 0 {
            app.output.warn(format_args!(
                "{}: {bad} lines cannot be read",
                path.display()
            ));
        }
    }
    Ok(known)
}

/// Reads `<checksum> <kind> <content>`: what it tells of a value, if it does, or nothing if it is no line.
fn change(line: &[u8]) -> Option<Option<TrackedItem>> {
    if line.is_empty() {
        return Some(None);
    }
    let line = std::str::from_utf8(line).ok()?;
    let (_, rest) = line.split_once(' ')?;
    let (kind, content) = rest.split_once(' ')?;
    if kind != VALUE {
        return Some(None);
    }
    let item = TrackedItem::decode(content.as_bytes(), &Limits::default()).ok()?;
    Some(Some(item))
}
