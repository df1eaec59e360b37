//! The actions of the provisioning agent on files, without a broker.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use overlay_protocol::rpc::StatusCode;
use overlay_runtime::Environment;
use overlay_server::Program;
use overlay_server::agent::Answer;
use overlay_server::config::Tls;
use overlay_server::effect::{Effect, Orders, channel};
use overlay_server::provisioning::{
    Applicant, Asked, Files, Former, Stance, Standing, Ticket, csr,
};
use overlay_testkit::mint::{self, Organisation};
use overlay_tokens::file::{Overwrite, write_seed};
use overlay_tokens::issue::{ProvisioningToken, ServerToken, sign};
use overlay_tokens::key_transport::{ExchangeKey, encrypt_private_key};
use overlay_tokens::{PublicKey, UnixTime};
use serde_json::{Value, json};
use tempfile::TempDir;

const NODE: &str = "n1.example.net";
const SECRET: &str = "s3cret-token";

pub(crate) struct Desk {
    dir: TempDir,
    pub(crate) org: Organisation,
    pub(crate) applicant: Applicant,
    orders: Orders,
    now: UnixTime,
}

impl Desk {
    pub(crate) fn new(stance: Stance) -> Self {
        Self::with(stance, |_| {})
    }

    pub(crate) fn with(stance: Stance, change: impl FnOnce(&mut ProvisioningToken)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let org = Organisation::new();
        let mut token = ProvisioningToken {
            token: SECRET.into(),
            urls: vec!["nats://127.0.0.1:1".to_owned()],
            by_default: true,
            validity: Duration::from_secs(3600),
            ..ProvisioningToken::default()
        };
        change(&mut token);
        let place = dir.path().join("provisioning.jwt");
        std::fs::write(&place, org.provisioning(token)).unwrap();
        let configuration = dir.path().join("server.conf");
        let environment =
            Environment::from([("OVERLAY_SERVER__IDENTITY".to_owned(), NODE.to_owned())]);
        let (effects, orders) = channel();
        let program = dir.path().join("program");
        std::fs::write(&program, "old").unwrap();
        let applicant = Applicant::new(
            stance,
            NODE.parse().unwrap(),
            Arc::new(Ticket::read(&place).unwrap()),
            Files {
                former: Former::beside(&configuration),
                configuration: configuration.clone(),
            },
            Program::upcoming("server", &[configuration], &environment),
            effects,
        )
        .with_program(program, None);
        Self {
            dir,
            org,
            applicant,
            orders,
            now: mint::now(),
        }
    }

    fn ask(&self, action: &str, mut data: Value) -> Answer {
        if data.get("token").is_none() {
            data["token"] = SECRET.into();
        }
        self.applicant.act(&Asked {
            action: action.to_owned(),
            data: data.as_object().unwrap().clone(),
            caller: "provisioner=cell".to_owned(),
            sender: "p1.example.net".to_owned(),
            request: "2ecvzXAzWRTIbJ5YMQTXGLJmC8V".to_owned(),
            now: self.now,
        })
    }

    pub(crate) fn well(&self, action: &str, data: Value) -> Value {
        let answer = self.ask(action, data);
        assert_eq!(
            answer.status,
            StatusCode::Ok,
            "{action}: {}",
            answer.message
        );
        answer.data
    }

    pub(crate) fn refused(&self, action: &str, data: Value) -> String {
        let answer = self.ask(action, data);
        assert_eq!(answer.status, StatusCode::Aborted, "{answer:?}");
        assert_eq!(answer.data, json!({}));
        answer.message
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    fn mode(&self, name: &str) -> u32 {
        std::fs::metadata(self.path(name))
            .unwrap()
            .permissions()
            .mode()
            & 0o7777
    }

    /// All files below the directory, sorted.
    pub(crate) fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut left = vec![self.dir.path().to_owned()];
        while let Some(dir) = left.pop() {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    left.push(path);
                } else {
                    let name = path.strip_prefix(self.dir.path()).unwrap();
                    found.push(name.display().to_string());
                }
            }
        }
        found.retain(|name| name != "provisioning.jwt" && name != "program");
        found.sort();
        found
    }

    pub(crate) fn server_token(&self, identity: &str, public: &PublicKey) -> String {
        let token = ServerToken {
            identity: identity.to_owned(),
            public_key: Some(*public),
            ..ServerToken::default()
        };
        self.org.server(token).token
    }

    /// Makes a key and tells its public half.
    pub(crate) fn key(&self) -> PublicKey {
        let made = self.well("gen25519", json!({"nonce": "abc"}));
        made["public_key"].as_str().unwrap().parse().unwrap()
    }
}

