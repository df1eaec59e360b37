//! Enrols new nodes: finds them, judges them, asks the helper, issues their token, configures and restarts them.

mod answer;
mod config;
mod enrol;
mod entropy;
mod helper;
mod policy;
mod question;
mod reason;
mod record;
mod time;

pub use answer::{Answer, AnswerError, HelperFault, WantedClaims};
pub use config::{
    Config, Keys, KeysError, Leader, Limits, Login, Rate, RawConfig, Scan, SecretSource, Stream,
    Streams,
};
pub use enrol::{
    Action, Admission, Call, CallFault, CallId, Command, Enrolment, Finished, Found, Input,
    IssuedToken, NameState, Note, Outcome, TokenUse, Why,
};
pub use entropy::Entropy;
pub use helper::{HelperKind, HelperSettings, HelperStartError};
pub use policy::{
    Calls, Conflict, Features, HelperRules, Issue, Names, Pki, Placement, Policy, Quarantine,
    Retry, Upgrades,
};
pub use question::{Details, Hidden, NodeKey, Question, SigningRequest};
pub use reason::Reason;
pub use record::{AuditRecord, NodeRecord};
