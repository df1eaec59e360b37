//! What the provisioner counts: under our names, and under the original's for dashboards that exist.

mod original;

use std::time::Duration;

use prometheus::core::AtomicU64;
use prometheus::core::{Collector, GenericCounter, GenericGauge};
use prometheus::{
    GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry,
};

use crate::enrol::{Action, CallFault, Found, Outcome};
use crate::helper::AskError;
use crate::reason::Reason;
use crate::store::Store;

use original::Original;

type Counter = GenericCounter<AtomicU64>;
type Gauge = GenericGauge<prometheus::core::AtomicI64>;

/// Where a node is that is known to this instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It waits for its turn.
    Waiting,
    /// It is asked for the first time, or answered and waits for a place.
    Contacting,
    /// It has to wait for its time.
    Later,
    /// It is worked on.
    Working,
    /// It was restarted and is awaited in the fleet.
    Restarting,
}

impl Place {
    const ALL: [Self; 5] = [
        Self::Waiting,
        Self::Contacting,
        Self::Later,
        Self::Working,
        Self::Restarting,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Contacting => "contacting",
            Self::Later => "later",
            Self::Working => "working",
            Self::Restarting => "restarting",
        }
    }
}

/// What became of an attempt to claim a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClaimOutcome {
    /// It is ours.
    Taken,
    /// Another instance has it, or had it a moment ago.
    Held,
    /// It was of an instance that is no more.
    Inherited,
    /// The broker could not be asked.
    Failed,
}

impl ClaimOutcome {
    const ALL: [Self; 4] = [Self::Taken, Self::Held, Self::Inherited, Self::Failed];

    fn label(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Held => "held",
            Self::Inherited => "inherited",
            Self::Failed => "failed",
        }
    }
}

/// What was passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// A node that does not fit among those that wait.
    Full,
    /// A message that is the answer to nothing.
    Unasked,
    /// An event that is none.
    Event,
    /// A name that is none.
    Name,
    /// A request of an operator that is not to be answered.
    Request,
    /// A record of a refusal or failure, above the rate at which they are kept.
    Note,
}

impl Dropped {
    const ALL: [Self; 6] = [
        Self::Full,
        Self::Unasked,
        Self::Event,
        Self::Name,
        Self::Request,
        Self::Note,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Unasked => "unasked",
            Self::Event => "event",
            Self::Name => "name",
            Self::Request => "request",
            Self::Note => "note",
        }
    }
}

/// All metrics; clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    found: IntCounterVec,
    outcomes: IntCounterVec,
    reasons: IntCounterVec,
    call_seconds: HistogramVec,
    call_faults: IntCounterVec,
    helper_seconds: Histogram,
    helper_faults: IntCounterVec,
    enrolment_seconds: Histogram,
    nodes: IntGaugeVec,
    claims: IntCounterVec,
    store_errors: IntCounterVec,
    store_fill: GaugeVec,
    dropped: IntCounterVec,
    operations: IntCounterVec,
    pub(crate) scans: IntCounter,
    pub(crate) scan_answers: IntCounter,
    pub(crate) active: IntGauge,
    pub(crate) paused: IntGauge,
    pub(crate) names_unknown: IntCounter,
    pub(crate) issuer_expires: IntGauge,
    original: Option<Original>,
}

fn seconds(name: &str, help: &str, buckets: &[f64]) -> HistogramOpts {
    HistogramOpts::new(format!("overlay_provisioner_{name}"), help).buckets(buckets.to_vec())
}

const FAST: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 20.0,
];
const SLOW: [f64; 12] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 300.0,
];