pub(crate) fn config() -> String {
    json!({"identity": NODE, "plugin.choria.server.provision": "false", "loglevel": "info"})
        .to_string()
}

#[test]
fn provision_case_18_the_bytes_of_the_nonces_text_are_signed() {
    let desk = Desk::new(Stance::Unprovisioned);
    let nonce = "000102030405060708090a0b0c0d0e0f";
    let made = desk.well("gen25519", json!({"nonce": nonce}));
    let (public, signature) = (
        made["public_key"].as_str().unwrap(),
        made["signature"].as_str().unwrap(),
    );
    overlay_tokens::verify_possession(nonce, public, signature).unwrap();
    let decoded = String::from_utf8((0..16).collect()).unwrap();
    assert!(overlay_tokens::verify_possession(&decoded, public, signature).is_err());
    assert_eq!(made["directory"], desk.dir.path().display().to_string());
    assert_eq!(desk.mode("server.seed"), 0o600);
    // What is longer than a nonce might be a message that means something.
    let message = desk.refused("gen25519", json!({"nonce": "x".repeat(65)}));
    assert!(
        message.starts_with("Could not sign the nonce: "),
        "{message}"
    );
}

#[test]
fn provision_case_20_policies_have_their_endings_and_stay_in_their_directory() {
    let desk = Desk::new(Stance::Unprovisioned);
    let configure = |policies: Value| {
        let mut data = policies;
        data["config"] = config().into();
        data
    };
    let message = desk.refused(
        "configure",
        configure(json!({"action_policies": {"rpcutil": "policy default deny"}})),
    );
    assert_eq!(
        message,
        "Could not save Action Policies: expected \"rpcutil\" to have .policy extension"
    );
    for name in [
        "../x.policy",
        "a/b.policy",
        ".policy",
        "/etc/x.policy",
        "a\nb.policy",
    ] {
        let message = desk.refused(
            "configure",
            configure(json!({"action_policies": {name: "x"}})),
        );
        assert!(
            message.starts_with("Could not save Action Policies: "),
            "{message}"
        );
    }
    let message = desk.refused(
        "configure",
        configure(json!({"opa_policies": {"../x.rego": "x"}})),
    );
    assert!(
        message.starts_with("Could not save Open Policy Agent Policies: "),
        "{message}"
    );
    assert_eq!(desk.files(), Vec::<String>::new());

    desk.well(
        "configure",
        configure(json!({
            "action_policies": {"rpcutil.policy": "policy default deny", "empty.policy": ""},
            "opa_policies": {"default.rego": "package x"},
        })),
    );
    assert_eq!(
        desk.files(),
        [
            "policies/rego/default.rego",
            "policies/rpcutil.policy",
            "server.conf"
        ]
    );
    assert_eq!(desk.mode("policies/rpcutil.policy"), 0o400);
    assert_eq!(desk.mode("policies"), 0o700);
    // Rego files alone leave the others, those alone leave no Rego files.
    desk.well(
        "configure",
        configure(json!({"opa_policies": {"b.rego": "package b"}})),
    );
    assert_eq!(
        desk.files(),
        [
            "policies/rego/b.rego",
            "policies/rpcutil.policy",
            "server.conf"
        ]
    );
    desk.well(
        "configure",
        configure(json!({"action_policies": {"c.policy": "x"}})),
    );
    assert_eq!(desk.files(), ["policies/c.policy", "server.conf"]);
}

