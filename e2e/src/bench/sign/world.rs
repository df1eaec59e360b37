//! What is measured: a cell's broker and login service, and one service that signs.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use overlay_testkit::free_port;
use overlay_testkit::mint::{Organisation, now};
use overlay_tokens::claims::{ClientClaims, ClientPermissions, ServerPermissions};
use overlay_tokens::issue::{ChainIssuer, ClientToken, ServerToken};
use overlay_tokens::{Key, PublicKey, Unverified, file};
use serde_json::json;

use super::request::Person;
use crate::bench::cell::{Cell, Variant, programs};
use crate::bench::process::Running;

/// Decides by two bodies and a set, of which the first allows; in the syntax of both versions.
pub(crate) const POLICY: &str = r#"package io.choria.aaasvc

import rego.v1

default allow := false

allow if {
	input.claims.user_properties.group == "admins"
	input.agent == "rpcutil"
	input.action in allowed_actions
}

allowed_actions := {"ping", "inventory", "get_fact"}

allow if {
	input.agent == "puppet"
	input.action == "status"
}
"#;

/// By which way requests are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Via {
    Rpc,
    Http,
}

/// What decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Policy {
    #[value(name = "actionlist")]
    ActionList,
    Rego,
}

/// Where the record goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Audit {
    File,
    Stream,
}

/// A service that is measured.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) audit: Audit,
    pub(crate) policy: Policy,
    pub(crate) tls: bool,
    /// People who log in.
    pub(crate) users: Option<PathBuf>,
    /// Another program that reads `aaasvc.json`, instead of ours.
    pub(crate) peer: Option<PathBuf>,
}

/// The service at work.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) running: Running,
    pub(crate) http: SocketAddr,
}

/// A cell without a service.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) cell: Cell,
    organisation: Organisation,
    scratch: tempfile::TempDir,
}

impl World {
    pub(crate) fn start() -> Result<Self> {
        let cell = Cell::start(&Variant {
            sealed: true,
            gogc: Some(400),
            responders: 1,
        })?;
        let organisation = cell.organisation()?;
        let scratch = tempfile::Builder::new()
            .prefix("overlay-bench-aaa-")
            .tempdir()
            .context("make a directory")?;
        Ok(Self {
            cell,
            organisation,
            scratch,
        })
    }

    /// The certificate authority of the broker and the service.
    pub(crate) fn ca(&self) -> PathBuf {
        self.cell.directory.join("tls/ca.pem")
    }

    fn signer_file(&self, name: &str) -> PathBuf {
        self.cell.directory.join("aaa-signer").join(name)
    }

    /// The key of the delegator.
    fn delegator(&self) -> Result<PublicKey> {
        let key = file::read_seed(&self.signer_file("signer.seed"))
            .context("read the delegator's seed")?;
        Ok(key.public())
    }

    /// People with tokens as a login gives them.
    pub(crate) fn people(&self, count: usize, policy: Policy) -> Result<Vec<Person>> {
        let token =
            file::read_token(&self.signer_file("login.jwt")).context("read the issuer's token")?;
        let key =
            file::read_seed(&self.signer_file("login.seed")).context("read the issuer's seed")?;
        let token = Unverified::<ClientClaims>::decode(&token)
            .context("read the issuer's token")?
            .verify(&self.organisation.issuers(), now())
            .context("verify the issuer's token")?;
        let issuer = ChainIssuer::new(&token, key).context("the issuer of the cell")?;
        let delegator = self.delegator()?;
        let person = |number: usize| -> Result<Person> {
            let key = Key::generate().context("make a key")?;
            let callerid = format!("up=bench{number}");
            let mut token = ClientToken::new(&callerid);
            token.public_key = Some(key.public());
            token.validity = Duration::from_secs(12 * 3600);
            token.permissions = Some(ClientPermissions {
                fleet_management: true,
                signed_fleet_management: true,
                ..ClientPermissions::default()
            });
            match policy {
                Policy::ActionList => {
                    token.agents = ["puppet.status", "package.*", "rpcutil.*"]
                        .map(str::to_owned)
                        .to_vec();
                }
                Policy::Rego => {
                    token.opa_policy = Some(POLICY.to_owned());
                    token.user_properties = [("group".to_owned(), "admins".to_owned())].into();
                }
            }
            let token = issuer
                .issue(token.claims(now())?)
                .context("issue a token")?;
            Ok(Person {
                callerid,
                token,
                key,
                delegator,
            })
        };
        (0..count).map(person).collect()
    }

    /// Starts a service and waits until it is ready.
    pub(crate) fn service(&self, setup: &Setup, name: &str) -> Result<Service> {
        let http = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let admin = free_port();
        let log = self.scratch.path().join(format!("{name}.log"));
        let mut running = match &setup.peer {
            None => {
                let config = self.scratch.path().join(format!("{name}.toml"));
                fs::write(&config, self.config(setup, name, http, admin))
                    .with_context(|| format!("write {}", config.display()))?;
                let mut command = Command::new(programs()?.join("overlay-aaa-signer"));
                Running::start(command.arg("--config").arg(&config), &log)?
            }
            Some(program) => {
                let config = self.peer_config(setup, name, http.port(), admin)?;
                let mut command = Command::new(program);
                command
                    .args(["run", "--config"])
                    .arg(&config)
                    .arg("--disable-tls");
                // The other program needs to know who it is.
                Running::start(command.env("USER", "bench"), &log)?
            }
        };
        let page = if setup.peer.is_some() {
            "/metrics"
        } else {
            "/ready"
        };
        running.wait_until_ready(admin, page, &log)?;
        // What is done once at the start is no part of idle memory's noise.
        std::thread::sleep(Duration::from_secs(2));
        Ok(Service { running, http })
    }

