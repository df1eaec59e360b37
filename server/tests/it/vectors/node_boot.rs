//! Starts of a real node, put to ours: what the node is by its files, and which of them it gives up.
//!
//! The recording does not hold the server tokens; what was wrong with them is told by the log lines of the real node.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use overlay_runtime::{Environment, FileConfig};
use overlay_server::Program;
use overlay_server::mode::Mode;
use overlay_server::provisioning::Outlook;
use overlay_testkit::mint::{self, Organisation};
use overlay_testkit::vectors::{Loader, Outcome, for_cases};
use overlay_tokens::file::{Overwrite, write_seed, write_token};
use overlay_tokens::issue::{ClientToken, ProvisioningToken, ServerToken};
use serde_json::Value;

use super::text;

const NODE: &str = "q1.example.net";

/// The real node says so when it is in provisioning mode.
const WAITS: &str = "Setting anonymous TLS mode during provisioning";

/// The real node's word for a node that found something wrong at all.
const ASKED: &str = "plugin.choria.server.provision is true";

pub(super) fn starts(file: &Value, _loader: &Loader) -> Outcome {
    for_cases(file, |case| match case.get("token") {
        Some(_) => without_configuration(case),
        None => with_configuration(case),
    })
}

/// What is the matter with the files of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Matter {
    Fine,
    Expired,
    OtherKey,
    NoToken,
    NoSeed,
    NoServerToken,
    Garbage,
    BadSeed,
    OtherNode,
}

fn matter(expect: &Value) -> Matter {
    let lines = ["log", "errors"]
        .iter()
        .filter_map(|list| expect[*list].as_array())
        .flatten()
        .filter_map(Value::as_str)
        .collect::<Vec<_>>();
    let says = |part: &str| lines.iter().any(|line| line.contains(part));
    if says("is expired, reprovisioning") {
        Matter::Expired
    } else if says("does not match the seed file") {
        Matter::OtherKey
    } else if says("Server token file") {
        Matter::NoToken
    } else if says("Server seed file") {
        Matter::NoSeed
    } else if says("not a server token") {
        Matter::NoServerToken
    } else if says("Could not parse server JWT token") {
        Matter::Garbage
    } else if says("Could not compare the token") {
        Matter::BadSeed
    } else if says("does not match caller") {
        Matter::OtherNode
    } else {
        Matter::Fine
    }
}

struct Start {
    dir: tempfile::TempDir,
}

impl Start {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn invite(&self, org: &Organisation, default: bool) {
        let token = org.provisioning(ProvisioningToken {
            token: "s3cret".into(),
            urls: vec!["nats://127.0.0.1:1".to_owned()],
            by_default: default,
            protocol_v2: true,
            validity: Duration::from_secs(3600),
            ..ProvisioningToken::default()
        });
        std::fs::write(self.path("provisioning.jwt"), token).unwrap();
    }

    fn configure(&self, org: &Organisation, provision: &str) {
        let text = format!(
            "plugin.choria.middleware_hosts = nats://127.0.0.1:1\nplugin.security.provider = choria\n\
             plugin.security.choria.token_file = {}\nplugin.security.choria.seed_file = {}\n\
             plugin.security.issuer.names = choria\nplugin.security.issuer.choria.public = {}\n\
             rpcauthorization = 0\n{provision}\n",
            self.path("server.jwt").display(),
            self.path("server.seed").display(),
            org.public(),
        );
        std::fs::write(self.path("server.conf"), text).unwrap();
    }

    fn credentials(&self, org: &Organisation, matter: Matter) {
        let token = |identity: &str, validity: Duration| {
            org.server(ServerToken {
                identity: identity.to_owned(),
                validity,
                public_key: Some(mint_key().public()),
                ..ServerToken::default()
            })
            .token
        };
        let hour = Duration::from_secs(3600);
        let text = match matter {
            Matter::Expired => {
                let now = mint::now();
                let long_ago = overlay_tokens::UnixTime::from_secs(now.secs - 7200);
                let claims = ServerToken {
                    identity: NODE.to_owned(),
                    collectives: vec!["choria".to_owned()],
                    public_key: Some(mint_key().public()),
                    validity: hour,
                    ..ServerToken::default()
                }
                .claims(long_ago)
                .unwrap();
                overlay_tokens::issue::sign(&claims, &mint_key()).unwrap()
            }
            Matter::NoServerToken => org.client(ClientToken::new("up=bob")).token,
            Matter::Garbage => "garbage".to_owned(),
            Matter::OtherNode => token("other.example.net", hour),
            Matter::Fine
            | Matter::OtherKey
            | Matter::NoToken
            | Matter::NoSeed
            | Matter::BadSeed => token(NODE, hour),
        };
        write_token(&self.path("server.jwt"), &text).unwrap();
        let key = if matter == Matter::OtherKey {
            overlay_tokens::Key::from_seed([8; 32])
        } else {
            mint_key()
        };
        write_seed(&self.path("server.seed"), &key, Overwrite::Yes).unwrap();
        match matter {
            Matter::NoToken => std::fs::remove_file(self.path("server.jwt")).unwrap(),
            Matter::NoSeed => std::fs::remove_file(self.path("server.seed")).unwrap(),
            Matter::BadSeed => std::fs::write(self.path("server.seed"), "broken\n").unwrap(),
            Matter::Fine
            | Matter::Expired
            | Matter::OtherKey
            | Matter::NoServerToken
            | Matter::Garbage
            | Matter::OtherNode => {}
        }
    }

