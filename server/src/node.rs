//! The node as its agents and filters see it.

use std::collections::BTreeMap;
use std::sync::Arc;

use overlay_protocol::filter::{self, NodeView};
use overlay_protocol::id::{Collective, Identity};
use serde_json::Value;

use crate::agents::Agents;
use crate::config::{Config, Role};
use crate::facts::{Classes, Facts};
use crate::link::Link;
use crate::stats::Stats;

/// All that an agent may know. Nothing in it can change the node.
#[derive(Debug)]
pub struct Node {
    /// The node's name.
    pub identity: Identity,
    /// The collectives it belongs to.
    pub collectives: Vec<Collective>,
    /// The one its own messages use.
    pub main_collective: Collective,
    /// Its agents.
    pub agents: Agents,
    /// Its facts.
    pub facts: Facts,
    /// Its classes.
    pub classes: Classes,
    /// What it counted.
    pub stats: Arc<Stats>,
    /// Whether it is a member of a cell, or waits to be enrolled.
    pub standing: Standing,
    /// Its broker connection.
    pub link: Arc<Link>,
    /// Settings by the names they have in Choria's configuration file; no secrets.
    pub config_items: BTreeMap<String, Value>,
    /// The configuration file, for people.
    pub config_file: String,
    /// The search path for programs, as the process got it.
    pub path: String,
    /// Unix seconds of the process's start.
    pub started: i64,
}

/// What the node is to a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// A member.
    Member,
    /// One that waits to be enrolled.
    Unprovisioned {
        /// Whether its provisioner may replace this program.
        upgradable: bool,
    },
}

/// Facts and classes of one moment, for one filter.
#[derive(Debug)]
pub struct View<'a> {
    identity: &'a str,
    agents: Vec<String>,
    classes: Arc<Vec<String>>,
    facts: Arc<Value>,
}

impl Node {
    /// The node of a configuration, started at `now` in Unix seconds.
    pub fn new(config: &Config, agents: Agents, link: Arc<Link>, now: i64) -> Self {
        Self {
            identity: config.identity.clone(),
            collectives: config.collectives.clone(),
            main_collective: config.main_collective.clone(),
            agents,
            facts: Facts::of_files(config.facts_files.clone(), config.refresh),
            classes: Classes::of_file(config.classes_file.clone(), config.refresh),
            stats: Arc::new(Stats::default()),
            standing: Standing::of(&config.role),
            link,
            config_items: config.config_items.clone(),
            config_file: config.config_file.clone(),
            path: config.path.clone(),
            started: now,
        }
    }

    /// Whether it waits to be enrolled.
    pub fn is_unprovisioned(&self) -> bool {
        self.standing != Standing::Member
    }

    /// Whether a request may replace this program.
    pub fn is_upgradable(&self) -> bool {
        self.standing == Standing::Unprovisioned { upgradable: true }
    }

    /// The names of its agents, sorted.
    pub fn agent_names(&self) -> Vec<String> {
        self.agents.names()
    }

    /// The names of its collectives, in the order of the configuration.
    pub fn collective_names(&self) -> Vec<&str> {
        self.collectives.iter().map(Collective::as_str).collect()
    }

    /// A fact by the path that filters use; null when there is none.
    pub fn fact(&self, path: &str) -> Value {
        filter::lookup(&self.facts.current(), path).unwrap_or(Value::Null)
    }

    /// The identity's domain.
    pub fn domain(&self) -> &str {
        self.identity
            .as_str()
            .split_once('.')
            .map_or("", |(_, domain)| domain)
    }

    /// What runs this process, in one line.
    pub fn threads(&self) -> String {
        format!("Rust with tokio on {} cores", cpus())
    }

    /// The node as it is now, to hold a filter against.
    pub fn view(&self) -> View<'_> {
        View {
            identity: self.identity.as_str(),
            agents: self.agent_names(),
            classes: self.classes.current(),
            facts: self.facts.current(),
        }
    }
}

impl Standing {
    fn of(role: &Role) -> Self {
        match role {
            Role::Member(_) => Self::Member,
            Role::Unprovisioned(ticket) => Self::Unprovisioned {
                upgradable: ticket.claims().update,
            },
        }
    }
}

impl<'a> View<'a> {
    /// A node of these parts.
    pub fn new(identity: &'a str, agents: Vec<String>, classes: Vec<String>, facts: Value) -> Self {
        Self {
            identity,
            agents,
            classes: Arc::new(classes),
            facts: Arc::new(facts),
        }
    }

    /// In the form filters take.
    pub fn as_filter_view(&self) -> NodeView<'_> {
        NodeView {
            identity: self.identity,
            agents: &self.agents,
            classes: &self.classes,
            facts: &self.facts,
        }
    }
}

/// Processors this process may use.
pub fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
