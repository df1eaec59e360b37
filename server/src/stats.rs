//! What the node counted, under the names Choria servers use, and a few that they lack.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use serde::Serialize;

/// Counters of one process; all only ever grow.
#[derive(Debug, Default)]
pub struct Stats {
    total: AtomicU64,
    valid: AtomicU64,
    invalid: AtomicU64,
    passed: AtomicU64,
    filtered: AtomicU64,
    replies: AtomicU64,
    ttl_expired: AtomicU64,
    events: AtomicU64,
    replayed: AtomicU64,
    dropped: AtomicU64,
    denied: AtomicU64,
    timed_out: AtomicU64,
    oversized: AtomicU64,
    unsent: AtomicU64,
    unaudited: AtomicU64,
    panicked: AtomicU64,
    last_message: AtomicI64,
}

/// One thing that is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// A message came in.
    Total,
    /// A request went to its agent.
    Valid,
    /// A message was refused: malformed, not trusted, or not for this node's collectives.
    Invalid,
    /// A request's filter matched.
    Passed,
    /// A request's filter did not match.
    Filtered,
    /// A reply was handed to the broker connection.
    Reply,
    /// A request was too old, or from too far ahead.
    TtlExpired,
    /// A lifecycle event was published.
    Event,
    /// The very bytes of a request came a second time.
    Replayed,
    /// A request was dropped because all workers were busy and the queue full.
    Dropped,
    /// A caller may not call that action.
    Denied,
    /// An action ran out of time.
    TimedOut,
    /// A reply was too large for the broker and became an error reply.
    Oversized,
    /// A reply could not be sent at all.
    Unsent,
    /// A line could not be written to the audit file.
    Unaudited,
    /// A message made this node panic while it was judged.
    Panicked,
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// See [`Count::Total`].
    pub total: u64,
    /// See [`Count::Valid`].
    pub valid: u64,
    /// See [`Count::Invalid`].
    pub invalid: u64,
    /// See [`Count::Passed`].
    pub passed: u64,
    /// See [`Count::Filtered`].
    pub filtered: u64,
    /// See [`Count::Reply`].
    pub replies: u64,
    /// See [`Count::TtlExpired`].
    #[serde(rename = "ttlexpired")]
    pub ttl_expired: u64,
    /// See [`Count::Event`].
    pub events: u64,
    /// See [`Count::Replayed`].
    pub replayed: u64,
    /// See [`Count::Dropped`].
    pub dropped: u64,
    /// See [`Count::Denied`].
    pub denied: u64,
    /// See [`Count::TimedOut`].
    pub timed_out: u64,
    /// See [`Count::Oversized`].
    pub oversized: u64,
    /// See [`Count::Unsent`].
    pub unsent: u64,
    /// See [`Count::Unaudited`].
    pub unaudited: u64,
    /// See [`Count::Panicked`].
    pub panicked: u64,
    /// Unix seconds of the latest message, 0 before the first.
    #[serde(skip)]
    pub last_message: i64,
}

impl Stats {
    /// Counts one.
    pub fn add(&self, count: Count) {
        self.cell(count).fetch_add(1, Ordering::Relaxed);
    }

    /// Remembers when the latest message came.
    pub fn message_at(&self, unix_seconds: i64) {
        self.last_message.store(unix_seconds, Ordering::Relaxed);
    }

    /// Reads all.
    pub fn snapshot(&self) -> Snapshot {
        let read = |count| self.cell(count).load(Ordering::Relaxed);
        Snapshot {
            total: read(Count::Total),
            valid: read(Count::Valid),
            invalid: read(Count::Invalid),
            passed: read(Count::Passed),
            filtered: read(Count::Filtered),
            replies: read(Count::Reply),
            ttl_expired: read(Count::TtlExpired),
            events: read(Count::Event),
            replayed: read(Count::Replayed),
            dropped: read(Count::Dropped),
            denied: read(Count::Denied),
            timed_out: read(Count::TimedOut),
            oversized: read(Count::Oversized),
            unsent: read(Count::Unsent),
            unaudited: read(Count::Unaudited),
            panicked: read(Count::Panicked),
            last_message: self.last_message.load(Ordering::Relaxed),
        }
    }

    fn cell(&self, count: Count) -> &AtomicU64 {
        match count {
            Count::Total => &self.total,
            Count::Valid => &self.valid,
            Count::Invalid => &self.invalid,
            Count::Passed => &self.passed,
            Count::Filtered => &self.filtered,
            Count::Reply => &self.replies,
            Count::TtlExpired => &self.ttl_expired,
            Count::Event => &self.events,
            Count::Replayed => &self.replayed,
            Count::Dropped => &self.dropped,
            Count::Denied => &self.denied,
            Count::TimedOut => &self.timed_out,
            Count::Oversized => &self.oversized,
            Count::Unsent => &self.unsent,
            Count::Unaudited => &self.unaudited,
            Count::Panicked => &self.panicked,
        }
    }
}
