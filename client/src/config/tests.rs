//! Configuration from files in a directory that stands for the root.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use super::{Config, ConfigError, DiscoveryMethod, Environment, LoginOver, SignerOver, TlsMode};
use crate::targets::LimitMethod;

const KEY: &str = "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8";

fn environment(root: &Path, variables: &[(&str, &str)]) -> Environment {
    let mut all = BTreeMap::from([(
        "HOME".to_owned(),
        root.join("home/bob")
            .to_str()
            .unwrap_or_default()
            .to_owned(),
    )]);
    all.extend(
        variables
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned())),
    );
    Environment {
        variables: all,
        current_dir: root.join("work/project"),
        host_name: "laptop.example.net".to_owned(),
        root: root.to_owned(),
    }
}

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap_or(root)).unwrap_or_default();
    fs::write(path, text).unwrap_or_default();
}

const OURS: &str = r#"
token_file = "client.jwt"
seed_file = "~/keys/client.seed"
[broker]
servers = ["nats://broker1.example.net:4222"]
"#;

const CHORIA: &str = "
# a comment
plugin.choria.use_srv = false
plugin.choria.middleware_hosts = nats://b1.example.net:4222, b2.example.net:4222
plugin.security.provider = choria
plugin.security.choria.token_file = ~/.config/choria/client.jwt
plugin.security.choria.seed_file = /etc/choria/client.key
collectives = ops,choria
discovery_timeout = 5
ttl = 30
rpclimitmethod = random
default_discovery_method = flatfile
libdir = /opt/a:/opt/b
";

#[test]
fn our_own_file_is_found_in_the_home_directory_and_paths_are_seen_from_it() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "home/bob/.config/overlay/client.toml", OURS);
    write(root.path(), "etc/overlay/client.toml", "servers = 1");
    let config = Config::load(None, &environment(root.path(), &[])).unwrap();
    let home = root.path().join("home/bob");
    assert_eq!(config.token_file, home.join(".config/overlay/client.jwt"));
    assert_eq!(config.seed_file, home.join("keys/client.seed"));
    assert_eq!(config.collective.as_str(), "choria");
    assert_eq!(config.identity.as_str(), "laptop.example.net");
    assert_eq!(config.tls.mode, TlsMode::Verify);
    assert_eq!(config.ttl, Duration::from_secs(60));
}

#[test]
fn the_environment_wins_over_the_file() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "etc/overlay/client.toml", OURS);
    let variables = [
        ("OVERLAY_BROKER__SERVERS", "nats://x:1, nats://y:2"),
        ("OVERLAY_COLLECTIVE", "ops"),
        ("OVERLAY_TOKEN_FILE", "here.jwt"),
        ("OVERLAY_BROKER__VERIFY", "false"),
        ("OVERLAY_DISCOVERY__TIMEOUT", "700ms"),
        ("OVERLAY_TTL", ""),
    ];
    let config = Config::load(None, &environment(root.path(), &variables)).unwrap();
    assert_eq!(config.servers, ["nats://x:1", "nats://y:2"]);
    assert_eq!(config.collective.as_str(), "ops");
    assert_eq!(config.token_file, root.path().join("work/project/here.jwt"));
    assert_eq!(config.tls.mode, TlsMode::Insecure);
    assert_eq!(config.discovery.timeout, Duration::from_millis(700));
    assert_eq!(config.ttl, Duration::from_secs(60));
}

#[test]
fn the_environment_alone_is_enough() {
    let root = tempfile::tempdir().unwrap();
    let variables = [
        ("OVERLAY_BROKER__SERVERS", "nats://x:1"),
        ("OVERLAY_TOKEN_FILE", "/t.jwt"),
        ("OVERLAY_SEED_FILE", "/t.seed"),
    ];
    let config = Config::load(None, &environment(root.path(), &variables)).unwrap();
    assert!(config.source.is_none());
}

