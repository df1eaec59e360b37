//! A cell with provisioners before nodes that are about to come.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use overlay_testkit::free_port;
use overlay_tokens::claims::ClientPermissions;
use overlay_tokens::issue::{ClientToken, ProvisioningToken};

use super::super::cell::{Cell, Variant, programs};
use super::super::process::Running;
use super::{HelperMode, Options};

const SECRET: &str = "bench-s3cret";
const DAY: Duration = Duration::from_secs(86_400);

/// A running cell, and what provisioners need.
#[derive(Debug)]
pub(super) struct World {
    pub(super) cell: Cell,
    /// What nodes log in with.
    pub(super) token: String,
    pub(super) helper: Option<Running>,
    helper_port: u16,
    issuer: String,
}

/// A running provisioner.
#[derive(Debug)]
pub(super) struct Provisioner {
    pub(super) process: Running,
    pub(super) admin: u16,
}

impl World {
    /// Starts broker and login service, and the helper where it is a service.
    pub(super) fn start(options: &Options) -> Result<Self> {
        let cell = Cell::start(&Variant {
            sealed: true,
            gogc: (options.gogc > 0).then_some(options.gogc),
            responders: 1,
        })?;
        let organisation = cell.organisation()?;
        let chain = organisation.chain(ClientToken {
            validity: 365 * DAY,
            permissions: Some(ClientPermissions {
                provisioner: true,
                ..ClientPermissions::default()
            }),
            ..ClientToken::new("provisioner=bench")
        });
        let directory = cell.directory.join("bench");
        fs::create_dir_all(&directory).context("make a directory")?;
        chain.login.write(&directory, "provisioner");
        write_secret(&directory.join("node.secret"), SECRET)?;
        let token = organisation.provisioning(ProvisioningToken {
            token: SECRET.to_owned().into(),
            urls: vec![format!("nats://127.0.0.1:{}", cell.port)],
            by_default: true,
            protocol_v2: true,
            validity: 30 * DAY,
            ..ProvisioningToken::default()
        });
        let mut world = Self {
            issuer: organisation.public().to_string(),
            helper_port: free_port(),
            helper: None,
            token,
            cell,
        };
        if options.helper == HelperMode::Http {
            let (program, arguments) = world.helper_command(options)?;
            let mut command = Command::new(program);
            command.args(arguments).arg(world.helper_port.to_string());
            let log = directory.join("helper.log");
            world.helper = Some(Running::start(&mut command, &log)?);
        }
        Ok(world)
    }

    /// Starts one provisioner and waits until it says that it is ready.
    pub(super) fn provisioner(&self, options: &Options, index: usize) -> Result<Provisioner> {
        let admin = free_port();
        let directory = self.directory();
        let config = directory.join(format!("provisioner-{index}.toml"));
        fs::write(&config, self.config(options, admin)?).context("write the configuration")?;
        let mut command = Command::new(programs()?.join("overlay-provisioner"));
        command.arg("--config").arg(&config);
        let log = directory.join(format!("provisioner-{index}.log"));
        let mut process = Running::start(&mut command, &log)?;
        process.wait_until_ready(admin, "/ready", &log)?;
        Ok(Provisioner { process, admin })
    }

    pub(super) fn directory(&self) -> PathBuf {
        self.cell.directory.join("bench")
    }

    fn helper_command(&self, options: &Options) -> Result<(PathBuf, Vec<String>)> {
        let program = programs()?.join("overlay-bench-helper");
        let arguments = vec![
            options.helper.as_str().to_owned(),
            options.helper_delay.to_string(),
            format!("nats://127.0.0.1:{}", self.cell.port),
        ];
        Ok((program, arguments))
    }

    fn config(&self, options: &Options, admin: u16) -> Result<String> {
        let directory = self.directory();
        let own = |name: &str| quoted(&directory.join(name));
        let (program, arguments) = self.helper_command(options)?;
        let mut command = vec![program.display().to_string()];
        command.extend(arguments);
        let mut helper = format!("mode = {:?}\n", options.helper.as_str());
        match options.helper {
            HelperMode::Process | HelperMode::Persistent => {
                writeln!(helper, "command = {command:?}")?
            }
            HelperMode::Http => {
                writeln!(helper, "url = \"http://127.0.0.1:{}/\"", self.helper_port)?
            }
        }
        if let Some(count) = options.helpers {
            writeln!(helper, "concurrency = {count}")?;
        }
        // Without members to come back, nobody is to be looked for again while a run lasts.
        let member = if options.members { "2m" } else { "1h" };
        let scan = if options.scan_only { "1m" } else { "1h" };
        let (port, workers) = (self.cell.port, options.workers.unwrap_or_default());
        let (ca, password) = (
            quoted(&self.cell.directory.join("tls/ca.pem")),
            quoted(&self.cell.directory.join("broker-auth/provisioner.password")),
        );
        let (token, seed, secret) = (
            own("provisioner.jwt"),
            own("provisioner.seed"),
            own("node.secret"),
        );
        let issuer = &self.issuer;
        let leader = options.leader;
        Ok(format!(
            r#"identity = "provisioner.bench"
[broker]
servers = ["tls://localhost:{port}"]
ca_file = {ca}
password_file = {password}
[login]
token_file = {token}
seed_file = {seed}
[issuers]
choria = "{issuer}"
[nodes]
secret_files = [{secret}]
[helper]
{helper}
[limits]
workers = {workers}
[calls]
member = "{member}"
[scan]
interval = "{scan}"
[leader]
enabled = {leader}
[admin]
listen = "127.0.0.1:{admin}"
[log]
level = "warn"
"#
        ))
    }
}

fn quoted(path: &Path) -> String {
    format!("{:?}", path.display().to_string())
}

fn write_secret(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
        .with_context(|| format!("protect {}", path.display()))
}
