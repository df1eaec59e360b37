//! The children's output, line by line, each with the name of its child.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{ChildStderr, ChildStdout};
use tokio::sync::{Mutex, mpsc};

use crate::error::Failure;
use crate::output::Output;

/// Lines that wait for a slow terminal; further ones are dropped and counted, for a child must not block.
const QUEUE: usize = 4096;
/// A longer line is shown in pieces.
const MAX_LINE: usize = 8192;
/// Prefixes are padded to this width.
const WIDTH: usize = 14;
/// Colours for children in turn: cyan, yellow, green, magenta, blue.
const COLORS: [u8; 5] = [36, 33, 32, 35, 34];

#[derive(Debug)]
struct Line {
    source: Arc<str>,
    color: u8,
    text: String,
    /// Not a child's line but ours: that the cell is up.
    ready: bool,
}

/// Collects and prints.
#[derive(Debug)]
pub(super) struct Logs {
    output: Output,
    lines: mpsc::Sender<Line>,
    waiting: Mutex<mpsc::Receiver<Line>>,
    dropped: Arc<AtomicU64>,
    sources: AtomicU64,
}

/// One child's end.
#[derive(Debug, Clone)]
pub(super) struct Source {
    name: Arc<str>,
    color: u8,
    lines: mpsc::Sender<Line>,
    dropped: Arc<AtomicU64>,
}

/// Announces in the order of the lines.
#[derive(Debug)]
pub(super) struct Ready {
    lines: mpsc::Sender<Line>,
}

impl Ready {
    /// Says once that the cell is up, on standard output where programs can wait for it.
    pub(super) fn ready(&self, cell: &str, url: &str) {
        let line = Line {
            source: "overlay".into(),
            color: 0,
            text: format!("ready: cell {cell} is up at {url}"),
            ready: true,
        };
        // When the queue is full the reader is far behind, and learns from the state file.
        self.lines.try_send(line).ok();
    }
}

impl Logs {
    pub(super) fn new(output: Output) -> Self {
        let (lines, waiting) = mpsc::channel(QUEUE);
        Self {
            output,
            lines,
            waiting: Mutex::new(waiting),
            dropped: Arc::default(),
            sources: AtomicU64::new(0),
        }
    }

    pub(super) fn source(&self, name: &str) -> Source {
        let index =
            usize::try_from(self.sources.fetch_add(1, Ordering::Relaxed)).unwrap_or_default();
        Source {
            name: name.into(),
            color: COLORS
                .get(index % COLORS.len())
                .copied()
                .unwrap_or_default(),
            lines: self.lines.clone(),
            dropped: Arc::clone(&self.dropped),
        }
    }

    pub(super) fn announcer(&self) -> Ready {
        Ready {
            lines: self.lines.clone(),
        }
    }

    /// Prints until printing fails.
    pub(super) async fn print(&self) -> Result<(), Failure> {
        let mut waiting = self.waiting.lock().await;
        while let Some(line) = waiting.recv().await {
            self.print_line(&line)?;
        }
        Ok(())
    }

    /// Prints what is still in the queue.
    pub(super) async fn flush(&self) -> Result<(), Failure> {
        let mut waiting = self.waiting.lock().await;
        while let Ok(line) = waiting.try_recv() {
            self.print_line(&line)?;
        }
        Ok(())
    }

    fn print_line(&self, line: &Line) -> Result<(), Failure> {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            self.output.warn(format!(
                "{dropped} lines were dropped, the terminal was too slow"
            ));
        }
        let name = &line.source;
        let text = &line.text;
        if self.output.is_json() {
            return self
                .output
                .json_line(&json!({ "source": &**name, "line": text }));
        }
        if line.ready {
            return self.output.line(text);
        }
        if self.output.is_colored() {
            let color = line.color;
            return self
                .output
                .line(format!("\u{1b}[{color}m{name:WIDTH$} |\u{1b}[0m {text}"));
        }
        self.output.line(format!("{name:WIDTH$} | {text}"))
    }
}

impl Source {
    /// Says something about the child.
    pub(super) fn say(&self, text: String) {
        if text.is_empty() {
            return;
        }
        let line = Line {
            source: Arc::clone(&self.name),
            color: self.color,
            text,
            ready: false,
        };
        if self.lines.try_send(line).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes lines from both pipes until both are closed.
    pub(super) async fn pump(&self, out: Option<ChildStdout>, err: Option<ChildStderr>) {
        tokio::join!(self.pump_one(out), self.pump_one(err));
    }

    async fn pump_one(&self, pipe: Option<impl AsyncRead + Unpin>) {
        let Some(pipe) = pipe else { return };
        let mut pipe = BufReader::with_capacity(MAX_LINE, pipe);
        let mut line = Vec::new();
        loop {
            let Ok(read) = pipe.fill_buf().await else {
                return;
            };
            if read.is_empty() {
                if !line.is_empty() {
                    self.say(printable(&line));
                }
                return;
            }
            let (take, ends) = match read.iter().position(|byte| *byte == b'\n') {
                Some(end) => (end, true),
                None => (read.len(), false),
            };
            line.extend_from_slice(read.get(..take).unwrap_or_default());
            pipe.consume(take + usize::from(ends));
            if ends || line.len() >= MAX_LINE {
                self.say(printable(&line));
                line.clear();
            }
        }
    }
}

/// The line as text that cannot move the cursor or change colours.
fn printable(line: &[u8]) -> String {
    String::from_utf8_lossy(line)
        .trim_end()
        .chars()
        .map(|found| {
            if found.is_control() && found != '\t' {
                '\u{fffd}'
            } else {
                found
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(printable(b"a\x1b[31mb\r\n"), "a\u{fffd}[31mb");
        assert_eq!(printable(b"a\tb"), "a\tb");
    }
}
