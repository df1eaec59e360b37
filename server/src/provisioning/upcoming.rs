//! What the node would be if it started now: asked before a restart, so that no node restarts into nothing.

use std::path::{Path, PathBuf};

use overlay_tokens::Issuers;
use overlay_tokens::UnixTime;
use overlay_tokens::file;
use overlay_tokens::own::Holder;
use serde_json::Value;

use crate::config::{Config, Place, Tls};

/// What the next start would make of the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outlook {
    /// A member.
    Member,
    /// The configuration asks for provisioning.
    AsksForProvisioning,
    /// The configuration cannot be read.
    Unreadable(String),
    /// The node would not be a member, and why.
    NoMember(String),
}

/// Looks at the files as the next start would.
pub trait Upcoming: Send + Sync + std::fmt::Debug {
    /// What they make of the node at `now`.
    fn outlook(&self, now: UnixTime) -> Outlook;

    /// The configuration of a member that they give with this file in place of the delivered one.
    ///
    /// # Errors
    ///
    /// Why they give none.
    fn prospect(&self, delivered: &Path) -> Result<Box<Config>, String>;

    /// Whether the files that a member's configuration names are of use, each looked for where `place` says.
    ///
    /// # Errors
    ///
    /// What is wrong with them.
    fn inspect(&self, config: &Config, place: Place<'_>) -> Result<(), String>;

    /// Whether a member would go by this file, in place of the delivered one, without verifying its brokers; also where
    /// the rest of the file makes no member.
    fn is_careless(&self, delivered: &Path) -> bool;
}

/// What a member goes by now, below which a renewal must not fall.
#[derive(Debug, Clone)]
pub struct Standing {
    /// Whom it trusts.
    pub issuers: Issuers,
    /// Keys it trusts whatever the organisation, as the configuration shows them.
    pub signers: Option<Value>,
    /// How it knows its brokers.
    pub tls: Tls,
}

impl Standing {
    /// Of a member's configuration.
    pub fn of(config: &Config) -> Option<Self> {
        Some(Self {
            issuers: config.membership()?.issuers.clone(),
            signers: signers(config),
            tls: config.broker.tls.clone(),
        })
    }
}

impl Standing {
    /// Whether a configuration trusts exactly those whom the member trusts now.
    pub fn trusts_as(&self, config: &Config) -> bool {
        let Some(own) = config.membership() else {
            return false;
        };
        own.issuers.names().eq(self.issuers.names())
            && own
                .issuers
                .names()
                .all(|name| own.issuers.key_of(name) == self.issuers.key_of(name))
            && self.signers == signers(config)
    }
}

fn signers(config: &Config) -> Option<Value> {
    config
        .config_items
        .get("plugin.security.choria.trusted_signers")
        .cloned()
}

/// Token and key from before, by which a node that is enrolled again proves who it was.
#[derive(Debug, Clone)]
pub struct Former {
    /// The token's file.
    pub token_file: PathBuf,
    /// The seed's file.
    pub seed_file: PathBuf,
}

impl Former {
    /// The credentials in a directory, as `configure` leaves them.
    pub fn beside(configuration: &Path) -> Self {
        Self {
            token_file: configuration.with_file_name("server.jwt"),
            seed_file: configuration.with_file_name("server.seed"),
        }
    }

    /// Token and key, if they fit; the token may have expired, which does not make the key another's.
    pub fn holder(&self) -> Option<Holder> {
        let text = file::read_token(&self.token_file).ok()?;
        let key = file::read_seed(&self.seed_file).ok()?;
        Holder::new(&text, key).ok()
    }

    /// Whether there are a token and a key that fit, and the token has not expired.
    pub fn is_live(&self, now: UnixTime) -> bool {
        self.holder()
            .and_then(|holder| holder.expires_at())
            .is_some_and(|end| !now.is_past(end))
    }
}
