//! What only the process knows: its search path, and the file it was started with.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::SystemTime;

use overlay_tokens::UnixTime;

use crate::config::Config;

/// Adds what a configuration cannot know of itself.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place where this program reads the environment; agents report it"
)]
pub(crate) fn complete(config: &mut Config) {
    config.path = std::env::var("PATH").unwrap_or_default();
    if config.config_file.is_empty()
        && let Some(file) = config_argument(std::env::args_os())
    {
        let file = std::path::absolute(&file).unwrap_or_else(|_| file.into());
        config.config_file = file.display().to_string();
    }
}

/// The time at which the process finds out what it is; later times come from the runtime's clock.
#[expect(
    clippy::disallowed_methods,
    reason = "a token's time decides what the node is, before there is a clock"
)]
pub(crate) fn now() -> UnixTime {
    SystemTime::now().into()
}

/// The program of this process and its arguments, as they were at the start.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(crate) program: PathBuf,
    arguments: Vec<OsString>,
}

impl Image {
    /// Notes them, before the program's file may be replaced.
    pub(crate) fn of_this_process() -> std::io::Result<Self> {
        Ok(Self {
            program: std::env::current_exe()?,
            arguments: std::env::args_os().collect(),
        })
    }

    /// Begins the program anew in this process, with the same arguments and environment; returns only if it cannot.
    pub(crate) fn begin_anew(&self) -> std::io::Error {
        let mut arguments = self.arguments.iter();
        let mut command = Command::new(&self.program);
        if let Some(name) = arguments.next() {
            command.arg0(name);
        }
        command.args(arguments).exec()
    }
}

/// The first file given with `--config`.
fn config_argument(arguments: impl Iterator<Item = OsString>) -> Option<OsString> {
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        if argument == "--config" {
            return arguments.next();
        }
        if let Some(file) = argument
            .to_str()
            .and_then(|text| text.strip_prefix("--config="))
        {
            return Some(file.into());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_file_named_is_found_in_both_forms() {
        let found = |arguments: &[&str]| config_argument(arguments.iter().map(OsString::from));
        assert_eq!(
            found(&["x", "--config", "a", "--config", "b"]),
            Some("a".into())
        );
        assert_eq!(found(&["x", "--config=a"]), Some("a".into()));
        assert_eq!(found(&["x", "--check"]), None);
    }
}
