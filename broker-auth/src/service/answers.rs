//! The work of one worker: read, decide, write.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::{Client, Message, Subject, Subscriber};
use futures_util::StreamExt as _;
use overlay_runtime::{CancellationToken, Clock, err_chain};
use overlay_tokens::UnixTime;
use overlay_tokens::broker_jwt::CalloutRequest;
use serde::Deserialize;
use tokio::time::Instant;

use super::probe::Probe;
use super::teller::Teller;
use crate::age::{Ages, Moment};
use crate::attempt::Attempt;
use crate::codec::Codec;
use crate::decide::{Decision, decide};
use crate::metrics::{Metrics, Unanswered};
use crate::policy::Policy;
use crate::reason::Reason;
use crate::telling::Tale;

/// Header with the curve key that a request is sealed by, and an answer is sealed for.
const SEALER: &str = "Nats-Server-Xkey";
/// Requests are made in a second, not at an instant: this much is no age.
const ROUNDING: Duration = Duration::from_secs(1);
/// Clocks that differ by more seconds are told of.
const CLOCK_TOLERANCE: i64 = 3;
/// How often the same trouble is told of, in seconds.
const TROUBLE_EVERY: i64 = 10;

/// Parts of the broker's words for an answer that it does not take, as of nats-server 2.12 to 2.15, in lower case.
const ANSWER_FAULTS: [&str; 7] = [
    "callout response",
    "callout signing key",
    "authorization response",
    "user jwt",
    "authorized user",
    "as valid account option",
    "issuer_account",
];

/// What all workers share.
#[derive(Debug)]
pub(super) struct Answers {
    policy: Policy,
    codec: Codec,
    clock: Clock,
    /// Where the steady clock begins.
    began: Instant,
    metrics: Metrics,
    teller: Teller,
    probe: Probe,
    ages: Mutex<Ages>,
    unsealed: Seldom,
    unreadable: Seldom,
    stale: Seldom,
    clocks: Seldom,
    not_taken: Seldom,
}

/// Lets one of many equal messages pass.
#[derive(Debug, Default)]
struct Seldom(Mutex<Option<i64>>);

impl Answers {
    pub(super) fn new(
        policy: Policy,
        codec: Codec,
        max_age: Duration,
        clock: Clock,
        metrics: Metrics,
        teller: Teller,
        probe: Probe,
    ) -> Self {
        Self {
            policy,
            codec,
            clock,
            began: Instant::now(),
            metrics,
            teller,
            probe,
            ages: Mutex::new(Ages::new(max_age + ROUNDING)),
            unsealed: Seldom::default(),
            unreadable: Seldom::default(),
            stale: Seldom::default(),
            clocks: Seldom::default(),
            not_taken: Seldom::default(),
        }
    }

