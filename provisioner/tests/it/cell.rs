//! A broker with the accounts of a cell, and provisioners as processes of their own.
//!
//! The accounts have static users here: who is let in, and with what, is `broker-auth`'s, and whole cells are elsewhere.
//! The permissions are those that it gives.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream;
use futures_util::StreamExt as _;
use overlay_protocol::envelope::Limits;
use overlay_protocol::lifecycle::{Event, EventKind};
use overlay_protocol::provisioning::NodeRecord;
use overlay_protocol::provisioning::audit::Record;
use overlay_protocol::subject;
use overlay_protocol::subject::permission;
use overlay_testkit::emulated::{AfterRestart, Behaviour, Builder, Fleet};
use overlay_testkit::mint::{self, Authority, Chain, Organisation};
use overlay_testkit::{Admin, Broker, Process, TlsFiles, eventually, free_port, http_get};
use overlay_tokens::claims::ClientPermissions;
use overlay_tokens::issue::{ClientToken, ProvisioningToken};
use tokio::task::JoinSet;

pub(crate) const SOON: Duration = Duration::from_secs(60);
pub(crate) const OFTEN: Duration = Duration::from_millis(50);
pub(crate) const SECRET: &str = "s3cret-token";
const PASSWORD: &str = "provS3cret";

/// A broker and what is needed to begin.
pub(crate) struct Cell {
    pub(crate) broker: Broker,
    pub(crate) organisation: Organisation,
    pub(crate) chain: Chain,
    pub(crate) dir: tempfile::TempDir,
    authority: Authority,
    _tls: TlsFiles,
    _home: JoinSet<()>,
    /// Nodes that came home, each time that they did.
    pub(crate) home: Arc<Mutex<Vec<String>>>,
}

/// A provisioner.
pub(crate) struct Provisioner {
    pub(crate) process: Process,
    pub(crate) admin: u16,
}

fn quoted<S: AsRef<str>>(subjects: impl IntoIterator<Item = S>) -> String {
    let quoted: Vec<_> = subjects
        .into_iter()
        .map(|subject| format!("{:?}", subject.as_ref()))
        .collect();
    quoted.join(", ")
}

