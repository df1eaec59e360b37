//! What the maker of a cell chose: the flags of `init`, and `cell.toml`, which keeps them.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use overlay_protocol::id::{Collective, Identity};
use serde::{Deserialize, Serialize};

use super::layout::{CELL, Layout};
use crate::error::{Failure, Hint};

const HEAD: &str = "\
# What `overlay cell` knows of this cell. Made by `overlay cell init`; change it there (`--update`), for
# other files follow from it. `run.nodes` and `run.broker_auth` may be edited: only `overlay cell up`,
# `check` and `status` read them.

";

/// The content of `cell.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    pub(super) name: String,
    /// Where the cell lives; its configuration names files by absolute path.
    pub(super) directory: PathBuf,
    /// Organisation whose issuer signs the tokens of this cell (claim `ou`).
    pub(super) organisation: String,
    pub(super) collectives: Vec<String>,
    pub(super) broker: BrokerSettings,
    pub(super) run: RunSettings,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BrokerSettings {
    pub(super) listen: IpAddr,
    pub(super) port: u16,
    /// 0: no websockets.
    pub(super) websocket_port: u16,
    pub(super) monitor_port: u16,
    /// Names and addresses by which nodes and clients reach the broker; the first is put into their files.
    pub(super) hosts: Vec<String>,
    /// Name by which programs on the broker's own machine reach it.
    pub(super) local_host: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RunSettings {
    /// How many login services `up` starts.
    pub(super) broker_auth: u16,
    /// Port of the first one's health and metrics; the others follow it.
    pub(super) admin_port: u16,
    /// Identities of the nodes that this cell has files for.
    pub(super) nodes: Vec<String>,
}

/// Flags of `init` that settings come from; what is absent keeps its value.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct Flags {
    /// Name of the cell and of its broker
    #[arg(long)]
    pub(super) name: Option<String>,
    /// Organisation that issues the tokens [default: choria]
    #[arg(long, value_name = "NAME")]
    pub(super) org: Option<String>,
    /// Sub-collective of the nodes; repeat for more, the first is the main one [default: choria]
    #[arg(long = "collective", value_name = "NAME")]
    pub(super) collectives: Vec<String>,
    /// Name or address by which nodes reach the broker; repeat for more [default: this machine's name]
    #[arg(long = "host", value_name = "NAME")]
    pub(super) hosts: Vec<String>,
    /// Address the broker listens on [default: 0.0.0.0]
    #[arg(long, value_name = "ADDRESS")]
    pub(super) listen: Option<IpAddr>,
    /// Short for all ports: this, +1 websockets, +2 monitoring, +10 health of the login service
    #[arg(long, value_name = "PORT", conflicts_with_all = ["port", "websocket_port", "monitor_port", "admin_port"],
          value_parser = clap::value_parser!(u16).range(1..=65_000))]
    pub(super) base_port: Option<u16>,
    /// Port for nodes and clients [default: 4222]
    #[arg(long)]
    pub(super) port: Option<u16>,
    /// Port for websockets, 0 for none [default: 4223]
    #[arg(long, value_name = "PORT")]
    pub(super) websocket_port: Option<u16>,
    /// Port of the broker's monitoring, on loopback [default: 8222]
    #[arg(long, value_name = "PORT")]
    pub(super) monitor_port: Option<u16>,
    /// Port of the login service's health and metrics, on loopback; further ones follow [default: 9801]
    #[arg(long, value_name = "PORT")]
    pub(super) admin_port: Option<u16>,
    /// How many login services `up` starts [default: 1]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=16))]
    pub(super) broker_auth: Option<u16>,
    /// Make files for a node of this identity; repeat for more
    #[arg(long = "node", value_name = "IDENTITY")]
    pub(super) nodes: Vec<String>,
    /// Make files for nodes named node1 to nodeCOUNT
    #[arg(long = "nodes", value_name = "COUNT", conflicts_with = "nodes",
          value_parser = clap::value_parser!(u16).range(0..=1000))]
    pub(super) node_count: Option<u16>,
}

/// One setting that the flags want otherwise.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Change {
    pub(super) setting: &'static str,
    pub(super) is: String,
    pub(super) wanted: String,
}

impl Flags {
    fn wanted_nodes(&self) -> Option<Vec<String>> {
        match self.node_count {
            Some(count) => Some((1..=count).map(|number| format!("node{number}")).collect()),
            None => (!self.nodes.is_empty()).then(|| self.nodes.clone()),
        }
    }

    fn wanted_port(&self, offset: u16, explicit: Option<u16>) -> Option<u16> {
        self.base_port
            .map(|base| base.saturating_add(offset))
            .or(explicit)
    }

