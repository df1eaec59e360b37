//! The flags of `init` that settings come from, and what they change.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use serde::Serialize;

use super::{BrokerSettings, ReplicationSettings, RunSettings, Settings};
use crate::error::Failure;

/// Flags of `init` that settings come from; what is absent keeps its value.
#[derive(Debug, Clone, Default, clap::Args)]
pub(in crate::commands::cell) struct Flags {
    /// Name of the cell and of its broker
    #[arg(long)]
    pub(in crate::commands::cell) name: Option<String>,
    /// Organisation that issues the tokens [default: choria]
    #[arg(long, value_name = "NAME")]
    pub(in crate::commands::cell) org: Option<String>,
    /// Sub-collective of the nodes; repeat for more, the first is the main one [default: choria]
    #[arg(long = "collective", value_name = "NAME")]
    pub(in crate::commands::cell) collectives: Vec<String>,
    /// Name or address by which nodes reach the broker; repeat for more [default: this machine's name]
    #[arg(long = "host", value_name = "NAME")]
    pub(in crate::commands::cell) hosts: Vec<String>,
    /// Address the broker listens on [default: 0.0.0.0]
    #[arg(long, value_name = "ADDRESS")]
    pub(in crate::commands::cell) listen: Option<IpAddr>,
    /// Short for all ports: this, +1 websockets, +2 monitoring, +3 HTTPS, +10 health of the login service, +30 of the
    /// provisioner, +40 of the signer, +50 of the replicator
    #[arg(long, value_name = "PORT",
          conflicts_with_all = ["port", "websocket_port", "monitor_port", "admin_port", "provisioner_port",
                                "aaa_port", "https_port", "replicator_port"],
          value_parser = clap::value_parser!(u16).range(1..=65_000))]
    pub(in crate::commands::cell) base_port: Option<u16>,
    /// Port for nodes and clients [default: 4222]
    #[arg(long)]
    pub(in crate::commands::cell) port: Option<u16>,
    /// Port for websockets, 0 for none [default: 4223]
    #[arg(long, value_name = "PORT")]
    pub(in crate::commands::cell) websocket_port: Option<u16>,
    /// Port of the broker's monitoring, on loopback [default: 8222]
    #[arg(long, value_name = "PORT")]
    pub(in crate::commands::cell) monitor_port: Option<u16>,
    /// Port of the login service's health and metrics, on loopback; further ones follow [default: 9801]
    #[arg(long, value_name = "PORT")]
    pub(in crate::commands::cell) admin_port: Option<u16>,
    /// How many login services `up` starts [default: 1]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=16))]
    pub(in crate::commands::cell) broker_auth: Option<u16>,
    /// How many provisioners `up` starts; 0 for a cell that enrols no nodes [default: 1]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(0..=16))]
    pub(in crate::commands::cell) provisioners: Option<u16>,
    /// Port of the provisioner's health and metrics, on loopback; further ones follow [default: 9821]
    #[arg(long, value_name = "PORT")]
    pub(in crate::commands::cell) provisioner_port: Option<u16>,
    /// How many signers `up` starts; 0 for a cell that nobody logs in to [default: 1]
    #[arg(long = "aaa-signer", value_name = "COUNT", value_parser = clap::value_parser!(u16).range(0..=16))]
    pub(in crate::commands::cell) aaa_signers: Option<u16>,
    /// Port of the signer's health and metrics, on loopback; further ones follow [default: 9831]
    #[arg(long, value_name = "PORT")]
    pub(in crate::commands::cell) aaa_port: Option<u16>,
    /// Port for login and signature by HTTPS; further ones follow [default: 8443]
    #[arg(long, value_name = "PORT")]
    pub(in crate::commands::cell) https_port: Option<u16>,
    /// Take copies from this cell, of its events and these further streams; repeat for more
    ///
    /// What the cell needs for it is written to sites/NAME, to be carried there (see --region). Nothing but this cell
    /// says what it may write: below `replica.NAME`, and no more.
    #[arg(long = "site", value_name = "NAME[=STREAM,...]")]
    pub(in crate::commands::cell) sites: Vec<String>,
    /// Copy of this stream only one message an hour for each value of a field of its JSON, and tell of values that fall
    /// silent; repeat for more
    #[arg(long = "sample", value_name = "STREAM=FIELD")]
    pub(in crate::commands::cell) samples: Vec<String>,
    /// How many replicators `up` starts [default: 1 with --region, else 0]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(0..=16))]
    pub(in crate::commands::cell) replicators: Option<u16>,
    /// Port of the replicator's health and metrics, on loopback; further ones follow [default: 9841]
    #[arg(long, value_name = "PORT")]
    pub(in crate::commands::cell) replicator_port: Option<u16>,
    /// Let events of unprovisioned nodes reach the fleet's account unvetted
    ///
    /// Only for a cell whose only provisioner is Choria's, which does not pass on what it has vetted. With it
    /// any holder of a provisioning token can tell tales of the fleet.
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    pub(in crate::commands::cell) provisioning_raw_events: Option<bool>,
    /// Make files for a node of this identity; repeat for more
    #[arg(long = "node", value_name = "IDENTITY")]
    pub(in crate::commands::cell) nodes: Vec<String>,
    /// Make files for nodes named node1 to nodeCOUNT
    #[arg(long = "nodes", value_name = "COUNT", conflicts_with = "nodes",
          value_parser = clap::value_parser!(u16).range(0..=1000))]
    pub(in crate::commands::cell) node_count: Option<u16>,
}

