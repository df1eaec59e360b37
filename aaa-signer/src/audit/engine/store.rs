//! Stores a batch in all its places, or in none.

use std::io;

use overlay_protocol::audit::{Data, Head, Seal, original_document, original_line};
use overlay_runtime::err_chain;
use overlay_tokens::UnixTime;
use overlay_tokens::audit::{Chain, SignedHead};
use tokio::time::Instant;

use super::super::AuditError;
use super::super::batch::Batch;
use super::super::blocking::Blocking;
use super::super::file::{LineFile, write_head};
use super::super::metrics::Place;
use super::super::open::Places;
use super::super::stream::Sent;
use super::{Engine, LAST_TRIES, RETRY, Taken};

/// What became of a batch.
enum Stored {
    Yes,
    No(AuditError),
}

impl Engine {
    /// Stores a batch and answers all who wait for it. Returns the chain after it, or nothing if it is stored nowhere.
    pub(super) async fn store(
        &mut self,
        batch: Batch,
        places: &mut Places,
    ) -> Result<Option<Chain>, Taken> {
        let mut batch = batch;
        let outcome = match self.put_in_file(&batch, places).await {
            Ok(()) => self.put_in_stream(&batch, places).await,
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

    async fn put_in_file(&mut self, batch: &Batch, places: &mut Places) -> Result<(), String> {
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

    async fn put_in_stream(&mut self, batch: &Batch, places: &mut Places) -> Result<Stored, Taken> {
        let Some(stream) = &mut places.stream else {
            return Ok(Stored::Yes);
        };
        if places.is_spooling {
            return Ok(self.put_in_spool(batch, places, "lines wait already").await);
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
                return Ok(self.put_in_spool(batch, places, &reason).await);
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

    async fn put_in_spool(&mut self, batch: &Batch, places: &mut Places, reason: &str) -> Stored {
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
