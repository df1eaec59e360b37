//! How far behind the copy is while nothing can be copied: what the bookmark says, against what the source holds.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::Site;
use crate::config::StreamConfig;
use crate::copy::position::Bookmark;
use crate::metrics;
use crate::service::api::{self, ApiError};
use crate::service::bookmark;
use crate::service::connect::Link;
use crate::service::source_time::SourceTime;
use crate::status::Status;

/// How often it is reckoned.
const AGAIN: Duration = Duration::from_secs(5);

/// What it is reckoned by, and where it is told.
#[derive(Debug)]
pub(super) struct Behind {
    pub(super) config: Arc<StreamConfig>,
    pub(super) time: SourceTime,
    pub(super) metrics: metrics::Worker,
    pub(super) status: Status,
}

impl Behind {
    /// Reckons for ever, from when the source is reached.
    pub(super) async fn reckon_while_waiting(
        &self,
        mut source: watch::Receiver<Option<Link>>,
    ) -> Infallible {
        // Both come at once, mostly.
        tokio::time::sleep(AGAIN).await;
        loop {
            let link = source.borrow_and_update().clone();
            match link {
                Some(link) => {
                    self.reckon(&link).await;
                    tokio::time::sleep(AGAIN).await;
                }
                None => drop(source.changed().await),
            }
        }
    }

    /// Reckons for ever, while a worker that has its brokers is paused or stopped.
    pub(super) async fn reckon_while_resting(self, source: Link) -> Infallible {
        loop {
            self.reckon(&source).await;
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Reckons once; what cannot be asked leaves it as it was.
    pub(super) async fn reckon(&self, source: &Link) {
        if let Err(error) = self.try_to(source).await {
            tracing::debug!(%error, "it is not known how far behind the copy is");
        }
    }

    async fn try_to(&self, source: &Link) -> Result<(), ApiError> {
        let name = self.config.source.stream.as_str();
        let info = api::stream_info(&source.jetstream, name).await?;
        self.time.hear(info.time);
        let created = info.created_ms();
        let written = bookmark::read(source, &self.config).await?;
        let written = written
            .filter(|mark: &Bookmark| mark.source_created == created)
            .map_or(0, |mark| mark.sequence);
        let handled = written.max(self.status.report().handled);
        if handled == 0 {
            // Where it would begin is not known here.
            return Ok(());
        }
        let from = (handled + 1).max(info.state.first_seq);
        let waiting = (info.state.last_seq + 1).saturating_sub(from);
        let oldest = if waiting > 0 {
            api::message_from(&source.jetstream, name, from).await?
        } else {
            None
        };
        let age = oldest.and_then(|oldest| self.time.now().duration_since(oldest.time).ok());
        let lag = age.unwrap_or_default();
        self.metrics.lag(waiting, lag.as_secs_f64());
        self.status.update(|report| {
            report.source_last = info.state.last_seq;
            report.waiting = waiting;
            report.lag = lag;
        });
        Ok(())
    }
}

impl Site {
    /// Goes on reckoning how far behind the copy is while nothing can be copied.
    pub(super) async fn fall_behind(&self) {
        self.behind().reckon(&self.source).await;
    }

    pub(super) fn behind(&self) -> Behind {
        Behind {
            config: Arc::clone(&self.config),
            time: self.time.clone(),
            metrics: self.metrics.clone(),
            status: self.status.clone(),
        }
    }

    /// Another replica leads: how far behind the copy is is told there.
    pub(super) fn stand_by(&self) {
        self.metrics.lag(0, 0.0);
        self.status.update(|report| {
            report.waiting = 0;
            report.lag = Duration::ZERO;
        });
    }
}
