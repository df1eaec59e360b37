//! People: a login that fails and one that does not, what a person may do and what not, and the record of it all.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::cell::Cell;
use super::shown::Shown;

const USER: &str = "alice";
const PASSWORD: &str = "correct horse battery staple";

/// Logs a person in, has requests decided, and looks at the record.
pub(crate) fn show(cell: &Cell, shown: &mut Shown) -> Result<()> {
    let alice = user(cell, shown)?;
    logins(cell, &alice, shown)?;
    requests(cell, &alice, shown)?;
    audit(cell, shown)
}

/// Makes the user, and the place where the session will be.
fn user(cell: &Cell, shown: &mut Shown) -> Result<PathBuf> {
    shown.step(&format!(
        "overlay user add {USER}: may ping, and ask for facts"
    ));
    let users = cell.directory().join("users/users.json");
    let added = cell.given(
        &cell.directory().join("operator/client.toml"),
        &[
            "user",
            "--file",
            text(&users)?,
            "add",
            USER,
            "--acl",
            "rpcutil.ping",
            "--acl",
            "rpcutil.get_fact",
            "--password-stdin",
        ],
        PASSWORD,
    )?;
    added.show();
    shown.holds("the user is on the list", added.ok);
    let home = cell.directory().join("callers").join(USER);
    fs::create_dir_all(&home).with_context(|| format!("make {}", home.display()))?;
    let base = cell.directory().join("login/client.toml");
    let config = fs::read_to_string(&base).with_context(|| format!("read {}", base.display()))?;
    let config = config.replace("~/.config/overlay", text(&home)?);
    let path = home.join("client.toml");
    fs::write(&path, config).with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}

/// A wrong and a right password, by HTTPS and over the broker.
fn logins(cell: &Cell, alice: &Path, shown: &mut Shown) -> Result<()> {
    let login = |password: &str, over: &str| {
        let args = ["login", "--user", USER, "--password-stdin", "--over", over];
        cell.given(alice, &args, password)
    };
    shown.step("overlay login with a wrong password");
    let refused = login("password123", "https")?;
    refused.show();
    shown.holds("the wrong password is refused", !refused.ok);
    for (over, words) in [("https", "by HTTPS"), ("broker", "over the broker")] {
        shown.step(&format!("overlay login with the right password, {words}"));
        let said = login(PASSWORD, over)?;
        said.show();
        shown.holds(&format!("{USER} is logged in {words}"), said.ok);
    }
    shown.step("overlay whoami");
    let session = cell.overlay_as(alice, &["whoami"])?;
    session.show();
    shown.holds(
        "the session says who it is of",
        session.ok && session.text.contains(&format!("up={USER}")),
    );
    Ok(())
}

/// A request that the list allows, and one that it does not.
fn requests(cell: &Cell, alice: &Path, shown: &mut Shown) -> Result<()> {
    shown.step("a request that she may make: decided, recorded, signed, and then answered");
    let allowed = cell.overlay_as(alice, &["req", "rpcutil", "ping"])?;
    allowed.show();
    shown.holds(
        "the allowed request is answered by every node",
        allowed.ok && cell.names().iter().all(|name| allowed.text.contains(name)),
    );
    shown.step("a request that she may not make");
    let denied = cell.overlay_as(alice, &["req", "rpcutil", "inventory"])?;
    denied.show();
    shown.holds(
        "the other one is denied, and the command says so",
        !denied.ok && denied.text.contains("does not sign rpcutil inventory"),
    );
    Ok(())
}

/// The record, and what becomes of a copy in which one word was changed.
fn audit(cell: &Cell, shown: &mut Shown) -> Result<()> {
    shown.step("overlay audit tail: what is on record, with the reason of each decision");
    let mut record = None;
    let kept = cell.eventually(Duration::from_secs(10), || {
        let said = cell.overlay(&["audit", "tail", "--no-follow", "--lines", "20"])?;
        let is_there = said.ok
            && [
                "because: wrong password",
                "rpcutil ping",
                "names rpcutil.inventory",
            ]
            .iter()
            .all(|words| said.text.contains(words));
        record = Some(said);
        Ok(is_there)
    })?;
    if let Some(record) = &record {
        record.show();
    }
    shown.holds(
        "logins, the signature and the denial are on record with their reasons",
        kept,
    );

    shown.step("overlay audit verify, on the stream");
    let verified = cell.overlay(&["audit", "verify"])?;
    verified.show();
    shown.holds("the record is whole", verified.ok);

    shown.step(
        "the same on a file that was exported, and on a copy in which a denial became a permission",
    );
    let file = cell.directory().join("run/audit.jsonl");
    let exported = cell.overlay(&["audit", "export", text(&file)?])?;
    exported.show();
    let verified = cell.overlay(&["audit", "verify", text(&file)?])?;
    verified.show();
    shown.holds("the exported file is whole", exported.ok && verified.ok);
    let lines = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    let copy = file.with_file_name("tampered.jsonl");
    let tampered = lines.replace("\"action\":\"deny\"", "\"action\":\"allow\"");
    shown.holds("there is something to tamper with", tampered != lines);
    fs::write(&copy, tampered).with_context(|| format!("write {}", copy.display()))?;
    let caught = cell.overlay(&["audit", "verify", text(&copy)?])?;
    caught.show();
    shown.holds(
        "the change is found, and it is said where",
        !caught.ok
            && caught
                .text
                .contains("tampered.jsonl:2: changed: record 2 of aaa-1.demo"),
    );
    Ok(())
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("the path is text")
}
