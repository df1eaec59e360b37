//! New nodes: with nothing but a token, with a forged one, and one whose own token runs out.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use super::cell::{Cell, Events};
use super::shown::Shown;

/// Nodes that arrive with nothing but a token.
pub(crate) const BARE: [&str; 3] = ["bare1", "bare2", "bare3"];
/// The one whose token runs out while somebody watches, and how long it is good.
const BRIEF: &str = "bare3";
const BRIEF_DAYS: &str = "0.0007"; // 60 s: renewed after 40 to 50

/// A node of the demo's own: started with an empty directory beside its token.
#[derive(Debug)]
pub(crate) struct Bare {
    name: String,
    directory: PathBuf,
    child: Child,
}

impl Bare {
    /// Starts a node that has the token, and nothing else.
    fn start(cell: &Cell, name: &str, token: &Path) -> Result<Self> {
        let directory = cell.directory().join("bare").join(name);
        fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
        let to = directory.join("provisioning.jwt");
        fs::copy(token, &to).with_context(|| format!("write {}", to.display()))?;
        let log = cell.directory().join("bare").join(format!("{name}.log"));
        let log = fs::File::create(&log).with_context(|| format!("create {}", log.display()))?;
        let child = Command::new(cell.binary("overlay-server"))
            .arg("--config")
            .arg(directory.join("server.conf"))
            .env("OVERLAY_SERVER__IDENTITY", name)
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("share the log")?)
            .stderr(log)
            .spawn()
            .context("start overlay-server")?;
        Ok(Self {
            name: name.to_owned(),
            directory,
            child,
        })
    }

    /// The files that it has, by name.
    fn files(&self) -> String {
        let entries = fs::read_dir(&self.directory)
            .into_iter()
            .flatten()
            .flatten();
        let mut names: Vec<String> = entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names.join(" ")
    }

    fn token(&self) -> String {
        fs::read_to_string(self.directory.join("server.jwt")).unwrap_or_default()
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}

/// Makes the helper expect the nodes, and the provisioner issue a token that is good for a minute.
pub(crate) fn prepare(cell: &Cell) -> Result<()> {
    let mut hosts = String::from("# The nodes that are expected; others wait.\n");
    for name in BARE {
        let days = if name == BRIEF {
            format!(" days={BRIEF_DAYS}")
        } else {
            String::new()
        };
        hosts.push_str(&format!("{name}{days}\n"));
    }
    let path = cell.directory().join("helpers/hosts.txt");
    fs::write(&path, hosts).with_context(|| format!("write {}", path.display()))?;
    let path = cell.directory().join("provisioner/provisioner.toml");
    let config = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    // Tokens of a minute, and no pause between an enrolment and the next that would outlast them.
    let config = config.replacen("[issue]\n", "[issue]\nmin_validity = \"10s\"\n", 1)
        + "\n[streams.claims]\nkeep = \"5s\"\n";
    fs::write(&path, config).with_context(|| format!("write {}", path.display()))
}

/// Shows all of it; the nodes go on as long as what is given back lives.
pub(crate) fn show(cell: &Cell, events: &Events, shown: &mut Shown) -> Result<Vec<Bare>> {
    let token = cell.directory().join("provisioner/provisioning.jwt");
    shown.step("overlay provision tokens check: what new nodes arrive with");
    let issuer = cell.directory().join("issuer/organisation.public");
    let check = cell.overlay(&[
        "provision",
        "tokens",
        "check",
        text(&token)?,
        "--issuer",
        text(&issuer)?,
    ])?;
    check.show();
    shown.holds("the token of new nodes is in order", check.ok);

    shown.step("three bare nodes: an empty directory with a provisioning.jwt, and overlay-server");
    let bare: Vec<Bare> = BARE
        .iter()
        .map(|name| Bare::start(cell, name, &token))
        .collect::<Result<_>>()?;
    shown.line(&format!("bare1 has: {}", bare[0].files()));
    let members = watch(cell, shown)?;
    shown.holds("the three are members of the cell", members);
    shown.line(&format!("bare1 has: {}", bare[0].files()));
    let ping = cell.overlay(&["ping"])?;
    ping.show();
    shown.holds(
        "they answer a ping like all others",
        BARE.iter().all(|name| ping.text.contains(name)),
    );
    shown.step("overlay provision nodes show bare1: what was decided, and why");
    let node = cell.overlay(&["provision", "nodes", "show", "bare1"])?;
    node.show();
    shown.holds("its enrolment is on record", node.text.contains("enrolled"));

    forged(cell, events, shown)?;
    renewed(cell, &bare, shown)?;
    Ok(bare)
}

