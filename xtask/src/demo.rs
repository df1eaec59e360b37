//! A whole cell on one machine, driven as a user drives it: the released programs, the files of `overlay cell init`.

mod aaa;
mod cell;
mod enrol;
mod link;
mod replicate;
mod shown;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::run::{Profile, build, say, target_dir};
use crate::tools;
use cell::Cell;
use shown::Shown;

/// The cell.
const NAME: &str = "demo";
/// The nodes of the cell.
const NODES: usize = 3;

/// Starts the cell and shows what it does.
///
/// # Errors
///
/// When a part can't be started; with `once` also when anything shown fell short.
pub(crate) fn run(once: bool, debug: bool, dir: Option<&Path>) -> Result<()> {
    let mut shown = Shown::default();
    shown.step("building the programs (the first time takes some minutes)");
    let programs = build(if debug {
        Profile::Debug
    } else {
        Profile::Release
    })?;
    shown.step("nats-server, stock");
    let nats_server = tools::newest()?;
    let directory = place(dir)?;

    shown
        .step("overlay cell init: issuer, keys, certificates, broker configuration, tokens, units");
    let nodes = NODES.to_string();
    let cell = Cell::init(
        &directory,
        &programs,
        &nats_server,
        NAME,
        &["--nodes", &nodes],
    )?;
    shown.holds(
        "the cell's files pass overlay cell check",
        cell.overlay(&["cell", "check", &cell.path()?])?.ok,
    );

    // First: it lets `init` write configuration anew.
    let mut region = replicate::prepare(&cell, &programs, &nats_server, &mut shown)?;
    enrol::prepare(&cell)?;

    shown.step(
        "overlay cell up: nats-server, the login service, the signer, the provisioner, three nodes, the replicator",
    );
    let mut up = cell.up()?;
    region.begin(&cell)?;
    shown.step("overlay cell status");
    let healthy = cell.eventually(Duration::from_secs(30), || {
        Ok(cell.overlay(&["cell", "status", &cell.path()?])?.ok)
    })?;
    cell.overlay(&["cell", "status", &cell.path()?])?.show();
    shown.holds("the cell says that it is healthy", healthy);

    let events = cell.events()?;
    ping(&cell, &mut shown)?;
    request(&cell, &mut shown)?;
    refusals(&cell, &mut shown)?;
    shown.step("what the login service published about refusals");
    let refused = events.wait_for("refused", Duration::from_secs(10))?;
    shown.line(refused.as_deref().unwrap_or("nothing"));
    shown.holds(
        "the refusal was published with its reason",
        refused.is_some_and(|line| line.contains("issuer")),
    );
    aaa::show(&cell, &mut shown)?;
    let bare = enrol::show(&cell, &events, &mut shown)?;
    replicate::show(&cell, &mut region, &mut shown)?;
    killed_node(&cell, &mut shown)?;
    restarted_broker(&cell, &mut shown)?;
    replicate::show_counts(&cell, &region, &mut shown)?;

    let fell_short = shown.summary();
    if once {
        drop(bare);
        up.stop()?;
        let of_region = region.stop()?;
        if dir.is_none() {
            for directory in [&directory, &of_region] {
                fs::remove_dir_all(directory)
                    .with_context(|| format!("remove {}", directory.display()))?;
            }
        }
        if fell_short > 0 {
            bail!("{fell_short} of the things shown fell short");
        }
        return Ok(());
    }
    try_it(&cell)?;
    up.wait()?;
    region.stop().map(drop)
}

/// Three nodes answer, the command names each.
fn ping(cell: &Cell, shown: &mut Shown) -> Result<()> {
    shown.step("overlay ping");
    let ping = cell.overlay(&["ping"])?;
    ping.show();
    shown.holds(
        "three nodes answer a ping",
        ping.ok && cell.names().iter().all(|name| ping.text.contains(name)),
    );
    Ok(())
}