#[test]
fn provision_case_22_a_private_key_arrives_encrypted_or_not_at_all() {
    let desk = Desk::new(Stance::Unprovisioned);
    // A key as helpers return it.
    let key = csr::make(csr::Subject::default()).unwrap().private_key;
    let ssl = desk.path("ssl").display().to_string();
    let with = |key: &str, public: &str| json!({"config": config(), "certificate": "C", "ca": "A", "ssldir": ssl, "key": key, "ecdh_public": public});
    assert_eq!(
        desk.refused("configure", with("x", "")),
        "EDCH Public Key not supplied while providing a private key"
    );
    let peer = ExchangeKey::generate().unwrap();
    assert_eq!(
        desk.refused("configure", with(&key, &peer.public_hex())),
        "TLS Setup Failed: could not decrypt private key: private key not set"
    );
    let shown = desk.well("jwt", json!({}));
    assert_eq!(
        desk.refused("configure", with(&key, &peer.public_hex())),
        "TLS Setup Failed: could not decrypt private key: key is not encrypted"
    );
    for weak in ["zz", &"00".repeat(32)] {
        let message = desk.refused("configure", with(&key, weak));
        assert!(
            message.starts_with("TLS Setup Failed: could not decrypt private key: "),
            "{message}"
        );
    }
    // Nothing of it stays: Choria's node would have kept certificate and authorities.
    assert_eq!(desk.files(), Vec::<String>::new());
    let shared = peer.shared(shown["ecdh_public"].as_str().unwrap()).unwrap();
    let encrypted = encrypt_private_key(&key, &shared, [7; 16]).unwrap();
    let mut data = with(&encrypted, &peer.public_hex());
    data["ssldir"] = ssl.clone().into();
    desk.well("configure", data);
    assert_eq!(
        desk.files(),
        [
            "server.conf",
            "ssl/ca.pem",
            "ssl/certificate.pem",
            "ssl/private.pem"
        ]
    );
    assert_eq!(desk.read("ssl/private.pem"), *key);
    assert_eq!(
        (desk.mode("ssl/private.pem"), desk.mode("ssl/ca.pem")),
        (0o600, 0o644)
    );
}

#[test]
fn a_server_token_is_for_this_node_and_the_key_it_made() {
    let desk = Desk::new(Stance::Unprovisioned);
    let public = desk.key();
    let before = desk.files();
    let stranger = mint::key().public();
    for token in [
        "not a token\n".to_owned(),
        desk.server_token("other.example.net", &public),
        desk.server_token(NODE, &stranger),
    ] {
        let data = json!({"config": config(), "server_jwt": token});
        let message = desk.refused("configure", data);
        assert!(message.starts_with("JWT Setup Failed: "), "{message}");
    }
    assert_eq!(desk.files(), before);
    let token = desk.server_token(NODE, &public);
    desk.well(
        "configure",
        json!({"config": config(), "server_jwt": token}),
    );
    assert_eq!(desk.read("server.jwt"), token);
    assert_eq!(desk.mode("server.jwt"), 0o600);
}

#[test]
fn values_with_line_breaks_do_not_become_settings() {
    let desk = Desk::new(Stance::Unprovisioned);
    let evil =
        json!({"identity": "n1.example.net\nplugin.choria.server.provision=true"}).to_string();
    let message = desk.refused("configure", json!({"config": evil}));
    assert!(message.starts_with("Could not write config: "), "{message}");
    assert_eq!(desk.files(), Vec::<String>::new());
}

#[test]
fn a_link_to_the_configuration_stays_a_link() {
    let desk = Desk::new(Stance::Unprovisioned);
    let real = desk.path("real.conf");
    std::fs::write(&real, "old").unwrap();
    std::os::unix::fs::symlink(&real, desk.path("server.conf")).unwrap();
    desk.well("configure", json!({"config": config()}));
    assert!(
        std::fs::symlink_metadata(desk.path("server.conf"))
            .unwrap()
            .is_symlink()
    );
    assert!(desk.read("real.conf").contains("loglevel=info"));
}

#[test]
fn effects_come_in_order_and_only_one_end() {
    let mut desk = Desk::new(Stance::Member);
    std::fs::write(desk.path("server.conf"), "loglevel = info\n").unwrap();
    desk.well("restart", json!({"splay": 1}));
    desk.well("restart", json!({"splay": 5}));
    desk.well("shutdown", json!({}));
    let restart = desk.orders.waiting();
    assert!(
        matches!(restart, Some(Effect::Restart(delay)) if delay == Duration::from_secs(2)),
        "{restart:?}"
    );
    assert!(desk.orders.waiting().is_none());
}

