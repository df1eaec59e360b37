//! A cell for measuring: made by `overlay cell init`, run by hand so that each process is known.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use overlay_testkit::free_port;
use overlay_testkit::mint::Organisation;
use overlay_tokens::file;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::time::Instant;

use super::process::{Running, START_LIMIT};

/// What a run may vary.
#[derive(Debug, Clone, Default)]
pub(crate) struct Variant {
    /// Callout requests and answers sealed with the curve keys.
    pub(crate) sealed: bool,
    /// `GOGC` of nats-server: how lazy its garbage collector is; its own default when absent.
    pub(crate) gogc: Option<u32>,
    /// How many instances of broker-auth answer.
    pub(crate) responders: usize,
}

/// A running broker with its login service.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) directory: PathBuf,
    pub(crate) port: u16,
    pub(crate) broker: Running,
    pub(crate) responders: Vec<Running>,
    /// Ports of their admin listeners.
    pub(crate) admins: Vec<u16>,
    _scratch: tempfile::TempDir,
}

/// The directory with our release programs: the one that this program is in.
pub(crate) fn programs() -> Result<PathBuf> {
    let own = std::env::current_exe().context("find this program")?;
    Ok(own
        .parent()
        .context("this program has a directory")?
        .to_path_buf())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the environment is read here, at the edge"
)]
fn nats_server() -> Result<String> {
    std::env::var("OVERLAY_NATS_SERVER")
        .or_else(|_| std::env::var("OVERLAY_NATS_SERVER_DEFAULT"))
        .context(
            "name a nats-server in OVERLAY_NATS_SERVER, or run this through `cargo xtask bench`",
        )
}

impl Cell {
    /// Makes a cell with one node and starts its broker and login service, not the node.
    pub(crate) fn start(variant: &Variant) -> Result<Self> {
        Self::start_changed(variant, |_cell| Ok(()))
    }

    /// Does the same, with a cell whose files are changed before anything starts.
    pub(crate) fn start_changed(
        variant: &Variant,
        change: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<Self> {
        let scratch = tempfile::Builder::new()
            .prefix("overlay-bench-")
            .tempdir()
            .context("make a directory")?;
        let directory = scratch.path().join("cell");
        let (port, monitor, admin) = (free_port(), free_port(), free_port());
        let programs = programs()?;
        let made = Command::new(programs.join("overlay"))
            .args(["cell", "init"])
            .arg(&directory)
            .args(["--name", "bench", "--nodes", "1", "--websocket-port", "0"])
            .args([
                "--port",
                &port.to_string(),
                "--monitor-port",
                &monitor.to_string(),
            ])
            .args(["--admin-port", &admin.to_string()])
            .stdout(Stdio::null())
            .status()
            .context("start overlay cell init")?;
        if !made.success() {
            bail!("overlay cell init ended with {made}");
        }
        change(&directory)?;
        let configuration = directory.join("broker/nats-server.conf");
        if !variant.sealed {
            unseal(&configuration)?;
        }
        let mut command = Command::new(nats_server()?);
        command
            .arg("--config")
            .arg(&configuration)
            .current_dir(directory.join("broker"));
        if let Some(gogc) = variant.gogc {
            command.env("GOGC", gogc.to_string());
        }
        let broker = Running::start(&mut command, &scratch.path().join("nats-server.log"))?;
        wait_for_port(port)?;
        let (mut responders, mut admins) = (Vec::new(), Vec::new());
        for index in 0..variant.responders.max(1) {
            let config = directory.join("broker-auth/broker-auth.toml");
            let mut command = Command::new(programs.join("overlay-broker-auth"));
            command.arg("--config").arg(&config);
            let admin = if index == 0 { admin } else { free_port() };
            let listen = format!("127.0.0.1:{admin}");
            command.env("OVERLAY_BROKER_AUTH__ADMIN__LISTEN", &listen);
            let log = scratch.path().join(format!("broker-auth-{index}.log"));
            let mut responder = Running::start(&mut command, &log)?;
            // Whoever logs in before is refused.
            responder.wait_until_ready(admin, "/ready", &log)?;
            responders.push(responder);
            admins.push(admin);
        }
        Ok(Self {
            directory,
            port,
            broker,
            responders,
            admins,
            _scratch: scratch,
        })
    }

    /// Ends the broker in order (SIGTERM) and starts it again, on the same ports and with the same store.
    pub(crate) fn restart_broker(&mut self) -> Result<()> {
        self.broker.terminate();
        while !self.broker.has_ended() {
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut command = Command::new(nats_server()?);
        command
            .arg("--config")
            .arg(self.directory.join("broker/nats-server.conf"))
            .current_dir(self.directory.join("broker"));
        self.broker = Running::start(&mut command, &self.directory.join("broker/again.log"))?;
        wait_for_port(self.port)
    }

    /// Tokens of this cell's organisation, as the login service trusts them.
    pub(crate) fn organisation(&self) -> Result<Organisation> {
        let seed = self.directory.join("issuer/organisation.seed");
        let key = file::read_seed(&seed).context("read the organisation's seed")?;
        Ok(Organisation::with_key(key))
    }

    /// The certificate authority that signed the broker's certificate.
    pub(crate) fn roots(&self) -> Result<rustls::RootCertStore> {
        let path = self.directory.join("tls/ca.pem");
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(&path)
            .with_context(|| format!("read {}", path.display()))?
        {
            let certificate = certificate.with_context(|| format!("parse {}", path.display()))?;
            roots
                .add(certificate)
                .with_context(|| format!("trust {}", path.display()))?;
        }
        Ok(roots)
    }

    /// The directory of the cell's one node.
    pub(crate) fn node(&self) -> Result<PathBuf> {
        let nodes = self.directory.join("node");
        let mut entries =
            fs::read_dir(&nodes).with_context(|| format!("read {}", nodes.display()))?;
        let entry = entries.next().context("the cell has a node")?;
        Ok(entry.context("read the node's directory")?.path())
    }
}

/// Takes the line with the curve key out of the broker's configuration.
fn unseal(configuration: &Path) -> Result<()> {
    let text = fs::read_to_string(configuration)
        .with_context(|| format!("read {}", configuration.display()))?;
    let kept: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("xkey"))
        .collect();
    fs::write(configuration, kept.join("\n"))
        .with_context(|| format!("write {}", configuration.display()))
}

fn wait_for_port(port: u16) -> Result<()> {
    let limit = Instant::now() + START_LIMIT;
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        if Instant::now() > limit {
            bail!(
                "nothing listens on port {port} after {} s",
                START_LIMIT.as_secs()
            );
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
