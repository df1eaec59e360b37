//! `aaasvc.json`, read as Go reads it: names in any letter case, unknown ones passed over, types exactly, except that a
//! port may be a text, as the original's own documentation writes it.

use serde_json::{Map, Value};

/// Why a file is not a configuration that the original would take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OriginalError {
    /// No JSON object.
    #[error("is no JSON object: {0}")]
    Json(String),
    /// A value of another type.
    #[error("{key} is not {expected}")]
    Type {
        /// The key.
        key: String,
        /// What it must be.
        expected: &'static str,
    },
}

impl OriginalError {
    pub(super) fn key(&self) -> &str {
        match self {
            Self::Json(_) => "",
            Self::Type { key, .. } => key,
        }
    }
}

/// What the original reads from its file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Original {
    /// Log file, `stdout`, `stderr` or `discard`.
    pub logfile: String,
    /// Log level.
    pub loglevel: String,
    /// File of the hosting process.
    pub choria_config: String,
    /// How people log in.
    pub authenticator: String,
    /// Where the record goes.
    pub auditors: Vec<String>,
    /// How it is decided.
    pub authorizer: String,
    /// How it is signed.
    pub signer: String,
    /// Port of login and signature; 0: none.
    pub port: u16,
    /// Port of metrics; 0: none.
    pub monitor_port: u16,
    /// Where it works.
    pub site: String,
    /// Certificate, key and authorities of TLS.
    pub tls_certificate: String,
    /// The certificate's key.
    pub tls_key: String,
    /// Authorities of clients.
    pub tls_ca: String,
    /// Table of the signer, if there is one.
    pub basicjwt_signer: Option<BasicSigner>,
    /// Table of the record in a file.
    pub logfile_auditor: Option<LogfileAuditor>,
    /// Table of the record over the broker.
    pub jetstream_auditor: Option<JetstreamAuditor>,
    /// Table of the users.
    pub userlist_authenticator: Option<UserlistAuthenticator>,
    /// Keys that were not known.
    pub unknown: Vec<String>,
}

/// Table of the signer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BasicSigner {
    /// File of the key that verifies users' tokens.
    pub signing_certificate: String,
    /// How long a token may still be good.
    pub max_validity: String,
    /// Seed of the delegator.
    pub signing_seed: String,
    /// Token of the delegator.
    pub signing_token: String,
    /// Whether the RPC agent is served.
    pub choria_service: bool,
    /// Whether a token alone makes a caller.
    pub allow_bearer_tokens: bool,
}

/// Table of the record in a file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LogfileAuditor {
    /// The file; none: standard output.
    pub logfile: String,
}

/// Table of the record over the broker.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct JetstreamAuditor {
    /// Brokers.
    pub servers: String,
    /// Subject.
    pub topic: String,
}

/// Table of the users.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct UserlistAuthenticator {
    /// The users themselves.
    pub users: Option<Value>,
    /// File of the users.
    pub users_file: String,
    /// How long a token is good.
    pub validity: String,
    /// Key that signs tokens.
    pub signing_key: String,
    /// Token of the chain issuer.
    pub signing_token: String,
}

/// A table, its names in small letters; of names that differ only in that, the last counts.
struct Table {
    at: String,
    members: Map<String, Value>,
}

impl Table {
    fn new(at: &str, members: Map<String, Value>) -> Self {
        let members = members
            .into_iter()
            .map(|(name, value)| (name.to_lowercase(), value))
            .collect();
        Self {
            at: at.to_owned(),
            members,
        }
    }

