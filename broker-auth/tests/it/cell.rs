//! A broker with its login service: a real nats-server, and the service as a process of its own.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use overlay_testkit::mint::{Authority, CalloutKeys, Login, Organisation};
use overlay_testkit::{Admin, Broker, Process, TlsFiles, eventually_blocking, free_port, http_get};
use overlay_tokens::Key;
use serde_json::Value;

use crate::raw::{Connect, Raw};

pub(crate) const PROVISIONER_PASSWORD: &str = "provS3cret";
pub(crate) const SYSTEM_PASSWORD: &str = "sysS3cret";
pub(crate) const SOON: Duration = Duration::from_secs(60);
pub(crate) const OFTEN: Duration = Duration::from_millis(50);

/// Keys, certificates and files that a cell is made of.
pub(crate) struct Parts {
    pub(crate) keys: CalloutKeys,
    pub(crate) authority: Authority,
    pub(crate) tls: TlsFiles,
    pub(crate) organisation: Organisation,
    pub(crate) issuer: Key,
    pub(crate) dir: tempfile::TempDir,
}

/// A broker and one instance of the service.
pub(crate) struct Cell {
    pub(crate) parts: Parts,
    pub(crate) broker: Broker,
    pub(crate) service: Service,
}

/// A running instance of the service.
pub(crate) struct Service {
    pub(crate) process: Process,
    pub(crate) admin: u16,
}

impl Parts {
    pub(crate) fn new() -> Self {
        let authority = Authority::new();
        let issuer = overlay_testkit::mint::key();
        let parts = Self {
            keys: CalloutKeys::new(),
            tls: authority.server("broker", &[]),
            authority,
            organisation: Organisation::with_key(issuer.clone()),
            issuer,
            dir: tempfile::tempdir().unwrap(),
        };
        parts.keys.write(parts.dir.path());
        parts.secret("provisioner.password", PROVISIONER_PASSWORD);
        parts.secret("system.password", SYSTEM_PASSWORD);
        parts
    }

    pub(crate) fn secret(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// The service's configuration for brokers at these ports; `more` is appended.
    pub(crate) fn config(&self, brokers: &[u16], admin: u16, more: &str) -> String {
        let file = |name: &str| format!("{:?}", self.dir.path().join(name).display().to_string());
        let servers: Vec<_> = brokers
            .iter()
            .map(|port| format!("\"tls://127.0.0.1:{port}\""))
            .collect();
        let mut text = String::new();
        write!(
            text,
            r#"
[broker]
servers = [{servers}]
ca_file = {ca:?}
seed_file = {callout}
name = "broker-auth-{admin}"
[callout]
account_seed_file = {account}
curve_seed_file = {curve}
issuer = "{issuer}"
xkey = "{xkey}"
[issuers]
choria = "{organisation}"
[provisioning]
password_file = {provisioner}
[system]
password_file = {system}
[admin]
listen = "127.0.0.1:{admin}"
"#,
            servers = servers.join(", "),
            ca = self.authority.ca_file().display().to_string(),
            callout = file("callout.nk"),
            account = file("account.nk"),
            curve = file("curve.nk"),
            issuer = self.keys.account.public(),
            xkey = self.keys.curve.public(),
            organisation = self.organisation.public(),
            provisioner = file("provisioner.password"),
            system = file("system.password"),
        )
        .unwrap();
        text.push_str(more);
        if !more.contains("[streams]") && !more.contains("# no streams") {
            let seed = file("streams.nk");
            write!(text, "\n[streams]\nseed_file = {seed}\ninterval = \"1s\"\n").unwrap();
        }
        text
    }

    /// A user of the broker's own configuration.
    pub(crate) async fn nkey(
        &self,
        port: u16,
        seed: &str,
    ) -> Result<async_nats::Client, async_nats::ConnectError> {
        async_nats::ConnectOptions::with_nkey(seed.to_owned())
            .add_root_certificates(self.authority.ca_file())
            .connect(format!("tls://127.0.0.1:{port}"))
            .await
    }

    /// The streams' user, who may do everything in the fleet's account.
    pub(crate) async fn streams(&self, port: u16) -> async_nats::Client {
        let seed = self.keys.streams.seed().unwrap();
        self.nkey(port, &seed).await.unwrap()
    }

    /// The user who answers logins.
    pub(crate) async fn callout(&self, port: u16) -> async_nats::Client {
        let seed = self.keys.callout.seed().unwrap();
        self.nkey(port, &seed).await.unwrap()
    }

    pub(crate) fn streams_seed(&self) -> String {
        format!(
            "{:?}",
            self.dir.path().join("streams.nk").display().to_string()
        )
    }

    pub(crate) fn service(&self, brokers: &[u16], more: &str) -> Service {
        let service = self.start_service(brokers, more);
        service.wait_until_ready();
        service
    }

    pub(crate) fn start_service(&self, brokers: &[u16], more: &str) -> Service {
        self.start_changed(brokers, more, |config| config)
    }

    /// Starts a service whose configuration is changed before.
    pub(crate) fn start_changed(
        &self,
        brokers: &[u16],
        more: &str,
        change: impl FnOnce(String) -> String,
    ) -> Service {
        let admin = free_port();
        let path = self.dir.path().join(format!("broker-auth-{admin}.toml"));
        std::fs::write(&path, change(self.config(brokers, admin, more))).unwrap();
        Service {
            process: start(&path),
            admin,
        }
    }

    pub(crate) fn open(&self, port: u16) -> Raw {
        Raw::open(port, &self.authority.ca_file())
    }

    /// Logs in, or says what the broker said.
    pub(crate) fn login(&self, port: u16, connect: &Connect) -> Result<Raw, String> {
        self.open(port).login(connect)
    }
}

impl Cell {
    /// The newest broker, with TLS and websocket.
    pub(crate) fn start() -> Self {
        Self::with(|builder| builder, "")
    }

