//! Lines in a stream, acknowledged, in strict order.

use std::time::Duration;

use async_nats::client::RequestErrorKind;
use async_nats::connection::State;
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use async_nats::jetstream::{Context, ContextBuilder};
use async_nats::{Client, HeaderMap, Request};
use bytes::Bytes;
use overlay_protocol::audit::{Envelope, Head, LineHash};
use overlay_protocol::id::Identity;
use overlay_protocol::subject;
use overlay_protocol::subject::stream::AAA_AUDIT;
use overlay_runtime::err_chain;
use overlay_tokens::Issuers;
use overlay_tokens::audit::{Place, Verifier};
use serde::Deserialize;
use tokio::time::Instant;

use super::keeper;
use super::metrics::Metrics;
use crate::config::AuditStream as Settings;

/// How long one acknowledgement is waited for.
const ACK_LIMIT: Duration = Duration::from_secs(2);
/// The stream is looked at no more often than this when it seems to be gone.
const LOOK_PAUSE: Duration = Duration::from_secs(1);
/// How often one batch is sent anew because the stream was found otherwise than expected.
const TRIES: usize = 4;
/// Room for headers and framing in a message.
const FRAME_BYTES: usize = 4096;

/// So many messages before the last one of the chain are searched for a seal, then more.
const LOOK_BACK: [u64; 3] = [16, 256, 4096];

// What the broker answers when the last sequence is not the expected one.
const WRONG_LAST_SEQUENCE: [u64; 2] = [10071, 10164];

/// The stream as the writer of one chain sees it.
#[derive(Debug)]
pub(super) struct StreamSink {
    client: Client,
    jetstream: Context,
    settings: Settings,
    metrics: Metrics,
    chain: Identity,
    subject: String,
    /// Sequence of the last message of the chain in the stream; 0 when there is none.
    expected: u64,
    looked: Option<Instant>,
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sent {
    /// The stream has it.
    Stored,
    /// This attempt stored nothing, for this reason.
    Absent(String),
    /// It is not known whether the stream has it.
    Unknown(String),
    /// Another process has written to the chain.
    Taken,
}

/// What the stream has of the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing.
    Empty,
    /// Its last line.
    At(Head),
    /// Something that is no record of the chain.
    Unreadable,
}

#[derive(Debug, Deserialize)]
struct Answer {
    #[serde(default)]
    stream: String,
    #[serde(default)]
    seq: u64,
    error: Option<Problem>,
}

#[derive(Debug, Deserialize)]
struct Problem {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

impl StreamSink {
    pub(super) fn new(
        client: Client,
        settings: Settings,
        metrics: Metrics,
        chain: &Identity,
    ) -> Self {
        Self {
            jetstream: ContextBuilder::new()
                .timeout(ACK_LIMIT)
                .build(client.clone()),
            client,
            settings,
            metrics,
            subject: subject::audit_aaa(chain),
            chain: chain.clone(),
            expected: 0,
            looked: None,
        }
    }

    /// Whether there is a connection at the moment.
    pub(super) fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Longest line that fits a message.
    pub(super) fn max_line(&self) -> usize {
        let max_payload = self.client.server_info().max_payload;
        max_payload.saturating_sub(FRAME_BYTES)
    }

    /// Makes the stream if it is not there.
    pub(super) async fn ensure(&mut self) -> Result<(), String> {
        self.looked = Some(Instant::now());
        keeper::ensure(&self.jetstream, &self.settings, &self.metrics).await
    }

    /// Looks what the stream has of the chain; what is sent next must follow that.
    pub(super) async fn standing(&mut self) -> Result<Standing, String> {
        let stream = self
            .jetstream
            .get_stream_no_info(AAA_AUDIT)
            .await
            .map_err(|error| err_chain(&error))?;
        let last = stream.get_last_raw_message_by_subject(&self.subject).await;
        let message = match last {
            Ok(message) => message,
            Err(error) => {
                return if matches!(error.kind(), LastRawMessageErrorKind::NoMessageFound) {
                    self.expected = 0;
                    Ok(Standing::Empty)
                } else {
                    Err(err_chain(&error))
                };
            }
        };
        self.expected = message.sequence;
        let line = message
            .payload
            .rsplit(|byte| *byte == b'\n')
            .next()
            .unwrap_or_default();
        Ok(match Envelope::decode(line) {
            Ok(envelope) if envelope.chain == self.chain.as_str() => Standing::At(Head {
                sequence: envelope.sequence,
                hash: LineHash::of(line),
            }),
            Ok(_) | Err(_) => Standing::Unreadable,
        })
    }

    /// Looks for the lines of the chain that come after its last good seal: the first and the last of them.
    pub(super) async fn unsealed(&self, issuers: &Issuers) -> Result<Option<(u64, u64)>, String> {
        if self.expected == 0 {
            return Ok(None);
        }
        let stream = self
            .jetstream
            .get_stream_no_info(AAA_AUDIT)
            .await
            .map_err(|error| err_chain(&error))?;
        let mut found = None;
        for back in LOOK_BACK {
            let mut at = self.expected.saturating_sub(back).max(1);
            let begins = at == 1;
            let mut verifier = Verifier::new(Some(issuers.clone()));
            while at <= self.expected {
                let message = stream
                    .get_first_raw_message_by_subject(&self.subject, at)
                    .await
                    .map_err(|error| err_chain(&error))?;
                let lines = message.payload.split(|byte| *byte == b'\n');
                for (line, number) in lines.zip(1..) {
                    let sequence = message.sequence;
                    let place = Place::Stream {
                        sequence,
                        line: number,
                    };
                    verifier.line(place, line);
                }
                at = message.sequence + 1;
            }
            let chains = verifier.finish().chains;
            let chain = chains
                .into_iter()
                .find(|chain| chain.name == self.chain.as_str());
            found = chain.and_then(|chain| {
                let from = chain.sealed.map_or(chain.first, |sealed| sealed + 1);
                (from <= chain.last).then_some((from, chain.last, chain.sealed.is_some()))
            });
            if begins || found.is_none_or(|(_from, _last, is_after_seal)| is_after_seal) {
                break;
            }
        }
        Ok(found.map(|(from, last, _is_after_seal)| (from, last)))
    }

