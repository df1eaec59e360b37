//! What the broker says of a delivered message in its reply subject.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const HEAD: &str = "$JS.ACK.";
/// Tokens of the old form, and of the one with domain and account; later ones may have more behind.
const PLAIN: usize = 9;
const WITH_DOMAIN: usize = 11;

/// Where a delivered message stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Delivery {
    /// Sequence in the stream.
    pub(crate) stream: u64,
    /// Sequence among what the consumer delivered.
    pub(crate) consumer: u64,
    /// How often it was delivered.
    pub(crate) times: u64,
    /// When the stream took it, in nanoseconds of the Unix epoch.
    pub(crate) time_ns: u64,
    /// Messages that the consumer has yet to deliver.
    pub(crate) pending: u64,
}

impl Delivery {
    /// Reads `$JS.ACK.<stream>.<consumer>.<times>.<stream sequence>.<consumer sequence>.<time>.<pending>`, and the forms
    /// with domain and account before the stream.
    pub(crate) fn read(reply: &str) -> Option<Self> {
        let rest = reply.strip_prefix(HEAD)?;
        let dots = memchr::memchr_iter(b'.', rest.as_bytes()).count();
        let before = match dots + 3 {
            PLAIN => 2,
            tokens if tokens >= WITH_DOMAIN => 4,
            _ => return None,
        };
        let mut tokens = rest.split('.').skip(before);
        let mut number = || tokens.next()?.parse().ok();
        Some(Self {
            times: number()?,
            stream: number()?,
            consumer: number()?,
            time_ns: number()?,
            pending: number()?,
        })
    }

    pub(crate) fn time(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_nanos(self.time_ns)
    }

    /// The time in milliseconds, as marks have it.
    pub(crate) fn time_ms(&self) -> i64 {
        i64::try_from(self.time_ns / 1_000_000).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SHOWN: Delivery = Delivery {
        times: 1,
        stream: 42,
        consumer: 7,
        time_ns: 1_700_000_000_123_456_789,
        pending: 3,
    };

    #[test]
    fn sr_case_26_every_form_of_the_reply_subject_is_read() {
        let numbers = "1.42.7.1700000000123456789.3";
        for reply in [
            format!("$JS.ACK.S.C.{numbers}"),
            format!("$JS.ACK._.ACCHASH.S.C.{numbers}"),
            format!("$JS.ACK.hub.ACCHASH.S.C.{numbers}.random"),
        ] {
            assert_eq!(Delivery::read(&reply), Some(SHOWN), "{reply}");
        }
        assert_eq!(SHOWN.time_ms(), 1_700_000_000_123);
    }

    #[test]
    fn anything_else_is_not_a_delivery() {
        for reply in [
            "",
            "_INBOX.x",
            "$JS.ACK.S.C.1.42.7.1",
            "$JS.ACK.S.C.1.42.7.1.3.4",
            "$JS.ACK.S.C.1.x.7.1.3",
            "$JS.FC.S.C.x",
        ] {
            assert_eq!(Delivery::read(reply), None, "{reply}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,60}") {
            let _delivery = Delivery::read(&format!("$JS.ACK.{text}"));
        }
    }
}