    fn wrong(&self, name: &str, expected: &'static str) -> OriginalError {
        let key = if self.at.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.at)
        };
        OriginalError::Type { key, expected }
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.members.remove(name).filter(|value| !value.is_null())
    }

    fn text(&mut self, name: &str) -> Result<String, OriginalError> {
        match self.take(name) {
            None => Ok(String::new()),
            Some(Value::String(text)) => Ok(text),
            Some(_) => Err(self.wrong(name, "a text")),
        }
    }

    fn switch(&mut self, name: &str) -> Result<bool, OriginalError> {
        match self.take(name) {
            None => Ok(false),
            Some(Value::Bool(on)) => Ok(on),
            Some(_) => Err(self.wrong(name, "true or false")),
        }
    }

    fn texts(&mut self, name: &str) -> Result<Vec<String>, OriginalError> {
        let values = match self.take(name) {
            None => return Ok(Vec::new()),
            Some(Value::Array(values)) => values,
            Some(_) => return Err(self.wrong(name, "a list of texts")),
        };
        values
            .into_iter()
            .map(|value| match value {
                Value::String(text) => Ok(text),
                Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::Array(_)
                | Value::Object(_) => Err(self.wrong(name, "a list of texts")),
            })
            .collect()
    }

    /// A port: a number, or a text that is one.
    fn port(&mut self, name: &str) -> Result<u16, OriginalError> {
        let number = match self.take(name) {
            None => return Ok(0),
            Some(Value::Number(number)) => number.as_u64(),
            Some(Value::String(text)) => text.trim().parse().ok(),
            Some(_) => None,
        };
        number
            .and_then(|number| u16::try_from(number).ok())
            .ok_or_else(|| self.wrong(name, "a port"))
    }

    fn table(&mut self, name: &str) -> Result<Option<Table>, OriginalError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Object(members)) => Ok(Some(Self::new(name, members))),
            Some(_) => Err(self.wrong(name, "an object")),
        }
    }
}

impl Original {
    /// Reads the text.
    ///
    /// # Errors
    ///
    /// [`OriginalError`] for what the original refuses.
    pub fn read(text: &str) -> Result<Self, OriginalError> {
        let value: Value =
            serde_json::from_str(text).map_err(|error| OriginalError::Json(error.to_string()))?;
        let Value::Object(members) = value else {
            return Err(OriginalError::Json("it is another value".to_owned()));
        };
        let mut table = Table::new("", members);
        let read = Self {
            logfile: table.text("logfile")?,
            loglevel: table.text("loglevel")?,
            choria_config: table.text("choria_config")?,
            authenticator: table.text("authenticator")?,
            auditors: table.texts("auditors")?,
            authorizer: table.text("authorizer")?,
            signer: table.text("signer")?,
            port: table.port("port")?,
            monitor_port: table.port("monitor_port")?,
            site: table.text("site")?,
            tls_certificate: table.text("tls_certificate")?,
            tls_key: table.text("tls_key")?,
            tls_ca: table.text("tls_ca")?,
            basicjwt_signer: signer(table.table("basicjwt_signer")?)?,
            logfile_auditor: match table.table("logfile_auditor")? {
                Some(mut auditor) => Some(LogfileAuditor {
                    logfile: auditor.text("logfile")?,
                }),
                None => None,
            },
            jetstream_auditor: match table.table("jetstream_auditor")? {
                Some(mut auditor) => Some(JetstreamAuditor {
                    servers: auditor.text("servers")?,
                    topic: auditor.text("topic")?,
                }),
                None => None,
            },
            userlist_authenticator: users(table.table("userlist_authenticator")?)?,
            unknown: Vec::new(),
        };
        Ok(Self {
            unknown: table.members.into_iter().map(|(name, _)| name).collect(),
            ..read
        })
    }
}

fn signer(table: Option<Table>) -> Result<Option<BasicSigner>, OriginalError> {
    let Some(mut table) = table else {
        return Ok(None);
    };
    Ok(Some(BasicSigner {
        signing_certificate: table.text("signing_certificate")?,
        max_validity: table.text("max_validity")?,
        signing_seed: table.text("signing_seed")?,
        signing_token: table.text("signing_token")?,
        choria_service: table.switch("choria_service")?,
        allow_bearer_tokens: table.switch("allow_bearer_tokens")?,
    }))
}

fn users(table: Option<Table>) -> Result<Option<UserlistAuthenticator>, OriginalError> {
    let Some(mut table) = table else {
        return Ok(None);
    };
    Ok(Some(UserlistAuthenticator {
        users: table.take("users"),
        users_file: table.text("users_file")?,
        validity: table.text("validity")?,
        signing_key: table.text("signing_key")?,
        signing_token: table.text("signing_token")?,
    }))
}