    /// Answers requests until the shutdown, and then those that had been given to this worker.
    pub(super) async fn work(
        self: Arc<Self>,
        mut requests: Subscriber,
        broker: Client,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                request = requests.next() => match request {
                    Some(request) => self.serve(request, &broker).await,
                    None => anyhow::bail!("the subscription to callouts ended"),
                },
            }
        }
        if requests.drain().await.is_ok() {
            while let Some(request) = requests.next().await {
                self.serve(request, &broker).await;
            }
        }
        Ok(())
    }

    async fn serve(&self, request: Message, broker: &Client) {
        let started = Instant::now();
        // A fault of ours in one request must not take the logins of a whole cell with it.
        let answered = catch_unwind(AssertUnwindSafe(|| self.answer(&request)));
        let answered = answered.unwrap_or_else(|_panic| {
            tracing::error!("a request made this service panic; it stays unanswered");
            Err(Unanswered::Panic)
        });
        match answered {
            Ok((reply, answer)) => {
                if let Err(error) = broker.publish(reply, answer.into()).await {
                    tracing::warn!(error = err_chain(&error), "answer not sent");
                    self.metrics.unanswered(Unanswered::Unwritable).inc();
                }
                self.metrics
                    .decision_seconds
                    .observe(started.elapsed().as_secs_f64());
            }
            Err(cause) => self.metrics.unanswered(cause).inc(),
        }
    }

    fn answer(&self, message: &Message) -> Result<(Subject, Vec<u8>), Unanswered> {
        let reply = message.reply.clone().ok_or(Unanswered::NoReply)?;
        let sealer = message
            .headers
            .as_ref()
            .and_then(|headers| headers.get(SEALER))
            .map(|key| key.as_str());
        let now = UnixTime::from(self.clock.now());
        let request = self
            .codec
            .read(&message.payload, sealer, now)
            .map_err(|error| {
                if self.unreadable.passes(now) {
                    let error = err_chain(&error);
                    let sealed_by = sealer.unwrap_or_default();
                    tracing::error!(
                        error,
                        sealed_by,
                        "request not read: compare issuer and xkey in the broker's configuration"
                    );
                }
                Unanswered::Unreadable
            })?;
        self.check_sealed(sealer, &request, now);
        self.check_age(&request, now)?;
        let attempt = Attempt::from(&request);
        let decision = decide(&attempt, &self.policy, now);
        self.note(&attempt, &decision, &request);
        let answer = self
            .codec
            .write(&request, &decision, sealer, now)
            .map_err(|error| {
                tracing::error!(error = err_chain(&error), "answer not written");
                Unanswered::Unwritable
            })?;
        Ok((reply, answer))
    }

    /// Tells of requests that somebody could have read on their way.
    fn check_sealed(&self, sealer: Option<&str>, request: &CalloutRequest, now: UnixTime) {
        if sealer.is_some() || !self.codec.seals() {
            return;
        }
        self.metrics.unsealed.inc();
        if self.unsealed.passes(now) {
            tracing::warn!(
                broker = request.server_id.name,
                "requests with passwords and tokens come unsealed: set xkey of auth_callout in the broker's configuration"
            );
        }
    }

    /// Drops requests whose client is gone.
    fn check_age(&self, request: &CalloutRequest, now: UnixTime) -> Result<(), Unanswered> {
        let server = &request.server_id;
        let mut ages = self.ages.lock().unwrap_or_else(PoisonError::into_inner);
        let moment = Moment {
            day: now,
            steady: self.began.elapsed(),
        };
        let age = ages.note(&server.id, request.iat, moment);
        drop(ages);
        self.metrics.clock_difference.set(age.behind);
        if age.behind.abs() > CLOCK_TOLERANCE && self.clocks.passes(now) {
            tracing::error!(
                broker = server.name,
                seconds_behind = age.behind,
                "the clocks of a broker and of this host differ; tokens are judged by the clock of this host"
            );
        }
        if age.stale {
            if self.stale.passes(now) {
                tracing::warn!(broker = server.name, waited = ?age.waited, "requests come late; their clients are gone");
            }
            return Err(Unanswered::Stale);
        }
        Ok(())
    }

    fn note(&self, attempt: &Attempt<'_>, decision: &Decision, request: &CalloutRequest) {
        match decision {
            Decision::Allow(login) => {
                self.metrics.allowed(login.role).inc();
                if !login.dropped.is_empty() {
                    self.metrics
                        .dropped_subjects
                        .inc_by(login.dropped.len().try_into().unwrap_or(u64::MAX));
                    tracing::warn!(
                        name = login.name,
                        subjects = ?login.dropped,
                        "left out malformed subjects of a token"
                    );
                }
                tracing::debug!(
                    role = login.role.label(),
                    name = login.name,
                    account = login.account,
                    "login"
                );
            }
            Decision::Refuse(refusal) => {
                self.metrics.refused(refusal.reason).inc();
                if refusal.reason == Reason::SelfCheck {
                    self.probe.seen(attempt.token.0);
                } else {
                    self.teller
                        .tell(Tale::new(attempt, refusal, &request.server_id.name));
                }
            }
        }
    }

    /// Hears of the logins that the broker itself refused: those whose answer it did not take are a fault of ours or of
    /// the configuration.
    pub(super) async fn watch_broker(
        self: Arc<Self>,
        mut errors: Subscriber,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        loop {
            let error = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                error = errors.next() => error,
            };
            let Some(error) = error else {
                anyhow::bail!("the subscription to the broker's refusals ended");
            };
            self.hear(&error);
        }
    }

    fn hear(&self, error: &Message) {
        let Ok(advisory) = serde_json::from_slice::<Advisory>(&error.payload) else {
            return;
        };
        if !advisory.is_about_our_answer() {
            return;
        }
        self.metrics.answers_not_taken.inc();
        if self.not_taken.passes(UnixTime::from(self.clock.now())) {
            let reason: String = advisory.reason.chars().take(512).collect();
            tracing::error!(reason, "the broker did not take our answer");
        }
    }
}

/// The broker's word on a refused login.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Advisory {
    reason: String,
}

impl Advisory {
    /// Whether the broker found an answer of ours wrong. Its own text before the words of a refusal of ours is one of
    /// those that are left out; of a timeout it says nothing at all.
    fn is_about_our_answer(&self) -> bool {
        let reason = self.reason.to_lowercase();
        !reason.starts_with("auth callout service returned an error")
            && ANSWER_FAULTS.iter().any(|text| reason.contains(text))
    }
}

impl Seldom {
    fn passes(&self, now: UnixTime) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let passes = last.is_none_or(|last| (now.secs - last).abs() >= TROUBLE_EVERY);
        if passes {
            *last = Some(now.secs);
        }
        passes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_brokers_words_about_our_answers_are_known_from_our_own_refusals() {
        let about_us = |reason: &str| {
            Advisory {
                reason: reason.to_owned(),
            }
            .is_about_our_answer()
        };
        for fault in [
            r#"Wrong issuer for auth callout response on account "auth", expected "A1" got "A2""#,
            "Auth callout signing key is unknown",
            r#"Error validating user JWT: Permission Subject "a b" is not allowed to contain queue"#,
            r#"No valid account "nowhere" for auth callout response on account "auth": account missing"#,
            r#"Expected authorized user of "U1" but got "U2" on account "auth""#,
            "Authorization response had validation errors: expired",
        ] {
            assert!(about_us(fault), "{fault}");
        }
        for other in [
            "",
            "Auth callout service returned an error: the user JWT is a word of ours here",
            "authentication error",
        ] {
            assert!(!about_us(other), "{other}");
        }
    }

    #[test]
    fn the_same_trouble_is_told_every_so_often() {
        let seldom = Seldom::default();
        let told = (0..100)
            .filter(|second| seldom.passes(UnixTime::from_secs(*second)))
            .count();
        assert_eq!(told, 10);
    }
}
