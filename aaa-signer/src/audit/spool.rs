//! Lines that wait on this disk while the stream cannot be reached.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;

use overlay_protocol::audit::{Envelope, Head, LineHash};
use overlay_protocol::id::Identity;

use super::file::{Left, LineFile};
use crate::config::AuditSpool as Settings;

/// Bytes of one message of lines that are handed on.
const CHUNK_BYTES: usize = 256 << 10;

/// A bounded file of lines, handed on in order.
#[derive(Debug)]
pub(super) struct Spool {
    lines: LineFile,
    max_bytes: u64,
    /// Bytes that the stream has.
    handed_on: u64,
}

/// Lines that follow each other, with the chain's head after each.
#[derive(Debug, Clone, Default)]
pub(super) struct Chunk {
    /// The lines.
    pub(super) lines: Vec<(Head, Vec<u8>)>,
    /// Their bytes in the file.
    pub(super) bytes: u64,
}

impl Spool {
    /// Opens or makes the spool of a chain.
    pub(super) fn open(
        settings: &Settings,
        chain: &Identity,
        now: i64,
    ) -> io::Result<(Self, Left)> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&settings.directory)?;
        // a name may have a slash, a file may not
        let name = format!("{}.spool", chain.as_str().replace('/', "%2f"));
        let (lines, left) = LineFile::open(&settings.directory.join(name), chain.as_str(), now)?;
        let spool = Self {
            lines,
            max_bytes: settings.max_bytes,
            handed_on: 0,
        };
        Ok((spool, left))
    }

    /// Bytes that wait.
    pub(super) fn waiting(&self) -> u64 {
        self.lines.len() - self.handed_on
    }

    /// Keeps lines; an error when the spool is full or the disk does not take them.
    pub(super) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let bytes = u64::try_from(lines.len()).unwrap_or(u64::MAX);
        if self.lines.len().saturating_add(bytes) >= self.max_bytes {
            return Err(io::Error::new(
                io::ErrorKind::QuotaExceeded,
                "the spool is full",
            ));
        }
        if self.lines.append(lines)? {
            // somebody took the file away, and what waited in it with it
            self.handed_on = 0;
        }
        Ok(())
    }

    /// The next lines to hand on; none when nothing waits.
    pub(super) fn next(&mut self) -> io::Result<Chunk> {
        let read = self.lines.read(self.handed_on, CHUNK_BYTES)?;
        let mut chunk = Chunk {
            bytes: u64::try_from(read.len()).unwrap_or_default(),
            lines: Vec::new(),
        };
        for line in read.split(|byte| *byte == b'\n') {
            if let Ok(envelope) = Envelope::decode(line) {
                let head = Head {
                    sequence: envelope.sequence,
                    hash: LineHash::of(line),
                };
                chunk.lines.push((head, line.to_vec()));
            }
        }
        Ok(chunk)
    }

    /// Says that the stream has the next `bytes` bytes; when it has all, the spool is emptied.
    pub(super) fn handed_on(&mut self, bytes: u64) -> io::Result<()> {
        self.handed_on += bytes;
        if self.waiting() == 0 {
            self.lines.clear()?;
            self.handed_on = 0;
        }
        Ok(())
    }
}
