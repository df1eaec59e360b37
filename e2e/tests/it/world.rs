//! A cell on free ports and the commands that a person would type.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use overlay_testkit::{Process, eventually_blocking, free_port, free_ports, nats_server};
use serde_json::Value;
use tempfile::TempDir;

/// How long a whole cell may take to start or to recover on a machine that is busy with other tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const PERIOD: Duration = Duration::from_millis(200);

/// What a command printed and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

fn command(config: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(Process::locate("overlay").unwrap());
    command
        .env("OVERLAY_CONFIG", config)
        .env("OVERLAY_NATS_SERVER", nats_server::locate().unwrap().path)
        .args(args);
    command
}

impl Said {
    pub(crate) fn of(command: &mut Command) -> Self {
        Self::from(command.output().unwrap())
    }

    /// What is said by a command that reads `input`.
    pub(crate) fn given(command: &mut Command, input: &str) -> Self {
        let piped = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        // A command that refuses before it reads has closed the pipe.
        let written = child.stdin.take().unwrap().write_all(input.as_bytes());
        drop(written);
        Self::from(child.wait_with_output().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {self:?}"))
    }

    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// A cell's directory; it may be run by [`World::up`].
#[derive(Debug)]
pub(crate) struct World {
    dir: TempDir,
    pub(crate) port: u16,
    https_port: u16,
}

/// Ports of a cell, all of them different.
struct Ports {
    singles: [u16; 4],
    /// The first of two in a row each.
    pairs: [u16; 4],
}

impl Ports {
    fn free() -> Self {
        Self {
            singles: [(); 4].map(|()| free_port()),
            pairs: [(); 4].map(|()| free_ports(2)),
        }
    }
}

impl World {
    /// Makes a cell with this many nodes and further flags of `overlay cell init`.
    pub(crate) fn new(nodes: usize, flags: &[&str]) -> Self {
        Self::named("e2e", nodes, flags)
    }

    /// The same under another name.
    pub(crate) fn named(name: &str, nodes: usize, flags: &[&str]) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("overlay-e2e-")
            .tempdir()
            .unwrap();
        let Ports { singles, pairs } = Ports::free();
        let world = Self {
            dir,
            port: singles[0],
            https_port: pairs[1],
        };
        let [port, websocket, monitor, admin] = singles.map(|port| port.to_string());
        let [provisioner, https, aaa, replicator] = pairs.map(|port| port.to_string());
        let mut init = vec![
            "cell",
            "init",
            world.path(),
            "--name",
            name,
            "--listen",
            "127.0.0.1",
        ];
        let nodes = nodes.to_string();
        init.extend([
            "--nodes",
            &nodes,
            "--port",
            &port,
            "--websocket-port",
            &websocket,
        ]);
        init.extend([
            "--monitor-port",
            &monitor,
            "--admin-port",
            &admin,
            "--host",
            "localhost",
        ]);
        init.extend(["--provisioner-port", &provisioner]);
        init.extend(["--replicator-port", &replicator]);
        // What is about the fleet alone starts without one.
        if !flags.contains(&"--provisioners") {
            init.extend(["--provisioners", "0"]);
        }
        init.extend(["--aaa-port", &aaa, "--https-port", &https]);
        if !flags.contains(&"--aaa-signer") {
            init.extend(["--aaa-signer", "0"]);
        }
        init.extend(flags);
        world.overlay(&init).ok();
        world
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.dir.path().join("cell")
    }

    /// Where the first signer is reached by HTTPS; the second is at the next one.
    pub(crate) fn https_port(&self) -> u16 {
        self.https_port
    }

    /// The cell's directory as an argument.
    pub(crate) fn path(&self) -> &str {
        Box::leak(self.dir().display().to_string().into_boxed_str())
    }

    /// Starts everything and waits until the cell says that it is ready.
    pub(crate) fn up(&self) -> Process {
        self.start(&[])
    }

    /// Starts only these processes, named with commas.
    pub(crate) fn up_only(&self, names: &str) -> Process {
        self.start(&["--only", names])
    }

    fn start(&self, flags: &[&str]) -> Process {
        let mut up = Process::builder(Process::locate("overlay").unwrap())
            .args(["cell", "up", self.path()])
            .args(flags)
            .env("OVERLAY_NATS_SERVER", nats_server::locate().unwrap().path)
            .start();
        up.wait_for_line("ready:", PATIENCE);
        up
    }

    /// The text of a file of the cell.
    pub(crate) fn read(&self, file: &str) -> String {
        let path = self.dir().join(file);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Replaces a part of a file of the cell that must be there; nothing is replaced at the end of the file.
    #[track_caller]
    pub(crate) fn edit(&self, file: &str, part: &str, by: &str) {
        let text = self.read(file);
        let edited = if part.is_empty() {
            format!("{text}\n{by}\n")
        } else {
            assert!(text.contains(part), "{file} lacks {part:?}:\n{text}");
            text.replacen(part, by, 1)
        };
        std::fs::write(self.dir().join(file), edited).unwrap();
    }

    /// Runs `overlay` as the cell's operator.
    pub(crate) fn overlay(&self, args: &[&str]) -> Said {
        self.overlay_as(&self.dir().join("operator/client.toml"), args)
    }

    /// Runs `overlay` with another client configuration.
    pub(crate) fn overlay_as(&self, config: &Path, args: &[&str]) -> Said {
        Said::of(&mut command(config, args))
    }

    /// Runs `overlay` as the cell's operator, with something to read.
    pub(crate) fn overlay_given(&self, args: &[&str], input: &str) -> Said {
        let config = self.dir().join("operator/client.toml");
        Said::given(&mut command(&config, args), input)
    }

    /// The identities that answer a ping now, sorted.
    pub(crate) fn answering(&self) -> Vec<String> {
        let said = self.overlay(&["ping", "--names", "--timeout", "4s"]);
        let mut names: Vec<String> = said
            .out
            .lines()
            .map(|line| line.trim().to_owned())
            .collect();
        names.retain(|name| !name.is_empty());
        names.sort();
        names
    }

    /// Waits until this many nodes answer.
    #[track_caller]
    pub(crate) fn wait_for_nodes(&self, count: usize) {
        eventually_blocking(PATIENCE, PERIOD, || {
            let names = self.answering();
            if names.len() == count {
                Ok(())
            } else {
                Err(format!("{names:?} answer, {count} are due"))
            }
        });
    }

    /// The process of this name, as `overlay cell up` wrote it down.
    pub(crate) fn pid(&self, name: &str) -> Option<u32> {
        let text = std::fs::read_to_string(self.dir().join("run/up.json")).ok()?;
        let state: Value = serde_json::from_str(&text).ok()?;
        let named = |process: &&Value| {
            process["name"]
                .as_str()
                .is_some_and(|found| found.ends_with(name))
        };
        let pid = state["processes"].as_array()?.iter().find(named)?["pid"].as_u64()?;
        u32::try_from(pid).ok()
    }

    /// Kills the process of this name without warning.
    #[track_caller]
    pub(crate) fn kill(&self, name: &str) {
        let pid = self
            .pid(name)
            .unwrap_or_else(|| panic!("no process {name} in run/up.json"));
        let killed = Command::new("kill")
            .args(["-9", &pid.to_string()])
            .status()
            .unwrap();
        assert!(killed.success());
    }

    /// A caller with its own key, whose token `issuer` signs (the cell's organisation when none is given).
    pub(crate) fn caller(&self, name: &str, issuer: Option<&Path>, flags: &[&str]) -> PathBuf {
        let dir = self.dir.path().join("callers").join(name);
        std::fs::create_dir_all(&dir).unwrap();
        let file = |name: &str| dir.join(name).display().to_string();
        self.overlay(&["jwt", "keys", &file("client.seed"), &file("client.public")])
            .ok();
        let organisation = self.dir().join("issuer/organisation.seed");
        let issuer = issuer.unwrap_or(&organisation).display().to_string();
        let caller = format!("up={name}");
        let (token, public) = (file("client.jwt"), file("client.public"));
        let mut args = vec![
            "jwt",
            "client",
            &token,
            &caller,
            &issuer,
            "--public-key",
            &public,
        ];
        args.extend(flags);
        self.overlay(&args).ok();
        let config = dir.join("client.toml");
        let text = format!(
            "token_file = {token:?}\nseed_file = {:?}\n[broker]\nservers = [\"nats://localhost:{}\"]\nca_file = {:?}\n",
            file("client.seed"),
            self.port,
            self.dir().join("tls/ca.pem").display().to_string(),
        );
        std::fs::write(&config, text).unwrap();
        config
    }

    /// The key of an organisation that the cell has never heard of.
    pub(crate) fn foreign_issuer(&self) -> PathBuf {
        let seed = self.dir.path().join("foreign.seed");
        let (text, public) = (
            seed.display().to_string(),
            self.dir.path().join("foreign.public").display().to_string(),
        );
        if !seed.exists() {
            self.overlay(&["jwt", "keys", &text, &public]).ok();
        }
        seed
    }
}
