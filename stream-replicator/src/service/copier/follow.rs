//! Does what the window wants besides sending, and what operators want.

use std::time::Duration;

use super::{Copier, End, now, time_of};
use crate::config::PoisonAction;
use crate::copy::answer::Poison;
use crate::copy::window::{Stop, Want};
use crate::service::api::ApiError;
use crate::service::deadletters::{self, Dead};
use crate::service::position;
use crate::service::questions::Question;
use crate::service::sampling::Sampling;
use crate::service::target;
use crate::service::worker::Site;

/// Single messages of the target are waited for no longer.
const ASK: Duration = Duration::from_secs(5);
/// A connection that says nothing is made anew no more often.
const RECONNECT: Duration = Duration::from_secs(15);
/// Wait before something is tried again that another party must mend.
const LATER: Duration = Duration::from_secs(2);

/// Others were found in the target: that is told once, or always where nobody else may write.
fn tell_foreign(site: &mut Site, is_first: bool, may: bool) {
    let stream = site.config.target.stream.clone();
    if !may {
        site.trouble(format!(
            "somebody else writes into the target stream {stream:?}, which is this worker's alone (writers = \"one\")"
        ));
    } else if is_first {
        tracing::warn!(
            stream,
            "others write into the target: fewer messages are under way at once"
        );
    }
}

