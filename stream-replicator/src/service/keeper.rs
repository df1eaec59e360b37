//! Keeps state files up to date without holding up the worker.

use std::path::PathBuf;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::advise::Outbox;
use crate::state::{Batch, Disk, Files, Line, Loaded, Piece, StateError, encode_items};
use crate::track::{Change, Nanos, Span, Tracker};

/// Values that are written in one go: some milliseconds of work.
const PIECE: usize = 10_000;
/// How long lines may be on their way to the disk.
const SYNC: Duration = Duration::from_secs(5);
/// How old the snapshot may become while there are changes, which is what the original and people read: as with the
/// original while it is small, and longer the more there is to write.
const SNAPSHOT: Duration = Duration::from_secs(10);
const SNAPSHOT_BYTES: usize = 100_000;
const MAX_SNAPSHOTS: usize = 30;
/// A journal that is smaller is not worth a new snapshot.
const SMALL: usize = 4 << 20;
/// The wait after a fault.
const RETRY: Duration = Duration::from_secs(5);

/// What a write leaves: the files, unless they could not be had, and how it went.
type Done = (Option<Disk>, Result<(), StateError>);

/// Writes the files of a worker.
#[derive(Debug)]
pub(super) struct Keeper {
    files: Files,
    /// Nothing while a write has it, or while it can't be had.
    disk: Option<Disk>,
    job: Option<JoinHandle<Done>>,
    /// Where the snapshot that is being written goes on.
    page: Option<usize>,
    has_values: bool,
    /// Bytes of the journal, and of the last snapshot.
    journal: usize,
    snapshot: usize,
    needs_snapshot: bool,
    last_snapshot: Nanos,
    last_sync: Nanos,
    retry_at: Option<Nanos>,
}

impl Keeper {
    /// Reads what there is and takes hold of the files. A fault leaves the worker without them until they can be had.
    pub(super) async fn open(
        dir: PathBuf,
        stream: &str,
        worker: &str,
        now: Nanos,
    ) -> (Self, Result<Loaded, StateError>) {
        let files = Files::new(&dir, stream, worker);
        let theirs = files.clone();
        let opened = tokio::task::spawn_blocking(move || {
            // Held first: nobody writes while it is read.
            let disk = Disk::open(theirs.clone())?;
            theirs.load().map(|loaded| (disk, loaded))
        });
        let (disk, loaded) = match opened.await.unwrap_or(Err(StateError::Broken)) {
            Ok((disk, loaded)) => (Some(disk), Ok(loaded)),
            Err(error) => (None, Err(error)),
        };
        let keeper = Self {
            files,
            disk,
            job: None,
            page: None,
            has_values: false,
            journal: 0,
            snapshot: 0,
            // The journals that were read are done with.
            needs_snapshot: true,
            last_snapshot: now,
            last_sync: now,
            retry_at: None,
        };
        (keeper, loaded)
    }

    /// Begins to write what changed, unless the last write is still under way; gives what was wrong with that, or whether
    /// it went well just now.
    pub(super) async fn step(
        &mut self,
        tracker: &mut Tracker,
        outbox: &mut Outbox,
        now: Nanos,
    ) -> Result<bool, StateError> {
        let mut is_written = false;
        if let Some(job) = &self.job {
            if !job.is_finished() {
                return Ok(false);
            }
            self.finish(now).await?;
            is_written = true;
        }
        if self.retry_at.is_some_and(|at| at > now) {
            return Ok(false);
        }
        let batch = self.batch(tracker, outbox, now);
        if let Some(batch) = batch {
            let disk = self.disk.take();
            let files = self.files.clone();
            self.job = Some(tokio::task::spawn_blocking(move || {
                let mut disk = match disk.map_or_else(|| Disk::open(files), Ok) {
                    Ok(disk) => disk,
                    Err(error) => return (None, Err(error)),
                };
                let outcome = disk.write(&batch);
                (Some(disk), outcome)
            }));
        }
        Ok(is_written)
    }

    /// Writes everything that is known; nothing else is to be read at the next start.
    pub(super) async fn close(
        mut self,
        tracker: &Tracker,
        outbox: &mut Outbox,
        now: Nanos,
    ) -> Result<(), StateError> {
        // What was wrong with the last write does not matter: all is written anew.
        let _fault = self.finish(now).await;
        let Some(disk) = self.disk else {
            return Ok(());
        };
        let mut lines = Vec::new();
        for entry in outbox.all() {
            Line::Advisory(entry).write(&mut lines);
        }
        let (items, _) = tracker.page(0, usize::MAX);
        let closed =
            tokio::task::spawn_blocking(move || disk.close(encode_items(&items, true), lines));
        closed.await.unwrap_or(Err(StateError::Broken))
    }

    /// Takes the files back from a write, and what came of it.
    async fn finish(&mut self, now: Nanos) -> Result<(), StateError> {
        let Some(job) = self.job.take() else {
            return Ok(());
        };
        let (disk, outcome) = job.await.unwrap_or((None, Err(StateError::Broken)));
        self.disk = disk;
        if outcome.is_err() {
            // Some lines may be lost: the next snapshot has what they said.
            self.needs_snapshot = true;
            self.page = None;
            self.retry_at = Some(now.plus(Span::of(RETRY)));
        }
        outcome
    }

    /// What is to be written now, if anything.
    fn batch(&mut self, tracker: &mut Tracker, outbox: &mut Outbox, now: Nanos) -> Option<Batch> {
        let mut batch = Batch::default();
        let times = (1 + self.snapshot / SNAPSHOT_BYTES).min(MAX_SNAPSHOTS);
        let age = SNAPSHOT * u32::try_from(times).unwrap_or(u32::MAX);
        let is_due = self.journal > 0 && now.since(self.last_snapshot) > Span::of(age);
        let is_long = self.journal > SMALL.max(2 * self.snapshot);
        if self.page.is_none() && (self.needs_snapshot || is_due || is_long) {
            let mut lines = Vec::new();
            for entry in outbox.all() {
                Line::Advisory(entry).write(&mut lines);
            }
            batch.rotate = Some(lines);
            self.needs_snapshot = false;
            self.has_values = false;
            self.page = Some(0);
            (self.journal, self.snapshot) = (0, 0);
        }
        // What is to be told stands before what is known of it: a torn end loses no word.
        for entry in outbox.take_changes() {
            Line::Advisory(entry).write(&mut batch.lines);
            batch.sync = true;
        }
        for change in tracker.take_changes(PIECE) {
            let item = match change {
                Change::Item(item) => item,
                Change::Gone(gone) => gone.item(),
            };
            Line::Item(item).write(&mut batch.lines);
        }
        self.journal += batch.lines.len();
        if let Some(from) = self.page {
            let (items, next) = tracker.page(from, PIECE);
            let text = encode_items(&items, !self.has_values);
            self.has_values |= !items.is_empty();
            self.snapshot += text.len();
            self.page = next;
            if next.is_none() {
                self.last_snapshot = now;
            }
            batch.piece = Some(Piece {
                text,
                last: next.is_none().then_some(self.has_values),
            });
        }
        if self.journal > 0 && now.since(self.last_sync) > Span::of(SYNC) {
            batch.sync = true;
        }
        let is_idle = batch.lines.is_empty() && batch.piece.is_none() && batch.rotate.is_none();
        if is_idle {
            return None;
        }
        if batch.sync {
            self.last_sync = now;
        }
        Some(batch)
    }
}
