//! What is being changed, written down so that it can be ended or undone by another process.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{ChangeError, Content, Hook, erase, exists, step, sync_dir, write};

/// The longest journal that is read.
const MAX_BYTES: u64 = 256 * 1024;

/// Which way a change goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Towards the new files.
    Commit,
    /// Back to the old ones.
    Undo,
}

impl Phase {
    const fn file(self) -> &'static str {
        match self {
            Self::Commit => ".overlay-change.json",
            Self::Undo => ".overlay-undo.json",
        }
    }
}

/// What is moved where.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Journal {
    moves: Vec<Move>,
    made: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Move {
    target: String,
    fresh: String,
    old: String,
    /// Whether the target is to be gone in the end.
    gone: bool,
    /// Whether there was one when the change began.
    #[serde(default)]
    had: bool,
}

/// Begins and ends the names of notes of what was staged.
const NOTE: (&str, &str) = (".overlay-staged.", ".json");

/// The name of the note of one change.
pub(super) fn note(number: &str) -> String {
    format!("{}{number}{}", NOTE.0, NOTE.1)
}

/// Whether a name is that of such a note.
pub(super) fn is_note(name: &str) -> bool {
    name.starts_with(NOTE.0) && name.ends_with(NOTE.1)
}

impl Journal {
    pub(super) fn add(
        &mut self,
        target: &Path,
        fresh: &Path,
        old: &Path,
        gone: bool,
    ) -> Result<(), ChangeError> {
        self.moves.push(Move {
            target: text(target)?,
            fresh: text(fresh)?,
            old: text(old)?,
            gone,
            had: false,
        });
        Ok(())
    }

    pub(super) fn made(&mut self, dir: &Path) -> Result<(), ChangeError> {
        self.made.push(text(dir)?);
        Ok(())
    }

    /// The journal in a directory; undoing goes before doing.
    pub(super) fn load(home: &Path) -> Result<Option<(Phase, Self)>, ChangeError> {
        for phase in [Phase::Undo, Phase::Commit] {
            if let Some(journal) = Self::read_whole(&home.join(phase.file()))? {
                return Ok(Some((phase, journal)));
            }
        }
        Ok(None)
    }

    fn read_whole(path: &Path) -> Result<Option<Self>, ChangeError> {
        let failed = |source| ChangeError::Step {
            step: "read",
            path: path.to_owned(),
            source,
        };
        let bytes = match fs::metadata(path) {
            Ok(found) if found.len() > MAX_BYTES => {
                return Err(failed(io::Error::other("it is too long")));
            }
            Ok(_) => fs::read(path).map_err(failed)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| failed(error.into()))
    }

