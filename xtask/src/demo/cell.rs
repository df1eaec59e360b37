//! The cell of the demo, and the commands run against it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::run::{check, say};

/// Lines of events kept until somebody asks for them.
const EVENT_LINES: usize = 1000;

/// What a command said, and whether it succeeded.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) ok: bool,
    pub(crate) text: String,
}

impl Said {
    /// Shows the first lines.
    pub(crate) fn show(&self) {
        for line in self.text.lines().take(24) {
            say(&format!("    {line}"));
        }
    }

    /// Whether a line that speaks of missing nodes, or one after it, names the node.
    pub(crate) fn names_missing(&self, node: &str) -> bool {
        let lower = self.text.to_lowercase();
        let after = ["no response", "missing", "did not answer"]
            .iter()
            .find_map(|word| lower.find(word));
        after.is_some_and(|start| lower.get(start..).is_some_and(|rest| rest.contains(node)))
    }
}

/// A cell below one directory.
#[derive(Debug)]
pub(crate) struct Cell {
    directory: PathBuf,
    programs: PathBuf,
    nats_server: PathBuf,
    port: u16,
}

/// A running `overlay cell up`.
#[derive(Debug)]
pub(crate) struct Up {
    child: Child,
}

/// A running `overlay events`.
#[derive(Debug)]
pub(crate) struct Events {
    child: Child,
    lines: Receiver<String>,
}

impl Cell {
    /// Makes the files, with ports that were free a moment ago.
    pub(crate) fn init(
        directory: &Path,
        programs: &Path,
        nats_server: &Path,
        name: &str,
        flags: &[&str],
    ) -> Result<Self> {
        let numbers = free_ports::<8>()?;
        let cell = Self {
            directory: directory.to_path_buf(),
            programs: programs.to_path_buf(),
            nats_server: nats_server.to_path_buf(),
            port: numbers[0],
        };
        let ports = numbers.map(|port| port.to_string());
        let [
            port,
            websocket,
            monitor,
            admin,
            provisioner,
            aaa,
            https,
            replicator,
        ] = &ports;
        check(
            cell.program()
                .args(["cell", "init", &cell.path()?, "--name", name])
                .args(flags)
                .args(["--port", port, "--websocket-port", websocket])
                .args(["--monitor-port", monitor, "--admin-port", admin])
                .args(["--provisioner-port", provisioner])
                .args(["--aaa-port", aaa, "--https-port", https])
                .args(["--replicator-port", replicator]),
        )?;
        for (index, name) in cell.names().iter().enumerate() {
            let facts = serde_json::json!({ "rack": (index + 1).to_string(), "site": "demo", "os": { "family": "Debian" } });
            let path = directory.join("node").join(name).join("facts.json");
            fs::write(&path, facts.to_string())
                .with_context(|| format!("write {}", path.display()))?;
        }
        Ok(cell)
    }

