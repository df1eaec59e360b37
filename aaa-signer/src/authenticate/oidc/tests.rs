mod hostile;
mod people;
mod tokens;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use openidconnect::IssuerUrl;
use overlay_protocol::SecretText;
use overlay_runtime::{Clock, Secrets};
use overlay_testkit::mint;
use overlay_tokens::Key;

use super::*;
use crate::authenticate::Person;
use crate::authenticate::mapping::{Domains, Grants, Names, Rule, Rules, Separator, When};
use crate::config::ClientAuthentication;
use crate::login::flow::{Flows, Step};
use crate::login::memory::Memory;

/// How often a condition is looked at.
const PERIOD: Duration = Duration::from_millis(50);

/// Where the browser of these tests is sent; nobody listens there, as it stops before.
const REDIRECT: &str = "http://127.0.0.1:18999/callback";

/// Logins at one provider, and the key of whoever logs in.
struct Desk {
    flows: Flows,
    issuer: Key,
    holder: Key,
}

impl Desk {
    fn new(settings: Oidc) -> Self {
        let login = OidcLogin::new(settings, &Secrets::default()).expect("the login is set up");
        let clock = Clock::manual(SystemTime::UNIX_EPOCH);
        Self {
            flows: Flows::new(vec![Arc::new(login)], Memory::alone(clock)),
            issuer: mint::key(),
            holder: mint::key(),
        }
    }

    async fn begin(&self, kind: MethodKind, redirect_uri: &str) -> Result<Begun, Refusal> {
        let start = Start {
            method: NAME.to_owned(),
            kind,
            redirect_uri: redirect_uri.to_owned(),
            public_key: self.holder.public(),
            now: mint::now(),
        };
        self.flows.begin(&self.issuer, &start).await
    }

    async fn finish(&self, flow: &str, code: &str, state: &str) -> Result<Step, Refusal> {
        let next = Next {
            flow: flow.to_owned(),
            code: SecretText::from(code),
            state: state.to_owned(),
            public_key: self.holder.public(),
            now: mint::now(),
        };
        self.flows.finish(&self.issuer, &next).await
    }
}

fn settings(issuer: &str, ca_file: Option<PathBuf>) -> Oidc {
    let rule = |group: &str, agents: &str| Rule {
        when: When::Group(group.to_owned()),
        grants: Grants {
            agents: vec![agents.to_owned()],
            ..Grants::default()
        },
    };
    Oidc {
        issuer: IssuerUrl::new(issuer.to_owned()).expect("an address"),
        client_id: "overlay".to_owned(),
        client_secret_file: None,
        client_authentication: ClientAuthentication::Basic,
        ca_file,
        flows: vec![FlowKind::Device, FlowKind::Code],
        scopes: vec!["profile".to_owned(), "email".to_owned()],
        name_claim: "preferred_username".to_owned(),
        names: Names::new(Separator::Dot, Domains::OfTwoLabels),
        groups_claim: vec!["groups".to_owned()],
        userinfo: AskUserinfo::IfNeeded,
        audiences: Vec::new(),
        timeout: Duration::from_secs(10),
        flow_validity: Duration::from_secs(600),
        properties: BTreeMap::from([("mail".to_owned(), "email".to_owned())]),
        rules: Rules::new(vec![rule("ops", "rpcutil.*"), rule("web", "httpd.restart")]),
    }
}

/// A file that only its owner reads.
fn secret_file(dir: &Path, secret: &str) -> PathBuf {
    let path = dir.join("client.secret");
    let mut options = fs::OpenOptions::new();
    let file = options.create(true).truncate(true).write(true).mode(0o600);
    let mut file = file.open(&path).expect("the directory is ours");
    std::io::Write::write_all(&mut file, secret.as_bytes()).expect("the file is ours");
    path
}

fn refusal(step: Result<Step, Refusal>) -> Refusal {
    step.expect_err("it is refused")
}

#[test]
fn browsers_bring_codes_to_this_machine_only() {
    for address in [
        "http://127.0.0.1:1024/callback",
        "http://127.0.0.1:65535/callback",
    ] {
        assert!(loopback(address).is_ok(), "{address}");
    }
    for address in [
        "",
        "http://127.0.0.1/callback",
        "http://127.0.0.1:80/callback",
        "http://127.0.0.1:65536/callback",
        "http://127.0.0.1:08080/callback",
        "http://127.0.0.1:+8080/callback",
        "http://127.0.0.1:8080/callback/",
        "http://127.0.0.1:8080/callback?x=1",
        "http://127.0.0.1:8080@evil.example.net/callback",
        "http://127.0.0.1:8080#/callback",
        "http://127.0.0.1.evil.example.net:8080/callback",
        "http://localhost:8080/callback",
        "http://[::1]:8080/callback",
        "https://127.0.0.1:8080/callback",
        "HTTP://127.0.0.1:8080/callback",
    ] {
        let refused = loopback(address).expect_err(address);
        assert_eq!(refused.reason, Reason::Flow, "{address}");
    }
}
