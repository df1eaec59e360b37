//! Where records are read from: files in their order, or the stream.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use overlay_protocol::audit::MAX_LINE_BYTES;
use overlay_tokens::audit::Place;

use super::stream::{State, Stream};
use crate::app::App;
use crate::error::Failure;

/// Longest line that is read as one; what is longer is no record.
const MAX_READ: u64 = MAX_LINE_BYTES as u64 + 1;

/// Where records are read from.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct From {
    /// Read this file instead of the stream; several are read in their order
    #[arg(long = "from", value_name = "FILE")]
    pub(super) files: Vec<PathBuf>,
}

/// What was there to read.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// The last line of a file has no end: where.
    pub(super) torn: Vec<Place>,
    /// The stream, and the sequence of the last message that was read.
    pub(super) stream: Option<(State, u64)>,
}

impl From {
    /// Reads all lines there are, and hands them on with their places.
    pub(super) async fn read(
        &self,
        app: &App,
        mut take: impl FnMut(Place, &[u8]) -> Result<(), Failure>,
    ) -> Result<Read, Failure> {
        let mut read = Read::default();
        if self.files.is_empty() {
            let stream = Stream::open(app).await?;
            let state = stream.state().await?;
            let last = read_stream(&stream, state, &mut take).await?;
            read.stream = Some((state, last));
            return Ok(read);
        }
        for path in &self.files {
            read.torn.extend(read_file(path, &mut take)?);
        }
        Ok(read)
    }
}

/// Reads what the stream has; returns the sequence of the last message.
pub(super) async fn read_stream(
    stream: &Stream,
    state: State,
    take: &mut impl FnMut(Place, &[u8]) -> Result<(), Failure>,
) -> Result<u64, Failure> {
    let mut next = state.first.max(1);
    while next <= state.last {
        let found = stream.next(next).await?;
        let Some(last) = found.last().map(|lines| lines.sequence) else {
            break;
        };
        for lines in found {
            each_line(lines.sequence, &lines.bytes, take)?;
        }
        next = last + 1;
    }
    Ok(next.saturating_sub(1))
}

/// Hands on the lines of one message.
pub(super) fn each_line(
    sequence: u64,
    bytes: &[u8],
    take: &mut impl FnMut(Place, &[u8]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    for (line, number) in bytes.split(|byte| *byte == b'\n').zip(1..) {
        let place = Place::Stream {
            sequence,
            line: number,
        };
        take(place, line)?;
    }
    Ok(())
}

/// Reads a file; returns the place of its last line if that has no end.
fn read_file(
    path: &Path,
    take: &mut impl FnMut(Place, &[u8]) -> Result<(), Failure>,
) -> Result<Option<Place>, Failure> {
    let about = || format!("cannot read {}", path.display());
    let file = File::open(path).map_err(|error| Failure::from(error).context(about()))?;
    let mut reader = BufReader::with_capacity(1 << 17, file);
    let mut lines = FileLines::new(path);
    loop {
        match lines
            .next(&mut reader)
            .map_err(|error| Failure::from(error).context(about()))?
        {
            Some((place, line)) => take(place, line)?,
            None => return Ok(lines.torn()),
        }
    }
}

/// Lines of a file that may grow.
#[derive(Debug)]
pub(super) struct FileLines {
    name: Arc<str>,
    number: u64,
    line: Vec<u8>,
    is_begun: bool,
}

impl FileLines {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            name: path.display().to_string().into(),
            number: 0,
            line: Vec::new(),
            is_begun: false,
        }
    }

    /// The next whole line; nothing at the end of the file, which may be in the middle of a line.
    pub(super) fn next(
        &mut self,
        reader: &mut BufReader<File>,
    ) -> std::io::Result<Option<(Place, &[u8])>> {
        if !self.is_begun {
            self.line.clear();
        }
        let room = MAX_READ.saturating_sub(self.line.len().try_into().unwrap_or(MAX_READ));
        reader.take(room).read_until(b'\n', &mut self.line)?;
        let is_whole = self.line.ends_with(b"\n");
        let is_too_long = u64::try_from(self.line.len()).is_ok_and(|len| len >= MAX_READ);
        if !is_whole && !is_too_long {
            self.is_begun = true;
            return Ok(None);
        }
        self.is_begun = false;
        self.number += 1;
        let line = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
        let place = Place::File {
            name: Arc::clone(&self.name),
            line: self.number,
        };
        Ok(Some((place, line)))
    }

    /// The place of what was read of a line without an end.
    pub(super) fn torn(&self) -> Option<Place> {
        (self.is_begun && !self.line.is_empty()).then(|| Place::File {
            name: Arc::clone(&self.name),
            line: self.number + 1,
        })
    }
}
