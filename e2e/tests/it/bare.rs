//! Nodes that have nothing but a provisioning token: real ones as processes, emulated ones by the hundred.

use std::path::{Path, PathBuf};
use std::time::Duration;

use overlay_testkit::emulated::{Builder, Fleet};
use overlay_testkit::{Process, eventually_blocking};
use serde_json::Value;

use crate::world::{PATIENCE, PERIOD, World};

/// Times that a test can wait for; each default is meant for days of real life.
pub(crate) const QUICK: &str = r#"
[calls]
first_contact = "3s"
answer = "3s"
pause = "200ms"
member = "30s"

[retry]
first = "1s"
longest = "2s"
defer_first = "1s"
defer_longest = "2s"

[streams.claims]
lease = "5s"
keep = "10s"
"#;

/// One real node in a directory of its own.
#[derive(Debug)]
pub(crate) struct Bare {
    pub(crate) dir: PathBuf,
    pub(crate) process: Process,
}

impl Bare {
    /// Starts a node of this name with a token, the cell's unless another is given.
    pub(crate) fn start(world: &World, name: &str, token: Option<&str>) -> Self {
        let dir = world.dir().join("bare").join(name);
        std::fs::create_dir_all(&dir).unwrap();
        let token = token.map_or_else(|| provisioning_token(world), str::to_owned);
        std::fs::write(dir.join("provisioning.jwt"), token).unwrap();
        let process = Self::run(&dir, name);
        Self { dir, process }
    }

    /// Starts it again in its directory.
    pub(crate) fn start_again(&mut self, name: &str) {
        self.process.kill();
        self.process = Self::run(&self.dir, name);
    }

    fn run(dir: &Path, name: &str) -> Process {
        Process::builder(Process::locate("overlay-server").unwrap())
            .arg("--config")
            .arg(dir.join("server.conf"))
            .env("OVERLAY_SERVER__IDENTITY", name)
            .start()
    }

    /// A file of the node, if it is there.
    pub(crate) fn file(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.dir.join(name)).ok()
    }
}

/// What new nodes of the cell arrive with.
pub(crate) fn provisioning_token(world: &World) -> String {
    world.read("provisioner/provisioning.jwt").trim().to_owned()
}

/// Emulated nodes of the cell that reconnect as real ones do.
pub(crate) fn emulated(world: &World) -> Builder {
    Fleet::builder(world.port)
        .tls()
        .token(provisioning_token(world))
        .reconnect(Duration::from_millis(200))
}

/// What the provisioner says of its nodes: name to state and reason.
pub(crate) fn records(world: &World) -> Vec<Value> {
    let said = world.overlay(&["provision", "nodes", "list", "--json"]);
    let listed: Value = serde_json::from_str(&said.out).unwrap_or_default();
    let list = listed.as_array().or_else(|| listed["nodes"].as_array());
    list.cloned().unwrap_or_default()
}

/// The record of one node.
pub(crate) fn record(world: &World, name: &str) -> Option<Value> {
    let mut records = records(world);
    records.retain(|record| record["identity"] == name);
    records.pop()
}

/// Waits until the provisioner says that a node is in this state, and yields its record.
#[track_caller]
pub(crate) fn wait_for_state(world: &World, name: &str, states: &[&str]) -> Value {
    eventually_blocking(PATIENCE, PERIOD, || match record(world, name) {
        Some(record) if states.iter().any(|state| record["state"] == *state) => Ok(record),
        other => Err(format!("{name} is to be {states:?}: {other:?}")),
    })
}
