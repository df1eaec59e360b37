//! The configuration: the reference, faults, and Choria's own files.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use overlay_runtime::config::{Environment, load, load_text};
use overlay_runtime::{FileConfig, Secrets};
use overlay_server::Config;
use overlay_server::config::{Authorization, Tls};
use overlay_tokens::{Key, file};

fn faults(text: &str) -> Vec<String> {
    match load_text::<Config>(text) {
        Ok(_) => Vec::new(),
        Err(faults) => faults.iter().map(|fault| fault.key().to_owned()).collect(),
    }
}

#[test]
fn the_reference_passes_its_own_check() {
    let config = load_text::<Config>(&Config::reference()).unwrap().config;
    assert_eq!(config.identity.as_str(), "n1.example.net");
    assert_eq!(config.authorization, Authorization::Off);
    assert_eq!(config.rpc.workers, 8);
    assert!(config.rpc.sign_replies);
}

#[test]
fn the_reference_shows_the_defaults() {
    let least = "identity = \"n1.example.net\"\ntoken_file = \"/etc/overlay/server.jwt\"\n\
                 [issuers]\nchoria = \"03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8\"\n\
                 [broker]\nservers = [\"nats://b:4222\"]\nca_file = \"/etc/overlay/ca.pem\"\n";
    let least = load_text::<Config>(least).unwrap().config;
    let shown = load_text::<Config>(&Config::reference()).unwrap().config;
    assert_eq!(least.rpc, shown.rpc);
    assert_eq!(least.refresh, shown.refresh);
    assert_eq!(least.alive_interval, shown.alive_interval);
    assert_eq!(least.broker.connect_timeout, shown.broker.connect_timeout);
    assert_eq!(least.broker.tls, shown.broker.tls);
    assert_eq!(least.grace(), shown.grace());
    assert_eq!(
        least.membership().unwrap().seed_file.to_str(),
        Some("/etc/overlay/server.key")
    );
}

#[test]
fn all_faults_are_told_in_one_run() {
    let text = "identity = \"a b\"\nmain_collective = \"x\"\nwibble = 1\n[broker]\n\
                servers = [\"b1\", \"http://b:1\"]\n[rpc]\nworkers = 0\nmax_ttl = \"soon\"\n";
    let found = faults(text);
    for key in [
        "identity",
        "wibble",
        "token_file",
        "issuers",
        "broker.servers",
        "broker.ca_file",
        "rpc.workers",
        "rpc.max_ttl",
        "main_collective",
    ] {
        assert!(
            found.iter().any(|found| found == key),
            "{key} is not in {found:?}"
        );
    }
}

/// Faults of a node whose token and seed lie in `dir`, the seed with `mode`.
fn faults_of_files(dir: &Path, mode: u32, secrets: &Secrets) -> Vec<String> {
    let (token, seed) = (dir.join("server.jwt"), dir.join("server.seed"));
    file::write_token(&token, "a.b.c").unwrap();
    let key = Key::from_seed([7; 32]);
    file::write_seed(&seed, &key, file::Overwrite::Yes).unwrap();
    std::fs::set_permissions(&seed, std::fs::Permissions::from_mode(mode)).unwrap();
    let text = format!(
        "identity = \"a\"\ntoken_file = {token:?}\nseed_file = {seed:?}\n[issuers]\n\
         choria = \"03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8\"\n\
         [broker]\nservers = [\"nats://127.0.0.1:4222\"]\ntls = false\n"
    );
    let config = load_text::<Config>(&text).unwrap().config;
    let faults = config.inspect(secrets);
    faults.iter().map(ToString::to_string).collect()
}

#[test]
fn a_seed_that_others_may_read_is_a_fault() {
    let dir = tempfile::tempdir().unwrap();
    let credentials = tempfile::tempdir().unwrap();
    for secrets in [
        Secrets::default(),
        Secrets::new(Some(credentials.path().to_owned())),
    ] {
        let faults = faults_of_files(dir.path(), 0o640, &secrets);
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].contains("seed_file"), "{faults:?}");
        assert!(faults[0].contains("0640"), "{faults:?}");
        assert_eq!(
            faults_of_files(dir.path(), 0o600, &secrets),
            Vec::<String>::new()
        );
    }
}

#[test]
fn a_seed_that_systemd_hands_over_is_guarded_by_its_directory() {
    let credentials = tempfile::tempdir().unwrap();
    let secrets = Secrets::new(Some(credentials.path().to_owned()));
    let faults = faults_of_files(credentials.path(), 0o440, &secrets);
    assert_eq!(faults, Vec::<String>::new());
}

