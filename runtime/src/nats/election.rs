//! Leader election over a key of a JetStream bucket, as Choria's own components hold it.
//!
//! Bucket, key and value are Choria's: bucket `CHORIA_LEADER_ELECTION`, the election's name as key,
//! the candidate's name as value; a candidate creates the key, a leader renews it at the revision
//! that it knows, and the bucket's maximum age ends the term of a leader that renews no more. So
//! candidates of both kinds share an election.
//!
//! Beyond the original:
//! - A leader stops counting as one when its term may be over, whether or not it could ask; what it
//!   writes can carry the revision as a fencing token.
//! - One lost answer does not end a term: the leader asks again until the term ends.
//! - A leader that stops gives the key back, marked as released, once nobody holds its
//!   [`Leadership`] any more; a successor that sees the mark need not wait.
//! - A leader may take a key again that somebody deleted, as Choria's candidates do when they stop
//!   ([`Settings::retake`]).
//! - A bucket that is missing or unfit is told ([`Standing::NoElection`]) and waited for, at any time.

mod bucket;
mod campaign;
mod figures;
#[cfg(test)]
mod tests;

use std::time::Duration;

use async_nats::Client;
use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::backoff::{Backoff, chance};
use crate::tasks::Tasks;

use bucket::{Answer, Bucket};
use campaign::{Campaign, Term};

pub use figures::Figures;

/// The bucket that Choria's components use.
pub const BUCKET: &str = "CHORIA_LEADER_ELECTION";

/// What a candidate needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The bucket; it must exist, else the candidate waits for it.
    pub bucket: String,
    /// The election: the key in the bucket.
    pub election: String,
    /// The candidate: the value that the leader writes, for people.
    pub candidate: String,
    /// Prefix of the JetStream API in an account that only imports the bucket.
    pub api_prefix: Option<String>,
    /// When a new leader begins to act.
    pub caution: Caution,
    /// How often a candidate tries; without it, a quarter of the bucket's maximum age, at most 5 s.
    pub candidate_interval: Option<Duration>,
    /// How often a leader renews its key; a quarter of the bucket's maximum age without it, and at most.
    pub leader_interval: Option<Duration>,
    /// Whether a leader whose key was deleted takes it again with its next renewal, unless another one was faster.
    /// Candidates of Choria's delete the key when they stop, whether they lead or not; but so does whoever evicts a
    /// leader, who then evicts nobody.
    pub retake: bool,
}

/// When a new leader begins to act.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Caution {
    /// When it has held the key for three quarters of the bucket's maximum age: by then a former
    /// leader, Choria's too, has seen that it is none any more.
    #[default]
    Full,
    /// At once, unless the key was deleted by somebody who did not say that it led: then so long after. Candidates of
    /// Choria's delete the key when they stop, and its leader sees that with its next renewal.
    AfterDeletion(Duration),
    /// At once, for work that two may do at the same time without harm.
    None,
}

/// How a candidate stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// There is no election; why.
    NoElection(String),
    /// Another one leads, or nobody yet.
    Candidate,
    /// It has the key, but does not act yet.
    Elected,
    /// It leads, at most until the time given.
    Leader {
        /// The revision of its key: larger with each renewal and each new leader.
        revision: u64,
        /// When the term ends unless it is renewed.
        until: Instant,
    },
}

/// Metrics of all elections of a process.
#[derive(Clone, Debug)]
pub struct Metrics {
    campaigns: IntCounterVec,
    leader: IntGaugeVec,
}

/// Tells whether this candidate leads; clones share it.
///
/// At a stop the key is given back once all clones are dropped, or with the end of the process.
#[derive(Clone, Debug)]
pub struct Leadership {
    standing: watch::Receiver<Standing>,
    figures: Figures,
}

/// A candidate that is to take part in an election; see [`candidate`].
#[derive(Debug)]
#[must_use = "nobody is elected who does not run"]
pub struct Candidacy(Candidate);

impl Settings {
    /// A cautious candidate in Choria's bucket.
    pub fn new(election: impl Into<String>, candidate: impl Into<String>) -> Self {
        Self {
            bucket: BUCKET.to_owned(),
            election: election.into(),
            candidate: candidate.into(),
            api_prefix: None,
            caution: Caution::Full,
            candidate_interval: None,
            leader_interval: None,
            retake: false,
        }
    }
}

