//! The one task that writes: it makes batches of what waits, stores them, and answers.

mod hand_on;
mod store;

use std::collections::VecDeque;
use std::time::Duration;

use overlay_protocol::audit::{Data, Kind, MAX_LINE_BYTES, Notice};
use overlay_runtime::{Backoff, CancellationToken, Tasks};
use overlay_tokens::UnixTime;
use overlay_tokens::audit::Chain;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::batch::{Batch, Builder, MAX_RECORDS};
use super::blocking::Blocking;
use super::metrics::{Metrics, Place};
use super::open::{Opened, Opening, Places};
use super::original::{self, Logfile, Topic};
use super::stream::StreamSink;
use super::{Asked, Parts};

/// A chain without news is signed this often, so that its readers know that it lives.
const IDLE: Duration = Duration::from_secs(3600);
/// How often the task looks around when nothing comes.
const TICK: Duration = Duration::from_secs(1);
/// How often the stream is looked after.
const LOOK: Duration = Duration::from_secs(60);
/// After the shutdown the chain ends when nobody can ask any more, or after this long without news.
const QUIET: Duration = Duration::from_secs(3);
/// After the shutdown this is how long what cannot be stored is tried.
const LAST_TRIES: Duration = Duration::from_secs(3);
/// How soon a batch is sent again of which it is not known whether it is stored.
const RETRY: Duration = Duration::from_millis(100);

/// The writer of a chain.
pub(super) struct Engine {
    parts: Parts,
    asked: mpsc::Receiver<Asked>,
    backlog: VecDeque<Asked>,
    told: watch::Sender<bool>,
    metrics: Metrics,
    shutdown: CancellationToken,
    topic: Option<Topic>,
    logfile: Option<Blocking<Logfile>>,
    undelivered: Vec<u64>,
    unsealed: u64,
    sealed_at: Instant,
    must_seal: bool,
    /// Whether the stream took what waited in the spool, a moment ago.
    hands_on: bool,
}

/// The chain is another process's now.
#[derive(Debug, thiserror::Error)]
#[error("another process writes to the chain of audit records of this one")]
struct Taken;

impl Engine {
    pub(super) fn new(
        parts: Parts,
        asked: mpsc::Receiver<Asked>,
        told: watch::Sender<bool>,
        metrics: Metrics,
        shutdown: CancellationToken,
        tasks: &Tasks,
    ) -> Self {
        let original = &parts.settings.original;
        let logfile = original.logfile.as_deref().map(Logfile::new);
        let topic = match (&parts.client, &original.topic) {
            (Some(client), Some(topic)) => {
                let (handle, documents) = Topic::new(metrics.clone());
                tasks.spawn(
                    "audit-topic",
                    original::publish(
                        client.clone(),
                        topic.clone(),
                        documents,
                        metrics.clone(),
                        shutdown.clone(),
                    ),
                );
                Some(handle)
            }
            (Some(_), None) | (None, _) => None,
        };
        Self {
            parts,
            asked,
            backlog: VecDeque::new(),
            told,
            metrics,
            shutdown,
            topic,
            logfile: logfile.map(Blocking::new),
            undelivered: Vec::new(),
            unsealed: 0,
            sealed_at: Instant::now(),
            must_seal: false,
            hands_on: false,
        }
    }

    /// Takes the chain up, and writes until some time after the shutdown.
    pub(super) async fn run(mut self) -> anyhow::Result<()> {
        let Some(opened) = self.open().await else {
            return Ok(());
        };
        let outcome = self.work(opened).await;
        self.down("the record is closed");
        Ok(outcome?)
    }

    /// Tries until the chain is taken up; nothing when the shutdown comes before.
    async fn open(&mut self) -> Option<Opened> {
        let shutdown = self.shutdown.clone();
        for attempt in 0.. {
            let opening = Opening {
                settings: &self.parts.settings,
                chain: &self.parts.chain,
                issuers: &self.parts.issuers,
                client: self.parts.client.as_ref(),
                metrics: &self.metrics,
                signs: (self.parts.seals)().is_some(),
                now: self.now().secs,
            };
            let opened = tokio::select! {
                biased;
                opened = opening.open() => opened,
                () = shutdown.cancelled() => return None,
            };
            match opened {
                Ok(opened) => return Some(opened),
                Err(problem) => {
                    tracing::error!(problem, "the record cannot be opened; nothing is signed");
                    self.down(&problem);
                }
            }
            tokio::select! {
                () = shutdown.cancelled() => return None,
                () = tokio::time::sleep(Backoff::CONNECT.jittered(attempt)) => {}
            }
        }
        None
    }

