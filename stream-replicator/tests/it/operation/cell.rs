//! A source, a target and a home broker, and replicas between them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use async_nats::jetstream::{self, kv};
use overlay_testkit::mint::{Login, Organisation};
use overlay_testkit::{Broker, Process, ProcessBuilder, eventually, http_get};
use overlay_tokens::issue::ServerToken;
use serde_json::Value;
use tempfile::TempDir;

use super::{LIMIT, PERIOD};

pub(super) const SOURCE: &str = "NODES";
pub(super) const TARGET: &str = "FLEET";
/// Key of the worker's election.
pub(super) const KEY: &str = "SR_W1_NODES";
const BUCKET: &str = "CHORIA_LEADER_ELECTION";

pub(super) struct Cell {
    pub(super) source: Broker,
    pub(super) target: Broker,
    pub(super) home: Broker,
    pub(super) organisation: Organisation,
    server: Login,
    dir: TempDir,
}

/// A process that replicates.
pub(super) struct Replica {
    pub(super) process: Process,
    pub(super) port: u16,
}

impl Cell {
    pub(super) async fn start() -> Self {
        let organisation = Organisation::new();
        let server = organisation.server(ServerToken {
            identity: "repl.example.net".to_owned(),
            ..ServerToken::default()
        });
        let cell = Self {
            source: Broker::builder().name("source").jetstream().start(),
            target: Broker::builder().name("target").jetstream().start(),
            home: Broker::builder().name("home").start(),
            server,
            organisation,
            dir: tempfile::tempdir().unwrap(),
        };
        let config = jetstream::stream::Config {
            name: SOURCE.to_owned(),
            subjects: vec!["nodes.>".to_owned()],
            ..jetstream::stream::Config::default()
        };
        cell.at_source().await.create_stream(config).await.unwrap();
        cell
    }

    pub(super) async fn at_source(&self) -> jetstream::Context {
        jetstream::new(async_nats::connect(self.source.url()).await.unwrap())
    }

    pub(super) async fn at_target(&self) -> jetstream::Context {
        jetstream::new(async_nats::connect(self.target.url()).await.unwrap())
    }

    /// The bucket of elections, as a Choria broker makes it.
    pub(super) async fn bucket(&self, term: Duration) -> kv::Store {
        let jetstream = self.at_source().await;
        let config = jetstream::stream::Config {
            name: format!("KV_{BUCKET}"),
            subjects: vec![format!("$KV.{BUCKET}.>")],
            max_age: term,
            max_messages_per_subject: 1,
            max_message_size: 1024,
            discard: jetstream::stream::DiscardPolicy::New,
            deny_delete: true,
            allow_rollup: true,
            allow_direct: true,
            ..jetstream::stream::Config::default()
        };
        jetstream.create_stream(config).await.unwrap();
        jetstream.get_key_value(BUCKET).await.unwrap()
    }

    /// The configuration of a replica; `stream` is added to its worker's table, `more` to the end.
    pub(super) fn config(&self, candidate: Option<&str>, stream: &str, more: &str) -> String {
        let (token, seed) = self.server.write(self.dir.path(), "server");
        // Else it logs in with the token, which takes TLS.
        let password = self.dir.path().join("password");
        fs::write(&password, "secret").unwrap();
        fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
        let candidate =
            candidate.map_or_else(String::new, |name| format!("candidate = {name:?}\n"));
        format!(
            r#"name = "SITE"
[broker]
servers = [{home:?}]
user = "replicator"
password_file = {password:?}
[control]
identity = "repl.example.net"
token_file = {token:?}
seed_file = {seed:?}
[issuers]
choria = "{issuer}"
[source]
servers = [{source:?}]
[target]
servers = [{target:?}]
[admin]
listen = "127.0.0.1:0"
[[streams]]
name = "W1"
stream = "{SOURCE}"
target_stream = "{TARGET}"
prefix = "copy"
{candidate}{stream}
{more}
"#,
            home = self.home.url(),
            source = self.source.url(),
            target = self.target.url(),
            issuer = hex(self.organisation.public().as_bytes()),
        )
    }

    pub(super) fn replica(&self, candidate: Option<&str>) -> Replica {
        self.replica_with(&self.config(candidate, "", ""))
    }

    pub(super) fn replica_with(&self, config: &str) -> Replica {
        self.run(config, |process| process)
    }