/// One setting that the flags want otherwise.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(in crate::commands::cell) struct Change {
    pub(in crate::commands::cell) setting: &'static str,
    pub(in crate::commands::cell) is: String,
    pub(in crate::commands::cell) wanted: String,
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
    pub(in crate::commands::cell) fn settings(
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
                provisioners: 1,
                provisioner_port: super::PROVISIONER_PORT,
                raw_events: false,
                aaa_signers: 1,
                aaa_port: super::SIGNER_PORT,
                https_port: super::HTTPS_PORT,
                replicators: 0,
                replicator_port: super::REPLICATOR_PORT,
                nodes: Vec::new(),
            },
            replication: ReplicationSettings::default(),
        };
        self.apply(&mut settings);
        settings.broker.local_host = settings.local_host(made_here);
        settings.validate()?;
        Ok(settings)
    }

    /// Changes `settings` to what the flags want, and tells each difference.
    ///
    /// Nodes are only ever added: removing one would leave its files behind.
    pub(in crate::commands::cell) fn apply(&self, settings: &mut Settings) -> Vec<Change> {
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
        change(
            &mut changes,
            "run.provisioners",
            &mut run.provisioners,
            self.provisioners,
        );
        change(
            &mut changes,
            "run.provisioner_port",
            &mut run.provisioner_port,
            self.wanted_port(30, self.provisioner_port),
        );
        change(
            &mut changes,
            "run.aaa_signers",
            &mut run.aaa_signers,
            self.aaa_signers,
        );
        change(
            &mut changes,
            "run.aaa_port",
            &mut run.aaa_port,
            self.wanted_port(40, self.aaa_port),
        );
        change(
            &mut changes,
            "run.https_port",
            &mut run.https_port,
            self.wanted_port(3, self.https_port),
        );
        change(
            &mut changes,
            "run.replicators",
            &mut run.replicators,
            self.replicators,
        );
        change(
            &mut changes,
            "run.replicator_port",
            &mut run.replicator_port,
            self.wanted_port(50, self.replicator_port),
        );
        change(
            &mut changes,
            "run.raw_events",
            &mut run.raw_events,
            self.provisioning_raw_events,
        );
        let nodes = self.wanted_nodes().map(|wanted| {
            let mut all = run.nodes.clone();
            all.extend(wanted.into_iter().filter(|node| !run.nodes.contains(node)));
            all
        });
        change_list(&mut changes, "run.nodes", &mut run.nodes, nodes);
        self.apply_replication(&mut settings.replication, &mut changes);
        changes
    }

    /// Cells and streams are only ever added, for the same reason.
    fn apply_replication(&self, current: &mut ReplicationSettings, changes: &mut Vec<Change>) {
        let mut wanted = current.clone();
        for site in &self.sites {
            wanted.add_site(site);
        }
        for sample in &self.samples {
            wanted.add_sample(sample);
        }
        for (setting, is, becomes) in [
            (
                "replication.sites",
                current.told_sites(),
                wanted.told_sites(),
            ),
            (
                "replication.sampled",
                current.told_samples(),
                wanted.told_samples(),
            ),
        ] {
            if is != becomes {
                changes.push(Change {
                    setting,
                    is,
                    wanted: becomes,
                });
            }
        }
        *current = wanted;
    }
}

impl Settings {
    /// What every token and certificate of the cell carries cannot change under them.
    pub(in crate::commands::cell) fn refuse_renaming(changes: &[Change]) -> Result<(), Failure> {
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
