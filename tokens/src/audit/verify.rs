//! Verification of chains, line by line, in the order in which they are found.

mod state;

use std::collections::BTreeMap;

use overlay_protocol::audit::{Data, Envelope, Head, Kind, LineHash, Seal, checkpoint_text};

use self::state::State;
use super::seal::{SealError, SignedHead, verify_seal};
use super::verdict::{ChainVerdict, Fault, FaultKind, NoticeAt, Place, Verdict};
use crate::cache::VerifiedCache;
use crate::claims::ServerClaims;
use crate::issuers::Issuers;

/// Faults that are listed; what is further is counted.
const MAX_FAULTS: usize = 1000;
/// Notices that are listed.
const MAX_NOTICES: usize = 1000;
/// Chains that are told apart; instances of a service are few.
const MAX_CHAINS: usize = 1000;
/// Gaps that are kept open for lines that may still come.
const MAX_GAPS: usize = 1000;
/// Signers' tokens remembered as verified.
const TOKENS: usize = 64;

/// Verifies lines of any number of chains, as they stand in files or in a stream.
#[derive(Debug)]
pub struct Verifier {
    issuers: Option<Issuers>,
    tokens: VerifiedCache<ServerClaims>,
    chains: BTreeMap<String, State>,
    expected: BTreeMap<String, BTreeMap<u64, LineHash>>,
    from_the_first: bool,
    /// Lines in a row, just now, that are no records.
    unreadable: u64,
    faults: Vec<Fault>,
    more_faults: u64,
    notices: Vec<NoticeAt>,
    records: u64,
}

impl Verifier {
    /// Verifies signatures too if it is known whom to trust; else hashes only.
    pub fn new(issuers: Option<Issuers>) -> Self {
        Self {
            issuers,
            tokens: VerifiedCache::new(TOKENS, 1 << 18),
            chains: BTreeMap::new(),
            expected: BTreeMap::new(),
            from_the_first: false,
            unreadable: 0,
            faults: Vec::new(),
            more_faults: 0,
            notices: Vec::new(),
            records: 0,
        }
    }

    /// Demands that a chain has this line.
    pub fn expect(&mut self, chain: impl Into<String>, head: Head) {
        self.expected
            .entry(chain.into())
            .or_default()
            .insert(head.sequence, head.hash);
    }

    /// Demands the line that a signed head names; one that is not signed by the writer of its chain is a fault at `place`.
    pub fn expect_signed(&mut self, place: Place, signed: &SignedHead) {
        let head = match &self.issuers {
            None => signed.head_unverified().ok_or(SealError::Signature),
            Some(_) if signed.seal.signature.is_empty() => Err(SealError::Absent),
            Some(issuers) => signed.verify(issuers),
        };
        match head {
            Ok(head) => self.expect(signed.chain.as_str(), head),
            Err(error) => {
                let message = format!("the head of {} proves nothing: {error}", signed.chain);
                let at = Some((signed.chain.as_str(), signed.sequence));
                self.fault(FaultKind::BadCheckpoint, at, place, message);
            }
        }
    }

    /// Says that a chain must be there from its first line on.
    pub fn expect_begins(&mut self) {
        self.from_the_first = true;
    }

    /// Takes the next line, without its line end.
    pub fn line(&mut self, place: Place, line: &[u8]) {
        let envelope = match Envelope::decode(line) {
            Ok(envelope) => envelope,
            Err(error) => {
                self.unreadable += 1;
                let message = format!("this is no audit record: {error}");
                self.fault(FaultKind::Changed, None, place, message);
                return;
            }
        };
        self.records += 1;
        let unreadable = std::mem::take(&mut self.unreadable);
        let hash = LineHash::of(line);
        if self.chains.len() >= MAX_CHAINS && !self.chains.contains_key(&*envelope.chain) {
            let message = format!("these are records of more than {MAX_CHAINS} chains");
            self.fault(FaultKind::Changed, None, place, message);
            return;
        }
        let name = envelope.chain.to_string();
        let sequence = self.link(&name, &envelope, hash, unreadable, &place);
        self.compare(&name, sequence, hash, &place);
        if envelope.kind.is_sealed() {
            self.check_seal(&name, sequence, &envelope, &place);
        }
        if matches!(
            envelope.kind,
            Kind::Opened | Kind::Notice | Kind::Undelivered
        ) {
            self.note(&name, &envelope, place);
        }
    }

    /// Says that what comes next in a source is cut short: a line without its end, or a stream that ends too early.
    pub fn cut(&mut self, place: Place, message: impl Into<String>) {
        self.fault(FaultKind::Truncated, None, place, message.into());
    }

    /// Gives up waiting for lines that may come later: gaps are faults now.
    pub fn settle(&mut self) {
        let Self { chains, .. } = self;
        let mut found = Vec::new();
        for (name, state) in chains {
            state.begins.clear();
            let last = state.last;
            state.ends.retain(|sequence, _end| *sequence == last);
            found.extend(
                std::mem::take(&mut state.gaps)
                    .into_iter()
                    .map(|(from, (to, place))| (name.clone(), from, to, place)),
            );
        }
        for (name, from, to, place) in found {
            let message = if from == to {
                format!("record {from} of {name} is missing before this one")
            } else {
                format!("records {from} to {to} of {name} are missing before this one")
            };
            self.fault(FaultKind::Missing, Some((&name, from)), place, message);
        }
    }

    /// Faults so far; gaps only after [`settle`](Self::settle).
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// Takes the faults so far out.
    pub fn take_faults(&mut self) -> Vec<Fault> {
        std::mem::take(&mut self.faults)
    }

