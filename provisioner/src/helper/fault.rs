//! What can go wrong between a question and its answer.

use std::time::Duration;

use crate::answer::{AnswerError, HelperFault};

/// Why the helper gave no output.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AskError {
    /// It cannot be started.
    #[error("cannot be started: {0}")]
    Start(String),
    /// It took too long and was killed.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// It ended with another exit code than 0, or by a signal.
    #[error("it ended with {0}")]
    Exit(String),
    /// It ended well and wrote nothing.
    #[error("it wrote nothing")]
    NoOutput,
    /// It wrote more than it may, and was killed.
    #[error("it wrote more than {limit} bytes")]
    TooMuchOutput {
        /// What it may write.
        limit: usize,
    },
    /// The persistent helper ended, or was ended, before it had answered.
    #[error("it ended before it answered: {0}")]
    Died(String),
    /// There is no helper at the moment.
    #[error("none at the moment: {0}")]
    Unavailable(String),
    /// The service answered with another status than 200.
    #[error("its service answered with status {0}")]
    Status(u16),
    /// The service could not be reached, or broke off.
    #[error("its service could not be asked: {0}")]
    Unreachable(String),
}

impl AskError {
    /// All labels.
    pub(crate) const LABELS: [&str; 10] = [
        "start",
        "time_out",
        "exit",
        "no_output",
        "too_much_output",
        "died",
        "unavailable",
        "status",
        "unreachable",
        Self::ANSWER,
    ];

    /// The label of output that is no answer.
    pub(crate) const ANSWER: &str = "answer";

    /// The fault as metrics name it.
    #[must_use]
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Start(_) => "start",
            Self::TimedOut(_) => "time_out",
            Self::Exit(_) => "exit",
            Self::NoOutput => "no_output",
            Self::TooMuchOutput { .. } => "too_much_output",
            Self::Died(_) => "died",
            Self::Unavailable(_) => "unavailable",
            Self::Status(_) => "status",
            Self::Unreachable(_) => "unreachable",
        }
    }
}

/// What enrolments are told of it.
impl From<AskError> for HelperFault {
    fn from(error: AskError) -> Self {
        match error {
            AskError::TimedOut(limit) => Self::TimedOut(limit),
            AskError::NoOutput => Self::Output(AnswerError::Empty),
            AskError::Start(_) | AskError::Unavailable(_) | AskError::Unreachable(_) => {
                Self::NotRun(error.to_string())
            }
            AskError::Exit(_)
            | AskError::Died(_)
            | AskError::Status(_)
            | AskError::TooMuchOutput { .. } => Self::Failed(error.to_string()),
        }
    }
}
