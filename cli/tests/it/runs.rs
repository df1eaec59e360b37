//! Replays runs of the original's command line with our own, against emulated nodes.
//!
//! The vectors hold arguments, exit code and output. How much of a run is compared is decided by its
//! arguments, see [`Scope`]; what both print is made comparable in [`shown`]. The rules are in
//! `docs/conformance/cli.md`.

mod shown;

use overlay_testkit::vectors::{Loader, Outcome, for_cases};
use serde_json::Value;

use crate::desk::{Desk, Run};
use crate::fleet::{Node, node};

type Checked = Result<(), String>;

/// What the emulated nodes do, all of it in the agent `rpcutil`.
const ACTIONS: [&str; 6] = [
    "ping",
    "get_fact",
    "get_config_item",
    "collective_info",
    "daemon_stats",
    "inventory",
];
/// Actions whose outputs say how a node itself is.
const OWN_STATE: [&str; 2] = ["daemon_stats", "inventory"];

/// How much of a run is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// Exit code and output.
    Output,
    /// Exit code, and of the output what does not say how a node itself is.
    Frame,
    /// Exit code, and the labels of the output.
    Labels,
    /// Exit code.
    Code,
    /// The original does not end; we do, and well.
    Ends,
    /// The arguments are understood, but the emulated nodes cannot do what is asked.
    Understood,
    /// A command of the same name, with arguments of its own.
    Namesake,
    /// We do not have this command or flag, and say so.
    LeftOut,
}

pub(crate) fn replay(file: &Value, _loader: &Loader) -> Outcome {
    let desk = Desk::new(nodes(file));
    for_cases(file, |case| {
        let args: Vec<&str> = case["args"]
            .as_array()
            .ok_or("no args")?
            .iter()
            .filter_map(Value::as_str)
            .collect();
        check(&desk, &args, &case["expect"])
    })
}

/// The nodes that the file speaks of, with the classes and facts that it gives them.
fn nodes(file: &Value) -> Vec<Node> {
    let about = file["about"].as_str().unwrap_or_default();
    let all = file["common"]["node"].as_str().unwrap_or_default();
    let between = |start: &str, end: &str| {
        let rest = all.split_once(start)?.1;
        Some(rest.split_once(end).map_or(rest, |(text, _)| text))
    };
    let classes: Option<Vec<String>> = between("classes ", ";")
        .map(|list| list.split(',').map(|name| name.trim().to_owned()).collect());
    let facts: Option<Value> = all
        .split_once("facts ")
        .and_then(|(_, text)| serde_json::from_str(text).ok());
    about
        .split_whitespace()
        .map(|word| word.trim_matches([',', '.', ';', ':']))
        .filter(|word| word.ends_with(".example.net"))
        .map(|name| {
            let node = node(name);
            Node {
                classes: classes.clone().unwrap_or(node.classes),
                facts: facts.clone().unwrap_or(node.facts),
                ..node
            }
        })
        .collect()
}

fn scope(args: &[&str], expect: &Value) -> Scope {
    let succeeds = expect["rc"] == 0;
    match args.first().copied().unwrap_or_default() {
        "ping" | "req" | "rpc" | "request" | "discover" | "facts" | "inventory" => {}
        "events" | "plugin" | "jwt" | "completion" => return Scope::Namesake,
        _ => return Scope::LeftOut,
    }
    if has_left_out_flag(args) {
        return Scope::LeftOut;
    }
    if expect.get("did_not_end_within_s").is_some() {
        return Scope::Ends;
    }
    let is_help = |arg: &&str| matches!(*arg, "--help" | "-h" | "--help-long" | "--version");
    if args.iter().any(is_help) {
        return Scope::Code;
    }
    match args {
        ["inventory", ..] => Scope::Labels,
        ["req" | "rpc" | "request", agent, action, ..] if succeeds => {
            if *agent != "rpcutil" {
                Scope::Understood
            } else if OWN_STATE.contains(action) {
                Scope::Frame
            } else if ACTIONS.contains(action) {
                Scope::Output
            } else {
                Scope::Code
            }
        }
        _ => Scope::Output,
    }
}

/// Flags and values of flags that `docs/conformance/cli.md` names as left out.
fn has_left_out_flag(args: &[&str]) -> bool {
    let value_of = |flag: &str| {
        let after = args.iter().position(|arg| *arg == flag)?;
        args.get(after + 1).copied()
    };
    args.iter().any(|arg| arg.starts_with("--federations"))
        || matches!(value_of("--dm"), Some("choria" | "puppetdb" | "external"))
        || args
            .iter()
            .any(|arg| matches!(*arg, "--dm=choria" | "--dm=puppetdb" | "--dm=external"))
        || value_of("--do").is_some_and(|option| option.starts_with("filter="))
}

fn check(desk: &Desk, args: &[&str], expect: &Value) -> Checked {
    let scope = scope(args, expect);
    if scope == Scope::Namesake {
        return code(&desk.run(&[args[0], "--help"]), |code| code == 0);
    }
    let ours = desk.run(args);
    let theirs = expect["output"].as_str().ok_or("no output")?;
    match scope {
        Scope::LeftOut => return refused(&ours),
        Scope::Understood => return code(&ours, |code| code != 2),
        Scope::Ends => return code(&ours, |code| code == 0),
        Scope::Output | Scope::Frame | Scope::Labels | Scope::Code | Scope::Namesake => {}
    }
    if expect["rc"] != 0 {
        refused(&ours)?;
        return same_reason(&ours, theirs);
    }
    code(&ours, |code| code == 0)?;
    match scope {
        Scope::Output => shown::same(args, &ours.stdout, theirs),
        Scope::Frame => shown::same_frame(args, &ours.stdout, theirs),
        Scope::Labels => shown::same_labels(&ours.stdout, theirs),
        Scope::Code | Scope::Ends | Scope::Understood | Scope::Namesake | Scope::LeftOut => Ok(()),
    }
}

fn code(ours: &Run, wanted: impl Fn(i32) -> bool) -> Checked {
    if wanted(ours.code) {
        Ok(())
    } else {
        Err(format!("exit code {}: {}", ours.code, ours.stderr))
    }
}

fn refused(ours: &Run) -> Checked {
    code(ours, |code| matches!(code, 1 | 2))?;
    if ours.stderr.lines().any(|line| line.starts_with("error: ")) {
        Ok(())
    } else {
        Err(format!("no error is shown: {:?}", ours.stderr))
    }
}

/// One part of the original's chain of reasons is among ours.
fn same_reason(ours: &Run, theirs: &str) -> Checked {
    let Some((_, message)) = theirs.split_once("level=fatal msg=\"Could not run Choria: ") else {
        return Ok(());
    };
    let message = message
        .trim_end()
        .trim_end_matches('"')
        .replace("\\\"", "\"");
    let mut parts = message.split(": ").filter(|part| !part.starts_with('%'));
    if parts.any(|part| ours.stderr.contains(part)) {
        Ok(())
    } else {
        Err(format!("ours {:?}, theirs {message:?}", ours.stderr))
    }
}
