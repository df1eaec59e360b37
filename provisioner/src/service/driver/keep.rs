//! What is written down of an enrolment: the record of the node, and the audit.

use std::num::NonZeroU32;
use std::time::Duration;

use overlay_protocol::provisioning::NodeRecord;
use overlay_protocol::provisioning::audit::{Kind, Record};
use overlay_tokens::UnixTime;

use super::super::node::{NodeId, What, Write};
use super::Driver;
use crate::config::Rate;
use crate::enrol::Admission;
use crate::limits::Limiter;
use crate::metrics::{Dropped, Metrics};
use crate::store::{Store, at_revision, for_time, once};

/// Records of refusals and failures that are kept: for all nodes of a cell at once, and then as many as the buckets bear
/// for a long time.
const NOTES: Rate = Rate {
    nodes: NonZeroU32::new(100).expect("not zero"),
    per: Duration::from_secs(60),
    burst: NonZeroU32::new(20_000).expect("not zero"),
};
/// How long is kept what is known of a node that was never enrolled.
const NOT_LASTING: Duration = Duration::from_secs(86_400);
/// Bytes of what a node says of itself that are kept.
const MOST_TEXT: usize = 256;
/// Bytes of a message for people that are kept.
const MOST_MESSAGE: usize = 2048;

/// What is kept of nodes that were not enrolled, which anybody can cause.
#[derive(Debug, Clone, Copy)]
pub(super) enum Noted {
    /// What is known of a node that never was a member.
    Record,
    /// The audit of a refusal, a failure or a deferral.
    Audit,
}

/// Bounds what is kept of nodes that were not enrolled; each instance counts for itself.
#[derive(Debug)]
pub(super) struct Notes(Limiter);

impl Notes {
    pub(super) fn new() -> Self {
        Self(Limiter::new(Some(NOTES), None))
    }

    /// Whether one more is kept; one that is left out is counted.
    fn take(&mut self, what: Noted, now: UnixTime, metrics: &Metrics) -> bool {
        let key = match what {
            Noted::Record => "record",
            Noted::Audit => "audit",
        };
        let granted = self.0.admit(key, None, now) == Admission::Granted;
        if !granted {
            metrics.dropped(Dropped::Note).inc();
        }
        granted
    }
}

impl Driver {
    /// Keeps what is known of a node: for ever of one that was enrolled, or of which an operator spoke; of others for a
    /// day, and of no more than so many, for anybody who holds a token that many nodes share can make up names.
    pub(super) async fn record(&mut self, id: NodeId, record: NodeRecord) {
        let record = bounded(record);
        let is_lasting =
            record.issued.is_some() || !record.enrolments.is_empty() || record.operator.is_some();
        if !is_lasting && !self.may_note(Noted::Record) {
            return;
        }
        let json = record.encode();
        self.parts.mirror.note(&record, &json);
        let write = Write {
            store: Store::Nodes,
            subject: Store::Nodes.of_node(&record.identity),
            id: None,
            ttl: (!is_lasting).then_some(NOT_LASTING),
            payload: json.into(),
            attempt: 0,
        };
        if let Some(node) = self.nodes.get_mut(&id) {
            node.record_pending = true;
        }
        self.write(id, write).await;
    }

    pub(super) async fn audit(&mut self, id: NodeId, record: Record) {
        let record = shortened(record);
        let is_refusal = matches!(record.kind, Kind::Refused | Kind::Failed | Kind::Deferred);
        let may_be_over = is_refusal || !matches!(record.kind, Kind::Enrolled | Kind::Renewed);
        let is_lost = self.is_lost(id) || !self.is_fenced();
        if (may_be_over && is_lost) || (is_refusal && !self.may_note(Noted::Audit)) {
            return;
        }
        let write = Write {
            store: Store::Audit,
            subject: record.subject(),
            id: Some(record.id.clone()),
            ttl: None,
            payload: record.to_cloudevent_json().into(),
            attempt: 0,
        };
        self.write(id, write).await;
    }

    /// Whether another instance may have the node by now.
    pub(super) fn is_lost(&self, id: NodeId) -> bool {
        self.nodes.get(&id).is_some_and(|node| node.is_lost)
    }

    fn may_note(&mut self, what: Noted) -> bool {
        let now = self.now();
        self.notes.take(what, now, &self.parts.metrics)
    }

    async fn write(&mut self, id: NodeId, write: Write) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.writes += 1;
        }
        self.send_write(id, write).await;
    }

    pub(super) async fn send_write(&mut self, id: NodeId, write: Write) {
        let headers = match (&write.id, write.store) {
            (Some(id), _) => Some(once(id)),
            // Whoever wrote it since it was read knows better.
            (None, Store::Nodes) => {
                match self.nodes.get(&id).map_or(0, |node| node.record) {
                    // Nothing was known of it; what ended a moment ago may still be told of in the bucket.
                    0 => write.ttl.map(for_time),
                    revision => Some(at_revision(revision, write.ttl)),
                }
            }
            (None, _) => None,
        };
        let (subject, payload) = (write.subject.clone(), write.payload.clone());
        let what = What::Write {
            node: id,
            write: Box::new(write),
        };
        self.ask_for(id, subject, headers, payload, what).await;
    }
}

/// A record that fits, whatever a node said.
fn bounded(mut record: NodeRecord) -> NodeRecord {
    for text in [&mut record.version, &mut record.site, &mut record.placement] {
        shorten(text, MOST_TEXT);
    }
    record
}

/// An audit record without what is too long.
fn shortened(mut record: Record) -> Record {
    let details = &mut record.details;
    for text in [&mut details.version, &mut details.placement] {
        shorten(text, MOST_TEXT);
    }
    shorten(&mut details.message, MOST_MESSAGE);
    record
}

fn shorten(text: &mut Option<String>, most: usize) {
    if let Some(text) = text
        && text.len() > most
    {
        let mut end = most;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
}

#[cfg(test)]
mod tests {
    use prometheus::Registry;

    use super::*;
    use crate::time::after;

    const START: UnixTime = UnixTime::from_secs(1_000_000);

    #[test]
    fn refusals_are_kept_for_a_whole_cell_and_then_100_a_minute_and_the_rest_is_counted() {
        let metrics = Metrics::register(&Registry::new(), None).unwrap();
        let left_out = || metrics.dropped(Dropped::Note).get();
        let mut notes = Notes::new();
        let mut kept = |what, now, offered| {
            let taken = |_: &u32| notes.take(what, now, &metrics);
            (0..offered).filter(taken).count()
        };
        assert_eq!(kept(Noted::Audit, START, 20_500), 20_000);
        assert_eq!(left_out(), 500);
        // Records of nodes have a bound of their own.
        assert_eq!(kept(Noted::Record, START, 20_001), 20_000);
        assert_eq!(left_out(), 501);
        let later = after(START, Duration::from_secs(60));
        assert_eq!(kept(Noted::Audit, later, 150), 100);
        assert_eq!(left_out(), 551);
    }
}
