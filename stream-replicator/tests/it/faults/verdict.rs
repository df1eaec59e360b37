//! What a stream holds, and whether a copy is what it should be.

use async_nats::HeaderMap;
use async_nats::jetstream::{self, consumer};
use bytes::Bytes;
use futures_util::StreamExt as _;
use overlay_testkit::eventually;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use super::{LIMIT, PERIOD};

/// A message as a stream holds it.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) sequence: u64,
    pub(super) subject: String,
    pub(super) body: Bytes,
    pub(super) headers: HeaderMap,
}

/// Source sequence of a copy, from its own (last) mark.
pub(super) fn source_sequence(headers: &HeaderMap) -> Option<u64> {
    let mark = headers
        .get_all("Choria-SR-Source")
        .last()?
        .as_str()
        .to_owned();
    mark.split(' ').nth(1)?.parse().ok()
}

/// Everything that a stream holds, in its order.
pub(super) async fn read(client: &async_nats::Client, stream: &str) -> Vec<Stored> {
    eventually(LIMIT, PERIOD, || try_read(client, stream)).await
}

async fn try_read(client: &async_nats::Client, name: &str) -> Result<Vec<Stored>, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let stream = jetstream::new(client.clone())
        .get_stream(name)
        .await
        .map_err(|it| text(&it))?;
    let wanted = stream.cached_info().state.messages;
    let mut found = Vec::new();
    if wanted == 0 {
        return Ok(found);
    }
    let consumer: consumer::Consumer<consumer::pull::OrderedConfig> = stream
        .create_consumer(consumer::pull::OrderedConfig::default())
        .await
        .map_err(|it| text(&it))?;
    let mut messages = consumer.messages().await.map_err(|it| text(&it))?;
    loop {
        let next = tokio::time::timeout(Duration::from_secs(30), messages.next()).await;
        let message = next
            .map_err(|_| format!("{} of {wanted} read", found.len()))?
            .ok_or("the reading ended")?
            .map_err(|it| text(&it))?;
        let info = message.info().map_err(|it| text(&it))?;
        let (sequence, pending) = (info.stream_sequence, info.pending);
        found.push(Stored {
            sequence,
            subject: message.subject.to_string(),
            body: message.payload.clone(),
            headers: message.headers.clone().unwrap_or_default(),
        });
        if pending == 0 {
            return Ok(found);
        }
    }
}

/// Fails unless the target holds each message of the source once, unchanged and in order.
#[track_caller]
pub(super) fn assert_same(source: &[Stored], target: &[Stored]) {
    let complaint = complaints(source, target);
    assert!(complaint.is_empty(), "{complaint}");
}

/// What is wrong with a copy, in words; empty: nothing.
pub(super) fn complaints(source: &[Stored], target: &[Stored]) -> String {
    let originals: BTreeMap<u64, &Stored> = source.iter().map(|it| (it.sequence, it)).collect();
    let mut seen = BTreeSet::new();
    let (mut doubled, mut disordered, mut changed, mut strange) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut last = 0;
    for copy in target {
        let Some(sequence) = source_sequence(&copy.headers) else {
            strange.push(copy.sequence);
            continue;
        };
        match originals.get(&sequence) {
            None => strange.push(sequence),
            Some(original) => {
                let same = copy.body == original.body
                    && copy.subject == format!("copy.{}", original.subject);
                if !same {
                    changed.push(sequence);
                }
            }
        }
        if !seen.insert(sequence) {
            doubled.push(sequence);
        }
        if sequence < last {
            disordered.push(sequence);
        }
        last = last.max(sequence);
    }
    let lost: Vec<u64> = originals
        .keys()
        .filter(|it| !seen.contains(it))
        .copied()
        .collect();
    let mut text = String::new();
    for (what, list) in [
        ("lost", lost),
        ("doubled", doubled),
        ("out of order", disordered),
        ("changed", changed),
        ("not in the source", strange),
    ] {
        if let (Some(first), Some(last)) = (list.first(), list.last()) {
            writeln!(text, "{} {what}, sequences {first} to {last}", list.len()).unwrap();
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn original(sequence: u64) -> Stored {
        Stored {
            sequence,
            subject: "load.1".to_owned(),
            body: Bytes::from(sequence.to_string()),
            headers: HeaderMap::new(),
        }
    }

    fn copy(sequence: u64) -> Stored {
        let mut headers = HeaderMap::new();
        headers.insert(
            "Choria-SR-Source",
            format!("LOAD {sequence} S S 0").as_str(),
        );
        Stored {
            subject: "copy.load.1".to_owned(),
            headers,
            ..original(sequence)
        }
    }

    #[test]
    fn every_kind_of_fault_is_found() {
        let source: Vec<Stored> = (1..=4).map(original).collect();
        let good: Vec<Stored> = (1..=4).map(copy).collect();
        assert_eq!(complaints(&source, &good), "");
        let found = |list: &[u64]| {
            let target: Vec<Stored> = list.iter().map(|it| copy(*it)).collect();
            complaints(&source, &target)
        };
        assert_eq!(found(&[1, 2, 4]), "1 lost, sequences 3 to 3\n");
        assert_eq!(found(&[1, 2, 2, 3, 4]), "1 doubled, sequences 2 to 2\n");
        assert_eq!(found(&[1, 3, 2, 4]), "1 out of order, sequences 2 to 2\n");
        assert_eq!(
            found(&[1, 2, 3, 4, 5]),
            "1 not in the source, sequences 5 to 5\n"
        );
        let mut spoilt = good;
        spoilt[1].body = Bytes::from_static(b"?");
        assert_eq!(
            complaints(&source, &spoilt),
            "1 changed, sequences 2 to 2\n"
        );
    }
}
