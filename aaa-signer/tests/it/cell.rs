//! A broker whose logins are decided by the cell's own login service, and AAA services as processes of their own.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use overlay_testkit::mint::{Authority, CalloutKeys, Chain, Login, Organisation};
use overlay_testkit::{Admin, Broker, Process, TlsFiles, free_port};
use overlay_tokens::claims::{ClientPermissions, ServerPermissions};
use overlay_tokens::issue::{ClientToken, ServerToken};

pub(crate) const SOON: Duration = Duration::from_secs(30);
pub(crate) const OFTEN: Duration = Duration::from_millis(50);

/// Keys, certificates and files that a cell is made of.
pub(crate) struct Parts {
    pub(crate) keys: CalloutKeys,
    pub(crate) authority: Authority,
    pub(crate) organisation: Organisation,
    pub(crate) chain: Chain,
    pub(crate) dir: tempfile::TempDir,
    tls: TlsFiles,
}

/// A broker with its login service.
pub(crate) struct Cell {
    pub(crate) parts: Parts,
    pub(crate) broker: Broker,
    _logins: Process,
}

/// A running AAA service.
pub(crate) struct Service {
    pub(crate) process: Process,
    pub(crate) admin: u16,
    pub(crate) http: u16,
}

impl Parts {
    pub(crate) fn new() -> Self {
        let authority = Authority::new();
        let organisation = Organisation::new();
        let parts = Self {
            keys: CalloutKeys::new(),
            tls: authority.server("broker", &[]),
            chain: organisation.chain(ClientToken::new("aaa_chain_issuer")),
            authority,
            organisation,
            dir: tempfile::tempdir().unwrap(),
        };
        let dir = parts.dir.path();
        parts.keys.write(dir);
        parts.delegator(true).write(dir, "signer");
        parts.chain.login.write(dir, "login");
        parts
    }

    /// A delegator, or a client that is none.
    pub(crate) fn delegator(&self, authentication_delegator: bool) -> Login {
        self.organisation.client(ClientToken {
            permissions: Some(ClientPermissions {
                authentication_delegator,
                ..ClientPermissions::default()
            }),
            ..ClientToken::new("aaa_request_signer")
        })
    }

    /// The identity of an instance, written as `<identity>.jwt` and `<identity>.seed`.
    pub(crate) fn host(&self, identity: &str, service_host: bool) -> Login {
        let login = self.organisation.server(ServerToken {
            identity: identity.to_owned(),
            permissions: Some(ServerPermissions {
                service_host,
                ..ServerPermissions::default()
            }),
            ..ServerToken::default()
        });
        login.write(self.dir.path(), identity);
        login
    }

    /// A user who may do `agents`, and only through the signer.
    pub(crate) fn user(&self, callerid: &str, agents: &[&str]) -> Login {
        self.user_with(callerid, |token| {
            token.agents = agents.iter().map(|agent| (*agent).to_owned()).collect();
        })
    }

    /// A user, changed.
    pub(crate) fn user_with(&self, callerid: &str, change: impl FnOnce(&mut ClientToken)) -> Login {
        let mut token = ClientToken {
            permissions: Some(ClientPermissions {
                fleet_management: true,
                signed_fleet_management: true,
                ..ClientPermissions::default()
            }),
            ..ClientToken::new(callerid)
        };
        change(&mut token);
        self.chain.client(token)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn quoted(&self, name: &str) -> String {
        format!("{:?}", self.path(name).display().to_string())
    }

    /// The configuration of an instance without brokers, its record in a file; `more` is appended.
    pub(crate) fn alone(&self, admin: u16, http: u16, more: &str) -> String {
        let mut text = self.common(admin, http);
        let record = self.quoted("audit.jsonl");
        write!(
            text,
            "[audit]\nname = \"aaa-alone\"\n[audit.file]\npath = {record}\n{more}"
        )
        .unwrap();
        text
    }

    fn common(&self, admin: u16, http: u16) -> String {
        format!(
            r#"site = "test"
[issuers]
choria = "{organisation}"
[admin]
listen = "127.0.0.1:{admin}"
[http]
listen = "127.0.0.1:{http}"
insecure = true
"#,
            organisation = self.organisation.public(),
        )
    }

    /// The table of the signer; `more` is appended.
    pub(crate) fn signer(&self, more: &str) -> String {
        format!(
            "[signer]\ntoken_file = {}\nseed_file = {}\n{more}\n",
            self.quoted("signer.jwt"),
            self.quoted("signer.seed"),
        )
    }

    /// Starts the program on a configuration, without waiting for it.
    pub(crate) fn start(&self, admin: u16, http: u16, text: &str) -> Service {
        let path = self.path(&format!("aaa-signer-{admin}.toml"));
        std::fs::write(&path, text).unwrap();
        Service {
            process: run(&path),
            admin,
            http,
        }
    }

    /// An instance without brokers that is ready.
    pub(crate) fn start_alone(&self, more: &str) -> Service {
        self.start_alone_at("test", more)
    }

    /// The same at a site.
    pub(crate) fn start_alone_at(&self, site: &str, more: &str) -> Service {
        let (admin, http) = (free_port(), free_port());
        let text = self.alone(admin, http, more);
        let text = text.replace("site = \"test\"", &format!("site = {site:?}"));
        let service = self.start(admin, http, &text);
        service.wait_until_ready();
        service
    }
}

impl Cell {
    pub(crate) fn start() -> Self {
        let parts = Parts::new();
        let accounts = format!(
            "system_account: system\n{}",
            parts.keys.cell_config(&["vetted_events"])
        );
        let broker = Broker::builder()
            .tls(&parts.tls)
            .jetstream()
            .max_control_line(65_536)
            .config(accounts)
            .start();
        let logins = start_logins(&parts, broker.port());
        Self {
            parts,
            broker,
            _logins: logins,
        }
    }

