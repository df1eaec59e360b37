//! What the process was started as: found out from files and environment, before anything runs.
//!
//! A file of Choria's form is what provisioners deliver; TOML files and the environment are the
//! operator's. A node that waits to be enrolled goes by the operator's part alone. `configure` writes
//! the first file of Choria's form that is named, else `NAME.conf` beside the first `NAME.toml`; that
//! one is read after the operator's files, once it was delivered.

mod startup;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use overlay_runtime::config::Loaded;
use overlay_runtime::{Environment, Fault, FileConfig, Secrets, Settings};

use crate::config::{Config, RawConfig, Sketch};
use crate::edge;
use crate::hostname;
use crate::mode::Mode;
use crate::provisioning::{Files, Ticket, Upcoming};

pub(crate) use startup::Startup;

/// A node that is ready to begin.
#[derive(Debug)]
pub struct Program {
    pub(crate) role: Start,
    pub(crate) sketch: Sketch,
    pub(crate) startup: Arc<Startup>,
    pub(crate) files: Files,
    pub(crate) ticket: Option<Arc<Ticket>>,
    /// Whether a node that waits is a member but for faults that may pass.
    pub(crate) hindered: bool,
    /// Why the node is what it is, for the log.
    pub(crate) reasons: Vec<String>,
}

/// What the node is.
#[derive(Debug)]
pub(crate) enum Start {
    /// A member.
    Member(Box<Config>),
    /// One that waits to be enrolled, and files of no use to anybody.
    Unprovisioned(Arc<Ticket>, Vec<PathBuf>),
}

impl FileConfig for Program {
    type Raw = RawConfig;

    /// Only a member can be made of one text; see [`Self::load`].
    fn check(raw: RawConfig) -> Result<Self, Vec<Fault>> {
        let config = Config::check(raw)?;
        let sketch = Sketch::of(&config);
        let startup = Startup::new("server", &[], &Environment::new());
        Ok(Self {
            files: startup.files(&sketch),
            startup: Arc::new(startup),
            role: Start::Member(Box::new(config)),
            sketch,
            ticket: None,
            hindered: false,
            reasons: Vec::new(),
        })
    }

    fn reference() -> String {
        Config::reference()
    }

    fn runtime(&self) -> Settings {
        match &self.role {
            Start::Member(config) => config.runtime(),
            Start::Unprovisioned(..) => self.sketch.runtime(),
        }
    }

    fn read_foreign(path: &Path) -> Option<Result<toml::Table, Vec<Fault>>> {
        Config::read_foreign(path)
    }

    fn load(
        component: &str,
        files: &[PathBuf],
        environment: &Environment,
    ) -> Result<Loaded<Self>, Vec<Fault>> {
        let startup = Startup::new(component, files, environment);
        startup.recover()?;
        let examined = startup.examine(edge::now())?;
        let verdict = examined.verdict();
        let mut reasons = Vec::new();
        reasons.extend(verdict.reason.clone());
        reasons.extend(examined.odd_invitation());
        let hindered = examined.is_hindered();
        let files = startup.files(&examined.all);
        let startup = Arc::new(startup);
        let ticket = examined.ticket.clone().and_then(Result::ok);
        match (verdict.mode, &ticket) {
            (Mode::Unprovisioned, Some(ticket)) => {
                let forget = if verdict.forget {
                    examined.credential_files()
                } else {
                    Vec::new()
                };
                let role = Start::Unprovisioned(Arc::clone(ticket), forget);
                Ok(examined.own.map(|sketch| Self {
                    role,
                    sketch,
                    startup,
                    files,
                    ticket: Some(Arc::clone(ticket)),
                    hindered,
                    reasons,
                }))
            }
            (Mode::Nothing, _) => Err(startup.nothing(&verdict.reason.unwrap_or_default())),
            (Mode::Member | Mode::Unprovisioned, _) => {
                let sketch = examined.all;
                let config = examined.member?;
                Ok(config.map(|config| Self {
                    role: Start::Member(Box::new(config)),
                    sketch,
                    startup,
                    files,
                    ticket,
                    hindered: false,
                    reasons,
                }))
            }
        }
    }

    fn inspect(&self, secrets: &Secrets) -> Vec<Fault> {
        match &self.role {
            Start::Member(config) => config.inspect(secrets),
            Start::Unprovisioned(..) => Vec::new(),
        }
    }
}

impl Program {
    /// What the node is.
    pub fn mode(&self) -> Mode {
        match &self.role {
            Start::Member(_) => Mode::Member,
            Start::Unprovisioned(..) => Mode::Unprovisioned,
        }
    }

    /// The configuration of a member.
    pub fn member(&self) -> Option<&Config> {
        match &self.role {
            Start::Member(config) => Some(config),
            Start::Unprovisioned(..) => None,
        }
    }

    /// The provisioning token, if there is one of use.
    pub fn ticket(&self) -> Option<&Arc<Ticket>> {
        self.ticket.as_ref()
    }

    /// Files that are of no use to anybody, and go when the node runs.
    pub fn forgets(&self) -> &[PathBuf] {
        match &self.role {
            Start::Member(_) => &[],
            Start::Unprovisioned(_, files) => files,
        }
    }

    /// What files and environment make of a node, asked again and again.
    pub fn upcoming(
        component: &str,
        files: &[PathBuf],
        environment: &Environment,
    ) -> Arc<dyn Upcoming> {
        Arc::new(Startup::new(component, files, environment))
    }
}

impl Sketch {
    /// The node's name: the one that is configured, else the host's.
    pub(crate) fn identity_text(&self) -> String {
        self.identity
            .as_ref()
            .map_or_else(hostname::of_this_host, ToString::to_string)
    }
}
