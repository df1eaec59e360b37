//! The one task that writes: it makes batches of what waits, stores them, and answers.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use overlay_protocol::audit::{
    Data, Head, Kind, MAX_LINE_BYTES, Notice, Seal, original_document, original_line,
};
use overlay_runtime::{Backoff, CancellationToken, Tasks, err_chain};
use overlay_tokens::UnixTime;
use overlay_tokens::audit::{Chain, SignedHead};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::batch::{Batch, Builder, MAX_RECORDS};
use super::blocking::Blocking;
use super::file::{LineFile, write_head};
use super::metrics::{Metrics, Place};
use super::open::{Opened, Opening, Places};
use super::original::{self, Logfile, Topic};
use super::spool::Chunk;
use super::stream::{Sent, StreamSink};
use super::{Asked, AuditError, Parts};

/// A chain without news is signed this often, so that its readers know that it lives.
const IDLE: Duration = Duration::from_secs(3600);
/// How often the task looks around when nothing comes.
const TICK: Duration = Duration::from_secs(1);
/// How often the stream is looked after.
const LOOK: Duration = Duration::from_secs(60);
/// After the shutdown this long without news ends the chain.
const QUIET: Duration = Duration::from_secs(1);
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

/// What became of a batch.
enum Stored {
    Yes,
    No(AuditError),
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

