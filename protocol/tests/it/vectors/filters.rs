//! Filters: verdicts on a node, and command line texts.

use overlay_protocol::filter::{
    CompoundEntry, FactFilter, Filter, FilterBuilder, NodeView, Operator, from_cli, lookup,
    parse_fact,
};
use overlay_testkit::vectors::{Loader, Outcome, for_cases};
use serde_json::Value;

use super::same;

/// `rpc/filter-match.json`: one node, and filters with the original's verdict.
pub(super) fn matching(file: &Value, _: &Loader) -> Outcome {
    let Some(node) = Node::new(file.pointer("/common/node").unwrap_or(&Value::Null)) else {
        let mut outcome = Outcome::default();
        outcome.record("common", Err("no node with JSON facts".to_owned()));
        return outcome;
    };
    for_cases(file, |case| {
        let expected = case
            .pointer("/expect/match")
            .and_then(Value::as_bool)
            .ok_or("no verdict")?;
        let original = verdict_of_original(&case["filter"], &node)?;
        same("verdict of the original", &original, &expected)?;
        if original != node.matches(&case["filter"]) && !corrects(&case["filter"], &node) {
            return Err("our verdict differs without a rule".to_owned());
        }
        Ok(())
    })
}

/// `rpc/filter-parse.json`: command line texts, and the filter or error that they make.
pub(super) fn parsing(file: &Value, _: &Loader) -> Outcome {
    for_cases(file, |case| {
        let texts: Vec<String> =
            serde_json::from_value(case["in"].clone()).map_err(|error| error.to_string())?;
        let expected = &case["expect"];
        let operation = case["op"].as_str().ok_or("no op")?;
        let ours = if operation == "fact" {
            parse_fact(texts.first().ok_or("no text")?).map(|fact| serde_json::to_value(fact).ok())
        } else {
            build(operation, &texts)?.map(|filter| serde_json::to_value(filter).ok())
        };
        match (ours, expected.get("error")) {
            (Err(_), Some(_)) => Ok(()),
            (Ok(ours), None) => {
                let expected = expected.get("filter").unwrap_or(expected);
                same("filter", &ours.as_ref(), &Some(expected))
            }
            (Ok(ours), Some(error)) => Err(format!("ours {ours:?}, theirs the error {error}")),
            (Err(error), None) => Err(format!("ours the error {error}")),
        }
    })
}

/// Makes the filter of one command line option given several times, by the builder and by the whole command line.
fn build(
    operation: &str,
    texts: &[String],
) -> Result<Result<Filter, overlay_protocol::filter::FilterError>, String> {
    let start = || Ok(FilterBuilder::new());
    let built = texts.iter().fold(start(), |builder, text| {
        let builder: FilterBuilder = builder?;
        Ok(match operation {
            "facts" => return builder.fact(text),
            "class" => builder.class(text),
            "agent" => builder.agent(text),
            "identity" => builder.identity(text),
            "combined" => builder.combined(text),
            _ => builder.compound(text),
        })
    });
    let none: &[String] = &[];
    let whole = match operation {
        "facts" => from_cli(texts, none, none, none, none, None),
        "class" => from_cli(none, texts, none, none, none, None),
        "agent" => from_cli(none, none, texts, none, none, None),
        "identity" => from_cli(none, none, none, texts, none, None),
        "combined" => from_cli(none, none, none, none, texts, None),
        "compound" => return Ok(built.map(FilterBuilder::build)),
        other => return Err(format!("unknown op {other}")),
    };
    let built = built.map(FilterBuilder::build);
    // The command line also refuses what could never match, such as a regular expression that is none.
    if whole.is_ok() {
        same("command line and builder", &whole, &built)?;
    }
    Ok(built)
}

/// The node of a file, owned.
struct Node {
    identity: String,
    agents: Vec<String>,
    classes: Vec<String>,
    facts: Value,
}

impl Node {
    fn new(node: &Value) -> Option<Self> {
        Some(Self {
            identity: node["identity"].as_str()?.to_owned(),
            agents: serde_json::from_value(node["agents"].clone()).ok()?,
            classes: serde_json::from_value(node["classes"].clone()).ok()?,
            facts: serde_json::from_str(node["facts_file_json"].as_str()?).ok()?,
        })
    }

    fn view(&self) -> NodeView<'_> {
        NodeView {
            identity: &self.identity,
            agents: &self.agents,
            classes: &self.classes,
            facts: &self.facts,
        }
    }

    /// Our verdict; a filter that cannot be received matches nothing.
    fn matches(&self, filter: &Value) -> bool {
        let Ok(filter) = serde_json::from_value::<Filter>(filter.clone()) else {
            return false;
        };
        let verdict = filter.explain(&self.view());
        assert_eq!(verdict, filter.compile().explain(&self.view()));
        verdict.is_match()
    }
}

/// What the original says, from our verdict with its three faults put back.
fn verdict_of_original(json: &Value, node: &Node) -> Result<bool, String> {
    let Ok(mut filter) = serde_json::from_value::<Filter>(json.clone()) else {
        return Ok(false);
    };
    for entry in &mut filter.fact {
        entry.operator = operator_of_original(entry, node);
    }
    let compound = std::mem::take(&mut filter.compound);
    let others = filter.matches(&node.view());
    Ok(others && (compound.is_empty() || counts_of_original(&compound, node)?))
}

/// Fault: `>` with a decimal value means `>=`. Fault: `!=` on a false fact means `==`.
fn operator_of_original(entry: &FactFilter, node: &Node) -> Operator {
    let fact = lookup(&node.facts, &entry.fact);
    match (entry.operator, fact) {
        (Operator::Greater, Some(Value::Number(_))) if entry.value.contains('.') => {
            Operator::GreaterOrEqual
        }
        (Operator::NotEqual, Some(Value::Bool(false))) => Operator::Equal,
        (operator, _) => operator,
    }
}

/// Fault: each true expression adds one and each false one takes one away.
fn counts_of_original(compound: &[Vec<CompoundEntry>], node: &Node) -> Result<bool, String> {
    let mut sum = 0;
    for entry in compound {
        let alone = Filter {
            compound: vec![entry.clone()],
            ..Filter::default()
        };
        match alone.explain(&node.view()) {
            overlay_protocol::filter::Verdict::Match => sum += 1,
            overlay_protocol::filter::Verdict::NoMatch(mismatch) => match mismatch.fault {
                Some(_) => return Ok(false),
                None => sum -= 1,
            },
        }
    }
    Ok(sum > 0)
}

/// Tells whether one of the three rules applies to the filter.
fn corrects(json: &Value, node: &Node) -> bool {
    serde_json::from_value::<Filter>(json.clone()).is_ok_and(|filter| {
        let facts = filter
            .fact
            .iter()
            .any(|entry| operator_of_original(entry, node) != entry.operator);
        facts || filter.compound.len() > 1
    })
}
