//! Lines in a file that is locked, flushed, and mended after a crash.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use overlay_protocol::audit::{Envelope, Head, LineHash};
use overlay_tokens::audit::SignedHead;

/// How much of the end of a file is looked at: more than the largest batch.
const TAIL_BYTES: u64 = 2 << 20;

/// A file of lines that one process writes.
#[derive(Debug)]
pub(super) struct LineFile {
    path: PathBuf,
    file: File,
    /// Bytes that are known to be whole lines on the disk.
    len: u64,
    /// Whether there may be bytes after them.
    is_torn: bool,
    place: (u64, u64),
}

/// What an earlier writer left.
#[derive(Debug, Default)]
pub(super) struct Left {
    /// The last line of the chain.
    pub(super) head: Option<Head>,
    /// Bytes after the last whole line, and where they are now.
    pub(super) set_aside: Option<(u64, PathBuf)>,
    /// Whether there are lines, of whatever chain.
    pub(super) has_lines: bool,
}

impl LineFile {
    /// Opens or makes the file, mode 0600, takes the lock, and looks at its end: what is no whole line is set aside, in a
    /// file of its own that is named by `now` in Unix seconds.
    ///
    /// # Errors
    ///
    /// When the disk does not do its part, or another process has the file.
    pub(super) fn open(path: &Path, chain: &str, now: i64) -> io::Result<(Self, Left)> {
        let file = open_locked(path)?;
        let metadata = file.metadata()?;
        let mut lines = Self {
            path: path.to_owned(),
            len: metadata.len(),
            place: (metadata.dev(), metadata.ino()),
            file,
            is_torn: false,
        };
        let left = lines.mend(chain, now)?;
        Ok((lines, left))
    }

