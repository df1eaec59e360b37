//! Makes and keeps in order the system streams: the elected instance acts, all look.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::Client;
use overlay_protocol::subject::stream;
use overlay_runtime::nats::election::{self, Caution, Leadership};
use overlay_runtime::{CancellationToken, Part, Readiness, Tasks, err_chain, nats};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::time::{Instant, MissedTickBehavior};

use super::supervise::Helper;
use crate::config::Streams;
use crate::metrics::{Metrics, StreamChange};
use crate::streams::{Action, Kept, SystemStream};

/// How long the broker may take to answer one request about a stream.
const LIMIT: Duration = Duration::from_secs(5);
/// How often is looked whether the connection was lost, or the leadership won, in between.
const TICK: Duration = Duration::from_millis(500);
/// How soon is looked again when not all was well.
const AFTER_FAULT: Duration = Duration::from_secs(5);
/// How often a candidate tries: a new cell waits for its streams only so long.
const CANDIDATE_INTERVAL: Duration = Duration::from_millis(500);
/// How long another instance has to act before it is told of.
const PATIENCE: Duration = Duration::from_secs(30);
/// Key of the election, in the bucket that the elections of all components share.
const ELECTION: &str = "broker_auth_streams";
/// Code of the broker's stream API: there is no such stream.
const NOT_FOUND: u64 = 10059;

/// Will keep the system streams in order, once there is a connection.
#[derive(Debug)]
pub(super) struct Reconciler {
    settings: Streams,
    candidacy: Candidacy,
    metrics: Metrics,
    parts: Vec<(Kept, Part)>,
}

/// Keeps the system streams in order.
#[derive(Debug)]
pub(super) struct Reconciling {
    settings: Streams,
    client: Client,
    metrics: Metrics,
    parts: Vec<(Kept, Part)>,
    troubles: BTreeMap<String, Trouble>,
    candidacy: Candidacy,
    /// From the first look on: an instance takes part once only.
    leadership: Option<Leadership>,
}

/// How long a stream has not been as it must be.
#[derive(Debug)]
struct Trouble {
    since: Instant,
    /// What was told of it last.
    told: Option<String>,
}

/// Takes part in the election of the instance that acts.
#[derive(Debug)]
pub(super) struct Candidacy {
    pub(super) name: String,
    pub(super) metrics: election::Metrics,
    pub(super) tasks: Tasks,
}

/// Who acts on what is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Makes and changes.
    Act,
    /// Looks only, and makes the election bucket, without which nobody could act.
    Look,
}

/// Why a stream is not as it must be.
#[derive(Debug, thiserror::Error)]
enum StreamError {
    #[error("request to the broker's stream API failed")]
    Request(#[from] async_nats::RequestError),
    #[error("answer of the broker's stream API not understood")]
    Answer(#[from] serde_json::Error),
    #[error("{description} ({code})")]
    Refused { description: String, code: u64 },
    #[error(
        "its setting {setting} cannot be changed; delete the stream or move its messages by hand"
    )]
    Conflict { setting: &'static str },
    #[error("it differs in {changes}, and another instance is to change it")]
    Waiting { changes: String },
    #[error("it does not exist, and another instance is to make it")]
    Absent,
}

#[derive(Debug, Deserialize)]
struct Reply {
    error: Option<ApiError>,
    config: Option<Map<String, Value>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ApiError {
    err_code: u64,
    description: String,
}

impl Reconciler {
    pub(super) fn new(
        settings: Streams,
        candidacy: Candidacy,
        metrics: Metrics,
        readiness: &Readiness,
    ) -> Self {
        let system = SystemStream::ALL
            .into_iter()
            .filter_map(|stream| Some(Kept::System(stream, settings.plan.of(stream)?)));
        let copies = settings.copies.iter().cloned().map(Kept::Copy);
        let parts = system
            .chain(copies)
            .map(|stream| {
                let part = readiness.part(format!("stream:{}", stream.name()));
                (stream, part)
            })
            .collect();
        Self {
            settings,
            candidacy,
            metrics,
            parts,
        }
    }

    /// Looks from now on, over the connection of the streams' user.
    pub(super) fn over(self, client: Client) -> Reconciling {
        Reconciling {
            settings: self.settings,
            client,
            metrics: self.metrics,
            parts: self.parts,
            troubles: BTreeMap::new(),
            candidacy: self.candidacy,
            leadership: None,
        }
    }
}

impl Helper for Reconciling {
    const NAME: &'static str = "streams";

