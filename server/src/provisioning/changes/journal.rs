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
            let path = home.join(phase.file());
            let failed = |source| ChangeError::Step {
                step: "read",
                path: path.clone(),
                source,
            };
            let bytes = match fs::metadata(&path) {
                Ok(found) if found.len() > MAX_BYTES => {
                    return Err(failed(io::Error::other("it is too long")));
                }
                Ok(_) => fs::read(&path).map_err(failed)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed(error)),
            };
            let journal = serde_json::from_slice(&bytes).map_err(|error| failed(error.into()))?;
            return Ok(Some((phase, journal)));
        }
        Ok(None)
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
            let due = entry.gone || exists(fresh);
            if due && exists(target) {
                step(hook, "move aside", target, || fs::rename(target, old))?;
            }
            if exists(fresh) {
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
            let swapped = !entry.gone && !exists(fresh) && exists(target);
            if swapped {
                step(hook, "take back", target, || fs::rename(target, fresh))?;
            }
            if exists(old) {
                step(hook, "put back", target, || fs::rename(old, target))?;
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
