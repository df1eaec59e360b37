//! Logs to standard error, as text or JSON, with a level that can be changed while running.

use std::io::IsTerminal as _;
use std::sync::Arc;

use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, reload};

/// Names of the fields that say what a line is about.
pub mod keys {
    /// The request that a line belongs to.
    pub const REQUEST_ID: &str = "request_id";
    /// The node that a line is about.
    pub const NODE: &str = "node";
    /// Who asked.
    pub const CALLER: &str = "caller";
    /// The subject of the message at hand.
    pub const SUBJECT: &str = "subject";
    /// The connection to the broker.
    pub const CONNECTION: &str = "connection";
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A level, or directives per part.
    pub level: String,
    /// How a line looks.
    pub format: Format,
}

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Says what is wrong with a level.
#[derive(Debug, thiserror::Error)]
#[error("is not a log level: {0}")]
pub struct LevelError(String);

/// Reads and changes the level while running; clones share it.
#[derive(Clone)]
pub struct LogControl {
    current: Arc<dyn Fn() -> String + Send + Sync>,
    change: Arc<dyn Fn(EnvFilter) -> Result<(), LevelError> + Send + Sync>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: Format::Text,
        }
    }
}

impl std::fmt::Debug for LogControl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("LogControl").field(&self.level()).finish()
    }
}

impl LogControl {
    /// The level as it was last set.
    pub fn level(&self) -> String {
        (self.current)()
    }

    /// Sets the level.
    ///
    /// # Errors
    ///
    /// When it is none; the old one stays.
    pub fn set_level(&self, level: &str) -> Result<(), LevelError> {
        (self.change)(parse_level(level)?)
    }
}

/// Checks that a level can be set.
///
/// # Errors
///
/// When it is none.
pub fn check_level(level: &str) -> Result<(), LevelError> {
    parse_level(level).map(drop)
}

/// Makes a subscriber that writes to `writer`, and its control.
///
/// # Errors
///
/// When the level is none.
pub fn subscriber<W>(
    settings: &Settings,
    ansi: bool,
    writer: W,
) -> Result<(impl Subscriber + Send + Sync + use<W>, LogControl), LevelError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(parse_level(&settings.level)?);
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let lines = match settings.format {
        Format::Text => lines.with_ansi(ansi).boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    let reader = handle.clone();
    let control = LogControl {
        current: Arc::new(move || {
            reader
                .with_current(ToString::to_string)
                .unwrap_or_else(|error| error.to_string())
        }),
        change: Arc::new(move |filter| {
            handle
                .reload(filter)
                .map_err(|error| LevelError(error.to_string()))
        }),
    };
    Ok((Registry::default().with(filter).with(lines), control))
}

/// Makes standard error the log of the whole process.
///
/// # Errors
///
/// When the level is none, or the process has a log already.
pub(crate) fn init(settings: &Settings) -> Result<LogControl, LevelError> {
    let ansi = std::io::stderr().is_terminal();
    let (subscriber, control) = subscriber(settings, ansi, std::io::stderr)?;
    subscriber
        .try_init()
        .map_err(|error| LevelError(error.to_string()))?;
    Ok(control)
}

fn parse_level(level: &str) -> Result<EnvFilter, LevelError> {
    if level.trim().is_empty() {
        return Err(LevelError("it is empty".to_owned()));
    }
    // A bare word that is no level would be taken as the name of a part, and nothing be logged.
    for directive in level.split(',').map(str::trim) {
        let is_bare_word = directive.chars().all(|c| c.is_ascii_alphanumeric());
        if is_bare_word
            && directive
                .parse::<tracing_subscriber::filter::LevelFilter>()
                .is_err()
        {
            return Err(LevelError(format!("unknown level {directive:?}")));
        }
    }
    EnvFilter::builder()
        .parse(level)
        .map_err(|error| LevelError(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Mutex, PoisonError};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Lines {
        fn text(&self) -> String {
            let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            String::from_utf8_lossy(&bytes).into_owned()
        }
    }

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(settings: &Settings, work: impl FnOnce(&LogControl)) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let (subscriber, control) = subscriber(settings, false, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || work(&control));
        lines.text()
    }

    #[test]
    fn the_level_can_be_changed_while_running() {
        let text = logged(&Settings::default(), |control| {
            tracing::debug!("unseen");
            control.set_level("debug").unwrap();
            tracing::debug!("seen");
            assert_eq!(control.level(), "debug");
            assert!(control.set_level("verbose").is_err());
            assert_eq!(control.level(), "debug");
        });
        assert!(text.contains("seen") && !text.contains("unseen"), "{text}");
    }

    #[test]
    fn json_is_one_object_per_line_with_fields_on_top() {
        let settings = Settings {
            format: Format::Json,
            ..Settings::default()
        };
        let text = logged(&settings, |_| tracing::info!(node = "n1", "hello"));
        let line: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
        assert_eq!(
            (&line["node"], &line["message"]),
            (&"n1".into(), &"hello".into())
        );
    }

    #[test]
    fn levels_and_directives_are_checked() {
        for level in ["info", "warn,overlay_server=debug", "INFO"] {
            assert!(check_level(level).is_ok(), "{level}");
        }
        for level in ["", "verbose", "info,loud", "x=verbose"] {
            assert!(check_level(level).is_err(), "{level}");
        }
    }
}
