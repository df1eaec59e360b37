//! What files and environment make of a node, without a broker.

use std::path::PathBuf;
use std::time::Duration;

use overlay_runtime::{Environment, FileConfig, Secrets};
use overlay_server::Program;
use overlay_server::mode::Mode;
use overlay_server::provisioning::Outlook;
use overlay_testkit::mint::{self, Organisation};
use overlay_tokens::issue::{ProvisioningToken, ServerToken};
use tempfile::TempDir;

const NODE: &str = "n1.example.net";
const MARK: &str = "# configuration file written in request x from y (z) at now\n";

struct Place {
    dir: TempDir,
    org: Organisation,
    environment: Environment,
}

impl Place {
    /// A directory with a good provisioning token, and good credentials.
    fn new() -> Self {
        let place = Self {
            dir: tempfile::tempdir().unwrap(),
            org: Organisation::new(),
            environment: Environment::from([(
                "OVERLAY_SERVER__IDENTITY".to_owned(),
                NODE.to_owned(),
            )]),
        };
        place.invite(true);
        let token = ServerToken {
            identity: NODE.to_owned(),
            validity: Duration::from_secs(3600),
            ..ServerToken::default()
        };
        place.org.server(token).write(place.dir.path(), "server");
        place
    }

    fn invite(&self, default: bool) {
        let token = self.org.provisioning(ProvisioningToken {
            token: "s3cret".into(),
            urls: vec!["nats://127.0.0.1:1".to_owned()],
            by_default: default,
            validity: Duration::from_secs(3600),
            ..ProvisioningToken::default()
        });
        self.write("provisioning.jwt", &token);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// Settings of a member in Choria's form, and some more.
    fn settings(&self, more: &str) -> String {
        format!(
            "plugin.choria.middleware_hosts = nats://127.0.0.1:1\n\
             plugin.security.provider = choria\nplugin.security.issuer.names = choria\n\
             plugin.security.issuer.choria.public = {}\nrpcauthorization = 0\n{more}\n",
            self.org.public()
        )
    }

    /// The mode, or all faults.
    fn load(&self, files: &[&str]) -> Result<Program, String> {
        let files = files.iter().map(|file| self.path(file)).collect::<Vec<_>>();
        match Program::load("server", &files, &self.environment) {
            Ok(loaded) => Ok(loaded.config),
            Err(faults) => Err(faults
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("\n")),
        }
    }

    fn mode(&self, files: &[&str]) -> Mode {
        self.load(files).unwrap().mode()
    }

    fn outlook(&self, file: &str) -> Outlook {
        let files = [self.path(file)];
        Program::upcoming("server", &files, &self.environment).outlook(mint::now())
    }
}

#[test]
fn what_was_delivered_stands_beside_the_operators_file_and_wins() {
    let place = Place::new();
    place.write(
        "server.toml",
        "collectives = [\"own\"]\n[rpc]\nworkers = 3\n",
    );
    assert_eq!(place.mode(&["server.toml"]), Mode::Unprovisioned);
    // A file that nobody delivered does not count.
    place.write("server.conf", &place.settings("collectives = theirs"));
    assert_eq!(place.mode(&["server.toml"]), Mode::Unprovisioned);
    place.write(
        "server.conf",
        &format!("{MARK}{}", place.settings("collectives = theirs")),
    );
    let program = place.load(&["server.toml"]).unwrap();
    let member = program.member().unwrap();
    assert_eq!(member.collectives[0].as_str(), "theirs");
    assert_eq!(member.rpc.workers, 3);
    // Token and key lie beside it.
    let own = member.membership().unwrap();
    assert_eq!(own.token_file, place.path("server.jwt"));
    assert_eq!(own.seed_file, place.path("server.seed"));
    assert_eq!(place.outlook("server.toml"), Outlook::Member);
    // Also when the operator's file is not there at all.
    std::fs::remove_file(place.path("server.toml")).unwrap();
    assert_eq!(place.mode(&["server.toml"]), Mode::Member);
}

#[test]
fn a_delivered_configuration_of_no_use_is_fetched_anew_and_one_made_by_hand_is_told_of() {
    let place = Place::new();
    for fault in [
        "loglevel = shout",
        "collectives = a b",
        "plugin.choria.middleware_hosts = x",
    ] {
        let text = place.settings(fault);
        place.write("server.conf", &format!("{MARK}{text}"));
        let program = place.load(&["server.conf"]).unwrap();
        assert_eq!(program.mode(), Mode::Unprovisioned, "{fault}");
        // By them the node proves who it was.
        assert!(program.forgets().is_empty());
        assert!(matches!(place.outlook("server.conf"), Outlook::NoMember(_)));
        place.write("server.conf", &text);
        let faults = place.load(&["server.conf"]).unwrap_err();
        assert!(!faults.is_empty());
    }
    // Without leave to provision the faults are all there is to say.
    place.invite(false);
    place.write(
        "server.conf",
        &format!("{MARK}{}", place.settings("loglevel = shout")),
    );
    assert!(
        place
            .load(&["server.conf"])
            .unwrap_err()
            .contains("log.level")
    );
}

#[test]
fn files_that_are_not_there_make_a_delivered_configuration_one_of_no_use_and_are_else_told_of() {
    let mut place = Place::new();
    let missing = place.path("missing");
    let missing = missing.display();
    let home = place.path("");
    for (key, lines) in [
        (
            "audit.file",
            format!("rpcaudit = 1\nplugin.rpcaudit.logfile = {missing}/audit.log"),
        ),
        (
            "status.file",
            format!("plugin.choria.status_file_path = {missing}/status.json"),
        ),
        (
            "broker.ca_file",
            format!("plugin.security.choria.ca = {missing}/ca.pem"),
        ),
        (
            "broker.ca_file",
            format!("plugin.security.choria.ca = {}", home.display()),
        ),
        (
            "broker.key_file",
            format!(
                "plugin.security.choria.certificate = {missing}/c.pem\n\
                 plugin.security.choria.key = {missing}/k.pem"
            ),
        ),
    ] {
        let text = place.settings(&lines);
        place.write("server.conf", &format!("{MARK}{text}"));
        let program = place.load(&["server.conf"]).unwrap();
        assert_eq!(program.mode(), Mode::Unprovisioned, "{key}");
        // By them the node proves who it was, and goes on once the files are there.
        assert!(program.forgets().is_empty());
        place.write("server.conf", &text);
        let program = place.load(&["server.conf"]).unwrap();
        assert_eq!(program.mode(), Mode::Member, "{key}");
        let faults = program.inspect(&Secrets::new(None));
        assert!(faults.iter().any(|fault| fault.key() == key), "{faults:?}");
        // Nobody is restarted into it, whoever wrote it.
        for mark in [MARK, ""] {
            place.write("server.conf", &format!("{mark}{text}"));
            let outlook = place.outlook("server.conf");
            assert!(
                matches!(&outlook, Outlook::NoMember(why) if why.contains(key)),
                "{key}: {outlook:?}"
            );
        }
    }
    let lines = format!("rpcaudit = 1\nplugin.rpcaudit.logfile = {missing}/audit.log");
    place.write("server.conf", &format!("{MARK}{}", place.settings(&lines)));
    // Without leave to provision the faults are all there is to say.
    place.invite(false);
    let faults = place.load(&["server.conf"]).unwrap_err();
    assert!(faults.contains("audit.file"), "{faults}");
    place.invite(true);
    assert_eq!(place.mode(&["server.conf"]), Mode::Unprovisioned);
    // A place that the operator chose would not get better by another delivery.
    let key = "OVERLAY_SERVER__AUDIT__FILE".to_owned();
    let elsewhere = format!("{missing}/elsewhere.log");
    place.environment.insert(key.clone(), elsewhere);
    assert_eq!(place.mode(&["server.conf"]), Mode::Member);
    assert!(matches!(place.outlook("server.conf"), Outlook::NoMember(_)));
    place.environment.remove(&key);
    std::fs::create_dir(place.path("missing")).unwrap();
    assert_eq!(place.mode(&["server.conf"]), Mode::Member);
    assert_eq!(place.outlook("server.conf"), Outlook::Member);
}

#[test]
fn the_operator_may_ask_for_provisioning_and_may_switch_it_off() {
    let mut place = Place::new();
    place.write("server.conf", &place.settings(""));
    assert_eq!(place.mode(&["server.conf"]), Mode::Member);
    let key = "OVERLAY_SERVER__PROVISIONING__ENABLED".to_owned();
    place.environment.insert(key.clone(), "true".to_owned());
    assert_eq!(place.mode(&["server.conf"]), Mode::Unprovisioned);
    std::fs::remove_file(place.path("server.conf")).unwrap();
    place.invite(false);
    assert_eq!(place.mode(&["server.conf"]), Mode::Unprovisioned);
    place.environment.insert(key.clone(), "false".to_owned());
    place.invite(true);
    let faults = place.load(&["server.conf"]).unwrap_err();
    assert!(faults.contains("switched off"), "{faults}");
    place.environment.remove(&key);
    let elsewhere = place.path("elsewhere.jwt");
    std::fs::rename(place.path("provisioning.jwt"), &elsewhere).unwrap();
    assert!(place.load(&["server.conf"]).is_err());
    place.environment.insert(
        "OVERLAY_SERVER__PROVISIONING__TOKEN_FILE".to_owned(),
        elsewhere.display().to_string(),
    );
    assert_eq!(place.mode(&["server.conf"]), Mode::Unprovisioned);
}

#[test]
fn a_slip_in_the_operators_file_is_told_and_makes_nothing_of_the_node() {
    let place = Place::new();
    place.write("server.toml", "identiy = \"n1\"\n");
    let faults = place.load(&["server.toml"]).unwrap_err();
    assert!(faults.contains("identiy"), "{faults}");
    place.write(
        "server.toml",
        "[provisioning]\nrenew_before = \"soon\"\nrelease_key = \"x\"\n",
    );
    let faults = place.load(&["server.toml"]).unwrap_err();
    assert!(
        faults.contains("renew_before") && faults.contains("release_key"),
        "{faults}"
    );
}

#[test]
fn a_change_of_files_that_another_process_began_is_ended_first() {
    let place = Place::new();
    let new = place.path(".server.conf.overlay-new");
    std::fs::write(&new, format!("{MARK}{}", place.settings(""))).unwrap();
    let text = |name: &str| place.path(name).display().to_string();
    let journal = serde_json::json!({"made": [], "moves": [{
        "target": text("server.conf"), "fresh": text(".server.conf.overlay-new"),
        "old": text(".server.conf.overlay-old"), "gone": false,
    }]});
    place.write(".overlay-change.json", &journal.to_string());
    assert_eq!(place.mode(&["server.conf"]), Mode::Member);
    assert!(!new.exists());
    assert!(!place.path(".overlay-change.json").exists());
}
