//! Nodes by name: from filters, from files, from the results of an earlier request.

use std::path::Path;
use std::str::FromStr;

use overlay_protocol::filter::{Filter, NodeView};
use overlay_protocol::id::Identity;
use serde::Deserialize;
use serde_json::Value;

/// Files and standard input may hold so many bytes.
pub const MAX_BYTES: u64 = 512 * 1024 * 1024;

/// What a list of nodes is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One name per line; `#` begins a comment.
    Text,
    /// A list of names, or the results of a request.
    Json,
    /// A list of names, `- name` per line.
    Yaml,
    /// The results of a request (`--json`).
    Results,
}

/// Why there are no nodes.
#[derive(Debug, thiserror::Error)]
pub enum NodesError {
    /// A name is none.
    #[error("`{name}` is not the name of a node")]
    Name {
        /// The text.
        name: String,
        /// Why not.
        source: overlay_protocol::id::NameError,
    },
    /// The text is not what its format says.
    #[error("the list of nodes is not readable")]
    Json(#[from] serde_json::Error),
    /// The text is JSON of another shape.
    #[error("the list of nodes is neither a list of names nor the results of a request")]
    Shape,
    /// The text is YAML beyond a list of names.
    #[error("line {line}: only a list of names (`- name`) is read from YAML")]
    Yaml {
        /// The line's number.
        line: usize,
    },
    /// The filter asks for what a list of names cannot tell.
    #[error("only identity filters can be applied to a list of names")]
    OnlyNames,
    /// The filter is wrong.
    #[error("the filter cannot be applied")]
    Filter(#[from] overlay_protocol::filter::FilterError),
    /// The file has no such group.
    #[error("unknown group `{0}`")]
    Group(String),
}

impl Format {
    /// What a file of this name is taken for.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("json") => Self::Json,
            Some("yaml" | "yml") => Self::Yaml,
            _ => Self::Text,
        }
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            "yaml" | "yml" => Ok(Self::Yaml),
            "choriarpc" | "results" | "rpc" | "response" => Ok(Self::Results),
            _ => Err(format!("`{text}` is not one of text, json, yaml, results")),
        }
    }
}

/// The nodes that a filter names outright: nobody needs to be asked. None if it says more than names.
#[must_use]
pub fn named_by(filter: &Filter) -> Option<Vec<Identity>> {
    let others = filter.fact.is_empty() && filter.cf_class.is_empty() && filter.compound.is_empty();
    if !others || filter.identity.is_empty() || filter.identity.iter().any(|n| n.contains('/')) {
        return None;
    }
    let names: Result<Vec<Identity>, _> = filter.identity.iter().map(|name| name.parse()).collect();
    names.ok().map(tidied)
}

/// Reads a list of nodes; each is returned once, in order of name.
///
/// # Errors
///
/// The text is not of that format, or a name is none.
pub fn parse(text: &str, format: Format) -> Result<Vec<Identity>, NodesError> {
    let names = match format {
        Format::Text => text
            .lines()
            .map(|line| line.split('#').next().unwrap_or_default().trim())
            .map(str::to_owned)
            .collect(),
        Format::Yaml => yaml(text)?,
        Format::Json | Format::Results => json(text, format)?,
    };
    let filled = names.into_iter().filter(|name: &String| !name.is_empty());
    let nodes: Result<Vec<Identity>, NodesError> = filled.map(identity).collect();
    Ok(tidied(nodes?))
}

fn json(text: &str, format: Format) -> Result<Vec<String>, NodesError> {
    #[derive(Deserialize)]
    struct Results {
        replies: Vec<Sender>,
    }
    #[derive(Deserialize)]
    struct Sender {
        sender: String,
    }
    let value: Value = serde_json::from_str(text)?;
    if value.is_object() {
        let results: Results = serde_json::from_value(value).map_err(|_| NodesError::Shape)?;
        return Ok(results
            .replies
            .into_iter()
            .map(|reply| reply.sender)
            .collect());
    }
    if format == Format::Results {
        return Err(NodesError::Shape);
    }
    serde_json::from_value(value).map_err(|_| NodesError::Shape)
}

fn yaml(text: &str) -> Result<Vec<String>, NodesError> {
    let mut names = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') || line == "---" {
            continue;
        }
        let item = line
            .strip_prefix("- ")
            .ok_or(NodesError::Yaml { line: index + 1 })?;
        names.push(item.trim().trim_matches(['"', '\'']).to_owned());
    }
    Ok(names)
}

