//! Flags that choose nodes.

use std::path::PathBuf;

use clap::Args;
use overlay_protocol::filter::{self, Filter, FilterError};
use overlay_protocol::id::Collective;

/// Which nodes are meant.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Filters")]
pub(crate) struct FilterArgs {
    /// Nodes with this fact, such as os.family=redhat or cpus>=4; all given ones must hold
    #[arg(id = "wf", short = 'F', long = "wf", value_name = "FACT")]
    pub(crate) fact: Vec<String>,
    /// Nodes of this configuration management class, or /regex/; all given ones must hold
    #[arg(id = "wc", short = 'C', long = "wc", value_name = "CLASS")]
    pub(crate) class: Vec<String>,
    /// Nodes with this agent, or /regex/; all given ones must hold
    #[arg(id = "wa", short = 'A', long = "wa", value_name = "AGENT")]
    pub(crate) agent: Vec<String>,
    /// The node of this name, or those of /regex/; any given one must hold
    #[arg(id = "wi", short = 'I', long = "wi", value_name = "IDENTITY")]
    pub(crate) identity: Vec<String>,
    /// Classes and facts in one text, separated by spaces
    #[arg(id = "with", short = 'W', long = "with", value_name = "FILTER")]
    pub(crate) with: Vec<String>,
    /// Nodes for which this expression is true, such as "with('apache') && fact('cpus') > 4"
    #[arg(id = "select", short = 'S', long = "select", value_name = "EXPR")]
    pub(crate) select: Option<String>,
    /// Ask this collective instead of the configured one
    #[arg(id = "target", short = 'T', long = "target", value_name = "COLLECTIVE")]
    pub(crate) target: Option<Collective>,
}

/// How nodes are found.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Discovery")]
pub(crate) struct DiscoveryArgs {
    /// Take the nodes from this file: text, .json (names, or results of a request), .yaml
    #[arg(long, value_name = "FILE")]
    pub(crate) nodes: Option<PathBuf>,
    /// How to find nodes: mc (broadcast), flatfile (file), inventory
    #[arg(long, value_name = "METHOD")]
    pub(crate) dm: Option<String>,
    /// Options of the method: file=FILE, format=text|json|yaml|results
    #[arg(long = "do", value_name = "K=V")]
    pub(crate) options: Vec<String>,
    /// Wait exactly this long for nodes to answer
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) discovery_timeout: Option<std::time::Duration>,
    /// End the waiting when it gets quiet, even with --discovery-timeout
    #[arg(long)]
    pub(crate) discovery_window: bool,
}

impl FilterArgs {
    /// The filter for messages to `agent`; nodes without it do not answer.
    pub(crate) fn filter(&self, agent: Option<&str>) -> Result<Filter, FilterError> {
        let mut agents = self.agent.clone();
        if let Some(agent) = agent.filter(|agent| !agents.iter().any(|given| given == agent)) {
            agents.push(agent.to_owned());
        }
        let select = self.select.as_deref();
        filter::from_cli(
            &self.fact,
            &self.class,
            &agents,
            &self.identity,
            &self.with,
            select,
        )
    }
}

/// Reads a number of seconds, perhaps with a fraction.
pub(crate) fn seconds(text: &str) -> Result<std::time::Duration, String> {
    let wrong = || "expected a number of seconds".to_owned();
    let text = text.strip_suffix('s').unwrap_or(text);
    let value: f64 = text.parse().map_err(|_| wrong())?;
    std::time::Duration::try_from_secs_f64(value).map_err(|_| wrong())
}
