//! Signs what was decided, once the record of it is durable.

mod slow;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use overlay_protocol::audit::{Data, Kind};
use overlay_protocol::envelope::v2::SecureRequest;
use overlay_runtime::{Clock, err_chain};
use overlay_tokens::UnixTime;
use overlay_tokens::claims::ClientClaims;
use prometheus::IntGauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::audit::{Audit, Entry};
use crate::config::Delegator;
use crate::keyring::Keyring;
use crate::login::{Rates, Revocations};
use crate::metrics::Metrics;
use crate::sign::{Decision, Judge, Reason, Submission};
use crate::source::source;
use crate::via::Via;

use slow::{NoResult, Slow};

/// How long a policy may hold up others: most take a twentieth of it. Those that need longer are asked on threads of their own.
const AT_ONCE: Duration = Duration::from_millis(2);

/// Decides, records and signs.
#[derive(Debug)]
pub(crate) struct Signer {
    bench: Arc<Bench>,
    slow: Slow,
    keyring: Keyring,
    audit: Audit,
    clock: Clock,
    metrics: Metrics,
    places: Arc<Semaphore>,
    unproved: Unproved,
}

/// The judge, and who is refused whatever the rules say.
#[derive(Debug)]
struct Bench {
    judge: Judge,
    revocations: Revocations,
}

/// What a signer works with.
#[derive(Debug)]
pub(crate) struct Parts {
    /// The rules.
    pub(crate) judge: Judge,
    /// Who signs.
    pub(crate) keyring: Keyring,
    /// Where it is recorded.
    pub(crate) audit: Audit,
    /// Tokens that are no longer good.
    pub(crate) revocations: Revocations,
    /// The time.
    pub(crate) clock: Clock,
    /// What is counted.
    pub(crate) metrics: Metrics,
    /// Requests that are worked on at a time.
    pub(crate) in_flight: usize,
    /// How many of strangers are recorded.
    pub(crate) unproved: Unproved,
}

/// How many requests are recorded of those whose token is not good: strangers must not fill the record, without which nothing
/// is signed.
#[derive(Debug)]
pub(crate) struct Unproved {
    rates: Rates,
    epoch: Instant,
}

impl Unproved {
    /// `per_second` from each source, `burst` at once; 0 a second: no limit.
    pub(crate) fn new(per_second: u32, burst: u32) -> Self {
        Self {
            rates: Rates::with_burst(per_second.saturating_mul(60), burst),
            epoch: Instant::now(),
        }
    }

    /// Whether one more is recorded.
    fn admits(&self, submission: &Submission) -> bool {
        let elapsed = u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX);
        // Over the broker senders call themselves as they like: all of them are one source.
        let source = match submission.via {
            Via::Http => source(&submission.peer),
            Via::Rpc | Via::Broker => String::new(),
        };
        self.rates.take((submission.via.label(), source), elapsed)
    }
}

/// A request was not signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Denied {
    /// Why; not for the caller.
    pub(crate) reason: Reason,
}

/// Leave to work on one request; given back however the work ends.
#[derive(Debug)]
pub(crate) struct Place {
    _permit: OwnedSemaphorePermit,
    in_flight: IntGauge,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.in_flight.dec();
    }
}

impl Denied {
    /// Whether the same request may be signed when less is to be done.
    pub(crate) fn is_busy(self) -> bool {
        self.reason == Reason::Busy
    }
}

impl Signer {
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            bench: Arc::new(Bench {
                judge: parts.judge,
                revocations: parts.revocations,
            }),
            // The others must find places, however many of these there are.
            slow: Slow::of_machine(parts.in_flight / 2),
            keyring: parts.keyring,
            audit: parts.audit,
            clock: parts.clock,
            metrics: parts.metrics,
            places: Arc::new(Semaphore::new(parts.in_flight)),
            unproved: parts.unproved,
        }
    }

    /// Decides about a request, records the decision, and signs what is allowed: the text of a secure request.
    ///
    /// # Errors
    ///
    /// When it is denied, or cannot be recorded.
    pub(crate) async fn sign(&self, submission: Submission) -> Result<Bytes, Denied> {
        let Some(place) = self.place() else {
            return Err(self.refuse(&submission));
        };
        self.sign_at(place, submission).await
    }

    /// Leave to work on one more request; nothing when there is too much to do.
    pub(crate) fn place(&self) -> Option<Place> {
        let permit = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let in_flight = self.metrics.in_flight.clone();
        in_flight.inc();
        Some(Place {
            _permit: permit,
            in_flight,
        })
    }

    /// Counts a request for which there was no place.
    pub(crate) fn refuse(&self, submission: &Submission) -> Denied {
        let reason = Reason::Busy;
        self.metrics.answered(submission.via, Err(reason));
        Denied { reason }
    }

    /// As [`Self::sign`], with leave.
    pub(crate) async fn sign_at(
        &self,
        place: Place,
        submission: Submission,
    ) -> Result<Bytes, Denied> {
        let started = Instant::now();
        let answer = self.work(&submission).await;
        drop(place);
        self.metrics
            .seconds(submission.via)
            .observe(started.elapsed().as_secs_f64());
        self.metrics.answered(
            submission.via,
            answer.as_ref().map(|_signed| ()).map_err(|reason| *reason),
        );
        answer.map_err(|reason| Denied { reason })
    }

    async fn work(&self, submission: &Submission) -> Result<Bytes, Reason> {
        let now = UnixTime::from(self.clock.now());
        let keys = self.keyring.current();
        let delegator = keys
            .delegator
            .as_ref()
            .filter(|delegator| delegator.is_good_at(now));
        let decision = match delegator {
            Some(_) => self.decide(submission, now).await?,
            None => Decision::fault("the delegator's token has expired"),
        };
        if !decision.is_proved() && !self.unproved.admits(submission) {
            // The counter is the record of it.
            return Err(Reason::Rate);
        }
        self.metrics.decided(&decision);
        let data = decision.data(submission, &self.bench.judge.rules().site, now.secs);
        tell(&decision, &data, submission.via);
        let entry = Entry {
            kind: Kind::Signature,
            data,
        };
        // From here on the caller learns what the record says, or that there is none.
        let recorded = self.audit.record(entry).await;
        if let Err(error) = &recorded {
            tracing::error!(
                error = err_chain(error),
                reason = decision.reason(),
                "the record of a decision was not made durable; nothing is signed"
            );
        }
        let approved = decision.verdict?;
        recorded.map_err(|_told| Reason::Audit)?;
        let delegator = delegator.ok_or(Reason::Fault)?;
        Ok(delegator.sign(approved.request))
    }

    /// The decision, at once where it can be had so.
    async fn decide(&self, submission: &Submission, now: UnixTime) -> Result<Decision, Reason> {
        if let Some(decision) = self.bench.decide(submission, now, Some(AT_ONCE)) {
            return Ok(decision);
        }
        let (bench, submission) = (Arc::clone(&self.bench), submission.clone());
        let decided = self.slow.run(move || bench.decide(&submission, now, None));
        match decided.await {
            Ok(Some(decision)) => Ok(decision),
            // Not recorded, like whatever there is no place for.
            Err(NoResult::Crowded) => Err(Reason::Busy),
            Ok(None) | Err(NoResult::Lost) => Ok(Decision::fault("a fault of this service")),
        }
    }
}