impl Copier<'_> {
    pub(super) async fn follow(&mut self, want: Want) -> Option<End> {
        let window = &self.writer.window;
        // What gets no answer is told by name.
        if window.faults() > 1
            && window.unanswered().is_none()
            && let Some(trouble) = window.trouble()
        {
            self.site.status.set_blocked(Some(trouble.clone()));
            self.site.trouble(trouble);
        }
        match want {
            Want::Tail(since) => {
                return match self.keys.as_ref().map(|(_, guard)| *guard) {
                    Some(guard) => self.read_beyond(since, guard).await,
                    None => self.read_tail(since).await,
                };
            }
            Want::Asks => self.ask().await,
            Want::Over => {
                let finished = &mut self.finished;
                self.writer.window.tell(|done| finished.push(done));
            }
            Want::Look(sequence) => self.look(sequence).await,
            Want::Dead(poison) => return self.bury(&poison).await,
            Want::Stop(stop) => {
                return Some(match stop {
                    Stop::Overtaken(sequence) => {
                        self.site.metrics.fenced();
                        End::Again(format!("another replica has copied up to {sequence}"))
                    }
                    Stop::Lost(_) => {
                        End::Again("the target has lost messages that it had".to_owned())
                    }
                    Stop::OtherStream(words) => End::Again(words),
                });
            }
            Want::Nothing | Want::Answers(_) | Want::Wait(_) | Want::Link => {}
        }
        None
    }

    async fn read_tail(&mut self, since: u64) -> Option<End> {
        let site = &mut *self.site;
        let window = &self.writer.window;
        let read = position::tail(
            &site.target,
            &site.config,
            &self.stamp,
            self.target_created,
            (since, self.chain),
            (
                &self.subjects,
                self.writer.own_subjects().filter(|_| window.is_shared()),
            ),
            |source| window.held(source),
        );
        match read.await {
            Ok((tail, created)) => {
                site.metrics.rewound();
                let finished = &mut self.finished;
                self.writer
                    .window
                    .tail(tail, now(), |done| finished.push(done));
                self.target_created = created;
                let foreign = self.writer.window.foreign();
                let is_first = self.foreign == 0;
                if foreign > self.foreign {
                    self.foreign = foreign;
                    site.metrics.foreign();
                    tell_foreign(site, is_first, self.writer.window.is_shared());
                }
            }
            Err(error) => return self.tail_unread(error).await,
        }
        None
    }

    /// The target's end could not be read.
    pub(super) async fn tail_unread(&mut self, error: ApiError) -> Option<End> {
        if error.is_stream_missing() {
            let words = format!("target stream {:?} is gone", self.site.config.target.stream);
            return Some(End::Again(words));
        }
        self.writer.window.tail_failed(now());
        self.unanswered(&error).await;
        None
    }

    /// The target did not answer a question.
    pub(super) async fn unanswered(&mut self, error: &ApiError) {
        let words = format!("the target's end: {error}");
        if self.writer.window.faults() > 1 {
            self.site.status.set_blocked(Some(words.clone()));
        }
        self.site.trouble(words);
        // A connection that lost its other end shows in no other way for long.
        let silent = matches!(error, ApiError::Silent(_)) && self.site.target.is_up();
        if silent && self.reconnected.elapsed() > RECONNECT {
            self.reconnected = now();
            if let Err(error) = self.site.target.client.force_reconnect().await {
                tracing::debug!(%error, "no reconnect");
            }
        }
    }

    async fn look(&mut self, sequence: u64) {
        let site = &mut *self.site;
        let look = position::is_ours(&site.target, &site.config, &self.stamp, sequence);
        let Ok(Ok(ours)) = tokio::time::timeout(ASK, look).await else {
            tokio::time::sleep(LATER).await;
            return;
        };
        if !ours {
            site.trouble(format!(
                "message {sequence} of the target has an identifier of ours and is not"
            ));
        }
        let finished = &mut self.finished;
        self.writer
            .window
            .looked(ours, now(), |done| finished.push(done));
    }

    /// Deals with the message at the front, which the target never takes.
    async fn bury(&mut self, poison: &Poison) -> Option<End> {
        let site = &mut *self.site;
        let (sequence, item) = self.writer.window.poisoned()?;
        let spared = match poison {
            // While a stream of several replicas has no leader, nobody takes what it takes at other times.
            Poison::NotTaken => !target::refuses(&site.target, &site.config, &item.subject).await,
            // Where the disk is full, no message is answered that the stream would store, whichever it is.
            Poison::Unanswered => target::hears(&site.target, &item.subject).await,
            Poison::TooLarge | Poison::Subject(_) | Poison::Headers | Poison::Refused(..) => false,
        };
        if spared {
            self.writer.window.spared(now());
            return None;
        }
        let words = format!(
            "message {sequence} ({:?}): {poison}",
            item.keep.subject.as_str()
        );
        let settings = &site.config.poison;
        if settings.action == PoisonAction::Stop {
            return Some(End::Stopped(words));
        }
        if self.poison_in_row >= settings.limit {
            return Some(End::Stopped(format!(
                "{} messages in a row were refused, the last one: {words}",
                self.poison_in_row
            )));
        }
        if settings.action == PoisonAction::DeadLetter {
            let dead = Dead {
                sequence,
                subject: &item.keep.subject,
                headers: item.headers.as_ref(),
                body: &item.body,
                time: time_of(item.time_ms),
                reason: poison,
                id: self.stamp.id(sequence, 0),
            };
            let kept = deadletters::keep(&site.source, &site.config, self.replicas, &dead).await;
            if let Err(error) = kept {
                site.trouble(format!("{words}; it cannot be kept aside: {error}"));
                if !self.writer.window.bury_later(now() + LATER) {
                    tokio::time::sleep(LATER).await;
                }
                return None;
            }
        }
        tracing::warn!(sequence, reason = %poison, action = ?settings.action, "message given up");
        site.metrics.dead(poison.word());
        self.poison_in_row += 1;
        let finished = &mut self.finished;
        self.writer.window.buried(|done| finished.push(done));
        None
    }

    /// Answers an operator; nobody may wait for it any more.
    pub(super) fn reply(&mut self, question: Question) {
        match question {
            Question::Values(reply) => {
                let sampling = self.site.sampling.as_ref();
                drop(reply.send(sampling.map(Sampling::values).unwrap_or_default()));
            }
        }
    }
}
