//! `overlay cell check`: finds each kind of damage, and says what to do.
#![allow(
    clippy::unwrap_used,
    reason = "a helper that fails is a test that fails"
)]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use serde_json::Value;

use crate::cell_support::{Place, fails, has, overlay, succeeds};

const PROGRAMS: [&str; 4] = [
    "overlay-aaa-signer",
    "overlay-broker-auth",
    "overlay-provisioner",
    "overlay-server",
];

#[test]
fn a_new_cell_is_in_order() {
    if !has("a_new_cell_is_in_order", &PROGRAMS) {
        return;
    }
    let place = Place::new();
    succeeds(&place.init(&["--nodes", "2"]));
    let said = succeeds(&place.cell("check", &[]));
    assert!(said.contains("is in order"), "{said}");
    assert!(!said.contains('✗'), "{said}");
}

/// How a cell is damaged, and what must then be found: part of the object, part of the detail.
type Damage = (&'static str, fn(&Place), &'static str, &'static str);

const DAMAGES: [Damage; 24] = [
    (
        "no token",
        |cell| remove(cell, "node/node1/server.jwt"),
        "node/node1/server.jwt",
        "missing",
    ),
    (
        "no key",
        |cell| remove(cell, "broker-auth/account.nk"),
        "broker-auth/account.nk",
        "missing",
    ),
    (
        "empty key",
        |cell| cell.write("operator/client.seed", ""),
        "operator/client.seed",
        "empty",
    ),
    (
        "no directory",
        |cell| fs::remove_dir_all(cell.path("systemd")).unwrap(),
        "systemd",
        "No such file",
    ),
    (
        "open key",
        |cell| mode(cell, "broker-auth/curve.nk", 0o640),
        "broker-auth/curve.nk",
        "lets others in",
    ),
    (
        "open directory",
        |cell| mode(cell, "issuer", 0o755),
        "issuer",
        "lets others in",
    ),
    (
        "writable file",
        |cell| mode(cell, "cell.toml", 0o666),
        "cell.toml",
        "lets others in",
    ),
    (
        "issuer is no key",
        |cell| cell.write("issuer/organisation.public", "x"),
        "organisation.public",
        "64 hex",
    ),
    (
        "other issuer seed",
        |cell| other_seed(cell, "issuer/organisation.seed"),
        "organisation.seed",
        "does not belong",
    ),
    (
        "other issuer",
        other_issuer,
        "operator/client.jwt",
        "signature is invalid",
    ),
    (
        "account key is a user's",
        |cell| copy(cell, "broker-auth/callout.nk", "broker-auth/account.nk"),
        "account.nk",
        "another kind",
    ),
    (
        "callout key is the other user's",
        |cell| swap_in_conf(cell, "broker-auth/callout.nk"),
        "callout.nk",
        "not in",
    ),
    (
        "curve key is no key",
        |cell| cell.write("broker-auth/curve.nk", "SX"),
        "curve.nk",
        "",
    ),
    (
        "no xkey in the configuration",
        |cell| edit(cell, "broker/nats-server.conf", "    xkey:", "    # xkey:"),
        "curve.nk",
        "has no `xkey`",
    ),
    (
        "other account in the configuration",
        |cell| {
            edit(
                cell,
                "broker/nats-server.conf",
                "issuer: \"A",
                "issuer: \"AX",
            )
        },
        "account.nk",
        "not in `issuer`",
    ),
    (
        "not an auth user",
        |cell| {
            edit(
                cell,
                "broker/nats-server.conf",
                "auth_users:",
                "# auth_users:",
            )
        },
        "callout.nk",
        "auth_users",
    ),
    (
        "certificate is no certificate",
        |cell| cell.write("tls/broker.pem", "x"),
        "certificate",
        "",
    ),
    (
        "other broker key",
        |cell| copy(cell, "tls/ca.key", "tls/broker.key"),
        "certificate",
        "do not belong together",
    ),
    (
        "host that the certificate lacks",
        |cell| {
            edit(
                cell,
                "cell.toml",
                "hosts = [\"localhost\"",
                "hosts = [\"other.example.net\"",
            )
        },
        "certificate",
        "does not name other.example.net",
    ),
    (
        "token of another node",
        |cell| copy(cell, "node/node2/server.jwt", "node/node1/server.jwt"),
        "node/node1/server.jwt",
        "token of node2",
    ),
    (
        "client token for a node",
        |cell| copy(cell, "operator/client.jwt", "node/node1/server.jwt"),
        "node/node1/server.jwt",
        "not a",
    ),
    (
        "key of another node",
        |cell| copy(cell, "node/node2/server.seed", "node/node1/server.seed"),
        "node/node1/server.jwt",
        "not for the key",
    ),
    (
        "token cut short",
        |cell| {
            let text = cell.read("operator/client.jwt");
            cell.write("operator/client.jwt", &text[..text.len() / 2]);
        },
        "operator/client.jwt",
        "",
    ),
    ("token expired", expired, "operator/client.jwt", "expired"),
];

fn remove(cell: &Place, path: &str) {
    fs::remove_file(cell.path(path)).unwrap();
}

fn mode(cell: &Place, path: &str, mode: u32) {
    fs::set_permissions(cell.path(path), Permissions::from_mode(mode)).unwrap();
}

fn copy(cell: &Place, from: &str, to: &str) {
    cell.write(to, &cell.read(from));
}

fn edit(cell: &Place, path: &str, from: &str, to: &str) {
    let text = cell.read(path);
    assert!(text.contains(from), "{path} has no {from:?}");
    cell.write(path, &text.replace(from, to));
}

fn swap_in_conf(cell: &Place, path: &str) {
    // A new key that the broker has never heard of.
    let other = Place::new();
    succeeds(&other.init(&[]));
    cell.write(path, &other.read(path));
}

fn other_seed(cell: &Place, path: &str) {
    cell.write(path, &"ab".repeat(32));
}

fn other_issuer(cell: &Place) {
    let other = Place::new();
    succeeds(&other.init(&[]));
    for path in ["issuer/organisation.seed", "issuer/organisation.public"] {
        cell.write(path, &other.read(path));
    }
}

fn expired(cell: &Place) {
    let run = |validity: &str| {
        let mut command = overlay();
        command
            .args(["jwt", "client"])
            .arg(cell.path("operator/client.jwt"))
            .arg("up=operator")
            .arg(cell.path("issuer/organisation.seed"))
            .args(["--validity", validity, "--public-key"])
            .arg("8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c");
        succeeds(&command.output().unwrap());
    };
    run("1s");
    let (limit, period) = (Duration::from_secs(10), Duration::from_millis(50));
    overlay_testkit::eventually_blocking(limit, period, || {
        let mut view = overlay();
        view.args(["jwt", "view"])
            .arg(cell.path("operator/client.jwt"));
        let said = view.output().unwrap();
        String::from_utf8_lossy(&said.stdout).contains("EXPIRED")
    });
}

#[test]
fn each_damage_is_found_with_a_remedy() {
    for (name, damage, what, detail) in DAMAGES {
        let place = Place::new();
        succeeds(&place.init(&["--nodes", "2"]));
        damage(&place);
        let found = place.check();
        let fits = |finding: &&Value| {
            let part = |field: &str| finding[field].as_str().unwrap_or_default().to_owned();
            finding["verdict"] == "fault"
                && part("what").contains(what)
                && part("detail").contains(detail)
                && !part("remedy").is_empty()
        };
        let findings = found["findings"].as_array().unwrap();
        assert!(
            findings.iter().any(|finding| fits(&finding)),
            "{name}: {findings:#?}"
        );
        fails(&place.cell("check", &[]), 1);
    }
}

#[test]
fn a_change_by_hand_is_a_warning() {
    let place = Place::new();
    succeeds(&place.init(&["--nodes", "1"]));
    let warnings = |found: &Value| {
        let findings = found["findings"].as_array().unwrap().iter();
        let warned = findings.filter(|finding| finding["verdict"] == "warning");
        warned
            .map(|finding| finding["what"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert!(warnings(&place.check()).is_empty());
    edit(
        &place,
        "node/node1/server.toml",
        "[facts]",
        "# mine\n[facts]",
    );
    assert_eq!(warnings(&place.check()), ["node/node1/server.toml"]);
    edit(&place, "cell.toml", "\nnodes", "\n# mine\nnodes");
    assert_eq!(warnings(&place.check()), ["node/node1/server.toml"]);
}

#[test]
fn what_is_no_cell_is_refused_with_a_remedy() {
    let place = Place::new();
    for verb in ["check", "up", "status", "down"] {
        let said = fails(&place.cell(verb, &[]), 1);
        assert!(
            said.contains("there is no directory") && said.contains("cell init"),
            "{verb}: {said}"
        );
    }
    fs::create_dir(&place.root).unwrap();
    for verb in ["check", "up", "status", "down"] {
        let said = fails(&place.cell(verb, &[]), 1);
        assert!(
            said.contains("is no cell") && said.contains("cell init"),
            "{verb}: {said}"
        );
    }
}
