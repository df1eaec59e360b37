use std::path::Path;

use overlay_runtime::config::{self, Loaded};
use overlay_runtime::nats::Reconnect;

use super::*;

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

#[test]
fn the_reference_is_a_configuration_and_shows_the_defaults() {
    let reference = Config::reference();
    let config = load(&reference).unwrap();
    assert_eq!(config.organisation, "choria");
    let bare = load(
        &directory("valid")
            .iter()
            .find(|(name, _)| name == "minimal")
            .unwrap()
            .1,
    )
    .unwrap();
    assert_eq!(
        (bare.limits, bare.refusals),
        (config.limits, config.refusals)
    );
    // Every key that is commented out is one that the file may have.
    let uncommented: String = reference
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(key) if key.contains(" = ") && !key.ends_with('.') => format!("{key}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let written_out = load(&uncommented).unwrap();
    assert_eq!(written_out.limits, config.limits);
    assert_eq!(
        written_out.streams.unwrap().plan,
        config.streams.unwrap().plan
    );
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
fn a_wait_that_grows_is_not_for_those_whom_others_wait_for() {
    let (_, text) = directory("valid")
        .into_iter()
        .find(|(name, _)| name == "minimal")
        .unwrap();
    let config = load(&text).unwrap();
    assert!(
        matches!(config.broker.reconnect, Reconnect::Eager { first, then, .. }
            if first < then && then <= Duration::from_millis(200))
    );
    assert!(config.streams.is_none() && config.provisioning.is_none() && config.system.is_none());
}

#[test]
fn everything_that_can_be_set_is_set() {
    let (_, text) = directory("valid")
        .into_iter()
        .find(|(name, _)| name == "full")
        .unwrap();
    let config = load(&text).unwrap();
    assert_eq!(config.organisation, "acme");
    assert_eq!(
        (config.certificates, config.node_expiry),
        (Certificates::Node, NodeExpiry::RustNodes)
    );
    assert!(config.certificate_hosts.holds("10.1.1.1") && config.offload.holds("192.0.2.4"));
    assert_eq!(config.denied.issuers_older_than, Some(400 * 86_400));
    assert!(config.silence_nodes && config.denied.tokens.contains("0ujsswThIGTUYm2K8FjOOfXtY1K"));
    let streams = config.streams.as_ref().unwrap();
    assert_eq!(
        (streams.plan.events.retention, streams.plan.events.replicas),
        (Duration::from_secs(48 * 3600), 5)
    );
    assert_eq!(
        (
            streams.plan.machine.replicas,
            streams.plan.executor.retention
        ),
        (3, Duration::ZERO)
    );
    let replication = streams.plan.replication.unwrap();
    assert_eq!(
        (
            replication.positions.replicas,
            replication.dead_letters.retention,
            replication.age_advisories.max_bytes
        ),
        (3, Duration::from_secs(24 * 3600), 1 << 20)
    );
    let [copy] = streams.copies.as_slice() else {
        panic!("one stream for copies");
    };
    assert_eq!(
        (copy.name.as_str(), copy.settings.retention),
        ("lon_CHORIA_EVENTS", Duration::from_secs(48 * 3600))
    );
    assert_eq!(streams.broker.name, "auth-1-streams");
    assert_eq!(config.limits.token_memory, 8 << 20);
    assert_eq!(config.runtime().admin, None);
}

#[test]
fn secrets_are_read_and_compared_with_the_brokers_keys() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str, mode: u32| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    let account = overlay_tokens::broker_jwt::AccountKey::generate().unwrap();
    let curve = overlay_tokens::broker_jwt::CurveKey::generate().unwrap();
    write(
        "account.nk",
        &format!("{}\n", *account.seed().unwrap()),
        0o600,
    );
    write("curve.nk", &curve.seed().unwrap(), 0o600);
    write("password", "secret\n", 0o600);
    write("open", "secret", 0o644);
    let (_, text) = directory("valid")
        .into_iter()
        .find(|(name, _)| name == "minimal")
        .unwrap();
    let load_keys = |change: fn(&mut Config, &Path)| {
        let mut config = load(&text).unwrap();
        config.callout.account_seed_file = dir.path().join("account.nk");
        config.callout.curve_seed_file = Some(dir.path().join("curve.nk"));
        change(&mut config, dir.path());
        Keys::load(&config, &Secrets::default())
    };
    let keys = load_keys(|_, _| {}).unwrap();
    assert_eq!(keys.account.public(), account.public());
    assert_eq!(keys.curve.unwrap().public(), curve.public());

    let errors = load_keys(|config, dir| {
        config.callout.issuer = Some("AOTHER".to_owned());
        config.callout.xkey = Some("XOTHER".to_owned());
        config.system = Some(SystemFiles {
            user: "system".into(),
            password_file: dir.join("open"),
        });
        config.provisioning = Some(ProvisioningFiles {
            password_file: dir.join("absent"),
            without_token: false,
            signer_file: Some(dir.join("password")),
            compat: ProvisioningCompat::default(),
        });
    })
    .unwrap_err();
    let faults: Vec<_> = errors.into_iter().map(KeysError::into_fault).collect();
    let keys: Vec<_> = faults.iter().map(Fault::key).collect();
    let wanted = [
        "callout.account_seed_file",
        "callout.curve_seed_file",
        "provisioning.password_file",
        "system.password_file",
        "provisioning.signer_file",
    ];
    assert_eq!(keys, wanted);
}

#[test]
fn the_files_of_every_overlay_are_taken() {
    let overlays = Path::new(env!("CARGO_MANIFEST_DIR")).join("../overlays");
    let base = overlays.join("base/config/broker-auth.toml");
    for overlay in std::fs::read_dir(&overlays).unwrap() {
        let site = overlay.unwrap().path().join("config/broker-auth.toml");
        if !site.is_file() {
            continue;
        }
        // A site's file has only what differs; it is read after the base.
        let files = [base.clone(), site.clone()];
        if let Err(faults) =
            config::load::<Config>("broker-auth", &files, &config::Environment::new())
        {
            panic!("{}: {faults:?}", site.display());
        }
    }
    assert!(base.is_file());
}
