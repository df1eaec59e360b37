//! A change of several files that happens as a whole or not at all, also when the power fails in the middle.
//!
//! ```text
//! stage:   each new file is written beside its place, with its mode, and synced
//! commit:  a journal is written and synced ── from here on the change will happen
//!          each old file is moved aside, each new one into its place, directories are synced
//!          old files are removed, then the journal
//! ```
//!
//! A step that fails undoes those before it, under a journal that says so. [`recover`] ends at the
//! next start what a journal says was begun. Nothing here knows what the files are for.

mod journal;
#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use self::journal::{Journal, Phase};

/// Ends the names of files that are to become others.
const FRESH: &str = ".overlay-new";
/// Ends the names of files that were others.
const OLD: &str = ".overlay-old";

/// Why files were not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// A step failed; the files are as they were.
    #[error("could not {step} {path}", path = path.display())]
    Step {
        /// What was to be done.
        step: &'static str,
        /// To what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A step failed, and so did the way back; the next start tries it again.
    #[error("could not change the files, nor undo the part that was done: {undo}")]
    Broken {
        /// What stood in the way of undoing.
        undo: Box<ChangeError>,
        /// Why it was needed.
        #[source]
        source: Box<ChangeError>,
    },
    /// A path cannot be noted in the journal.
    #[error("{path} is no path in UTF-8 with a directory and a name", path = path.display())]
    Path {
        /// The path.
        path: PathBuf,
    },
}

