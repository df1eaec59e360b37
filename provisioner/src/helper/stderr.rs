//! What helpers write to standard error: into the log, line by line, within bounds.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::Instant;

/// Bytes of a line that are shown; the rest of it is not.
const LINE_BYTES: usize = 1024;

/// How many lines are shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    /// Lines a period.
    pub(super) lines: usize,
    /// After it the lines are counted anew; without it, never.
    pub(super) period: Option<Duration>,
}

/// Lines of one pipe.
#[derive(Debug)]
struct Lines<'a> {
    who: &'a str,
    budget: Budget,
    since: Instant,
    shown: usize,
    dropped: u64,
    line: Vec<u8>,
    cut: bool,
}

/// Reads until the end of the pipe and logs; never keeps more than a line. Dropping the future is safe.
pub(super) async fn log(mut pipe: impl AsyncRead + Unpin, who: &str, budget: Budget) {
    let mut lines = Lines {
        who,
        budget,
        since: Instant::now(),
        shown: 0,
        dropped: 0,
        line: Vec::new(),
        cut: false,
    };
    let mut chunk = vec![0; 4096];
    loop {
        match pipe.read(&mut chunk).await {
            Ok(0) => break,
            Ok(read) => lines.take(chunk.get(..read).unwrap_or_default()),
            Err(error) => {
                tracing::debug!(%error, who, "standard error of a helper ended");
                break;
            }
        }
    }
    lines.end();
}

impl Lines<'_> {
    fn take(&mut self, chunk: &[u8]) {
        let mut rest = chunk;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (line, after) = rest.split_at(end);
            self.add(line);
            self.show();
            rest = after.get(1..).unwrap_or_default();
        }
        self.add(rest);
    }

    fn add(&mut self, part: &[u8]) {
        let room = LINE_BYTES.saturating_sub(self.line.len());
        self.cut |= part.len() > room;
        self.line
            .extend_from_slice(part.get(..room).unwrap_or(part));
    }

    fn show(&mut self) {
        if self
            .budget
            .period
            .is_some_and(|period| self.since.elapsed() >= period)
        {
            self.tell_dropped();
            self.since = Instant::now();
            self.shown = 0;
        }
        if self.shown < self.budget.lines {
            self.shown += 1;
            let text = String::from_utf8_lossy(&self.line);
            tracing::info!(helper = self.who, cut = self.cut, stderr = ?text.trim_end(), "helper says");
        } else {
            self.dropped += 1;
        }
        self.line.clear();
        self.cut = false;
    }

    fn tell_dropped(&mut self) {
        if self.dropped > 0 {
            tracing::warn!(
                helper = self.who,
                lines = self.dropped,
                "more lines of the helper's standard error than are shown"
            );
            self.dropped = 0;
        }
    }

    fn end(&mut self) {
        if !self.line.is_empty() {
            self.show();
        }
        self.tell_dropped();
    }
}