fn identity(name: String) -> Result<Identity, NodesError> {
    name.parse()
        .map_err(|source| NodesError::Name { name, source })
}

fn tidied(mut nodes: Vec<Identity>) -> Vec<Identity> {
    nodes.sort_unstable();
    nodes.dedup();
    nodes
}

/// Keeps the nodes that the filter's identities match; other filters than these and agents are refused.
///
/// # Errors
///
/// The filter asks for more than names.
pub fn filter_names(nodes: Vec<Identity>, filter: &Filter) -> Result<Vec<Identity>, NodesError> {
    if !filter.fact.is_empty() || !filter.cf_class.is_empty() || !filter.compound.is_empty() {
        return Err(NodesError::OnlyNames);
    }
    let names = Filter {
        identity: filter.identity.clone(),
        ..Filter::default()
    };
    if names.identity.is_empty() {
        return Ok(nodes);
    }
    let compiled = names.compile();
    let nothing = Value::Object(serde_json::Map::new());
    let keep = |node: &Identity| {
        let view = NodeView {
            identity: node.as_str(),
            agents: &[],
            classes: &[],
            facts: &nothing,
        };
        compiled.matches(&view)
    };
    Ok(nodes.into_iter().filter(keep).collect())
}

/// A file that describes nodes with their facts, so that filters need no traffic.
#[derive(Debug, Deserialize)]
pub struct Inventory {
    #[serde(default)]
    groups: Vec<Group>,
    nodes: Vec<Described>,
}

#[derive(Debug, Deserialize)]
struct Group {
    name: String,
    #[serde(default)]
    filter: GroupFilter,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct GroupFilter {
    agents: Vec<String>,
    classes: Vec<String>,
    facts: Vec<String>,
    identities: Vec<String>,
    compound: String,
}

#[derive(Debug, Deserialize)]
struct Described {
    name: String,
    #[serde(default)]
    collectives: Vec<String>,
    #[serde(default)]
    facts: Value,
    #[serde(default)]
    classes: Vec<String>,
    #[serde(default)]
    agents: Vec<String>,
}

impl Inventory {
    /// Reads Choria's inventory format, as JSON.
    ///
    /// # Errors
    ///
    /// It is not of that shape.
    pub fn parse(text: &str) -> Result<Self, NodesError> {
        Ok(serde_json::from_str(text)?)
    }

    /// The nodes of a collective that match; identity `group:NAME` stands for a group of the file.
    ///
    /// # Errors
    ///
    /// The filter is wrong, or a group unknown.
    pub fn select(&self, collective: &str, filter: &Filter) -> Result<Vec<Identity>, NodesError> {
        let group = |name: &String| name.strip_prefix("group:").map(str::to_owned);
        let groups: Vec<String> = filter.identity.iter().filter_map(group).collect();
        if groups.is_empty() {
            return self.matching(Some(collective), filter);
        }
        let mut nodes = Vec::new();
        for name in groups {
            let found = self.groups.iter().find(|group| group.name == name);
            let filter = found.ok_or(NodesError::Group(name))?.filter.checked()?;
            nodes.extend(self.matching(None, &filter)?);
        }
        Ok(tidied(nodes))
    }

    fn matching(
        &self,
        collective: Option<&str>,
        filter: &Filter,
    ) -> Result<Vec<Identity>, NodesError> {
        let compiled = filter.compile();
        let is_in = |node: &&Described| {
            collective.is_none_or(|wanted| node.collectives.iter().any(|name| name == wanted))
        };
        let matches = |node: &&Described| {
            compiled.matches(&NodeView {
                identity: &node.name,
                agents: &node.agents,
                classes: &node.classes,
                facts: &node.facts,
            })
        };
        let found = self.nodes.iter().filter(is_in).filter(matches);
        let nodes: Result<Vec<Identity>, _> =
            found.map(|node| identity(node.name.clone())).collect();
        Ok(tidied(nodes?))
    }
}

impl GroupFilter {
    fn checked(&self) -> Result<Filter, NodesError> {
        let compound = (!self.compound.is_empty()).then_some(self.compound.as_str());
        Ok(overlay_protocol::filter::from_cli(
            &self.facts,
            &self.classes,
            &self.agents,
            &self.identities,
            &[],
            compound,
        )?)
    }
}

#[cfg(test)]
mod tests;