    /// Settings of a new cell.
    ///
    /// A certificate that is made here names `localhost`; one that was brought need not.
    pub(super) fn settings(
        &self,
        directory: &Path,
        hostname: &str,
        made_here: bool,
    ) -> Result<Settings, Failure> {
        let name = self
            .name
            .clone()
            .ok_or_else(|| Failure::usage("a new cell needs a name").hint("add `--name NAME`"))?;
        let mut settings = Settings {
            name,
            directory: directory.to_owned(),
            organisation: "choria".to_owned(),
            collectives: vec!["choria".to_owned()],
            broker: BrokerSettings {
                listen: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                port: 4222,
                websocket_port: 4223,
                monitor_port: 8222,
                hosts: vec![hostname.to_owned()],
                local_host: String::new(),
            },
            run: RunSettings {
                broker_auth: 1,
                admin_port: 9801,
                nodes: Vec::new(),
            },
        };
        self.apply(&mut settings);
        settings.broker.local_host = settings.local_host(made_here);
        settings.validate()?;
        Ok(settings)
    }

    /// Changes `settings` to what the flags want, and tells each difference.
    ///
    /// Nodes are only ever added: removing one would leave its files behind.
    pub(super) fn apply(&self, settings: &mut Settings) -> Vec<Change> {
        let mut changes = Vec::new();
        change(&mut changes, "name", &mut settings.name, self.name.clone());
        let organisation = &mut settings.organisation;
        change(&mut changes, "organisation", organisation, self.org.clone());
        let collectives = list(&self.collectives);
        let current = &mut settings.collectives;
        change_list(&mut changes, "collectives", current, collectives);
        let broker = &mut settings.broker;
        let hosts = list(&self.hosts);
        change_list(&mut changes, "broker.hosts", &mut broker.hosts, hosts);
        change(
            &mut changes,
            "broker.listen",
            &mut broker.listen,
            self.listen,
        );
        change(
            &mut changes,
            "broker.port",
            &mut broker.port,
            self.wanted_port(0, self.port),
        );
        let websocket = &mut broker.websocket_port;
        let wanted = self.wanted_port(1, self.websocket_port);
        change(&mut changes, "broker.websocket_port", websocket, wanted);
        let monitor = &mut broker.monitor_port;
        let wanted = self.wanted_port(2, self.monitor_port);
        change(&mut changes, "broker.monitor_port", monitor, wanted);
        let run = &mut settings.run;
        change(
            &mut changes,
            "run.admin_port",
            &mut run.admin_port,
            self.wanted_port(10, self.admin_port),
        );
        change(
            &mut changes,
            "run.broker_auth",
            &mut run.broker_auth,
            self.broker_auth,
        );
        let nodes = self.wanted_nodes().map(|wanted| {
            let mut all = run.nodes.clone();
            all.extend(wanted.into_iter().filter(|node| !run.nodes.contains(node)));
            all
        });
        change_list(&mut changes, "run.nodes", &mut run.nodes, nodes);
        changes
    }
}

fn list(values: &[String]) -> Option<Vec<String>> {
    (!values.is_empty()).then(|| values.to_vec())
}

fn change<T: PartialEq + ToString>(
    changes: &mut Vec<Change>,
    setting: &'static str,
    current: &mut T,
    wanted: Option<T>,
) {
    if let Some(wanted) = wanted.filter(|wanted| wanted != current) {
        changes.push(Change {
            setting,
            is: current.to_string(),
            wanted: wanted.to_string(),
        });
        *current = wanted;
    }
}

fn change_list(
    changes: &mut Vec<Change>,
    setting: &'static str,
    current: &mut Vec<String>,
    wanted: Option<Vec<String>>,
) {
    if let Some(wanted) = wanted.filter(|wanted| wanted != current) {
        changes.push(Change {
            setting,
            is: current.join(", "),
            wanted: wanted.join(", "),
        });
        *current = wanted;
    }
}

impl Settings {
    /// Reads the settings of the cell in `dir`.
    pub(super) fn load(dir: &Path) -> Result<(Self, Layout), Failure> {
        let root = std::fs::canonicalize(dir)
            .map_err(anyhow::Error::from)
            .map_err(|error| error.context(format!("there is no directory {}", dir.display())))
            .hint("make a cell with `overlay cell init DIR --name NAME`")?;
        let layout = Layout::new(root);
        let path = layout.path(CELL);
        let text = std::fs::read_to_string(&path)
            .map_err(anyhow::Error::from)
            .map_err(|error| error.context(format!("{} is no cell", dir.display())))
            .hint(
                "a cell has a file cell.toml; make one with `overlay cell init DIR --name NAME`",
            )?;
        let settings: Self = toml::from_str(&text)
            .map_err(anyhow::Error::from)
            .map_err(|error| error.context(format!("cannot read {}", path.display())))?;
        settings.validate()?;
        Ok((settings, layout))
    }

    /// The text of `cell.toml`.
    pub(super) fn render(&self) -> anyhow::Result<String> {
        Ok(format!("{HEAD}{}", toml::to_string(self)?))
    }

    fn local_host(&self, certificate_is_made_here: bool) -> String {
        let listen = self.broker.listen;
        if !certificate_is_made_here {
            return self.broker.hosts.first().cloned().unwrap_or_default();
        }
        if listen.is_unspecified() || listen.is_loopback() {
            "localhost".to_owned()
        } else {
            listen.to_string()
        }
    }

