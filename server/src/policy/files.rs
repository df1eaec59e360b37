//! Choria's action policies: a file for each agent, read line by line, the first line that fits decides.
//!
//! A line is `policy default deny`, or five fields with tabs between them: `allow` or `deny`, callers, actions, facts,
//! classes; the last four may be `*`, and hold several words each. What stands in a line that cannot be read is never
//! taken for a yes.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use overlay_protocol::filter::{Filter, NodeView, parse_fact};
use serde_json::Value;

/// Longest file that is read.
const MAX_BYTES: u64 = 256 * 1024;

/// Where the policies are, and what holds for an agent without one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFiles {
    /// Directory of `<agent>.policy` and `groups`.
    pub directory: PathBuf,
    /// Whether an agent without policy may be called, and what is not named in one.
    pub allow_unconfigured: bool,
    /// Name of the policy of agents that have none of their own, without `.policy`.
    pub default: Option<String>,
}

/// A call to be judged.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Who calls.
    pub caller: &'a str,
    /// The agent.
    pub agent: &'a str,
    /// The action.
    pub action: &'a str,
    /// The node, for its facts and classes.
    pub node: NodeView<'a>,
}

/// Groups of callers by name.
type Groups<'t> = Vec<(&'t str, Vec<&'t str>)>;

impl PolicyFiles {
    /// Judges a call.
    ///
    /// # Errors
    ///
    /// Why it is denied.
    pub fn judge(&self, asked: &Asked<'_>) -> Result<(), String> {
        let Some((name, policy)) = self.policy_of(asked.agent)? else {
            return if self.allow_unconfigured {
                Ok(())
            } else {
                Err(format!("there is no policy for agent {}", asked.agent))
            };
        };
        let groups = read(&self.directory.join("groups"))?.unwrap_or_default();
        decide(
            &policy,
            &read_groups(&groups),
            self.allow_unconfigured,
            asked,
        )
        .map_err(|reason| format!("{name}: {reason}"))
    }

    /// The agent's own policy, or that of agents without one.
    fn policy_of(&self, agent: &str) -> Result<Option<(String, String)>, String> {
        for name in [Some(agent), self.default.as_deref()].into_iter().flatten() {
            if name.starts_with('.') || name.contains('/') {
                return Err(format!("{name} is no name of a policy"));
            }
            let file = format!("{name}.policy");
            if let Some(text) = read(&self.directory.join(&file))? {
                return Ok(Some((file, text)));
            }
        }
        Ok(None)
    }
}

/// Reads a file if it is there.
fn read(path: &Path) -> Result<Option<String>, String> {
    let shown = path.display();
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("cannot read {shown}: {error}")),
    };
    let mut text = String::new();
    let taken = file
        .take(MAX_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|error| format!("cannot read {shown}: {error}"))?;
    if u64::try_from(taken).is_ok_and(|taken| taken > MAX_BYTES) {
        return Err(format!("{shown} is longer than {MAX_BYTES} bytes"));
    }
    Ok(Some(text))
}

/// `name member member …`, one group a line.
fn read_groups(text: &str) -> Groups<'_> {
    text.lines()
        .filter(|line| !is_remark(line))
        .filter_map(|line| {
            let mut words = line.split(' ');
            let name = words.next().filter(|name| {
                !name.is_empty()
                    && name
                        .chars()
                        .all(|letter| letter.is_ascii_alphanumeric() || "_.-".contains(letter))
            })?;
            Some((name, words.filter(|word| !word.is_empty()).collect()))
        })
        .collect()
}

fn is_remark(line: &str) -> bool {
    line.starts_with('#') || line.trim().is_empty()
}

/// What a line says of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fit {
    Yes,
    No,
    /// It cannot be told, for a fault of the line.
    Unreadable(String),
}

/// Goes through a policy; the reason of a no names the line.
fn decide(
    policy: &str,
    groups: &Groups<'_>,
    allow_unconfigured: bool,
    asked: &Asked<'_>,
) -> Result<(), String> {
    let mut default = (allow_unconfigured, None);
    for (number, line) in policy.lines().enumerate().map(|(at, line)| (at + 1, line)) {
        if is_remark(line) {
            continue;
        }
        if let Some(word) = default_of(line) {
            default = (word == "allow", Some(number));
            continue;
        }
        let Some((is_allow, fields)) = fields(line) else {
            tracing::warn!(line = number, "a line of the policy cannot be read");
            continue;
        };
        match (is_allow, fit(&fields, groups, asked)) {
            (_, Fit::No) => {}
            (true, Fit::Yes) => return Ok(()),
            (false, Fit::Yes) => return Err(format!("line {number} denies")),
            (_, Fit::Unreadable(fault)) => return Err(format!("line {number}: {fault}")),
        }
    }
    match default {
        (true, _) => Ok(()),
        (false, Some(number)) => Err(format!("no line fits, and line {number} denies the rest")),
        (false, None) => Err("no line fits".to_owned()),
    }
}

