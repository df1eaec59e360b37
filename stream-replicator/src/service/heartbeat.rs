//! Heartbeats: one message for each subject in its interval, that a stream must have taken.
//!
//! A beat that cannot be taken at once is not kept: it would tell of a delay that is none of the copies'.

use std::time::Duration;

use async_nats::HeaderMap;
use futures_util::future::join_all;
use overlay_protocol::replication::{heartbeat_body, heartbeat_headers};
use overlay_runtime::nats::election::{self as elections, Leadership};
use overlay_runtime::{CancellationToken, Clock, err_chain};
use tokio::time::{Instant, MissedTickBehavior};

use super::connect::{Link, Links};
use super::election;
use crate::config::{Beat, Heartbeats};
use crate::{host, metrics};

/// Name of the connection.
const NAME: &str = "heartbeats";
/// How long a stream may take, as in the original.
const TAKEN: Duration = Duration::from_secs(2);
/// Replicas that are started together do not beat together.
const SPLAY: Duration = Duration::from_secs(1);

/// Why a beat was not taken.
#[derive(Debug, thiserror::Error)]
enum BeatError {
    #[error("the connection is down")]
    Down,
    #[error("no stream has taken it")]
    Refused(#[source] async_nats::jetstream::context::PublishError),
    #[error("no answer within {TAKEN:?}")]
    Late,
}

/// Who beats, where, and what is counted.
struct Heart {
    originator: String,
    link: Link,
    leadership: Option<Leadership>,
    metrics: metrics::Heartbeats,
    clock: Clock,
}

/// Beats until the shutdown.
pub(super) async fn beat(
    heartbeats: Heartbeats,
    site: String,
    links: Links,
    metrics: metrics::Metrics,
    clock: Clock,
    shutdown: CancellationToken,
) {
    let own = metrics.heartbeats();
    let originator = host::name();
    own.subjects(heartbeats.beats.len());
    own.paused(&originator, heartbeats.election);
    let Ok(link) = links.open(NAME, &heartbeats.endpoint, &shutdown).await else {
        return;
    };
    let (leadership, candidacy) = heartbeats
        .election
        .then(|| {
            let key = format!("SR_{site}_HB");
            let prefix = heartbeats.endpoint.api_prefix.as_deref();
            let settings = election::settings(&key, &heartbeats.candidate, prefix);
            let votes = metrics.elections().clone();
            let (leadership, candidacy) =
                elections::candidate(link.client.clone(), settings, votes);
            metrics.follow_election(&key, &heartbeats.candidate, leadership.figures());
            (leadership, candidacy)
        })
        .unzip();
    let heart = Heart {
        originator,
        link: link.clone(),
        leadership,
        metrics: own.clone(),
        clock,
    };
    let beats = &heartbeats.beats;
    let stop = &shutdown;
    let beating = async move {
        let all = join_all(beats.iter().map(|beat| heart.each(beat, stop)));
        tokio::join!(all, heart.show(stop));
        // The key is given back when nothing knows of the leadership any more.
        drop(heart);
    };
    let voting = async {
        if let Some(candidacy) = candidacy {
            candidacy.run(shutdown.clone()).await;
        }
    };
    tokio::join!(beating, voting);
    link.close().await;
}

impl Heart {
    /// Beats into one subject.
    async fn each(&self, beat: &Beat, shutdown: &CancellationToken) {
        let splay = SPLAY.min(beat.interval).mul_f64(chance());
        let mut ticks = tokio::time::interval_at(Instant::now() + splay, beat.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut headers = HeaderMap::new();
        for (name, value) in heartbeat_headers(&self.originator, &beat.subject, &beat.headers) {
            headers.append(name, value);
        }
        let mut is_taken = true;
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                _tick = ticks.tick() => {}
            }
            if !self.leads() {
                continue;
            }
            let began = Instant::now();
            let outcome = self.send(beat, headers.clone()).await;
            let took = began.elapsed();
            match outcome {
                Ok(()) => {
                    self.metrics.published(&beat.subject, took);
                    if !std::mem::replace(&mut is_taken, true) {
                        tracing::info!(subject = beat.subject, "heartbeats are taken again");
                    }
                }
                Err(error) => {
                    self.metrics.failed(&beat.subject, took);
                    let error = err_chain(&error);
                    if std::mem::replace(&mut is_taken, false) {
                        tracing::warn!(subject = beat.subject, error, "heartbeat not taken");
                    } else {
                        tracing::debug!(subject = beat.subject, error, "heartbeat not taken again");
                    }
                }
            }
        }
    }

    async fn send(&self, beat: &Beat, headers: HeaderMap) -> Result<(), BeatError> {
        if !self.link.is_up() {
            return Err(BeatError::Down);
        }
        let now = overlay_tokens::UnixTime::from(self.clock.now()).secs;
        let subject = beat.subject.clone();
        let sent = async {
            let taken = self
                .link
                .jetstream
                .publish_with_headers(subject, headers, heartbeat_body(now).into())
                .await
                .map_err(BeatError::Refused)?;
            taken.await.map_err(BeatError::Refused)
        };
        match tokio::time::timeout(TAKEN, sent).await {
            Ok(taken) => taken.map(|_ack| ()),
            Err(_) => Err(BeatError::Late),
        }
    }

    fn leads(&self) -> bool {
        self.leadership.as_ref().is_none_or(Leadership::is_leader)
    }

    /// Shows in the metrics whether another replica beats.
    async fn show(&self, shutdown: &CancellationToken) {
        let Some(mut leadership) = self.leadership.clone() else {
            return;
        };
        loop {
            let leads = leadership.is_leader();
            self.metrics.paused(&self.originator, !leads);
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                known = leadership.changed() => if !known { return },
            }
        }
    }
}

/// A number from 0 to 1; without randomness, the middle.
fn chance() -> f64 {
    getrandom::u32().map_or(0.5, |number| f64::from(number) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests;
