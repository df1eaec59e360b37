//! What goes wrong.

use std::time::Duration;

use super::Stop;
use crate::copy::answer::Poison;

/// The first thing that went wrong in an epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    Order,
    Silence,
    Busy(String),
    /// Index of a message whose identifier the target still has on its way.
    InProcess(u64),
    Poison(u64, Poison),
    /// Index, and the sequence in the target of what has its identifier.
    Duplicate(u64, u64),
    Stop(Stop),
}

impl Fault {
    /// What happened, for people.
    pub(super) fn words(&self) -> String {
        let words = match self {
            Self::Order => {
                "the target is not as expected: another writer, or a broker that lost something"
            }
            Self::Silence => "the target does not answer",
            Self::InProcess(_) => "the target has a message of the same identifier on its way",
            Self::Duplicate(..) => "the target has a message of the same identifier",
            Self::Stop(Stop::Overtaken(_)) => "another replica has gone on",
            Self::Stop(Stop::Lost(_)) => "the target has lost messages that it had",
            Self::Busy(words) | Self::Stop(Stop::OtherStream(words)) => words,
            Self::Poison(_, poison) => return format!("a message is refused: {poison}"),
        };
        words.to_owned()
    }
}

/// How long to wait after so many faults in a row: the first is followed up at once.
pub(crate) fn pause(faults: u32) -> Duration {
    const FIRST: Duration = Duration::from_millis(50);
    const LONGEST: Duration = Duration::from_secs(5);
    match faults {
        0 | 1 => Duration::ZERO,
        more => FIRST
            .saturating_mul(2_u32.saturating_pow(more - 2))
            .min(LONGEST),
    }
}
