//! An operator's desk: a broker, nodes, a configuration, and the command.
#![allow(clippy::unwrap_used, reason = "helper of tests")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use overlay_testkit::Broker;
use overlay_testkit::mint::{Login, Organisation};
use overlay_tokens::Issuers;
use overlay_tokens::claims::ClientPermissions;
use overlay_tokens::issue::{ClientToken, ServerToken};
use serde_json::Value;
use tempfile::TempDir;

use crate::fleet::{Fleet, Node};

pub(crate) struct Desk {
    pub(crate) broker: Broker,
    /// Of the organisation's provisioner.
    pub(crate) provisioner: Login,
    /// Of the node `repl.example.net`.
    pub(crate) replicator: Login,
    pub(crate) issuers: Issuers,
    pub(crate) fleet: Fleet,
    dir: TempDir,
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Desk {
    pub(crate) fn new(nodes: Vec<Node>) -> Self {
        let broker = Broker::plain();
        let organisation = Organisation::new();
        let dir = tempfile::tempdir().unwrap();
        configure(dir.path(), &broker.url(), &organisation);
        let provisioner = organisation.provisioner("provisioner=test");
        let replicator = organisation.server(ServerToken {
            identity: "repl.example.net".to_owned(),
            ..ServerToken::default()
        });
        let issuers = organisation.issuers();
        let fleet = Fleet::start(&broker.url(), organisation, nodes);
        Self {
            broker,
            provisioner,
            replicator,
            issuers,
            fleet,
            dir,
        }
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn run(&self, args: &[&str]) -> Run {
        run(self.dir(), args, None)
    }

    pub(crate) fn run_with_input(&self, args: &[&str], input: &str) -> Run {
        run(self.dir(), args, Some(input))
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Run {
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{self:#?}");
        self
    }

    #[track_caller]
    pub(crate) fn fails(self, code: i32, text: &str) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        assert!(self.stderr.contains(text), "`{text}` is not in {self:#?}");
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap()
    }
}

pub(crate) fn operator(organisation: &Organisation) -> Login {
    let permissions = ClientPermissions {
        fleet_management: true,
        ..ClientPermissions::default()
    };
    organisation.client(ClientToken {
        permissions: Some(permissions),
        ..ClientToken::new("up=bob")
    })
}

/// Writes `client.toml`, token and key.
pub(crate) fn configure(dir: &Path, url: &str, organisation: &Organisation) {
    operator(organisation).write(dir, "client");
    let text = format!(
        "token_file = \"client.jwt\"\nseed_file = \"client.seed\"\nidentity = \"desk\"\n\
         [broker]\nservers = [\"{url}\"]\ntls = false\nconnect_timeout = \"5s\"\n\
         [discovery]\ntimeout = \"1s\"\n[issuers]\nchoria = \"{}\"\n",
        organisation.public()
    );
    std::fs::write(dir.join("client.toml"), text).unwrap();
}

pub(crate) fn command(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_overlay"));
    command
        .env_clear()
        .env("HOME", dir)
        .env("OVERLAY_CONFIG", dir.join("client.toml"));
    command.current_dir(dir).stdin(Stdio::null());
    command
}

pub(crate) fn run(dir: &Path, args: &[&str], input: Option<&str>) -> Run {
    let mut command = command(dir);
    command
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if input.is_some() {
        command.stdin(Stdio::piped());
    }
    let mut child = command.spawn().unwrap();
    if let (Some(text), Some(mut stdin)) = (input, child.stdin.take()) {
        // A command that does not want its input may be gone by now.
        stdin.write_all(text.as_bytes()).ok();
    }
    let output = child.wait_with_output().unwrap();
    Run {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Compares with the stored text; times, ids and addresses do not matter.
macro_rules! assert_shown {
    ($name:expr, $text:expr) => {
        insta::with_settings!({
            filters => vec![
                (r"time=\d+ ms", "time=[TIME] ms"),
                (r"\b(\d+h)?(\d+m)?\d+(\.\d+)?(ns|µs|ms|s)\b", "[SPAN]"),
                (r"\b\d{10}\b", "[SECONDS]"),
                (r"\b[0-9A-Za-z]{27}\b", "[ID]"),
                (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[^ \x22\n]*", "[TIMESTAMP]"),
                (r"\x22(publish_time|request_time|discover_time|time|max|min|avg|overhead)\x22: \d+", "\x22$1\x22: [NANOS]"),
                (r"127\.0\.0\.1:\d+", "[BROKER]"),
                (r"/[^ ,`]*/(\.tmp[0-9A-Za-z]+)", "[DIR]"),
            ],
            omit_expression => true,
            prepend_module_to_snapshot => false,
        }, { insta::assert_snapshot!($name, $text) })
    };
}
pub(crate) use assert_shown;
