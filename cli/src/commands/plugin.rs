//! `overlay plugin`: agents and what they can do.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use clap::Subcommand;
use overlay_client::ddl;
use overlay_protocol::rpc::ddl::{Action, Ddl, Input, InputKind};

use crate::app::App;
use crate::error::Failure;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Describe an agent: its actions, their inputs and outputs
    #[command(after_long_help = "\
Examples:
  overlay plugin doc rpcutil
  overlay plugin doc rpcutil --markdown > rpcutil.md")]
    Doc {
        /// The agent; without one, all are listed
        name: Option<String>,
        /// Write Markdown
        #[arg(short, long)]
        markdown: bool,
    },
    /// List the agents that have a description
    List,
}

pub(crate) fn run(args: Args, app: &App) -> Result<(), Failure> {
    // Descriptions that are built in need no configuration.
    let libraries = app
        .config()
        .map(|config| config.library_dirs)
        .unwrap_or_default();
    match args.verb {
        Verb::List | Verb::Doc { name: None, .. } => list(app, &ddl::all(&libraries)),
        Verb::Doc {
            name: Some(name),
            markdown,
        } => {
            let name = name.strip_prefix("agent/").unwrap_or(&name);
            let ddl = ddl::resolve(name, &libraries)?;
            if app.output.is_json() {
                app.output.json(&ddl)
            } else if markdown {
                app.output.text(markdown_of(&ddl))
            } else {
                app.output.text(text_of(&ddl))
            }
        }
    }
}

fn list(app: &App, agents: &BTreeMap<String, Ddl>) -> Result<(), Failure> {
    if app.output.is_json() {
        let names: BTreeMap<&String, &String> = agents
            .iter()
            .map(|(name, ddl)| (name, &ddl.metadata.description))
            .collect();
        return app.output.json(&BTreeMap::from([("agent", names)]));
    }
    let width = agents.keys().map(String::len).max().unwrap_or(0).max(18) + 2;
    let mut text = "Known Plugins:\n\nAgents:\n\n".to_owned();
    for (name, ddl) in agents {
        text.push_str(&format!("{name:>width$}: {}\n", ddl.metadata.description));
    }
    app.output.text(text)
}

fn text_of(ddl: &Ddl) -> String {
    let about = &ddl.metadata;
    let mut text = format!("{} agent version {}\n\n", about.name, about.version);
    let mut line = |name: &str, value: &str| {
        writeln!(text, "  {name:>12}: {value}").ok();
    };
    line("Description", &about.description);
    line("Author", &about.author);
    line("License", &about.license);
    line("Home", &about.url);
    line("Timeout", &format!("{} seconds", about.timeout));
    if about.service {
        line("Service", "any one host answers for all");
    }
    text.push_str("\nActions:\n");
    for action in &ddl.actions {
        action_text(&mut text, &about.name, action);
    }
    text
}

fn action_text(text: &mut String, agent: &str, action: &Action) {
    text.push_str(&format!(
        "\n  {agent} {}\n    {}\n",
        action.action, action.description
    ));
    if !action.input.is_empty() {
        text.push_str("\n    Inputs:\n");
    }
    for (name, input) in &action.input {
        let need = if input.optional { "" } else { ", required" };
        text.push_str(&format!("      {name} ({}{need})\n", kind(input)));
        text.push_str(&format!("        {}\n", input.description));
        for rule in rules(input) {
            text.push_str(&format!("        {rule}\n"));
        }
    }
    if !action.output.is_empty() {
        text.push_str("\n    Outputs:\n");
    }
    for (name, output) in &action.output {
        text.push_str(&format!("      {name}: {}\n", output.description));
    }
}

fn markdown_of(ddl: &Ddl) -> String {
    let about = &ddl.metadata;
    let mut text = format!(
        "# {} agent\n\n{}\n\n| | |\n| --- | --- |\n| Version | {} |\n| Author | {} |\n| License | {} |\n| Home | {} |\n| Timeout | {} s |\n",
        about.name,
        about.description,
        about.version,
        about.author,
        about.license,
        about.url,
        about.timeout
    );
    for action in &ddl.actions {
        text.push_str(&format!(
            "\n## {}\n\n{}\n",
            action.action, action.description
        ));
        if !action.input.is_empty() {
            text.push_str("\n| Input | Type | Required | Meaning |\n| --- | --- | --- | --- |\n");
        }
        for (name, input) in &action.input {
            let need = if input.optional { "no" } else { "yes" };
            let mut meaning = vec![input.description.clone()];
            meaning.extend(rules(input));
            text.push_str(&format!(
                "| `{name}` | {} | {need} | {} |\n",
                kind(input),
                meaning.join("; ")
            ));
        }
        if !action.output.is_empty() {
            text.push_str("\n| Output | Meaning |\n| --- | --- |\n");
        }
        for (name, output) in &action.output {
            text.push_str(&format!("| `{name}` | {} |\n", output.description));
        }
    }
    text
}

fn kind(input: &Input) -> &'static str {
    match input.kind {
        InputKind::String => "string",
        InputKind::Integer => "integer",
        InputKind::Number => "number",
        InputKind::Float => "float",
        InputKind::Boolean => "boolean",
        InputKind::List => "list",
        InputKind::Hash => "hash",
        InputKind::Array => "array",
    }
}

fn rules(input: &Input) -> Vec<String> {
    let mut rules = Vec::new();
    if input.maxlength > 0 {
        rules.push(format!("at most {} bytes", input.maxlength));
    }
    if !input.validation.is_empty() && input.validation != "." {
        rules.push(format!("must match {}", input.validation));
    }
    if !input.list.is_empty() {
        rules.push(format!("one of {}", input.list.join(", ")));
    }
    if let Some(default) = &input.default {
        rules.push(format!("default {default}"));
    }
    rules
}