    /// The URL that nodes and clients use.
    pub(super) fn broker_url(&self) -> String {
        let host = self
            .broker
            .hosts
            .first()
            .map_or("localhost", String::as_str);
        format!("nats://{}:{}", in_url(host), self.broker.port)
    }

    /// The URL that programs on the broker's own machine use.
    pub(super) fn local_url(&self) -> String {
        format!(
            "tls://{}:{}",
            in_url(&self.broker.local_host),
            self.broker.port
        )
    }

    /// The names by which the files of this cell reach the broker.
    pub(super) fn names_used(&self) -> Vec<String> {
        let mut names = self.broker.hosts.clone();
        if !names.contains(&self.broker.local_host) {
            names.push(self.broker.local_host.clone());
        }
        names
    }

    /// Everything that a certificate made here names.
    pub(super) fn certificate_names(&self) -> Vec<String> {
        let mut names = self.names_used();
        names.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
        let mut seen = BTreeSet::new();
        names.retain(|name| seen.insert(name.clone()));
        names
    }

    /// Where the login service number `index` (from 0) tells its health and metrics.
    pub(super) fn admin_port(&self, index: u16) -> u16 {
        self.run.admin_port.saturating_add(index)
    }

    /// Itself, if it makes sense.
    pub(super) fn validated(self) -> Result<Self, Failure> {
        self.validate()?;
        Ok(self)
    }

    fn validate(&self) -> Result<(), Failure> {
        word("name", &self.name)?;
        word("organisation", &self.organisation)?;
        if self.collectives.is_empty() {
            return Err(Failure::usage("a cell needs at least one collective"));
        }
        for collective in &self.collectives {
            Collective::try_from(collective.clone())
                .map_err(|error| Failure::usage(format!("collective {collective:?}: {error}")))?;
        }
        if self.broker.hosts.is_empty() {
            return Err(Failure::usage("a cell needs at least one host name"));
        }
        for host in self.broker.hosts.iter().chain([&self.broker.local_host]) {
            if host.parse::<IpAddr>().is_err() && !is_host_name(host) {
                return Err(Failure::usage(format!("{host:?} is no host name or address"))
                    .hint("give names without scheme and port, for example --host broker1.example.net"));
            }
        }
        self.validate_nodes()?;
        self.validate_ports()
    }

    /// What every token and certificate of the cell carries cannot change under them.
    pub(super) fn refuse_renaming(changes: &[Change]) -> Result<(), Failure> {
        let fixed = |change: &&Change| ["name", "organisation"].contains(&change.setting);
        match changes.iter().find(fixed) {
            None => Ok(()),
            Some(change) => Err(Failure::new(format!(
                "the {} of a cell cannot be changed: it is {}, asked for {}; nothing was changed",
                change.setting, change.is, change.wanted
            ))
            .hint("make a new cell; its certificates and tokens carry it")),
        }
    }

    fn validate_nodes(&self) -> Result<(), Failure> {
        let mut seen = BTreeSet::new();
        for node in &self.run.nodes {
            Identity::try_from(node.clone())
                .map_err(|error| Failure::usage(format!("node {node:?}: {error}")))?;
            // The identity also names a directory.
            if node.contains('/') || node.len() > 200 {
                return Err(Failure::usage(format!("node {node:?} is no host name")));
            }
            if !seen.insert(node) {
                return Err(Failure::usage(format!("node {node:?} is given twice")));
            }
        }
        Ok(())
    }

    fn validate_ports(&self) -> Result<(), Failure> {
        let broker = &self.broker;
        let mut ports = vec![
            ("broker.port", broker.port),
            ("broker.monitor_port", broker.monitor_port),
        ];
        if broker.websocket_port != 0 {
            ports.push(("broker.websocket_port", broker.websocket_port));
        }
        if self
            .run
            .admin_port
            .checked_add(self.run.broker_auth)
            .is_none()
        {
            return Err(Failure::usage(
                "run.admin_port leaves no ports for all login services",
            ));
        }
        ports.extend(
            (0..self.run.broker_auth).map(|index| ("run.admin_port", self.admin_port(index))),
        );
        for (index, (name, port)) in ports.iter().enumerate() {
            if *port == 0 {
                return Err(Failure::usage(format!("{name} must not be 0")));
            }
            if let Some((other, _)) = ports
                .iter()
                .skip(index + 1)
                .find(|(_, other)| other == port)
            {
                return Err(Failure::usage(format!("{name} and {other} are both {port}"))
                    .hint("choose other ports with --port, --websocket-port, --monitor-port, --admin-port"));
            }
        }
        Ok(())
    }
}

/// A host as it stands in a URL: IPv6 addresses in brackets.
fn in_url(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

fn is_host_name(text: &str) -> bool {
    text.len() <= 253
        && text.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        })
}

/// Names that end up in subjects, file names and configuration.
fn word(what: &str, text: &str) -> Result<(), Failure> {
    let fits = (1..=63).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && !text.starts_with('.')
        && !text.starts_with('-');
    if fits {
        Ok(())
    } else {
        Err(Failure::usage(format!(
            "{what} {text:?} must be 1 to 63 letters, digits, dots, dashes or underscores"
        )))
    }
}
