//! The key on the wire.

use std::time::Duration;

use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::DirectGetErrorKind;
use async_nats::jetstream::{self, Context};
use async_nats::{Client, HeaderMap};

use crate::exit::err_chain;

use super::Settings;
use super::campaign::{Before, Term};

/// Marks a deleted key (NATS key-value buckets).
const OPERATION: &str = "KV-Operation";
/// Names the process that wrote the key, so that it knows its own after a lost answer.
const INSTANCE: &str = "Overlay-Election-Instance";
/// Marks a key that its leader gave back, as opposed to one that somebody took away.
const RELEASED: &str = "Overlay-Election-Released";

/// The key of one election.
#[derive(Debug)]
pub(super) struct Bucket {
    jetstream: Context,
    stream: String,
    /// Where the key is written to.
    write_subject: String,
    /// Where the key stands in the stream.
    read_subject: String,
    candidate: String,
    instance: String,
    retake: bool,
}

/// What the broker says to a write.
#[derive(Debug)]
pub(super) enum Answer {
    /// Taken, at this revision.
    Taken(u64),
    /// Another revision stands there.
    Refused,
    /// No answer, or another error.
    Unclear(String),
}

/// What stands at the key.
enum Found {
    Nothing,
    Marker { revision: u64, released: bool },
    Ours(u64),
    Others,
    Unreadable(String),
}

impl Bucket {
    pub(super) fn new(client: Client, settings: &Settings) -> Self {
        let key = format!("$KV.{}.{}", settings.bucket, settings.election);
        let (jetstream, write_subject) = match &settings.api_prefix {
            Some(prefix) => (
                jetstream::with_prefix(client, prefix),
                format!("{prefix}.{key}"),
            ),
            None => (jetstream::new(client), key.clone()),
        };
        Self {
            jetstream,
            stream: format!("KV_{}", settings.bucket),
            write_subject,
            read_subject: key,
            candidate: settings.candidate.clone(),
            instance: instance(),
            retake: settings.retake,
        }
    }

    /// The length of a term: the bucket's maximum age.
    pub(super) async fn term(&self) -> Result<Duration, String> {
        let stream = self.jetstream.get_stream(&self.stream).await;
        stream
            .map(|stream| stream.cached_info().config.max_age)
            .map_err(|error| format!("read bucket {}: {}", self.stream, err_chain(&error)))
    }

    /// Tries to take the key.
    pub(super) async fn campaign(&self) -> Term {
        match self.put(0).await {
            Answer::Taken(revision) => {
                return Term::Begun {
                    revision,
                    before: Before::Nothing,
                };
            }
            Answer::Refused => {}
            Answer::Unclear(error) => return Term::Unclear(error),
        }
        match self.find().await {
            Found::Marker { revision, released } => match self.put(revision).await {
                Answer::Taken(revision) => Term::Begun {
                    revision,
                    before: if released {
                        Before::Released
                    } else {
                        Before::Deleted
                    },
                },
                Answer::Refused => Term::HeldByOther,
                Answer::Unclear(error) => Term::Unclear(error),
            },
            Found::Ours(revision) => match self.put(revision).await {
                Answer::Taken(revision) => Term::Renewed { revision },
                Answer::Refused => Term::HeldByOther,
                Answer::Unclear(error) => Term::Unclear(error),
            },
            // Whoever may not read waits until the key is gone.
            Found::Others | Found::Nothing | Found::Unreadable(_) => Term::HeldByOther,
        }
    }

