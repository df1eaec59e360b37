//! What replicas of a worker tell each other, and what nodes say of themselves: heard in the background, taken in by the
//! worker when it has time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::{Client, Message, Subject, Subscriber};
use futures_util::StreamExt as _;
use overlay_protocol::envelope::Limits;
use overlay_protocol::replication::{TrackedItem, state_subject, sync_subject};
use overlay_runtime::{CancellationToken, Tasks};
use time::OffsetDateTime;

use super::connect::Link;
use super::lifecycle::{self, Sign};
use super::source_time::SourceTime;
use crate::sample::MAX_VALUE;
use crate::track::{Nanos, Span, Tracker};

/// Values that are told at most in one go.
const NEWS: usize = 5_000;
/// Values in one answer to a replica that joins, and answers in one go.
const PAGE: usize = 500;
const PAGES: usize = 20;
/// Replicas that are answered at a time.
const MAX_ASKERS: usize = 4;
/// What waits to be taken in at most: values, and words of nodes.
const MAX_HEARD: usize = 1_000_000;
/// Times that are further ahead of ours are not believed.
const AHEAD: Duration = Duration::from_hours(1);

/// What was heard since it was last taken in.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) items: HashMap<String, TrackedItem>,
    pub(super) signs: Vec<Sign>,
    askers: Vec<Subject>,
    /// What there was no room for.
    pub(super) lost: usize,
}

/// A replica that joined and is being told everything.
#[derive(Debug)]
struct Asker {
    reply: Subject,
    from: usize,
}

/// Hears and tells.
#[derive(Debug)]
pub(super) struct Gossip {
    client: Client,
    subject: Subject,
    state: Subject,
    heard: Arc<Mutex<Heard>>,
    askers: Vec<Asker>,
    /// Ends the task that hears.
    stop: CancellationToken,
}

/// Whom a worker listens to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listen {
    /// To other replicas.
    pub(super) replicas: bool,
    /// To nodes that start and stop.
    pub(super) lifecycle: bool,
}

impl Gossip {
    /// Begins to listen.
    ///
    /// # Errors
    ///
    /// When the connection is closed for good.
    pub(super) async fn open(
        source: &Link,
        stream: &str,
        worker: &str,
        listen: Listen,
        time: SourceTime,
        tasks: &Tasks,
    ) -> Result<Self, async_nats::SubscribeError> {
        let client = source.client.clone();
        let gossip = Self {
            subject: sync_subject(stream, worker).into(),
            state: state_subject(stream, worker).into(),
            heard: Arc::default(),
            askers: Vec::new(),
            stop: CancellationToken::new(),
            client,
        };
        let client = &gossip.client;
        let inbox = client.new_inbox();
        let mut sources = Vec::new();
        if listen.replicas {
            for subject in [&gossip.subject, &gossip.state, &inbox.as_str().into()] {
                sources.push(client.subscribe(subject.clone()).await?);
            }
        }
        if listen.lifecycle {
            for subject in lifecycle::SUBJECTS {
                sources.push(client.subscribe(subject).await?);
            }
        }
        if !sources.is_empty() {
            let ear = Ear {
                heard: Arc::clone(&gossip.heard),
                state: gossip.state.clone(),
                inboxes: inbox
                    .rsplit_once('.')
                    .map_or_else(String::new, |(prefix, _)| format!("{prefix}.")),
                time,
            };
            let stop = gossip.stop.clone();
            tasks.spawn_job("replicator-ear", async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = ear.listen(sources) => {}
                }
            });
        }
        if listen.replicas {
            // Whoever leads answers; nobody may, and then there is nobody to know more.
            let asked = client.publish_with_reply(gossip.state.clone(), inbox, "".into());
            if let Err(error) = asked.await {
                tracing::debug!(%error, "no question to other replicas");
            }
        }
        Ok(gossip)
    }

    /// What was heard since.
    pub(super) fn take(&mut self) -> Heard {
        let mut heard = std::mem::take(&mut *lock(&self.heard));
        let room = MAX_ASKERS.saturating_sub(self.askers.len());
        let askers = heard.askers.drain(..).take(room);
        self.askers
            .extend(askers.map(|reply| Asker { reply, from: 0 }));
        heard
    }

    /// Tells what changed, and everything to those who joined.
    ///
    /// # Errors
    ///
    /// When the connection is closed for good.
    pub(super) async fn tell(
        &mut self,
        tracker: &mut Tracker,
    ) -> Result<(), async_nats::PublishError> {
        for item in tracker.take_news(NEWS) {
            let body = item.encode().into();
            self.client.publish(self.subject.clone(), body).await?;
        }
        for _ in 0..PAGES {
            let Some(mut asker) = self.askers.pop() else {
                break;
            };
            let (items, next) = tracker.page_of_news(asker.from, PAGE);
            let mut body = Vec::new();
            for item in items {
                body.extend_from_slice(&item.encode());
                body.push(b'\n');
            }
            self.client
                .publish(asker.reply.clone(), body.into())
                .await?;
            if let Some(next) = next {
                asker.from = next;
                self.askers.push(asker);
            }
        }
        Ok(())
    }

    /// Whoever asked is answered by the replica that leads now.
    pub(super) fn forget_askers(&mut self) {
        self.askers.clear();
    }
}

