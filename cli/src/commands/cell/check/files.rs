//! That every file is there, and readable by nobody whom it is not meant for.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::Check;
use crate::commands::cell::layout::{
    AAA_CERT, AAA_CERT_KEY, AAA_JWT, AAA_KEY, AAA_SEED, AAA_TOML, ACCOUNT_KEY, BROKER_AUTH_TOML,
    BROKER_CERT, BROKER_CONF, BROKER_KEY, CA_CERT, CA_KEY, CALLOUT_KEY, CELL, CELL_SOURCE_JWT,
    CELL_SOURCE_SEED, CLIENT_CONF, CLIENT_JWT, CLIENT_SEED, CLIENT_TOML, CLOSED_DIR, CURVE_KEY,
    DIRECTORIES, ISSUER_PUBLIC, ISSUER_SEED, LOGIN_CONF, LOGIN_JWT, LOGIN_SEED, LOGIN_TOML,
    NODE_CLASSES, NODE_FACTS, NODE_JWT, NODE_SECRET, NODE_SEED, NODE_TOML, OPEN_DIR, PASS, PASS_CA,
    PASS_JWT, PASS_SEED, PROGRAM, PROVISIONER_DIRECTORIES, PROVISIONER_JWT, PROVISIONER_PASSWORD,
    PROVISIONER_SEED, PROVISIONER_TOML, PROVISIONING_JWT, PUBLIC, REGION_CA, REGION_JWT,
    REGION_PASS, REGION_SEED, REPLICATOR_DIRECTORY, REPLICATOR_JWT, REPLICATOR_SEED,
    REPLICATOR_TOML, SECRET, SIGNER_DIRECTORIES, SIGNER_JWT, SIGNER_SEED, SITE_CONF,
    SITES_DIRECTORY, STREAMS_KEY, SYSTEM_PASSWORD, TO_SIGN, USERS, of_node, of_replicator,
    of_signer, of_site,
};
use crate::commands::cell::templates::HELPERS;

/// Whether a cell can be without a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needed {
    Yes,
    /// Made at the next `init`.
    Remade,
    /// Brought from a region.
    Brought,
    /// Keys that may be kept elsewhere.
    No,
}

const FILES: [(&str, u32, Needed); 19] = [
    (CELL, PUBLIC, Needed::Yes),
    (ISSUER_SEED, SECRET, Needed::No),
    (ISSUER_PUBLIC, SECRET, Needed::Yes),
    (CA_CERT, PUBLIC, Needed::Yes),
    (CA_KEY, SECRET, Needed::No),
    (BROKER_CERT, PUBLIC, Needed::Remade),
    (BROKER_KEY, SECRET, Needed::Yes),
    (BROKER_CONF, SECRET, Needed::Remade),
    (BROKER_AUTH_TOML, SECRET, Needed::Remade),
    (CALLOUT_KEY, SECRET, Needed::Yes),
    (ACCOUNT_KEY, SECRET, Needed::Yes),
    (CURVE_KEY, SECRET, Needed::Yes),
    (STREAMS_KEY, SECRET, Needed::Yes),
    (AAA_KEY, SECRET, Needed::Yes),
    (PROVISIONER_PASSWORD, SECRET, Needed::Yes),
    (SYSTEM_PASSWORD, SECRET, Needed::Yes),
    (CLIENT_TOML, PUBLIC, Needed::Remade),
    (CLIENT_CONF, PUBLIC, Needed::Remade),
    (CLIENT_SEED, SECRET, Needed::Yes),
];

const NODE_FILES: [(&str, u32, Needed); 4] = [
    (NODE_TOML, PUBLIC, Needed::Remade),
    (NODE_SEED, SECRET, Needed::Yes),
    (NODE_FACTS, PUBLIC, Needed::Remade),
    (NODE_CLASSES, PUBLIC, Needed::Remade),
];

const PROVISIONER_FILES: [(&str, u32, Needed); 4] = [
    (PROVISIONER_TOML, SECRET, Needed::Remade),
    (PROVISIONER_SEED, SECRET, Needed::Yes),
    (NODE_SECRET, SECRET, Needed::Yes),
    (SITE_CONF, PUBLIC, Needed::Remade),
];

const SIGNER_FILES: [(&str, u32, Needed); 8] = [
    (AAA_TOML, SECRET, Needed::Remade),
    (SIGNER_SEED, SECRET, Needed::Yes),
    (LOGIN_SEED, SECRET, Needed::Yes),
    (AAA_CERT, PUBLIC, Needed::Remade),
    (AAA_CERT_KEY, SECRET, Needed::Yes),
    (USERS, SECRET, Needed::Remade),
    (LOGIN_TOML, PUBLIC, Needed::Remade),
    (LOGIN_CONF, PUBLIC, Needed::Remade),
];

const REPLICATOR_FILES: [(&str, u32, Needed); 5] = [
    (REPLICATOR_TOML, SECRET, Needed::Remade),
    (CELL_SOURCE_SEED, SECRET, Needed::Yes),
    (REGION_PASS, SECRET, Needed::Brought),
    (REGION_SEED, SECRET, Needed::Brought),
    (REGION_CA, PUBLIC, Needed::Brought),
];

const PASS_FILES: [(&str, u32, Needed); 3] = [
    (PASS, PUBLIC, Needed::Remade),
    (PASS_CA, PUBLIC, Needed::Remade),
    (PASS_SEED, SECRET, Needed::Yes),
];

