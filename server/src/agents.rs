//! The agents every node has, and the table that finds one by name.

pub mod choria_provision;
pub mod choria_util;
pub mod data;
pub mod discovery;
pub mod rpcutil;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::agent::{Agent, Metadata};

/// The agents of a node by name, in name order.
#[derive(Debug, Clone, Default)]
pub struct Agents {
    by_name: BTreeMap<String, Arc<dyn Agent>>,
}

impl Agents {
    /// `choria_util`, `discovery` and `rpcutil`.
    pub fn builtin() -> Self {
        let mut agents = Self::default();
        agents.add(Arc::new(choria_util::ChoriaUtil::new()));
        agents.add(Arc::new(discovery::Discovery::new()));
        agents.add(Arc::new(rpcutil::RpcUtil::new()));
        agents
    }

    /// Adds one; an agent of the same name is replaced.
    pub fn add(&mut self, agent: Arc<dyn Agent>) {
        let name = agent.metadata().name.clone();
        drop(self.by_name.insert(name, agent));
    }

    /// The agent of that name.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Agent>> {
        self.by_name.get(name)
    }

    /// All names, sorted.
    pub fn names(&self) -> Vec<String> {
        self.by_name.keys().cloned().collect()
    }

    /// All metadata, sorted by name.
    pub fn metadata(&self) -> Vec<Metadata> {
        self.by_name
            .values()
            .map(|agent| agent.metadata().clone())
            .collect()
    }
}

/// Metadata of an agent whose description is among the built-in DDLs.
fn builtin_metadata(name: &str, timeout: u64) -> Metadata {
    let ddl = overlay_protocol::rpc::ddl::builtin(name);
    let text = |pick: fn(&overlay_protocol::rpc::ddl::Metadata) -> &str| {
        ddl.map(|ddl| pick(&ddl.metadata).to_owned())
            .unwrap_or_default()
    };
    Metadata {
        name: name.to_owned(),
        description: text(|metadata| &metadata.description),
        author: text(|metadata| &metadata.author),
        license: text(|metadata| &metadata.license),
        version: crate::VERSION.to_owned(),
        url: text(|metadata| &metadata.url),
        timeout,
        provider: None,
        service: false,
    }
}
