//! What the cell's operator decided about logins; checked values only.

use std::collections::BTreeSet;
use std::fmt;

use overlay_tokens::claims::{ClientClaims, ProvisioningClaims, ServerClaims, Standard};
use overlay_tokens::{Issuers, UnixTime, VerifiedCache};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::hosts::HostList;

/// User name with which a provisioner connects.
pub const PROVISIONER: &str = "provisioner";

/// User name with which somebody connects who has yet to log in.
pub(crate) const LOGIN: &str = "login";

/// What a remembered token takes up, about.
const TOKEN_BYTES: u64 = 3 * 1024;

/// Everything that a decision depends on, apart from the attempt and the time.
#[derive(Debug)]
pub struct Policy {
    /// Who vouches for tokens: one issuer for each organisation.
    pub issuers: Issuers,
    /// The organisation that runs the cell: only its provisioners may provision.
    pub organisation: String,
    /// Names of the broker's accounts.
    pub accounts: Accounts,
    /// How nodes are provisioned; nothing when they are not.
    pub provisioning: Option<Provisioning>,
    /// Who may enter the system account; nothing when nobody may.
    pub system: Option<System>,
    /// How whoever has yet to log in reaches the login service; nothing when they do not.
    pub login: Option<LoginRoom>,
    /// What a verified certificate without a token is good for.
    pub certificates: Certificates,
    /// Hosts from which a verified certificate counts; empty means all.
    pub certificate_hosts: HostList,
    /// Proxies that end TLS before the broker: connections from them count as encrypted.
    pub offload: HostList,
    /// Nodes may connect, but may do nothing.
    pub silence_nodes: bool,
    /// Whether a node's connection ends with its token.
    pub node_expiry: NodeExpiry,
    /// Tokens and holders that are let in no more.
    pub denied: Denied,
    /// Tokens verified before; changes what a decision costs, never what it says.
    pub memory: Memory,
}

/// Tokens verified before.
#[derive(Debug)]
pub struct Memory {
    /// Of clients.
    pub clients: VerifiedCache<ClientClaims>,
    /// Of nodes.
    pub servers: VerifiedCache<ServerClaims>,
    /// Of nodes that have yet to be provisioned: few tokens, each shared by many nodes.
    pub provisioning: VerifiedCache<ProvisioningClaims>,
}

/// Names of the broker's accounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accounts {
    /// Clients and nodes.
    pub choria: String,
    /// Nodes yet to be provisioned, and the provisioner.
    pub provisioning: String,
    /// The broker's system account.
    pub system: String,
    /// People who have yet to log in.
    pub login: String,
}

/// How nodes are provisioned.
#[derive(Debug, Clone)]
pub struct Provisioning {
    /// The provisioner's password.
    pub password: Password,
    /// Whether a provisioner gets in by its password alone.
    pub without_token: bool,
    /// What programs of Choria's need wider than ours.
    pub compat: ProvisioningCompat,
}

/// Rules of provisioning that are wider than they must be, for programs of Choria's that need them; none by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProvisioningCompat {
    /// Unprovisioned nodes publish any reply: Choria's provisioner sends requests without a NATS reply subject, to which
    /// alone a node could answer otherwise.
    pub any_reply: bool,
    /// Unprovisioned nodes hear the requests of all: those of protocol v1 that do not run as root connect under another
    /// name than their own.
    pub any_node_name: bool,
    /// The provisioner has the whole account to itself.
    pub provisioner_unrestricted: bool,
}

/// How whoever has yet to log in reaches the login service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoginRoom {
    /// How long such a connection lasts, in seconds.
    pub seconds: i64,
}

/// Who may enter the system account.
#[derive(Debug, Clone)]
pub struct System {
    /// The user name.
    pub user: String,
    /// Its password.
    pub password: Password,
}

/// What a verified certificate without a token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Certificates {
    /// Nothing: certificates do not count, not even for the system user.
    #[default]
    Ignored,
    /// To publish and subscribe outside of the subjects of the fleet.
    PubSub,
    /// To be a node of old times: what Choria grants where `client_hosts` is set.
    Node,
}

/// Whether a node's connection ends with its token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NodeExpiry {
    /// Never. A Go node reads its token once, and would stay away after its connection was ended.
    #[default]
    Never,
    /// For nodes that connect with the NATS library for Rust, as ours do: they read a renewed token.
    RustNodes,
    /// For all nodes.
    Always,
}

/// Tokens and holders that are let in no more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Denied {
    /// Ids of tokens, and of chain issuers' tokens with all that they issued.
    pub tokens: BTreeSet<String>,
    /// Caller ids of clients.
    pub callers: BTreeSet<String>,
    /// Identities of nodes.
    pub identities: BTreeSet<String>,
    /// Chain issuers whose tokens were made longer ago than this, in seconds, with all that they issued.
    pub issuers_older_than: Option<i64>,
}

/// A password, kept as its hash.
#[derive(Clone)]
pub struct Password([u8; 32]);

impl Password {
    /// Takes a password.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(Sha256::digest(text).into())
    }

    /// Tells whether a text is the password, in a time that does not depend on where they differ.
    #[must_use]
    pub fn is(&self, text: &str) -> bool {
        let given: [u8; 32] = Sha256::digest(text).into();
        !text.is_empty() && bool::from(self.0.ct_eq(&given))
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(****)")
    }
}

impl Policy {
    /// The strictest policy: tokens of these issuers over TLS, and nothing else.
    #[must_use]
    pub fn new(issuers: Issuers, organisation: impl Into<String>, memory: Memory) -> Self {
        Self {
            issuers,
            organisation: organisation.into(),
            accounts: Accounts::default(),
            provisioning: None,
            system: None,
            login: None,
            certificates: Certificates::default(),
            certificate_hosts: HostList::default(),
            offload: HostList::default(),
            silence_nodes: false,
            node_expiry: NodeExpiry::default(),
            denied: Denied::default(),
            memory,
        }
    }
}

impl Memory {
    /// A memory of at most so many bytes; most of it is for nodes, of which there are many.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        let tokens = usize::try_from(bytes / TOKEN_BYTES).unwrap_or(usize::MAX);
        Self {
            clients: VerifiedCache::new(tokens / 16 * 3, bytes / 16 * 3),
            servers: VerifiedCache::new(tokens / 4 * 3, bytes / 4 * 3),
            provisioning: VerifiedCache::new(tokens / 16, bytes / 16),
        }
    }
}

impl Default for Accounts {
    fn default() -> Self {
        use overlay_protocol::subject::stream;
        Self {
            choria: stream::ACCOUNT_CHORIA.to_owned(),
            provisioning: stream::ACCOUNT_PROVISIONING.to_owned(),
            system: stream::ACCOUNT_SYSTEM.to_owned(),
            login: stream::ACCOUNT_LOGIN.to_owned(),
        }
    }
}

impl Denied {
    /// Whether a token, or the chain issuer that made it, is denied.
    #[must_use]
    pub fn has_token(&self, claims: &Standard) -> bool {
        if self.tokens.is_empty() {
            return false;
        }
        self.tokens.contains(&claims.jti)
            || claims
                .chain_issuer_id()
                .is_some_and(|id| self.tokens.contains(id))
    }

    /// Whether the chain issuer that made a token is too old at `now`.
    #[must_use]
    pub fn is_of_old_issuer(&self, claims: &Standard, now: UnixTime) -> bool {
        self.issuers_older_than
            .is_some_and(|most| claims.is_of_issuer_older_than(most, now))
    }
}
