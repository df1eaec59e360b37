//! `overlay cell status`: what a running cell is doing.

mod elections;
mod login;
pub(super) mod monitor;
mod provisioner;
mod replicator;
mod show;
mod signer;

use std::collections::BTreeMap;
use std::path::Path;

use overlay_protocol::subject::{self, stream};
use serde::Serialize;

use self::elections::Election;
use self::login::LoginService;
pub(super) use self::login::not_ready;
use self::monitor::{Connection, Kind};
use self::provisioner::Provisioner;
use self::replicator::Replicator;
use self::signer::Signer;
use super::http;
use super::process::State;
use super::settings::Settings;
use crate::app::App;
use crate::error::Failure;

/// Streams that the login service keeps; without them the cell is not whole.
const SYSTEM_STREAMS: [&str; 5] = [
    "CHORIA_EVENTS",
    "CHORIA_EXECUTOR",
    "CHORIA_MACHINE",
    "CHORIA_STREAM_ADVISORIES",
    "KV_CHORIA_LEADER_ELECTION",
];
/// Those that it keeps besides in a cell whose streams are copied.
const REPLICATION_STREAMS: [&str; 3] = [
    stream::REPLICATION_POSITIONS,
    stream::REPLICATION_DEAD,
    stream::REPLICATION_ADVISORIES,
];

/// Everything that is told, also as JSON.
#[derive(Debug, Serialize)]
struct Status {
    name: String,
    healthy: bool,
    /// What is wrong, each with what to do.
    problems: Vec<Problem>,
    /// The process of `overlay cell up`, if it runs the cell.
    up: Option<State>,
    broker: Option<Broker>,
    login_services: Vec<LoginService>,
    signers: Vec<Signer>,
    provisioners: Vec<Provisioner>,
    replicators: Vec<Replicator>,
    connections: BTreeMap<Kind, usize>,
    streams: Vec<Stream>,
    elections: Vec<Election>,
    nodes: Vec<Node>,
}

#[derive(Debug, Serialize)]
struct Problem {
    problem: String,
    remedy: String,
}

#[derive(Debug, Serialize)]
struct Broker {
    name: String,
    version: String,
    uptime: String,
    memory_bytes: u64,
    connections: u64,
    max_connections: u64,
    logins_since_start: u64,
    slow_consumers: u64,
}

#[derive(Debug, Serialize)]
struct Stream {
    name: String,
    account: String,
    messages: u64,
    bytes: u64,
    replicas: u32,
    /// Replicas that hold everything, the leader included.
    current: usize,
    leader: Option<String>,
}

#[derive(Debug, Serialize)]
struct Node {
    identity: String,
    up: bool,
    address: Option<String>,
    since: Option<String>,
}

pub(super) async fn run(dir: &Path, app: &App) -> Result<(), Failure> {
    let (settings, layout) = Settings::load(dir)?;
    let mut status = Status::new(&settings);
    status.up = State::load(&layout)?.filter(|state| state.process.is_alive());
    let port = settings.broker.monitor_port;
    if status.look_at_broker(port, layout.root()).await {
        let connections = monitor::connections(port).await;
        let streams = monitor::streams(port).await;
        for index in 0..settings.run.broker_auth {
            let service = login::ask(settings.admin_port(index)).await;
            let why = service.why.as_deref();
            status.not_ready("login service", service.port, why, layout.root());
            status.login_services.push(service);
        }
        for index in 0..settings.run.aaa_signers {
            let signer = signer::ask(settings.aaa_port(index)).await;
            status.not_ready("signer", signer.port, signer.why.as_deref(), layout.root());
            status.signers.push(signer);
        }
        for index in 0..settings.run.provisioners {
            let provisioner = provisioner::ask(settings.provisioner_port(index)).await;
            let why = provisioner.why.as_deref();
            status.not_ready("provisioner", provisioner.port, why, layout.root());
            status.provisioners.push(provisioner);
        }
        for index in 0..settings.run.replicators {
            let replicator = replicator::ask(settings.replicator_port(index)).await;
            let why = replicator.why.as_deref();
            status.not_ready("replicator", replicator.port, why, layout.root());
            status.replicators.push(replicator);
        }
        match connections {
            Ok(connections) => status.add_connections(&settings, &connections),
            Err(error) => status.problem(format!("connections: {error:#}"), "run this again"),
        }
        match streams {
            Ok(streams) => status.add_streams(&settings, streams),
            Err(error) => status.problem(format!("streams: {error:#}"), "run this again"),
        }
        match elections::ask(&settings, &layout).await {
            Ok(elections) => status.elections = elections,
            // Health does not hang on it: the keys may not be this user's to read.
            Err(error) => app
                .output
                .warn(format!("elections are not known: {error:#}")),
        }
    }
    status.healthy = status.problems.is_empty();
    status.print(app)?;
    if status.healthy {
        Ok(())
    } else {
        Err(Failure::new(format!("cell {} is not healthy", status.name)))
    }
}

impl Status {
    fn new(settings: &Settings) -> Self {
        Self {
            name: settings.name.clone(),
            healthy: false,
            problems: Vec::new(),
            up: None,
            broker: None,
            login_services: Vec::new(),
            signers: Vec::new(),
            provisioners: Vec::new(),
            replicators: Vec::new(),
            connections: BTreeMap::new(),
            streams: Vec::new(),
            elections: Vec::new(),
            nodes: Vec::new(),
        }
    }