    async fn work(&mut self, opened: Opened) -> Result<(), Taken> {
        let Opened {
            mut places,
            head,
            notice,
        } = opened;
        let mut chain = Chain::new(self.parts.chain.as_str(), head);
        tracing::info!(
            chain = chain.name(),
            after = head.sequence,
            "the record is open"
        );
        let mut notice = Some(notice);
        let mut looked = Instant::now();
        loop {
            // until it is written, whatever comes follows the record that opens the chain
            let is_last = self.gather(notice.is_some(), places.is_spooling).await;
            if let Some(batch) = self.batch(&chain, &places, notice.as_ref(), is_last) {
                let opens = notice.is_some();
                if let Some(advanced) = self.store(batch, &mut places).await? {
                    chain = advanced;
                    if opens {
                        notice = None;
                    }
                }
            }
            if places.is_spooling {
                self.hand_on(&mut places, is_last).await?;
            }
            if is_last {
                return Ok(());
            }
            if let Some(stream) = &mut places.stream
                && looked.elapsed() > LOOK
                && stream.is_connected()
            {
                looked = Instant::now();
                if let Err(problem) = stream.ensure().await {
                    tracing::warn!(problem, "the stream of records is not as it must be");
                    self.metrics.error(Place::Stream);
                }
            }
        }
    }

    /// Waits for something to record, for the time to sign, or for the end, which it tells.
    async fn gather(&mut self, at_once: bool, is_spooling: bool) -> bool {
        let is_ready = *self.told.borrow();
        if at_once && self.backlog.is_empty() && !self.shutdown.is_cancelled() {
            // a chain that could not be opened is tried again after a while, or when somebody asks
            if self.must_seal {
                let wait = tokio::time::timeout(TICK, self.asked.recv()).await;
                self.backlog.extend(wait.ok().flatten());
            }
        } else if self.backlog.is_empty() {
            let wait = if self.shutdown.is_cancelled() {
                QUIET
            } else if is_spooling {
                if self.hands_on { Duration::ZERO } else { RETRY }
            } else {
                TICK
            };
            let mut some = Vec::new();
            let stops = self.shutdown.is_cancelled();
            tokio::select! {
                biased;
                count = self.asked.recv_many(&mut some, MAX_RECORDS) => {
                    self.backlog.extend(some);
                    return count == 0;
                }
                () = self.shutdown.cancelled(), if !stops => {}
                () = tokio::time::sleep(wait) => {
                    if stops {
                        self.asked.close();
                        // what came in the same moment is recorded, too
                        return self.asked.is_empty();
                    }
                    self.must_seal |= !is_ready || self.is_time_to_seal();
                }
            }
        }
        while self.backlog.len() < MAX_RECORDS {
            match self.asked.try_recv() {
                Ok(asked) => self.backlog.push_back(asked),
                Err(_none) => break,
            }
        }
        false
    }

    /// Makes a batch of what waits; none if there is nothing to say.
    fn batch(
        &mut self,
        chain: &Chain,
        places: &Places,
        opens: Option<&Option<Notice>>,
        is_last: bool,
    ) -> Option<Batch> {
        let now = self.now();
        let max_line = places
            .stream
            .as_ref()
            .map_or(MAX_LINE_BYTES, StreamSink::max_line);
        let keeps_signatures = self.topic.is_some() || self.logfile.is_some();
        let mut builder = Builder::new(chain, now, max_line, keeps_signatures);
        let sealer = (self.parts.seals)().filter(|sealer| sealer.identity() == chain.name());
        let data = |notice: Option<Notice>| Data {
            site: self.parts.site.clone(),
            notice,
            ..Data::default()
        };
        if let Some(notice) = opens {
            builder.seal(Kind::Opened, sealer.as_deref(), data(notice.clone()));
        }
        if !self.undelivered.is_empty() {
            let most = self.undelivered.len().min(MAX_RECORDS);
            let sequences = self.undelivered.drain(..most).collect();
            builder.undelivered(sequences, &self.parts.site);
        }
        while builder.has_room()
            && let Some(asked) = self.backlog.pop_front()
        {
            if !builder.record(asked) {
                self.metrics.dropped.inc();
            }
        }
        self.metrics
            .waiting
            .set(i64::try_from(self.backlog.len() + self.asked.len()).unwrap_or(i64::MAX));
        if is_last {
            builder.seal(Kind::Closed, sealer.as_deref(), data(None));
        } else if opens.is_none() && (self.must_seal || self.is_full()) {
            builder.seal(Kind::Checkpoint, sealer.as_deref(), data(None));
        }
        (!builder.is_empty()).then(|| builder.build())
    }

    fn is_full(&self) -> bool {
        self.unsealed >= self.parts.settings.checkpoints.records
    }

    fn is_time_to_seal(&self) -> bool {
        let since = self.sealed_at.elapsed();
        since >= IDLE || (self.unsealed > 0 && since >= self.parts.settings.checkpoints.every)
    }

    fn now(&self) -> UnixTime {
        UnixTime::from(self.parts.clock.now())
    }

    fn up(&self) {
        self.parts.part.up();
        self.told
            .send_if_modified(|told| !std::mem::replace(told, true));
    }

    fn down(&self, reason: &str) {
        self.parts.part.down(reason);
        self.told
            .send_if_modified(|told| std::mem::replace(told, false));
    }
}
