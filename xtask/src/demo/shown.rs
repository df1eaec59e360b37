//! What the demo showed, and whether it held.

use crate::run::say;

/// The steps so far.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    steps: usize,
    checks: Vec<(String, bool)>,
}

impl Shown {
    /// Begins a step.
    pub(crate) fn step(&mut self, what: &str) {
        self.steps += 1;
        say(&format!("\n[{}] {what}", self.steps));
    }

    /// Shows a line of a program's output.
    pub(crate) fn line(&self, line: &str) {
        say(&format!("    {line}"));
    }

    /// Notes whether something held.
    pub(crate) fn holds(&mut self, what: &str, held: bool) {
        say(&format!("    {} {what}", mark(held)));
        self.checks.push((what.to_owned(), held));
    }

    /// Says what was shown, and gives back how much fell short.
    pub(crate) fn summary(&self) -> usize {
        say("\nShown:");
        for (what, held) in &self.checks {
            say(&format!("  {} {what}", mark(*held)));
        }
        let failed = self.checks.iter().filter(|(_, held)| !held).count();
        say(&format!(
            "{} passed, {failed} failed",
            self.checks.len() - failed
        ));
        failed
    }
}

fn mark(held: bool) -> &'static str {
    if held { "✓" } else { "✗" }
}
