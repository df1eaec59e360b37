//! Enrols new nodes: finds them, judges them, asks the helper, issues their token, configures and restarts them.

mod answer;
mod candidate;
mod claims;
pub mod compat;
mod config;
mod csr;
mod delivery;
mod enrol;
mod entropy;
mod error;
mod helper;
mod limits;
mod metrics;
mod policy;
mod question;
mod queue;
mod reason;
pub mod record;
mod service;
mod store;
mod time;
mod version;

pub use answer::{Answer, AnswerError, HelperFault, WantedClaims};
pub use candidate::{Turn, admissible};
pub use config::{
    Config, Keys, KeysError, Leader, Limits, Login, NodeSecretSource, Rate, RawConfig, Scan,
    SecretSource, Stream, Streams,
};
pub use enrol::{
    Action, Admission, Call, CallFault, CallId, Command, Enrolment, Finished, Found, Input,
    IssuedToken, NameState, Note, Outcome, TokenUse, Why,
};
pub use entropy::Entropy;
pub use error::StartError;
pub use helper::{HelperKind, HelperSettings, HelperStartError};
pub use limits::Limiter;
pub use policy::{
    Calls, Conflict, Features, HelperRules, Issue, KnownTokens, Names, NodeSecret, Pki, Placement,
    Policy, Quarantine, Retry, Upgrades,
};
pub use question::{Details, Hidden, NodeKey, Question, SigningRequest};
pub use queue::{Offered, Queue};
pub use reason::Reason;
pub use service::{CredentialsError, run};
pub use version::compare as compare_versions;