impl Metrics {
    /// Registers the metrics of elections; once per process.
    ///
    /// # Errors
    ///
    /// When the registry has them already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let campaigns = Opts::new(
            "overlay_election_campaigns_total",
            "Attempts to become or to stay leader, by what came of them",
        );
        let leader = Opts::new("overlay_election_leader", "Whether this process leads");
        let metrics = Self {
            campaigns: IntCounterVec::new(campaigns, &["election", "outcome"])?,
            leader: IntGaugeVec::new(leader, &["election"])?,
        };
        registry.register(Box::new(metrics.campaigns.clone()))?;
        registry.register(Box::new(metrics.leader.clone()))?;
        Ok(metrics)
    }
}

impl Leadership {
    /// Whether this candidate leads now.
    pub fn is_leader(&self) -> bool {
        self.revision().is_some()
    }

    /// The revision of the leader's key, as a fencing token for what it writes.
    pub fn revision(&self) -> Option<u64> {
        match *self.standing.borrow() {
            Standing::Leader { revision, until } if Instant::now() < until => Some(revision),
            Standing::Leader { .. }
            | Standing::NoElection(_)
            | Standing::Candidate
            | Standing::Elected => None,
        }
    }

    /// Why there is no election, if there is none.
    pub fn trouble(&self) -> Option<String> {
        match &*self.standing.borrow() {
            Standing::NoElection(why) => Some(why.clone()),
            Standing::Leader { .. } | Standing::Candidate | Standing::Elected => None,
        }
    }

    /// Waits until the candidate stands differently; `false` when the election is over.
    pub async fn changed(&mut self) -> bool {
        self.standing.changed().await.is_ok()
    }

    /// How the election goes; to hold it does not hold the leadership.
    pub fn figures(&self) -> Figures {
        self.figures.clone()
    }