    /// Sends lines that lead from one head of the chain to another. The same lines can be sent again: what the stream has
    /// of them is found out and left.
    pub(super) async fn send(
        &mut self,
        lines: &Bytes,
        id: &str,
        before: Head,
        after: Head,
    ) -> Sent {
        let mut rest = lines.clone();
        let mut from = before;
        for _try in 0..TRIES {
            if !self.is_connected() {
                return Sent::Absent("no broker is connected".to_owned());
            }
            let answer = match self.ask(rest.clone(), id, from).await {
                Ok(answer) => answer,
                Err(sent) => return sent,
            };
            match answer.error {
                None if answer.stream == AAA_AUDIT => {
                    self.expected = answer.seq;
                    return Sent::Stored;
                }
                None => {
                    return Sent::Absent(format!("stream {:?} took it", answer.stream));
                }
                Some(problem) if WRONG_LAST_SEQUENCE.contains(&problem.err_code) => {}
                Some(problem) => {
                    let Problem {
                        err_code,
                        description,
                    } = problem;
                    return Sent::Absent(format!("{description} ({err_code})"));
                }
            }
            match self.standing().await {
                Err(error) => return Sent::Unknown(error),
                Ok(Standing::Empty) if from.sequence > 0 => {
                    tracing::error!(
                        chain = %self.chain,
                        "the stream has lost the records of this chain; it goes on"
                    );
                }
                Ok(Standing::Unreadable) => {
                    tracing::error!(
                        chain = %self.chain,
                        message = self.expected,
                        "somebody else has written among the records of this chain; it goes on"
                    );
                }
                Ok(Standing::Empty) => {}
                Ok(Standing::At(found)) if found == after => return Sent::Stored,
                Ok(Standing::At(found)) if found == from => {}
                Ok(Standing::At(found)) if found.sequence < from.sequence => {
                    tracing::error!(
                        chain = %self.chain,
                        found = found.sequence,
                        written = from.sequence,
                        "the stream has lost records of this chain; it goes on"
                    );
                }
                Ok(Standing::At(found)) => match after_line(&rest, found) {
                    Some(left) => {
                        rest = left;
                        from = found;
                    }
                    None => return Sent::Taken,
                },
            }
        }
        Sent::Unknown("the stream is not as it was a moment ago, again and again".to_owned())
    }

    async fn ask(&mut self, lines: Bytes, id: &str, from: Head) -> Result<Answer, Sent> {
        let mut headers = HeaderMap::new();
        // lines that follow another head are another message
        headers.insert("Nats-Msg-Id", format!("{id}:{}", from.sequence));
        headers.insert(
            "Nats-Expected-Last-Subject-Sequence",
            self.expected.to_string(),
        );
        headers.insert("Nats-Expected-Stream", AAA_AUDIT);
        let request = Request::new()
            .headers(headers)
            .payload(lines)
            .timeout(Some(ACK_LIMIT));
        let error = match self
            .client
            .send_request(self.subject.clone(), request)
            .await
        {
            Ok(message) => {
                return serde_json::from_slice(&message.payload)
                    .map_err(|error| Sent::Unknown(format!("no acknowledgement: {error}")));
            }
            Err(error) => error,
        };
        Err(match error.kind() {
            RequestErrorKind::NoResponders => {
                let mut reason = "no stream takes it".to_owned();
                if self.looked.is_none_or(|at| at.elapsed() > LOOK_PAUSE)
                    && let Err(error) = self.ensure().await
                {
                    reason = format!("{reason}: {error}");
                }
                Sent::Absent(reason)
            }
            RequestErrorKind::InvalidSubject | RequestErrorKind::MaxPayloadExceeded => {
                Sent::Absent(err_chain(&error))
            }
            RequestErrorKind::TimedOut | RequestErrorKind::Other => {
                Sent::Unknown(err_chain(&error))
            }
        })
    }
}

/// The lines after the one that `head` is, if it is one of them.
fn after_line(lines: &Bytes, head: Head) -> Option<Bytes> {
    let mut at = 0;
    for line in lines.split(|byte| *byte == b'\n') {
        at += line.len() + 1;
        let is_it = LineHash::of(line) == head.hash
            && Envelope::decode(line).is_ok_and(|found| found.sequence == head.sequence);
        if is_it {
            return Some(lines.slice(at.min(lines.len())..));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use overlay_protocol::audit::Kind;
    use overlay_tokens::UnixTime;
    use overlay_tokens::audit::Chain;

    use super::*;

    #[test]
    fn the_rest_of_a_batch_follows_the_line_that_is_there() {
        let mut chain = Chain::new("c", Head::START);
        let mut lines = Vec::new();
        let mut heads = Vec::new();
        for _index in 0..3 {
            lines.push(chain.append(Kind::Login, "", UnixTime::from_secs(1), b"{}"));
            heads.push(chain.head());
        }
        let batch = Bytes::from(lines.join(&b'\n'));
        let rest = after_line(&batch, heads[1]).unwrap();
        assert_eq!(rest, lines[2]);
        assert!(after_line(&batch, heads[2]).unwrap().is_empty());
        let other = Head {
            hash: LineHash::NONE,
            ..heads[1]
        };
        assert!(after_line(&batch, other).is_none());
    }
}
