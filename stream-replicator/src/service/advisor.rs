//! Sends advisories to the source, so many at a time, until a stream took them.

use std::time::Duration;

use async_nats::HeaderMap;
use overlay_protocol::id::Ksuid;
use overlay_protocol::replication::{AdvisoryEvent, advisory_subject};
use overlay_runtime::err_chain;
use tokio::task::JoinSet;

use super::connect::Link;
use crate::advise::{Outbox, Owed};
use crate::config::Advisory;
use crate::metrics;
use crate::track::{Nanos, Tracker};

/// How long a stream may take to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// The header by which a stream knows what it has.
const MSG_ID: &str = "Nats-Msg-Id";

/// An answer: to what, and why not.
type Answer = (Ksuid, AdvisoryEvent, Result<(), String>);

/// Sends advisories of one worker.
#[derive(Debug)]
pub(super) struct Advisor {
    config: Advisory,
    source: Link,
    metrics: metrics::Worker,
    answers: JoinSet<Answer>,
    /// Whether the last answer was a refusal, which is told once.
    is_refused: bool,
}

impl Advisor {
    pub(super) fn new(config: Advisory, source: Link, metrics: metrics::Worker) -> Self {
        Self {
            config,
            source,
            metrics,
            answers: JoinSet::new(),
            is_refused: false,
        }
    }

    /// Takes answers, and sends what may be sent. Other replicas hear from `tracker` what need not be told again.
    pub(super) async fn step(
        &mut self,
        outbox: &mut Outbox,
        tracker: &mut Tracker,
        now: Nanos,
        leads: bool,
    ) {
        while let Some(answer) = self.answers.try_join_next() {
            // A task that was aborted has nothing to say: its advisory is sent again after the restart.
            if let Ok((id, event, outcome)) = answer {
                self.answered(outbox, tracker, now, (id, event, outcome));
            }
        }
        while self.source.is_up()
            && let Some(owed) = outbox.next(now, leads)
        {
            self.metrics.advisory(owed.advisory.event.name());
            let (id, event) = (owed.advisory.event_id, owed.advisory.event);
            if let Err(why) = self.send(&owed).await {
                self.answered(outbox, tracker, now, (id, event, Err(why)));
            } else if !self.config.reliable {
                self.answered(outbox, tracker, now, (id, event, Ok(())));
            }
        }
    }

    /// Waits for answers to what was sent, as long as `limit`.
    pub(super) async fn drain(
        &mut self,
        outbox: &mut Outbox,
        tracker: &mut Tracker,
        now: Nanos,
        limit: Duration,
    ) {
        let drained = tokio::time::timeout(limit, async {
            while let Some(answer) = self.answers.join_next().await {
                if let Ok(answer) = answer {
                    self.answered(outbox, tracker, now, answer);
                }
            }
        });
        if drained.await.is_err() {
            tracing::debug!("advisories without an answer are sent again later");
        }
    }

    async fn send(&mut self, owed: &Owed) -> Result<(), String> {
        let advisory = &owed.advisory;
        let subject = advisory_subject(&self.config.subject, advisory.event, &advisory.value);
        let body = advisory.encode();
        if !self.config.reliable {
            let sent = self.source.client.publish(subject, body.into()).await;
            return sent.map_err(|error| err_chain(&error));
        }
        let mut headers = HeaderMap::new();
        headers.insert(MSG_ID, advisory.event_id.to_string());
        let sent = self
            .source
            .jetstream
            .publish_with_headers(subject, headers, body.into());
        let answer = sent.await.map_err(|error| err_chain(&error))?;
        let (id, event) = (advisory.event_id, advisory.event);
        self.answers.spawn(async move {
            let outcome = match tokio::time::timeout(ANSWER, answer.into_future()).await {
                Ok(Ok(_taken)) => Ok(()),
                Ok(Err(error)) => Err(err_chain(&error)),
                Err(_elapsed) => Err("no stream answers".to_owned()),
            };
            (id, event, outcome)
        });
        Ok(())
    }

    fn answered(&mut self, outbox: &mut Outbox, tracker: &mut Tracker, now: Nanos, answer: Answer) {
        let (id, event, outcome) = answer;
        let Err(error) = outcome else {
            if std::mem::take(&mut self.is_refused) {
                tracing::info!("advisories are taken again");
            }
            if let Some(owed) = outbox.taken(&id) {
                let value = owed.advisory.value.as_str();
                match event {
                    AdvisoryEvent::Timeout => tracker.told(value, owed.seen),
                    AdvisoryEvent::Expire => tracker.told_gone(&value.into(), owed.seen),
                    AdvisoryEvent::New | AdvisoryEvent::Recover | AdvisoryEvent::Shutdown => {}
                }
            }
            return;
        };
        self.metrics.advisory_failed(event.name());
        if !std::mem::replace(&mut self.is_refused, true) {
            let waiting = outbox.len();
            tracing::warn!(error, waiting, "advisories are not taken, and wait");
        }
        outbox.failed(&id, now);
    }
}