/// Tells each change of state until all are members.
#[expect(
    clippy::disallowed_methods,
    reason = "a time for the person who watches"
)]
fn watch(cell: &Cell, shown: &Shown) -> Result<bool> {
    let began = Instant::now();
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    cell.eventually(Duration::from_secs(90), || {
        let listed = cell.overlay(&["provision", "nodes", "list", "--json"])?;
        let listed: Value = serde_json::from_str(&listed.text).unwrap_or_default();
        for node in listed["nodes"].as_array().into_iter().flatten() {
            let word = |key: &str| node[key].as_str().unwrap_or_default().to_owned();
            let (name, state) = (word("identity"), word("state"));
            if known.insert(name.clone(), state.clone()).as_ref() != Some(&state) {
                let seconds = began.elapsed().as_secs_f32();
                shown.line(&format!("{seconds:4.1} s  {name}: {state}"));
            }
        }
        Ok(BARE
            .iter()
            .all(|name| known.get(*name).is_some_and(|state| state == "member")))
    })
}

/// A token that another issuer signed is refused at the login, and the reason is published.
fn forged(cell: &Cell, events: &Events, shown: &mut Shown) -> Result<()> {
    shown.step("a node with a forged provisioning.jwt");
    let token = cell.forged_token()?;
    let node = Bare::start(cell, "forged", &token)?;
    let refused = events.wait_for(&node.name, Duration::from_secs(20))?;
    shown.line(refused.as_deref().unwrap_or("nothing was published"));
    let is_told = refused.is_some_and(|line| line.contains("refused") && line.contains("issuer"));
    shown.holds("it is refused, and the refusal says why", is_told);
    let known = cell.overlay(&["provision", "nodes", "show", &node.name])?;
    shown.holds("the provisioner never heard of it", !known.ok);
    Ok(())
}

/// The node whose token is good for a minute gets another one, and answers all the while.
fn renewed(cell: &Cell, bare: &[Bare], shown: &mut Shown) -> Result<()> {
    shown.step(&format!(
        "{BRIEF} has a token for about a minute: pings until it has renewed it"
    ));
    let node = bare
        .iter()
        .find(|node| node.name == BRIEF)
        .context("the node was started")?;
    let before = node.token();
    let (mut answered, mut missed) = (0_u32, 0_u32);
    // A few more when it is back with the new token.
    let mut left = 5_u32;
    let done = cell.eventually(Duration::from_secs(120), || {
        let said = cell.overlay(&["ping", "-I", BRIEF, "--names", "--timeout", "2"])?;
        if said.text.lines().any(|line| line.trim() == BRIEF) {
            answered += 1;
        } else {
            missed += 1;
        }
        if node.token() != before && is_back(cell)? {
            left = left.saturating_sub(1);
        }
        Ok(left == 0)
    })?;
    shown.line(&format!("{answered} pings answered, {missed} not"));
    let audit = cell.overlay(&["provision", "nodes", "show", BRIEF])?;
    audit.show();
    shown.holds(
        "it has a new token, and the renewal is on record",
        done && audit.text.contains("renewed"),
    );
    // The new process takes over within some 50 ms, and pings follow each other without a pause.
    shown.holds(
        "it did not go dark: at most one ping fell into the change of the process",
        missed <= 1 && answered > 0,
    );
    Ok(())
}

/// Whether the node with the brief token was renewed and is a member again.
fn is_back(cell: &Cell) -> Result<bool> {
    let said = cell.overlay(&["provision", "nodes", "show", BRIEF, "--json"])?;
    let node: Value = serde_json::from_str(&said.text).unwrap_or_default();
    Ok(node["record"]["state"] == "member" && node["audit"].to_string().contains("renewed"))
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("the path is text")
}