impl Check<'_> {
    pub(super) fn files(&mut self) {
        let before = self.findings.len();
        for (path, mode) in DIRECTORIES {
            self.directory(path, mode);
        }
        let mut files: Vec<(String, u32, Needed)> = FILES
            .iter()
            .map(|(path, mode, needed)| ((*path).to_owned(), *mode, *needed))
            .collect();
        let mut tokens = vec![CLIENT_JWT.to_owned()];
        if self.settings.enrols() {
            for (path, mode) in PROVISIONER_DIRECTORIES {
                self.directory(path, mode);
            }
            // A site may have a helper of its own in their place.
            let helpers = HELPERS.map(|(path, _)| (path, PROGRAM, Needed::No));
            for (path, mode, needed) in PROVISIONER_FILES.into_iter().chain(helpers) {
                files.push((path.to_owned(), mode, needed));
            }
            tokens.extend([PROVISIONER_JWT, PROVISIONING_JWT].map(str::to_owned));
        }
        if self.settings.signs() {
            for (path, mode) in SIGNER_DIRECTORIES {
                self.directory(path, mode);
            }
            for (path, mode, needed) in SIGNER_FILES {
                files.push((path.to_owned(), mode, needed));
            }
            tokens.extend([SIGNER_JWT, LOGIN_JWT].map(str::to_owned));
            for index in 0..self.settings.run.aaa_signers {
                self.directory(&of_signer(index, ""), CLOSED_DIR);
                files.push((of_signer(index, AAA_SEED), SECRET, Needed::Yes));
                tokens.push(of_signer(index, AAA_JWT));
            }
        }
        if self.settings.replicates() {
            let (path, mode) = REPLICATOR_DIRECTORY;
            self.directory(path, mode);
            for (path, mode, needed) in REPLICATOR_FILES {
                files.push((path.to_owned(), mode, needed));
            }
            // The region's token is no fault of this cell's issuer.
            files.push((REGION_JWT.to_owned(), SECRET, Needed::Brought));
            tokens.push(CELL_SOURCE_JWT.to_owned());
            for index in 0..self.settings.run.replicators {
                self.directory(&of_replicator(index, ""), CLOSED_DIR);
                files.push((of_replicator(index, REPLICATOR_SEED), SECRET, Needed::Yes));
                tokens.push(of_replicator(index, REPLICATOR_JWT));
            }
        }
        if self.settings.is_region() {
            let (path, mode) = SITES_DIRECTORY;
            self.directory(path, mode);
        }
        for cell in self.settings.replication.sites.keys() {
            self.directory(&of_site(cell, ""), CLOSED_DIR);
            for (file, mode, needed) in PASS_FILES {
                files.push((of_site(cell, file), mode, needed));
            }
            tokens.push(of_site(cell, PASS_JWT));
        }
        for identity in &self.settings.run.nodes {
            self.directory(&format!("node/{identity}"), OPEN_DIR);
            for (file, mode, needed) in NODE_FILES {
                files.push((of_node(identity, file), mode, needed));
            }
            tokens.push(of_node(identity, NODE_JWT));
        }
        for (path, mode, needed) in &files {
            let remedy = match needed {
                Needed::No if !self.layout.path(path).exists() => continue,
                Needed::Yes => {
                    "put it back from your backup: it belongs to other files; where there \
                                is none, make a new cell"
                        .to_owned()
                }
                Needed::Brought => format!(
                    "bring it from the region: `overlay cell init {} --region DIRECTORY --update`",
                    self.layout.root().display()
                ),
                Needed::Remade | Needed::No => self.init_again(),
            };
            self.file(path, *mode, &remedy);
        }
        let remedy = if self.layout.path(ISSUER_SEED).exists() {
            self.init_again()
        } else {
            format!(
                "have it signed: {} says how",
                self.layout.path(TO_SIGN).display()
            )
        };
        for path in &tokens {
            self.file(path, SECRET, &remedy);
        }
        if self.findings.len() == before {
            self.ok(format!(
                "{} files, each with its mode",
                files.len() + tokens.len()
            ));
        }
    }

    fn directory(&mut self, path: &str, mode: u32) {
        match fs::metadata(self.layout.path(path)) {
            Ok(found) if found.is_dir() => self.mode(path, found.permissions().mode(), mode),
            Ok(_) => self.fault(path, "it is no directory", "move it away"),
            Err(error) => {
                let remedy = self.init_again();
                self.fault(path, error.to_string(), remedy);
            }
        }
    }

    fn file(&mut self, path: &str, mode: u32, remedy: &str) {
        // A link could lead to where other modes hold.
        match fs::symlink_metadata(self.layout.path(path)) {
            Ok(found) if found.is_symlink() => match fs::metadata(self.layout.path(path)) {
                Ok(target) => self.mode(path, target.permissions().mode(), mode),
                Err(error) => self.fault(path, error.to_string(), remedy),
            },
            Ok(found) if found.is_file() && found.len() == 0 => {
                self.fault(path, "it is empty", format!("remove it; {remedy}"));
            }
            Ok(found) if found.is_file() => self.mode(path, found.permissions().mode(), mode),
            Ok(_) => self.fault(path, "it is no file", "move it away"),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.fault(path, "it is missing", remedy);
            }
            Err(error) => self.fault(
                path,
                error.to_string(),
                "run this as the user who owns the cell, or as root",
            ),
        }
    }

    fn mode(&mut self, path: &str, found: u32, allowed: u32) {
        let found = found & 0o7777;
        if found & !allowed != 0 {
            self.fault(
                path,
                format!(
                    "its mode {found:04o} lets others in; {allowed:04o} is the most it may have"
                ),
                format!("chmod {allowed:04o} {}", self.layout.path(path).display()),
            );
        }
    }
}