/// A fact filter picks one node, and only it answers.
fn request(cell: &Cell, shown: &mut Shown) -> Result<()> {
    let names = cell.names();
    let (first, rest) = names.split_first().context("the cell has nodes")?;
    shown.step("overlay req rpcutil get_fact fact=rack -F rack=1: a signed request to the nodes whose facts match");
    let request = cell.overlay(&[
        "req",
        "rpcutil",
        "get_fact",
        "fact=rack",
        "-F",
        "rack=1",
        "--json",
    ])?;
    request.show();
    let only_one =
        request.text.contains(first) && !rest.iter().any(|name| request.text.contains(name));
    shown.holds(
        "the filtered request was answered by the one node that it meant",
        request.ok && only_one,
    );
    Ok(())
}

/// A stranger is refused by the broker; a caller without the right is refused too. Both are told why.
fn refusals(cell: &Cell, shown: &mut Shown) -> Result<()> {
    shown.step("a login with a token of another organisation");
    let stranger = cell.caller("stranger", true, &[])?;
    let refused = cell.overlay_as(&stranger, &["ping", "--timeout", "3"])?;
    refused.show();
    shown.holds(
        "the stranger's login is refused, and the command says so",
        !refused.ok && refused.text.contains("refused the login of up=stranger"),
    );

    shown.step("a request by a caller who may watch, but not manage the fleet");
    let viewer = cell.caller(
        "viewer",
        false,
        &["--no-fleet-management", "--event-viewer"],
    )?;
    let refused = cell.overlay_as(
        &viewer,
        &["req", "rpcutil", "ping", "-I", cell.names()[0].as_str()],
    )?;
    refused.show();
    shown.holds(
        "the viewer's request is refused, and the command says so",
        refused.text.contains("Permissions Violation"),
    );

    shown.step("a request that a signer would have to vouch for");
    let unsigned = cell.caller("unsigned", false, &["--signed-fleet-management"])?;
    let refused = cell.overlay_as(
        &unsigned,
        &["req", "rpcutil", "ping", "-I", cell.names()[0].as_str()],
    )?;
    refused.show();
    shown.holds(
        "the request without its signer is refused, and the command says so",
        !refused.ok && refused.text.contains("must be signed by a signer"),
    );
    Ok(())
}

/// A killed node is named as missing, and comes back.
fn killed_node(cell: &Cell, shown: &mut Shown) -> Result<()> {
    let names = cell.names();
    let last = names.last().context("the cell has nodes")?;
    shown.step(&format!("kill -9 of the node {last}"));
    cell.kill(last)?;
    let mut ping = vec!["ping", "--timeout", "1"];
    for name in &names {
        ping.extend(["-I", name]);
    }
    let missing = cell.overlay(&ping)?;
    missing.show();
    shown.holds("the missing node is named", missing.names_missing(last));
    let back = cell.eventually(Duration::from_secs(30), || Ok(cell.answers()? == NODES))?;
    shown.holds("the killed node came back by itself", back);
    Ok(())
}

/// A restarted broker loses nobody.
fn restarted_broker(cell: &Cell, shown: &mut Shown) -> Result<()> {
    shown.step("kill -9 of nats-server");
    cell.kill("nats-server")?;
    let back = cell.eventually(Duration::from_secs(60), || Ok(cell.answers()? == NODES))?;
    let ping = cell.overlay(&["ping"])?;
    ping.show();
    shown.holds("after the broker's restart every node is back", back);
    Ok(())
}

fn try_it(cell: &Cell) -> Result<()> {
    say("\nThe cell goes on until you press Ctrl-C. Try, in another terminal:\n");
    say(&format!("  alias overlay='{}'", cell.command()?));
    for line in [
        "overlay ping",
        "overlay req rpcutil inventory -F rack=2",
        "overlay facts rack",
        "overlay inventory NODE",
        "overlay events",
        "overlay provision nodes list",
        "overlay provision status --watch",
        "overlay audit tail",
        "overlay replicate status",
    ] {
        say(&format!("  {line}"));
    }
    say(&format!("  overlay cell status {}", cell.path()?));
    Ok(())
}

/// Where the cell goes: a short path, since sockets and certificates don't care but people do.
fn place(dir: Option<&Path>) -> Result<PathBuf> {
    let directory = match dir {
        Some(dir) => std::path::absolute(dir).context("find the directory")?,
        None => target_dir()
            .join("demo")
            .join(std::process::id().to_string()),
    };
    if let Some(parent) = directory.parent() {
        fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
    }
    Ok(directory)
}
