//! Headers of a copy: what is left out, and what is put in.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use async_nats::HeaderMap;
use async_nats::header::{HeaderName, HeaderValue, IntoHeaderName as _};
use overlay_protocol::replication::{SOURCE_HEADER, SourceMark};

pub(crate) const MSG_ID: &str = "Nats-Msg-Id";
pub(crate) const EXPECTED_LAST_MSG_ID: &str = "Nats-Expected-Last-Msg-Id";
pub(crate) const EXPECTED_LAST_SEQUENCE: &str = "Nats-Expected-Last-Sequence";
pub(crate) const EXPECTED_LAST_SUBJECT_SEQUENCE: &str = "Nats-Expected-Last-Subject-Sequence";
/// Filter whose last sequence is expected, instead of that of the message's own subject.
pub(crate) const EXPECTED_LAST_SUBJECT_SEQUENCE_SUBJECT: &str =
    "Nats-Expected-Last-Subject-Sequence-Subject";

const TTL: &str = "Nats-TTL";
const ROLLUP: &str = "Nats-Rollup";
/// What the broker of the source was told with these was for the source alone; the target would act on it again.
const STRIPPED: [&str; 3] = ["Nats-Stream-Source", "Nats-Incr", MSG_ID];
const STRIPPED_PREFIXES: [&str; 4] = [
    "Nats-Expected-",
    "Nats-Batch-",
    "Nats-Schedule",
    // A message that is only to be traced is stored nowhere, and nobody answers.
    "Nats-Trace-",
];

/// What the target stream understands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Allowed {
    /// A time to live for a single message.
    pub(crate) ttl: bool,
    /// Messages that take the place of earlier ones.
    pub(crate) rollup: bool,
}

/// Whether a message goes any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// It does.
    Onward,
    /// This worker has copied it already: it came around.
    Loop,
    /// It has come too far.
    TooFar,
}

/// The names of a worker, as they stand in its copies.
#[derive(Debug, Clone)]
pub(crate) struct Stamp {
    stream: String,
    replicator: String,
    worker: String,
    /// `<replicator>:<worker>:<stream>:`; a colon within a name is written otherwise, or two workers could have one.
    id_head: String,
    /// When the source stream was made, in milliseconds, or when it went back to an earlier state: tells its messages from
    /// earlier ones of the same sequence.
    incarnation: i64,
    header: HeaderName,
    id: HeaderName,
}

impl Stamp {
    pub(crate) fn new(replicator: &str, worker: &str, stream: &str, created: SystemTime) -> Self {
        Self {
            stream: stream.to_owned(),
            replicator: replicator.to_owned(),
            worker: worker.to_owned(),
            id_head: [replicator, worker, stream]
                .map(|name| name.replace('%', "%25").replace(':', "%3a") + ":")
                .concat(),
            incarnation: unix_ms(created),
            header: SOURCE_HEADER.into_header_name(),
            id: MSG_ID.into_header_name(),
        }
    }

    /// The same names with another life of the stream.
    #[must_use]
    pub(crate) fn of(self, incarnation: i64) -> Self {
        Self {
            incarnation,
            ..self
        }
    }

    pub(crate) fn incarnation(&self) -> i64 {
        self.incarnation
    }

    /// Identifier of the copy of a message. Another `variant` is sent when somebody else's message has the identifier.
    pub(crate) fn id(&self, sequence: u64, variant: u8) -> String {
        let mut id = String::with_capacity(self.id_head.len() + 36);
        id.push_str(&self.id_head);
        // Writing to a string does not fail.
        let _fits = write!(id, "{}:{sequence}", self.incarnation);
        if variant > 0 {
            let _fits = write!(id, ":{variant}");
        }
        id
    }

    /// Incarnation and sequence of an identifier that this worker made.
    pub(crate) fn read_id(&self, id: &str) -> Option<(i64, u64)> {
        let mut parts = id.strip_prefix(&self.id_head)?.split(':');
        let incarnation = parts.next()?.parse().ok()?;
        let sequence = parts.next()?.parse().ok()?;
        Some((incarnation, sequence))
    }

    /// Whether this worker left the mark, whatever the incarnation.
    pub(crate) fn is_ours(&self, mark: &SourceMark) -> bool {
        mark.stream == self.stream
            && mark.replicator == self.replicator
            && mark.worker == self.worker
    }

    fn mark(&self, sequence: u64, time_ms: i64) -> String {
        let length = self.stream.len() + self.replicator.len() + self.worker.len() + 44;
        let mut mark = String::with_capacity(length);
        let _fits = write!(
            mark,
            "{} {sequence} {} {} {time_ms}",
            self.stream, self.replicator, self.worker
        );
        mark
    }

    /// Whether a message with these headers goes any further.
    pub(crate) fn route(&self, headers: Option<&HeaderMap>, max_hops: usize) -> Route {
        let Some(headers) = headers else {
            return Route::Onward;
        };
        let mut hops = 0_usize;
        for value in headers.get_all(self.header.clone()) {
            hops += 1;
            let mark: Result<SourceMark, _> = value.as_str().parse();
            if mark.is_ok_and(|mark| self.is_ours(&mark)) {
                return Route::Loop;
            }
        }
        if hops >= max_hops {
            Route::TooFar
        } else {
            Route::Onward
        }
    }