    fn config(&self, setup: &Setup, name: &str, http: SocketAddr, admin: u16) -> String {
        let cell = self.cell.directory.display();
        let scratch = self.scratch.path().display();
        let audit = match setup.audit {
            Audit::File => {
                format!("to = [\"file\"]\n[audit.file]\npath = \"{scratch}/{name}.audit\"")
            }
            Audit::Stream => {
                format!(
                    "to = [\"stream\"]\n[audit.stream]\nseed_file = \"{cell}/aaa-signer/aaa.nk\""
                )
            }
        };
        let tls = if setup.tls {
            format!("certificate_file = \"{cell}/tls/aaa.pem\"\nkey_file = \"{cell}/tls/aaa.key\"")
        } else {
            String::new()
        };
        let login = setup.users.as_ref().map_or_else(String::new, |users| {
            format!(
                "[login]\ntoken_file = \"{cell}/aaa-signer/login.jwt\"\nseed_file = \"{cell}/aaa-signer/login.seed\"\n\
                 [login.limits]\nper_source = 0\nper_name = 0\nqueue = 1024\n[login.userlist]\nfile = \"{}\"\n",
                users.display()
            )
        });
        format!(
            "site = \"bench\"\n\
             [identity]\ntoken_file = \"{cell}/aaa-signer/1/server.jwt\"\nseed_file = \"{cell}/aaa-signer/1/server.seed\"\n\
             [broker]\nservers = [\"tls://localhost:{port}\"]\nca_file = \"{cell}/tls/ca.pem\"\n\
             [issuers]\nchoria = \"{issuer}\"\n\
             [signer]\ntoken_file = \"{cell}/aaa-signer/signer.jwt\"\nseed_file = \"{cell}/aaa-signer/signer.seed\"\n\
             {login}\
             [audit]\n{audit}\n\
             [http]\nlisten = \"{http}\"\n{tls}\n\
             [http.limits]\nconnections_per_peer = 1024\n\
             [admin]\nlisten = \"127.0.0.1:{admin}\"\n\
             [log]\nlevel = \"warn\"\n",
            port = self.cell.port,
            issuer = self.organisation.public(),
        )
    }

    /// The files that the other program reads, which are of a form of its own.
    fn peer_config(&self, setup: &Setup, name: &str, http: u16, admin: u16) -> Result<PathBuf> {
        ensure!(
            setup.audit == Audit::File,
            "the other program cannot record to a stream and sign by RPC at once"
        );
        let path = |file: &str| self.scratch.path().join(file);
        let identity = "peer.bench";
        let server = self.organisation.server(ServerToken {
            identity: identity.to_owned(),
            permissions: Some(ServerPermissions {
                service_host: true,
                ..ServerPermissions::default()
            }),
            ..ServerToken::default()
        });
        let (token, seed) = (path("peer.jwt"), path("peer.seed"));
        write(&token, &server.token)?;
        write(&seed, &server.key.seed_text())?;
        let own = path("peer.conf");
        write(
            &own,
            &format!(
                "identity = {identity}\nplugin.choria.use_srv = false\nplugin.choria.middleware_hosts = nats://localhost:{}\n\
                 plugin.security.provider = choria\nplugin.security.choria.token_file = {}\nplugin.security.choria.seed_file = {}\n",
                self.cell.port,
                token.display(),
                seed.display()
            ),
        )?;
        let issuer = path("peer.issuer");
        write(&issuer, &self.organisation.public().to_string())?;
        let authorizer = match setup.policy {
            Policy::ActionList => "actionlist",
            Policy::Rego => "opa",
        };
        // It reads seeds without a line end only.
        let trimmed = |name: &str| -> Result<PathBuf> {
            let text = fs::read_to_string(self.signer_file(name))
                .with_context(|| format!("read {name}"))?;
            let copy = path(&format!("peer-{name}"));
            write(&copy, text.trim_end())?;
            Ok(copy)
        };
        let mut document = json!({
            "logfile": path(&format!("{name}.peer.log")), "loglevel": "warn", "site": "bench", "choria_config": own,
            "port": http, "monitor_port": admin, "signer": "basicjwt", "authorizer": authorizer, "auditors": ["logfile"],
            "logfile_auditor": { "logfile": path(&format!("{name}.audit")) },
            "basicjwt_signer": {
                "signing_certificate": issuer, "signing_token": trimmed("signer.jwt")?,
                "signing_seed": trimmed("signer.seed")?, "max_validity": "200000h", "choria_service": setup.users.is_none(),
            },
        });
        if let Some(users) = &setup.users {
            document["authenticator"] = "userlist".into();
            document["userlist_authenticator"] = json!({
                "validity": "1h", "users_file": users,
                "signing_key": trimmed("login.seed")?, "signing_token": trimmed("login.jwt")?,
            });
        }
        let config = path(&format!("{name}.json"));
        write(&config, &document.to_string())?;
        Ok(config)
    }

    /// A place for files of a benchmark.
    pub(crate) fn scratch(&self) -> &Path {
        self.scratch.path()
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}