/// Asked before each step on the disk, with its name; tests let steps fail here.
pub type Hook<'a> = &'a mut dyn FnMut(&'static str) -> io::Result<()>;

/// Lets every step pass.
pub fn no_hook(_step: &'static str) -> io::Result<()> {
    Ok(())
}

/// Files to be written, replaced and removed together.
#[derive(Debug, Default)]
pub struct ChangeSet {
    items: Vec<Item>,
}

#[derive(Debug)]
struct Item {
    target: PathBuf,
    what: What,
}

enum What {
    File(Content),
    Tree(Vec<(PathBuf, Content)>),
    Nothing,
}

struct Content {
    bytes: Zeroizing<Vec<u8>>,
    mode: u32,
}

/// A change whose files are all on the disk, each beside its place.
#[derive(Debug)]
pub struct Staged {
    home: PathBuf,
    journal: Journal,
}

impl ChangeSet {
    /// A file with this content and mode.
    pub fn write(&mut self, target: PathBuf, bytes: impl Into<Vec<u8>>, mode: u32) {
        let content = Content {
            bytes: Zeroizing::new(bytes.into()),
            mode,
        };
        self.put(target, What::File(content));
    }

    /// A directory, readable by its owner alone, with these files of mode 0400 and nothing else; names may have
    /// directories in front.
    pub fn tree(&mut self, target: PathBuf, files: impl IntoIterator<Item = (PathBuf, Vec<u8>)>) {
        let files = files
            .into_iter()
            .map(|(name, bytes)| {
                let bytes = Zeroizing::new(bytes);
                (name, Content { bytes, mode: 0o400 })
            })
            .collect();
        self.put(target, What::Tree(files));
    }

    /// No file or directory of this name.
    pub fn remove(&mut self, target: PathBuf) {
        self.put(target, What::Nothing);
    }

    /// Adds a change, in place of an earlier one of the same target.
    fn put(&mut self, target: PathBuf, what: What) {
        self.items.retain(|item| item.target != target);
        self.items.push(Item { target, what });
    }

    /// Changes the files; the journal stands in `home`.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]; the files are then as they were, unless it says [`ChangeError::Broken`].
    pub fn apply(self, home: &Path) -> Result<(), ChangeError> {
        self.stage(home, &mut no_hook)?.commit(&mut no_hook)
    }

    /// Writes all new files beside their places.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]; nothing is then left of it.
    pub fn stage(self, home: &Path, hook: Hook<'_>) -> Result<Staged, ChangeError> {
        // What an earlier change left undone must not be cleared away by this one.
        recover(home, hook)?;
        let mut staged = Staged {
            home: home.to_owned(),
            journal: Journal::default(),
        };
        for item in self.items {
            if let Err(source) = staged.add(item, hook) {
                return Err(match staged.discard(hook) {
                    Ok(()) => source,
                    Err(undo) => broken(source, undo),
                });
            }
        }
        Ok(staged)
    }
}

impl Staged {
    fn add(&mut self, item: Item, hook: Hook<'_>) -> Result<(), ChangeError> {
        let Item { target, what } = item;
        let fresh = beside(&target, FRESH)?;
        let old = beside(&target, OLD)?;
        step(hook, "clear the place of", &fresh, || erase(&fresh))?;
        step(hook, "clear the place of", &old, || erase(&old))?;
        let gone = matches!(what, What::Nothing);
        // Noted before anything is made, so that a failure half way knows what to clear.
        self.journal.add(&target, &fresh, &old, gone)?;
        match what {
            What::Nothing => return Ok(()),
            What::File(content) => {
                self.make_parent(&fresh, hook)?;
                step(hook, "write", &fresh, || write(&fresh, &content))?;
            }
            What::Tree(files) => {
                self.make_parent(&fresh, hook)?;
                step(hook, "make", &fresh, || make_dir(&fresh))?;
                for (name, content) in files {
                    let file = fresh.join(name);
                    if let Some(parent) = file.parent().filter(|parent| !parent.is_dir()) {
                        step(hook, "make", parent, || make_dir(parent))?;
                    }
                    step(hook, "write", &file, || write(&file, &content))?;
                    if let Some(parent) = file.parent() {
                        step(hook, "sync", parent, || sync_dir(parent))?;
                    }
                }
                step(hook, "sync", &fresh, || sync_dir(&fresh))?;
            }
        }
        let parent = parent(&fresh)?;
        step(hook, "sync", parent, || sync_dir(parent))
    }

    fn make_parent(&mut self, path: &Path, hook: Hook<'_>) -> Result<(), ChangeError> {
        let mut missing = Vec::new();
        let mut dir = parent(path)?;
        while !dir.exists() {
            missing.push(dir.to_owned());
            match dir.parent() {
                Some(above) => dir = above,
                None => break,
            }
        }
        for dir in missing.into_iter().rev() {
            self.journal.made(&dir)?;
            step(hook, "make", &dir, || make_dir(&dir))?;
            let above = parent(&dir)?;
            step(hook, "sync", above, || sync_dir(above))?;
        }
        Ok(())
    }

    /// Puts the files into their places.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]; the files are then as they were, unless it says [`ChangeError::Broken`].
    pub fn commit(self, hook: Hook<'_>) -> Result<(), ChangeError> {
        let begun = self
            .journal
            .save(&self.home, Phase::Commit, hook)
            .and_then(|()| self.journal.forward(&self.home, hook));
        let Err(source) = begun else { return Ok(()) };
        match self.journal.back(&self.home, hook) {
            Ok(()) => Err(source),
            Err(undo) => Err(broken(source, undo)),
        }
    }

    /// Removes what was staged.
    ///
    /// # Errors
    ///
    /// [`ChangeError::Step`] for what could not be removed.
    pub fn discard(self, hook: Hook<'_>) -> Result<(), ChangeError> {
        self.journal.clear(hook)
    }
}

/// Ends what a journal in `home` says was begun, one way or the other; true if there was one.
///
/// Files that were staged and never committed are removed as well.
///
/// # Errors
///
/// [`ChangeError`] when the disk still stands in the way.
pub fn recover(home: &Path, hook: Hook<'_>) -> Result<bool, ChangeError> {
    let found = Journal::load(home)?;
    let acted = found.is_some();
    match found {
        Some((Phase::Commit, journal)) => journal.forward(home, hook)?,
        Some((Phase::Undo, journal)) => journal.back(home, hook)?,
        None => {}
    }
    let Ok(entries) = fs::read_dir(home) else {
        return Ok(acted);
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let ours = name.to_str().is_some_and(|name| {
            (name.starts_with('.') && name.ends_with(FRESH)) || Journal::is_rubbish(name)
        });
        if ours {
            let path = entry.path();
            step(hook, "remove", &path, || erase(&path))?;
        }
    }
    Ok(acted)
}

/// Ends what a journal in `home` says was begun. What was staged and not committed stays: it may be another process's.
///
/// # Errors
///
/// [`ChangeError`] when the disk still stands in the way.
pub fn recover_begun(home: &Path) -> Result<(), ChangeError> {
    if Journal::load(home)?.is_some() {
        recover(home, &mut no_hook)?;
    }
    Ok(())
}

fn broken(source: ChangeError, undo: ChangeError) -> ChangeError {
    ChangeError::Broken {
        undo: Box::new(undo),
        source: Box::new(source),
    }
}

fn step(
    hook: Hook<'_>,
    what: &'static str,
    path: &Path,
    act: impl FnOnce() -> io::Result<()>,
) -> Result<(), ChangeError> {
    hook(what)
        .and_then(|()| act())
        .map_err(|source| ChangeError::Step {
            step: what,
            path: path.to_owned(),
            source,
        })
}

fn beside(target: &Path, ending: &str) -> Result<PathBuf, ChangeError> {
    let name = target.file_name().and_then(|name| name.to_str());
    match name {
        Some(name) if target.parent().is_some() => {
            Ok(target.with_file_name(format!(".{name}{ending}")))
        }
        Some(_) | None => Err(ChangeError::Path {
            path: target.to_owned(),
        }),
    }
}

fn parent(path: &Path) -> Result<&Path, ChangeError> {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Ok(Path::new(".")),
        Some(parent) => Ok(parent),
        None => Err(ChangeError::Path {
            path: path.to_owned(),
        }),
    }
}

fn write(path: &Path, content: &Content) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(&content.bytes)?;
    // Not left to the process's mask.
    file.set_permissions(fs::Permissions::from_mode(content.mode))?;
    file.sync_all()
}

fn make_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(path)
}

fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Removes a file or a directory with all in it; what is not there is fine.
fn erase(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

impl std::fmt::Debug for What {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(content) => write!(f, "a file of {} bytes", content.bytes.len()),
            Self::Tree(files) => write!(f, "a directory of {} files", files.len()),
            Self::Nothing => f.write_str("nothing"),
        }
    }
}
