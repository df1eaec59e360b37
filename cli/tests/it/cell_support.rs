//! A cell in a temporary directory, and our command on it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use overlay_testkit::{free_ports, nats_server};
use serde_json::Value;
use tempfile::TempDir;

/// Where the cell will be, and the ports it may have.
#[derive(Debug)]
pub(crate) struct Place {
    _dir: TempDir,
    pub(crate) root: PathBuf,
    ports: Vec<u16>,
}

impl Place {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        // A component of two instances takes two in a row.
        let ports = (0..8).map(|_| free_ports(2)).collect();
        Self {
            root: dir.path().join("cell"),
            _dir: dir,
            ports,
        }
    }

    /// `overlay cell init` with free ports on loopback, and further flags.
    pub(crate) fn init(&self, flags: &[&str]) -> Output {
        let ports: Vec<String> = self.ports.iter().map(u16::to_string).collect();
        let mut command = overlay();
        command
            .args(["cell", "init"])
            .arg(&self.root)
            .args([
                "--name",
                "test",
                "--listen",
                "127.0.0.1",
                "--host",
                "localhost",
            ])
            .args(["--port", &ports[0], "--websocket-port", &ports[1]])
            .args(["--monitor-port", &ports[2], "--admin-port", &ports[3]])
            .args(["--provisioner-port", &ports[4]])
            .args(["--aaa-port", &ports[5], "--https-port", &ports[6]])
            .args(["--replicator-port", &ports[7]])
            .args(flags);
        command.output().expect("run overlay")
    }

    /// A verb of `overlay cell` on this cell, with further flags.
    pub(crate) fn cell(&self, verb: &str, flags: &[&str]) -> Output {
        let mut command = overlay();
        command.args(["cell", verb]).arg(&self.root).args(flags);
        command.output().expect("run overlay")
    }

    /// What a token of the cell says, as `overlay jwt view` has it.
    pub(crate) fn token(&self, path: &str) -> Value {
        let mut command = overlay();
        command.current_dir(&self.root).args([
            "jwt",
            "view",
            path,
            "issuer/organisation.public",
            "--json",
        ]);
        serde_json::from_str(&succeeds(&command.output().expect("run overlay"))).expect("JSON")
    }

    /// What `check` finds, as JSON.
    pub(crate) fn check(&self) -> Value {
        let output = self.cell("check", &["--json"]);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            panic!(
                "check said no JSON ({error}): {}",
                String::from_utf8_lossy(&output.stderr)
            )
        })
    }

    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    pub(crate) fn read(&self, relative: &str) -> String {
        fs::read_to_string(self.path(relative)).expect("read a file of the cell")
    }

    pub(crate) fn write(&self, relative: &str, content: &str) {
        fs::write(self.path(relative), content).expect("write a file of the cell");
    }

    pub(crate) fn url(&self) -> String {
        format!("tls://localhost:{}", self.ports[0])
    }

    pub(crate) fn https_url(&self) -> String {
        format!("https://localhost:{}", self.ports[6])
    }

    pub(crate) fn monitor_port(&self) -> u16 {
        self.ports[2]
    }
}

/// Our command with nothing of this process's environment but where programs are.
pub(crate) fn overlay() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_overlay"));
    command.env_clear().stdin(Stdio::null());
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    if let Ok(nats) = nats_server::locate() {
        command.env("OVERLAY_NATS_SERVER", nats.path);
    }
    command
}

/// Whether nats-server and the named programs of the workspace are there; else the test is skipped by name.
pub(crate) fn has(test: &str, programs: &[&str]) -> bool {
    if let Err(why) = nats_server::locate() {
        overlay_testkit::skip(test, &why.to_string(), "cargo xtask tools");
        return false;
    }
    for program in programs {
        if let Err(why) = overlay_testkit::Process::locate(program) {
            overlay_testkit::skip(test, &why, &format!("cargo build --bin {program}"));
            return false;
        }
    }
    true
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
pub(crate) fn succeeds(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

#[track_caller]
pub(crate) fn fails(output: &Output, code: i32) -> String {
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}

/// Every file and directory below `root` with its mode, and content for files.
pub(crate) fn snapshot(root: &Path) -> Vec<(String, u32, Vec<u8>)> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).expect("read a directory") {
            let path = entry.expect("an entry").path();
            let mode = fs::metadata(&path).expect("metadata").permissions().mode() & 0o7777;
            let name = path
                .strip_prefix(root)
                .expect("below the root")
                .display()
                .to_string();
            if path.is_dir() {
                found.push((name, mode, Vec::new()));
                open.push(path);
            } else {
                found.push((name, mode, fs::read(&path).expect("read a file")));
            }
        }
    }
    found.sort();
    found
}
