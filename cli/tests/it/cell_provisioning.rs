//! What a cell has for new nodes: the provisioner's files, their token, the sample helpers.
#![allow(
    clippy::unwrap_used,
    reason = "a helper that fails is a test that fails"
)]

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::cell_support::{Place, overlay, succeeds, text};

const KEY: &str = "2ddc0000000000000000000000000000000000000000000000000000000000ff";

fn run(place: &Place, args: &[&str]) -> String {
    let mut command = overlay();
    command.current_dir(&place.root).args(args);
    succeeds(&command.output().unwrap())
}

/// As the provisioner writes it; a fact and an extension look like the members that helpers read.
fn question(identity: &str) -> String {
    let inventory = json!({ "agents": ["choria_provision"], "facts": { "identity": "no" }, "version": "0.1.0" });
    format!(
        "{{\"identity\":\"{identity}\",\"csr\":null,\"ed25519_pubkey\":{{\"public_key\":\"{KEY}\",\
         \"directory\":\"/etc/overlay\",\"signature\":\"00\"}},\"inventory\":{},\
         \"jwt\":{{\"extensions\":{{\"overlay\":{{\"identity\":\"{identity}\"}},\"directory\":\"/no\"}}}}}}",
        Value::from(inventory.to_string())
    )
}

fn ask(place: &Place, helper: &str, input: &str) -> Option<String> {
    let mut child = match Command::new(place.path(helper))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
    {
        Ok(child) => child,
        Err(error) => {
            overlay_testkit::skip(helper, &error.to_string(), "apt-get install python3");
            return None;
        }
    };
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{helper}: {}",
        text(&output.stderr)
    );
    Some(text(&output.stdout))
}

fn answer(place: &Place, helper: &str, identity: &str) -> Option<Value> {
    let said = ask(place, helper, &question(identity))?;
    Some(serde_json::from_str(&said).unwrap_or_else(|error| panic!("{helper}: {error}: {said}")))
}

#[test]
fn the_provisioner_may_issue_and_nothing_else() {
    let place = Place::new();
    succeeds(&place.init(&[]));
    let token: Value = serde_json::from_str(&run(
        &place,
        &[
            "jwt",
            "view",
            "provisioner/provisioner.jwt",
            "issuer/organisation.public",
            "--json",
        ],
    ))
    .unwrap();
    assert_eq!(token["callerid"], "provisioner=test");
    assert_eq!(token["overlay"]["verified"], true);
    let may = token["overlay"]["permissions"].as_array().unwrap();
    assert_eq!(may.len(), 1, "{may:?}");
    assert!(may[0].as_str().unwrap().contains("provisioner"));
    assert!(token["iss"].as_str().unwrap().starts_with("I-"), "{token}");
}

#[test]
fn new_nodes_know_the_broker_by_its_authority() {
    let place = Place::new();
    succeeds(&place.init(&[]));
    let said = run(
        &place,
        &[
            "provision",
            "tokens",
            "check",
            "provisioner/provisioning.jwt",
            "--issuer",
            "issuer/organisation.public",
        ],
    );
    assert!(said.contains("authorities pinned: 1"), "{said}");
    assert!(!said.contains('!'), "{said}");
    let presented = place.read("tls/broker.pem");
    assert!(presented.contains(place.read("tls/ca.pem").trim()));
    assert_eq!(presented.matches("BEGIN CERTIFICATE").count(), 2);
    // The secret is one for both, and only there.
    let secret = place.read("provisioner/node.secret");
    let config = place.read("provisioner/provisioner.toml");
    assert!(config.contains("node.secret") && !config.contains(&secret));
}

#[test]
fn a_cell_that_enrols_no_nodes_has_nothing_for_it() {
    let place = Place::new();
    succeeds(&place.init(&["--provisioners", "0"]));
    assert!(!place.path("provisioner").exists());
    assert!(!place.path("helpers").exists());
    succeeds(&place.cell("init", &["--provisioners", "2", "--update"]));
    assert!(place.path("provisioner/provisioning.jwt").exists());
    assert!(place.path("helpers/enrol.sh").exists());
}

#[test]
fn events_of_new_nodes_are_vetted_unless_told_otherwise() {
    let place = Place::new();
    succeeds(&place.init(&[]));
    let vetted = place.read("broker/nats-server.conf");
    assert!(vetted.contains("provisioning.vetted."), "{vetted}");
    succeeds(&place.cell("init", &["--provisioning-raw-events", "--update"]));
    let raw = place.read("broker/nats-server.conf");
    let import = |conf: &str| {
        conf.contains("stream: { account: provisioning, subject: \"choria.lifecycle.event.*.provision_mode_server\"")
    };
    assert!(import(&raw) && !import(&vetted), "{raw}");
    let other = Place::new();
    succeeds(&other.init(&[]));
    succeeds(&place.cell("init", &["--provisioning-raw-events=false", "--update"]));
    assert!(!import(&place.read("broker/nats-server.conf")));
}