/// The accounts of a cell, with static users in place of the login service.
fn accounts() -> String {
    let nonce = nkeys::KeyPair::new_user().public_key();
    format!(
        r#"
system_account: system
accounts {{
  system {{
    exports: [ {{ service: "$SYS.DEBUG.SUBSCRIBERS", accounts: [ provisioning ], response_type: singleton }} ]
  }}
  choria {{
    jetstream: enabled
    users: [ {{ user: fleet, password: fleet }} ]
    exports: [
      {{ service: "$JS.API.STREAM.INFO.KV_CHORIA_LEADER_ELECTION", accounts: [ provisioning ], response_type: singleton }}
      {{ service: "$JS.API.DIRECT.GET.KV_CHORIA_LEADER_ELECTION.$KV.CHORIA_LEADER_ELECTION.provisioner", accounts: [ provisioning ], response_type: singleton }}
      {{ service: "$KV.CHORIA_LEADER_ELECTION.provisioner", accounts: [ provisioning ], response_type: singleton }}
      {{ service: "*.node.>", accounts: [ provisioning ] }}
      {{ stream: "*.broadcast.service.provisioner", accounts: [ provisioning ] }}
      {{ stream: "choria.lifecycle.event.startup.server", accounts: [ provisioning ] }}
    ]
    imports: [
      {{ stream: {{ account: provisioning, subject: "choria.lifecycle.event.*.provisioner" }} }}
      {{ stream: {{ account: provisioning, subject: "overlay.audit.provisioning.>" }} }}
      {{ stream: {{ account: provisioning, subject: "fleet.*.reply.>" }}, to: "$1.reply.>" }}
      {{ stream: {{ account: provisioning, subject: "provisioning.vetted.*" }}, to: "choria.lifecycle.event.$1.provision_mode_server" }}
    ]
  }}
  provisioning {{
    jetstream: {{ max_file: 2GB, max_memory: 16MB, max_streams: 16, max_consumers: 64 }}
    users: [
      {{ user: provisioner, password: {PASSWORD:?}, permissions: {{
        publish: [ {publish} ]
        subscribe: [ {subscribe} ]
      }} }}
      {{ user: node, password: node, permissions: {{
        publish: [ {events} ]
        subscribe: [ {broadcasts}, "provisioning.node.>" ]
        allow_responses: {{ max: 10, expires: "5m" }}
      }} }}
      {{ user: witness, password: witness }}
      {{ nkey: {nonce} }}
    ]
    exports: [
      {{ stream: "choria.lifecycle.event.*.provisioner", accounts: [ choria ] }}
      {{ stream: "overlay.audit.provisioning.>", accounts: [ choria ] }}
      {{ stream: "fleet.*.reply.>", accounts: [ choria ] }}
      {{ stream: "provisioning.vetted.*", accounts: [ choria ] }}
    ]
    imports: [
      {{ service: {{ account: choria, subject: "$JS.API.STREAM.INFO.KV_CHORIA_LEADER_ELECTION" }}
        to: "choria.streams.STREAM.INFO.KV_CHORIA_LEADER_ELECTION" }}
      {{ service: {{ account: choria, subject: "$JS.API.DIRECT.GET.KV_CHORIA_LEADER_ELECTION.$KV.CHORIA_LEADER_ELECTION.provisioner" }}
        to: "choria.streams.DIRECT.GET.KV_CHORIA_LEADER_ELECTION.$KV.CHORIA_LEADER_ELECTION.provisioner" }}
      {{ service: {{ account: choria, subject: "$KV.CHORIA_LEADER_ELECTION.provisioner" }}
        to: "choria.streams.$KV.CHORIA_LEADER_ELECTION.provisioner" }}
      {{ service: {{ account: choria, subject: "*.node.>" }}, to: "fleet.*.node.>" }}
      {{ service: {{ account: system, subject: "$SYS.DEBUG.SUBSCRIBERS" }} }}
      {{ stream: {{ account: choria, subject: "*.broadcast.service.provisioner" }} }}
      {{ stream: {{ account: choria, subject: "choria.lifecycle.event.startup.server" }} }}
    ]
  }}
}}
"#,
        publish = quoted(permission::provisioner_publish()),
        subscribe = quoted(permission::PROVISIONER_SUBSCRIBE),
        events = quoted(permission::UNPROVISIONED_EVENTS),
        broadcasts = quoted(permission::UNPROVISIONED_BROADCASTS),
    )
}

impl Cell {
    /// The newest broker; nodes that are restarted come home at once.
    pub(crate) async fn start() -> Self {
        Self::with(true).await
    }

    /// `home`: whether nodes that are restarted come home.
    pub(crate) async fn with(home: bool) -> Self {
        let authority = Authority::new();
        let tls = authority.server("broker", &[]);
        let broker = Broker::builder()
            .tls(&tls)
            .jetstream()
            .max_control_line(65536)
            .config(accounts())
            .start();
        let organisation = Organisation::new();
        let chain = organisation.chain(ClientToken {
            permissions: Some(ClientPermissions {
                provisioner: true,
                ..ClientPermissions::default()
            }),
            ..ClientToken::new("provisioner=test")
        });
        let mut cell = Self {
            broker,
            organisation,
            chain,
            dir: tempfile::tempdir().unwrap(),
            authority,
            _tls: tls,
            _home: JoinSet::new(),
            home: Arc::default(),
        };
        cell.file("provisioner.password", PASSWORD);
        cell.file("node.secret", SECRET);
        cell.chain.login.write(cell.dir.path(), "provisioner");
        if home {
            cell.bring_home().await;
        }
        cell
    }