    /// A note; none when it is half a one.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, ChangeError> {
        match Self::read_whole(path) {
            Err(ChangeError::Step { source, .. })
                if source.kind() == io::ErrorKind::UnexpectedEof
                    || source.kind() == io::ErrorKind::InvalidData =>
            {
                Ok(None)
            }
            other => other,
        }
    }

    /// Writes down what is being staged.
    pub(super) fn note(&self, path: &Path, hook: Hook<'_>) -> Result<(), ChangeError> {
        step(hook, "write", path, || {
            let bytes = serde_json::to_vec(self)?.into();
            write(path, &Content { bytes, mode: 0o600 })
        })
    }

    /// The file that is to become `target`.
    pub(super) fn fresh(&self, target: &Path) -> Option<PathBuf> {
        let target = text(target).ok()?;
        self.moves
            .iter()
            .find(|entry| entry.target == target && !entry.gone)
            .map(|entry| PathBuf::from(&entry.fresh))
    }

    /// Makes sure that all new files are there, and notes which old ones are.
    pub(super) fn begin(&mut self) -> Result<(), ChangeError> {
        for entry in &mut self.moves {
            let fresh = Path::new(&entry.fresh);
            if !entry.gone && !exists(fresh) {
                return Err(ChangeError::Step {
                    step: "find",
                    path: fresh.to_owned(),
                    source: io::ErrorKind::NotFound.into(),
                });
            }
            entry.had = exists(Path::new(&entry.target));
        }
        Ok(())
    }

    /// Writes the journal; it counts once it has its name.
    pub(super) fn save(
        &self,
        home: &Path,
        phase: Phase,
        hook: Hook<'_>,
    ) -> Result<(), ChangeError> {
        let path = home.join(phase.file());
        let beside = home.join(format!("{}.new", phase.file()));
        step(hook, "write", &beside, || {
            erase(&beside)?;
            let bytes = serde_json::to_vec(self)?.into();
            write(&beside, &Content { bytes, mode: 0o600 })
        })?;
        step(hook, "name", &path, || fs::rename(&beside, &path))?;
        step(hook, "sync", home, || sync_dir(home))
    }

    /// Moves all new files into their places; steps that were done are passed over.
    pub(super) fn forward(&self, home: &Path, hook: Hook<'_>) -> Result<(), ChangeError> {
        for entry in &self.moves {
            let Paths { target, fresh, old } = entry.paths();
            if entry.gone {
                if exists(target) {
                    step(hook, "move aside", target, || fs::rename(target, old))?;
                }
            } else if exists(fresh) {
                if exists(target) && !exists(old) {
                    step(hook, "keep", target, || keep(target, old, fresh))?;
                }
                step(hook, "put into its place", target, || {
                    fs::rename(fresh, target)
                })?;
            }
            sync_parent(target, hook)?;
        }
        // From here on there is no way back: a copy of the journal is all that is left to be done.
        let journal = home.join(Phase::Commit.file());
        let spent = home.join(format!("{}.done", Phase::Commit.file()));
        step(hook, "end", &journal, || fs::rename(&journal, &spent))?;
        // What is left now is rubbish; a failure to remove it is no failure of the change.
        for entry in &self.moves {
            drop(erase(entry.paths().old));
        }
        drop(erase(&spent));
        drop(sync_dir(home));
        Ok(())
    }

    /// Whether a name is that of a journal that was never named, or is spent.
    pub(super) fn is_rubbish(name: &str) -> bool {
        [Phase::Commit, Phase::Undo]
            .iter()
            .filter_map(|phase| name.strip_prefix(phase.file()))
            .any(|ending| matches!(ending, ".new" | ".done"))
    }

    /// Moves all old files back; steps that were done are passed over.
    pub(super) fn back(&self, home: &Path, hook: Hook<'_>) -> Result<(), ChangeError> {
        drop(erase(&home.join(format!("{}.new", Phase::Commit.file()))));
        let journal = home.join(Phase::Commit.file());
        let undo = home.join(Phase::Undo.file());
        if exists(&journal) {
            step(hook, "name", &undo, || fs::rename(&journal, &undo))?;
            step(hook, "sync", home, || sync_dir(home))?;
        }
        for entry in self.moves.iter().rev() {
            let Paths { target, fresh, old } = entry.paths();
            // What had a target and has no old one was not touched.
            let swapped =
                !entry.gone && !exists(fresh) && exists(target) && (exists(old) || !entry.had);
            if swapped && (target.is_dir() || !exists(old)) {
                step(hook, "take back", target, || fs::rename(target, fresh))?;
            }
            if exists(old) {
                step(hook, "put back", target, || {
                    fs::rename(old, target)?;
                    // Two names of one file: renaming one to the other does nothing.
                    erase(old)
                })?;
            }
            sync_parent(target, hook)?;
        }
        if exists(&undo) {
            step(hook, "end", &undo, || fs::remove_file(&undo))?;
        }
        self.clear(hook)
    }

    /// Removes new files that are not in their places, and the directories made for them.
    pub(super) fn clear(&self, hook: Hook<'_>) -> Result<(), ChangeError> {
        for entry in &self.moves {
            let fresh = entry.paths().fresh;
            step(hook, "remove", fresh, || erase(fresh))?;
        }
        for dir in self.made.iter().rev() {
            let dir = Path::new(dir);
            if exists(dir) {
                // A directory that somebody else uses by now stays.
                step(hook, "remove", dir, || {
                    drop(fs::remove_dir(dir));
                    Ok(())
                })?;
            }
        }
        Ok(())
    }
}

/// Keeps an old file under another name; where it can be, it stays in its place until the new one takes it.
fn keep(target: &Path, old: &Path, fresh: &Path) -> io::Result<()> {
    if target.is_dir() || fresh.is_dir() {
        return fs::rename(target, old);
    }
    fs::hard_link(target, old).or_else(|_| fs::rename(target, old))
}

struct Paths<'a> {
    target: &'a Path,
    fresh: &'a Path,
    old: &'a Path,
}

impl Move {
    fn paths(&self) -> Paths<'_> {
        Paths {
            target: Path::new(&self.target),
            fresh: Path::new(&self.fresh),
            old: Path::new(&self.old),
        }
    }
}

fn sync_parent(target: &Path, hook: Hook<'_>) -> Result<(), ChangeError> {
    let parent = super::parent(target)?;
    if exists(parent) {
        step(hook, "sync", parent, || sync_dir(parent))?;
    }
    Ok(())
}

fn text(path: &Path) -> Result<String, ChangeError> {
    let whole = std::path::absolute(path).map_err(|source| ChangeError::Step {
        step: "find",
        path: path.to_owned(),
        source,
    })?;
    whole
        .to_str()
        .map(str::to_owned)
        .ok_or_else(|| ChangeError::Path {
            path: PathBuf::from(path),
        })
}