impl Bench {
    /// The decision, whatever happens on the way to it; nothing when its policy takes longer than `time`.
    fn decide(
        &self,
        submission: &Submission,
        now: UnixTime,
        time: Option<Duration>,
    ) -> Option<Decision> {
        let is_revoked = |claims: &ClientClaims| {
            let ids = [
                Some(claims.standard.jti.as_str()),
                claims.standard.chain_issuer_id(),
            ];
            ids.into_iter()
                .flatten()
                .any(|id| self.revocations.is_revoked(id))
        };
        let decided = catch_unwind(AssertUnwindSafe(|| match time {
            Some(time) => self
                .judge
                .decide_quickly(submission, &is_revoked, now, time),
            None => Some(self.judge.decide(submission, &is_revoked, now)),
        }));
        decided.unwrap_or_else(|_panic| {
            tracing::error!("a request made this service panic; it is denied");
            Some(Decision::fault("a fault of this service"))
        })
    }
}

impl Delegator {
    /// Whether nodes take what is signed at `now`.
    pub fn is_good_at(&self, now: UnixTime) -> bool {
        self.expires_at.is_none_or(|expires| now.is_before(expires))
    }

    /// Signs; caller and signer are this delegator until the client puts its own token in as the caller.
    pub fn sign(&self, request: Vec<u8>) -> Bytes {
        let secure = SecureRequest {
            signature: self.key.sign(&request).to_vec(),
            request,
            caller: self.token.to_string(),
            signer: Some(self.token.to_string()),
        };
        secure.encode().into()
    }
}

fn tell(decision: &Decision, data: &Data, via: Via) {
    let agent = decision.target.as_ref().map(|target| target.agent.as_str());
    let action = decision
        .target
        .as_ref()
        .map(|target| target.action.as_str());
    let (via, callerid, peer) = (via.label(), data.callerid.as_str(), data.peer.as_str());
    let why = data.decision.as_ref().map(|told| told.message.as_str());
    match &decision.verdict {
        Ok(approved) => tracing::debug!(
            request = approved.id,
            caller = callerid,
            agent,
            action,
            via,
            "request allowed"
        ),
        Err(reason) => tracing::info!(
            reason = reason.label(),
            why,
            caller = callerid,
            proved = decision.is_proved(),
            agent,
            action,
            via,
            peer,
            "request denied"
        ),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn from(via: Via, peer: &str) -> Submission {
        Submission {
            token: "x".to_owned(),
            request: Bytes::from_static(b"{}"),
            signature: None,
            via,
            peer: peer.to_owned(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn of_strangers_so_many_are_recorded_and_no_more() {
        let unproved = Unproved::new(2, 3);
        let http = from(Via::Http, "192.0.2.1");
        let taken = [0; 5].map(|_| unproved.admits(&http));
        assert_eq!(taken, [true, true, true, false, false]);
        assert!(unproved.admits(&from(Via::Http, "192.0.2.2")));
        tokio::time::advance(Duration::from_millis(501)).await;
        assert!(unproved.admits(&http));
        assert!(!unproved.admits(&http));
    }

    #[tokio::test(start_paused = true)]
    async fn names_that_senders_choose_are_one_source() {
        let unproved = Unproved::new(1, 2);
        let taken = ["a", "b", "c"].map(|sender| unproved.admits(&from(Via::Rpc, sender)));
        assert_eq!(taken, [true, true, false]);
        // HTTP has its own, and so do addresses of one network together.
        let taken = ["2001:db8::1", "2001:db8::2", "2001:db8::3"]
            .map(|peer| unproved.admits(&from(Via::Http, peer)));
        assert_eq!(taken, [true, true, false]);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_all_are_recorded() {
        let unproved = Unproved::new(0, 0);
        assert!((0..1000).all(|_| unproved.admits(&from(Via::Http, "192.0.2.1"))));
    }
}