#[test]
fn every_fault_is_told_at_once() {
    let root = tempfile::tempdir().unwrap();
    let text = "collective = \"a b\"\nlimit_method = \"some\"\n[broker]\nca_file = \"none.pem\"\n[issuers]\nchoria = \"xyz\"";
    write(root.path(), "etc/overlay/client.toml", text);
    let error = Config::load(None, &environment(root.path(), &[])).unwrap_err();
    let ConfigError::Invalid { faults, .. } = error else {
        panic!("{error}")
    };
    let all = faults.join("\n");
    for key in [
        "broker.servers",
        "collective",
        "limit_method",
        "broker.ca_file",
        "issuers.choria",
    ] {
        assert!(all.contains(key), "{key} is missing in {all}");
    }
}

#[test]
fn a_misspelt_key_is_refused() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "c.toml", "server = []");
    let file = root.path().join("c.toml");
    let error = Config::load(Some(&file), &environment(root.path(), &[])).unwrap_err();
    assert!(matches!(error, ConfigError::Syntax { .. }), "{error}");
}

#[test]
fn without_any_file_the_places_are_listed() {
    let root = tempfile::tempdir().unwrap();
    let error = Config::load(None, &environment(root.path(), &[])).unwrap_err();
    let ConfigError::NotFound { searched } = error else {
        panic!("{error}")
    };
    assert_eq!(searched.len(), 7);
}

#[test]
fn a_file_of_choria_is_read() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "etc/choria/client.conf", CHORIA);
    let key = format!("issuer.names = acme\nissuer.acme.public = {KEY}\n");
    write(root.path(), "etc/choria/plugin.d/security.cfg", &key);
    write(
        root.path(),
        "work/choria.conf",
        "main_collective = choria\nttl = 10",
    );
    write(root.path(), "work/project/choria.conf", "ttl = 20");
    let config = Config::load(None, &environment(root.path(), &[])).unwrap();
    assert_eq!(
        config.servers,
        ["nats://b1.example.net:4222", "nats://b2.example.net:4222"]
    );
    assert_eq!(
        config.token_file,
        root.path().join("home/bob/.config/choria/client.jwt")
    );
    assert_eq!(config.collective.as_str(), "choria");
    assert_eq!(config.ttl, Duration::from_secs(20));
    assert_eq!(config.discovery.timeout, Duration::from_secs(5));
    assert_eq!(config.discovery.method, DiscoveryMethod::File);
    assert_eq!(config.limit_method, LimitMethod::Random);
    assert_eq!(
        config.library_dirs,
        [Path::new("/opt/a"), Path::new("/opt/b")]
    );
    assert!(config.issuers.is_some());
}

#[test]
fn the_personal_file_of_choria_goes_without_plugin_files() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "home/bob/.choriarc", CHORIA);
    write(
        root.path(),
        "home/bob/plugin.d/security.cfg",
        "issuer.names = acme",
    );
    let config = Config::load(None, &environment(root.path(), &[])).unwrap();
    assert!(config.issuers.is_none());
    assert_eq!(config.collective.as_str(), "ops");
}

#[test]
fn choria_variables_count_where_choria_lets_them() {
    let root = tempfile::tempdir().unwrap();
    let text = format!("{CHORIA}plugin.nats.user = a\nplugin.nats.pass = b\n");
    write(root.path(), "etc/choria/client.conf", &text);
    let variables = [
        ("MCOLLECTIVE_NATS_USERNAME", "eve"),
        ("INSECURE_ANON_TLS", "true"),
    ];
    let config = Config::load(None, &environment(root.path(), &variables)).unwrap();
    let login = config.broker_user.unwrap();
    assert_eq!((login.user.as_str(), login.password.as_str()), ("eve", "b"));
    assert!(!format!("{login:?}").contains("\"b\""));
    assert_eq!(config.tls.mode, TlsMode::Insecure);
}

#[test]
fn x509_is_refused_with_the_reason() {
    let root = tempfile::tempdir().unwrap();
    let text = "collectives = choria";
    write(root.path(), "etc/choria/client.conf", text);
    let error = Config::load(None, &environment(root.path(), &[])).unwrap_err();
    assert!(error.to_string().contains("x509"), "{error}");
}

fn choria(root: &Path, more: &str) -> Result<Config, ConfigError> {
    let text = format!("{CHORIA}{more}\n");
    write(root, "etc/choria/client.conf", &text);
    Config::load(None, &environment(root, &[]))
}

