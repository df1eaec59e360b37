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

/// Begins the names of files that are to become others; a number of the change and the name follow.
const FRESH: &str = ".overlay-new.";
/// Begins the names of files that were others.
const OLD: &str = ".overlay-old.";

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
    /// Where it is written down what was staged.
    note: PathBuf,
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

    /// Writes all new files beside their places, under names of this change's own.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]; nothing is then left of it.
    pub fn stage(self, home: &Path, hook: Hook<'_>) -> Result<Staged, ChangeError> {
        // What an earlier change left undone comes first.
        recover_begun(home, hook)?;
        let number = format!("{:016x}", getrandom::u64().unwrap_or_default());
        let mut staged = Staged {
            home: home.to_owned(),
            journal: Journal::default(),
            note: home.join(journal::note(&number)),
        };
        let result = staged.write(self.items, &number, hook);
        match result {
            Ok(()) => Ok(staged),
            Err(source) => Err(match staged.discard(hook) {
                Ok(()) => source,
                Err(undo) => broken(source, undo),
            }),
        }
    }
}

impl Staged {
    fn write(&mut self, items: Vec<Item>, number: &str, hook: Hook<'_>) -> Result<(), ChangeError> {
        for item in &items {
            let fresh = beside(&item.target, FRESH, number)?;
            let old = beside(&item.target, OLD, number)?;
            let gone = matches!(item.what, What::Nothing);
            if !gone {
                for dir in missing_parents(&fresh)? {
                    self.journal.made(&dir)?;
                }
            }
            self.journal.add(&item.target, &fresh, &old, gone)?;
        }
        // Noted before anything is made, so that another process can clear it away wherever it lies.
        self.journal.note(&self.note, hook)?;
        for item in items {
            let fresh = beside(&item.target, FRESH, number)?;
            make(&fresh, item.what, hook)?;
        }
        Ok(())
    }

    /// The file that is to become `target`.
    pub fn fresh(&self, target: &Path) -> Option<PathBuf> {
        self.journal.fresh(target)
    }

    /// Puts the files into their places.
    ///
    /// # Errors
    ///
    /// [`ChangeError`]; the files are then as they were, unless it says [`ChangeError::Broken`].
    pub fn commit(mut self, hook: Hook<'_>) -> Result<(), ChangeError> {
        if let Err(source) = self.journal.begin() {
            return Err(match self.discard(hook) {
                Ok(()) => source,
                Err(undo) => broken(source, undo),
            });
        }
        let begun = self
            .journal
            .save(&self.home, Phase::Commit, hook)
            .and_then(|()| self.journal.forward(&self.home, hook));
        let done = match begun {
            Ok(()) => Ok(()),
            Err(source) => match self.journal.back(&self.home, hook) {
                Ok(()) => Err(source),
                Err(undo) => return Err(broken(source, undo)),
            },
        };
        drop(erase(&self.note));
        done
    }

    /// Removes what was staged.
    ///
    /// # Errors
    ///
    /// [`ChangeError::Step`] for what could not be removed.
    pub fn discard(self, hook: Hook<'_>) -> Result<(), ChangeError> {
        self.journal.clear(hook)?;
        step(hook, "remove", &self.note, || erase(&self.note))
    }
}

/// Ends what a journal in `home` says was begun, one way or the other.
///
/// # Errors
///
/// [`ChangeError`] when the disk still stands in the way.
pub fn recover_begun(home: &Path, hook: Hook<'_>) -> Result<(), ChangeError> {
    match Journal::load(home)? {
        Some((Phase::Commit, journal)) => journal.forward(home, hook),
        Some((Phase::Undo, journal)) => journal.back(home, hook),
        None => Ok(()),
    }
}

/// As [`recover_begun`], and clears away what was staged and never committed: for a process that is alone with `home`.
///
/// # Errors
///
/// As [`recover_begun`].
pub fn recover(home: &Path, hook: Hook<'_>) -> Result<(), ChangeError> {
    recover_begun(home, hook)?;
    let Ok(entries) = fs::read_dir(home) else {
        return Ok(());
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let path = entry.path();
        if journal::is_note(name) {
            // A note that was not written to its end stands for nothing that was made.
            if let Some(journal) = Journal::read(&path)? {
                journal.clear(hook)?;
            }
            step(hook, "remove", &path, || erase(&path))?;
        } else if Journal::is_rubbish(name) || name.starts_with(FRESH) {
            step(hook, "remove", &path, || erase(&path))?;
        }
    }
    Ok(())
}

/// Writes one new file or directory and syncs it.
fn make(fresh: &Path, what: What, hook: Hook<'_>) -> Result<(), ChangeError> {
    if matches!(what, What::Nothing) {
        return Ok(());
    }
    for dir in missing_parents(fresh)? {
        step(hook, "make", &dir, || make_dir(&dir))?;
        let above = parent(&dir)?;
        step(hook, "sync", above, || sync_dir(above))?;
    }
    match what {
        What::Nothing => {}
        What::File(content) => step(hook, "write", fresh, || write(fresh, &content))?,
        What::Tree(files) => {
            step(hook, "make", fresh, || make_dir(fresh))?;
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
            step(hook, "sync", fresh, || sync_dir(fresh))?;
        }
    }
    let parent = parent(fresh)?;
    step(hook, "sync", parent, || sync_dir(parent))
}

/// The directories above a path that do not exist, outermost first.
fn missing_parents(path: &Path) -> Result<Vec<PathBuf>, ChangeError> {
    let mut missing = Vec::new();
    let mut dir = parent(path)?;
    while !dir.exists() {
        missing.push(dir.to_owned());
        match dir.parent() {
            Some(above) => dir = above,
            None => break,
        }
    }
    missing.reverse();
    Ok(missing)
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

/// The ending of the name stays, by which some readers know a file's form.
fn beside(target: &Path, begin: &str, number: &str) -> Result<PathBuf, ChangeError> {
    let name = target.file_name().and_then(|name| name.to_str());
    match name {
        Some(name) if target.parent().is_some() => {
            Ok(target.with_file_name(format!("{begin}{number}.{name}")))
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