    /// Ends verification.
    pub fn finish(mut self) -> Verdict {
        self.settle();
        for (name, heads) in std::mem::take(&mut self.expected) {
            self.miss(&name, &heads);
        }
        let chains = self.chains.into_iter().map(|(name, state)| ChainVerdict {
            name,
            first: state.first,
            last: state.last,
            hash: state.last_hash,
            records: state.records,
            sealed: state.sealed,
            closed: state.closed,
        });
        Verdict {
            records: self.records,
            signatures: self.issuers.is_some(),
            chains: chains.collect(),
            faults: self.faults,
            more_faults: self.more_faults,
            notices: self.notices,
        }
    }

    /// Puts a line into its chain; returns the number that it must have.
    fn link(
        &mut self,
        name: &str,
        envelope: &Envelope<'_>,
        hash: LineHash,
        unreadable: u64,
        place: &Place,
    ) -> u64 {
        let mut faults = Vec::new();
        let sequence = match self.chains.get_mut(name) {
            Some(state) => state.link(name, envelope, hash, unreadable, place, &mut faults),
            None => {
                if envelope.sequence == 1 && envelope.previous != LineHash::NONE {
                    let message =
                        format!("the first record of {name} names one that comes before it");
                    faults.push((FaultKind::Changed, 1, place.clone(), message));
                }
                if envelope.sequence > 1 && self.from_the_first {
                    let message = format!(
                        "{name} begins with record {}: what came before is not here",
                        envelope.sequence
                    );
                    faults.push((FaultKind::Missing, 1, place.clone(), message));
                }
                let state = State::new(envelope, hash, place.clone());
                self.chains.insert(name.to_owned(), state);
                envelope.sequence
            }
        };
        for (kind, sequence, place, message) in faults {
            self.fault(kind, Some((name, sequence)), place, message);
        }
        if self
            .chains
            .get(name)
            .is_some_and(|state| state.gaps.len().max(state.begins.len()) > MAX_GAPS)
        {
            self.settle();
        }
        sequence
    }

    /// Compares a line with what is expected of its place.
    fn compare(&mut self, name: &str, sequence: u64, hash: LineHash, place: &Place) {
        let Some(heads) = self.expected.get_mut(name) else {
            return;
        };
        if let Some(expected) = heads.remove(&sequence)
            && expected != hash
        {
            let message = format!("record {sequence} of {name} is not the one that is expected");
            self.fault(
                FaultKind::Changed,
                Some((name, sequence)),
                place.clone(),
                message,
            );
        }
    }

    /// Says which expected lines did not come.
    fn miss(&mut self, name: &str, heads: &BTreeMap<u64, LineHash>) {
        let Some((&sequence, _hash)) = heads.last_key_value() else {
            return;
        };
        let (last, place) = match self.chains.get(name) {
            Some(state) => (state.last, state.last_place.clone()),
            None => (0, Place::Nowhere),
        };
        if sequence > last {
            let message = format!(
                "{name} ends with record {last}, but record {sequence} was written: the end is missing"
            );
            let at = Some((name, last + 1));
            self.fault(FaultKind::Truncated, at, place, message);
        } else {
            let message = format!("record {sequence} of {name} is expected and not here");
            self.fault(FaultKind::Missing, Some((name, sequence)), place, message);
        }
    }

    fn check_seal(&mut self, name: &str, sequence: u64, envelope: &Envelope<'_>, place: &Place) {
        let Some(issuers) = &self.issuers else {
            return;
        };
        let data = envelope.data().unwrap_or_default();
        let checked = match &data.seal {
            None => Err(SealError::Absent),
            Some(seal) => self.seal_holds(name, envelope, &data, seal, issuers),
        };
        match checked {
            Ok(()) => {
                if let Some(state) = self.chains.get_mut(name) {
                    state.sealed = state.sealed.max(Some(sequence));
                }
            }
            Err(error) => {
                let message = format!("record {sequence} of {name} proves nothing: {error}");
                self.fault(
                    FaultKind::BadCheckpoint,
                    Some((name, sequence)),
                    place.clone(),
                    message,
                );
            }
        }
    }

    fn seal_holds(
        &self,
        name: &str,
        envelope: &Envelope<'_>,
        data: &Data,
        seal: &Seal,
        issuers: &Issuers,
    ) -> Result<(), SealError> {
        let text = checkpoint_text(
            envelope.kind,
            name,
            envelope.sequence,
            envelope.previous,
            data.time,
        );
        verify_seal(seal, name, &text, data.time, issuers, &self.tokens)
    }

    fn note(&mut self, name: &str, envelope: &Envelope<'_>, place: Place) {
        let data = envelope.data().unwrap_or_default();
        let (what, message) = match (data.notice, data.undelivered) {
            (Some(notice), _) => (notice.what, notice.message),
            (None, Some(undelivered)) => (
                "undelivered".to_owned(),
                format!(
                    "nobody received what was allowed in {:?}",
                    undelivered.sequences
                ),
            ),
            (None, None) => return,
        };
        if self.notices.len() < MAX_NOTICES {
            self.notices.push(NoticeAt {
                chain: name.to_owned(),
                sequence: envelope.sequence,
                place,
                what,
                message,
            });
        }
    }

    fn fault(&mut self, kind: FaultKind, at: Option<(&str, u64)>, place: Place, message: String) {
        if self.faults.len() >= MAX_FAULTS {
            self.more_faults += 1;
            return;
        }
        self.faults.push(Fault {
            kind,
            chain: at.map(|(chain, _)| chain.to_owned()),
            sequence: at.map(|(_, sequence)| sequence),
            place,
            message,
        });
    }
}
