//! `overlay policy check`: whether a policy in Rego can be used.

use std::path::PathBuf;

use overlay_policy::{Facts, PolicyError, Rego};
use serde_json::json;

use super::read;
use crate::app::App;
use crate::error::Failure;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The policy; several are checked one by one
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

pub(super) fn run(args: &Args, app: &App) -> Result<(), Failure> {
    let rego = Rego::default();
    let mut results = Vec::new();
    let mut bad = 0_usize;
    for file in &args.files {
        let name = file.display().to_string();
        let verdict = rego.faults(&read(file)?);
        bad += usize::from(verdict.is_err());
        if app.output.is_json() {
            results.push(match verdict {
                Ok(facts) => json!({"file": name, "ok": true, "policy": facts}),
                Err(faults) => json!({"file": name, "ok": false, "faults": faults}),
            });
        } else {
            app.output.text(match verdict {
                Ok(facts) => describe(&name, &facts),
                Err(faults) => complain(&name, &faults),
            })?;
        }
    }
    if app.output.is_json() {
        app.output.json(&results)?;
    }
    if bad == 0 {
        return Ok(());
    }
    Err(Failure::new(match args.files.len() {
        1 => "the policy can't be used: whoever has it in a token is denied everything".to_owned(),
        count => format!("{bad} of {count} policies can't be used"),
    }))
}

fn describe(name: &str, facts: &Facts) -> String {
    let mut text = format!("{name}: good, {}, sha256 {}\n", facts.dialect, facts.hash);
    for rule in &facts.rules {
        let kind = match (rule.default, rule.arguments) {
            (true, _) => "default ",
            (false, Some(_)) => "function ",
            (false, None) => "",
        };
        text.push_str(&format!("  line {:>3}  {kind}{}\n", rule.line, rule.name));
    }
    text
}

fn complain(name: &str, faults: &[PolicyError]) -> String {
    let mut text = String::new();
    for fault in faults {
        let line = fault
            .line
            .map_or_else(String::new, |line| format!("{line}:"));
        text.push_str(&format!("{name}:{line} {}\n", fault.message));
        if let Some(help) = &fault.help {
            text.push_str(&format!("  {help}\n"));
        }
    }
    text
}
