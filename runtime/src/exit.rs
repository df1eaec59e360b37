//! Exit codes, and errors as one line of text.

use std::error::Error;
use std::process::ExitCode;

use crate::nats::ConnectError;

/// How a daemon ends; the code tells a supervisor whether another try makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: ended as asked.
    Success,
    /// 1: failed at work.
    Failure,
    /// 2: the command line is not understood.
    Usage,
    /// 69: no broker could be reached within the limit.
    NoBroker,
    /// 78: the configuration is faulty; a restart will not help.
    Config,
}

impl Exit {
    /// The number that the process ends with.
    pub fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::Usage => 2,
            Self::NoBroker => 69,
            Self::Config => 78,
        }
    }

    /// The code that an error leads to.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        if error.chain().any(|cause| cause.is::<ConnectError>()) {
            Self::NoBroker
        } else {
            Self::Failure
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// An error and its sources as one line, from the outermost to the innermost.
///
/// A source whose text the line already ends with is left out.
pub fn err_chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        source = cause.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("read seed file /etc/x")]
    struct Outer(#[source] std::io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("start: {0}")]
    struct Repeats(#[source] Outer);

    #[test]
    fn a_chain_reads_as_a_path() {
        let error = Outer(std::io::Error::other("permission denied"));
        assert_eq!(
            err_chain(&error),
            "read seed file /etc/x: permission denied"
        );
    }

    #[test]
    fn a_repeated_source_is_told_once() {
        let error = Repeats(Outer(std::io::Error::other("permission denied")));
        assert_eq!(
            err_chain(&error),
            "start: read seed file /etc/x: permission denied"
        );
    }

    #[test]
    fn a_missing_broker_has_its_own_code() {
        let error = anyhow::Error::new(ConnectError::Stopped).context("second connection");
        assert_eq!(Exit::of(&error), Exit::NoBroker);
        assert_eq!(Exit::of(&anyhow::anyhow!("other")), Exit::Failure);
    }
}
