//! What a provisioner tells of itself: readiness and metrics.

use serde::Serialize;

use super::login::{Sample, Told};

#[derive(Debug, Default, Serialize)]
pub(super) struct Provisioner {
    pub(super) port: u16,
    pub(super) ready: bool,
    /// Why it is not ready.
    pub(super) why: Option<String>,
    pub(super) version: Option<String>,
    /// Whether it takes up no nodes.
    pub(super) paused: bool,
    /// Nodes that it knows of and has not finished.
    pub(super) waiting: u64,
    /// Nodes enrolled since its start.
    pub(super) enrolled: u64,
    /// Attempts that failed since its start.
    pub(super) errors: u64,
}

pub(super) async fn ask(port: u16) -> Provisioner {
    let told = Told::ask(port).await;
    let mut provisioner = Provisioner {
        port,
        ready: told.why.is_none(),
        why: told.why,
        ..Provisioner::default()
    };
    provisioner.read_metrics(&told.metrics);
    provisioner
}

impl Provisioner {
    /// The names are those of Choria's provisioner.
    fn read_metrics(&mut self, text: &str) {
        for sample in text.lines().filter_map(Sample::parse) {
            match sample.name {
                "overlay_build_info" => self.version = sample.label("version").map(str::to_owned),
                "choria_provisioner_paused" => self.paused = sample.value > 0.0,
                "choria_provisioner_waiting_nodes" => self.waiting += sample.count(),
                "choria_provisioner_provisioned" => self.enrolled += sample.count(),
                "choria_provisioner_provision_errors" => self.errors += sample.count(),
                _ => {}
            }
        }
    }

    pub(super) fn line(&self) -> String {
        let version = self.version.as_ref().map_or_else(String::new, |version| {
            format!(" (overlay-provisioner {version})")
        });
        let state = match (self.ready, self.paused) {
            (false, _) => return format!("Provisioner{version} on port {}: NOT READY", self.port),
            (true, true) => "PAUSED",
            (true, false) => "ready",
        };
        format!(
            "Provisioner{version} on port {}: {state}, {} nodes wait, {} enrolled, {} failed attempts",
            self.port, self.waiting, self.enrolled, self.errors
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_read() {
        let mut provisioner = Provisioner {
            port: 1,
            ready: true,
            ..Provisioner::default()
        };
        provisioner.read_metrics(
            "overlay_build_info{commit=\"c\",component=\"provisioner\",version=\"1.2.3\"} 1\n\
             choria_provisioner_waiting_nodes{site=\"lhr\"} 3\n\
             choria_provisioner_provisioned{site=\"lhr\"} 40\n\
             choria_provisioner_provision_errors{site=\"lhr\"} 2\n\
             choria_provisioner_paused{site=\"lhr\"} 0\n",
        );
        assert_eq!(
            provisioner.line(),
            "Provisioner (overlay-provisioner 1.2.3) on port 1: ready, 3 nodes wait, 40 enrolled, \
             2 failed attempts"
        );
        provisioner.paused = true;
        assert!(provisioner.line().contains("PAUSED"));
    }
}
