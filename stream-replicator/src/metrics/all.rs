//! One of everything: for those who ask which names there are.

use std::time::Duration;

use overlay_runtime::nats::election;
use prometheus::Registry;

use super::{Metrics, Operation};

/// All metrics, with a sample of each.
pub(crate) fn registry() -> Result<Registry, prometheus::Error> {
    let registry = Registry::new();
    let metrics = Metrics::register(&registry, "SITE", true)?;
    let worker = metrics.worker("S", "W");
    worker.received(10);
    worker.copied(10);
    worker.skipped(7);
    worker.too_old();
    worker.handler_error();
    worker.meta_failed();
    worker.ack_failed();
    worker.consumer_recreated();
    worker.processed(Duration::from_millis(2));
    worker.sequence(12);
    worker.lag(3, 1.5);
    worker.rewound();
    worker.conflict();
    worker.dead("too_large");
    worker.missed(4);
    worker.looped();
    worker.recreated();
    worker.fenced();
    worker.tracker_items(5);
    worker.by_gossip();
    worker.no_field();
    worker.forced();
    worker.advisory("new");
    worker.advisory_failed("new");
    worker.running(true);
    worker.active(true);
    worker.paused(false);
    worker.restarted();
    metrics.follow_election("SR_W_S", "me", election::Figures::default());
    metrics.heartbeats().subjects(1);
    metrics
        .heartbeats()
        .published("hb", Duration::from_millis(1));
    metrics.heartbeats().failed("hb", Duration::from_millis(1));
    metrics.heartbeats().paused("host", true);
    metrics.operation("pause", Operation::Done);
    Ok(registry)
}