#[test]
fn an_unencrypted_connection_stays_on_this_machine() {
    let text = |server: &str| {
        format!(
            "identity = \"a\"\ntoken_file = \"t\"\n[issuers]\n\
             choria = \"03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8\"\n\
             [broker]\nservers = [\"{server}\"]\ntls = false\n"
        )
    };
    assert_eq!(faults(&text("nats://127.0.0.1:4222")), Vec::<String>::new());
    assert_eq!(faults(&text("ws://[::1]:4223")), Vec::<String>::new());
    assert_eq!(faults(&text("nats://b.example.net:4222")), ["broker.tls"]);
    assert_eq!(faults(&text("wss://localhost:4222")), ["broker.tls"]);
    assert_eq!(
        faults(&text("nats://u:p@127.0.0.1:4222"))[0],
        "broker.servers"
    );
}

#[test]
fn a_file_of_a_choria_server_is_taken_and_can_be_amended() {
    let dir = tempfile::tempdir().unwrap();
    let theirs = dir.path().join("server.conf");
    std::fs::write(
        &theirs,
        "identity = n1.example.net\nplugin.security.provider = choria\n\
         plugin.choria.middleware_hosts = b1.example.net:4222\n\
         plugin.security.choria.token_file = /etc/choria/server.jwt\n\
         plugin.security.choria.seed_file = /etc/choria/server.seed\n\
         plugin.security.issuer.names = choria\n\
         plugin.security.issuer.choria.public = 03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8\n\
         rpcauthorization = 0\nloglevel = fatal\nplugin.nats.user = u\nplugin.nats.pass = hunter2\n\
         plugin.choria.status_update_interval = 10\nregistration = file_content\nwibble = 1\n",
    )
    .unwrap();
    let ours = dir.path().join("more.toml");
    std::fs::write(
        &ours,
        "[rpc]\nworkers = 2\n[facts]\nfile = \"/tmp/f.json\"\n",
    )
    .unwrap();
    let loaded = load::<Config>("server", &[theirs, ours], &Environment::new()).unwrap();
    assert!(!loaded.masked().contains("hunter2"));
    let config = loaded.config;
    assert_eq!(config.identity.as_str(), "n1.example.net");
    assert_eq!(config.broker.servers.hosts, ["nats://b1.example.net:4222"]);
    assert_eq!(config.broker.tls, Tls::Unverified);
    assert!(config.broker.login.is_some());
    assert_eq!(config.rpc.workers, 2);
    assert_eq!(config.authorization, Authorization::Off);
    assert_eq!(config.config_items["plugin.choria.use_srv"], false);
    assert!(config.config_file.ends_with("server.conf"));
    for about in ["registration ", "wibble ", "plugin.security.choria.ca "] {
        assert!(
            config
                .notices
                .iter()
                .any(|notice| notice.starts_with(about)),
            "{about}"
        );
    }
    assert_eq!(config.runtime().log.level, "error");
}

#[test]
fn a_choria_file_without_authorities_leaves_brokers_unverified_unless_the_operator_says_otherwise()
{
    let dir = tempfile::tempdir().unwrap();
    let (theirs, ours) = (
        dir.path().join("server.conf"),
        dir.path().join("server.toml"),
    );
    let settings = "identity = n1.example.net\nplugin.security.provider = choria\n\
        plugin.choria.middleware_hosts = b1.example.net:4222\n\
        plugin.security.choria.token_file = /etc/choria/server.jwt\n\
        plugin.security.choria.seed_file = /etc/choria/server.seed\n\
        plugin.security.issuer.names = choria\n\
        plugin.security.issuer.choria.public = 03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8\n\
        rpcauthorization = 0\n";
    let tls = |more: &str, own: &str| {
        std::fs::write(&theirs, format!("{settings}{more}")).unwrap();
        std::fs::write(&ours, own).unwrap();
        let loaded = load::<Config>(
            "server",
            &[ours.clone(), theirs.clone()],
            &Environment::new(),
        );
        match loaded {
            Ok(loaded) => Ok(loaded.config.broker.tls),
            Err(faults) => Err(faults
                .iter()
                .map(|fault| fault.key().to_owned())
                .collect::<Vec<_>>()),
        }
    };
    let verified = |file: &str| Ok(Tls::Verified(file.into()));
    assert_eq!(tls("", ""), Ok(Tls::Unverified));
    // Also where the file is missing, for which Choria does without the check.
    let named = "plugin.security.choria.ca = /nowhere/ca.pem\n";
    assert_eq!(tls(named, ""), verified("/nowhere/ca.pem"));
    assert_eq!(
        tls("", "[broker]\nca_file = \"/own.pem\"\n"),
        verified("/own.pem")
    );
    assert_eq!(
        tls("", "[broker]\nverify = true\n"),
        Err(vec!["broker.ca_file".to_owned()])
    );
    assert_eq!(
        tls(named, "[broker]\nverify = false\n"),
        Ok(Tls::Unverified)
    );
}
