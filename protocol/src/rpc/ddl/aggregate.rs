//! Summaries over all replies.

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value, json};

use super::format::{Arg, printf};
use super::{Action, Aggregate, chart};

/// Most different values that one summary counts; further ones are counted together under [`OTHERS`].
const MAX_VALUES: usize = 100_000;
const OTHERS: &str = "(others)";
/// Most numbers that one chart keeps.
const MAX_POINTS: usize = 100_000;

/// Sums up replies, one by one.
#[derive(Debug, Clone)]
pub struct Aggregates<'a> {
    action: &'a Action,
    sums: Vec<Sum>,
}

/// The summary of one output.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Name of the output.
    pub output: String,
    /// Heading that people see.
    pub display_as: String,
    /// The summary as JSON.
    pub json: Value,
    /// The summary for people; empty when no reply had a value.
    pub lines: Vec<String>,
}

#[derive(Debug, Clone)]
struct Sum {
    output: String,
    format: Option<String>,
    replace: BTreeMap<String, String>,
    state: State,
}

#[derive(Debug, Clone)]
enum State {
    Counts(BTreeMap<String, u64>),
    Average { sum: f64, count: u32 },
    Chart(Vec<f64>),
}

impl<'a> Aggregates<'a> {
    /// Prepares the summaries that an action declares; those with an unknown function or output are left out.
    #[must_use]
    pub fn new(action: &'a Action) -> Self {
        Self {
            action,
            sums: action.aggregate.iter().filter_map(Sum::new).collect(),
        }
    }

    /// Adds the data of one reply.
    pub fn add(&mut self, data: &Map<String, Value>) {
        for sum in &mut self.sums {
            if let Some(value) = data.get(&sum.output) {
                sum.add(value);
            }
        }
    }

    /// Returns all summaries, sorted by output.
    #[must_use]
    pub fn summaries(&self) -> Vec<Summary> {
        let mut summaries: Vec<Summary> = self
            .sums
            .iter()
            .map(|sum| Summary {
                output: sum.output.clone(),
                display_as: self
                    .action
                    .output
                    .get(&sum.output)
                    .map_or_else(|| sum.output.clone(), |output| output.display_as.clone()),
                json: sum.json(),
                lines: sum.lines(),
            })
            .collect();
        summaries.sort_by(|a, b| a.output.cmp(&b.output));
        summaries
    }

    /// Returns all summaries as one object: summary by output.
    #[must_use]
    pub fn to_json(&self) -> Value {
        Value::Object(
            self.summaries()
                .into_iter()
                .map(|summary| (summary.output, summary.json))
                .collect(),
        )
    }
}

impl Sum {
    fn new(aggregate: &Aggregate) -> Option<Self> {
        let state = match aggregate.function.as_str() {
            "summary" | "boolean_summary" => State::Counts(BTreeMap::new()),
            "average" => State::Average { sum: 0.0, count: 0 },
            "chart" => State::Chart(Vec::new()),
            _ => return None,
        };
        let output = aggregate.args.first()?.as_str()?.to_owned();
        let options = aggregate.args.get(1).and_then(Value::as_object);
        let format = options
            .and_then(|options| options.get("format"))
            .and_then(Value::as_str)
            .map(str::to_owned);
        let replace = options
            .into_iter()
            .flatten()
            .filter(|(key, _)| *key != "format")
            .map(|(key, value)| (key.clone(), text_of(value)))
            .collect();
        Some(Self {
            output,
            format,
            replace,
            state,
        })
    }

    fn add(&mut self, value: &Value) {
        match &mut self.state {
            State::Counts(counts) => {
                let key = text_of(value);
                let key = self.replace.get(&key).cloned().unwrap_or(key);
                let full = counts.len() >= MAX_VALUES && !counts.contains_key(&key);
                *counts
                    .entry(if full { OTHERS.to_owned() } else { key })
                    .or_default() += 1;
            }
            State::Average { sum, count } => {
                if let Some(number) = number_of(value) {
                    *sum += number;
                    *count = count.saturating_add(1);
                }
            }
            State::Chart(points) => {
                if points.len() < MAX_POINTS {
                    points.extend(number_of(value));
                }
            }
        }
    }

    fn json(&self) -> Value {
        match &self.state {
            State::Counts(counts) => json!(counts),
            State::Average { count: 0, .. } => json!({}),
            State::Average { sum, count } => {
                json!({ "average": Number::from_f64(sum / f64::from(*count)) })
            }
            State::Chart(points) => json!({ "chart": chart::draw(points) }),
        }
    }

    fn lines(&self) -> Vec<String> {
        match &self.state {
            State::Counts(counts) => {
                let width = counts
                    .keys()
                    .map(|key| key.chars().count())
                    .max()
                    .unwrap_or_default();
                let mut sorted: Vec<(&String, &u64)> = counts.iter().collect();
                sorted.sort_by(|(a, many), (b, more)| more.cmp(many).then(a.cmp(b)));
                sorted
                    .into_iter()
                    .map(|(key, count)| match &self.format {
                        Some(format) => printf(format, &[Arg::Text(key), Arg::Count(*count)]),
                        None => format!("{key:>width$}: {count}"),
                    })
                    .collect()
            }
            State::Average { count: 0, .. } => Vec::new(),
            State::Average { sum, count } => {
                let average = sum / f64::from(*count);
                vec![printf(
                    self.format.as_deref().unwrap_or("Average: %.3f"),
                    &[Arg::Number(average)],
                )]
            }
            State::Chart(points) if points.is_empty() => Vec::new(),
            State::Chart(points) => {
                let chart = chart::draw(points);
                vec![printf(
                    self.format.as_deref().unwrap_or("%s"),
                    &[Arg::Text(&chart)],
                )]
            }
        }
    }
}

/// Texts count as they are, everything else by its JSON.
fn text_of(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn number_of(value: &Value) -> Option<f64> {
    value
        .as_f64()
        .or_else(|| value.as_str()?.parse().ok())
        .filter(|number| number.is_finite())
}