#[test]
fn the_signer_and_the_login_service_of_a_file_of_choria_are_read() {
    let root = tempfile::tempdir().unwrap();
    let none = choria(root.path(), "").unwrap();
    assert!(none.signer.is_none());
    assert_eq!(none.login.over, None);

    write(root.path(), "etc/ca.pem", "x");
    let ca = root.path().join("etc/ca.pem");
    let text = format!(
        "plugin.choria.security.request_signer.url = https://aaa:8443/choria/v1/sign\n\
         plugin.login.aaasvc.login.url = https://a/choria/v1/login, https://b/choria/v1/login\n\
         plugin.security.choria.ca = {}",
        ca.display()
    );
    let config = choria(root.path(), &text).unwrap();
    let signer = config.signer.unwrap();
    assert_eq!(signer.timeout, Duration::from_secs(12));
    let SignerOver::Web(web) = signer.over else {
        panic!("{signer:?}")
    };
    assert_eq!(web.urls, ["https://aaa:8443/choria/v1/sign"]);
    assert_eq!((web.ca_file.as_ref(), web.insecure), (Some(&ca), false));
    assert_eq!(config.login.over, Some(LoginOver::Https));
    assert_eq!(config.login.web.urls.len(), 2);
    assert_eq!(config.login.web.ca_file, Some(ca));

    // The service wins over the address.
    let service = format!("{text}\nplugin.choria.security.request_signer.service = true");
    let config = choria(root.path(), &service).unwrap();
    assert!(matches!(config.signer.unwrap().over, SignerOver::Broker));
}

#[test]
fn what_choria_refuses_beside_its_security_provider_is_refused() {
    let root = tempfile::tempdir().unwrap();
    for (text, fault) in [
        (
            "plugin.choria.security.request_signer.token_file = /t",
            "plugin.choria.security.request_signer.token_file can not be used when the choria security provider is used",
        ),
        (
            "plugin.choria.security.request_signer.seed_file = /t",
            "plugin.choria.security.request_signer.seed_file can not be used",
        ),
        (
            "plugin.security.client_anon_tls = true",
            "anonymous TLS can only be enabled when a remote signer is configured",
        ),
        (
            "plugin.security.client_anon_tls = true\nplugin.choria.security.request_signer.service = 1",
            "plugin.security.client_anon_tls can not be used",
        ),
    ] {
        let error = choria(root.path(), text).unwrap_err();
        assert!(error.to_string().contains(fault), "{text}: {error}");
    }
    let without = CHORIA.replace("plugin.security.choria.", "plugin.other.");
    write(root.path(), "etc/choria/client.conf", &without);
    let error = Config::load(None, &environment(root.path(), &[])).unwrap_err();
    for fault in [
        "the path to the JWT token is not configured",
        "the path to the ed25519 seed is not configured",
    ] {
        assert!(error.to_string().contains(fault), "{error}");
    }
}

#[test]
fn the_program_that_choria_would_run_is_found_in_the_path_for_its_files_only() {
    let root = tempfile::tempdir().unwrap();
    for name in ["bin1/choria-login", "bin2/choria-login"] {
        write(root.path(), name, "#!/bin/sh\n");
    }
    let program = root.path().join("bin2/choria-login");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("bin2:{0}/bin1:{0}/bin2", root.path().display());
    let surroundings = environment(root.path(), &[("PATH", &path)]);
    write(root.path(), "etc/choria/client.conf", CHORIA);
    let config = Config::load(None, &surroundings).unwrap();
    assert_eq!(config.login.helper, Some(program));
    write(root.path(), "etc/overlay/client.toml", OURS);
    let config = Config::load(None, &surroundings).unwrap();
    assert_eq!(config.login.helper, None);
}

