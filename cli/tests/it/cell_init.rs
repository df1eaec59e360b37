//! `overlay cell init`: complete, closed, and the same when run again.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use overlay_testkit::nats_server;

use crate::cell_support::{Place, fails, has, overlay, snapshot, succeeds, text};

#[test]
fn a_second_run_changes_nothing_and_says_so() {
    let place = Place::new();
    succeeds(&place.init(&["--nodes", "2"]));
    let before = snapshot(&place.root);
    let said = succeeds(&place.init(&["--nodes", "2"]));
    assert!(said.contains("nothing was changed"), "{said}");
    let said = succeeds(&place.cell("init", &[]));
    assert!(said.contains("nothing was changed"), "{said}");
    assert!(snapshot(&place.root) == before);
}

#[test]
fn secrets_are_closed_whatever_the_umask() {
    let place = Place::new();
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            "umask 000; exec \"$@\"",
            "sh",
            env!("CARGO_BIN_EXE_overlay"),
            "cell",
            "init",
        ])
        .arg(&place.root)
        .args(["--name", "test", "--nodes", "1"]);
    succeeds(&command.output().expect("run sh"));
    for (name, mode, content) in snapshot(&place.root) {
        assert_eq!(
            mode & 0o022,
            0,
            "{name} can be written by others: {mode:04o}"
        );
        let text = text(&content);
        let is_secret = name.starts_with("users/") && !content.is_empty()
            || name.ends_with(".nk")
            || name.ends_with(".seed")
            || name.ends_with(".jwt")
            || name.ends_with(".key")
            || name.ends_with(".password")
            || name.ends_with(".secret")
            || text.contains("PRIVATE KEY")
            || text.starts_with("SU")
            || text.starts_with("SA")
            || text.starts_with("SX");
        if is_secret {
            assert_eq!(mode, 0o600, "{name}");
        }
    }
    for dir in [
        "issuer",
        "broker",
        "broker-auth",
        "provisioner",
        "operator",
        "aaa-signer",
        "aaa-signer/1",
        "users",
        "users/policies",
    ] {
        let mode = fs::metadata(place.path(dir)).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode, 0o700, "{dir}");
    }
}

#[test]
fn nats_server_accepts_the_configuration() {
    if !has("nats_server_accepts_the_configuration", &[]) {
        return;
    }
    let place = Place::new();
    for flags in [
        &[][..],
        &["--websocket-port", "0", "--update"][..],
        &["--provisioning-raw-events", "--update"][..],
    ] {
        if place.root.exists() {
            succeeds(&place.cell("init", flags));
        } else {
            succeeds(&place.init(flags));
        }
        let tried = ["2.12", "2.15"].map(nats_server::locate_version);
        let servers = tried.into_iter().flatten().chain(nats_server::locate());
        for server in servers {
            let output = Command::new(&server.path)
                .arg("-t")
                .arg("-c")
                .arg(place.path("broker/nats-server.conf"))
                .output()
                .unwrap();
            assert!(
                output.status.success(),
                "{}: {}",
                server.version,
                text(&output.stderr)
            );
        }
    }
    assert!(!place.read("broker/nats-server.conf").contains("websocket"));
}

#[test]
fn other_flags_change_nothing_without_update() {
    let place = Place::new();
    succeeds(&place.init(&[]));
    let before = snapshot(&place.root);
    let said = fails(
        &place.cell("init", &["--port", "4999", "--collective", "other"]),
        1,
    );
    assert!(said.contains("broker.port: is"), "{said}");
    assert!(
        said.contains("collectives: is choria, asked for other"),
        "{said}"
    );
    assert!(said.contains("--update"), "{said}");
    assert!(snapshot(&place.root) == before);

    let said = succeeds(&place.cell("init", &["--port", "4999", "--update"]));
    assert!(said.contains("updated  broker/nats-server.conf"), "{said}");
    assert!(
        place
            .read("broker/nats-server.conf")
            .contains("127.0.0.1:4999")
    );
    assert!(place.read("operator/client.toml").contains(":4999"));
    let keys = |tree: &[(String, u32, Vec<u8>)]| -> Vec<(String, Vec<u8>)> {
        tree.iter()
            .filter(|(name, mode, _)| {
                *mode == 0o600 && !name.ends_with(".conf") && !name.contains(".toml")
            })
            .map(|(name, _, content)| (name.clone(), content.clone()))
            .filter(|(name, _)| !name.ends_with(".before"))
            .collect()
    };
    assert!(
        keys(&before) == keys(&snapshot(&place.root)),
        "a key or token was replaced"
    );
}

