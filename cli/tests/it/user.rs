//! `overlay user`: the file of users, and nothing but the file.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use argon2::{Argon2, PasswordHash, PasswordVerifier as _};
use overlay_testkit::Pty;
use serde_json::{Value, json};

use crate::desk::{Run, run};

const PASSWORD: &str = "correct horse battery";
const LIMIT: Duration = Duration::from_secs(20);

fn user(dir: &Path, args: &[&str]) -> Run {
    let args: Vec<_> = ["user", "--file", "users.json"]
        .iter()
        .chain(args)
        .copied()
        .collect();
    run(dir, &args, Some(&format!("{PASSWORD}\n")))
}

fn users(dir: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(dir.join("users.json")).unwrap()).unwrap()
}

fn fits(user: &Value, password: &str) -> bool {
    let stored = user["password"].as_str().unwrap();
    if stored.starts_with("$2") {
        return bcrypt::verify(password, stored).unwrap();
    }
    let hash = PasswordHash::new(stored).unwrap();
    Argon2::default()
        .verify_password(password.as_bytes(), &hash)
        .is_ok()
}

#[test]
fn users_are_added_changed_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let added = user(
        dir,
        &[
            "add",
            "rip",
            "--acl",
            "rpcutil.*",
            "--password-stdin",
            "--tenant",
            "blue",
            "--property",
            "group=ops",
        ],
    );
    assert_eq!(added.code, 0, "{added:?}");
    let mode = std::fs::metadata(dir.join("users.json"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let rip = users(dir)[0].clone();
    assert!(fits(&rip, PASSWORD) && !fits(&rip, "another"));
    assert!(
        rip["password"].as_str().unwrap().starts_with("$argon2id$"),
        "{rip}"
    );
    assert_eq!(
        rip["broker_permissions"],
        json!({"signed_fleet_management": true})
    );
    assert_eq!(
        (&rip["tenant"], &rip["properties"]["group"]),
        (&json!("blue"), &json!("ops"))
    );
    // A second of the same name is refused, and nothing is changed.
    let before = users(dir);
    let again = user(dir, &["add", "rip", "--password-stdin"]);
    assert_eq!(again.code, 1);
    assert!(again.stderr.contains("passwd rip"), "{}", again.stderr);
    assert_eq!(users(dir), before);
    // What the command does not know stays as it is; so do mode and order.
    let mut file = users(dir);
    file[0]["note"] = json!({"of": ["mine"]});
    file.as_array_mut()
        .unwrap()
        .push(json!({"Username": "old", "PASSWORD": "*LOCKED*"}));
    std::fs::write(dir.join("users.json"), file.to_string()).unwrap();
    std::fs::set_permissions(
        dir.join("users.json"),
        std::fs::Permissions::from_mode(0o640),
    )
    .unwrap();
    let changed = user(
        dir,
        &[
            "passwd",
            "old",
            "--password-stdin",
            "--bcrypt",
            "--cost",
            "10",
        ],
    );
    assert_eq!(changed.code, 0, "{changed:?}");
    let file = users(dir);
    assert_eq!(file[0]["note"], json!({"of": ["mine"]}));
    assert_eq!(file[1]["Username"], "old");
    assert!(
        file[1].get("PASSWORD").is_none(),
        "one password counts: {}",
        file[1]
    );
    assert!(file[1]["password"].as_str().unwrap().starts_with("$2b$10$"));
    assert!(fits(&file[1], PASSWORD));
    let mode = std::fs::metadata(dir.join("users.json"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o640);
    assert_eq!(user(dir, &["disable", "rip"]).code, 0);
    assert_eq!(users(dir)[0]["disabled"], true);
    assert_eq!(user(dir, &["enable", "rip"]).code, 0);
    assert!(users(dir)[0].get("disabled").is_none());
    assert_eq!(user(dir, &["remove", "old"]).code, 0);
    assert_eq!(users(dir).as_array().unwrap().len(), 1);
    let left: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".new"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn lists_show_neither_hashes_nor_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    user(
        dir,
        &[
            "add",
            "rip",
            "--acl",
            "rpcutil.ping",
            "--password-stdin",
            "--totp",
        ],
    );
    let secret = users(dir)[0]["totp"].as_str().unwrap().to_owned();
    for args in [vec!["list"], vec!["--json", "list"]] {
        let list = user(dir, &args);
        assert_eq!(list.code, 0, "{list:?}");
        assert!(
            list.stdout.contains("rip") && list.stdout.contains("rpcutil.ping"),
            "{list:?}"
        );
        assert!(
            !list.stdout.contains('$') && !list.stdout.contains(&secret),
            "{list:?}"
        );
    }
    let list: Value = serde_json::from_str(&user(dir, &["--json", "list"]).stdout).unwrap();
    assert_eq!(list[0]["password"], "argon2id");
    assert_eq!(list[0]["totp"], true);
}

#[test]
fn a_second_factor_is_shown_once_and_can_be_taken_away() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    user(dir, &["add", "rip", "--acl", "*", "--password-stdin"]);
    let shown = user(dir, &["totp", "rip"]);
    let secret = users(dir)[0]["totp"].as_str().unwrap().to_owned();
    let address = shown.stdout.trim();
    assert!(
        address.starts_with("otpauth://totp/Overlay:rip?secret="),
        "{address}"
    );
    assert!(address.contains(&secret), "{address}");
    assert_eq!(user(dir, &["totp", "rip", "--off"]).code, 0);
    assert!(users(dir)[0].get("totp").is_none());
}

#[test]
fn faults_are_told_and_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    for (args, code, part) in [
        (vec!["list"], 1, "there is no users file"),
        (
            vec!["passwd", "rip", "--password-stdin"],
            1,
            "there is no users file",
        ),
        (vec!["add", "", "--password-stdin"], 2, "a name is"),
        (
            vec!["add", "rip", "--acl", "rpcutil", "--password-stdin"],
            2,
            "is no action",
        ),
        (
            vec!["add", "rip", "--tenant", "Blue", "--password-stdin"],
            2,
            "a tenant is",
        ),
        (
            vec!["add", "rip", "--validity", "soon", "--password-stdin"],
            2,
            "is no time",
        ),
        (
            vec!["add", "rip", "--permission", "root", "--password-stdin"],
            2,
            "possible values",
        ),
        (
            vec!["add", "rip", "--policy", "none.rego", "--password-stdin"],
            1,
            "no policy",
        ),
        (vec!["add", "rip"], 2, "--password-stdin"),
    ] {
        let failed = user(dir, &args);
        assert_eq!(failed.code, code, "{args:?}: {failed:?}");
        assert!(failed.stderr.contains(part), "{args:?}: {}", failed.stderr);
        assert!(!dir.join("users.json").exists(), "{args:?}");
    }
    let short = run(
        dir,
        &[
            "user",
            "--file",
            "users.json",
            "add",
            "rip",
            "--password-stdin",
        ],
        Some("1234567\n"),
    );
    assert!(short.stderr.contains("less than 8 characters"), "{short:?}");
    std::fs::write(dir.join("users.json"), "[{\"username\":").unwrap();
    let broken = user(dir, &["add", "rip", "--password-stdin"]);
    assert!(
        broken.stderr.contains("is no JSON list of users"),
        "{broken:?}"
    );
    assert_eq!(
        std::fs::read(dir.join("users.json")).unwrap(),
        b"[{\"username\":"
    );
    let nowhere = run(dir, &["user", "list"], None);
    assert!(nowhere.stderr.contains("OVERLAY_USERS"), "{nowhere:?}");
}

