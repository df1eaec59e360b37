//! Facts and classes: files that others write, read again when they change.
//!
//! A message never reads a file. At most once per period a use looks at size, time and inode of
//! the files; only when one differs are they read, and the new content replaces the old as a
//! whole. Content that cannot be read or parsed is reported once and the last good one stays.

use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};
use tokio::time::Instant;

/// Files above this size are refused: facts of a machine are some hundred kilobytes.
pub const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// Why a facts or classes file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It could not be read.
    #[error("could not read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It is larger than [`MAX_FILE_BYTES`].
    #[error("{} has {bytes} bytes, the most is {MAX_FILE_BYTES}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// It is neither JSON nor YAML, or nests too deep.
    #[error("could not parse {}: {reason}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        reason: String,
    },
    /// Facts must be an object at the top.
    #[error("{} holds no object at the top", path.display())]
    NotAnObject {
        /// The file.
        path: PathBuf,
    },
}

/// Turns the files' bytes, in order, into what they mean.
type Parse<T> = fn(&[(PathBuf, Vec<u8>)]) -> Result<T, FileError>;

/// Content of some files, kept while they do not change.
#[derive(Debug)]
pub struct Watched<T> {
    what: &'static str,
    files: Vec<PathBuf>,
    period: Duration,
    parse: Parse<T>,
    inner: Mutex<Inner<T>>,
}

#[derive(Debug)]
struct Inner<T> {
    looked: Option<Instant>,
    stamps: Vec<Stamp>,
    content: Arc<T>,
}

/// What tells one version of a file from another without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stamp {
    Absent,
    Present {
        bytes: u64,
        modified: Option<SystemTime>,
        inode: u64,
    },
}

/// The node's facts, an object.
pub type Facts = Watched<Value>;

/// The node's classes, sorted, each once.
pub type Classes = Watched<Vec<String>>;

impl Facts {
    /// Facts of some files; of equal top-level names the last file's counts.
    pub fn of_files(files: Vec<PathBuf>, period: Duration) -> Self {
        Self::new(
            "facts",
            files,
            period,
            parse_facts,
            Value::Object(Map::new()),
        )
    }
}

impl Classes {
    /// Classes of a file with one name a line; without one there are none.
    pub fn of_file(file: Option<PathBuf>, period: Duration) -> Self {
        Self::new(
            "classes",
            file.into_iter().collect(),
            period,
            parse_classes,
            Vec::new(),
        )
    }
}

impl<T> Watched<T> {
    fn new(
        what: &'static str,
        files: Vec<PathBuf>,
        period: Duration,
        parse: Parse<T>,
        empty: T,
    ) -> Self {
        Self {
            what,
            files,
            period,
            parse,
            inner: Mutex::new(Inner {
                looked: None,
                stamps: Vec::new(),
                content: Arc::new(empty),
            }),
        }
    }

    /// The content now; looks at the files when the period since the last look is over.
    pub fn current(&self) -> Arc<T> {
        let now = Instant::now();
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let due = inner
            .looked
            .is_none_or(|looked| now.duration_since(looked) >= self.period);
        if due {
            inner.looked = Some(now);
            self.look(&mut inner);
        }
        Arc::clone(&inner.content)
    }

    fn look(&self, inner: &mut Inner<T>) {
        let stamps = self
            .files
            .iter()
            .map(|file| stamp(file))
            .collect::<Vec<_>>();
        if stamps == inner.stamps {
            return;
        }
        match self.read() {
            Ok(content) => {
                tracing::debug!(what = self.what, "read again");
                inner.content = Arc::new(content);
            }
            Err(error) => tracing::error!(
                what = self.what,
                error = overlay_runtime::err_chain(&error),
                "keeping the last good content"
            ),
        }
        inner.stamps = stamps;
    }

    fn read(&self) -> Result<T, FileError> {
        let mut contents = Vec::with_capacity(self.files.len());
        for path in &self.files {
            match read_bounded(path) {
                Ok(bytes) => contents.push((path.clone(), bytes)),
                Err(FileError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                    tracing::warn!(what = self.what, path = %path.display(), "file does not exist");
                }
                Err(error) => return Err(error),
            }
        }
        (self.parse)(&contents)
    }
}

fn stamp(path: &Path) -> Stamp {
    match std::fs::metadata(path) {
        Err(_) => Stamp::Absent,
        Ok(metadata) => Stamp::Present {
            bytes: metadata.len(),
            modified: metadata.modified().ok(),
            inode: inode(&metadata),
        },
    }
}

#[cfg(unix)]
fn inode(metadata: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn inode(_metadata: &Metadata) -> u64 {
    0
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, FileError> {
    let failed = |source| FileError::Read {
        path: path.to_owned(),
        source,
    };
    let bytes = std::fs::metadata(path).map_err(failed)?.len();
    if bytes > MAX_FILE_BYTES {
        return Err(FileError::TooLarge {
            path: path.to_owned(),
            bytes,
        });
    }
    std::fs::read(path).map_err(failed)
}

fn parse_facts(files: &[(PathBuf, Vec<u8>)]) -> Result<Value, FileError> {
    let mut merged = Map::new();
    for (path, bytes) in files {
        let value: Value = if is_yaml(path) {
            serde_saphyr::from_slice(bytes).map_err(|error| error.to_string())
        } else {
            serde_json::from_slice(bytes).map_err(|error| error.to_string())
        }
        .map_err(|reason| FileError::Parse {
            path: path.clone(),
            reason,
        })?;
        match value {
            Value::Object(map) => merged.extend(map),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => {
                return Err(FileError::NotAnObject { path: path.clone() });
            }
        }
    }
    Ok(Value::Object(merged))
}

fn is_yaml(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension == "yaml" || extension == "yml")
}

fn parse_classes(files: &[(PathBuf, Vec<u8>)]) -> Result<Vec<String>, FileError> {
    let mut classes = files
        .iter()
        .flat_map(|(_, bytes)| {
            String::from_utf8_lossy(bytes)
                .lines()
                .map(|line| line.trim().to_owned())
                .filter(|line| !line.is_empty())
                .collect::<Vec<_>>()
        })
        .collect::<Vec<_>>();
    classes.sort_unstable();
    classes.dedup();
    Ok(classes)
}

#[cfg(test)]
mod tests;