    /// Says for each node that is restarted that it is a member now, as its own startup event would.
    async fn bring_home(&mut self) {
        let client = self.fleet().await;
        let mut ends = client
            .subscribe("choria.lifecycle.event.shutdown.provision_mode_server")
            .await
            .unwrap();
        client.flush().await.unwrap();
        let home = Arc::clone(&self.home);
        self._home.spawn(async move {
            while let Some(message) = ends.next().await {
                let event = Event::decode(&message.payload, &Limits::default()).unwrap();
                home.lock().unwrap().push(event.identity.clone());
                client
                    .publish(subject::MEMBER_STARTUP, startup(&event.identity).into())
                    .await
                    .unwrap();
            }
        });
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    pub(crate) fn program(&self, name: &str, text: &str) -> String {
        let path = self.file(name, text);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        path.display().to_string()
    }

    /// The helper that most tests use; see the text.
    pub(crate) fn helper(&self) -> String {
        self.program("helper.py", include_str!("helper.py"))
    }

    /// A configuration; `more` is appended, and the helper is persistent unless `more` has one.
    pub(crate) fn config(&self, admin: u16, more: &str) -> String {
        let file = |name: &str| format!("{:?}", self.dir.path().join(name).display().to_string());
        let mut text = format!(
            r#"
identity = "provisioner.example.net"
site = "lon"
[broker]
servers = ["{url}"]
ca_file = {ca:?}
password_file = {password}
reconnect_wait = "100ms"
[login]
token_file = {token}
seed_file = {seed}
[issuers]
choria = "{issuer}"
[nodes]
secret_files = [{secret}]
[admin]
listen = "127.0.0.1:{admin}"
[log]
level = "overlay_provisioner=debug,info"
"#,
            url = self.broker.url(),
            ca = self.authority.ca_file().display().to_string(),
            password = file("provisioner.password"),
            token = file("provisioner.jwt"),
            seed = file("provisioner.seed"),
            issuer = self.organisation.public(),
            secret = file("node.secret"),
        );
        if !more.contains("[helper]") {
            write!(
                text,
                "[helper]\nmode = \"persistent\"\ncommand = [{:?}]\n",
                self.helper()
            )
            .unwrap();
        }
        text.push_str(more);
        text
    }

    pub(crate) fn begin(&self, more: &str) -> Provisioner {
        let admin = free_port();
        let path = self.file(
            &format!("provisioner-{admin}.toml"),
            &self.config(admin, more),
        );
        Provisioner {
            process: Process::builder(env!("CARGO_BIN_EXE_overlay-provisioner"))
                .arg("--config")
                .arg(path)
                .start(),
            admin,
        }
    }

    /// A provisioner that is ready.
    pub(crate) fn provisioner(&self, more: &str) -> Provisioner {
        let provisioner = self.begin(more);
        provisioner.wait_until_ready();
        provisioner
    }

    /// What nodes have.
    pub(crate) fn token(&self) -> String {
        self.token_of(|token| token)
    }

    pub(crate) fn token_of(
        &self,
        change: impl FnOnce(ProvisioningToken) -> ProvisioningToken,
    ) -> String {
        self.organisation
            .provisioning(change(provisioning_token(self.broker.port())))
    }

    /// Nodes that can be started.
    pub(crate) fn nodes(&self) -> Builder {
        Fleet::builder(self.broker.port())
            .tls()
            .user("node", "node")
            .token(self.token())
            .behaviour(leaving())
    }

    pub(crate) async fn client(&self, user: &str) -> Client {
        async_nats::ConnectOptions::with_user_and_password(user.to_owned(), user.to_owned())
            .add_root_certificates(self.authority.ca_file())
            .connect(self.broker.url())
            .await
            .unwrap()
    }

    /// Everybody in the fleet's account.
    pub(crate) async fn fleet(&self) -> Client {
        self.client("fleet").await
    }

    /// Somebody who may do anything in the provisioning account.
    pub(crate) async fn witness(&self) -> jetstream::Context {
        jetstream::new(self.client("witness").await)
    }

    pub(crate) async fn record(&self, name: &str) -> Option<NodeRecord> {
        let stream = self
            .witness()
            .await
            .get_stream("KV_PROVISIONING_NODES")
            .await
            .ok()?;
        let message = stream
            .get_last_raw_message_by_subject(&format!("$KV.PROVISIONING_NODES.{name}"))
            .await
            .ok()?;
        NodeRecord::decode(&message.payload, &Limits::default()).ok()
    }

    /// All audit records, oldest first.
    pub(crate) async fn audit(&self) -> Vec<Record> {
        let witness = self.witness().await;
        let Ok(mut stream) = witness.get_stream("PROVISIONING_AUDIT").await else {
            return Vec::new();
        };
        let last = stream.info().await.unwrap().state.last_sequence;
        let mut records = Vec::new();
        for sequence in 1..=last {
            let message = stream.get_raw_message(sequence).await.unwrap();
            records.push(Record::decode(&message.payload, &Limits::default()).unwrap());
        }
        records
    }

    /// The kinds of audit records of one node, oldest first.
    pub(crate) async fn audit_of(&self, name: &str) -> Vec<String> {
        let records = self.audit().await;
        records
            .iter()
            .filter(|record| {
                record
                    .identity
                    .as_ref()
                    .is_some_and(|one| one.as_str() == name)
            })
            .map(|record| record.kind.to_string())
            .collect()
    }
}

impl Provisioner {
    pub(crate) fn wait_until_ready(&self) {
        Admin(self.admin).wait_until_ready(&self.process);
    }