    /// Headers of the copy: what is left of the message's own, the mark behind those of earlier hops, and the identifier.
    pub(crate) fn headers(
        &self,
        original: Option<&HeaderMap>,
        allowed: Allowed,
        sequence: u64,
        time_ms: i64,
        id: String,
    ) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(original) = original {
            for (name, values) in original.iter() {
                if is_stripped(name.as_ref(), allowed) {
                    continue;
                }
                for value in values {
                    headers.append(name.clone(), value.clone());
                }
            }
        }
        headers.append(
            self.header.clone(),
            HeaderValue::from(self.mark(sequence, time_ms)),
        );
        headers.insert(self.id.clone(), HeaderValue::from(id));
        headers
    }
}

/// Milliseconds of the Unix epoch, as far as they go.
pub(crate) fn unix_ms(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => {
            i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |before| -before)
        }
    }
}

fn is_stripped(name: &str, allowed: Allowed) -> bool {
    if !name.starts_with("Nats-") {
        return false;
    }
    match name {
        TTL => !allowed.ttl,
        ROLLUP => !allowed.rollup,
        name => {
            STRIPPED.contains(&name)
                || STRIPPED_PREFIXES
                    .iter()
                    .any(|prefix| name.starts_with(prefix))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn stamp() -> Stamp {
        let created = UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
        Stamp::new("SITE", "WORKER", "EVENTS", created)
    }

    fn values<'a>(headers: &'a HeaderMap, name: &'a str) -> Vec<&'a str> {
        headers.get_all(name).map(HeaderValue::as_str).collect()
    }

    #[test]
    fn a_copy_names_its_source_and_has_an_identifier_of_its_own() {
        let stamp = stamp();
        let headers = stamp.headers(
            None,
            Allowed::default(),
            7,
            1_700_000_001_000,
            stamp.id(7, 0),
        );
        assert_eq!(
            values(&headers, SOURCE_HEADER),
            ["EVENTS 7 SITE WORKER 1700000001000"]
        );
        let id = "SITE:WORKER:EVENTS:1700000000123:7";
        assert_eq!(values(&headers, MSG_ID), [id]);
        assert_eq!(stamp.read_id(id), Some((1_700_000_000_123, 7)));
        assert_eq!(stamp.read_id(&stamp.id(7, 2)), Some((1_700_000_000_123, 7)));
        assert_eq!(stamp.read_id("OTHER:WORKER:EVENTS:1:7"), None);
        let named = |replicator, worker| Stamp::new(replicator, worker, "EVENTS", UNIX_EPOCH);
        assert_ne!(named("a:b", "c").id(7, 0), named("a", "b:c").id(7, 0));
        assert_eq!(stamp.read_id("SITE:WORKER:EVENTS:x"), None);
    }

    #[test]
    fn the_broker_is_told_nothing_that_was_meant_for_the_source() {
        let mut original = HeaderMap::new();
        for name in [
            "Nats-Expected-Stream",
            "Nats-Expected-Last-Sequence",
            "Nats-Expected-Last-Subject-Sequence",
            "Nats-Expected-Last-Subject-Sequence-Subject",
            "Nats-Expected-Last-Msg-Id",
            "Nats-Batch-Id",
            "Nats-Batch-Sequence",
            "Nats-Batch-Commit",
            "Nats-Stream-Source",
            "Nats-Incr",
            "Nats-Trace-Dest",
            "Nats-Trace-Only",
            "Nats-Schedule",
            "Nats-Schedule-Target",
            "Nats-Scheduler",
            "Nats-Schedule-Next",
            "Nats-TTL",
            "Nats-Rollup",
        ] {
            original.insert(name, "1");
        }
        original.insert("KV-Operation", "DEL");
        original.insert("Nats-Marker-Reason", "MaxAge");
        original.insert("A", "1");
        let stamp = stamp();
        let headers = stamp.headers(Some(&original), Allowed::default(), 7, 1, stamp.id(7, 0));
        let mut names: Vec<&str> = headers.iter().map(|(name, _)| name.as_ref()).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "A",
                SOURCE_HEADER,
                "KV-Operation",
                "Nats-Marker-Reason",
                MSG_ID
            ]
        );
        let allowed = Allowed {
            ttl: true,
            rollup: true,
        };
        let headers = stamp.headers(Some(&original), allowed, 7, 1, stamp.id(7, 0));
        assert!(headers.get(TTL).is_some() && headers.get(ROLLUP).is_some());
    }

    #[test]
    fn sr_case_29_the_marks_of_earlier_hops_stay_first() {
        let mut original = HeaderMap::new();
        original.append(SOURCE_HEADER, "A 1 SA WA 5");
        original.append(SOURCE_HEADER, "B 2 SB WB 6");
        let stamp = stamp();
        let headers = stamp.headers(Some(&original), Allowed::default(), 7, 9, stamp.id(7, 0));
        assert_eq!(
            values(&headers, SOURCE_HEADER),
            ["A 1 SA WA 5", "B 2 SB WB 6", "EVENTS 7 SITE WORKER 9"]
        );
    }

    #[test]
    fn what_came_around_or_too_far_goes_no_further() {
        let stamp = stamp();
        assert_eq!(stamp.route(None, 1), Route::Onward);
        let mut headers = HeaderMap::new();
        headers.append(SOURCE_HEADER, "EVENTS 1 OTHER WORKER 5");
        assert_eq!(stamp.route(Some(&headers), 2), Route::Onward);
        assert_eq!(stamp.route(Some(&headers), 1), Route::TooFar);
        headers.append(SOURCE_HEADER, "EVENTS 1 SITE WORKER 5");
        assert_eq!(stamp.route(Some(&headers), 9), Route::Loop);
        let mut broken = HeaderMap::new();
        broken.append(SOURCE_HEADER, "no mark");
        assert_eq!(stamp.route(Some(&broken), 2), Route::Onward);
    }
}
