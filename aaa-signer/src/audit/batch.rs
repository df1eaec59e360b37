//! Lines that are stored together.

use bytes::Bytes;
use overlay_protocol::audit::{Data, Decision, Head, Kind, MAX_LINE_BYTES, Undelivered};
use overlay_tokens::UnixTime;
use overlay_tokens::audit::{Chain, Sealer};
use tokio::sync::oneshot;

use super::{Asked, AuditError, Durable};

/// Records in one batch at most.
pub(super) const MAX_RECORDS: usize = 512;
/// Bytes from which a batch takes no further line.
const ENOUGH_BYTES: usize = 256 << 10;
/// Bytes of a line beside its data.
const FRAME_BYTES: usize = 2048;

/// Lines that are stored together, and who waits for them.
#[derive(Debug)]
pub(super) struct Batch {
    /// The chain after them.
    pub(super) chain: Chain,
    /// The chain's head before them.
    pub(super) before: Head,
    /// The lines with line ends between them, none at the end.
    pub(super) lines: Bytes,
    /// How many they are.
    pub(super) records: u64,
    /// Whether the last of them is signed.
    pub(super) is_sealed: bool,
    /// Data of signatures, for copies in the original's form.
    pub(super) signatures: Vec<Data>,
    /// Numbers that it says reached nobody.
    pub(super) undelivered: Vec<u64>,
    waiting: Vec<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    sequence: u64,
    allowed: bool,
    answer: oneshot::Sender<Result<Durable, AuditError>>,
}

/// Makes a batch, line by line.
#[derive(Debug)]
pub(super) struct Builder {
    batch: Batch,
    lines: Vec<u8>,
    now: UnixTime,
    max_line: usize,
    keeps_signatures: bool,
}

impl Builder {
    /// Begins a batch that follows `chain`; lines longer than `max_line` bytes lose the request that they tell of.
    pub(super) fn new(
        chain: &Chain,
        now: UnixTime,
        max_line: usize,
        keeps_signatures: bool,
    ) -> Self {
        Self {
            batch: Batch {
                chain: chain.clone(),
                before: chain.head(),
                lines: Bytes::new(),
                records: 0,
                is_sealed: false,
                signatures: Vec::new(),
                undelivered: Vec::new(),
                waiting: Vec::new(),
            },
            lines: Vec::new(),
            now,
            max_line: max_line.min(MAX_LINE_BYTES),
            keeps_signatures,
        }
    }

    /// Whether a further record fits.
    pub(super) fn has_room(&self) -> bool {
        self.lines.len() < ENOUGH_BYTES && self.batch.waiting.len() < MAX_RECORDS
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batch.records == 0
    }

    /// Adds a record. What was allowed is not recorded any more when whoever asked has gone: it was denied.
    ///
    /// Tells whether it was added.
    pub(super) fn record(&mut self, asked: Asked) -> bool {
        let Asked {
            entry,
            answer,
            room,
        } = asked;
        let allowed = entry.data.action == Some(Decision::Allow);
        if allowed && answer.is_closed() {
            return false;
        }
        let mut data = entry.data;
        let mut json = data.to_json();
        if json.len() + FRAME_BYTES > self.max_line {
            leave_request_out(&mut data);
            json = data.to_json();
        }
        let line = self
            .batch
            .chain
            .append(entry.kind, &data.callerid, self.now, &json);
        self.push(&line);
        if self.keeps_signatures && entry.kind == Kind::Signature {
            self.batch.signatures.push(data);
        }
        self.batch.waiting.push(Waiting {
            sequence: self.batch.chain.head().sequence,
            allowed,
            answer,
        });
        // the line has its own bounds
        drop(room);
        true
    }

    /// Adds the record of what did not leave the service.
    pub(super) fn undelivered(&mut self, sequences: Vec<u64>, site: &str) {
        let data = Data {
            site: site.to_owned(),
            time: self.now.secs,
            undelivered: Some(Undelivered {
                sequences: sequences.clone(),
            }),
            ..Data::default()
        };
        let line = self
            .batch
            .chain
            .append(Kind::Undelivered, "", self.now, &data.to_json());
        self.push(&line);
        self.batch.undelivered = sequences;
    }

    /// Adds a signed record.
    pub(super) fn seal(&mut self, kind: Kind, sealer: Option<&Sealer>, data: Data) {
        let line = self.batch.chain.seal(kind, sealer, self.now, data);
        self.push(&line);
        self.batch.is_sealed = true;
    }

    pub(super) fn build(mut self) -> Batch {
        self.batch.lines = self.lines.into();
        self.batch
    }

    fn push(&mut self, line: &[u8]) {
        if !self.lines.is_empty() {
            self.lines.push(b'\n');
        }
        self.lines.extend_from_slice(line);
        self.batch.records += 1;
        self.batch.is_sealed = false;
    }
}

impl Batch {
    /// Its id in the stream: a batch that is sent twice is stored once.
    pub(super) fn id(&self) -> String {
        let (from, head) = (self.before.sequence + 1, self.chain.head());
        format!(
            "{}:{from}:{}:{}",
            self.chain.name(),
            head.sequence,
            head.hash
        )
    }

    /// Tells everybody that it is stored; returns what was allowed and reached nobody.
    pub(super) fn stored(self) -> Vec<u64> {
        let mut undelivered = Vec::new();
        for Waiting {
            sequence,
            allowed,
            answer,
        } in self.waiting
        {
            if answer.send(Ok(Durable { sequence })).is_err() && allowed {
                undelivered.push(sequence);
            }
        }
        undelivered
    }

    /// Tells everybody that it is stored nowhere.
    pub(super) fn refused(self, error: &AuditError) {
        for Waiting { answer, .. } in self.waiting {
            // who has gone knows already
            answer.send(Err(error.clone())).ok();
        }
    }
}

/// Leaves out a request that is longer than any line; what remains says how long it was.
fn leave_request_out(data: &mut Data) {
    let Some(request) = data.request.take() else {
        return;
    };
    let text = request.get();
    let note = format!(
        "the request of {} bytes with sha256 {} is left out",
        text.len(),
        overlay_protocol::id::sha256_hex(text)
    );
    let decision = data.decision.get_or_insert_default();
    decision.message = if decision.message.is_empty() {
        note
    } else {
        format!("{}; {note}", decision.message)
    };
}