#[test]
fn a_member_is_not_restarted_into_provisioning_by_a_negative_splay_or_a_strange_one() {
    let desk = Desk::new(Stance::Member);
    for splay in [json!(-1), json!(i64::MIN), json!(i64::MAX)] {
        desk.refused("restart", json!({"splay": splay}));
    }
    let answer = desk.ask("restart", json!({"splay": "1"}));
    assert_eq!(answer.status, StatusCode::InvalidData);
}

#[test]
fn a_member_whose_invitation_is_gone_does_not_go_back() {
    let mut desk = Desk::new(Stance::Member);
    std::fs::write(desk.path("server.conf"), "kept").unwrap();
    std::fs::remove_file(desk.path("provisioning.jwt")).unwrap();
    assert_eq!(
        desk.refused("reprovision", json!({})),
        "Provisioning JWT file does not exist"
    );
    std::fs::write(desk.path("provisioning.jwt"), "garbage").unwrap();
    let message = desk.refused("reprovision", json!({}));
    assert!(
        message.starts_with("Could not read Provisioning JWT: "),
        "{message}"
    );
    assert_eq!(desk.read("server.conf"), "kept");
    assert!(desk.orders.waiting().is_none());
}

#[test]
fn updates_need_the_invitations_leave_and_a_repository() {
    let desk = Desk::new(Stance::Unprovisioned);
    assert_eq!(
        desk.refused("release_update", json!({"token": "wrong", "version": "1"})),
        "Version updates is not enabled in the configuration"
    );
    let desk = Desk::with(Stance::Unprovisioned, |token| token.allow_update = true);
    assert_eq!(
        desk.refused("release_update", json!({"version": "9.9.9"})),
        "Update to version 9.9.9 failed, release rolled back: invalid updater configuration: \
         no source repo given, please use SourceRepo()"
    );
    let data = json!({"version": "9.9.9", "repository": "http://127.0.0.1:1/"});
    let message = desk.refused("release_update", data);
    assert!(
        message.starts_with(
            "Update to version 9.9.9 failed, release rolled back: release 9.9.9 not found: "
        ),
        "{message}"
    );
    assert_eq!(desk.read("program"), "old");
}

#[test]
fn a_member_proves_its_key_also_when_its_token_has_ended_meanwhile() {
    let desk = Desk::new(Stance::Renewing);
    let key = mint::key();
    let claims = ServerToken {
        identity: NODE.to_owned(),
        collectives: vec!["choria".to_owned()],
        public_key: Some(key.public()),
        validity: Duration::from_secs(60),
        ..ServerToken::default()
    }
    .claims(UnixTime::from_secs(desk.now.secs - 3600))
    .unwrap();
    let token = sign(&claims, &mint::key()).unwrap();
    std::fs::write(desk.path("server.jwt"), &token).unwrap();
    write_seed(&desk.path("server.seed"), &key, Overwrite::Yes).unwrap();
    let shown = desk.well("jwt", json!({"nonce": "abc"}));
    assert_eq!(shown["server_jwt"], token);
    let signature = shown["renewal_signature"].as_str().unwrap();
    overlay_tokens::verify_renewal(&key.public(), "abc", signature).unwrap();
    // Not asked, or asked with what is no nonce, it proves nothing.
    for nonce in ["", "a.b", &"x".repeat(65)] {
        let shown = desk.well("jwt", json!({"nonce": nonce}));
        assert!(shown.get("server_jwt").is_none(), "{nonce}");
    }
}

#[test]
fn nothing_secret_is_shown() {
    let desk = Desk::new(Stance::Unprovisioned);
    desk.key();
    desk.well("jwt", json!({}));
    let shown = format!("{:?}", desk.applicant);
    assert!(!shown.contains(SECRET), "{shown}");
    assert!(!shown.contains(&desk.read("server.seed")));
}

#[test]
fn a_certificate_request_is_kept_beside_the_configuration() {
    let desk = Desk::new(Stance::Unprovisioned);
    let made = desk.well("gencsr", json!({"O": "Org"}));
    assert_eq!(made["ssldir"], desk.path("ssl").display().to_string());
    assert_eq!(desk.files(), ["ssl/csr.pem", "ssl/private.pem"]);
    assert_eq!(desk.read("ssl/csr.pem"), made["csr"].as_str().unwrap());
    assert_eq!(
        (
            desk.mode("ssl"),
            desk.mode("ssl/private.pem"),
            desk.mode("ssl/csr.pem")
        ),
        (0o771, 0o600, 0o644)
    );
}