impl Drop for Gossip {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Takes in what comes.
struct Ear {
    heard: Arc<Mutex<Heard>>,
    state: Subject,
    /// What inboxes of this site's replicas begin with: nobody else is answered, and nowhere else, for what is published
    /// is published with our rights.
    inboxes: String,
    time: SourceTime,
}

impl Ear {
    async fn listen(self, sources: Vec<Subscriber>) {
        let mut messages = futures_util::stream::select_all(sources);
        while let Some(message) = messages.next().await {
            self.hear(&message);
        }
    }

    fn hear(&self, message: &Message) {
        let mut heard = lock(&self.heard);
        if message.subject == self.state {
            if let Some(reply) = &message.reply
                && reply.starts_with(&self.inboxes)
                && heard.askers.len() < MAX_ASKERS
            {
                heard.askers.push(reply.clone());
            }
            return;
        }
        let now = Nanos::of(self.time.now());
        if lifecycle::is_of(&message.subject) {
            match lifecycle::sign(&message.payload, now) {
                Some(sign) if heard.signs.len() < MAX_HEARD => heard.signs.push(sign),
                Some(_) => heard.lost += 1,
                None => {}
            }
            return;
        }
        for line in message.payload.split(|byte| *byte == b'\n') {
            if let Ok(item) = TrackedItem::decode(line, &Limits::default()) {
                heard.take_in(item, now);
            }
        }
    }
}

impl Heard {
    /// The newer word counts, and a copy that either knows of.
    fn take_in(&mut self, item: TrackedItem, now: Nanos) {
        let Some(mut item) = believed(item, now) else {
            return;
        };
        if let Some(known) = self.items.get_mut(&item.value) {
            if item.seen < known.seen {
                std::mem::swap(known, &mut item);
            }
            if item.copied < known.copied {
                item.copied = known.copied;
                item.copied_size = Some(known.copied_size.unwrap_or(known.size));
            }
            *known = item;
        } else if self.items.len() < MAX_HEARD {
            self.items.insert(item.value.clone(), item);
        } else {
            self.lost += 1;
        }
    }
}

/// What is believed of a word: nothing without a value and a time, and no time that is yet to come.
pub(super) fn believed(mut item: TrackedItem, now: Nanos) -> Option<TrackedItem> {
    let latest = now.plus(Span::of(AHEAD)).date();
    let is_past = |at: &OffsetDateTime| *at <= latest;
    item.copied = item.copied.filter(is_past);
    item.stopped = item.stopped.filter(is_past);
    let is_value = (1..=MAX_VALUE).contains(&item.value.len());
    (is_value && item.seen.as_ref().is_some_and(is_past)).then_some(item)
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
