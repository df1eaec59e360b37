//! The users file: read, changed under a lock, and replaced in one step.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::record::Record;
use crate::app::App;
use crate::error::{Failure, Hint};

/// Longest file that is read: the login service reads no longer one.
const MAX_BYTES: u64 = 32 * 1024 * 1024;
/// Mode of a file that is made.
const PRIVATE: u32 = 0o600;

/// The users of a file, in its order.
#[derive(Debug, Default)]
pub(super) struct UsersFile {
    pub(super) users: Vec<Record>,
}

/// What a file that is to be replaced looked like.
struct Before {
    mode: u32,
    owner: Option<(u32, u32)>,
}

impl UsersFile {
    /// Reads a file that must be there.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        Self::read_if_there(path)?.ok_or_else(|| {
            Failure::new(format!("there is no users file {}", path.display()))
                .hint("`overlay user add NAME` makes one; `--file` names another")
        })
    }

    fn read_if_there(path: &Path) -> Result<Option<Self>, Failure> {
        let shown = path.display();
        let mut content = Vec::new();
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Failure::from(error).context(format!("cannot read {shown}"))),
        };
        let taken = file.take(MAX_BYTES + 1).read_to_end(&mut content)?;
        if u64::try_from(taken).is_ok_and(|taken| taken > MAX_BYTES) {
            return Err(Failure::new(format!(
                "{shown} is longer than {MAX_BYTES} bytes"
            )));
        }
        let users: Vec<Value> = serde_json::from_slice(&content)
            .map_err(|error| {
                Failure::from(error).context(format!("{shown} is no JSON list of users"))
            })
            .hint("nothing was changed; repair the file first")?;
        let users = users
            .into_iter()
            .enumerate()
            .map(|(index, user)| match user {
                Value::Object(user) => Ok(Record::new(user)),
                Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::String(_)
                | Value::Array(_) => Err(Failure::new(format!(
                    "{shown}: record {} is no user",
                    index + 1
                ))),
            })
            .collect::<Result<_, _>>()?;
        Ok(Some(Self { users }))
    }

    /// Changes the file under a lock; a fault of `change` leaves it as it was.
    pub(super) fn change<T>(
        path: &Path,
        app: &App,
        change: impl FnOnce(&mut Self) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let lock = lock(path)?;
        let mut users = Self::read_if_there(path)?.unwrap_or_default();
        let outcome = change(&mut users)?;
        users.write(path, app)?;
        drop(lock);
        Ok(outcome)
    }

    /// The user of exactly this name.
    pub(super) fn get_mut(&mut self, name: &str) -> Result<&mut Record, Failure> {
        self.users
            .iter_mut()
            .find(|user| user.name() == name)
            .ok_or_else(|| unknown(name))
    }

    fn write(&self, path: &Path, app: &App) -> Result<(), Failure> {
        let shown = path.display();
        let users: Vec<_> = self.users.iter().map(Record::as_json).collect();
        let mut content = serde_json::to_vec_pretty(&users)?;
        content.push(b'\n');
        let before = match fs::metadata(path) {
            Ok(metadata) => Before {
                mode: metadata.mode() & 0o777,
                owner: Some((metadata.uid(), metadata.gid())),
            },
            Err(_none) => Before {
                mode: PRIVATE,
                owner: None,
            },
        };
        replace(path, &content, &before)
            .map_err(|error| Failure::from(error).context(format!("cannot write {shown}")))?;
        if before.mode & 0o007 != 0 {
            app.output.warn(format!(
                "{shown} has mode {:04o}, so that others may read its hashes; `chmod 0600 {shown}`",
                before.mode
            ));
        }
        Ok(())
    }
}

/// A user that the file does not have.
pub(super) fn unknown(name: &str) -> Failure {
    Failure::new(format!("there is no user {name:?}"))
        .hint("`overlay user list` shows who there is; letter case counts")
}

/// Keeps others out, until dropped.
fn lock(path: &Path) -> Result<File, Failure> {
    let beside = beside(path, "lock")?;
    if let Some(directory) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        fs::create_dir_all(directory)?;
    }
    let failed =
        |error: io::Error| Failure::from(error).context(format!("cannot lock {}", path.display()));
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(PRIVATE)
        .open(beside)
        .map_err(failed)?;
    file.lock().map_err(failed)?;
    Ok(file)
}

/// Writes beside the file and moves into place, with the mode and owner that it had.
fn replace(path: &Path, content: &[u8], before: &Before) -> io::Result<()> {
    let new = beside(path, &format!("{}.new", std::process::id()))?;
    let written = (|| {
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(PRIVATE)
            .open(&new)?;
        file.write_all(content)?;
        if let Some((user, group)) = before.owner {
            let own = file.metadata()?;
            if (own.uid(), own.gid()) != (user, group) {
                fchown(&file, Some(user), Some(group))?;
            }
        }
        file.set_permissions(fs::Permissions::from_mode(before.mode))?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        let directory = path
            .parent()
            .filter(|directory| !directory.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        File::open(directory)?.sync_all()
    })();
    if written.is_err() {
        // The error that matters is the first.
        drop(fs::remove_file(&new));
    }
    written
}

/// A hidden file beside another.
fn beside(path: &Path, ending: &str) -> io::Result<PathBuf> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(".");
    hidden.push(ending);
    Ok(path.with_file_name(hidden))
}
