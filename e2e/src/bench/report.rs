//! What a benchmark found: lines for a person, JSON for a script.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Map, Value};

use super::machine::Machine;

/// Prints one line.
#[expect(clippy::print_stdout, reason = "the benchmark's one output")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}

/// Figures by name, in the order in which they were added.
#[derive(Debug)]
pub(crate) struct Report {
    name: &'static str,
    figures: Vec<(String, f64, &'static str)>,
    rows: Vec<Value>,
    machine: Machine,
}

impl Report {
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            figures: Vec::new(),
            rows: Vec::new(),
            machine: Machine::watch(),
        }
    }

    /// Adds a figure with its unit.
    pub(crate) fn figure(&mut self, name: impl Into<String>, value: f64, unit: &'static str) {
        self.figures.push((name.into(), value, unit));
    }

    /// Adds the raw result of one run, and says how much the machine was disturbed since the last one.
    pub(crate) fn row(&mut self, mut row: Value) {
        let disturbance = self.machine.disturbance();
        say(&disturbance.line());
        if let Value::Object(members) = &mut row {
            members.insert("machine".to_owned(), disturbance.json());
        }
        self.rows.push(row);
    }

    /// Whether nothing was measured.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Prints the figures and writes `<out>/<name>.json`.
    ///
    /// # Errors
    ///
    /// When the file can't be written.
    pub(crate) fn finish(mut self, out: &Path) -> Result<()> {
        let mut figures = Map::new();
        for (name, value, unit) in &self.figures {
            say(&format!("{name:<44} {value:>12.3} {unit}"));
            figures.insert(
                name.clone(),
                serde_json::json!({ "value": value, "unit": unit }),
            );
        }
        if self.rows.is_empty() {
            self.row(Value::Object(Map::new()));
        }
        let document =
            serde_json::json!({ "benchmark": self.name, "figures": figures, "runs": self.rows });
        fs::create_dir_all(out).with_context(|| format!("make {}", out.display()))?;
        let path = out.join(format!("{}.json", self.name));
        let text = serde_json::to_string_pretty(&document).context("write the report as JSON")?;
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        say(&format!("written: {}", path.display()));
        Ok(())
    }
}

/// The value at a share of a sorted list, 0 of an empty one.
pub(crate) fn at(sorted: &[f64], per_mille: usize) -> f64 {
    let index = (sorted.len() * per_mille / 1000).min(sorted.len().saturating_sub(1));
    sorted.get(index).copied().unwrap_or_default()
}

/// The median of some values.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    at(values, 500)
}
