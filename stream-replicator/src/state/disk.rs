//! Writes the files, a piece at a time; everything here blocks and is called where that is allowed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::{Files, StateError, snapshot};

/// The files of a worker, held by this process.
#[derive(Debug)]
pub(crate) struct Disk {
    files: Files,
    generation: u64,
    journal: File,
    /// The snapshot that is being written, and how many values it has.
    building: Option<File>,
    /// Held as long as this value lives.
    _lock: File,
}

/// What is to be written in one go.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Begins another journal, with these lines: what is to be told and is in no snapshot.
    pub(crate) rotate: Option<Vec<u8>>,
    /// Lines of the journal.
    pub(crate) lines: Vec<u8>,
    /// A piece of the snapshot.
    pub(crate) piece: Option<Piece>,
    /// Whether the system is to have the lines on the disk before this returns.
    pub(crate) sync: bool,
}

/// A piece of a snapshot.
#[derive(Debug)]
pub(crate) struct Piece {
    /// Members of the list.
    pub(crate) text: Vec<u8>,
    /// The last one; whether there is any value at all.
    pub(crate) last: Option<bool>,
}

impl Disk {
    /// Takes hold of the files, and begins a journal behind those that are there.
    ///
    /// # Errors
    ///
    /// [`StateError`].
    pub(crate) fn open(files: Files) -> Result<Self, StateError> {
        fs::create_dir_all(&files.dir).map_err(failed("cannot make", &files.dir))?;
        let path = files.beside("lock");
        let lock = written(&path, false)?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(StateError::Held { path });
        }
        let generation = files.generations()?.last().map_or(1, |last| last + 1);
        let path = files.journal(generation);
        let journal = appended(&path)?;
        Ok(Self {
            files,
            generation,
            journal,
            building: None,
            _lock: lock,
        })
    }

    /// Writes a batch.
    ///
    /// # Errors
    ///
    /// [`StateError`]; what the files say then is what they said before, and perhaps some lines of the batch.
    pub(crate) fn write(&mut self, batch: &Batch) -> Result<(), StateError> {
        if let Some(lines) = &batch.rotate {
            let path = self.files.journal(self.generation + 1);
            self.journal = appended(&path)?;
            self.generation += 1;
            self.journal
                .write_all(lines)
                .map_err(failed("cannot write", &path))?;
            let path = self.files.beside("json.tmp");
            let mut building = written(&path, true)?;
            building
                .write_all(snapshot::BEGIN)
                .map_err(failed("cannot write", &path))?;
            self.building = Some(building);
        }
        let path = self.files.journal(self.generation);
        self.journal
            .write_all(&batch.lines)
            .map_err(failed("cannot write", &path))?;
        if batch.sync {
            self.journal
                .sync_data()
                .map_err(failed("cannot write", &path))?;
        }
        if let Some(piece) = &batch.piece {
            self.build(piece)?;
        }
        Ok(())
    }

    /// Ends with everything in the snapshot: no journal is left unless it has `lines` that belong in none.
    ///
    /// # Errors
    ///
    /// [`StateError`].
    pub(crate) fn close(mut self, text: Vec<u8>, lines: Vec<u8>) -> Result<(), StateError> {
        let is_empty = text.is_empty();
        let has_lines = !lines.is_empty();
        self.write(&Batch {
            rotate: Some(lines),
            sync: true,
            piece: Some(Piece {
                text,
                last: Some(!is_empty),
            }),
            lines: Vec::new(),
        })?;
        if !has_lines {
            let path = self.files.journal(self.generation);
            fs::remove_file(&path).map_err(failed("cannot remove", &path))?;
        }
        Ok(())
    }

    fn build(&mut self, piece: &Piece) -> Result<(), StateError> {
        let building_path = self.files.beside("json.tmp");
        let Some(building) = &mut self.building else {
            return Ok(());
        };
        let write = failed("cannot write", &building_path);
        building.write_all(&piece.text).map_err(&write)?;
        let Some(has_values) = piece.last else {
            return Ok(());
        };
        building.write_all(snapshot::END).map_err(&write)?;
        building.sync_all().map_err(&write)?;
        self.building = None;
        let path = self.files.snapshot();
        if has_values {
            fs::rename(&building_path, &path).map_err(failed("cannot rename", &building_path))?;
        } else {
            // As the original: no values, no file.
            remove(&building_path)?;
            remove(&path)?;
        }
        // A name is on the disk when its directory is.
        File::open(&self.files.dir)
            .and_then(|dir| dir.sync_all())
            .map_err(failed("cannot write", &self.files.dir))?;
        for generation in self.files.generations()? {
            if generation < self.generation {
                remove(&self.files.journal(generation))?;
            }
        }
        Ok(())
    }
}

fn failed<'a>(what: &'static str, path: &'a Path) -> impl Fn(io::Error) -> StateError + use<'a> {
    move |source| StateError::Io {
        what,
        path: PathBuf::from(path),
        source,
    }
}

fn remove(path: &Path) -> Result<(), StateError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed("cannot remove", path)(error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn written(path: &Path, truncate: bool) -> Result<File, StateError> {
    OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(truncate)
        .mode(0o600)
        .open(path)
        .map_err(failed("cannot open", path))
}

fn appended(path: &Path) -> Result<File, StateError> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .map_err(failed("cannot open", path))
}
