//! Why a command ended, what its user can do, and the exit code.

mod hints;

use std::process::ExitCode;

/// The end of a command that did not do what was asked.
///
/// Not an `Error` itself, so that `?` turns any error into one.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: Kind,
    error: anyhow::Error,
    hints: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It failed, or somebody refused it.
    Failed,
    /// The command line makes no sense.
    Usage,
    /// The reader of our output went away: nothing to complain about.
    PipeClosed,
}

impl Failure {
    /// Something went wrong; the message has no full stop and says on what.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self::of(Kind::Failed, anyhow::Error::msg(message.into()))
    }

    /// The command line is wrong in a way that the parser could not see.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::of(Kind::Usage, anyhow::Error::msg(message.into()))
    }

    fn of(kind: Kind, error: anyhow::Error) -> Self {
        Self {
            kind,
            error,
            hints: Vec::new(),
        }
    }

    /// Adds a sentence that tells the user what to do.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Says what was being done when it went wrong.
    #[must_use]
    pub(crate) fn context(mut self, doing: impl Into<String>) -> Self {
        self.error = self.error.context(doing.into());
        self
    }

    /// The error in one line, causes included.
    pub(crate) fn line(&self) -> String {
        format!("{:#}", self.error)
    }

    /// Whether only the reader of the output went away.
    pub(crate) fn is_pipe_closed(&self) -> bool {
        self.kind == Kind::PipeClosed
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        match self.kind {
            Kind::Failed => ExitCode::from(1),
            Kind::Usage => ExitCode::from(2),
            Kind::PipeClosed => ExitCode::SUCCESS,
        }
    }

    /// The text for standard error: the error, its causes, the hints.
    pub(crate) fn render(&self) -> String {
        let mut text = format!("error: {}\n", self.error);
        let mut above = self.error.to_string();
        for cause in self.error.chain().skip(1).map(ToString::to_string) {
            // Some libraries repeat their cause in their own text.
            if !above.contains(&cause) {
                text.push_str(&format!("  caused by: {cause}\n"));
            }
            above = cause;
        }
        for hint in self.hints.iter().chain(&hints::of(&self.error)) {
            text.push_str(&format!("  hint: {hint}\n"));
        }
        text
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        let error = error.into();
        let closed = error
            .chain()
            .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
            .any(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe);
        Self::of(
            if closed {
                Kind::PipeClosed
            } else {
                Kind::Failed
            },
            error,
        )
    }
}

/// Hints on results.
pub(crate) trait Hint<T> {
    /// Adds a sentence that tells the user what to do, if this is an error.
    fn hint(self, hint: impl Into<String>) -> Result<T, Failure>;
}

impl<T, E: Into<Failure>> Hint<T> for Result<T, E> {
    fn hint(self, hint: impl Into<String>) -> Result<T, Failure> {
        self.map_err(|error| error.into().hint(hint))
    }
}
