use std::path::Path;

use overlay_runtime::config::{self, Environment};

use super::*;
use crate::config::{Config, SecretSource};
use crate::helper::HelperKind;

const KEY: &str = "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c";

fn original() -> String {
    format!(
        "workers: 4
interval: 5m
loglevel: info
helper: /usr/bin/helper --flag 'two words'
token: s3cret
broker_provisioning_password: provPass
site: lon
monitor_port: 9999
jwt_verify_cert: {KEY}
jwt_signing_key: /etc/choria/prov.seed
jwt_signing_token: /etc/choria/prov.jwt
server_jwt_validity: 90d
Features:
  ED25519: true
  upgrades: true
upgrades_repository: https://repo.example.net
leader_election: true
what_is_this: 1
"
    )
}

const CLIENT: &str = "
# a client
identity = provisioner.example.net
plugin.choria.middleware_hosts = nats://b1:4222, b2:4222
plugin.security.choria.ca = /etc/choria/ca.pem
plugin.security.choria.token_file = /etc/choria/client.jwt
plugin.security.choria.seed_file = /etc/choria/client.seed
";

fn load(yaml: &str, client: &str) -> Result<Config, Vec<Fault>> {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let files = [
        write("choria-provisioner.yaml", yaml),
        write("client.conf", client),
    ];
    config::load::<Config>("provisioner", &files, &Environment::new()).map(|loaded| loaded.config)
}

#[test]
fn the_files_of_the_original_are_a_whole_configuration() {
    let config = load(&original(), CLIENT).unwrap();
    assert_eq!(config.identity.as_str(), "provisioner.example.net");
    assert_eq!(config.site.as_deref(), Some("lon"));
    assert_eq!(config.limits.workers.unwrap().get(), 4);
    assert_eq!(config.scan.interval.as_secs(), 300);
    assert_eq!(config.issue.validity.as_secs(), 90 * 86_400);
    assert_eq!(
        config.node_secrets[0].source,
        SecretSource::Given("s3cret".into())
    );
    assert_eq!(
        config.login.password,
        SecretSource::Given("provPass".into())
    );
    assert_eq!(
        config.login.token_file.as_deref(),
        Some(Path::new("/etc/choria/client.jwt"))
    );
    assert_eq!(config.issuer_token_file, Path::new("/etc/choria/prov.jwt"));
    let helper = config.helper.unwrap();
    let HelperKind::Process { command } = helper.kind else {
        panic!("a process for each node");
    };
    assert_eq!(command, ["/usr/bin/helper", "--flag", "two words"]);
    assert!(config.helper_rules.secrets && !config.helper_rules.details);
    assert!(config.leader.enabled);
    let upgrades = config.features.upgrades.unwrap();
    assert_eq!(upgrades.repository, "https://repo.example.net");
    let servers: Vec<_> = config
        .broker
        .servers
        .iter()
        .map(ToString::to_string)
        .collect();
    assert!(
        servers.iter().all(|server| server.starts_with("tls://b")),
        "{servers:?}"
    );
    assert!(
        config
            .notices
            .iter()
            .any(|notice| notice.contains("what_is_this"))
    );
}

#[test]
fn secrets_of_the_original_are_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    let yaml = dir.path().join("p.yaml");
    let conf = dir.path().join("c.conf");
    std::fs::write(&yaml, original()).unwrap();
    std::fs::write(&conf, CLIENT).unwrap();
    let loaded = config::load::<Config>("provisioner", &[yaml, conf], &Environment::new()).unwrap();
    let shown = format!("{} {:?}", loaded.masked(), loaded.config);
    assert!(
        !shown.contains("s3cret") && !shown.contains("provPass"),
        "{shown}"
    );
}

#[test]
fn what_only_protocol_v1_has_is_a_fault() {
    for (yaml, key) in [
        (
            "helper: x\nfeatures:\n  pki: true\n".to_owned(),
            "features.ed25519",
        ),
        (
            format!("{}choria_insecure: true\n", original()),
            "choria_insecure",
        ),
        (original().replace("workers: 4", "workers: -1"), "workers"),
        (original().replace(KEY, "\"\""), "jwt_verify_cert"),
        (original().replace("'two words'", "'two"), "helper"),
    ] {
        let faults = load(&yaml, CLIENT).unwrap_err();
        let keys: Vec<_> = faults.iter().map(Fault::key).collect();
        assert!(keys.contains(&key), "{key} not in {keys:?}");
    }
    let faults = load(&original(), "identity = x\n").unwrap_err();
    assert_eq!(faults[0].key(), "plugin.choria.middleware_hosts");
}

#[test]
fn other_names_are_not_files_of_the_original() {
    assert!(read_foreign(Path::new("provisioner.toml")).is_none());
    assert!(read_foreign(Path::new("provisioner")).is_none());
    assert!(read_foreign(Path::new("/nowhere/x.yaml")).unwrap().is_err());
}

#[test]
fn a_file_without_keys_is_a_fault_where_the_original_crashes() {
    for text in ["", "# nothing\n", "{}", "null"] {
        assert_eq!(Original::read(text), Err(OriginalError::NoKeys), "{text:?}");
    }
}