    fn problem(&mut self, problem: impl Into<String>, remedy: impl Into<String>) {
        self.problems.push(Problem {
            problem: problem.into(),
            remedy: remedy.into(),
        });
    }

    /// Whether the broker can be asked at all.
    async fn look_at_broker(&mut self, port: u16, root: &Path) -> bool {
        let vars = match monitor::vars(port).await {
            Ok(vars) => vars,
            Err(error) => {
                self.problem(
                    format!("the broker does not answer: {error:#}"),
                    format!(
                        "start it: `overlay cell up {}`, or its systemd unit",
                        root.display()
                    ),
                );
                return false;
            }
        };
        match http::get(port, "/healthz").await {
            Ok(answer) if answer.status == 200 => {}
            Ok(answer) => {
                let said = String::from_utf8_lossy(&answer.body).trim().to_owned();
                self.problem(
                    format!("the broker is not healthy: {said}"),
                    "look at the broker's log",
                );
            }
            Err(error) => self.problem(format!("{error:#}"), "look at the broker's log"),
        }
        if vars.server_name != self.name {
            self.problem(
                format!("the broker on port {port} is {}, not this cell's", vars.server_name),
                "stop the other broker, or give this cell other ports with `overlay cell init --update`",
            );
        }
        self.broker = Some(Broker {
            name: vars.server_name,
            version: vars.version,
            uptime: vars.uptime,
            memory_bytes: vars.mem,
            connections: vars.connections,
            max_connections: vars.max_connections,
            logins_since_start: vars.total_connections,
            slow_consumers: vars.slow_consumers,
        });
        true
    }

    /// Adds the problem of a service that is not ready.
    fn not_ready(&mut self, what: &str, port: u16, why: Option<&str>, root: &Path) {
        if let Some(why) = why {
            self.problem(
                format!("the {what} on port {port} is not ready: {why}"),
                format!(
                    "look at its log; `overlay cell check {}` may know the cause",
                    root.display()
                ),
            );
        }
    }

    fn add_connections(&mut self, settings: &Settings, connections: &[Connection]) {
        let signers = (0..settings.run.aaa_signers).map(|index| settings.signer_identity(index));
        let replicators =
            (0..settings.run.replicators).map(|index| settings.replicator_identity(index));
        let services: Vec<String> = signers.chain(replicators).collect();
        for connection in connections {
            // A signer and a replicator have the token of a server, and are none of the fleet's nodes; the other
            // connections of a replicator are those of a caller, as are those of another cell's.
            let is_service = connection.user().is_some_and(|user| {
                user.starts_with("replicator=") || services.iter().any(|identity| user == identity)
            });
            let kind = if is_service {
                Kind::Services
            } else {
                connection.kind()
            };
            *self.connections.entry(kind).or_default() += 1;
        }
        for identity in &settings.run.nodes {
            let found = connections.iter().find(|connection| {
                connection.kind() == Kind::Nodes && connection.user() == Some(identity)
            });
            if found.is_none() {
                self.problem(
                    format!("node {identity} is not connected"),
                    "is it running? Its log tells why it cannot connect; refused logins are in \
                     `overlay events`",
                );
            }
            self.nodes.push(Node {
                identity: identity.clone(),
                up: found.is_some(),
                address: found.map(|connection| connection.ip.clone()),
                since: found.map(|connection| connection.start.clone()),
            });
        }
    }

    fn add_streams(&mut self, settings: &Settings, streams: Vec<monitor::Stream>) {
        let replication = REPLICATION_STREAMS
            .into_iter()
            .filter(|_| settings.replicates());
        let copies = settings
            .replication
            .sites
            .iter()
            .flat_map(|(cell, streams)| {
                let name = |stream: &String| subject::copy_stream(cell, stream);
                streams.iter().map(name)
            });
        let missing: Vec<String> = SYSTEM_STREAMS
            .into_iter()
            .chain(replication)
            .map(str::to_owned)
            .chain(copies)
            .filter(|name| !streams.iter().any(|stream| stream.name == *name))
            .collect();
        if !missing.is_empty() {
            self.problem(
                format!("streams are missing: {}", missing.join(", ")),
                "the login service that is elected makes them; its log tells what hinders it",
            );
        }
        for stream in streams {
            let replicas = stream.config.map_or(1, |config| config.num_replicas.max(1));
            let cluster = stream.cluster.as_ref();
            let others = cluster.and_then(|cluster| cluster.replicas.as_ref());
            let current = 1 + others.map_or(0, |all| all.iter().filter(|one| one.current).count());
            let leader = cluster.and_then(|cluster| cluster.leader.clone());
            let needed = usize::try_from(replicas).unwrap_or(usize::MAX);
            if replicas > 1 && (leader.is_none() || current < needed) {
                let name = &stream.name;
                self.problem(
                    format!("stream {name} has {current} of {replicas} replicas up to date"),
                    "are all brokers of the cluster up? `nats-server`'s log tells",
                );
            }
            self.streams.push(Stream {
                name: stream.name,
                account: stream.account,
                messages: stream.state.messages,
                bytes: stream.state.bytes,
                replicas,
                current,
                leader,
            });
        }
    }
}
