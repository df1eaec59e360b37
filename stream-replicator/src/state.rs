//! Keeps what is known of values, and what is still to be told, in files.
//!
//! ```text
//! <stream>_<worker>.json         all values, as Choria's replicator writes and reads them; anew now and then
//! <stream>_<worker>.journal.<n>  what changed since: a line each, with a checksum
//! <stream>_<worker>.lock         held by the process that writes the others
//! ```
//!
//! What must hold:
//! * Stopped at any point, what is read afterwards is what was known a moment before; a torn line is no fault.
//! * A file that the original wrote meanwhile counts where it is newer.
//! * One bad entry costs itself, and nobody is silent about it.

mod disk;
mod journal;
mod snapshot;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use overlay_protocol::id::Ksuid;
use overlay_protocol::replication::TrackedItem;

use crate::advise::{Entry, Owed};

pub(crate) use disk::{Batch, Disk, Piece};
pub(crate) use journal::{Line, read as read_journal};
pub(crate) use snapshot::{encode_file, encode_items, read as read_snapshot};

/// Largest file that is read: two million values are half of it.
const MAX_FILE: u64 = 1 << 30;

/// Where the files of a worker are.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    dir: PathBuf,
    /// `<stream>_<worker>`; neither has separators, which the configuration sees to.
    stem: String,
}

/// What files say.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    /// Values; none of them is forgotten.
    pub(crate) items: Vec<TrackedItem>,
    /// What is to be told, in its order.
    pub(crate) owed: Vec<Owed>,
    /// What could not be read, for people.
    pub(crate) faults: Vec<String>,
    /// Whether there was anything at all.
    pub(crate) is_found: bool,
}

/// Why files can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum StateError {
    /// Something the system refuses.
    #[error("{what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process writes them.
    #[error("{} is held by another process", path.display())]
    Held {
        /// The file.
        path: PathBuf,
    },
    /// A write did not end.
    #[error("the last write of the state did not end")]
    Broken,
    /// A file is larger than anything we would write.
    #[error("{} is larger than {MAX_FILE} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file of values is no JSON of the form it should be.
    #[error("{} can't be understood", path.display())]
    Snapshot {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

impl Files {
    pub(crate) fn new(dir: &Path, stream: &str, worker: &str) -> Self {
        Self {
            dir: dir.to_owned(),
            stem: format!("{stream}_{worker}"),
        }
    }

    pub(crate) fn snapshot(&self) -> PathBuf {
        self.dir.join(format!("{}.json", self.stem))
    }

    fn beside(&self, extension: &str) -> PathBuf {
        self.dir.join(format!("{}.{extension}", self.stem))
    }

    fn journal(&self, generation: u64) -> PathBuf {
        self.beside(&format!("journal.{generation}"))
    }

    /// Generations of the journals that there are, in order.
    fn generations(&self) -> Result<Vec<u64>, StateError> {
        let prefix = format!("{}.journal.", self.stem);
        let failed = |source| StateError::Io {
            what: "cannot list",
            path: self.dir.clone(),
            source,
        };
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let generation: Option<u64> = name
                .to_str()
                .and_then(|name| name.strip_prefix(&prefix)?.parse().ok());
            found.extend(generation);
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Reads everything. What can't be read is told of and left out; a snapshot that can't be is set aside.
    ///
    /// # Errors
    ///
    /// When the directory or a file can't be read at all.
    pub(crate) fn load(&self) -> Result<Loaded, StateError> {
        let mut loaded = Loaded::default();
        let mut items = HashMap::new();
        let path = self.snapshot();
        if let Some(text) = read(&path)? {
            loaded.is_found |= !text.is_empty();
            match read_snapshot(&text) {
                Ok((found, faults)) => {
                    items.extend(found.into_iter().map(|item| (item.value.clone(), item)));
                    loaded.faults = faults;
                }
                Err(source) => {
                    let error = StateError::Snapshot {
                        path: path.clone(),
                        source,
                    };
                    loaded.faults.push(overlay_runtime::err_chain(&error));
                    let aside = self.beside("json.bad");
                    fs::rename(&path, &aside).map_err(|source| StateError::Io {
                        what: "cannot set aside",
                        path,
                        source,
                    })?;
                }
            }
        }
        // By the place of the line, for the order.
        let mut owed: BTreeMap<usize, Owed> = BTreeMap::new();
        let mut places: HashMap<Ksuid, usize> = HashMap::new();
        for generation in self.generations()? {
            let path = self.journal(generation);
            let Some(text) = read(&path)? else {
                continue;
            };
            loaded.is_found |= !text.is_empty();
            let (lines, bad) = journal::read(&text);
            if bad > 0 {
                loaded
                    .faults
                    .push(format!("{}: {bad} lines are damaged", path.display()));
            }
            for line in lines {
                match line {
                    Line::Item(item) => learn(&mut items, item),
                    Line::Advisory(Entry::Owed(advisory)) => {
                        let id = advisory.advisory.event_id;
                        let next = places.len();
                        let place = *places.entry(id).or_insert(next);
                        owed.insert(place, advisory);
                    }
                    Line::Advisory(Entry::Told(id)) => {
                        if let Some(place) = places.get(&id) {
                            owed.remove(place);
                        }
                    }
                }
            }
        }
        loaded.items = items.into_values().filter(|item| !item.gone).collect();
        loaded.owed = owed.into_values().collect();
        Ok(loaded)
    }
}

/// Takes a line of a journal over what was known, unless that is newer.
fn learn(items: &mut HashMap<String, TrackedItem>, item: TrackedItem) {
    let known = items.get(&item.value);
    if known.is_none_or(|known| known.seen <= item.seen) {
        items.insert(item.value.clone(), item);
    }
}

/// The content of a file, if it is there.
fn read(path: &Path) -> Result<Option<Vec<u8>>, StateError> {
    let failed = |source| StateError::Io {
        what: "cannot read",
        path: path.to_owned(),
        source,
    };
    match fs::metadata(path) {
        Ok(found) if found.len() > MAX_FILE => {
            return Err(StateError::TooLarge {
                path: path.to_owned(),
            });
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    }
    fs::read(path).map(Some).map_err(failed)
}

#[cfg(test)]
mod tests;