    /// Waits until this candidate leads. Dropping the future loses nothing.
    pub async fn won(&mut self) {
        let leads = |standing: &Standing| matches!(standing, Standing::Leader { .. });
        while !self.is_leader() {
            if self.standing.wait_for(leads).await.is_err() {
                // The election is over: nobody wins any more.
                std::future::pending::<()>().await;
            }
            if !self.is_leader() && self.standing.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits until this candidate no longer leads. Dropping the future loses nothing.
    pub async fn lost(&mut self) {
        loop {
            let until = match *self.standing.borrow_and_update() {
                Standing::Leader { until, .. } => until,
                Standing::NoElection(_) | Standing::Candidate | Standing::Elected => return,
            };
            tokio::select! {
                () = tokio::time::sleep_until(until) => return,
                changed = self.standing.changed() => if changed.is_err() {
                    return;
                },
            }
        }
    }
}

/// Takes part in an election until `shutdown`, as a task of `tasks`.
pub fn start(
    client: Client,
    settings: Settings,
    metrics: Metrics,
    tasks: &Tasks,
    shutdown: CancellationToken,
) -> Leadership {
    let (leadership, candidacy) = candidate(client, settings, metrics);
    tasks.spawn("election", async move {
        candidacy.run(shutdown).await;
        Ok(())
    });
    leadership
}

/// Makes a candidate that takes part in an election as long as [`Candidacy::run`] is polled, for a part of a process that
/// may end before it.
pub fn candidate(client: Client, settings: Settings, metrics: Metrics) -> (Leadership, Candidacy) {
    let (sender, standing) = watch::channel(Standing::Candidate);
    let figures = Figures::default();
    let candidate = Candidate {
        bucket: Bucket::new(client, &settings),
        settings,
        metrics,
        standing: sender,
        figures: figures.clone(),
        epoch: Instant::now(),
    };
    (Leadership { standing, figures }, Candidacy(candidate))
}

impl Candidacy {
    /// Takes part in the election until `stop`; then gives the key back once no [`Leadership`] is left.
    pub async fn run(self, stop: CancellationToken) {
        self.0.run(stop).await;
    }
}

#[derive(Debug)]
struct Candidate {
    bucket: Bucket,
    settings: Settings,
    metrics: Metrics,
    standing: watch::Sender<Standing>,
    figures: Figures,
    /// The campaign counts time from here.
    epoch: Instant,
}

impl Candidate {
    async fn run(self, shutdown: CancellationToken) {
        let mut held = None;
        shutdown.run_until_cancelled(self.campaign(&mut held)).await;
        self.standing.send_replace(Standing::Candidate);
        self.set_leader(false);
        if let Some(revision) = held {
            // Whoever works as the leader holds the leadership: the key goes after the work.
            self.standing.closed().await;
            match self.bucket.release(revision).await {
                Answer::Taken(_) => tracing::info!(election = self.name(), "leadership released"),
                Answer::Refused => {}
                Answer::Unclear(error) => {
                    tracing::warn!(election = self.name(), error, "leadership not released");
                }
            }
        }
    }

    /// Campaigns for ever; `held` is the revision of the key while it is ours.
    async fn campaign(&self, held: &mut Option<u64>) {
        loop {
            let mut campaign = self.begin().await;
            let mut first = true;
            loop {
                let wait = campaign.wait(chance());
                self.figures.waits(wait);
                // The broker sorts out candidates that begin together.
                if !std::mem::take(&mut first) {
                    tokio::time::sleep(wait).await;
                }
                let is_clear = self.attempt(&mut campaign).await;
                *held = campaign.revision();
                if !is_clear && held.is_none() {
                    // The bucket may be gone, or another one.
                    break;
                }
            }
        }
    }

    /// Waits for the bucket, whose maximum age is the length of a term.
    async fn begin(&self) -> Campaign {
        let mut told = String::new();
        for attempt in 0.. {
            let problem = match self.bucket.term().await {
                Ok(term) => match Campaign::new(term, &self.settings) {
                    Ok(campaign) => {
                        tracing::info!(election = self.name(), ?term, "candidate");
                        self.standing.send_replace(Standing::Candidate);
                        return campaign;
                    }
                    Err(error) => format!("bucket {}: {error}", self.settings.bucket),
                },
                Err(error) => error,
            };
            if problem != told {
                tracing::warn!(election = self.name(), problem, "no election yet");
                told.clone_from(&problem);
            }
            self.standing.send_replace(Standing::NoElection(problem));
            tokio::time::sleep(Backoff::CONNECT.jittered(attempt)).await;
        }
        std::future::pending().await
    }

    /// Makes an attempt, and says whether its outcome is known; dropping the future is safe.
    async fn attempt(&self, campaign: &mut Campaign) -> bool {
        let sent = self.epoch.elapsed();
        let limit = campaign.answer_limit();
        let (outcome, before) = (self.ask(campaign, limit).await, campaign.is_leader(sent));
        let is_clear = !matches!(outcome, Term::Unclear(_));
        let now = self.epoch.elapsed();
        self.figures.attempted(before);
        let label = campaign.answered(outcome, sent, now);
        let labels = [self.name(), label];
        self.metrics.campaigns.with_label_values(&labels).inc();
        self.publish(campaign, now, before);
        is_clear
    }

    async fn ask(&self, campaign: &Campaign, limit: Duration) -> Term {
        let asked = async {
            match campaign.revision() {
                Some(revision) => self.bucket.renew(revision).await,
                None => self.bucket.campaign().await,
            }
        };
        tokio::time::timeout(limit, asked)
            .await
            .unwrap_or_else(|_| Term::Unclear("no answer in time".to_owned()))
    }

    fn publish(&self, campaign: &Campaign, now: Duration, led: bool) {
        let leads = campaign.is_leader(now);
        let standing = match (campaign.revision(), leads) {
            (Some(revision), true) => Standing::Leader {
                revision,
                until: self.epoch + campaign.until(),
            },
            (Some(_), false) => Standing::Elected,
            (None, _) => Standing::Candidate,
        };
        self.standing.send_replace(standing);
        self.set_leader(leads);
        match (led, leads) {
            (false, true) => tracing::info!(election = self.name(), "leads"),
            (true, false) => tracing::warn!(election = self.name(), "no longer leads"),
            (true, true) | (false, false) => {}
        }
    }

    fn set_leader(&self, leads: bool) {
        self.figures.set_leader(leads);
        let labels = [self.name()];
        let gauge = self.metrics.leader.with_label_values(&labels);
        gauge.set(i64::from(leads));
    }

    fn name(&self) -> &str {
        &self.settings.election
    }
}
