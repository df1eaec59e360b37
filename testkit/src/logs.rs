//! What the code under test logs.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Lines logged while the guard of [`Logs::capture`] lives; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Logs {
    bytes: Arc<Mutex<Vec<u8>>>,
}

/// Ends the capture when dropped; shows the lines when the test fails.
#[derive(Debug)]
#[must_use = "the capture ends with the guard"]
pub struct Capture {
    logs: Logs,
    _default: tracing::subscriber::DefaultGuard,
}

impl Logs {
    /// Captures what this thread logs, at all levels.
    ///
    /// A test with an async runtime of one thread is captured whole; work on other threads is not.
    pub fn capture() -> (Self, Capture) {
        let logs = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(LevelFilter::TRACE)
            .with_ansi(false)
            .without_time()
            .with_writer(logs.clone())
            .finish();
        let default = tracing::subscriber::set_default(subscriber);
        let capture = Capture {
            logs: logs.clone(),
            _default: default,
        };
        (logs, capture)
    }

    /// The lines so far.
    pub fn lines(&self) -> Vec<String> {
        let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&bytes);
        text.lines().map(str::to_owned).collect()
    }

    /// Whether a line so far has `part` in it.
    pub fn contain(&self, part: &str) -> bool {
        self.lines().iter().any(|line| line.contains(part))
    }

    /// Asserts that nothing was logged as a warning or an error, but lines with one of `expected`.
    ///
    /// # Panics
    ///
    /// When there is another.
    #[track_caller]
    pub fn assert_quiet(&self, expected: &[&str]) {
        let unexpected: Vec<String> = self
            .lines()
            .into_iter()
            .filter(|line| line.starts_with(" WARN") || line.starts_with("ERROR"))
            .filter(|line| !expected.iter().any(|part| line.contains(part)))
            .collect();
        assert!(unexpected.is_empty(), "logged: {unexpected:#?}");
    }
}

impl Write for Logs {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Logs {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        if std::thread::panicking() {
            crate::output::show(&format!("logged:\n{}", self.logs.lines().join("\n")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_captured_until_the_guard_goes() {
        let (logs, capture) = Logs::capture();
        tracing::info!(node = "n1", "seen");
        drop(capture);
        tracing::info!("unseen");
        assert_eq!(logs.lines().len(), 1);
        assert!(logs.contain("node=\"n1\""));
        logs.assert_quiet(&[]);
    }

    #[test]
    #[should_panic(expected = "disk is full")]
    fn an_unexpected_warning_fails_the_test() {
        let (logs, _capture) = Logs::capture();
        tracing::warn!("late");
        tracing::warn!("disk is full");
        logs.assert_quiet(&["late"]);
    }
}
