//! Whether settings make sense: names that can stand in subjects and paths, ports that differ.

use std::collections::BTreeSet;
use std::net::IpAddr;

use overlay_protocol::id::{Collective, Identity};

use super::Settings;
use crate::error::Failure;

impl Settings {
    /// Itself, if it makes sense.
    pub(in crate::commands::cell) fn validated(self) -> Result<Self, Failure> {
        self.validate()?;
        Ok(self)
    }

    pub(super) fn validate(&self) -> Result<(), Failure> {
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
        self.validate_replication()?;
        self.validate_ports()
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
        let run = &self.run;
        for (name, first, count) in [
            ("run.admin_port", run.admin_port, run.broker_auth),
            (
                "run.provisioner_port",
                run.provisioner_port,
                run.provisioners,
            ),
            ("run.aaa_port", run.aaa_port, run.aaa_signers),
            ("run.https_port", run.https_port, run.aaa_signers),
            ("run.replicator_port", run.replicator_port, run.replicators),
        ] {
            let Some(end) = first.checked_add(count) else {
                return Err(Failure::usage(format!(
                    "{name} leaves no ports for all {count} of them"
                )));
            };
            ports.extend((first..end).map(|port| (name, port)));
        }
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
                    .hint("choose other ports with --port, --websocket-port, --monitor-port, --admin-port, \
                           --provisioner-port, --aaa-port, --https-port, --replicator-port"));
            }
        }
        Ok(())
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