    /// Renews the key at the revision that we know.
    pub(super) async fn renew(&self, revision: u64) -> Term {
        match self.put(revision).await {
            Answer::Taken(revision) => return Term::Renewed { revision },
            Answer::Refused => {}
            Answer::Unclear(error) => return Term::Unclear(error),
        }
        // A renewal whose answer was lost has moved the revision on.
        match self.find().await {
            Found::Ours(revision) => match self.put(revision).await {
                Answer::Taken(revision) => Term::Renewed { revision },
                Answer::Refused => Term::HeldByOther,
                Answer::Unclear(error) => Term::Unclear(error),
            },
            Found::Marker {
                revision,
                released: false,
            } if self.retake => match self.put(revision).await {
                Answer::Taken(revision) => {
                    tracing::info!("the key of the election was deleted and is taken again");
                    Term::Renewed { revision }
                }
                Answer::Refused => Term::HeldByOther,
                Answer::Unclear(error) => Term::Unclear(error),
            },
            Found::Marker { .. } | Found::Others | Found::Nothing => Term::HeldByOther,
            Found::Unreadable(error) => {
                tracing::debug!(error, "election key unreadable");
                Term::HeldByOther
            }
        }
    }

    /// Gives the key back.
    pub(super) async fn release(&self, revision: u64) -> Answer {
        let mut headers = self.headers();
        headers.insert(OPERATION, "DEL");
        headers.insert(RELEASED, self.candidate.as_str());
        let answer = self.write(revision, headers.clone(), String::new()).await;
        match answer {
            // A renewal that the stop cut off may have moved the revision on.
            Answer::Refused => match self.find().await {
                Found::Ours(revision) => self.write(revision, headers, String::new()).await,
                Found::Marker { .. } | Found::Others | Found::Nothing | Found::Unreadable(_) => {
                    Answer::Refused
                }
            },
            answer @ (Answer::Taken(_) | Answer::Unclear(_)) => answer,
        }
    }

    async fn put(&self, revision: u64) -> Answer {
        let headers = self.headers();
        self.write(revision, headers, self.candidate.clone()).await
    }

    async fn write(&self, revision: u64, headers: HeaderMap, value: String) -> Answer {
        let message = PublishMessage::build()
            .headers(headers)
            .expected_last_subject_sequence(revision)
            .payload(value.into());
        let sent = self
            .jetstream
            .send_publish(self.write_subject.clone(), message)
            .await;
        let acknowledged = match sent {
            Ok(acknowledgement) => acknowledgement.await,
            Err(error) => Err(error),
        };
        match acknowledged {
            Ok(acknowledgement) => Answer::Taken(acknowledgement.sequence),
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => Answer::Refused,
            Err(error) => Answer::Unclear(err_chain(&error)),
        }
    }

    async fn find(&self) -> Found {
        // Where only an import leads to the bucket it may not lead to this: nobody answers then, and the key is
        // unreadable.
        let subject = &self.read_subject;
        let stream = match self.jetstream.get_stream_no_info(&self.stream).await {
            Ok(stream) => stream,
            Err(error) => return Found::Unreadable(err_chain(&error)),
        };
        let message = match stream.direct_get_last_for_subject(subject.clone()).await {
            Ok(message) => message,
            Err(error) => {
                return match error.kind() {
                    DirectGetErrorKind::NotFound => Found::Nothing,
                    DirectGetErrorKind::InvalidSubject
                    | DirectGetErrorKind::TimedOut
                    | DirectGetErrorKind::Request
                    | DirectGetErrorKind::ErrorResponse(..)
                    | DirectGetErrorKind::Other => Found::Unreadable(err_chain(&error)),
                };
            }
        };
        let header = |name: &str| message.headers.get(name).map(|value| value.as_str());
        if header(OPERATION).is_some_and(|operation| operation != "PUT") {
            Found::Marker {
                revision: message.sequence,
                released: header(RELEASED).is_some(),
            }
        } else if header(INSTANCE) == Some(self.instance.as_str()) {
            Found::Ours(message.sequence)
        } else {
            Found::Others
        }
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(INSTANCE, self.instance.as_str());
        headers
    }
}

/// A name that no other process has.
fn instance() -> String {
    let mut random = [0_u8; 8];
    if getrandom::fill(&mut random).is_err() {
        // Without a name of our own a lost answer costs the term, and nothing else.
        return format!("process-{}", std::process::id());
    }
    random.iter().map(|byte| format!("{byte:02x}")).collect()
}
