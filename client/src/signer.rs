//! Another's signature: every request is decided on, recorded and signed by a signer before it is sent.
//!
//! The signer is the service `aaa_signer`, asked over the connection that the requests take, or a web service. What it
//! signed is compared with what was submitted before it is used.

mod answer;
mod http;
mod rpc;

use std::time::Duration;

use overlay_protocol::envelope::Limits;
use overlay_protocol::envelope::v2::{INSECURE_SIGNATURE, Request, SecureRequest};
use overlay_protocol::id::AgentName;
use overlay_protocol::rpc::RpcRequest;
use overlay_protocol::signing;
use tokio::time::{Instant, timeout_at};

pub use self::answer::{AnswerFault, Check};
use self::http::Services;
use crate::config::{self, Config, SignerOver};
use crate::connection::{BrokerError, Connection};
use crate::credentials::{Credentials, signature_text};
use crate::tls::TlsError;

/// A signer as the configuration names it.
#[derive(Debug)]
pub(crate) struct Signer {
    over: Over,
    timeout: Duration,
}

#[derive(Debug)]
enum Over {
    Broker,
    Web(Services),
}

/// A request to be signed.
pub(crate) struct Order<'a> {
    /// The bytes to be signed.
    pub(crate) request: Vec<u8>,
    pub(crate) connection: &'a Connection,
    pub(crate) config: &'a Config,
    pub(crate) limits: Limits,
}

/// Why a request is not signed.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// The signer says no. Its reasons are in its audit, not in its answer.
    #[error("the signer {by} does not sign {what}: {said}")]
    Denied {
        /// Who said so.
        by: String,
        /// Its words.
        said: String,
        /// What was to be signed, such as `rpcutil ping`.
        what: String,
        /// The id of the request, as the signer's audit has it.
        request: String,
        /// What the caller's own token lets one suspect.
        suspicion: Suspicion,
    },
    /// Nobody hosts the service.
    #[error("nobody signs requests on {0}: no host of the service is connected")]
    Nobody(String),
    /// No answer.
    #[error("no signer answered on {asked} within {within:?}")]
    Silent {
        /// Where the question went.
        asked: String,
        /// The limit.
        within: Duration,
    },
    /// None of the web services signed or refused.
    #[error("no signer could be asked: {}", tries.join("; "))]
    Unreachable {
        /// Each with its reason.
        tries: Vec<String>,
    },
    /// An answer that must not be used.
    #[error("the answer of the signer {by} is not usable")]
    Answer {
        /// Who answered.
        by: String,
        /// What is wrong with it.
        source: AnswerFault,
    },
    /// The question did not get to the broker.
    #[error("the signer cannot be asked through the broker")]
    Broker(#[from] BrokerError),
    /// The user did not want to wait.
    #[error("interrupted while waiting for the signer")]
    Interrupted,
    /// This machine has no random numbers.
    #[error("no random numbers to make a request id from")]
    Random,
}

/// What a caller's own token lets one suspect when a signer says no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suspicion {
    /// It has neither actions nor a policy.
    NothingAllowed,
    /// Its list of actions does not have this one.
    NotListed,
    /// Its policy decides.
    Policy,
    /// It looks as if it were allowed.
    None,
}

/// Whether requests to this agent go unsigned, because it is the one that signs.
pub(crate) fn is_signer(agent: &AgentName) -> bool {
    agent.as_str() == signing::AGENT
}

/// A request to the signer itself: its proof is inside.
pub(crate) fn unsigned(request: Vec<u8>, credentials: &Credentials) -> SecureRequest {
    SecureRequest {
        request,
        signature: INSECURE_SIGNATURE.to_vec(),
        caller: credentials.token().to_owned(),
        signer: None,
    }
}

impl Signer {
    /// Prepares the questions.
    pub(crate) fn new(config: &config::Signer) -> Result<Self, TlsError> {
        let over = match &config.over {
            SignerOver::Broker => Over::Broker,
            SignerOver::Web(web) => Over::Web(Services::new(web, config.timeout)?),
        };
        Ok(Self {
            over,
            timeout: config.timeout,
        })
    }

    /// Has a request signed; the answer names the caller's own token as the caller's.
    pub(crate) async fn sign(&self, order: &Order<'_>) -> Result<SecureRequest, SignerError> {
        let deadline = Instant::now() + self.timeout;
        match &self.over {
            Over::Broker => rpc::sign(order, deadline, self.timeout).await,
            Over::Web(services) => timeout_at(deadline, services.sign(order))
                .await
                .unwrap_or_else(|_| {
                    Err(SignerError::Silent {
                        asked: services.names(),
                        within: self.timeout,
                    })
                }),
        }
    }
}

impl Order<'_> {
    fn credentials(&self) -> &Credentials {
        self.connection.credentials()
    }

    /// The proof that the holder of the token wants this signed.
    fn signature(&self) -> String {
        signature_text(&self.credentials().key().sign(&self.request))
    }

    /// The refusal, with what the caller can know of it.
    fn denied(&self, by: String, said: &str) -> SignerError {
        let submitted = Request::decode(&self.request, &self.limits).ok();
        let (id, agent) = submitted
            .as_ref()
            .map(|request| (request.id.clone(), request.agent.clone()))
            .unwrap_or_default();
        let action = submitted
            .and_then(|request| RpcRequest::decode(&request.payload(), &self.limits).ok())
            .map(|body| body.action)
            .unwrap_or_default();
        SignerError::Denied {
            by,
            said: crate::web::shown(said),
            suspicion: self.suspicion(&agent, &action),
            what: format!("{agent} {action}").trim_end().to_owned(),
            request: id,
        }
    }

    fn suspicion(&self, agent: &str, action: &str) -> Suspicion {
        let credentials = self.credentials();
        let actions = credentials.actions();
        if credentials.has_policy() {
            return Suspicion::Policy;
        }
        if actions.is_empty() {
            return Suspicion::NothingAllowed;
        }
        let is_listed = actions.iter().any(|listed| {
            listed == "*"
                || listed
                    .split_once('.')
                    .is_some_and(|(a, what)| a == agent && (what == "*" || what == action))
        });
        if is_listed || action.is_empty() {
            Suspicion::None
        } else {
            Suspicion::NotListed
        }
    }
}