#[test]
fn the_sample_helpers_decide_alike() {
    let place = Place::new();
    succeeds(&place.init(&["--collective", "choria", "--collective", "lhr"]));
    let authority = place.read("tls/ca.pem");
    let Some(shell) = answer(&place, "helpers/enrol.sh", "n1.example.net") else {
        return;
    };
    assert_eq!(shell["ca"].as_str().unwrap().trim(), authority.trim());
    let configuration = &shell["configuration"];
    for (key, value) in [
        ("identity", "n1.example.net"),
        ("collectives", "choria,lhr"),
        ("plugin.choria.server.provision", "false"),
        (
            "plugin.security.choria.token_file",
            "/etc/overlay/server.jwt",
        ),
        (
            "plugin.security.choria.seed_file",
            "/etc/overlay/server.seed",
        ),
        ("plugin.security.choria.ca", "/etc/overlay/ssl/ca.pem"),
    ] {
        assert_eq!(configuration[key], value, "{key}");
    }
    assert!(
        configuration["plugin.choria.middleware_hosts"]
            .as_str()
            .unwrap()
            .starts_with("nats://localhost:")
    );
    let Some(python) = answer(&place, "helpers/enrol.py", "n1.example.net") else {
        return;
    };
    assert_eq!(python["configuration"], shell["configuration"]);
    assert_eq!(python["server_claims"], shell["server_claims"]);
    assert_eq!(python["ssldir"], shell["ssldir"]);
    assert_eq!(python["confirm"], false);

    let mut lines = String::new();
    for (id, identity) in [("a", "n1.example.net"), ("b", "n2.example.net")] {
        let mut asked: Value = serde_json::from_str(&question(identity)).unwrap();
        asked["id"] = Value::from(id);
        lines.push_str(&format!("{asked}\n"));
    }
    lines.push_str("{\"id\":\"c\",\"identity\":\"n3\"}\n");
    let said = ask(&place, "helpers/enrol-persistent.py", &lines).unwrap();
    let answers: Vec<Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(answers.len(), 3);
    assert_eq!(answers[0]["id"], "a");
    assert_eq!(answers[0]["configuration"], python["configuration"]);
    assert_eq!(answers[1]["configuration"]["identity"], "n2.example.net");
    assert_eq!(answers[2]["id"], "c");
    assert_eq!(
        answers[2]["defer"], true,
        "a question that cannot be decided keeps nobody waiting"
    );
    assert!(!place.path("helpers/__pycache__").exists());
}

#[test]
fn a_list_of_hosts_decides_who_waits_and_who_may_take_a_name() {
    let place = Place::new();
    succeeds(&place.init(&[]));
    place.write(
        "helpers/hosts.txt",
        "# expected\nn1.example.net\nn2.example.net reinstall days=2 # ticket 7\n",
    );
    let Some(expected) = answer(&place, "helpers/enrol.py", "n1.example.net") else {
        return;
    };
    assert_eq!(expected["confirm"], false);
    let again = answer(&place, "helpers/enrol.py", "n2.example.net").unwrap();
    assert_eq!(again["confirm"], true);
    assert!(again["server_claims"]["exp"].is_u64(), "{again}");
    assert!(expected["server_claims"].get("exp").is_none());
    let stranger = answer(&place, "helpers/enrol.py", "n3.example.net").unwrap();
    assert_eq!(stranger["defer"], true);
    assert!(stranger.get("configuration").is_none());
}

#[test]
fn damage_that_keeps_nodes_out_is_found() {
    type Damage = (fn(&Place), &'static str, &'static str);
    let damages: [Damage; 6] = [
        (
            |cell| cell.write("provisioner/node.secret", "other"),
            "provisioner/provisioning.jwt",
            "its secret is not the one",
        ),
        (
            |cell| {
                let presented = cell.read("tls/broker.pem");
                let end = presented.find("-----END CERTIFICATE-----").unwrap() + 26;
                cell.write("tls/broker.pem", &presented[..end]);
            },
            "authority that new nodes know",
            "nodes refuse the broker",
        ),
        (
            |cell| {
                let operator = cell.read("operator/client.jwt");
                cell.write("provisioner/provisioner.jwt", &operator);
            },
            "provisioner/provisioner.jwt",
            "does not let its holder in as the provisioner",
        ),
        (
            |cell| {
                let operator = cell.read("operator/client.jwt");
                cell.write("provisioner/provisioning.jwt", &operator);
            },
            "provisioner/provisioning.jwt",
            "",
        ),
        (
            |cell| fs::remove_file(cell.path("provisioner/provisioner.seed")).unwrap(),
            "provisioner/provisioner.seed",
            "missing",
        ),
        (
            |cell| cell.write("provisioner/provisioner.seed", &"0".repeat(64)),
            "provisioner/provisioner.jwt",
            "not for the key",
        ),
    ];
    for (damage, what, detail) in damages {
        let place = Place::new();
        succeeds(&place.init(&[]));
        damage(&place);
        let found = place.check();
        let is_told = found["findings"].as_array().unwrap().iter().any(|finding| {
            finding["verdict"] == "fault"
                && finding["what"].as_str().unwrap().contains(what)
                && finding["detail"]
                    .as_str()
                    .unwrap_or_default()
                    .contains(detail)
                && finding["remedy"].is_string()
        });
        assert!(is_told, "{what}: {detail}: {found:#}");
    }
}
