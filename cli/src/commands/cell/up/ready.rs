//! When the programs of a cell are of use.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use anyhow::{anyhow, bail};
use tokio::time::{sleep, timeout};

use super::Stage;
use super::child::Program;
use crate::commands::cell::http;
use crate::commands::cell::settings::Settings;
use crate::commands::cell::status::{monitor, not_ready};
use crate::error::Failure;

const INTERVAL: Duration = Duration::from_millis(50);

/// What is to be waited for.
#[derive(Debug)]
pub(super) struct Expected {
    broker: bool,
    login_ports: Vec<u16>,
    signer_ports: Vec<(u16, u16)>,
    provisioner_ports: Vec<u16>,
    replicator_ports: Vec<u16>,
    nodes: BTreeSet<String>,
}

impl Expected {
    pub(super) fn of(programs: &[(Stage, Program)], settings: &Settings) -> Self {
        let names = |wanted: Stage| {
            programs
                .iter()
                .filter(move |(stage, _)| *stage == wanted)
                .map(|(_, program)| program.name())
        };
        let login: Vec<&str> = names(Stage::Login).collect();
        let signers: Vec<&str> = names(Stage::Signers).collect();
        let provisioners: Vec<&str> = names(Stage::Provisioners).collect();
        let replicators: Vec<&str> = names(Stage::Replicators).collect();
        Self {
            broker: names(Stage::Broker).next().is_some(),
            login_ports: (0..settings.run.broker_auth)
                .filter(|index| login.contains(&format!("broker-auth-{}", index + 1).as_str()))
                .map(|index| settings.admin_port(index))
                .collect(),
            signer_ports: (0..settings.run.aaa_signers)
                .filter(|index| signers.contains(&format!("aaa-signer-{}", index + 1).as_str()))
                .map(|index| (settings.aaa_port(index), settings.https_port(index)))
                .collect(),
            provisioner_ports: (0..settings.run.provisioners)
                .filter(|index| {
                    provisioners.contains(&format!("provisioner-{}", index + 1).as_str())
                })
                .map(|index| settings.provisioner_port(index))
                .collect(),
            replicator_ports: (0..settings.run.replicators)
                .filter(|index| replicators.contains(&format!("replicator-{}", index + 1).as_str()))
                .map(|index| settings.replicator_port(index))
                .collect(),
            nodes: names(Stage::Nodes).map(str::to_owned).collect(),
        }
    }

    /// Fails early, and by name, when somebody else listens where the cell shall.
    pub(super) fn ports_are_free(&self, settings: &Settings) -> Result<(), Failure> {
        let broker = &settings.broker;
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let mut wanted = Vec::new();
        if self.broker {
            wanted.push(("--port", broker.listen, broker.port));
            wanted.push(("--monitor-port", loopback, broker.monitor_port));
            if broker.websocket_port != 0 {
                wanted.push(("--websocket-port", broker.listen, broker.websocket_port));
            }
        }
        wanted.extend(
            self.login_ports
                .iter()
                .map(|port| ("--admin-port", loopback, *port)),
        );
        for (admin, https) in &self.signer_ports {
            wanted.push(("--aaa-port", loopback, *admin));
            wanted.push(("--https-port", broker.listen, *https));
        }
        wanted.extend(
            self.provisioner_ports
                .iter()
                .map(|port| ("--provisioner-port", loopback, *port)),
        );
        wanted.extend(
            self.replicator_ports
                .iter()
                .map(|port| ("--replicator-port", loopback, *port)),
        );
        for (flag, address, port) in wanted {
            if let Err(error) = TcpListener::bind(SocketAddr::new(address, port)) {
                return Err(Failure::new(format!("cannot listen on {address}:{port}: {error}"))
                    .hint(format!(
                        "stop what listens there (`ss -ltnp sport = :{port}` tells), or give the cell \
                         another port: `overlay cell init DIR {flag} PORT --update`"
                    )));
            }
        }
        Ok(())
    }

    /// Waits until all programs of a stage are ready.
    pub(super) async fn ready(&self, stage: Stage, settings: &Settings) -> anyhow::Result<()> {
        let limit = stage.limit();
        let signer_ports: Vec<u16> = self.signer_ports.iter().map(|(admin, _)| *admin).collect();
        let mut last = None;
        let wait = async {
            loop {
                let state = match stage {
                    Stage::Broker => broker(settings).await,
                    Stage::Login => services("login service", &self.login_ports).await,
                    Stage::Signers => services("signer", &signer_ports).await,
                    Stage::Provisioners => services("provisioner", &self.provisioner_ports).await,
                    Stage::Nodes => self.nodes(settings).await,
                    Stage::Replicators => services("replicator", &self.replicator_ports).await,
                };
                match state {
                    Ok(()) => return,
                    Err(error) => last = Some(error),
                }
                sleep(INTERVAL).await;
            }
        };
        if timeout(limit, wait).await.is_ok() {
            return Ok(());
        }
        let why = last.unwrap_or_else(|| anyhow!("nothing was heard"));
        Err(why.context(format!("not ready within {} s", limit.as_secs())))
    }

    async fn nodes(&self, settings: &Settings) -> anyhow::Result<()> {
        let connections = monitor::connections(settings.broker.monitor_port).await?;
        let connected: BTreeSet<&str> = connections
            .iter()
            .filter_map(monitor::Connection::user)
            .collect();
        let missing: Vec<&str> = self
            .nodes
            .iter()
            .map(String::as_str)
            .filter(|node| !connected.contains(node))
            .collect();
        if missing.is_empty() {
            Ok(())
        } else {
            bail!("not connected: {}", missing.join(", "))
        }
    }
}

async fn services(what: &str, ports: &[u16]) -> anyhow::Result<()> {
    for port in ports {
        let answer = http::get(*port, "/ready").await?;
        if answer.status != 200 {
            let why = not_ready(&answer);
            bail!("the {what} on port {port} is not ready: {why}");
        }
    }
    Ok(())
}

async fn broker(settings: &Settings) -> anyhow::Result<()> {
    let answer = http::get(settings.broker.monitor_port, "/healthz").await?;
    if answer.status == 200 {
        Ok(())
    } else {
        bail!(
            "the broker is not healthy: {}",
            String::from_utf8_lossy(&answer.body).trim()
        )
    }
}
