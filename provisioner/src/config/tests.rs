use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use overlay_runtime::config::{self, Loaded};
use overlay_testkit::mint::Organisation;

use super::*;
use crate::policy::Conflict;

fn directory(name: &str) -> Vec<(String, String)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/config")
        .join(name);
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            (
                path.file_stem().unwrap().to_string_lossy().into_owned(),
                std::fs::read_to_string(path).unwrap(),
            )
        })
        .collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

fn load(text: &str) -> Result<Config, Vec<Fault>> {
    config::load_text::<Config>(text).map(|Loaded { config, .. }| config)
}

fn valid(name: &str) -> Config {
    let files = directory("valid");
    let (_, text) = files.iter().find(|(file, _)| file == name).unwrap();
    load(text).unwrap()
}

fn all(source: SecretSource) -> NodeSecretSource {
    NodeSecretSource {
        source,
        names: Vec::new(),
    }
}

#[test]
fn the_reference_is_a_configuration_and_shows_the_defaults() {
    let reference = Config::reference();
    let config = load(&reference).unwrap();
    let bare = valid("minimal");
    // Every key that is commented out is one that the file may have, with its default or an example.
    let uncommented: String = reference
        .lines()
        .filter(|line| {
            !line.starts_with("# url =")
                && !line.starts_with("# token_file = \"/etc/overlay/provisioner/helper")
        })
        .filter(|line| !line.starts_with("# ca_file = \"/etc/overlay/tls"))
        .map(|line| match line.strip_prefix("# ") {
            Some(key) if key.contains(" = ") && !key.ends_with('.') => format!("{key}\n"),
            Some(table) if table.starts_with('[') => format!("{table}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let written_out = match load(&uncommented) {
        Ok(config) => config,
        Err(faults) => panic!("{faults:?}"),
    };
    for (name, config) in [("reference", &config), ("written out", &written_out)] {
        assert_eq!(config.calls, bare.calls, "{name}");
        assert_eq!(config.retry, bare.retry, "{name}");
        assert_eq!(config.issue, bare.issue, "{name}");
        assert_eq!(config.names, bare.names, "{name}");
        assert_eq!(config.limits, bare.limits, "{name}");
        assert_eq!(config.scan, bare.scan, "{name}");
        assert_eq!(config.streams, bare.streams, "{name}");
        assert_eq!(config.leader, bare.leader, "{name}");
        assert_eq!(config.collectives, bare.collectives, "{name}");
        assert_eq!(config.token_rate, bare.token_rate, "{name}");
        assert_eq!(config.component, bare.component, "{name}");
        let (one, other) = (
            config.helper.as_ref().unwrap(),
            bare.helper.as_ref().unwrap(),
        );
        assert_eq!(
            (one.limit, one.max_output, one.concurrency),
            (other.limit, other.max_output, other.concurrency),
            "{name}"
        );
    }
    let pki = written_out.features.pki.unwrap();
    let patterns: Vec<_> = pki.denied.iter().map(regex::Regex::as_str).collect();
    assert_eq!(patterns, DENIED_NAMES);
}

#[test]
fn valid_files_are_taken() {
    for (name, text) in directory("valid") {
        if let Err(faults) = load(&text) {
            panic!("{name}: {faults:?}");
        }
    }
}

#[test]
fn invalid_files_are_refused_with_every_fault_that_they_name() {
    for (name, text) in directory("invalid") {
        let faults = load(&text).map(|_| ()).expect_err(&name);
        let keys: Vec<_> = faults.iter().map(|fault| fault.key().to_owned()).collect();
        for line in text.lines().filter_map(|line| line.strip_prefix("#! ")) {
            assert!(
                keys.iter().any(|key| key == line),
                "{name}: {line} not among {keys:?}"
            );
        }
    }
}

#[test]
fn everything_that_can_be_set_is_set() {
    let config = valid("full");
    assert_eq!(config.identity.as_str(), "prov.lon.example.net");
    assert_eq!(
        (config.names.live, config.names.held),
        (Conflict::Refuse, Conflict::Allow)
    );
    assert_eq!(config.token_rate.unwrap().nodes.get(), 600);
    assert_eq!(config.token_rate.unwrap().burst.get(), 50);
    assert_eq!(config.site_rate.unwrap().per.as_secs(), 3600);
    assert_eq!(config.issue.min_validity.as_secs(), 10);
    assert_eq!(config.quarantine.duration.unwrap().as_secs(), 86_400);
    let secrets = &config.node_secrets;
    assert_eq!(secrets.len(), 2);
    assert!(secrets[0].names[0].is_match("n1.old.example.net") && secrets[1].names.is_empty());
    assert!(config.denied_tokens.contains("0ujsswThIGTUYm2K8FjOOfXtY1K"));
    assert_eq!(config.placements["lon-7"].collectives, ["choria", "lon"]);
    assert_eq!(config.streams.replicas, 3);
    assert!(config.leader.enabled && !config.original_metrics);
    assert_eq!(config.issuer_seed_file, Path::new("/run/keys/issuer.seed"));
    assert!(
        config.runtime().broker.is_none(),
        "the login is the service's own"
    );
}

#[test]
fn a_provisioner_signs_with_its_own_token_unless_another_is_named() {
    let config = valid("minimal");
    assert_eq!(
        Some(&config.issuer_token_file),
        config.login.token_file.as_ref()
    );
    assert_eq!(config.login.user, "provisioner");
}

#[test]
fn secrets_are_read_and_a_token_must_fit_its_seed() {
    let dir = tempfile::tempdir().unwrap();
    let organisation = Organisation::new();
    let (token, seed) = organisation
        .provisioner("provisioner=test")
        .write(dir.path(), "own");
    let (_, other_seed) = organisation
        .provisioner("provisioner=x")
        .write(dir.path(), "other");
    let write = |name: &str, text: &str, mode: u32| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    let secret = write("secret", "s3cret\n", 0o600);
    let open = write("open", "s3cret", 0o644);
    let keys = |change: &dyn Fn(&mut Config)| {
        let mut config = valid("minimal");
        config.login.token_file = Some(token.clone());
        config.login.seed_file = Some(seed.clone());
        config.issuer_token_file.clone_from(&token);
        config.issuer_seed_file.clone_from(&seed);
        config.login.password = SecretSource::File(secret.clone());
        config.node_secrets = vec![all(SecretSource::File(secret.clone()))];
        change(&mut config);
        Keys::load(&config, &Secrets::default())
    };
    let read = keys(&|_| {}).unwrap();
    assert_eq!(read.password.expose(), "s3cret");
    let secrets = &read.policy.secrets;
    assert!(secrets.len() == 1 && secrets[0].secret.expose() == "s3cret");
    assert!(!format!("{read:?}").contains("s3cret"));

    let errors = keys(&|config| {
        config.login.password = SecretSource::File(open.clone());
        config.node_secrets = vec![all(SecretSource::File(dir.path().join("absent")))];
        config.login.seed_file = Some(other_seed.clone());
        config.signer_file = Some(secret.clone());
    })
    .unwrap_err();
    let faults: Vec<_> = errors.into_iter().map(KeysError::into_fault).collect();
    let found: Vec<_> = faults.iter().map(Fault::key).collect();
    let wanted = [
        "broker.password_file",
        "nodes.secret_files",
        "nodes.signer_file",
        "login.token_file",
    ];
    assert_eq!(found, wanted);
}

#[test]
fn the_files_of_every_overlay_are_taken() {
    let overlays = Path::new(env!("CARGO_MANIFEST_DIR")).join("../overlays");
    let base = overlays.join("base/config/provisioner.toml");
    for overlay in std::fs::read_dir(&overlays).unwrap() {
        let site = overlay.unwrap().path().join("config/provisioner.toml");
        if !site.is_file() {
            continue;
        }
        // A site's file has only what differs; it is read after the base.
        let files = [base.clone(), site.clone()];
        if let Err(faults) =
            config::load::<Config>("provisioner", &files, &config::Environment::new())
        {
            panic!("{}: {faults:?}", site.display());
        }
    }
    assert!(base.is_file());
}
