//! Makes the streams and buckets, and keeps them in order.

use std::time::Duration;

use async_nats::jetstream::context::{CreateStreamErrorKind, GetStreamErrorKind};
use async_nats::jetstream::{Context, ErrorCode};
use overlay_runtime::{Backoff, CancellationToken, Part, err_chain};

use crate::config::Streams;
use crate::metrics::Metrics;
use crate::store::{Store, mend};

/// How often they are looked at.
const INTERVAL: Duration = Duration::from_secs(60);
/// Above this somebody should look.
const NEARLY_FULL: f64 = 0.8;

/// Looks after the streams.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) jetstream: Context,
    pub(super) streams: Streams,
    pub(super) metrics: Metrics,
    pub(super) part: Part,
}

impl Keeper {
    /// Makes what is missing; tries until all is there.
    pub(super) async fn make(&self, shutdown: &CancellationToken) {
        for attempt in 0.. {
            if self.look().await {
                return;
            }
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(Backoff::CONNECT.jittered(attempt)) => {}
            }
        }
    }

    /// Looks from time to time.
    pub(super) async fn keep(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                () = tokio::time::sleep(INTERVAL) => {}
            }
            self.make(&shutdown).await;
        }
    }

    async fn look(&self) -> bool {
        let mut problems = Vec::new();
        for store in Store::ALL {
            if let Err(problem) = self.mend(store).await {
                tracing::warn!(
                    stream = store.stream(),
                    problem,
                    "a stream is not as it must be"
                );
                self.metrics.store_error(store).inc();
                problems.push(format!("{}: {problem}", store.stream()));
            }
        }
        if problems.is_empty() {
            self.part.up();
        } else {
            self.part.down(problems.join("; "));
        }
        problems.is_empty()
    }

    async fn mend(&self, store: Store) -> Result<(), String> {
        let wanted = store.config(&self.streams);
        let mut current = match self.jetstream.get_stream(store.stream()).await {
            Ok(stream) => {
                let info = stream.cached_info();
                let (bytes, most) = (info.state.bytes, info.config.max_bytes);
                if let Ok(most) = u32::try_from(most >> 10)
                    && most > 0
                {
                    let kilobytes = u32::try_from(bytes >> 10).unwrap_or(u32::MAX);
                    let ratio = f64::from(kilobytes) / f64::from(most);
                    self.metrics.store_fill(store, ratio);
                    if ratio > NEARLY_FULL {
                        tracing::warn!(
                            stream = store.stream(),
                            ratio,
                            "a stream is nearly full; when it is full, nothing more is enrolled"
                        );
                    }
                }
                info.config.clone()
            }
            Err(error) if is_absent(&error) => {
                return match self.jetstream.create_stream(&wanted).await {
                    Ok(_made) => {
                        tracing::info!(stream = store.stream(), "stream made");
                        Ok(())
                    }
                    // Another instance was faster, and is of another mind: the next look mends it.
                    Err(error) if is_taken(&error) => Ok(()),
                    Err(error) => Err(err_chain(&error)),
                };
            }
            Err(error) => return Err(err_chain(&error)),
        };
        let changes = mend(&mut current, &wanted);
        if changes.is_empty() {
            return Ok(());
        }
        self.jetstream
            .update_stream(&current)
            .await
            .map_err(|error| err_chain(&error))?;
        tracing::info!(stream = store.stream(), ?changes, "stream changed");
        Ok(())
    }
}

fn is_absent(error: &async_nats::jetstream::context::GetStreamError) -> bool {
    match error.kind() {
        GetStreamErrorKind::JetStream(problem) => {
            problem.error_code() == ErrorCode::STREAM_NOT_FOUND
        }
        GetStreamErrorKind::EmptyName
        | GetStreamErrorKind::Request
        | GetStreamErrorKind::InvalidStreamName => false,
    }
}

fn is_taken(error: &async_nats::jetstream::context::CreateStreamError) -> bool {
    if let CreateStreamErrorKind::JetStream(problem) = error.kind() {
        problem.error_code() == ErrorCode::STREAM_NAME_EXIST
    } else {
        false
    }
}
