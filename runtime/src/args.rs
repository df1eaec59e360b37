//! The command line that all our daemons share.

use std::ffi::OsString;
use std::path::PathBuf;

/// What a daemon was asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Work with the merged configuration files.
    Run(Vec<PathBuf>),
    /// Check the configuration and end.
    Check(Vec<PathBuf>),
    /// Print the merged configuration, masked, and end.
    PrintConfig(Vec<PathBuf>),
    /// Print the commented reference of all keys and end.
    PrintReference,
    /// Print the version and end.
    Version,
    /// Print the usage and end.
    Help,
}

/// Why the command line is not understood; exit code 2.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UsageError {
    #[error("unexpected argument {0:?}")]
    Unexpected(OsString),
    #[error("--config needs a file")]
    NoFile,
    #[error("no --config given")]
    NoConfig,
    #[error("only one of --check, --print-config, --print-reference can be given")]
    SeveralActions,
}

/// The usage text.
pub(crate) fn usage(program: &str, environment_prefix: &str) -> String {
    format!(
        "Usage: {program} --config FILE [--config FILE] [--check | --print-config]
       {program} --print-reference

  --config FILE      configuration; given twice, tables merge and values of the second win
  --check            check the configuration and the files it names, then exit
  --print-config     print the merged configuration with secrets masked, then exit
  --print-reference  print all keys with their meaning and default, then exit
  -V, --version      print the version
  -h, --help         print this text

Environment: {environment_prefix}SECTION__KEY=VALUE overrides one key.
Exit codes: 0 ended as asked, 1 failed, 2 usage, 69 no broker, 78 configuration.
"
    )
}

/// Reads the arguments that follow the program's name.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Action, UsageError> {
    let mut files: Vec<PathBuf> = Vec::new();
    let mut chosen: Option<fn(Vec<PathBuf>) -> Action> = None;
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let action: fn(Vec<PathBuf>) -> Action = match arg.to_str() {
            Some("-h" | "--help") => return Ok(Action::Help),
            Some("-V" | "--version") => return Ok(Action::Version),
            Some("--config") => {
                files.push(args.next().ok_or(UsageError::NoFile)?.into());
                continue;
            }
            Some(text) if text.starts_with("--config=") => {
                files.push(text.trim_start_matches("--config=").into());
                continue;
            }
            Some("--check") => Action::Check,
            Some("--print-config") => Action::PrintConfig,
            Some("--print-reference") => |_| Action::PrintReference,
            Some(_) | None => return Err(UsageError::Unexpected(arg)),
        };
        if chosen.replace(action).is_some() {
            return Err(UsageError::SeveralActions);
        }
    }
    if files.iter().any(|file| file.as_os_str().is_empty()) {
        return Err(UsageError::NoFile);
    }
    let no_files = files.is_empty();
    let action = chosen.unwrap_or(Action::Run)(files);
    if no_files && action != Action::PrintReference {
        return Err(UsageError::NoConfig);
    }
    Ok(action)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &[&str]) -> Result<Action, UsageError> {
        parse(args.iter().map(OsString::from))
    }

    #[test]
    fn config_may_be_given_twice_and_in_both_forms() {
        let files = vec!["base.toml".into(), "site.toml".into()];
        assert_eq!(
            parsed(&["--config", "base.toml", "--config=site.toml"]),
            Ok(Action::Run(files.clone()))
        );
        assert_eq!(
            parsed(&["--check", "--config", "base.toml", "--config", "site.toml"]),
            Ok(Action::Check(files))
        );
    }

    #[test]
    fn the_reference_needs_no_file() {
        assert_eq!(parsed(&["--print-reference"]), Ok(Action::PrintReference));
        assert_eq!(parsed(&["--print-config"]), Err(UsageError::NoConfig));
        assert_eq!(parsed(&[]), Err(UsageError::NoConfig));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        assert_eq!(
            parsed(&["--verbose"]),
            Err(UsageError::Unexpected("--verbose".into()))
        );
        assert_eq!(parsed(&["--config"]), Err(UsageError::NoFile));
        assert_eq!(parsed(&["--config="]), Err(UsageError::NoFile));
        assert_eq!(
            parsed(&["--config", "a", "--check", "--print-config"]),
            Err(UsageError::SeveralActions)
        );
    }
}
