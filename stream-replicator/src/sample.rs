//! What a message is about, and whether it is copied.

mod path;
mod raw;

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

pub(crate) use path::Path;

use crate::config::{Inspect, Sampling};
use crate::track::{Nanos, Span};

/// Longest value, in bytes: nothing that names something is longer, and what is known of values is kept in memory.
pub(crate) const MAX_VALUE: usize = 1_024;

/// Part of the interval by which copies of a value are spread.
const SPREAD: f64 = 0.1;
/// So much before the interval is over, a copy is due in any case.
const MARGIN: Duration = Duration::from_secs(1);

/// Reads what messages are about.
#[derive(Debug, Clone)]
pub(crate) struct Reader {
    about: About,
    force: Option<Force>,
}

#[derive(Debug, Clone)]
enum About {
    Field(Path),
    Header,
    Subject,
    /// From 1.
    Token(usize),
}

#[derive(Debug, Clone)]
struct Force {
    path: Path,
    is_strict: bool,
}

/// Why a message is copied, or is not.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Why {
    /// It asks for it.
    Forced,
    /// It is about nothing, or about what is too long for a name.
    NoValue,
    /// Nothing was known of the value.
    New,
    /// Another copy was asked for before and did not get through, or none ever was.
    Owed,
    /// The last copy is so old.
    Due(Span),
    /// The value was not seen for so long.
    Silent(Span),
    /// The body was empty and is not any more.
    Filled,
    /// The size changed by so many bytes since the last copy.
    Resized(u64),
    /// A copy was made so long ago: this one is left out.
    Sampled(Span),
    /// There are too many values to remember another one.
    Full,
}

/// What is known of a value before a message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Before {
    pub(crate) seen: Option<Nanos>,
    /// The last copy, under way or acknowledged.
    pub(crate) copied: Option<Nanos>,
    pub(crate) copied_size: u32,
}

/// When copies are due.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rule {
    interval: Span,
    size_trigger: f64,
}

impl Reader {
    pub(crate) fn new(sampling: &Sampling) -> Self {
        Self {
            about: match &sampling.inspect {
                Inspect::Field(path) => About::Field(Path::new(path)),
                Inspect::Header(_) => About::Header,
                Inspect::Token(None) => About::Subject,
                Inspect::Token(Some(token)) => About::Token(token.get()),
            },
            force: sampling.force.as_deref().map(|path| Force {
                path: Path::new(path),
                is_strict: sampling.force_is_strict,
            }),
        }
    }

    /// What a message is about; nothing when it does not say, or says more than [`MAX_VALUE`].
    ///
    /// `header` is the header that the configuration names.
    pub(crate) fn value<'a>(
        &self,
        subject: &'a str,
        header: Option<&'a str>,
        body: &'a [u8],
    ) -> Option<Cow<'a, str>> {
        let value = match &self.about {
            About::Field(path) => path.text(body)?,
            About::Header => Cow::Borrowed(header?),
            About::Subject => Cow::Borrowed(subject),
            About::Token(token) => Cow::Borrowed(subject.split('.').nth(token - 1)?),
        };
        (!value.is_empty() && value.len() <= MAX_VALUE).then_some(value)
    }

    /// Whether a message asks to be copied.
    pub(crate) fn is_forced(&self, body: &[u8]) -> bool {
        self.force.as_ref().is_some_and(|force| {
            if force.is_strict {
                force.path.is_true(body)
            } else {
                force.path.exists(body)
            }
        })
    }
}

impl Rule {
    pub(crate) fn new(interval: Duration, size_trigger: f64) -> Self {
        Self {
            interval: Span::of(interval),
            size_trigger,
        }
    }

    /// Decides about a message of `size` bytes at `now`; `chance` is a random number from 0 to below 1.
    ///
    /// A copy becomes due at a random time in the last tenth of the interval, so that values that came at once do not
    /// stay together.
    pub(crate) fn decide(
        &self,
        before: &Before,
        now: Nanos,
        size: u32,
        chance: impl FnOnce() -> f64,
    ) -> Why {
        let Some(copied) = before.copied else {
            return Why::Owed;
        };
        let Some(seen) = before.seen else {
            return Why::New;
        };
        let since_copy = now.since(copied);
        let since_seen = now.since(seen);
        let latest = self.interval.minus(Span::of(MARGIN));
        let earliest = latest.minus(self.interval.part(SPREAD));
        let oldest = since_copy.max(since_seen);
        // Only few messages are in the range where chance decides.
        let limit = if oldest > latest || oldest <= earliest {
            latest
        } else {
            latest.minus(self.interval.part(SPREAD * chance()))
        };
        if since_copy > limit {
            return Why::Due(since_copy);
        }
        if before.copied_size == 0 && size != 0 {
            return Why::Filled;
        }
        let change = before.copied_size.abs_diff(size);
        if self.size_trigger > 0.0 && f64::from(change) >= self.size_trigger {
            return Why::Resized(u64::from(change));
        }
        if since_seen > limit {
            return Why::Silent(since_seen);
        }
        Why::Sampled(since_copy)
    }
}

impl Why {
    /// Whether the message is copied.
    pub(crate) fn copies(self) -> bool {
        match self {
            Self::Forced
            | Self::NoValue
            | Self::New
            | Self::Owed
            | Self::Due(_)
            | Self::Silent(_)
            | Self::Filled
            | Self::Resized(_)
            | Self::Full => true,
            Self::Sampled(_) => false,
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forced => f.write_str("forced"),
            Self::NoValue => f.write_str("no field"),
            Self::New => f.write_str("new"),
            Self::Owed => f.write_str("owed: never copied, or the copy was refused"),
            Self::Due(ago) => write!(f, "due: copied {ago} ago"),
            Self::Silent(ago) => write!(f, "due: seen {ago} ago"),
            Self::Filled => f.write_str("size: was empty"),
            Self::Resized(bytes) => write!(f, "size: other by {bytes} bytes"),
            Self::Sampled(ago) => write!(f, "sampled: copied {ago} ago"),
            Self::Full => f.write_str("too many values to remember"),
        }
    }
}

#[cfg(test)]
mod tests;