    /// Whether it says so by now; where others must not be held up by the wait.
    pub(crate) fn is_ready(&self) -> bool {
        http_get(self.admin, "/ready").is_ok_and(|(status, _)| status == 200)
    }

    pub(crate) fn metrics(&self) -> String {
        http_get(self.admin, "/metrics").unwrap().1
    }

    /// The value of one series, by its name with labels; 0 when absent.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        Admin(self.admin).metric(series)
    }

    pub(crate) fn outcome(&self, outcome: &str) -> f64 {
        self.metric(&format!(
            "overlay_provisioner_outcomes_total{{outcome=\"{outcome}\"}}"
        ))
    }

    pub(crate) fn is_active(&self) -> bool {
        self.metric("overlay_provisioner_active") > 0.0
    }

    pub(crate) async fn wait_for(&self, series: &str, least: f64) {
        Admin(self.admin)
            .wait_for_metric(&self.process, series, least)
            .await;
    }

    pub(crate) async fn wait_for_outcome(&self, outcome: &str, least: f64) {
        let series = format!("overlay_provisioner_outcomes_total{{outcome=\"{outcome}\"}}");
        self.wait_for(&series, least).await;
    }

    pub(crate) async fn wait_for_reason(&self, reason: &str) {
        let series = format!("overlay_provisioner_not_enrolled_total{{reason=\"{reason}\"}}");
        self.wait_for(&series, 1.0).await;
    }
}

/// A node that leaves when it is restarted.
pub(crate) fn leaving() -> Behaviour {
    Behaviour::default().after_restart(AfterRestart::Leaves)
}

pub(crate) fn provisioning_token(port: u16) -> ProvisioningToken {
    ProvisioningToken {
        token: SECRET.into(),
        urls: vec![format!("nats://127.0.0.1:{port}")],
        by_default: true,
        protocol_v2: true,
        ..ProvisioningToken::default()
    }
}

/// The event by which a member says that it started.
pub(crate) fn startup(identity: &str) -> Vec<u8> {
    let kind = EventKind::Startup {
        version: "0.30.2".to_owned(),
    };
    let at = mint::now().secs;
    Event::new(format!("home-{identity}"), identity, "server", at, kind).to_cloudevent_json()
}

/// Waits until each of these nodes was configured and restarted, and makes sure that each was once.
pub(crate) async fn all_enrolled_once(fleet: &Fleet, who: &Provisioner) {
    all_restarted(fleet, who).await;
    let twice = fleet.names_where(|seen| !seen.is_enrolled_once());
    assert!(twice.is_empty(), "{twice:?}");
}

/// Waits until each of these nodes was restarted.
pub(crate) async fn all_restarted(fleet: &Fleet, who: &Provisioner) {
    eventually(SOON * 2, OFTEN, || async {
        let left = fleet.names_where(|seen| seen.restarts == 0);
        if left.is_empty() {
            Ok(())
        } else {
            let few: BTreeSet<_> = left.iter().take(5).collect();
            Err(format!(
                "{} not enrolled, {few:?}\n{}",
                left.len(),
                who.process.stderr()
            ))
        }
    })
    .await;
}