    /// One whose token, key and password systemd hands over: where the configuration says, there is nothing.
    pub(super) fn replica_with_credentials(&self) -> Replica {
        let config = self.config(None, "", "");
        let handed = self.dir.path().join("credentials");
        fs::create_dir(&handed).unwrap();
        for name in ["server.jwt", "server.seed", "password"] {
            fs::rename(self.dir.path().join(name), handed.join(name)).unwrap();
        }
        self.run(&config, |process| {
            process.env("CREDENTIALS_DIRECTORY", handed)
        })
    }

    fn run(&self, config: &str, with: impl FnOnce(ProcessBuilder) -> ProcessBuilder) -> Replica {
        let path = self.dir.path().join("replicator.toml");
        fs::write(&path, config).unwrap();
        let process = Process::builder(env!("CARGO_BIN_EXE_overlay-stream-replicator"))
            .arg("--config")
            .arg(&path);
        let mut process = with(process).start();
        let line = process.wait_for_line("admin listener", LIMIT);
        let port = line.rsplit(':').next().unwrap().trim().parse().unwrap();
        Replica { process, port }
    }

    /// Puts so many messages into the source; each body is its number.
    pub(super) async fn publish(&self, from: u64, to: u64) {
        let jetstream = self.at_source().await;
        for number in from..to {
            let subject = format!("nodes.n{}", number % 5);
            let sent = jetstream.publish(subject, number.to_string().into()).await;
            sent.unwrap().await.unwrap();
        }
    }

    /// Bodies in the target, in their order; none without a target.
    pub(super) async fn copies(&self) -> Vec<u64> {
        let jetstream = self.at_target().await;
        let Ok(stream) = jetstream.get_stream(TARGET).await else {
            return Vec::new();
        };
        let state = stream.cached_info().state.clone();
        let mut bodies = Vec::new();
        for sequence in state.first_sequence.max(1)..=state.last_sequence {
            let message = stream.get_raw_message(sequence).await.unwrap();
            let body = std::str::from_utf8(&message.payload).unwrap();
            bodies.push(body.parse().unwrap());
        }
        bodies
    }

    /// How many messages the target has.
    pub(super) async fn copied(&self) -> u64 {
        let jetstream = self.at_target().await;
        match jetstream.get_stream(TARGET).await {
            Ok(stream) => stream.cached_info().state.messages,
            Err(_) => 0,
        }
    }

    /// Waits until the target has so many messages.
    pub(super) async fn has_copied(&self, messages: u64) {
        eventually(LIMIT, PERIOD, || async {
            let copied = self.copied().await;
            if copied >= messages {
                Ok(())
            } else {
                Err(format!("{copied} of {messages} copied"))
            }
        })
        .await;
    }
}

impl Replica {
    /// Whether it is ready, and the parts that readiness is made of.
    pub(super) fn ready(&self) -> Result<(bool, Value), String> {
        let (status, body) = http_get(self.port, "/ready").map_err(|error| error.to_string())?;
        let report: Value = serde_json::from_str(&body).map_err(|error| error.to_string())?;
        Ok((status == 200, report["parts"].clone()))
    }

    pub(super) async fn is_ready(&self) {
        eventually(LIMIT, PERIOD, || async {
            match self.ready() {
                Ok((true, _)) => Ok(()),
                Ok((false, parts)) => Err(parts.to_string()),
                Err(error) => Err(error),
            }
        })
        .await;
    }

    /// Waits until readiness gives a part as down, with this in its reason.
    pub(super) async fn is_down(&self, part: &str, reason: &str) {
        eventually(LIMIT, PERIOD, || async {
            let (ready, parts) = self.ready()?;
            let said = parts[part]["reason"].as_str().unwrap_or_default();
            if !ready && said.contains(reason) {
                Ok(())
            } else {
                Err(parts.to_string())
            }
        })
        .await;
    }

    pub(super) fn metrics(&self) -> String {
        http_get(self.port, "/metrics").unwrap().1
    }

    /// Whether it leads, as its metrics say.
    pub(super) fn leads(&self) -> bool {
        let line = format!(r#"overlay_election_leader{{election="{KEY}"}} 1"#);
        self.metrics().contains(&line)
    }

    pub(super) async fn is_leader(&self) {
        eventually(LIMIT, PERIOD, || async { self.leads() }).await;
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
