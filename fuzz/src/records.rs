//! The record of the signer, as `overlay audit` reads it from files and from the stream.

use std::collections::HashMap;
use std::sync::Arc;

use overlay_protocol::audit::{
    Envelope, Head, LineHash, MAX_LINE_BYTES, Record, original_document, original_line, write_line,
};
use overlay_tokens::Issuers;
use overlay_tokens::audit::{Place, SignedHead, Verifier};

use crate::{NOW, ORG};

/// Reads lines one by one and as chains, and the head that is kept beside them.
///
/// Holds: a line that is read has one place in its chain, and is read the same when it is written again; a file that is said to
/// be whole is whole, by a simpler look at it; faults are bounded.
pub fn records(data: &[u8]) {
    let lines: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
    for line in &lines {
        one(line);
    }
    chains(&lines, None);
    chains(&lines, Some(trusted()));
    if let Ok(head) = serde_json::from_slice::<SignedHead>(data) {
        let issuers = trusted();
        if let Ok(found) = head.verify(&issuers) {
            assert_eq!(
                Some(found),
                head.head_unverified(),
                "a head differs from itself"
            );
        }
        let mut verifier = Verifier::new(Some(issuers));
        verifier.expect_signed(Place::Nowhere, &head);
        assert!(!verifier.finish().is_whole(), "nothing is a whole chain");
    }
}

fn one(line: &[u8]) {
    let Ok(envelope) = Envelope::decode(line) else {
        return;
    };
    assert!(line.len() <= MAX_LINE_BYTES, "a line is not bounded");
    let before = Head {
        sequence: envelope.sequence - 1,
        hash: envelope.previous,
    };
    let subject = envelope.subject.as_deref().unwrap_or_default();
    let written = write_line(
        &envelope.chain,
        before,
        envelope.kind,
        subject,
        NOW.as_nanos(),
        envelope.data.get().as_bytes(),
    );
    if written.len() <= MAX_LINE_BYTES && !written.contains(&b'\n') {
        let again = Envelope::decode(&written).expect("what we write decodes");
        assert_eq!(
            (&again.chain, again.sequence, again.previous, again.kind),
            (
                &envelope.chain,
                envelope.sequence,
                envelope.previous,
                envelope.kind
            ),
            "a line changes its place when written"
        );
        assert_eq!(again.data.get(), envelope.data.get(), "data changes");
    }
    let Ok(record) = Record::decode(line) else {
        return;
    };
    drop(original_document(&record.data));
    if let Some(text) = original_line(&record.data) {
        assert!(
            !text.contains(&b'\n'),
            "a line of the original's is several"
        );
    }
    let mut data = record.data.clone();
    data.bound();
    let json = data.to_json();
    assert!(!json.contains(&b'\n'), "data is more than a line");
}

fn chains(lines: &[&[u8]], issuers: Option<Issuers>) {
    let name: Arc<str> = Arc::from("fuzz");
    let mut verifier = Verifier::new(issuers);
    for (line, number) in lines.iter().zip(1..) {
        let place = Place::File {
            name: Arc::clone(&name),
            line: number,
        };
        verifier.line(place, line);
    }
    let verdict = verifier.finish();
    assert!(verdict.faults.len() <= 1000, "faults are not bounded");
    assert!(
        u128::from(verdict.records) <= lines.len() as u128,
        "more records than lines"
    );
    if verdict.is_whole() {
        is_whole(lines);
    }
}

/// Every line but a chain's first follows the one that it names.
fn is_whole(lines: &[&[u8]]) {
    let mut hashes: HashMap<(String, u64), LineHash> = HashMap::new();
    let mut first: HashMap<String, u64> = HashMap::new();
    let envelopes: Vec<_> = lines
        .iter()
        .map(|line| {
            (
                Envelope::decode(line).expect("a record"),
                LineHash::of(line),
            )
        })
        .collect();
    for (envelope, hash) in &envelopes {
        let chain = envelope.chain.to_string();
        let least = first.entry(chain.clone()).or_insert(envelope.sequence);
        *least = envelope.sequence.min(*least);
        hashes.insert((chain, envelope.sequence), *hash);
    }
    for (envelope, _hash) in &envelopes {
        let chain = envelope.chain.to_string();
        if first.get(&chain) == Some(&envelope.sequence) {
            continue;
        }
        let before = hashes.get(&(chain, envelope.sequence - 1));
        assert_eq!(before, Some(&envelope.previous), "a gap was not seen");
    }
}

fn trusted() -> Issuers {
    Issuers::new([("choria".to_owned(), ORG.public())]).expect("one issuer")
}