#[test]
fn a_password_is_asked_for_twice_and_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    let ask = |second: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_overlay"));
        command.current_dir(dir.path()).args([
            "user",
            "--file",
            "users.json",
            "add",
            "rip",
            "--acl",
            "*",
        ]);
        let mut pty = Pty::start(command);
        pty.expect("New password for rip: ", LIMIT);
        pty.send(PASSWORD);
        pty.expect("Once more: ", LIMIT);
        pty.send(second);
        pty.wait(LIMIT)
    };
    let (status, shown) = ask("another password");
    assert!(
        !status.success() && shown.contains("the two passwords differ"),
        "{shown}"
    );
    assert!(!dir.path().join("users.json").exists());
    let (status, shown) = ask(PASSWORD);
    assert!(status.success(), "{shown}");
    assert!(!shown.contains(PASSWORD), "{shown}");
    assert!(fits(&users(dir.path())[0], PASSWORD));
}

#[test]
fn many_at_once_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    std::thread::scope(|scope| {
        for number in 0..8 {
            scope.spawn(move || {
                let name = format!("user{number}");
                let added = user(
                    path,
                    &[
                        "add",
                        &name,
                        "--acl",
                        "*",
                        "--password-stdin",
                        "--bcrypt",
                        "--cost",
                        "10",
                    ],
                );
                assert_eq!(added.code, 0, "{added:?}");
            });
        }
    });
    assert_eq!(users(path).as_array().unwrap().len(), 8);
}
