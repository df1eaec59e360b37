use std::path::Path;

use overlay_runtime::config::{self, Loaded};

use super::*;

const MINIMAL: &str = r#"
[identity]
token_file = "/t"
seed_file = "/s"
[issuers]
choria = "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c"
[signer]
token_file = "/t"
seed_file = "/s"
[audit.file]
path = "/a"
"#;

fn load(text: &str) -> Result<Config, Vec<Fault>> {
    config::load_text::<Config>(text).map(|Loaded { config, .. }| config)
}

fn keys(faults: &[Fault]) -> Vec<&str> {
    faults.iter().map(Fault::key).collect()
}

#[test]
fn the_reference_is_a_configuration_and_shows_the_defaults() {
    let reference = Config::reference();
    let config = load(&reference).unwrap_or_else(|faults| panic!("{faults:?}"));
    let minimal = load(MINIMAL).unwrap();
    let (shown, default) = (config.signer.unwrap(), minimal.signer.unwrap());
    assert_eq!(shown.max_ttl, default.max_ttl);
    assert_eq!(config.policy, minimal.policy);
    // What is commented out in our own tables is a key with its default.
    let signer: String = signer::REFERENCE
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(key) if key.contains(" = ") => format!("{key}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let policy: String = policy::REFERENCE
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(key) if key.contains(" = ") && !key.ends_with('.') => format!("{key}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let (head, tail) = MINIMAL.split_once("[signer]").unwrap();
    let (_, tail) = tail.split_once("[audit.file]").unwrap();
    let written_out = load(&format!("{head}{signer}{policy}[audit.file]{tail}"))
        .unwrap_or_else(|faults| panic!("{faults:?}"));
    assert_eq!(written_out.policy, minimal.policy);
    let written_out = written_out.signer.unwrap();
    assert_eq!(
        (
            written_out.max_validity,
            written_out.max_ttl,
            written_out.clock_skew
        ),
        (default.max_validity, default.max_ttl, default.clock_skew)
    );
    assert_eq!(
        (
            written_out.service,
            written_out.in_flight,
            written_out.max_request_bytes
        ),
        (
            default.service,
            default.in_flight,
            default.max_request_bytes
        )
    );
    assert_eq!(written_out.tokens, default.tokens);
    assert_eq!(
        (written_out.unproved_per_second, written_out.unproved_burst),
        (default.unproved_per_second, default.unproved_burst)
    );
    assert_eq!(written_out.collectives, default.collectives);
}

#[test]
fn the_files_of_the_overlays_are_taken() {
    let overlays = Path::new(env!("CARGO_MANIFEST_DIR")).join("../overlays");
    let base = overlays.join("base/config/aaa-signer.toml");
    let mut sets = vec![vec![base.clone()]];
    for entry in std::fs::read_dir(&overlays).unwrap() {
        let site = entry.unwrap().path().join("config/aaa-signer.toml");
        if site.is_file() && site != base {
            sets.push(vec![base.clone(), site]);
        }
    }
    for files in sets {
        let loaded = config::load::<Config>("aaa-signer", &files, &Default::default());
        let loaded = loaded.unwrap_or_else(|faults| panic!("{files:?}: {faults:?}"));
        assert!(loaded.config.signer.is_some());
    }
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let text = r#"
[broker]
servers = []
seed_file = "/x"
[issuers]
choria = "zz"
[signer]
max_ttl = "0s"
collectives = ["a.b"]
in_flight = 0
max_request_bytes = 1000000
[policy]
time_limit = "0ms"
[tenants]
serve = ["Acme"]
[tenants.collectives]
globex = ["x y"]
[audit]
to = []
"#;
    let faults = load(text).unwrap_err();
    let told = keys(&faults);
    for key in [
        "identity.token_file",
        "identity.seed_file",
        "broker.seed_file",
        "broker.servers",
        "issuers.choria",
        "signer.token_file",
        "signer.seed_file",
        "signer.max_ttl",
        "signer.collectives",
        "signer.in_flight",
        "signer.max_request_bytes",
        "policy.time_limit",
        "tenants.serve",
        "tenants.collectives.globex",
        "audit.to",
    ] {
        assert!(told.contains(&key), "{key} is not in {told:?}");
    }
}

#[test]
fn an_instance_without_brokers_needs_no_token_but_a_name_for_its_record() {
    let (_, alone) = MINIMAL.split_once("[issuers]").unwrap();
    let alone = format!("[issuers]{alone}");
    assert_eq!(keys(&load(&alone).unwrap_err()), ["audit.name"]);
    assert!(load(&format!("{alone}\n[audit]\nname = \"aaa-1\"")).is_ok());
}

#[test]
fn the_one_key_of_the_original_is_trusted_as_organisation_and_as_chain_issuer() {
    let (head, tail) = MINIMAL.split_once("[issuers]").unwrap();
    let (_, tail) = tail.split_once("[signer]").unwrap();
    let key = "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c";
    let text = format!("{head}[original]\nverify_key = \"{key}\"\n[signer]{tail}");
    assert!(load(&text).is_ok());
}
