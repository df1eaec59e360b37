//! What is counted about logins, under the original's names and ours.

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    CounterVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
};

use super::Reason;
use crate::authenticate::userlist::Look;
use crate::via::Via;

/// Why a question over the broker was no attempt, so that nothing is recorded of it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Unread {
    /// The answer was to go where answers to strangers may not go: there is none.
    ReplySubject,
    /// Too many are worked on.
    Busy,
    /// It is longer than any.
    TooLong,
    /// It is no such JSON.
    Malformed,
}

impl Unread {
    const ALL: [Self; 4] = [
        Self::ReplySubject,
        Self::Busy,
        Self::TooLong,
        Self::Malformed,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::ReplySubject => "reply_subject",
            Self::Busy => "busy",
            Self::TooLong => "too_long",
            Self::Malformed => "malformed",
        }
    }
}

/// Counters of logins; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    outcomes: IntCounterVec,
    seconds: Histogram,
    unread: IntCounterVec,
    users: IntGauge,
    users_file_broken: IntGauge,
    users_file_reads: IntCounterVec,
    issuer_expires: IntGauge,
    issuer_broken: IntCounter,
    original_errors: CounterVec,
    original_seconds: CounterVec,
    original_count: CounterVec,
    site: String,
}

impl Metrics {
    /// Registers them.
    pub(crate) fn register(registry: &Registry, site: &str) -> Result<Self, prometheus::Error> {
        let outcomes = vector(
            registry,
            "overlay_aaa_logins_total",
            "Logins and steps of logins, by how they came and what became of them",
            &["via", "outcome"],
        )?;
        for via in [Via::Http, Via::Broker] {
            outcomes.with_label_values(&[via.label(), "token"]);
            for reason in Reason::ALL {
                outcomes.with_label_values(&[via.label(), reason.code()]);
            }
        }
        let seconds = Histogram::with_opts(
            HistogramOpts::new(
                "overlay_aaa_login_seconds",
                "Time from a login's arrival to its answer",
            )
            .buckets(vec![
                0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
            ]),
        )?;
        let unread = vector(
            registry,
            "overlay_aaa_login_broker_dropped_total",
            "Questions over the broker that were dropped, or refused unread and without a record, by why",
            &["reason"],
        )?;
        for why in Unread::ALL {
            unread.with_label_values(&[why.label()]);
        }
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let users = gauge("overlay_aaa_userlist_users", "Users in the users file")?;
        let users_file_broken = gauge(
            "overlay_aaa_userlist_broken",
            "1 while the users file cannot be used and the users read before stay",
        )?;
        let users_file_reads = vector(
            registry,
            "overlay_aaa_userlist_reads_total",
            "Readings of the users file after a change, by outcome",
            &["outcome"],
        )?;
        for outcome in ["new", "mended", "broken"] {
            users_file_reads.with_label_values(&[outcome]);
        }
        let issuer_expires = gauge(
            "overlay_aaa_login_issuer_expires_seconds",
            "Unix time at which the chain issuer expires, and with it all that it issued",
        )?;
        let issuer_broken = IntCounter::new(
            "overlay_aaa_login_issuer_errors_total",
            "Times that the issuer's files were found to be bad, and the one before stayed",
        )?;
        registry.register(Box::new(issuer_broken.clone()))?;
        registry.register(Box::new(seconds.clone()))?;
        let labels = ["site", "authenticator"];
        Ok(Self {
            outcomes,
            seconds,
            unread,
            users,
            users_file_broken,
            users_file_reads,
            issuer_expires,
            issuer_broken,
            original_errors: original(
                registry,
                "choria_aaa_authenticator_errors",
                "Logins that were refused",
                &labels,
            )?,
            original_seconds: original(
                registry,
                "choria_aaa_authenticator_time_sum",
                "Seconds that logins took, together",
                &labels,
            )?,
            original_count: original(
                registry,
                "choria_aaa_authenticator_time_count",
                "Logins that were answered",
                &labels,
            )?,
            site: site.to_owned(),
        })
    }

    /// A login, or a step of one, was answered.
    pub(super) fn answered(
        &self,
        via: Via,
        authenticator: &str,
        refused: Option<Reason>,
        took: Duration,
    ) {
        let outcome = refused.map_or("token", Reason::code);
        self.outcomes
            .with_label_values(&[via.label(), outcome])
            .inc();
        self.seconds.observe(took.as_secs_f64());
        let labels = [self.site.as_str(), authenticator];
        if refused.is_some() {
            self.original_errors.with_label_values(&labels).inc();
        }
        self.original_seconds
            .with_label_values(&labels)
            .inc_by(took.as_secs_f64());
        self.original_count.with_label_values(&labels).inc();
    }

    /// A question over the broker was no attempt.
    pub(super) fn unread(&self, why: Unread) {
        self.unread.with_label_values(&[why.label()]).inc();
    }

    /// When the chain issuer expires.
    pub(super) fn issuer_expires(&self, at: Option<i64>) {
        self.issuer_expires.set(at.unwrap_or_default());
    }

    /// The issuer's files are bad.
    pub(super) fn issuer_broken(&self) {
        self.issuer_broken.inc();
    }

    /// How many users there are.
    pub(crate) fn users(&self, count: usize) {
        self.users.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// The users file changed.
    pub(crate) fn users_file(&self, look: &Look) {
        let outcome = match look {
            Look::Same => return,
            Look::New(_) => "new",
            Look::Mended => "mended",
            Look::Broken(_) => "broken",
        };
        self.users_file_reads.with_label_values(&[outcome]).inc();
        let broken = matches!(look, Look::Broken(_));
        self.users_file_broken.set(i64::from(broken));
    }
}

fn vector(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntCounterVec, prometheus::Error> {
    let vector = IntCounterVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(vector.clone()))?;
    Ok(vector)
}

/// A counter that has the original's name, and exists from its first event on, as there.
fn original(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> Result<CounterVec, prometheus::Error> {
    let vector = CounterVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(vector.clone()) as Box<dyn Collector>)?;
    Ok(vector)
}
