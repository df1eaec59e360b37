//! Figures of the runs of one case: medians, and ours beside the original's and the machine's ceiling.

use serde_json::Value;

use super::super::report::{Report, median, say};

/// What one run of one program found, by name; each has a unit.
pub(super) type Figures = Vec<(&'static str, f64, &'static str)>;

/// Rows of one case: the programs take turns, so that all of them see the same machine.
pub(super) struct Rows {
    runs: Vec<(String, Figures)>,
}

impl Rows {
    pub(super) fn new() -> Self {
        Self { runs: Vec::new() }
    }

    pub(super) fn add(&mut self, report: &mut Report, row: &str, figures: Figures) {
        let shown: Vec<String> = figures
            .iter()
            .map(|(name, value, unit)| format!("{name} {value:.2} {unit}"))
            .collect();
        say(&format!("{row}: {}", shown.join(", ")));
        let members = figures
            .iter()
            .map(|(name, value, _)| ((*name).to_owned(), Value::from(*value)));
        let mut run: serde_json::Map<String, Value> = members.collect();
        run.insert("row".to_owned(), Value::from(row));
        report.row(Value::Object(run));
        self.runs.push((row.to_owned(), figures));
    }

    /// Medians, row by row in the order in which they first came, and how ours compare.
    pub(super) fn finish(self, report: &mut Report) {
        let mut rows: Vec<&String> = Vec::new();
        for (row, _) in &self.runs {
            if !rows.contains(&row) {
                rows.push(row);
            }
        }
        let mut rates = Vec::new();
        for row in rows {
            let runs: Vec<&Figures> = self
                .runs
                .iter()
                .filter(|it| it.0 == *row)
                .map(|it| &it.1)
                .collect();
            let Some(first) = runs.first() else { continue };
            for (name, _, unit) in *first {
                let mut values: Vec<f64> = runs
                    .iter()
                    .flat_map(|run| run.iter().filter(|it| it.0 == *name).map(|it| it.1))
                    .collect();
                let middle = median(&mut values);
                if matches!(*name, "rate" | "seen") {
                    rates.push((row.as_str(), middle));
                }
                report.figure(format!("{row}, {name}"), middle, unit);
            }
        }
        for (name, value, unit) in compared(&rates) {
            report.figure(name, value, unit);
        }
    }
}

/// How many times the original's rate each of ours is, and what part of each ceiling, of the rates of one case by row.
fn compared(rates: &[(&str, f64)]) -> Vec<(String, f64, &'static str)> {
    let mut all = Vec::new();
    for (ours, rate) in rates {
        let Some((case, _)) = ours.split_once(", Overlay") else {
            continue;
        };
        for (other, beside) in rates.iter().filter(|it| it.1 > 0.0) {
            let Some(other) = other
                .strip_prefix(case)
                .and_then(|it| it.strip_prefix(", "))
            else {
                continue;
            };
            if other.starts_with("original") {
                all.push((format!("{ours}, beside {other}"), rate / beside, "times"));
            } else if other.contains("ceiling") {
                all.push((
                    format!("{ours}, of the {other}"),
                    rate / beside * 100.0,
                    "%",
                ));
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::compared;

    #[test]
    fn ours_is_compared_with_the_same_case_of_the_others() {
        let rates = [
            ("local 256 B, Overlay", 60.0),
            ("local 256 B, Overlay, target-initiated", 90.0),
            ("local 256 B, original, source-initiated", 5.0),
            ("local 256 B, ceiling at 512", 120.0),
            ("local 256 B, failed", 0.0),
        ];
        let figures = compared(&rates);
        let named: Vec<_> = figures
            .iter()
            .map(|(name, value, unit)| format!("{name}: {value:.0} {unit}"))
            .collect();
        assert_eq!(
            named,
            [
                "local 256 B, Overlay, beside original, source-initiated: 12 times",
                "local 256 B, Overlay, of the ceiling at 512: 50 %",
                "local 256 B, Overlay, target-initiated, beside original, source-initiated: 18 times",
                "local 256 B, Overlay, target-initiated, of the ceiling at 512: 75 %",
            ]
        );
    }
}