    /// Bytes of whole lines.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Appends lines, of which the last has no line end, and flushes them to the disk. Tells whether it did so in a new
    /// file because the one before was renamed or removed.
    ///
    /// # Errors
    ///
    /// When they are not safely there; then nothing of them is, now or before the next attempt.
    pub(super) fn append(&mut self, lines: &[u8]) -> io::Result<bool> {
        let is_new = self.follow()?;
        if self.is_torn {
            self.cut(self.len)?;
        }
        self.is_torn = true;
        let mut bytes = Vec::with_capacity(lines.len() + 1);
        bytes.extend_from_slice(lines);
        bytes.push(b'\n');
        let written = self
            .file
            .write_all(&bytes)
            .and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // if this fails too, it is done before the next attempt
            self.cut(self.len).ok();
            return Err(error);
        }
        self.len += u64::try_from(bytes.len()).unwrap_or_default();
        self.is_torn = false;
        Ok(is_new)
    }

    /// Takes the last `bytes` bytes of lines back, with the line end that [`append`](Self::append) added.
    pub(super) fn undo(&mut self, bytes: usize) -> io::Result<()> {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX).saturating_add(1);
        self.len = self.len.saturating_sub(bytes);
        self.is_torn = true;
        self.cut(self.len)
    }

    /// Reads whole lines from an offset, at least one, and not much more than `enough` bytes.
    pub(super) fn read(&mut self, from: u64, enough: usize) -> io::Result<Vec<u8>> {
        let enough = u64::try_from(enough).unwrap_or(u64::MAX);
        let mut window = enough;
        loop {
            let bytes = self.range(from, window.min(self.len.saturating_sub(from)))?;
            if let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') {
                return Ok(bytes.get(..=end).unwrap_or_default().to_vec());
            }
            if from.saturating_add(window) >= self.len {
                return Ok(Vec::new());
            }
            window = window.saturating_mul(2);
        }
    }

    /// Reads the lines of a chain after one of them, if that one is near enough to the end.
    pub(super) fn lines_after(
        &mut self,
        chain: &str,
        head: Head,
    ) -> io::Result<Option<Vec<Vec<u8>>>> {
        let tail = self.tail()?;
        let mut found = None;
        for line in tail.split(|byte| *byte == b'\n') {
            let Some(envelope) = Envelope::decode(line)
                .ok()
                .filter(|found| found.chain == chain)
            else {
                continue;
            };
            if envelope.sequence == head.sequence {
                found = (LineHash::of(line) == head.hash).then(Vec::new);
            } else if envelope.sequence > head.sequence
                && let Some(lines) = &mut found
            {
                lines.push(line.to_vec());
            }
        }
        Ok(found)
    }

    /// Empties the file.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        self.cut(0)?;
        self.len = 0;
        Ok(())
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)?;
        self.file.sync_data()?;
        self.is_torn = false;
        Ok(())
    }

    /// Opens the file anew if its name leads to another one or to none.
    fn follow(&mut self) -> io::Result<bool> {
        match fs::metadata(&self.path) {
            Ok(found) if (found.dev(), found.ino()) == self.place => return Ok(false),
            Ok(_other) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        if self.is_torn {
            self.cut(self.len)?;
        }
        let file = open_locked(&self.path)?;
        let metadata = file.metadata()?;
        self.file = file;
        self.len = metadata.len();
        self.place = (metadata.dev(), metadata.ino());
        Ok(true)
    }

    fn mend(&mut self, chain: &str, now: i64) -> io::Result<Left> {
        let tail = self.tail()?;
        let mut left = Left::default();
        // where the last whole line ends that is a record
        let mut whole = 0;
        let mut at = 0;
        for line in tail.split_inclusive(|byte| *byte == b'\n') {
            at += line.len();
            let Some(line) = line.strip_suffix(b"\n") else {
                continue;
            };
            if let Ok(envelope) = Envelope::decode(line) {
                whole = at;
                left.has_lines = true;
                if envelope.chain == chain {
                    left.head = Some(Head {
                        sequence: envelope.sequence,
                        hash: LineHash::of(line),
                    });
                }
            }
        }
        let rest = tail.get(whole..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(left);
        }
        let aside = beside(&self.path, &format!(".partial-{now}"));
        let mut copy = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&aside)?;
        copy.write_all(rest)?;
        copy.sync_data()?;
        sync_directory(&aside)?;
        let bytes = u64::try_from(rest.len()).unwrap_or_default();
        self.len -= bytes;
        self.cut(self.len)?;
        left.set_aside = Some((bytes, aside));
        Ok(left)
    }

    /// The end of the file, from the begin of a line.
    fn tail(&mut self) -> io::Result<Vec<u8>> {
        let from = self.len.saturating_sub(TAIL_BYTES);
        let bytes = self.range(from, self.len - from)?;
        if from == 0 {
            return Ok(bytes);
        }
        let begin = bytes
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(bytes.len(), |end| end + 1);
        Ok(bytes.get(begin..).unwrap_or_default().to_vec())
    }

    fn range(&mut self, from: u64, bytes: u64) -> io::Result<Vec<u8>> {
        let mut read = Vec::new();
        self.file.seek(SeekFrom::Start(from))?;
        (&self.file).take(bytes).read_to_end(&mut read)?;
        Ok(read)
    }
}

/// Reads the head that was kept beside a file of records; nothing when there is none or it is not understood.
pub(super) fn read_head(path: &Path) -> Option<SignedHead> {
    let bytes = fs::read(beside(path, ".head")).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Keeps a head beside a file of records.
pub(super) fn write_head(path: &Path, head: &SignedHead) -> io::Result<()> {
    let (target, new) = (beside(path, ".head"), beside(path, ".head.new"));
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(&serde_json::to_vec(head)?)?;
    file.write_all(b"\n")?;
    file.sync_data()?;
    fs::rename(new, target)
}

fn open_locked(path: &Path) -> io::Result<File> {
    let is_new = !path.exists();
    let file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(io::Error::new(
                io::ErrorKind::ResourceBusy,
                "another process writes to this file",
            ));
        }
        Err(TryLockError::Error(error)) => return Err(error),
    }
    if is_new {
        sync_directory(path)?;
    }
    Ok(file)
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    File::open(directory)?.sync_all()
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests;