/// `policy default allow`.
fn default_of(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    (line.starts_with("policy")
        && words.next() == Some("policy")
        && words.next() == Some("default"))
    .then(|| words.next())
    .flatten()
}

/// The verdict of a line, and callers, actions, facts and classes; the last is empty where it is missing.
fn fields(line: &str) -> Option<(bool, [&str; 4])> {
    let mut parts = line.split('\t').filter(|part| !part.is_empty());
    let is_allow = match parts.next()? {
        "allow" => true,
        "deny" => false,
        _ => return None,
    };
    let (callers, actions, facts) = (parts.next()?, parts.next()?, parts.next()?);
    Some((
        is_allow,
        [callers, actions, facts, parts.next_back().unwrap_or("")],
    ))
}

fn fit(fields: &[&str; 4], groups: &Groups<'_>, asked: &Asked<'_>) -> Fit {
    let [callers, actions, facts, classes] = fields;
    if [facts, classes].iter().any(|field| is_compound(field)) {
        return match caller(callers, groups, asked.caller) {
            Fit::No => Fit::No,
            Fit::Yes | Fit::Unreadable(_) if !names(actions, asked.action) => Fit::No,
            Fit::Yes | Fit::Unreadable(_) => {
                Fit::Unreadable("compound statements are not supported".to_owned())
            }
        };
    }
    match caller(callers, groups, asked.caller) {
        Fit::Yes => {}
        otherwise @ (Fit::No | Fit::Unreadable(_)) => return otherwise,
    }
    if !names(actions, asked.action) {
        return Fit::No;
    }
    let filter = match node_filter(facts, classes) {
        Ok(filter) => filter,
        Err(fault) => return Fit::Unreadable(fault),
    };
    match filter.check() {
        Err(error) => Fit::Unreadable(error.to_string()),
        Ok(()) if filter.matches(&asked.node) => Fit::Yes,
        Ok(()) => Fit::No,
    }
}

fn names(list: &str, action: &str) -> bool {
    list == "*" || list.split(' ').any(|named| named == action)
}

/// Names, groups of names, and `/patterns/`.
fn caller(list: &str, groups: &Groups<'_>, caller: &str) -> Fit {
    if list == "*" {
        return Fit::Yes;
    }
    for named in list.split(' ') {
        let of_group = groups
            .iter()
            .filter(|(name, _)| *name == named)
            .any(|(_, members)| members.contains(&caller));
        if of_group || named == caller {
            return Fit::Yes;
        }
        if named.starts_with('/') {
            let filter = Filter {
                identity: vec![named.to_owned()],
                ..Filter::default()
            };
            let nobody = NodeView {
                identity: caller,
                agents: &[],
                classes: &[],
                facts: &Value::Null,
            };
            if !named.ends_with('/') || named.len() < 3 || filter.check().is_err() {
                return Fit::Unreadable(format!("{named} is no pattern of callers"));
            }
            if filter.matches(&nobody) {
                return Fit::Yes;
            }
        }
    }
    Fit::No
}

/// Facts and classes as a filter of nodes; `*` asks for nothing.
fn node_filter(facts: &str, classes: &str) -> Result<Filter, String> {
    let mut filter = Filter::default();
    if facts != "*" {
        for fact in facts.split(' ') {
            let fact = parse_fact(fact).map_err(|error| format!("{fact} is no fact: {error}"))?;
            filter.fact.push(fact);
        }
    }
    if classes.is_empty() {
        return Err("the classes are missing".to_owned());
    }
    if classes != "*" {
        for class in classes.split(' ') {
            if class.contains(['<', '>', '=']) {
                return Err(format!("{class} is no class"));
            }
            filter.cf_class.push(class.to_owned());
        }
    }
    Ok(filter)
}

fn is_compound(field: &str) -> bool {
    field.split(' ').any(|word| {
        word.starts_with('!')
            || matches!(word, "not" | "and" | "or")
            || word
                .find('(')
                .is_some_and(|open| word.get(open..).is_some_and(|rest| rest.contains(')')))
    })
}

#[cfg(test)]
mod tests;
