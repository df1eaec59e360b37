//! Files that a vector file refers to.

use std::path::{Component, Path, PathBuf};

use serde_json::Value;

/// Finds the files that the vector file at hand refers to.
#[derive(Clone, Debug)]
pub struct Loader {
    /// The key of the file at hand.
    key: String,
    /// Where to look, in this order.
    roots: Vec<PathBuf>,
}

/// Why a referenced file could not be loaded.
#[derive(Debug)]
pub enum LoadError {
    /// No root has the file.
    Absent {
        /// What was asked for.
        reference: String,
        /// Where it was looked for.
        looked_in: Vec<PathBuf>,
    },
    /// The file cannot be read.
    Read(PathBuf, std::io::Error),
    /// The file is not JSON.
    Json(PathBuf, serde_json::Error),
}

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Absent {
                reference,
                looked_in,
            } => write!(f, "no file {reference} below any of {looked_in:?}"),
            Self::Read(path, error) => write!(f, "read {}: {error}", path.display()),
            Self::Json(path, error) => write!(f, "parse {}: {error}", path.display()),
        }
    }
}

impl std::error::Error for LoadError {}

impl Loader {
    /// Looks below `overlay` first, then below `root`, then below the vectors of the other crates.
    pub(super) fn new(root: &Path, overlay: Option<&Path>, key: &str) -> Self {
        let mut roots: Vec<PathBuf> = overlay.into_iter().map(Path::to_path_buf).collect();
        roots.push(root.to_path_buf());
        roots.extend(roots_of_other_crates(root));
        Self {
            key: key.to_owned(),
            roots,
        }
    }

    /// The key of the vector file at hand, for example `tokens/valid.json`.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Loads a JSON file by a path relative to the file at hand, or by its key.
    ///
    /// # Errors
    ///
    /// When no root has the file, or it cannot be read as JSON.
    pub fn load(&self, reference: &str) -> Result<Value, LoadError> {
        read_json(&self.path(reference)?)
    }

    /// Loads a file of any kind, as [`Self::load`] does.
    ///
    /// # Errors
    ///
    /// When no root has the file, or it cannot be read.
    pub fn load_bytes(&self, reference: &str) -> Result<Vec<u8>, LoadError> {
        let path = self.path(reference)?;
        std::fs::read(&path).map_err(|error| LoadError::Read(path, error))
    }

    /// Finds the path of a referenced file.
    ///
    /// # Errors
    ///
    /// When no root has the file.
    pub fn path(&self, reference: &str) -> Result<PathBuf, LoadError> {
        let area = Path::new(&self.key).parent().unwrap_or(Path::new(""));
        let keys = [
            normalise(&area.join(reference)),
            normalise(Path::new(reference)),
        ];
        self.roots
            .iter()
            .flat_map(|root| keys.iter().flatten().map(|key| root.join(key)))
            .find(|path| path.is_file())
            .ok_or_else(|| LoadError::Absent {
                reference: reference.to_owned(),
                looked_in: self.roots.clone(),
            })
    }
}

pub(super) fn read_json(path: &Path) -> Result<Value, LoadError> {
    let bytes = std::fs::read(path).map_err(|error| LoadError::Read(path.to_owned(), error))?;
    serde_json::from_slice(&bytes).map_err(|error| LoadError::Json(path.to_owned(), error))
}

/// Resolves `.` and `..`; a path that leaves the vectors' root has no key.
fn normalise(path: &Path) -> Option<PathBuf> {
    let mut key = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => key.push(name),
            Component::CurDir => {}
            Component::ParentDir => {
                if !key.pop() {
                    return None;
                }
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(key)
}

fn roots_of_other_crates(root: &Path) -> Vec<PathBuf> {
    let Some(workspace) = root.ancestors().nth(3) else {
        return Vec::new();
    };
    let Ok(entries) = std::fs::read_dir(workspace) else {
        return Vec::new();
    };
    let mut roots: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path().join("tests/vectors"))
        .filter(|other| other != root && other.is_dir())
        .collect();
    roots.sort();
    roots
}