    /// Stores a batch and answers all who wait for it. Returns the chain after it, or nothing if it is stored nowhere.
    async fn store(&mut self, batch: Batch, places: &mut Places) -> Result<Option<Chain>, Taken> {
        let mut batch = batch;
        let outcome = match self.to_file(&batch, places).await {
            Ok(()) => self.to_stream(&batch, places).await,
            Err(problem) => Ok(Stored::No(AuditError::Refused(problem))),
        };
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(taken) => {
                tracing::error!("another process has written to the chain of this one");
                self.down(&taken.to_string());
                undo(places.file.as_mut(), &batch).await;
                batch.refused(&AuditError::Taken);
                return Err(taken);
            }
        };
        match outcome {
            Stored::Yes => {}
            Stored::No(error) => {
                tracing::error!(
                    error = err_chain(&error),
                    records = batch.records,
                    "records are stored nowhere; what they tell of is denied"
                );
                self.down(&error.to_string());
                // for the next try, which is when somebody asks or the time has come
                self.must_seal = true;
                self.undelivered.append(&mut batch.undelivered);
                batch.refused(&error);
                return Ok(None);
            }
        }
        self.copy(std::mem::take(&mut batch.signatures)).await;
        let chain = batch.chain.clone();
        let (records, is_sealed) = (batch.records, batch.is_sealed);
        let undelivered = batch.stored();
        self.metrics
            .undelivered
            .inc_by(u64::try_from(undelivered.len()).unwrap_or_default());
        self.undelivered.extend(undelivered);
        self.metrics.batches.inc();
        let sequence = i64::try_from(chain.head().sequence).unwrap_or(i64::MAX);
        self.metrics.sequence.set(sequence);
        self.unsealed += records;
        if is_sealed {
            self.metrics.sealed.set(sequence);
            self.unsealed = 0;
            self.sealed_at = Instant::now();
            self.must_seal = false;
            self.keep_head(&chain).await;
        }
        self.up();
        Ok(Some(chain))
    }

    async fn to_file(&mut self, batch: &Batch, places: &mut Places) -> Result<(), String> {
        let Some(file) = &mut places.file else {
            return Ok(());
        };
        let lines = batch.lines.clone();
        match file.run(move |file| file.append(&lines)).await {
            Ok(is_new) => {
                self.metrics.stored(Place::File, batch.records);
                // a new file begins with few lines that are not signed
                self.must_seal |= is_new && !batch.is_sealed;
                Ok(())
            }
            Err(error) => {
                self.metrics.error(Place::File);
                Err(format!("file: {error}"))
            }
        }
    }

    async fn to_stream(&mut self, batch: &Batch, places: &mut Places) -> Result<Stored, Taken> {
        let Some(stream) = &mut places.stream else {
            return Ok(Stored::Yes);
        };
        if places.is_spooling {
            return Ok(self.to_spool(batch, places, "lines wait already").await);
        }
        let (id, after) = (batch.id(), batch.chain.head());
        let mut is_unsure = false;
        let mut until = None;
        loop {
            let reason = match stream.send(&batch.lines, &id, batch.before, after).await {
                Sent::Stored => {
                    self.metrics.stored(Place::Stream, batch.records);
                    return Ok(Stored::Yes);
                }
                Sent::Taken => return Err(Taken),
                Sent::Absent(reason) => reason,
                Sent::Unknown(reason) => {
                    is_unsure = true;
                    reason
                }
            };
            self.metrics.error(Place::Stream);
            if places.spool.is_some() {
                return Ok(self.to_spool(batch, places, &reason).await);
            }
            self.down(&reason);
            if !is_unsure {
                undo(places.file.as_mut(), batch).await;
                return Ok(Stored::No(AuditError::Refused(format!("stream: {reason}"))));
            }
            // some attempt may have stored it: its numbers cannot be given to anything else
            if self.shutdown.is_cancelled() {
                let until = until.get_or_insert_with(|| Instant::now() + LAST_TRIES);
                if Instant::now() > *until {
                    return Ok(Stored::No(AuditError::Closed));
                }
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn to_spool(&mut self, batch: &Batch, places: &mut Places, reason: &str) -> Stored {
        let Some(spool) = &mut places.spool else {
            return Stored::No(AuditError::Refused(reason.to_owned()));
        };
        let lines = batch.lines.clone();
        let kept = spool
            .run(move |spool| spool.append(&lines).map(|()| spool.waiting()))
            .await;
        match kept {
            Ok(bytes) => {
                if !places.is_spooling {
                    tracing::warn!(
                        reason,
                        "records wait on this disk for the stream to come back"
                    );
                }
                places.is_spooling = true;
                self.metrics.stored(Place::Spool, batch.records);
                self.metrics
                    .spooled
                    .set(i64::try_from(bytes).unwrap_or(i64::MAX));
                Stored::Yes
            }
            Err(error) => {
                self.metrics.error(Place::Spool);
                undo(places.file.as_mut(), batch).await;
                Stored::No(AuditError::Refused(format!(
                    "stream: {reason}; spool: {error}"
                )))
            }
        }
    }

    /// Gives the stream the next lines that wait; at the end all of them, for a while.
    async fn hand_on(&mut self, places: &mut Places, is_last: bool) -> Result<(), Taken> {
        let until = Instant::now() + LAST_TRIES;
        loop {
            let is_connected = places.stream.as_ref().is_some_and(StreamSink::is_connected);
            let went = is_connected && self.hand_on_once(places).await?;
            self.hands_on = went;
            let goes_on = went || Instant::now() < until;
            if !places.is_spooling || !is_last || !goes_on {
                return Ok(());
            }
            if !went {
                tokio::time::sleep(RETRY).await;
            }
        }
    }

    /// Tells whether the stream took some.
    async fn hand_on_once(&mut self, places: &mut Places) -> Result<bool, Taken> {
        let (Some(stream), Some(spool)) = (&mut places.stream, &mut places.spool) else {
            return Ok(false);
        };
        let chunk = match spool.run(super::spool::Spool::next).await {
            Ok(chunk) => chunk,
            Err(error) => {
                tracing::error!(error = err_chain(&error), "the spool cannot be read");
                self.metrics.error(Place::Spool);
                return Ok(false);
            }
        };
        let count = u64::try_from(chunk.lines.len()).unwrap_or_default();
        let bytes = chunk.bytes;
        match send_chunk(stream, chunk).await {
            Sent::Stored => {}
            Sent::Taken => {
                self.down("another process writes to the chain of this one");
                return Err(Taken);
            }
            Sent::Absent(reason) | Sent::Unknown(reason) => {
                tracing::debug!(reason, "the stream does not take what waits yet");
                self.metrics.error(Place::Stream);
                return Ok(false);
            }
        }
        self.metrics.stored(Place::Stream, count);
        let left = spool
            .run(move |spool| spool.handed_on(bytes).map(|()| spool.waiting()))
            .await;
        match left {
            Ok(0) => {
                places.is_spooling = false;
                self.metrics.spooled.set(0);
                tracing::info!("the stream has all records that waited on this disk");
            }
            Ok(bytes) => self
                .metrics
                .spooled
                .set(i64::try_from(bytes).unwrap_or(i64::MAX)),
            Err(error) => {
                tracing::error!(error = err_chain(&error), "the spool cannot be emptied");
                self.metrics.error(Place::Spool);
            }
        }
        Ok(true)
    }

    /// Copies in the original's form, whose faults deny nothing.
    async fn copy(&mut self, signatures: Vec<Data>) {
        if signatures.is_empty() {
            return;
        }
        if let Some(topic) = &self.topic {
            for document in signatures.iter().filter_map(original_document) {
                topic.publish(document);
            }
        }
        let Some(logfile) = &mut self.logfile else {
            return;
        };
        let mut lines = Vec::new();
        let mut count = 0;
        for line in signatures.iter().filter_map(original_line) {
            lines.extend_from_slice(&line);
            lines.push(b'\n');
            count += 1;
        }
        match logfile.run(move |logfile| logfile.append(&lines)).await {
            Ok(()) => self.metrics.stored(Place::Logfile, count),
            Err(error) => {
                tracing::error!(
                    error = err_chain(&error),
                    "records were not written in the old form"
                );
                self.metrics.error(Place::Logfile);
            }
        }
    }

    /// Keeps the signed head of the chain beside the file.
    async fn keep_head(&self, chain: &Chain) {
        let Some(path) = self.parts.settings.file.clone() else {
            return;
        };
        let (head, now) = (chain.head(), self.now());
        let signed = match (self.parts.seals)().filter(|sealer| sealer.identity() == chain.name()) {
            Some(sealer) => sealer.head(head, now),
            None => unsigned(chain.name(), head, now),
        };
        let kept = tokio::task::spawn_blocking(move || write_head(&path, &signed)).await;
        if let Err(error) = kept.map_err(io::Error::other).flatten() {
            tracing::warn!(
                error = err_chain(&error),
                "the head of the record was not kept"
            );
            self.metrics.error(Place::File);
        }
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

async fn undo(file: Option<&mut Blocking<LineFile>>, batch: &Batch) {
    let Some(file) = file else {
        return;
    };
    let bytes = batch.lines.len();
    if let Err(error) = file.run(move |file| file.undo(bytes)).await {
        tracing::error!(
            error = err_chain(&error),
            "lines could not be taken back yet"
        );
    }
}

/// Sends lines of the spool in one message.
async fn send_chunk(stream: &mut StreamSink, chunk: Chunk) -> Sent {
    let (Some((first, line)), Some((last, _))) = (chunk.lines.first(), chunk.lines.last()) else {
        return Sent::Stored;
    };
    // what the first line names as the one before
    let previous = overlay_protocol::audit::Envelope::decode(line).map(|found| found.previous);
    let before = Head {
        sequence: first.sequence - 1,
        hash: previous.unwrap_or(Head::START.hash),
    };
    let (id, after) = (format!("spool:{}", last.hash), *last);
    let lines: Vec<_> = chunk.lines.into_iter().map(|(_head, line)| line).collect();
    stream
        .send(&lines.join(&b'\n').into(), &id, before, after)
        .await
}

/// A head that nobody signed, where nobody signs the chain.
fn unsigned(chain: &str, head: Head, now: UnixTime) -> SignedHead {
    SignedHead {
        chain: chain.to_owned(),
        sequence: head.sequence,
        hash: head.hash.to_string(),
        time: now.secs,
        seal: Seal::default(),
    }
}