#[test]
fn our_own_file_names_signer_and_login_service() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "etc/overlay/ca.pem", "x");
    let text = format!(
        "{OURS}[signer]\nurl = \"https://aaa/choria/v1/sign\"\nca_file = \"ca.pem\"\ntimeout = \"3s\"\n\
         [login]\nurls = [\"https://a\", \"http://127.0.0.1:1\", \"http://localhost/x\"]\nuser = \"rip\"\nover = \"broker\"\n"
    );
    write(root.path(), "etc/overlay/client.toml", &text);
    let config = Config::load(None, &environment(root.path(), &[])).unwrap();
    let signer = config.signer.unwrap();
    assert_eq!(signer.timeout, Duration::from_secs(3));
    let SignerOver::Web(web) = signer.over else {
        panic!("{signer:?}")
    };
    assert_eq!(web.ca_file, Some(root.path().join("etc/overlay/ca.pem")));
    assert_eq!(config.login.over, Some(LoginOver::Broker));
    assert_eq!(config.login.web.urls.len(), 3);
    assert_eq!(config.login.user.as_deref(), Some("rip"));
    let variables = [
        ("OVERLAY_SIGNER__SERVICE", "true"),
        ("OVERLAY_LOGIN__OVER", "https"),
        ("OVERLAY_LOGIN__URLS", "https://x, https://y"),
    ];
    let config = Config::load(None, &environment(root.path(), &variables)).unwrap();
    assert!(matches!(config.signer.unwrap().over, SignerOver::Broker));
    assert_eq!(config.login.over, Some(LoginOver::Https));
    assert_eq!(config.login.web.urls, ["https://x", "https://y"]);
}

#[test]
fn secrets_do_not_go_to_anybody_in_the_open() {
    let root = tempfile::tempdir().unwrap();
    for (table, text, fault) in [
        (
            "login",
            "url = \"http://aaa.example.net\"",
            "is not encrypted",
        ),
        (
            "signer",
            "url = \"http://10.1.2.3/sign\"",
            "is not encrypted",
        ),
        (
            "login",
            "url = \"https://bob:pw@aaa\"",
            "do not go into an address",
        ),
        ("login", "url = \"ftp://aaa\"", "neither https nor http"),
        ("login", "url = \"aaa\"", "neither https nor http"),
        (
            "signer",
            "url = \"https://x\"\nca_file = \"no.pem\"",
            "there is no file",
        ),
        ("login", "over = \"pigeon\"", "neither https nor broker"),
        ("login", "over = \"https\"", "`login.urls` must be given"),
    ] {
        let text = format!("{OURS}[{table}]\n{text}\n");
        write(root.path(), "etc/overlay/client.toml", &text);
        let error = Config::load(None, &environment(root.path(), &[])).unwrap_err();
        assert!(error.to_string().contains(fault), "{text}: {error}");
        assert!(!error.to_string().contains("pw"), "{error}");
    }
    let text = format!("{OURS}[login]\nurl = \"http://aaa.example.net\"\nverify = false\n");
    write(root.path(), "etc/overlay/client.toml", &text);
    let config = Config::load(None, &environment(root.path(), &[])).unwrap();
    assert!(config.login.web.insecure);
}

#[test]
fn without_a_word_about_them_token_and_seed_are_the_users_own() {
    let root = tempfile::tempdir().unwrap();
    let text = "[broker]\nservers = [\"nats://x:1\"]\n";
    write(root.path(), "etc/overlay/client.toml", text);
    let config = Config::load(None, &environment(root.path(), &[])).unwrap();
    let own = root.path().join("home/bob/.config/overlay");
    assert_eq!(config.token_file, own.join("client.jwt"));
    assert_eq!(config.seed_file, own.join("client.seed"));
    // One alone is a mistake.
    write(
        root.path(),
        "etc/overlay/client.toml",
        &format!("token_file = \"t\"\n{text}"),
    );
    let error = Config::load(None, &environment(root.path(), &[])).unwrap_err();
    assert!(
        error.to_string().contains("`seed_file` is missing"),
        "{error}"
    );
}

#[test]
fn a_password_in_a_url_is_refused_without_showing_it() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "etc/overlay/client.toml", OURS);
    let variables = [("OVERLAY_BROKER__SERVERS", "nats://bob:secret@x:1")];
    let error = Config::load(None, &environment(root.path(), &variables)).unwrap_err();
    assert!(
        error.to_string().contains("broker.password_file"),
        "{error}"
    );
    assert!(
        !format!("{error} {error:?}").contains("secret"),
        "{error:?}"
    );
}