    /// Where the broker listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// How many messages each stream holds.
    pub(crate) fn streams(&self) -> Result<BTreeMap<String, u64>> {
        let output = self
            .program()
            .args(["cell", "status", &self.path()?, "--json"])
            .output()
            .context("start overlay cell status")?;
        let status: Value =
            serde_json::from_slice(&output.stdout).context("read the status of a cell")?;
        let streams = status["streams"].as_array().into_iter().flatten();
        Ok(streams
            .filter_map(|stream| {
                let name = stream["name"].as_str()?.to_owned();
                Some((name, stream["messages"].as_u64()?))
            })
            .collect())
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The path of one of our programs.
    pub(crate) fn binary(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    pub(crate) fn path(&self) -> Result<String> {
        self.directory
            .to_str()
            .map(str::to_owned)
            .context("the cell's path is text")
    }

    /// The nodes' identities, as their directories are named.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.directory.join("node"))
            .into_iter()
            .flatten()
            .flatten();
        let mut names: Vec<String> = entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    pub(crate) fn program(&self) -> Command {
        let mut command = Command::new(self.binary("overlay"));
        command.env("OVERLAY_NATS_SERVER", &self.nats_server);
        command
    }

    /// The command line that a person may use against this cell.
    pub(crate) fn command(&self) -> Result<String> {
        let program = self.binary("overlay");
        Ok(format!(
            "{} --config {}/operator/client.toml",
            program.display(),
            self.path()?
        ))
    }

    /// Runs the command as the cell's operator.
    pub(crate) fn overlay(&self, args: &[&str]) -> Result<Said> {
        self.overlay_as(&self.directory.join("operator/client.toml"), args)
    }

    /// Runs the command with another client configuration.
    pub(crate) fn overlay_as(&self, config: &Path, args: &[&str]) -> Result<Said> {
        self.given(config, args, "")
    }

    /// Runs the command with something to read on its standard input.
    pub(crate) fn given(&self, config: &Path, args: &[&str], input: &str) -> Result<Said> {
        let mut child = self
            .program()
            .arg("--config")
            .arg(config)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("start overlay")?;
        if let Some(mut stdin) = child.stdin.take() {
            // A command that refuses before it reads has closed the pipe.
            stdin.write_all(input.as_bytes()).ok();
        }
        let output = child.wait_with_output().context("wait for overlay")?;
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        Ok(Said {
            ok: output.status.success(),
            text,
        })
    }

    /// Makes a caller with keys and a token of its own: of the cell's organisation, or of an issuer nobody knows.
    pub(crate) fn caller(&self, name: &str, stranger: bool, flags: &[&str]) -> Result<PathBuf> {
        let directory = self.directory.join("callers").join(name);
        fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
        let file = |name: &str| directory.join(name).display().to_string();
        let quiet = |command: &mut Command| check(command.stdout(Stdio::null()));
        quiet(
            self.program()
                .args(["jwt", "keys", &file("client.seed"), &file("client.public")]),
        )?;
        let issuer = if stranger {
            quiet(self.program().args([
                "jwt",
                "keys",
                &file("issuer.seed"),
                &file("issuer.public"),
            ]))?;
            file("issuer.seed")
        } else {
            self.directory
                .join("issuer/organisation.seed")
                .display()
                .to_string()
        };
        let caller = format!("up={name}");
        quiet(
            self.program()
                .args(["jwt", "client", &file("client.jwt"), &caller, &issuer])
                .args(["--public-key", &file("client.public")])
                .args(flags),
        )?;
        let base = self.directory.join("operator/client.toml");
        let text = fs::read_to_string(&base).with_context(|| format!("read {}", base.display()))?;
        let operator = self.directory.join("operator").display().to_string();
        let config = directory.join("client.toml");
        let text = text.replace(&operator, &directory.display().to_string());
        fs::write(&config, text).with_context(|| format!("write {}", config.display()))?;
        Ok(config)
    }

    /// Makes a token for new nodes of this cell that an issuer signed whom nobody knows.
    pub(crate) fn forged_token(&self) -> Result<PathBuf> {
        let directory = self.directory.join("callers/forger");
        fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
        let (seed, public) = (
            directory.join("issuer.seed"),
            directory.join("issuer.public"),
        );
        let quiet = |command: &mut Command| check(command.stdout(Stdio::null()));
        quiet(self.program().args(["jwt", "keys"]).args([&seed, &public]))?;
        let token = directory.join("provisioning.jwt");
        let conf = self.directory.join("helpers/site.conf");
        let site = fs::read_to_string(&conf).with_context(|| format!("read {}", conf.display()))?;
        let url = site
            .lines()
            .find_map(|line| line.strip_prefix("BROKERS="))
            .context("the cell's helpers know its broker")?;
        quiet(
            self.program()
                .args(["provision", "tokens", "create"])
                .args([&token, &seed])
                .args(["--urls", url.trim_matches('\'')])
                .arg("--token-file")
                .arg(self.directory.join("provisioner/node.secret"))
                .arg("--pin-ca")
                .arg(self.directory.join("tls/ca.pem")),
        )?;
        Ok(token)
    }

    /// Starts the cell and waits until it says that it is ready.
    pub(crate) fn up(&self) -> Result<Up> {
        let log = self.directory.join("up.log");
        let file = fs::File::create(&log).with_context(|| format!("create {}", log.display()))?;
        let child = self
            .program()
            .args(["cell", "up", &self.path()?])
            .stdin(Stdio::null())
            .stdout(file.try_clone().context("share the log")?)
            .stderr(file)
            .spawn()
            .context("start overlay cell up")?;
        let up = Up { child };
        let ready = self.eventually(Duration::from_secs(60), || {
            Ok(fs::read_to_string(&log)
                .is_ok_and(|text| text.lines().any(|line| line.starts_with("ready:"))))
        })?;
        if !ready {
            bail!(
                "the cell was not ready within a minute; it said:\n{}",
                fs::read_to_string(&log).unwrap_or_default()
            );
        }
        let text = fs::read_to_string(&log).unwrap_or_default();
        if let Some(line) = text.lines().find(|line| line.starts_with("ready:")) {
            say(&format!("    {line}"));
        }
        Ok(up)
    }

    /// How many nodes answer a ping now.
    pub(crate) fn answers(&self) -> Result<usize> {
        let said = self.overlay(&["ping", "--names", "--timeout", "1"])?;
        Ok(self
            .names()
            .iter()
            .filter(|name| said.text.lines().any(|line| line.trim() == **name))
            .count())
    }

    /// Kills one of the cell's processes without warning.
    pub(crate) fn kill(&self, name: &str) -> Result<()> {
        let path = self.directory.join("run/up.json");
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let state: Value =
            serde_json::from_str(&text).with_context(|| format!("parse {}", path.display()))?;
        let processes = state["processes"]
            .as_array()
            .context("up.json lists processes")?;
        let named = |process: &&Value| {
            process["name"].as_str().is_some_and(|found| {
                found == name
                    || found.ends_with(&format!("/{name}"))
                    || found == format!("node-{name}")
            })
        };
        let pid = processes
            .iter()
            .find(named)
            .and_then(|process| process["pid"].as_u64());
        let pid =
            pid.with_context(|| format!("find {name} among the processes of {}", path.display()))?;
        check(Command::new("kill").args(["-9", &pid.to_string()]))
    }

    /// Watches lifecycle events and refusals.
    pub(crate) fn events(&self) -> Result<Events> {
        let mut child = self
            .program()
            .arg("--config")
            .arg(self.directory.join("operator/client.toml"))
            .args(["events", "--json"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("start overlay events")?;
        let stdout = child
            .stdout
            .take()
            .context("take the output of overlay events")?;
        let (sender, lines) = sync_channel(EVENT_LINES);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Events { child, lines })
    }

    /// Whether a condition came true within the limit.
    #[expect(
        clippy::disallowed_methods,
        reason = "a limit for the person who waits"
    )]
    pub(crate) fn eventually(
        &self,
        limit: Duration,
        mut condition: impl FnMut() -> Result<bool>,
    ) -> Result<bool> {
        let end = Instant::now() + limit;
        loop {
            if condition()? {
                return Ok(true);
            }
            if Instant::now() > end {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Up {
    /// Asks the cell to stop and waits for it.
    pub(crate) fn stop(&mut self) -> Result<()> {
        check(Command::new("kill").args(["-TERM", &self.child.id().to_string()]))?;
        self.wait()
    }

    /// Waits until the cell ended.
    pub(crate) fn wait(&mut self) -> Result<()> {
        self.child.wait().map(drop).context("wait for the cell")
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None))
            && self.stop().is_err()
            && self.child.kill().is_ok()
        {
            drop(self.child.wait());
        }
    }
}

impl Events {
    /// The first event line from now on that holds `text`.
    #[expect(
        clippy::disallowed_methods,
        reason = "a limit for the person who waits"
    )]
    pub(crate) fn wait_for(&self, text: &str, limit: Duration) -> Result<Option<String>> {
        let end = Instant::now() + limit;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            match self.lines.recv_timeout(left) {
                Ok(line) if line.contains(text) => return Ok(Some(line)),
                Ok(_) => {}
                Err(_) => return Ok(None),
            }
        }
        Ok(None)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}

/// Ports that differ: each is held until all are chosen.
fn free_ports<const COUNT: usize>() -> Result<[u16; COUNT]> {
    let mut listeners = Vec::new();
    let mut ports = [0; COUNT];
    for port in &mut ports {
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("find a free port")?;
        *port = listener.local_addr().context("read the port")?.port();
        listeners.push(listener);
    }
    Ok(ports)
}
