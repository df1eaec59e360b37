//! The status as text for people.

use comfy_table::{Table, presets};

use super::{Kind, Status};
use crate::app::App;
use crate::error::Failure;

impl Status {
    pub(super) fn print(&self, app: &App) -> Result<(), Failure> {
        if app.output.is_json() {
            return app.output.json(self);
        }
        let line = |text: String| app.output.line(text);
        let verdict = if self.healthy {
            "healthy"
        } else {
            "NOT HEALTHY"
        };
        line(format!("Cell {}: {verdict}", self.name))?;
        for problem in &self.problems {
            line(format!("  ✗ {}\n      {}", problem.problem, problem.remedy))?;
        }
        let Some(broker) = &self.broker else {
            return Ok(());
        };
        line(format!(
            "\nBroker {} (nats-server {}), up {}, {} of memory",
            broker.name,
            broker.version,
            broker.uptime,
            bytes(broker.memory_bytes)
        ))?;
        line(format!(
            "  {} of {} connections ({}), {} logins since its start, {} slow consumers",
            broker.connections,
            broker.max_connections,
            self.by_kind(),
            broker.logins_since_start,
            broker.slow_consumers
        ))?;
        for service in &self.login_services {
            line(service.line())?;
        }
        for signer in &self.signers {
            line(signer.line())?;
        }
        for provisioner in &self.provisioners {
            line(provisioner.line())?;
        }
        for text in self.replicators.iter().flat_map(|one| one.lines()) {
            line(text)?;
        }
        self.tables(app)
    }

    fn by_kind(&self) -> String {
        let listed: Vec<String> = self
            .connections
            .iter()
            .map(|(kind, count)| format!("{count} {}", name(*kind)))
            .collect();
        if listed.is_empty() {
            "none".to_owned()
        } else {
            listed.join(", ")
        }
    }

    fn tables(&self, app: &App) -> Result<(), Failure> {
        let mut streams = table(&["Stream", "Messages", "Size", "Replicas", "Leader"]);
        for stream in &self.streams {
            streams.add_row([
                stream.name.clone(),
                stream.messages.to_string(),
                bytes(stream.bytes),
                format!("{}/{}", stream.current, stream.replicas),
                stream.leader.clone().unwrap_or_else(|| "-".to_owned()),
            ]);
        }
        app.output.line(format!("\n{streams}"))?;
        if !self.elections.is_empty() {
            let mut elections = table(&["Election", "Leader"]);
            for election in &self.elections {
                elections.add_row([election.name.clone(), election.leader.clone()]);
            }
            app.output.line(format!("\n{elections}"))?;
        }
        if !self.nodes.is_empty() {
            let mut nodes = table(&["Node", "State", "Address", "Since"]);
            for node in &self.nodes {
                nodes.add_row([
                    node.identity.as_str(),
                    if node.up { "up" } else { "DOWN" },
                    node.address.as_deref().unwrap_or("-"),
                    node.since.as_deref().unwrap_or("-"),
                ]);
            }
            app.output.line(format!("\n{nodes}"))?;
        }
        Ok(())
    }
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(header.iter().copied());
    table
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Nodes => "nodes",
        Kind::Clients => "clients",
        Kind::Services => "of the cell's services",
        Kind::Provisioning => "in provisioning",
        Kind::Login => "of people who log in",
        Kind::System => "in the system account",
        Kind::Other => "other",
    }
}

/// A size with one decimal, in units of 1024.
fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut tenths = u128::from(count) * 10;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or("B");
    if unit == 0 {
        format!("{count} {name}")
    } else {
        format!("{}.{} {name}", tenths / 10, tenths % 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(10 * 1024 * 1024), "10.0 MiB");
        assert_eq!(bytes(u64::MAX), "16777215.9 TiB");
    }
}