#[test]
fn a_member_that_renews_changes_nothing_before_the_restart_and_takes_nothing_that_makes_none() {
    let desk = Desk::new(Stance::Renewing);
    for file in ["server.conf", "server.jwt", "server.seed"] {
        std::fs::write(desk.path(file), file).unwrap();
    }
    let before = ["server.conf", "server.jwt", "server.seed"];
    let public = desk.key();
    assert_eq!(desk.files(), before);
    let token = desk.server_token(NODE, &public);
    // Without organisations and brokers this makes no member.
    let data = json!({"config": config(), "server_jwt": token});
    let message = desk.refused("configure", data);
    assert!(message.starts_with("Could not write config: "), "{message}");
    // The key of the present certificate stays, too.
    desk.well("gencsr", json!({}));
    assert_eq!(desk.files(), before);
    for file in before {
        assert_eq!(desk.read(file), file);
    }
    let message = desk.refused("restart", json!({"splay": 1}));
    assert!(message.contains("nothing was delivered"), "{message}");
}

#[test]
fn a_renewal_is_by_those_the_member_trusts_and_makes_it_no_less_careful() {
    let mut desk = Desk::new(Stance::Renewing);
    let ca = desk.path("ca.pem");
    std::fs::write(&ca, "").unwrap();
    let settings = |issuer: &PublicKey, ca: Option<&std::path::Path>, names: &str| {
        let mut settings = json!({
            "identity": NODE, "plugin.choria.server.provision": "false", "rpcauthorization": "0",
            "plugin.choria.middleware_hosts": "nats://127.0.0.1:1", "plugin.security.provider": "choria",
            "plugin.security.choria.token_file": desk.path("server.jwt").display().to_string(),
            "plugin.security.choria.seed_file": desk.path("server.seed").display().to_string(),
            "plugin.security.issuer.names": names,
            "plugin.security.issuer.choria.public": issuer.to_string(),
            "plugin.security.issuer.other.public": mint::key().public().to_string(),
        });
        if let Some(ca) = ca {
            settings["plugin.security.choria.ca"] = ca.display().to_string().into();
        }
        settings.to_string()
    };
    let good = settings(&desk.org.public(), Some(&ca), "choria");
    let unverified = settings(&desk.org.public(), None, "choria");
    let stranger = settings(&mint::key().public(), Some(&ca), "choria");
    let one_more = settings(&desk.org.public(), Some(&ca), "choria,other");
    desk.applicant = desk.applicant.with_standing(Some(Standing {
        issuers: desk.org.issuers(),
        signers: Some(json!([])),
        tls: Tls::Verified(ca),
    }));
    let public = desk.key();
    let token = desk.server_token(NODE, &public);
    for config in [&unverified, &stranger, &one_more] {
        let message = desk.refused("configure", json!({"config": config, "server_jwt": token}));
        assert!(message.starts_with("Could not write config: "), "{message}");
    }
    let forged = Organisation::new()
        .server(ServerToken {
            identity: NODE.to_owned(),
            public_key: Some(public),
            ..ServerToken::default()
        })
        .token;
    let message = desk.refused("configure", json!({"config": good, "server_jwt": forged}));
    assert!(message.starts_with("JWT Setup Failed: "), "{message}");
    let message = desk.refused("configure", json!({"config": good}));
    assert!(message.starts_with("JWT Setup Failed: "), "{message}");
    desk.well("configure", json!({"config": good, "server_jwt": token}));
    assert!(!desk.path("server.jwt").exists());
    desk.well("restart", json!({"splay": 1}));
    assert_eq!(desk.read("server.jwt"), token);
    // Without a key to check it by, a member does not replace its program.
    let desk = Desk::with(Stance::Renewing, |token| token.allow_update = true);
    assert_eq!(
        desk.refused(
            "release_update",
            json!({"version": "1", "repository": "https://x"})
        ),
        "Version updates is not enabled in the configuration"
    );
}
