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

    /// The accounts and the callout as nats-server's configuration, with the answers sealed.
    ///
    /// Accounts `auth`, `system`, `choria` (with JetStream, so start the broker with it) and
    /// `provisioning`, and the exports between the last two that a cell has.
    pub fn config(&self) -> String {
        self.text(&format!("xkey: \"{}\"", self.curve.public()))
    }

    /// The same without sealing.
    pub fn config_unsealed(&self) -> String {
        self.text("")
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

    fn text(&self, xkey: &str) -> String {
        let account = self.account.public();
        let callout = self.callout.public();
        let streams = self.streams.public();
        let system = self.system.public();
        format!(
            r#"
system_account: system
authorization {{
  timeout: 2
  auth_callout {{
    issuer: "{account}"
    account: auth
    auth_users: [ "{callout}", "{system}", "{streams}" ]
    {xkey}
  }}
}}
accounts {{
  auth {{
    users: [ {{ nkey: "{callout}", permissions: {{
      subscribe: [ "$SYS.REQ.USER.AUTH", "$SYS.ACCOUNT.CLIENT.AUTH.ERR" ]
      publish: [ "$SYS._INBOX.>" ]
    }} }} ]
  }}
  system {{ users: [ {{ nkey: "{system}" }} ] }}
  choria {{
    jetstream: enabled
    users: [ {{ nkey: "{streams}" }} ]
    exports: [
      {{ service: "$JS.API.STREAM.INFO.KV_CHORIA_LEADER_ELECTION", accounts: [ provisioning ], response_type: singleton }}
      {{ service: "$KV.CHORIA_LEADER_ELECTION.provisioner", accounts: [ provisioning ], response_type: singleton }}
    ]
    imports: [
      {{ stream: {{ account: provisioning, subject: "choria.lifecycle.event.*.provision_mode_server" }} }}
      {{ stream: {{ account: provisioning, subject: "choria.lifecycle.event.*.provisioner" }} }}
    ]
  }}
  provisioning {{
    exports: [
      {{ stream: "choria.lifecycle.event.*.provision_mode_server", accounts: [ choria ] }}
      {{ stream: "choria.lifecycle.event.*.provisioner", accounts: [ choria ] }}
    ]
    imports: [
      {{ service: {{ account: choria, subject: "$JS.API.STREAM.INFO.KV_CHORIA_LEADER_ELECTION" }}
        to: "choria.streams.STREAM.INFO.KV_CHORIA_LEADER_ELECTION" }}
      {{ service: {{ account: choria, subject: "$KV.CHORIA_LEADER_ELECTION.provisioner" }} }}
      {{ service: {{ account: choria, subject: "$KV.CHORIA_LEADER_ELECTION.provisioner" }}
        to: "choria.streams.$KV.CHORIA_LEADER_ELECTION.provisioner" }}
    ]
  }}
}}
"#
        )
    }
}
