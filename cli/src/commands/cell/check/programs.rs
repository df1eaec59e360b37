//! That the programs themselves accept their configuration.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use super::Check;
use crate::app::App;
use crate::commands::cell::layout::{
    AAA_JWT, AAA_TOML, BROKER_AUTH_TOML, BROKER_CONF, CELL_SOURCE_JWT, LOGIN_JWT, NODE_JWT,
    NODE_TOML, PROVISIONER_JWT, PROVISIONER_TOML, REGION_JWT, REPLICATOR_JWT, REPLICATOR_TOML,
    SIGNER_JWT, of_node, of_replicator, of_signer,
};
use crate::commands::cell::programs::{self, Program};
use crate::error::Failure;

impl Check<'_> {
    pub(super) fn programs(&mut self, app: &App) {
        if let Some(nats) = self.found("nats-server", programs::nats_server(app)) {
            let conf = self.layout.path(BROKER_CONF);
            self.accepts(
                &nats,
                BROKER_CONF,
                &["-t".as_ref(), "-c".as_ref(), conf.as_ref()],
            );
        }
        let login = programs::ours("overlay-broker-auth", app);
        if let Some(login) = self.found("overlay-broker-auth", login) {
            self.check_config(&login, BROKER_AUTH_TOML);
        }
        // Without its token, which has been told, it would only say the same.
        if self.settings.enrols() && self.layout.path(PROVISIONER_JWT).exists() {
            let provisioner = programs::ours("overlay-provisioner", app);
            if let Some(provisioner) = self.found("overlay-provisioner", provisioner) {
                self.check_config(&provisioner, PROVISIONER_TOML);
            }
        }
        let has = |path: &str| self.layout.path(path).exists();
        let own = of_signer(0, AAA_JWT);
        if self.settings.signs() && [SIGNER_JWT, LOGIN_JWT, &own].into_iter().all(has) {
            let signer = programs::ours("overlay-aaa-signer", app);
            if let Some(signer) = self.found("overlay-aaa-signer", signer) {
                self.check_config(&signer, AAA_TOML);
            }
        }
        let own = of_replicator(0, REPLICATOR_JWT);
        if self.settings.replicates() && [CELL_SOURCE_JWT, REGION_JWT, &own].into_iter().all(has) {
            let replicator = programs::ours("overlay-stream-replicator", app);
            if let Some(replicator) = self.found("overlay-stream-replicator", replicator) {
                self.check_config(&replicator, REPLICATOR_TOML);
            }
        }
        if self.settings.run.nodes.is_empty() {
            return;
        }
        let server = programs::ours("overlay-server", app);
        if let Some(server) = self.found("overlay-server", server) {
            for identity in &self.settings.run.nodes.clone() {
                // Without its token, which has been told, it would only say the same.
                if self.layout.path(&of_node(identity, NODE_JWT)).exists() {
                    self.check_config(&server, &of_node(identity, NODE_TOML));
                }
            }
        }
    }

    fn found(&mut self, name: &str, program: Result<Program, Failure>) -> Option<Program> {
        program
            .map_err(|failure| {
                let text = failure.render();
                let mut lines = text.lines();
                let first = lines
                    .next()
                    .unwrap_or_default()
                    .trim_start_matches("error: ");
                let rest: Vec<&str> = lines
                    .map(|line| line.trim().trim_start_matches("hint: "))
                    .collect();
                self.fault(name, first, rest.join("; "));
            })
            .ok()
    }

    fn check_config(&mut self, program: &Program, config: &str) {
        let path = self.layout.path(config);
        let arguments = ["--config".as_ref(), path.as_ref(), "--check".as_ref()];
        self.accepts(program, config, &arguments);
    }

    fn accepts(&mut self, program: &Program, config: &str, arguments: &[&OsStr]) {
        let what = format!("{config} for {} {}", name(&program.path), program.version);
        if !self.layout.path(config).exists() {
            // Its absence has been told.
            return;
        }
        match Command::new(&program.path).args(arguments).output() {
            Ok(output) if output.status.success() => self.ok(what),
            Ok(output) => {
                let said = [said(&output.stderr), said(&output.stdout)].join(" ");
                let root = self.layout.root().display().to_string();
                self.fault(
                    what,
                    said.trim(),
                    format!(
                        "correct it, or let `overlay cell init {root} --update` write it again"
                    ),
                );
            }
            Err(error) => self.fault(what, error.to_string(), "can the program be run?"),
        }
    }
}

/// What a program said, on one line.
fn said(output: &[u8]) -> String {
    String::from_utf8_lossy(output)
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join("; ")
}

/// The program's own name.
fn name(program: &Path) -> String {
    program
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}
