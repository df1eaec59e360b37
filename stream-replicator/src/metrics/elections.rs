//! How elections go, under the original's names: read when they are asked for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use overlay_runtime::nats::election::Figures;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, IntCounterVec, IntGaugeVec, Registry};

use super::original::opts;

const OF_ELECTION: [&str; 3] = ["election", "identity", "replicator"];
const WITH_STATE: [&str; 4] = ["election", "identity", "replicator", "state"];

/// Elections that this process takes part in; clones share them.
#[derive(Clone, Debug)]
pub(super) struct Elections {
    replicator: String,
    campaigns: IntCounterVec,
    leader: IntGaugeVec,
    interval: GaugeVec,
    /// By key and candidate.
    followed: Arc<Mutex<BTreeMap<(String, String), Followed>>>,
}

/// One candidate's figures, and what those of its earlier candidacies came to.
#[derive(Debug)]
struct Followed {
    figures: Figures,
    before: (u64, u64),
}

impl Elections {
    pub(super) fn register(
        registry: &Registry,
        replicator: &str,
    ) -> Result<Self, prometheus::Error> {
        let elections = Self {
            replicator: replicator.to_owned(),
            campaigns: IntCounterVec::new(
                opts(
                    "election_campaigns",
                    "Attempts to become or to stay leader, by what the replica was",
                ),
                &WITH_STATE,
            )?,
            leader: IntGaugeVec::new(
                opts("election_leader", "Whether this replica leads"),
                &OF_ELECTION,
            )?,
            interval: GaugeVec::new(
                opts(
                    "election_interval_seconds",
                    "Time until the next attempt to become or to stay leader",
                ),
                &OF_ELECTION,
            )?,
            followed: Arc::default(),
        };
        registry.register(Box::new(elections.clone()))?;
        Ok(elections)
    }

    /// Shows these figures from now on; those of an earlier candidacy go on from where they were.
    pub(super) fn follow(&self, key: &str, candidate: &str, figures: Figures) {
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        let name = (key.to_owned(), candidate.to_owned());
        let before = followed.get(&name).map_or((0, 0), Followed::attempts);
        followed.insert(name, Followed { figures, before });
    }

    fn refresh(&self) {
        let followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        for ((key, candidate), one) in followed.iter() {
            let labels = [key.as_str(), candidate, &self.replicator];
            let (as_candidate, as_leader) = one.attempts();
            for (state, attempts) in [("candidate", as_candidate), ("leader", as_leader)] {
                let labels = [key.as_str(), candidate, &self.replicator, state];
                let counter = self.campaigns.with_label_values(&labels);
                counter.inc_by(attempts.saturating_sub(counter.get()));
            }
            self.leader
                .with_label_values(&labels)
                .set(one.figures.leads().into());
            self.interval
                .with_label_values(&labels)
                .set(one.figures.interval().as_secs_f64());
        }
    }
}

impl Followed {
    fn attempts(&self) -> (u64, u64) {
        let (as_candidate, as_leader) = self.before;
        (
            as_candidate + self.figures.attempts_as_candidate(),
            as_leader + self.figures.attempts_as_leader(),
        )
    }
}

impl Collector for Elections {
    fn desc(&self) -> Vec<&Desc> {
        [
            self.campaigns.desc(),
            self.leader.desc(),
            self.interval.desc(),
        ]
        .concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.refresh();
        [
            self.campaigns.collect(),
            self.leader.collect(),
            self.interval.collect(),
        ]
        .concat()
    }
}
