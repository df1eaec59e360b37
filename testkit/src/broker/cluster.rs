//! Three brokers that know each other.

use std::time::Duration;

use serde_json::Value;

use crate::eventually::poll_blocking;

use super::Broker;
use super::config::{Builder, ClusterMember};
use crate::port::free_port;

/// Route ports must be known before the first start, so they may be lost in between.
const ATTEMPTS: usize = 3;
const ROUTES_LIMIT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);

/// A cluster of three brokers.
#[derive(Debug)]
pub struct Cluster {
    /// The brokers; each can be stopped and started again.
    pub brokers: Vec<Broker>,
}

impl Cluster {
    pub(super) fn launch(settings: &Builder) -> Result<Self, String> {
        let mut last = String::new();
        for _ in 0..ATTEMPTS {
            match Self::launch_once(settings) {
                Ok(cluster) => return Ok(cluster),
                Err(reason) => last = reason,
            }
        }
        Err(last)
    }

    fn launch_once(settings: &Builder) -> Result<Self, String> {
        let routes = [free_port(), free_port(), free_port()];
        let mut brokers = Vec::new();
        for (index, own) in routes.iter().enumerate() {
            let mut member = settings.clone();
            member.name = format!("{}-{}", settings.name, index + 1);
            member.cluster = Some(ClusterMember {
                own: *own,
                others: routes.iter().copied().filter(|port| port != own).collect(),
            });
            brokers.push(member.try_start()?);
        }
        let cluster = Self { brokers };
        cluster.wait_for_routes()?;
        Ok(cluster)
    }

    /// The URLs for clients, comma separated.
    pub fn urls(&self) -> String {
        let urls: Vec<String> = self.brokers.iter().map(Broker::url).collect();
        urls.join(",")
    }

    /// The broker of this name, such as `testkit-2`: streams name their leader so.
    ///
    /// # Panics
    ///
    /// When there is none.
    #[track_caller]
    pub fn named(&mut self, name: &str) -> &mut Broker {
        match self.brokers.iter_mut().find(|it| it.settings.name == name) {
            Some(broker) => broker,
            None => panic!("no broker of the cluster is named {name:?}"),
        }
    }

    /// Waits until the brokers have a JetStream leader that all the others follow: then a stream of three replicas
    /// finds its places.
    ///
    /// # Panics
    ///
    /// When they have none in time.
    #[track_caller]
    pub fn wait_for_jetstream(&self) {
        let waited = poll_blocking(ROUTES_LIMIT, POLL, || {
            let pages: Vec<Value> = self.brokers.iter().map(meta_group).collect();
            let leaders: Vec<&str> = pages
                .iter()
                .filter_map(|it| it["leader"].as_str())
                .collect();
            let first = leaders.first().copied().unwrap_or_default();
            let agreed = !first.is_empty()
                && leaders.len() == self.brokers.len()
                && leaders.iter().all(|leader| *leader == first);
            let followed = pages.iter().any(|page| {
                let replicas = page["replicas"].as_array();
                replicas.is_some_and(|all| {
                    all.len() + 1 == self.brokers.len()
                        && all
                            .iter()
                            .all(|it| it["current"] == true && it["offline"] != true)
                })
            });
            agreed && followed
        });
        assert!(
            waited.is_ok(),
            "no JetStream leader within {ROUTES_LIMIT:?}"
        );
    }

    fn wait_for_routes(&self) -> Result<(), String> {
        poll_blocking(ROUTES_LIMIT, POLL, || {
            for broker in &self.brokers {
                let body = crate::http::get_ok(broker.monitoring_port(), "/routez")
                    .map_err(|error| error.to_string())?;
                let others = self
                    .brokers
                    .iter()
                    .filter(|other| body.contains(&format!("\"{}\"", other.settings.name)))
                    .count();
                if others < self.brokers.len() {
                    return Err(format!("{} knows {others} servers", broker.settings.name));
                }
            }
            Ok(())
        })
        .map_err(|status| format!("no cluster within {ROUTES_LIMIT:?}: {status}"))
    }
}

/// What a broker knows of the group that places streams; null when it says nothing.
fn meta_group(broker: &Broker) -> Value {
    let page = crate::http::get_ok(broker.monitoring_port(), "/jsz");
    let page: Value = page
        .ok()
        .and_then(|body| serde_json::from_str(&body).ok())
        .unwrap_or_default();
    page["meta_cluster"].clone()
}