#[test]
fn the_name_and_the_organisation_stay() {
    let place = Place::new();
    succeeds(&place.init(&[]));
    for flags in [
        ["--name", "other", "--update"],
        ["--org", "acme", "--update"],
    ] {
        let said = fails(&place.cell("init", &flags), 1);
        assert!(said.contains("cannot be changed"), "{said}");
    }
}

#[test]
fn nodes_are_added() {
    let place = Place::new();
    succeeds(&place.init(&["--node", "a.example.net"]));
    let token = place.read("node/a.example.net/server.jwt");
    succeeds(&place.cell("init", &["--node", "b.example.net", "--update"]));
    assert_eq!(place.read("node/a.example.net/server.jwt"), token);
    assert!(place.path("node/b.example.net/server.jwt").exists());
    assert!(
        place
            .read("cell.toml")
            .contains(r#"nodes = ["a.example.net", "b.example.net"]"#)
    );
}

#[test]
fn what_was_removed_is_made_anew_and_nothing_else() {
    let place = Place::new();
    succeeds(&place.init(&["--nodes", "1"]));
    let before = snapshot(&place.root);
    let removed = [
        "tls/broker.pem",
        "node/node1/server.jwt",
        "operator/client.jwt",
        "README.md",
    ];
    for path in removed {
        fs::remove_file(place.path(path)).unwrap();
    }
    let said = succeeds(&place.cell("init", &[]));
    for path in removed {
        assert!(said.contains(&format!("made     {path}")), "{said}");
    }
    for (old, new) in before.iter().zip(snapshot(&place.root)) {
        assert_eq!((&old.0, old.1), (&new.0, new.1));
        assert!(
            old.2 == new.2 || removed.contains(&old.0.as_str()),
            "{} changed",
            old.0
        );
    }
}

#[test]
fn a_change_by_hand_is_told_and_left() {
    let place = Place::new();
    succeeds(&place.init(&[]));
    let mine = format!("# mine\n{}", place.read("broker/nats-server.conf"));
    place.write("broker/nats-server.conf", &mine);
    let said = succeeds(&place.cell("init", &[]));
    assert!(said.contains("differs  broker/nats-server.conf"), "{said}");
    assert_eq!(place.read("broker/nats-server.conf"), mine);
    succeeds(&place.cell("init", &["--update"]));
    assert!(!place.read("broker/nats-server.conf").contains("# mine"));
    assert_eq!(place.read("broker/nats-server.conf.before"), mine);
}

#[test]
fn what_is_in_the_way_is_left_alone() {
    let place = Place::new();
    let parent = place.root.parent().unwrap();
    fs::create_dir(&place.root).unwrap();
    fs::write(place.path("mine"), "mine").unwrap();
    let said = fails(&place.init(&[]), 1);
    assert!(
        said.contains("is no cell") && said.contains("nothing was changed"),
        "{said}"
    );
    assert_eq!(place.read("mine"), "mine");

    // An empty directory is as good as none.
    fs::remove_file(place.path("mine")).unwrap();
    succeeds(&place.init(&[]));
    fs::remove_dir_all(&place.root).unwrap();

    fs::write(&place.root, "a file").unwrap();
    let said = fails(&place.init(&[]), 1);
    assert!(said.contains("as the directory of a cell"), "{said}");
    assert_eq!(
        fs::read_dir(parent).unwrap().count(),
        1,
        "something was left beside"
    );
}

#[test]
fn an_issuer_kept_elsewhere_is_told_what_to_sign() {
    let place = Place::new();
    let dir = tempfile::tempdir().unwrap();
    let seed = dir.path().join("org.seed");
    let public = dir.path().join("org.public");
    let mut keys = overlay();
    keys.args(["jwt", "keys"]).arg(&seed).arg(&public);
    succeeds(&keys.output().unwrap());
    let given = public.display().to_string();
    succeeds(&place.init(&["--issuer-public", &given, "--node", "n1"]));
    assert!(!place.path("issuer/organisation.seed").exists());
    assert!(!place.path("node/n1/server.jwt").exists());

    // The commands work as they stand.
    let listed = place.read("issuer/TO-SIGN.md");
    let commands: Vec<&str> = listed
        .lines()
        .filter(|line| line.starts_with("overlay "))
        .collect();
    assert_eq!(commands.len(), 7, "{listed}");
    for command in commands {
        let line = command
            .replace("ORGANISATION.SEED", &seed.display().to_string())
            .replacen("overlay", env!("CARGO_BIN_EXE_overlay"), 1);
        succeeds(&Command::new("sh").args(["-c", &line]).output().unwrap());
    }
    let found = place.check();
    let faults: Vec<String> = found["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["verdict"] == "fault")
        .map(|finding| finding["what"].as_str().unwrap().to_owned())
        .filter(|what| !what.contains("nats-server") && !what.contains("overlay-"))
        .collect();
    assert!(faults.is_empty(), "{faults:?}");
}

#[test]
fn flags_that_make_no_sense_are_refused_before_anything_is_made() {
    for (flags, part) in [
        (&["--node", "a b"][..], "node \"a b\""),
        (&["--node", "a/b"][..], "node \"a/b\""),
        (&["--node", "*"][..], "node \"*\""),
        (&["--node", "a", "--node", "a"][..], "given twice"),
        (&["--host", "nats://x:4222"][..], "no host name"),
        (&["--collective", "a.b"][..], "collective"),
        (&["--issuer-public", "abcd"][..], "abcd"),
        (&["--tls-cert", "/none"][..], "--tls-key"),
    ] {
        let place = Place::new();
        let output = place.init(flags);
        let said = text(&output.stderr);
        assert!(
            !output.status.success() && said.contains(part),
            "{flags:?}: {said}"
        );
        assert!(!place.root.exists());
    }
    let place = Place::new();
    let mut command = overlay();
    command.args(["cell", "init"]).arg(&place.root);
    assert!(fails(&command.output().unwrap(), 2).contains("--name"));
    let mut command = overlay();
    command.args(["cell", "init", "/none/cell", "--name", "x"]);
    assert!(fails(&command.output().unwrap(), 1).contains("parent directory"));
}

#[test]
fn a_given_certificate_is_used_if_nodes_would_take_it() {
    let other = Place::new();
    succeeds(&other.init(&[]));
    let file = |name: &str| other.path(&format!("tls/{name}")).display().to_string();
    let (cert, key, ca) = (file("broker.pem"), file("broker.key"), file("ca.pem"));
    let given = ["--tls-cert", &cert, "--tls-key", &key, "--tls-ca", &ca];

    let place = Place::new();
    succeeds(&place.init(&given));
    assert_eq!(place.read("tls/broker.pem"), other.read("tls/broker.pem"));
    assert!(!place.path("tls/ca.key").exists());
    succeeds(&place.cell("init", &given));
    let mine = Place::new();
    succeeds(&mine.init(&[]));
    let said = fails(&mine.cell("init", &given), 1);
    assert!(said.contains("another tls/broker.pem"), "{said}");

    let refused = Place::new();
    let wrong_key = file("ca.key");
    let flags = [
        "--tls-cert",
        &cert,
        "--tls-key",
        &wrong_key,
        "--tls-ca",
        &ca,
    ];
    let said = fails(&refused.init(&flags), 1);
    assert!(said.contains("do not belong together"), "{said}");
    let named = [&given[..], &["--host", "other.example.net"]].concat();
    let said = fails(&refused.init(&named), 1);
    assert!(said.contains("does not name other.example.net"), "{said}");
    let foreign_ca = mine.path("tls/ca.pem").display().to_string();
    let flags = [
        "--tls-cert",
        &cert,
        "--tls-key",
        &key,
        "--tls-ca",
        &foreign_ca,
    ];
    let said = fails(&refused.init(&flags), 1);
    assert!(said.contains("cannot serve"), "{said}");
    assert!(!refused.root.exists());
}
