//! `overlay provision tokens`: tokens of new nodes, without any broker.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use overlay_testkit::mint::Authority;
use overlay_tokens::claims::ProvisioningClaims;
use overlay_tokens::{PublicKey, UnixTime, Unverified, VerifyKey};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::desk::{Run, run};

/// A directory with an issuer's keys, and its tokens.
struct Bench(TempDir);

impl Bench {
    fn new() -> Self {
        let bench = Self(tempfile::tempdir().unwrap());
        bench.run("jwt keys issuer.seed issuer.public").ok();
        bench
    }

    fn dir(&self) -> &Path {
        self.0.path()
    }

    fn run(&self, command: &str) -> Run {
        let args: Vec<&str> = command.split_ascii_whitespace().collect();
        run(self.dir(), &args, None)
    }

    /// Makes `node.jwt` with these flags besides those that are always needed.
    fn create(&self, flags: &str) -> Run {
        fs::write(self.dir().join("secret"), "s3cret\n").unwrap();
        self.run(&format!(
            "provision tokens create node.jwt issuer.seed --token-file secret {flags}"
        ))
    }

    fn claims(&self) -> ProvisioningClaims {
        let text = fs::read_to_string(self.dir().join("node.jwt")).unwrap();
        let public = fs::read_to_string(self.dir().join("issuer.public")).unwrap();
        let key: VerifyKey = public.parse::<PublicKey>().unwrap().into();
        let token = Unverified::<ProvisioningClaims>::decode(&text).unwrap();
        let verified = token.verify_with_key(&key, now()).unwrap();
        verified.into_claims()
    }

    fn extensions(&self) -> Value {
        self.claims().extensions.map_or(Value::Null, Value::Object)
    }
}

#[expect(clippy::disallowed_methods, reason = "tokens begin now")]
fn now() -> UnixTime {
    std::time::SystemTime::now().into()
}