    /// Looks at the start, at each reconnect, when it is elected, and from time to time.
    async fn work(&mut self, shutdown: &CancellationToken) -> anyhow::Result<()> {
        // The bucket of elections is among the streams: the first look makes it, whoever looks.
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            _well = self.look(Mode::Look) => {}
        }
        let leadership = self
            .leadership
            .get_or_insert_with(|| self.candidacy.start(self.client.clone(), shutdown))
            .clone();
        let mut seen = None;
        let mut next = Instant::now();
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                _ = ticks.tick() => {}
            }
            let leads = leadership.is_leader();
            self.metrics.leader.set(leads.into());
            let state = (
                leads,
                self.client.statistics().connects.load(Ordering::Relaxed),
            );
            if seen == Some(state) && Instant::now() < next {
                continue;
            }
            let mode = if leads { Mode::Act } else { Mode::Look };
            let all_well = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                all_well = self.look(mode) => all_well,
            };
            seen = Some(state);
            let wait = if all_well {
                self.settings.interval
            } else {
                self.settings.interval.min(AFTER_FAULT)
            };
            next = Instant::now() + wait;
        }
    }
}

impl Reconciling {
    /// Looks at each stream; one that fails keeps none of the others from being looked at.
    async fn look(&mut self, mode: Mode) -> bool {
        let mut all_well = true;
        for (stream, part) in &self.parts {
            let outcome = self.reconcile(stream, mode).await;
            let name = stream.name();
            self.metrics.stream_ok(name).set(outcome.is_ok().into());
            match outcome {
                Ok(()) => {
                    part.up();
                    self.troubles.remove(name);
                }
                Err(error) => {
                    all_well = false;
                    part.down(err_chain(&error));
                    let trouble = self
                        .troubles
                        .entry(name.to_owned())
                        .or_insert_with(Trouble::new);
                    trouble.tell(name, &error);
                }
            }
        }
        all_well
    }

    async fn reconcile(&self, stream: &Kept, mode: Mode) -> Result<(), StreamError> {
        let outcome = self.act(stream, mode).await;
        if outcome.as_ref().is_err_and(|error| !error.is_for_another()) {
            self.metrics.stream_change(StreamChange::Failed).inc();
        }
        outcome
    }

    async fn act(&self, stream: &Kept, mode: Mode) -> Result<(), StreamError> {
        let name = stream.name();
        let current = self.current(name).await?;
        let may_create = mode == Mode::Act || stream.is_for_elections();
        match stream.reconcile(current.as_ref()) {
            Action::Keep => Ok(()),
            Action::Create(config) if may_create => {
                self.ask("CREATE", name, &config).await?;
                tracing::info!(stream = name, "stream made");
                self.metrics.stream_change(StreamChange::Created).inc();
                Ok(())
            }
            Action::Create(_) => Err(StreamError::Absent),
            Action::Update { config, changes } if mode == Mode::Act => {
                self.ask("UPDATE", name, &config).await?;
                tracing::info!(stream = name, ?changes, "stream changed");
                self.metrics.stream_change(StreamChange::Updated).inc();
                Ok(())
            }
            Action::Update { changes, .. } => Err(StreamError::Waiting {
                changes: changes.join(", "),
            }),
            Action::Conflict { setting } => Err(StreamError::Conflict { setting }),
        }
    }

    async fn current(&self, stream: &str) -> Result<Option<Map<String, Value>>, StreamError> {
        match self.ask("INFO", stream, &json!({})).await {
            Ok(reply) => Ok(reply.config),
            Err(StreamError::Refused {
                code: NOT_FOUND, ..
            }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn ask(&self, verb: &str, stream: &str, body: &Value) -> Result<Reply, StreamError> {
        let subject = stream::api_request(verb, stream);
        let reply = nats::request(&self.client, subject, serde_json::to_vec(body)?, LIMIT).await?;
        let reply: Reply = serde_json::from_slice(&reply.payload)?;
        match reply.error {
            None => Ok(reply),
            Some(error) => Err(StreamError::Refused {
                description: error.description,
                code: error.err_code,
            }),
        }
    }
}

impl Candidacy {
    /// Two that act at the same time do no harm, for each brings the streams to the same state: so a new leader need not
    /// wait until a former one knows that it is none any more.
    fn start(&self, client: Client, shutdown: &CancellationToken) -> Leadership {
        let settings = election::Settings {
            caution: Caution::None,
            candidate_interval: Some(CANDIDATE_INTERVAL),
            ..election::Settings::new(ELECTION, self.name.clone())
        };
        election::start(
            client,
            settings,
            self.metrics.clone(),
            &self.tasks,
            shutdown.clone(),
        )
    }
}

impl StreamError {
    /// Whether there is nothing to be done here but to wait.
    fn is_for_another(&self) -> bool {
        match self {
            Self::Waiting { .. } | Self::Absent => true,
            Self::Request(_) | Self::Answer(_) | Self::Refused { .. } | Self::Conflict { .. } => {
                false
            }
        }
    }
}

impl Trouble {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            told: None,
        }
    }

    /// Tells of a trouble once, and of what is another's to mend only when that takes long.
    fn tell(&mut self, stream: &str, error: &StreamError) {
        let text = err_chain(error);
        if self.told.as_ref() == Some(&text)
            || (error.is_for_another() && self.since.elapsed() < PATIENCE)
        {
            tracing::debug!(stream, error = text, "a stream is not as it must be");
            return;
        }
        tracing::warn!(stream, error = text, "a stream is not as it must be");
        self.told = Some(text);
    }
}
