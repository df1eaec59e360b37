//! Keys of a broker that asks a login service, and the configuration that names them.

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use overlay_tokens::broker_jwt::{AccountKey, CurveKey, UserKey};

/// The broker's configuration as cells get it.
const OVERLAY: &str = include_str!("../../../overlays/base/broker/nats-server.conf");

/// Keys of a broker whose logins a service decides (auth callout), with the accounts of a cell.
#[derive(Debug)]
pub struct CalloutKeys {
    /// The account key that signs the service's answers.
    pub account: AccountKey,
    /// The service's own user, in account `auth`.
    pub callout: UserKey,
    /// A user of account `choria` for the service's streams.
    pub streams: UserKey,
    /// The user of account `aaa`: the signer's.
    pub aaa: UserKey,
    /// A user of the system account.
    pub system: UserKey,
    /// The service's curve key.
    pub curve: CurveKey,
}

impl Default for CalloutKeys {
    fn default() -> Self {
        Self::new()
    }
}

impl CalloutKeys {
    /// New keys.
    ///
    /// # Panics
    ///
    /// When the system has no randomness.
    pub fn new() -> Self {
        let user = || UserKey::generate().expect("the system has randomness");
        Self {
            account: AccountKey::generate().expect("the system has randomness"),
            callout: user(),
            streams: user(),
            aaa: user(),
            system: user(),
            curve: CurveKey::generate().expect("the system has randomness"),
        }
    }

    /// Writes `callout.nk`, `account.nk`, `curve.nk`, `streams.nk`, `aaa.nk` and `system.nk` into `dir`.
    ///
    /// # Panics
    ///
    /// When they cannot be written.
    pub fn write(&self, dir: &Path) -> PathBuf {
        let seed = "a fresh key has a seed";
        for (name, seed) in [
            ("callout.nk", self.callout.seed().expect(seed)),
            ("account.nk", self.account.seed().expect(seed)),
            ("curve.nk", self.curve.seed().expect(seed)),
            ("streams.nk", self.streams.seed().expect(seed)),
            ("aaa.nk", self.aaa.seed().expect(seed)),
            ("system.nk", self.system.seed().expect(seed)),
        ] {
            let mut file = std::fs::File::options()
                .create(true)
                .truncate(true)
                .write(true)
                .mode(0o600)
                .open(dir.join(name))
                .expect("the directory takes a file");
            std::io::Write::write_all(&mut file, seed.as_bytes()).expect("the file takes a seed");
        }
        dir.to_owned()
    }

    /// The accounts of a cell and the callout, for who looks at the login service from outside: the streams' user may do
    /// everything in account `choria`, and events of unprovisioned nodes come there as they are. The broker needs JetStream.
    ///
    /// # Panics
    ///
    /// When the file that is delivered is not of the shape that this knows.
    pub fn config(&self) -> String {
        let text = self.cell_config(&["raw_events"]);
        let user = format!("nkey: \"{}\"", self.streams.public());
        let (before, rest) = text
            .split_once(&format!("{user}\n"))
            .expect("the streams' user stands on a line of its own");
        let rest = rest
            .trim_start()
            .strip_prefix("permissions {")
            .expect("its permissions follow");
        let (_permissions, rest) = rest
            .split_once("\n        }\n")
            .expect("they end in a line of their own");
        format!("{before}{user}\n{rest}")
    }

    /// The same without sealing.
    ///
    /// # Panics
    ///
    /// As [`Self::config`].
    pub fn config_unsealed(&self) -> String {
        let xkey = format!("xkey: \"{}\"", self.curve.public());
        self.config().replace(&xkey, "")
    }

    /// Accounts and callout exactly as `overlay cell init` writes them, from the file that is delivered, with these of
    /// its sections (such as `vetted_events`); besides, [`Self::system`] may enter the system account.
    ///
    /// # Panics
    ///
    /// When the file is not of the shape that this knows.
    pub fn cell_config(&self, sections: &[&str]) -> String {
        let (_, accounts) = OVERLAY
            .split_once("\nauthorization {")
            .expect("the file has an authorization block");
        let mut text = "system_account: system\nauthorization {".to_owned();
        let mut wanted = true;
        for line in accounts.lines() {
            if let Some(section) = line.strip_prefix("#@if ") {
                wanted = sections.contains(&section.trim());
            } else if line.starts_with("#@end") {
                wanted = true;
            } else if wanted {
                text.push_str(line);
                text.push('\n');
            }
        }
        let system = self.system.public();
        let auth_users = format!("auth_users: [ \"{system}\",");
        let system_account = format!("  system {{\n    users: [ {{ nkey: \"{system}\" }} ]\n");
        for (placeholder, value) in [
            ("@ACCOUNT_PUBLIC@", self.account.public()),
            ("@CALLOUT_PUBLIC@", self.callout.public()),
            ("@CURVE_PUBLIC@", self.curve.public()),
            ("auth_users: [", auth_users.as_str()),
            ("  system {\n", system_account.as_str()),
            ("@STREAMS_PUBLIC@", self.streams.public()),
            ("@AAA_PUBLIC@", self.aaa.public()),
        ] {
            assert!(text.contains(placeholder), "no {placeholder} in the file");
            text = text.replace(placeholder, value);
        }
        assert!(!text.contains('@'), "a placeholder is left: {text}");
        text
    }
}
