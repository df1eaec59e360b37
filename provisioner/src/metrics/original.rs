//! Names, types and labels of Choria's provisioner.

use overlay_runtime::metrics::Summary;
use prometheus::core::{AtomicU64, GenericCounter};
use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use crate::enrol::Action;

/// The original's metrics, with the label `site`.
#[derive(Clone, Debug)]
pub(super) struct Original {
    pub(super) rpc_time: Summary,
    rpc_errors: IntCounterVec,
    pub(super) helper_time: Summary,
    pub(super) helper_errors: IntCounter,
    pub(super) helper_shutdown_requests: IntCounter,
    pub(super) discovered: IntCounter,
    pub(super) event_discovered: IntCounter,
    pub(super) discover_cycles: IntCounter,
    pub(super) discovery_errors: IntCounter,
    pub(super) provision_errors: IntCounter,
    pub(super) provisioned: IntCounter,
    pub(super) busy_workers: IntGauge,
    pub(super) work_queue_entries: IntGauge,
    pub(super) waiting_nodes: IntGauge,
    pub(super) paused: IntGauge,
}

impl Original {
    pub(super) fn register(registry: &Registry, site: &str) -> Result<Self, prometheus::Error> {
        let opts = |name: &str, help: &str| {
            Opts::new(format!("choria_provisioner_{name}"), help).const_label("site", site)
        };
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::with_opts(opts(name, help))?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::with_opts(opts(name, help))?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let rpc_time = Summary::new(opts("rpc_time", "Time that calls of nodes took"), &["rpc"])?;
        registry.register(Box::new(rpc_time.clone()))?;
        let helper_time = Summary::new(opts("helper_time", "Time that the helper took"), &[])?;
        registry.register(Box::new(helper_time.clone()))?;
        let rpc_errors =
            IntCounterVec::new(opts("rpc_errors", "Calls of nodes that failed"), &["rpc"])?;
        registry.register(Box::new(rpc_errors.clone()))?;
        for action in Action::ALL {
            rpc_errors
                .with_label_values(&[&action.to_string()])
                .inc_by(0);
        }
        Ok(Self {
            rpc_time,
            rpc_errors,
            helper_time,
            helper_errors: counter("helper_errors", "Questions to the helper that failed")?,
            helper_shutdown_requests: counter(
                "helper_shutdown_requests",
                "Nodes that were shut down as the helper wanted",
            )?,
            discovered: counter("discovered", "Nodes found by a scan")?,
            event_discovered: counter("event_discovered", "Nodes found by their event")?,
            discover_cycles: counter("discover_cycles", "Scans")?,
            discovery_errors: counter("discovery_errors", "Scans that failed")?,
            provision_errors: counter(
                "provision_errors",
                "Attempts that failed, were refused or put off",
            )?,
            provisioned: counter("provisioned", "Nodes enrolled, shut down or upgraded")?,
            busy_workers: gauge("busy_workers", "Nodes that are worked on")?,
            work_queue_entries: gauge("work_queue_entries", "Nodes that wait for their turn")?,
            waiting_nodes: gauge("waiting_nodes", "Nodes that are known")?,
            paused: gauge("paused", "Whether no nodes are taken up")?,
        })
    }

    pub(super) fn rpc_error(&self, rpc: &str) -> GenericCounter<AtomicU64> {
        self.rpc_errors.with_label_values(&[rpc])
    }
}