impl Metrics {
    /// Registers ours, and the original's with `site` if they are wanted.
    pub(crate) fn register(
        registry: &Registry,
        site: Option<&str>,
    ) -> Result<Self, prometheus::Error> {
        fn keep<C: Collector + Clone + 'static>(
            registry: &Registry,
            made: Result<C, prometheus::Error>,
        ) -> Result<C, prometheus::Error> {
            let collector = made?;
            registry.register(Box::new(collector.clone()))?;
            Ok(collector)
        }
        let opts = |name: &str, help: &str| Opts::new(format!("overlay_provisioner_{name}"), help);
        let counters = |name: &str, help: &str, labels: &[&str]| {
            keep(registry, IntCounterVec::new(opts(name, help), labels))
        };
        let counter =
            |name: &str, help: &str| keep(registry, IntCounter::with_opts(opts(name, help)));
        let gauge = |name: &str, help: &str| keep(registry, IntGauge::with_opts(opts(name, help)));
        let metrics = Self {
            found: counters("found_total", "Nodes found, by how", &["by"])?,
            outcomes: counters(
                "outcomes_total",
                "Attempts to enrol a node, by how they ended",
                &["outcome"],
            )?,
            reasons: counters(
                "not_enrolled_total",
                "Attempts that did not make a member, by why",
                &["reason"],
            )?,
            call_seconds: keep(
                registry,
                HistogramVec::new(
                    seconds("call_seconds", "Time until a node answered a call", &FAST),
                    &["action"],
                ),
            )?,
            call_faults: counters(
                "call_faults_total",
                "Calls of nodes without an answer that can be read, by why",
                &["action", "fault"],
            )?,
            helper_seconds: keep(
                registry,
                Histogram::with_opts(seconds(
                    "helper_seconds",
                    "Time until the helper answered, waiting for its turn included",
                    &SLOW,
                )),
            )?,
            helper_faults: counters(
                "helper_faults_total",
                "Questions to the helper without an answer that can be used, by why",
                &["fault"],
            )?,
            enrolment_seconds: keep(
                registry,
                Histogram::with_opts(seconds(
                    "enrolment_seconds",
                    "Time from the claim of a node until it was restarted",
                    &SLOW,
                )),
            )?,
            nodes: keep(
                registry,
                IntGaugeVec::new(
                    opts("nodes", "Nodes known to this instance, by where they are"),
                    &["place"],
                ),
            )?,
            claims: counters(
                "claims_total",
                "Attempts to claim a node, by what came of them",
                &["outcome"],
            )?,
            store_errors: counters(
                "store_errors_total",
                "Faults of streams and buckets, by which",
                &["store"],
            )?,
            store_fill: keep(
                registry,
                GaugeVec::new(
                    opts(
                        "store_fill_ratio",
                        "How full a stream or bucket is, from 0 to 1",
                    ),
                    &["store"],
                ),
            )?,
            dropped: counters("dropped_total", "What was passed over", &["what"])?,
            operations: counters(
                "operations_total",
                "Requests of operators, by action and how they ended",
                &["action", "outcome"],
            )?,
            scans: counter("scans_total", "Scans for nodes that wait")?,
            scan_answers: counter("scan_answers_total", "Answers to scans")?,
            active: gauge("active", "Whether this instance takes up nodes")?,
            paused: gauge("paused", "Whether an operator paused provisioning")?,
            names_unknown: counter(
                "names_unknown_total",
                "Names of which the broker could not say whether they are connected",
            )?,
            issuer_expires: gauge(
                "issuer_expires_timestamp_seconds",
                "When the chain issuer expires, and with it every token that it signs",
            )?,
            original: match site {
                Some(site) => Some(Original::register(registry, site)?),
                None => None,
            },
        };
        metrics.make_all();
        Ok(metrics)
    }

    /// A series that is there from the start can be alerted on.
    fn make_all(&self) {
        for found in [Found::Event, Found::Scan, Found::Retry] {
            self.found.with_label_values(&[found.as_str()]).inc_by(0);
        }
        for reason in Reason::ALL {
            self.reasons.with_label_values(&[reason.as_str()]).inc_by(0);
        }
        for label in AskError::LABELS {
            self.helper_faults.with_label_values(&[label]).inc_by(0);
        }
        for place in Place::ALL {
            self.nodes(place).set(0);
        }
        for outcome in ClaimOutcome::ALL {
            self.claim(outcome).inc_by(0);
        }
        for store in Store::ALL {
            self.store_error(store).inc_by(0);
        }
        for what in Dropped::ALL {
            self.dropped(what).inc_by(0);
        }
    }

    /// A node that was not known before.
    pub(crate) fn found(&self, found: Found) {
        self.found.with_label_values(&[found.as_str()]).inc();
        if let Some(original) = &self.original {
            match found {
                Found::Event => original.event_discovered.inc(),
                Found::Scan => original.discovered.inc(),
                Found::Retry => {}
            }
        }
    }

    /// The end of an attempt.
    pub(crate) fn finished(&self, outcome: &Outcome) {
        self.outcomes.with_label_values(&[outcome.as_str()]).inc();
        if let Some(why) = outcome.why() {
            self.reasons.with_label_values(&[why.reason.as_str()]).inc();
        }
        let Some(original) = &self.original else {
            return;
        };
        match outcome {
            Outcome::Enrolled { .. } | Outcome::Upgraded { .. } => original.provisioned.inc(),
            Outcome::ShutDown => {
                original.provisioned.inc();
                original.helper_shutdown_requests.inc();
            }
            Outcome::Deferred(_)
            | Outcome::Refused(_)
            | Outcome::Failed(_)
            | Outcome::Quarantined(_) => original.provision_errors.inc(),
            Outcome::Stopped(_) => {}
        }
    }

    /// A node's answer.
    pub(crate) fn answered(&self, action: Action, took: Duration) {
        self.call_seconds
            .with_label_values(&[action.name()])
            .observe(took.as_secs_f64());
        if let Some(original) = &self.original {
            original
                .rpc_time
                .times(&[&action.to_string()])
                .observe(took);
        }
    }

    /// A call without an answer that can be read.
    pub(crate) fn call_failed(&self, action: Action, fault: &CallFault, took: Duration) {
        let label = match fault {
            CallFault::NoResponders => "no_responders",
            CallFault::TimedOut => "time_out",
            CallFault::Unreadable(_) => "unreadable",
            CallFault::TooLarge => "too_large",
            CallFault::Overheard(_) => "overheard",
            CallFault::NotSent(_) => "not_sent",
        };
        self.call_faults
            .with_label_values(&[action.name(), label])
            .inc();
        if let Some(original) = &self.original {
            original
                .rpc_time
                .times(&[&action.to_string()])
                .observe(took);
            original.rpc_error(&action.to_string()).inc();
        }
    }

    /// The helper's answer, or the lack of one.
    pub(crate) fn helper(&self, took: Duration, fault: Option<&'static str>) {
        self.helper_seconds.observe(took.as_secs_f64());
        if let Some(label) = fault {
            self.helper_faults.with_label_values(&[label]).inc();
        }
        if let Some(original) = &self.original {
            original.helper_time.times(&[]).observe(took);
            if fault.is_some() {
                original.helper_errors.inc();
            }
        }
    }

    /// A node was restarted so long after its claim.
    pub(crate) fn restarted(&self, took: Duration) {
        self.enrolment_seconds.observe(took.as_secs_f64());
    }

    /// How many nodes are where.
    #[must_use]
    pub(crate) fn nodes(&self, place: Place) -> Gauge {
        self.nodes.with_label_values(&[place.label()])
    }

    /// Tells the original's gauges.
    pub(crate) fn places(&self, waiting: usize, known: usize, busy: usize) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        if let Some(original) = &self.original {
            original.work_queue_entries.set(number(waiting));
            original.waiting_nodes.set(number(known));
            original.busy_workers.set(number(busy));
        }
    }

    /// Whether this instance takes up nodes, and whether an operator said that none does.
    pub(crate) fn mode(&self, active: bool, paused: bool) {
        self.active.set(active.into());
        self.paused.set(paused.into());
        if let Some(original) = &self.original {
            original.paused.set((!active).into());
        }
    }

    /// A scan began.
    pub(crate) fn scanned(&self) {
        self.scans.inc();
        if let Some(original) = &self.original {
            original.discover_cycles.inc();
        }
    }

    /// A scan could not be made.
    pub(crate) fn scan_failed(&self) {
        if let Some(original) = &self.original {
            original.discovery_errors.inc();
        }
    }

    /// Attempts to claim nodes with one outcome.
    #[must_use]
    pub(crate) fn claim(&self, outcome: ClaimOutcome) -> Counter {
        self.claims.with_label_values(&[outcome.label()])
    }

    /// Faults of one stream.
    #[must_use]
    pub(crate) fn store_error(&self, store: Store) -> Counter {
        self.store_errors.with_label_values(&[store.label()])
    }

    /// How full one stream is.
    pub(crate) fn store_fill(&self, store: Store, ratio: f64) {
        self.store_fill
            .with_label_values(&[store.label()])
            .set(ratio);
    }

    /// What was passed over.
    #[must_use]
    pub(crate) fn dropped(&self, what: Dropped) -> Counter {
        self.dropped.with_label_values(&[what.label()])
    }

    /// A request of an operator; `action` is one of ours.
    #[must_use]
    pub(crate) fn operation(&self, action: &str, outcome: &str) -> Counter {
        self.operations.with_label_values(&[action, outcome])
    }
}
