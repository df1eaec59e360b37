//! The configuration: checked values, and the files that they name.

mod audit;
mod check;
mod deny;
mod http;
mod keys;
mod login;
mod policy;
mod raw;
mod signer;
mod tenants;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use overlay_runtime::config::{RawAdmin, RawLog, RawProcess};
use overlay_runtime::nats;
use overlay_runtime::{Clock, Fault, FileConfig, Secrets, Settings};
use overlay_tokens::Issuers;

pub use audit::{Audit, AuditSpool, AuditStream, Checkpoints, Link, OnOutage, OriginalForm};
pub use deny::Denied;
pub(crate) use http::{Http, HttpLimits, TlsFiles};
pub use keys::{Delegator, Keys, KeysError, ServerIdentity};
pub(crate) use keys::{Named, SecretFile};
pub(crate) use login::{
    AskUserinfo, ClientAuthentication, Find, FlowKind, GroupSearch, Ldap, Oidc, Users,
    is_confidential,
};
pub(crate) use login::{IssuerFiles, Login};
pub use policy::Authorizer;
pub(crate) use policy::Policy;
pub use raw::RawConfig;
pub use signer::MAX_REQUEST_BYTES;
pub(crate) use signer::Signer;
pub use tenants::Tenants;

/// Where metrics and readiness are served unless set.
const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9831);

/// The checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where this service works: in metrics, records and the input of policies.
    pub site: String,
    /// The server token: the login of the RPC agent, the signature of its replies and of the audit's checkpoints. Without
    /// brokers it may be absent.
    pub identity: Option<TokenFiles>,
    /// Brokers; without them there is no RPC.
    pub broker: Option<nats::Settings>,
    /// Whose tokens are good.
    pub issuers: Issuers,
    /// Who signs and what; without it nothing is signed.
    pub signer: Option<Signer>,
    /// How it is decided what may be signed.
    pub policy: Policy,
    /// Whose requests are served.
    pub tenants: Tenants,
    /// Whose requests are signed no more.
    pub denied: Denied,
    /// Who may log in and how; without it nobody does.
    pub(crate) login: Option<Login>,
    /// Where the record is kept.
    pub audit: Audit,
    /// The HTTP listener.
    pub http: Option<Http>,
    /// The identity that the token of this service must have, where a file of the original's says so.
    pub expected_identity: Option<String>,
    /// What was odd in a file of the original's.
    pub notices: Vec<String>,
    runtime: Settings,
}

/// A token and the seed of its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenFiles {
    /// The token.
    pub token_file: PathBuf,
    /// The seed, mode 0600.
    pub seed_file: PathBuf,
}

impl FileConfig for Config {
    type Raw = RawConfig;

    fn check(raw: RawConfig) -> Result<Self, Vec<Fault>> {
        check::check(raw)
    }

    fn reference() -> String {
        let admin = RawAdmin::reference(ADMIN);
        let login = login::reference();
        [
            include_str!("config/reference.toml"),
            "\n",
            signer::REFERENCE,
            "\n",
            policy::REFERENCE,
            "\n",
            tenants::REFERENCE,
            "\n",
            deny::REFERENCE,
            "\n",
            &login,
            "\n",
            audit::REFERENCE,
            "\n",
            http::REFERENCE,
            "\n",
            &admin,
            "\n",
            RawLog::REFERENCE,
            "\n",
            RawProcess::REFERENCE,
        ]
        .concat()
    }

    fn read_foreign(path: &Path) -> Option<Result<toml::Table, Vec<Fault>>> {
        crate::compat::read_foreign(path)
    }

    fn runtime(&self) -> Settings {
        self.runtime.clone()
    }

    fn inspect(&self, secrets: &Secrets) -> Vec<Fault> {
        let mut faults = Vec::new();
        if let Some(broker) = &self.broker {
            faults.extend(broker.inspect(secrets));
        }
        // An expired token of ours is no better than a missing one.
        let now = Clock::system().now().into();
        if let Err(errors) = Keys::load(self, secrets, now) {
            faults.extend(errors.into_iter().map(KeysError::into_fault));
        }
        if let Some(connection) = self.audit.connection(self.broker.as_ref()) {
            faults.extend(connection.inspect(secrets));
        }
        if let Some(login) = &self.login {
            faults.extend(login.inspect(&self.issuers, secrets, now));
        }
        if let Some(http) = &self.http {
            faults.extend(http.inspect(secrets));
        }
        faults
    }
}

#[cfg(test)]
mod tests;
