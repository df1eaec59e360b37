//! Where the list comes from: a file that is looked at before every login and taken whole or not at all.

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use overlay_runtime::{Clock, err_chain};
use sha2::{Digest as _, Sha256};

use super::list::{Form, ListError, Read, UserList};

/// Longest users file that is read.
const MAX_BYTES: u64 = 32 * 1024 * 1024;
/// A file that changed so shortly before it was read may have changed once more without its times telling.
const FRESH: Duration = Duration::from_secs(3);

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    /// The file cannot be read.
    #[error("read users file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is longer than any.
    #[error("users file {} is longer than {MAX_BYTES} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// It is no list of users.
    #[error("users file {}", path.display())]
    List {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: ListError,
    },
    /// The users of the configuration itself are none.
    #[error("users of the configuration")]
    Inline(#[source] ListError),
}

/// What became of looking at the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Look {
    /// It is as it was.
    Same,
    /// There is a new list, of so many users.
    New(usize),
    /// It cannot be used, which was not so before, or for another reason; the list before stays.
    Broken(String),
    /// It can be used again and is what it was before it could not.
    Mended,
}

/// A list that follows its file.
#[derive(Debug)]
pub(crate) struct Source {
    file: Option<PathBuf>,
    form: Form,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    list: Arc<UserList>,
    seen: Option<Seen>,
    fault: Option<String>,
}

/// What a reading saw.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    print: Fingerprint,
    hash: [u8; 32],
    /// The file may have changed after the reading without its fingerprint telling.
    unsure: bool,
}

/// What changes when a file does: identity, length, and both times; nobody can set the second one back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fingerprint {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl From<&Metadata> for Fingerprint {
    fn from(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl Source {
    /// Reads the file for the first time; what is odd about it is logged.
    pub(crate) fn open(path: &Path, form: Form) -> Result<Self, SourceError> {
        let (content, seen) = read(path)?;
        let list = decode(path, &content, form)?;
        Ok(Self {
            file: Some(path.to_owned()),
            form,
            state: Mutex::new(State {
                list: Arc::new(list),
                seen: Some(seen),
                fault: None,
            }),
        })
    }

    /// Takes users that stand in the configuration itself, as a JSON text; they never change.
    pub(crate) fn inline(content: &str, form: Form) -> Result<Self, SourceError> {
        let Read { list, notices } = UserList::decode(content.as_bytes(), form, Path::new(""))
            .map_err(SourceError::Inline)?;
        tell(Path::new("(configuration)"), &notices);
        Ok(Self {
            file: None,
            form,
            state: Mutex::new(State {
                list: Arc::new(list),
                seen: None,
                fault: None,
            }),
        })
    }

    /// The list as it was taken last.
    pub(crate) fn list(&self) -> Arc<UserList> {
        Arc::clone(&self.lock().list)
    }

    /// Why the file cannot be used now, when that is so.
    pub(crate) fn fault(&self) -> Option<String> {
        self.lock().fault.clone()
    }

    /// Looks whether the file changed, and takes it whole if it did and is good. Reads the disk.
    pub(crate) fn look(&self) -> Look {
        let Some(path) = &self.file else {
            return Look::Same;
        };
        let mut state = self.lock();
        let print = match std::fs::metadata(path) {
            Ok(metadata) => Fingerprint::from(&metadata),
            Err(source) => {
                let path = path.clone();
                return state.broken(&SourceError::Read { path, source });
            }
        };
        let is_known = |seen: &Seen| seen.print == print && !seen.unsure;
        if state.seen.as_ref().is_some_and(is_known) {
            return Look::Same;
        }
        let (content, seen) = match read(path) {
            Ok(found) => found,
            Err(error) => return state.broken(&error),
        };
        let same_content = state.seen.as_ref().map(|seen| seen.hash) == Some(seen.hash);
        state.seen = Some(seen);
        if same_content && state.fault.is_none() {
            return Look::Same;
        }
        match decode(path, &content, self.form) {
            Ok(list) => {
                let count = list.len();
                state.list = Arc::new(list);
                match state.fault.take() {
                    Some(_) if same_content => Look::Mended,
                    Some(_) | None => Look::New(count),
                }
            }
            Err(error) => state.broken(&error),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn broken(&mut self, error: &SourceError) -> Look {
        let text = err_chain(error);
        if self.fault.as_ref() == Some(&text) {
            return Look::Same;
        }
        self.fault = Some(text.clone());
        Look::Broken(text)
    }
}

fn decode(path: &Path, content: &[u8], form: Form) -> Result<UserList, SourceError> {
    let directory = path.parent().unwrap_or(Path::new(""));
    let Read { list, notices } =
        UserList::decode(content, form, directory).map_err(|source| SourceError::List {
            path: path.to_owned(),
            source,
        })?;
    tell(path, &notices);
    if let Ok(Some(exposure)) = overlay_tokens::file::exposure(path) {
        let mode = format!("{:04o}", exposure.mode);
        tracing::warn!(path = %path.display(), mode, "others may read the users file, which has the hashes of passwords");
    }
    Ok(list)
}

fn tell(path: &Path, notices: &[String]) {
    for notice in notices {
        tracing::warn!(path = %path.display(), notice, "odd in the users file");
    }
}

/// Reads the file and what it looked like; a file that changes meanwhile is found out at the next look.
fn read(path: &Path) -> Result<(Vec<u8>, Seen), SourceError> {
    let failed = |source| SourceError::Read {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let mut content = Vec::new();
    let taken = file
        .take(MAX_BYTES + 1)
        .read_to_end(&mut content)
        .map_err(failed)?;
    if u64::try_from(taken).is_ok_and(|taken| taken > MAX_BYTES) {
        return Err(SourceError::TooLong {
            path: path.to_owned(),
        });
    }
    let seen = Seen {
        print: Fingerprint::from(&metadata),
        hash: Sha256::digest(&content).into(),
        unsure: is_fresh(&metadata),
    };
    Ok((content, seen))
}

fn is_fresh(metadata: &Metadata) -> bool {
    let now = Clock::system().now().duration_since(UNIX_EPOCH);
    let changed = u64::try_from(metadata.ctime()).unwrap_or_default();
    now.is_ok_and(|now| now < Duration::from_secs(changed) + FRESH)
}
