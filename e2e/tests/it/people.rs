//! People at a cell: users, their sessions, and the configuration that each has.

use std::path::PathBuf;
use std::process::Command;

use overlay_testkit::{Process, Pty, eventually_blocking, nats_server};
use serde_json::Value;

use crate::world::{PATIENCE, PERIOD, Said, World};

/// A person with a place of their own for token and key.
#[derive(Debug)]
pub(crate) struct Person<'a> {
    world: &'a World,
    name: String,
    home: PathBuf,
}

/// A way to the login service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Https,
    Broker,
}

impl Way {
    fn word(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Broker => "broker",
        }
    }
}

impl World {
    /// A cell with signers and a node, and further flags.
    pub(crate) fn with_signers(count: usize, flags: &[&str]) -> Self {
        let count = count.to_string();
        let mut all = vec!["--aaa-signer", count.as_str()];
        all.extend(flags);
        Self::new(1, &all)
    }

    /// Adds a user to the cell's list.
    pub(crate) fn user(&self, name: &str, password: &str, flags: &[&str]) -> Person<'_> {
        let users = self.dir().join("users/users.json").display().to_string();
        let mut args = vec!["user", "--file", &users, "add", name, "--password-stdin"];
        args.extend(flags);
        self.overlay_given(&args, password).ok();
        self.person(name)
    }

    /// Somebody who may be a user or not.
    pub(crate) fn person(&self, name: &str) -> Person<'_> {
        let home = self.dir().parent().unwrap().join("homes").join(name);
        std::fs::create_dir_all(home.join(".config/overlay")).unwrap();
        std::fs::copy(
            self.dir().join("login/client.toml"),
            home.join(".config/overlay/client.toml"),
        )
        .unwrap();
        Person {
            world: self,
            name: name.to_owned(),
            home,
        }
    }

    /// Every record of the cell's audit, by the cell's operator, oldest first.
    pub(crate) fn records(&self) -> Vec<Value> {
        let said = self.overlay(&["audit", "search", "--all", "--json"]).ok();
        let said = said.json();
        said.as_array()
            .cloned()
            .unwrap_or_else(|| panic!("no list of records: {said}"))
    }

    /// Waits until this many of the records fit, and returns these.
    #[track_caller]
    pub(crate) fn wait_for_records(
        &self,
        count: usize,
        fits: impl Fn(&Value) -> bool,
    ) -> Vec<Value> {
        eventually_blocking(PATIENCE, PERIOD, || {
            let records: Vec<Value> = self.records().into_iter().filter(&fits).collect();
            if records.len() >= count {
                Ok(records)
            } else {
                Err(format!("{} of {count}: {records:?}", records.len()))
            }
        })
    }

    /// Waits until signer `number` (from 1) says whether it is ready.
    #[track_caller]
    pub(crate) fn wait_for_signer(&self, number: usize, ready: bool) {
        eventually_blocking(PATIENCE, PERIOD, || {
            let status = self
                .overlay(&["cell", "status", self.path(), "--json"])
                .json();
            let signer = &status["signers"][number - 1];
            if signer["ready"] == ready {
                Ok(())
            } else {
                Err(format!("{signer}"))
            }
        });
    }
}

impl Person<'_> {
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(Process::locate("overlay").unwrap());
        command
            .env("HOME", &self.home)
            .env("USER", &self.name)
            .env("XDG_CONFIG_HOME", self.home.join(".config"))
            .env(
                "OVERLAY_CONFIG",
                self.home.join(".config/overlay/client.toml"),
            )
            .env("OVERLAY_NATS_SERVER", nats_server::locate().unwrap().path)
            .args(args);
        command
    }

    pub(crate) fn overlay(&self, args: &[&str]) -> Said {
        Said::of(&mut self.command(args))
    }

    /// A request to the fleet.
    pub(crate) fn req(&self, agent: &str, action: &str) -> Said {
        self.overlay(&["req", agent, action, "-I", "node1", "--json"])
    }

    pub(crate) fn login(&self, way: Way, password: &str) -> Said {
        let args = [
            "login",
            "--user",
            &self.name,
            "--password-stdin",
            "--over",
            way.word(),
        ];
        Said::given(&mut self.command(&args), password)
    }

    pub(crate) fn at_terminal(&self, args: &[&str]) -> Pty {
        Pty::start(self.command(args))
    }

    pub(crate) fn token(&self) -> PathBuf {
        self.home.join(".config/overlay/client.jwt")
    }

    pub(crate) fn home(&self) -> &std::path::Path {
        &self.home
    }

    pub(crate) fn world(&self) -> &World {
        self.world
    }
}

/// Whether a record says so of one caller's request.
pub(crate) fn says(record: &Value, caller: &str, action: &str) -> bool {
    record["data"]["callerid"] == caller && record["data"]["action"] == action
}