    fn environment() -> Environment {
        Environment::from([("OVERLAY_SERVER__IDENTITY".to_owned(), NODE.to_owned())])
    }

    fn load(&self) -> Option<Program> {
        let files = [self.path("server.conf")];
        Program::load("server", &files, &Self::environment())
            .ok()
            .map(|loaded| loaded.config)
    }

    /// `fleet`, `provisioning` or `neither`.
    fn mode(&self, program: Option<&Program>) -> &'static str {
        match program.map(Program::mode) {
            Some(Mode::Unprovisioned) => "provisioning",
            Some(Mode::Member) if self.outlook() == Outlook::Member => "fleet",
            Some(Mode::Member | Mode::Nothing) | None => "neither",
        }
    }

    fn outlook(&self) -> Outlook {
        let files = [self.path("server.conf")];
        Program::upcoming("server", &files, &Self::environment()).outlook(mint::now())
    }

    fn names(&self) -> BTreeSet<String> {
        std::fs::read_dir(self.dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }
}

fn mint_key() -> overlay_tokens::Key {
    overlay_tokens::Key::from_seed([7; 32])
}

fn with_configuration(case: &Value) -> Result<(), String> {
    let expect = &case["expect"];
    let config = text(case, "config")?;
    let provision = if config.contains("provision=false") {
        "plugin.choria.server.provision = false"
    } else if config.contains("provision=true") {
        "plugin.choria.server.provision = true"
    } else {
        ""
    };
    let default = text(case, "provisioning_jwt")?.contains("chpd true");
    let matter = matter(expect);
    let org = Organisation::new();
    let start = Start::new();
    start.invite(&org, default);
    start.configure(&org, provision);
    start.credentials(&org, matter);
    let all = start.names();
    let program = start.load();
    let mode = start.mode(program.as_ref());
    let gone = program
        .iter()
        .flat_map(|program| program.forgets())
        .filter_map(|file| Path::file_name(file)?.to_str())
        .map(str::to_owned)
        .collect::<BTreeSet<_>>();
    let left = all.difference(&gone).cloned().collect::<BTreeSet<_>>();
    let asked = provision.ends_with("true");
    let (wanted_mode, keeps) = if matter == Matter::Fine && provision.is_empty() {
        // Rule: a node with good credentials is a member, unless its configuration asks for provisioning.
        ("fleet", true)
    } else if matter == Matter::Fine && asked {
        ("provisioning", true)
    } else if matter == Matter::OtherNode && default {
        // Rule: a node with another one's token is enrolled anew, where the token of the invitation lets it.
        ("provisioning", true)
    } else {
        // Rule: where a node cannot provision, nothing is given up.
        (text(expect, "mode")?, !default && !asked)
    };
    if mode != wanted_mode {
        return Err(format!("{matter:?}: {mode}, not {wanted_mode}"));
    }
    let wanted = if keeps {
        all
    } else {
        expect["files_after"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect()
    };
    if left == wanted {
        Ok(())
    } else {
        Err(format!("{matter:?}: leaves {left:?}"))
    }
}

fn without_configuration(case: &Value) -> Result<(), String> {
    let expect = &case["expect"];
    let says = |part: &str| {
        expect["log"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .any(|line| line.contains(part))
    };
    let start = Start::new();
    std::fs::write(start.path("provisioning.jwt"), text(case, "token")?).unwrap();
    let asked = says(ASKED);
    if asked {
        let config = "loglevel=debug\nplugin.choria.server.provision=1\n";
        std::fs::write(start.path("server.conf"), config).unwrap();
    }
    let program = start.load();
    let waits = program
        .as_ref()
        .is_some_and(|program| program.mode() == Mode::Unprovisioned);
    // Rule: a configuration that asks for provisioning gets it, whatever the default is.
    if waits != (says(WAITS) || asked) {
        return Err(format!("waits to be enrolled: {waits}"));
    }
    let upgradable = expect["inventory"][0]["upgradable"].as_bool();
    let ticket = program.as_ref().and_then(Program::ticket);
    match (upgradable, ticket) {
        (Some(wanted), Some(ticket)) if ticket.claims().update != wanted => {
            Err("upgradable".to_owned())
        }
        (Some(_) | None, _) => Ok(()),
    }
}
