//! What is known of one chain: its ends, its gaps, and how a line fits in.

use std::collections::BTreeMap;

use overlay_protocol::audit::{Envelope, Kind, LineHash};

use crate::audit::verdict::{FaultKind, Place};

/// What is known of one chain.
#[derive(Debug)]
pub(super) struct State {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) last_hash: LineHash,
    pub(super) last_place: Place,
    pub(super) records: u64,
    pub(super) sealed: Option<u64>,
    pub(super) closed: bool,
    /// Lines whose successor has not come: the last one, and those before gaps.
    pub(super) ends: BTreeMap<u64, (LineHash, Place)>,
    /// Lines whose predecessor has not come: what they name as its hash.
    pub(super) begins: BTreeMap<u64, LineHash>,
    /// Missing lines: first, to last and where it showed.
    pub(super) gaps: BTreeMap<u64, (u64, Place)>,
}

/// A fault of one chain: kind, number of the line, place, text.
pub(super) type Found = (FaultKind, u64, Place, String);

impl State {
    pub(super) fn new(envelope: &Envelope<'_>, hash: LineHash, place: Place) -> Self {
        let sequence = envelope.sequence;
        Self {
            first: sequence,
            last: sequence,
            last_hash: hash,
            last_place: place.clone(),
            records: 1,
            sealed: None,
            closed: envelope.kind == Kind::Closed,
            ends: BTreeMap::from([(sequence, (hash, place))]),
            begins: BTreeMap::new(),
            gaps: BTreeMap::new(),
        }
    }

    pub(super) fn link(
        &mut self,
        name: &str,
        envelope: &Envelope<'_>,
        hash: LineHash,
        unreadable: u64,
        place: &Place,
        faults: &mut Vec<Found>,
    ) -> u64 {
        let expected = self.last + 1;
        let found = envelope.sequence;
        let follows = envelope.previous == self.last_hash;
        if found == 1 && expected > 1 && envelope.kind == Kind::Opened && !follows {
            let message = format!("{name} begins a second time: nothing says what came before");
            faults.push((FaultKind::Restarted, 1, place.clone(), message));
            let (records, sealed) = (self.records + 1, self.sealed);
            *self = Self::new(envelope, hash, place.clone());
            (self.records, self.sealed) = (records, sealed);
            return found;
        }
        self.records += 1;
        let sequence = if found != expected && follows {
            let message =
                format!("this is record {expected} of {name}, but it says that it is {found}");
            faults.push((FaultKind::Changed, expected, place.clone(), message));
            expected
        } else {
            found
        };
        if sequence < expected {
            self.late(name, envelope, sequence, hash, place, faults);
            return sequence;
        }
        if sequence > expected {
            // a line that could not be read was there, and is told already
            let told = unreadable.min(sequence - expected);
            let to = sequence - 1 - told;
            if to >= expected {
                self.gaps.insert(expected, (to, place.clone()));
            }
            self.begins.insert(sequence, envelope.previous);
        } else {
            self.join(name, sequence, envelope.previous, faults);
        }
        self.ends.insert(sequence, (hash, place.clone()));
        self.last = sequence;
        self.last_hash = hash;
        self.last_place = place.clone();
        self.closed = envelope.kind == Kind::Closed;
        sequence
    }

    /// A line that comes after a later one.
    fn late(
        &mut self,
        name: &str,
        envelope: &Envelope<'_>,
        sequence: u64,
        hash: LineHash,
        place: &Place,
        faults: &mut Vec<Found>,
    ) {
        let gap = self
            .gaps
            .range(..=sequence)
            .next_back()
            .map(|(from, (to, place))| (*from, *to, place.clone()))
            .filter(|(_from, to, _place)| sequence <= *to);
        let Some((from, to, shown)) = gap else {
            let (kind, what) = if sequence < self.first {
                (FaultKind::Reordered, "comes after later ones")
            } else {
                (FaultKind::Repeated, "is here twice")
            };
            let message = format!("record {sequence} of {name} {what}");
            faults.push((kind, sequence, place.clone(), message));
            return;
        };
        let message = format!("record {sequence} of {name} comes after later ones");
        faults.push((FaultKind::Reordered, sequence, place.clone(), message));
        self.gaps.remove(&from);
        if from < sequence {
            self.gaps.insert(from, (sequence - 1, shown.clone()));
        }
        if sequence < to {
            self.gaps.insert(sequence + 1, (to, shown));
        }
        self.ends.insert(sequence, (hash, place.clone()));
        self.join(name, sequence, envelope.previous, faults);
        if let Some(previous) = self.begins.remove(&(sequence + 1)) {
            self.join(name, sequence + 1, previous, faults);
        }
    }

    /// Compares the hash that a line names with that of the line before, if it is there.
    fn join(&mut self, name: &str, sequence: u64, previous: LineHash, faults: &mut Vec<Found>) {
        let before = sequence - 1;
        match self.ends.remove(&before) {
            Some((hash, place)) if hash != previous => {
                let message = format!(
                    "record {before} of {name} has not the hash that record {sequence} names"
                );
                faults.push((FaultKind::Changed, before, place, message));
            }
            Some(_same) => {}
            None => {
                self.begins.insert(sequence, previous);
            }
        }
    }
}