#[test]
fn a_token_has_what_nodes_and_provisioner_need() {
    let bench = Bench::new();
    bench
        .create(
            "--urls b1.example.net:4222 --urls nats://b2:4222 --site lhr --upgrade --validity 7d",
        )
        .ok();
    let claims = bench.claims();
    assert_eq!(claims.cht.expose(), "s3cret");
    assert_eq!(claims.chu, "b1.example.net:4222,nats://b2:4222");
    assert!(claims.chpd && claims.v2 && claims.update && !claims.chs);
    assert_eq!(claims.ou.as_deref(), Some("choria"));
    assert_eq!(bench.extensions(), json!({ "site": "lhr" }));
    let standard = &claims.standard;
    assert_eq!(
        standard.expires_at().unwrap() - standard.iat.unwrap(),
        7 * 86_400
    );
    let mode = fs::metadata(bench.dir().join("node.jwt"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_token_is_narrowed_to_a_node_an_enrolment_and_an_authority() {
    let bench = Bench::new();
    let authority = Authority::new();
    let ca = authority.ca_file();
    bench
        .create(&format!(
            "--srv example.net --node n1.example.net --one-time --no-default --pin-ca {} --extensions {{\"rack\":7}}",
            ca.display()
        ))
        .ok();
    let extensions = bench.extensions();
    assert_eq!(extensions["rack"], 7);
    let ours = &extensions["overlay"];
    assert_eq!(ours["identity"], "n1.example.net");
    assert_eq!(ours["one_time"], true);
    let pins = ours["ca_sha256"].as_array().unwrap();
    assert_eq!(pins.len(), 1);
    assert_eq!(pins[0].as_str().unwrap().len(), 64);
    assert!(!bench.claims().chpd);
    let shown = bench
        .run("provision tokens check node.jwt --issuer issuer.public")
        .ok();
    assert!(
        shown.stdout.contains("for n1.example.net only, once"),
        "{shown:?}"
    );
    assert!(shown.stdout.contains("authorities pinned: 1"), "{shown:?}");
    assert!(
        shown.stdout.contains("! nodes do not provision by default"),
        "{shown:?}"
    );
}

#[test]
fn a_secret_is_made_once_and_never_replaced() {
    let bench = Bench::new();
    let command =
        "provision tokens create node.jwt issuer.seed --urls b:1 --token-file made --generate";
    bench.run(command).ok();
    let secret = fs::read_to_string(bench.dir().join("made")).unwrap();
    assert_eq!(secret.len(), 64);
    assert_eq!(bench.claims().cht.expose(), secret);
    bench.run(command).fails(1, "exists and is not overwritten");
    bench.run(&command.replace(" --generate", "")).ok();
    assert_eq!(bench.claims().cht.expose(), secret);
}

#[test]
fn what_nodes_would_ignore_is_not_made() {
    let bench = Bench::new();
    for (flags, code, why) in [
        ("--urls b:1 --srv example.net", 2, "cannot be used with"),
        ("", 2, "--urls"),
        ("--urls broker.example.net", 2, "it needs a port"),
        ("--urls http://b:80", 2, "no scheme of a broker"),
        (
            "--urls b:1 --extensions {\"overlay\":{}}",
            2,
            "must not have `overlay`",
        ),
        (
            "--urls b:1 --site a --extensions {\"site\":\"b\"}",
            2,
            "both give `site`",
        ),
        ("--urls b:1 --node *", 2, "--node"),
        ("--urls b:1 --validity 0s", 2, "without validity"),
        ("--urls b:1 --pin-ca secret", 1, "holds no certificate"),
        ("--urls b:1 --pin-ca nowhere", 1, "cannot read nowhere"),
    ] {
        bench.create(flags).fails(code, why);
        assert!(!bench.dir().join("node.jwt").exists(), "{flags}");
    }
    fs::write(bench.dir().join("empty"), "\n").unwrap();
    bench
        .run("provision tokens create node.jwt issuer.seed --urls b:1 --token-file empty")
        .fails(1, "the secret is empty");
    fs::write(bench.dir().join("long"), "x".repeat(129)).unwrap();
    bench
        .run("provision tokens create node.jwt issuer.seed --urls b:1 --token-file long")
        .fails(1, "128 is the most");
}

#[test]
fn secrets_are_never_shown() {
    let bench = Bench::new();
    bench.create("--urls b:1").ok();
    for command in [
        "provision tokens view node.jwt",
        "provision tokens view node.jwt --json",
    ] {
        let shown = bench.run(&format!("{command} --issuer issuer.public")).ok();
        assert!(!shown.stdout.contains("s3cret"), "{shown:?}");
        assert!(shown.stdout.contains("*****"), "{shown:?}");
    }
    let shown = bench
        .run("provision tokens view node.jwt --issuer issuer.public --json")
        .ok();
    assert_eq!(shown.json()["overlay"]["verified"], true);
}

#[test]
fn a_check_tells_monitoring_what_is_wrong() {
    let bench = Bench::new();
    bench.create("--urls b:1 --validity 30d").ok();
    bench.run("jwt keys other.seed other.public").ok();
    for (flags, code, why) in [
        ("--issuer issuer.public", 0, ""),
        ("--issuer other.public", 1, "it would be refused"),
        ("--validity-min 60d", 1, "before --validity-min"),
        ("--validity-min 20d --validity-max 40d", 0, ""),
        ("--validity-max 20d", 1, "beyond --validity-max"),
    ] {
        let run = bench.run(&format!("provision tokens check node.jwt {flags}"));
        assert_eq!(run.code, code, "{flags}: {run:?}");
        assert!(run.stdout.contains(why), "{flags}: {run:?}");
    }
    let told = bench.run("provision tokens check node.jwt --validity-max 20d --json");
    assert_eq!(told.code, 1);
    assert_eq!(told.json()["good"], false);
    assert_eq!(told.json()["faults"], 1);
}

#[test]
fn tokens_that_others_made_badly_are_found() {
    let bench = Bench::new();
    for (flags, fault) in [
        ("--token s --urls a", "✗ a: it needs a port"),
        ("--token s --urls a:1", "✗ it is for protocol version 1"),
        (
            "--token s --urls a:1 --protocol-v2 --username provisioner",
            "✗ its user `provisioner`",
        ),
        (
            "--token s --urls a:1 --protocol-v2 --extensions {\"overlay\":{\"new\":1}}",
            "✗ extensions.overlay",
        ),
        (
            "--token s --urls a:1 --protocol-v2 --extensions {\"overlay\":{\"ca_sha256\":[\"00\"]}}",
            "✗ extensions.overlay",
        ),
    ] {
        bench
            .run(&format!(
                "jwt provisioner node.jwt issuer.seed --default {flags}"
            ))
            .ok();
        let run = bench.run("provision tokens check node.jwt");
        assert_eq!(run.code, 1, "{flags}: {run:?}");
        assert!(run.stdout.contains(fault), "{flags}: {run:?}");
    }
}

#[test]
fn other_tokens_are_not_taken_for_provisioning_tokens() {
    let bench = Bench::new();
    bench
        .run("jwt client node.jwt up=bob issuer.seed --public-key issuer.public")
        .ok();
    for verb in ["check", "view"] {
        bench
            .run(&format!("provision tokens {verb} node.jwt"))
            .fails(1, "is the token of a client, not a provisioning token");
        bench
            .run(&format!("provision tokens {verb} issuer.public"))
            .fails(1, "holds no token");
    }
}
