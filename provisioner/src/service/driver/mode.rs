//! Whether this instance works: paused by operators, led by another, or on its way out.

use overlay_protocol::provisioning::control;
use overlay_runtime::nats::election::Leadership;
use tokio::time::Instant;

use super::super::node::Due;
use super::{Driver, Sources};
use crate::enrol::Input;
use crate::metrics::Place;

impl Driver {
    /// Looks at what has no event of its own.
    pub(super) async fn tick(&mut self, sources: &Sources) {
        self.refresh_mode(sources).await;
        let now = Instant::now();
        if self.parts.mirror.take_leaving(self.streams.lease) {
            // Who left had nodes that nobody knows of now, and others of which it is known only that they were its.
            self.queue.hurry();
            self.next_scan = now;
        }
        if self.is_active && now >= self.next_scan {
            self.scan().await;
        }
        if now >= self.next_beat {
            self.beat().await;
        }
        if self.is_active && now >= self.next_stale {
            self.look_for_stale().await;
        }
        self.tidy_timers();
        self.count_places();
    }

    /// Answers come long before the times by which they are due, and thousands of those would be kept.
    fn tidy_timers(&mut self) {
        let (asks, nodes) = (&self.asks, &self.nodes);
        self.timers.tidy(|at, due| match due {
            Due::Ask(id) | Due::Write(id) => asks.contains_key(id),
            Due::Node(id) => nodes.get(id).is_some_and(|node| node.timer == Some(at)),
        });
    }

    /// Works, or lets be, as operators and the election say.
    pub(super) async fn refresh_mode(&mut self, sources: &Sources) {
        if self.parts.status.mode == control::InstanceMode::Draining {
            return;
        }
        let paused = sources.pause.borrow().is_some();
        let leads = self
            .parts
            .leadership
            .as_ref()
            .is_none_or(Leadership::is_leader);
        let mode = match (paused, leads) {
            (true, _) => control::InstanceMode::Paused,
            (false, false) => control::InstanceMode::Standby,
            (false, true) => control::InstanceMode::Active,
        };
        self.parts
            .metrics
            .mode(mode == control::InstanceMode::Active, paused);
        if mode != self.parts.status.mode
            || (mode == control::InstanceMode::Active) != self.is_active
        {
            self.set_active(mode == control::InstanceMode::Active, mode)
                .await;
        }
    }

    pub(super) async fn set_active(&mut self, active: bool, mode: control::InstanceMode) {
        let before = std::mem::replace(&mut self.parts.status.mode, mode);
        if self.parts.leadership.is_some() {
            match (before, mode) {
                (control::InstanceMode::Standby, control::InstanceMode::Active) => {
                    tracing::warn!("Became leader after winning election");
                }
                (control::InstanceMode::Active, control::InstanceMode::Standby) => {
                    tracing::warn!("Lost leadership");
                }
                (_, _) => {}
            }
        }
        tracing::info!(mode = mode.as_str(), nodes = self.nodes.len(), "mode");
        self.is_active = active;
        self.parts.active.send_replace(active);
        self.next_beat = Instant::now();
        if active {
            self.next_scan = Instant::now();
        } else {
            // What waits is found again by the scan that comes with the next turn of this instance.
            self.queue.clear();
            let nodes: Vec<_> = self.nodes.keys().copied().collect();
            for id in nodes {
                self.inputs.push_back((id, Input::Paused));
            }
            self.settle().await;
        }
    }

    fn count_places(&self) {
        let (queue, places, metrics) = (&self.queue, &self.places, &self.parts.metrics);
        let gauge = |place, count: usize| {
            metrics
                .nodes(place)
                .set(i64::try_from(count).unwrap_or(i64::MAX));
        };
        let waiting = queue.len().saturating_sub(queue.delayed());
        gauge(Place::Waiting, waiting);
        gauge(Place::Later, queue.delayed());
        gauge(Place::Contacting, places.contacting());
        gauge(Place::Working, places.working());
        gauge(Place::Restarting, places.settling());
        metrics.places(waiting, queue.len() + self.nodes.len(), places.working());
    }
}
