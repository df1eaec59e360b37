//! A certified OpenID provider: the npm package `oidc-provider`, as a process.

mod browser;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

pub use browser::{Browser, Page};

use crate::mint::Authority;
use crate::process::Process;

const START: Duration = Duration::from_secs(30);

/// A provider that is gone with its value; `POST /rotate` has it sign with a new key, and publish only that one.
///
/// Its clients are `overlay`, with the secret [`OpenidProvider::SECRET`], `posting`, which sends that in the form, and `public`,
/// without one; all may use a code at another device and a browser on this machine. People are whoever the test names, with any password.
#[derive(Debug)]
pub struct OpenidProvider {
    process: Process,
    issuer: String,
    ca_file: PathBuf,
    _dir: TempDir,
}

impl OpenidProvider {
    /// The secret of the client `overlay`; it has characters that have to be escaped on the way.
    pub const SECRET: &str = "secret of/the:client";

    /// What installs the provider.
    pub const INSTALL: &str = "apt-get install nodejs npm && cargo xtask tools";

    /// The directory into which the package is installed, from `OVERLAY_OIDC_PROVIDER` or `target/`.
    ///
    /// # Errors
    ///
    /// When Node or the package is missing; the text says which.
    pub fn locate() -> Result<PathBuf, String> {
        let node = Command::new("node").arg("--version").output();
        if !node.is_ok_and(|output| output.status.success()) {
            return Err("no node in the PATH".to_owned());
        }
        let dir = crate::env::var("OVERLAY_OIDC_PROVIDER").map_or_else(
            || crate::env::target_dir().join("oidc-provider"),
            PathBuf::from,
        );
        if dir
            .join("node_modules/oidc-provider/lib/index.js")
            .is_file()
        {
            return Ok(dir);
        }
        Err(format!("no npm package oidc-provider in {}", dir.display()))
    }

    /// Starts a provider for these people, each a name with claims; `further` are options of the script.
    ///
    /// # Panics
    ///
    /// When it does not start.
    #[track_caller]
    pub fn start(package: &Path, authority: &Authority, people: &Value, further: &Value) -> Self {
        let dir = tempfile::tempdir().expect("a directory can be made");
        let files = authority.server("provider", &[]);
        let mut options = json!({
            "certificate": files.cert,
            "key": files.key,
            "people": people,
        });
        if let (Value::Object(options), Value::Object(further)) = (&mut options, further) {
            options.extend(further.clone());
        }
        let options_file = dir.path().join("options.json");
        fs::write(&options_file, options.to_string()).expect("the directory is ours");
        let script = crate::env::workspace_root().join("aaa-signer/tests/provider/provider.mjs");
        let mut process = Process::builder("node")
            .arg(script)
            .arg(package)
            .arg(&options_file)
            .start();
        let line = process.wait_for_line("provider https://", START);
        let issuer = line.trim().trim_start_matches("provider ").to_owned();
        Self {
            process,
            issuer,
            ca_file: files.ca,
            _dir: dir,
        }
    }

    /// Its address, which is what it calls itself.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Its process: to be paused, or killed.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// A browser that trusts it, without any cookies yet.
    pub fn browser(&self) -> Browser {
        Browser::new(&self.ca_file)
    }
}