    /// The configuration of an instance on the broker, its record in the stream; `more` is appended.
    pub(crate) fn config(&self, identity: &str, admin: u16, http: u16, more: &str) -> String {
        self.parts.host(identity, true);
        let mut text = self.parts.common(admin, http);
        write!(
            text,
            r#"[identity]
token_file = {token}
seed_file = {seed}
[broker]
servers = ["tls://127.0.0.1:{port}"]
ca_file = {ca:?}
[audit.stream]
seed_file = {aaa}
{more}
"#,
            token = self.parts.quoted(&format!("{identity}.jwt")),
            seed = self.parts.quoted(&format!("{identity}.seed")),
            port = self.broker.port(),
            ca = self.parts.authority.ca_file().display().to_string(),
            aaa = self.parts.quoted("aaa.nk"),
        )
        .unwrap();
        text
    }

    /// An instance that is ready; `more` is appended to its configuration.
    pub(crate) fn service(&self, identity: &str, more: &str) -> Service {
        let (admin, http) = (free_port(), free_port());
        let text = self.config(identity, admin, http, more);
        let service = self.parts.start(admin, http, &text);
        service.wait_until_ready();
        service
    }

    /// An instance that signs with the usual limits.
    pub(crate) fn signer(&self, identity: &str) -> Service {
        self.service(identity, &self.parts.signer(""))
    }

    /// Logs in as clients and nodes do.
    pub(crate) async fn client(&self, login: &Login) -> async_nats::Client {
        self.try_client(login).await.unwrap()
    }

    /// The same, or why it is not let in.
    pub(crate) async fn try_client(
        &self,
        login: &Login,
    ) -> Result<async_nats::Client, async_nats::ConnectError> {
        let (token, key) = (login.token.clone(), login.key.clone());
        async_nats::ConnectOptions::with_auth_callback(move |nonce| {
            let (token, key) = (token.clone(), key.clone());
            async move {
                let mut auth = async_nats::Auth::new();
                auth.token = Some(token);
                auth.signature = Some(key.sign(&nonce).to_vec());
                Ok(auth)
            }
        })
        .subscription_capacity(65_536)
        .add_root_certificates(self.parts.authority.ca_file())
        .connect(format!("tls://127.0.0.1:{}", self.broker.port()))
        .await
    }

    /// A static user of the account of the record: the signer's own.
    pub(crate) async fn records(&self) -> async_nats::Client {
        async_nats::ConnectOptions::with_nkey(self.parts.keys.aaa.seed().unwrap().to_string())
            .add_root_certificates(self.parts.authority.ca_file())
            .connect(format!("tls://127.0.0.1:{}", self.broker.port()))
            .await
            .unwrap()
    }
}

impl Service {
    pub(crate) fn wait_until_ready(&self) {
        Admin(self.admin).wait_until_ready(&self.process);
    }

    /// The value of one metric, by its name with labels; 0 when absent.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        Admin(self.admin).metric(series)
    }

    pub(crate) async fn wait_for_metric(&self, series: &str, least: f64) {
        Admin(self.admin)
            .wait_for_metric(&self.process, series, least)
            .await;
    }
}

/// Asks by HTTP: status and body.
pub(crate) fn post(port: u16, path: &str, body: &[u8]) -> Result<(u16, Vec<u8>), String> {
    let ask = || {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(SOON))?;
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        )?;
        stream.write_all(body)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = ask().map_err(|error| error.to_string())?;
    let end = answer.windows(4).position(|part| part == b"\r\n\r\n");
    let (head, body) = answer.split_at(end.ok_or("no head")?);
    let head = String::from_utf8_lossy(head);
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    Ok((status.ok_or("no status")?, body[4..].to_vec()))
}

/// The service that decides who may log in to the broker.
fn start_logins(parts: &Parts, port: u16) -> Process {
    let admin = free_port();
    let text = format!(
        r#"
[broker]
servers = ["tls://127.0.0.1:{port}"]
ca_file = {ca:?}
seed_file = {callout}
[callout]
account_seed_file = {account}
curve_seed_file = {curve}
[issuers]
choria = "{organisation}"
[login]
duration = "15m"
[admin]
listen = "127.0.0.1:{admin}"
"#,
        ca = parts.authority.ca_file().display().to_string(),
        callout = parts.quoted("callout.nk"),
        account = parts.quoted("account.nk"),
        curve = parts.quoted("curve.nk"),
        organisation = parts.organisation.public(),
    );
    let path = parts.path("broker-auth.toml");
    std::fs::write(&path, text).unwrap();
    let program = Process::locate("overlay-broker-auth").unwrap_or_else(|error| panic!("{error}"));
    let process = Process::builder(program).arg("--config").arg(path).start();
    Admin(admin).wait_until_ready(&process);
    process
}

fn run(config: &Path) -> Process {
    Process::builder(env!("CARGO_BIN_EXE_overlay-aaa-signer"))
        .arg("--config")
        .arg(config)
        .start()
}