    pub(crate) fn of_version(version: Option<&str>) -> Self {
        Self::with(
            |builder| match version {
                Some(version) => builder.version(version),
                None => builder,
            },
            "",
        )
    }

    pub(crate) fn with(
        build: impl FnOnce(overlay_testkit::Builder) -> overlay_testkit::Builder,
        more: &str,
    ) -> Self {
        let parts = Parts::new();
        let builder = Broker::builder()
            .tls(&parts.tls)
            .websocket()
            .callout(&parts.keys);
        let broker = build(builder).start();
        let service = parts.service(&[broker.port()], more);
        Self {
            parts,
            broker,
            service,
        }
    }

    /// The newest broker with the accounts that generated cells have, with those optional sections that are named.
    pub(crate) fn of_overlay(sections: &[&str], more: &str) -> Self {
        Self::of_accounts(|keys| keys.cell_config(sections), more)
    }

    /// The newest broker with other accounts.
    pub(crate) fn of_accounts(accounts: impl FnOnce(&CalloutKeys) -> String, more: &str) -> Self {
        Self::of_accounts_and_version(accounts, more, None)
    }

    /// A broker of some version with other accounts.
    pub(crate) fn of_accounts_and_version(
        accounts: impl FnOnce(&CalloutKeys) -> String,
        more: &str,
        version: Option<&str>,
    ) -> Self {
        let parts = Parts::new();
        let builder = match version {
            Some(version) => Broker::builder().version(version),
            None => Broker::builder(),
        };
        let broker = builder
            .tls(&parts.tls)
            .jetstream()
            .max_control_line(65_536)
            .config(accounts(&parts.keys))
            .start();
        let service = parts.service(&[broker.port()], more);
        Self {
            parts,
            broker,
            service,
        }
    }

    pub(crate) fn login(&self, connect: &Connect) -> Result<Raw, String> {
        self.parts.login(self.broker.port(), connect)
    }

    /// Logs in with the NATS library, as our programs do; `user` is name and password.
    pub(crate) async fn client(
        &self,
        login: &Login,
        user: Option<(&'static str, &'static str)>,
    ) -> async_nats::Client {
        let (token, key) = (login.token.clone(), login.key.clone());
        async_nats::ConnectOptions::with_auth_callback(move |nonce| {
            let (token, key) = (token.clone(), key.clone());
            async move {
                let mut auth = async_nats::Auth::new();
                auth.token = Some(token);
                auth.signature = Some(key.sign(&nonce).to_vec());
                if let Some((name, password)) = user {
                    auth.username = Some(name.to_owned());
                    auth.password = Some(password.to_owned());
                }
                Ok(auth)
            }
        })
        .add_root_certificates(self.parts.authority.ca_file())
        .connect(format!("tls://127.0.0.1:{}", self.broker.port()))
        .await
        .unwrap()
    }

    /// Logs in as soon as the broker and the service let it.
    pub(crate) fn login_soon(&self, connect: &Connect) -> Raw {
        eventually_blocking(SOON, OFTEN, || self.login(connect))
    }

    /// A client of the fleet's account that may do everything: the streams' user.
    pub(crate) async fn streams(&self) -> async_nats::Client {
        self.parts.streams(self.broker.port()).await
    }

    pub(crate) async fn nkey(&self, seed: &str) -> async_nats::Client {
        let client = self.parts.nkey(self.broker.port(), seed).await;
        client.unwrap()
    }
}

impl Service {
    pub(crate) fn wait_until_ready(&self) {
        Admin(self.admin).wait_until_ready(&self.process);
    }

    pub(crate) fn readiness(&self) -> (u16, Value) {
        let (status, body) = http_get(self.admin, "/ready").unwrap();
        (status, serde_json::from_str(&body).unwrap_or_default())
    }

    /// The value of one metric, by its name with labels; 0 when absent.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        Admin(self.admin).metric(series)
    }

    pub(crate) fn refused(&self, reason: &str) -> f64 {
        self.metric(&format!(
            "overlay_broker_auth_logins_refused_total{{reason=\"{reason}\"}}"
        ))
    }

    pub(crate) async fn wait_for_metric(&self, series: &str, least: f64) {
        Admin(self.admin)
            .wait_for_metric(&self.process, series, least)
            .await;
    }
}

fn start(config: &Path) -> Process {
    Process::builder(env!("CARGO_BIN_EXE_overlay-broker-auth"))
        .arg("--config")
        .arg(config)
        .start()
}

/// Waits until the broker has taken in what a client of the fleet's account sent before, its subscriptions included.
pub(crate) async fn settle(client: &async_nats::Client) {
    client.request("$JS.API.INFO", "".into()).await.unwrap();
}
