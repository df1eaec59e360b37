//! Updates of nodes: recorded messages, and log lines of what went wrong.

use std::collections::BTreeMap;

use overlay_protocol::rpc::{RpcReply, StatusCode};
use overlay_provisioner::{Action, Call, CallFault, HelperFault, Question, Upgrades};
use overlay_testkit::vectors::{self, Loader, Outcome};
use overlay_tokens::UnixTime;
use serde_json::{Value, json};

use super::flow::{exchanges, replay};
use super::machine::{self, Keys, Node};
use super::tokens::Plain;

/// A version that no recorded node has.
const OTHER: &str = "9.9.9";
const REPOSITORY: &str = "http://127.0.0.1/repo";

pub(super) fn upgrades(file: &Value, loader: &Loader) -> Outcome {
    let keys = Keys::load(loader);
    vectors::for_cases(file, |case| {
        let keys = keys.as_ref().map_err(Clone::clone)?;
        if case.get("messages").is_some() {
            recorded(case, keys)
        } else {
            logged(case, keys)
        }
    })
}

/// The helper's answer is not recorded; the requests tell what it must have been.
fn recorded(case: &Value, keys: &Keys) -> Result<(), String> {
    let (_, exchanges) = exchanges(case)?;
    let input = |action: &str, name: &str| {
        let exchange = exchanges
            .iter()
            .find(|exchange| exchange.action == action)?;
        exchange.data.get(name)?.as_str().map(str::to_owned)
    };
    let mut policy = keys.policy();
    policy.features.upgrades = Some(Upgrades {
        repository: input("release_update", "repository").unwrap_or_else(|| REPOSITORY.to_owned()),
        optional: false,
    });
    let configuration: Value = match input("configure", "config") {
        Some(config) => serde_json::from_str(&config).map_err(|error| error.to_string())?,
        None => json!({"loglevel": "info"}),
    };
    let version = input("release_update", "version").unwrap_or_else(|| OTHER.to_owned());
    let stdout = json!({"upgrade": version, "configuration": configuration}).to_string();
    let run = replay(case, keys, &policy, &mut |_| stdout.clone())?;
    let failed = log_of(case)
        .iter()
        .any(|(_, line)| line.starts_with("Could not provision"));
    if failed && run.outcome().starts_with("failed") || !failed && run.is_enrolled() {
        Ok(())
    } else {
        Err(format!("ended as {}", run.outcome()))
    }
}

/// Only log lines: what happened to each node that they name.
fn logged(case: &Value, keys: &Keys) -> Result<(), String> {
    let mut policy = keys.policy();
    let config = case["config"].as_str().unwrap_or_default();
    policy.features.upgrades = Some(Upgrades {
        repository: if config == "norepo" {
            String::new()
        } else {
            REPOSITORY.to_owned()
        },
        optional: config == "opt",
    });
    let mut nodes: BTreeMap<String, (bool, Option<String>)> = BTreeMap::new();
    let lines = log_of(case);
    for (_, line) in &lines {
        if let Some(name) = line.strip_prefix("Provisioned ") {
            nodes.entry(name.to_owned()).or_default().0 = true;
        } else if let Some(rest) = line.strip_prefix("Could not provision ") {
            let name = rest.split(':').next().unwrap_or_default();
            nodes.entry(name.to_owned()).or_default();
        } else if let Some((_, rest)) =
            line.split_once("#release_update failed: invalid response from ")
            && let Some((name, text)) = rest.split_once(": ")
        {
            nodes.entry(name.to_owned()).or_default().1 = Some(text.to_owned());
        }
    }
    if nodes.is_empty() {
        return Err("no node is named".to_owned());
    }
    for (name, (provisioned, refusal)) in nodes {
        // A node whose update was refused, or that could not be updated at all, was to have another version.
        let wanted = if refusal.is_some() || !provisioned {
            OTHER
        } else {
            "0.30.2"
        };
        let now = UnixTime::from_secs(1_795_212_026);
        let stdout = json!({"upgrade": wanted, "configuration": {"loglevel": "info"}}).to_string();
        let mut node = Refusing {
            node: Plain::new(keys, now, stdout)?,
            refusal,
        };
        let run = machine::run(keys, &policy, &name, None, &mut node, now, 1)?;
        if run.is_enrolled() != provisioned {
            return Err(format!("{name} ended as {}", run.outcome()));
        }
        if node.refusal.is_some() && run.times(Action::ReleaseUpdate) != 3 {
            return Err(format!("{name} was not told three times"));
        }
    }
    Ok(())
}

/// A node that cannot update itself.
struct Refusing {
    node: Plain,
    refusal: Option<String>,
}

impl Node for Refusing {
    fn answer(&mut self, call: &Call) -> Result<RpcReply, CallFault> {
        match (&self.refusal, call.action) {
            (Some(text), Action::ReleaseUpdate) => Ok(RpcReply::failed(
                call.action.name(),
                StatusCode::Aborted,
                text.as_str(),
            )),
            _ => self.node.answer(call),
        }
    }

    fn helper(&mut self, question: &Question) -> Result<String, HelperFault> {
        self.node.helper(question)
    }

    fn joins(&self) -> bool {
        true
    }
}

fn log_of(case: &Value) -> Vec<(&str, &str)> {
    let lines = case["log"].as_array().into_iter().flatten();
    lines
        .filter_map(|line| Some((line["level"].as_str()?, line["msg"].as_str()?)))
        .collect()
}
