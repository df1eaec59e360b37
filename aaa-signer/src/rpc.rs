//! The RPC agent's messages: what is asked, and the answer, without the broker.
//!
//! Requests to this agent are never signed, as no client could sign one before it has had this agent sign it. What counts
//! is in the message: token, signature and request.

use overlay_protocol::envelope::Limits;
use overlay_protocol::envelope::v2::{
    Federation, Reply, Request, SecureReply, SecureRequest, Transport,
};
use overlay_protocol::filter::NodeView;
use overlay_protocol::id::{AgentName, Collective, NameError};
use overlay_protocol::rpc::{RpcReply, RpcRequest, StatusCode};
use overlay_protocol::signing::{ACTION, AGENT, RPC_DENIED, SignReply, SignRequest};
use overlay_protocol::subject;
use overlay_tokens::UnixTime;
use overlay_tokens::own::Holder;
use overlay_tokens::request::sign_reply;
use serde::Deserialize;
use serde_json::Value;

/// The longest foreign word that an answer repeats.
const MAX_WORD: usize = 64;

/// Who this agent is to those who ask.
#[derive(Debug, Clone)]
pub struct Face {
    /// Identity of the service's token.
    pub identity: String,
    /// Where it is served.
    pub collectives: Vec<Collective>,
    /// Bounds of each layer.
    pub limits: Limits,
}

/// A message that is to be answered.
#[derive(Debug)]
pub struct Question {
    /// Where the answer goes.
    pub reply: String,
    /// The host that asks, as it calls itself.
    pub sender: String,
    /// What is asked.
    pub asked: Asked,
    id: String,
    federation: Option<Federation>,
}

/// What is asked.
#[derive(Debug)]
pub enum Asked {
    /// To sign.
    Sign(SignRequest),
    /// Something that this agent does not do.
    Unknown {
        /// What.
        action: String,
    },
    /// Nothing that could be read.
    Unreadable {
        /// The action, if that could be read.
        action: String,
        /// What is wrong.
        problem: String,
    },
}

/// Why a message is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// It is no message of the protocol.
    Unreadable,
    /// It is for another agent.
    Agent,
    /// It is for a collective that is not served.
    Collective,
    /// It is too old, or of the future.
    Time,
    /// Its filter names others.
    Filter,
    /// It does not say where answers go, or names a place where none may go.
    Reply,
    /// The answer was not taken by the broker's connection.
    Unsent,
    /// Too many that were turned away wait for the broker to take their answers.
    Crowded,
}

impl Dropped {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Unreadable,
        Self::Agent,
        Self::Collective,
        Self::Time,
        Self::Filter,
        Self::Reply,
        Self::Unsent,
        Self::Crowded,
    ];

    pub fn label(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Agent => "agent",
            Self::Collective => "collective",
            Self::Time => "time",
            Self::Filter => "filter",
            Self::Reply => "reply",
            Self::Unsent => "unsent",
            Self::Crowded => "crowded",
        }
    }
}

/// The answer to a question.
#[derive(Debug)]
pub enum Answer {
    /// The text of a secure request.
    Signed(String),
    /// It is not signed.
    Denied,
}

/// The agent's name.
pub(crate) fn agent() -> Result<AgentName, NameError> {
    AgentName::new(AGENT)
}

/// The action alone, of a message that is otherwise wrong.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OnlyAction {
    action: String,
}

impl Face {
    /// Reads a message.
    pub fn read(&self, payload: &[u8], now: UnixTime) -> Result<Question, Dropped> {
        let unreadable = |_error| Dropped::Unreadable;
        let transport = Transport::decode(payload, &self.limits).map_err(unreadable)?;
        let secure = SecureRequest::decode(&transport.data, &self.limits).map_err(unreadable)?;
        let request = Request::decode(&secure.request, &self.limits).map_err(unreadable)?;
        if request.agent != AGENT {
            return Err(Dropped::Agent);
        }
        if !self.serves(&request.collective) {
            return Err(Dropped::Collective);
        }
        if !request.is_live(now.as_nanos()) {
            return Err(Dropped::Time);
        }
        if !self.is_meant(&request) {
            return Err(Dropped::Filter);
        }
        let reply = transport.reply.ok_or(Dropped::Reply)?;
        if !self.is_reply(&reply) {
            return Err(Dropped::Reply);
        }
        Ok(Question {
            reply,
            asked: Asked::read(&request.payload(), &self.limits),
            sender: request.sender,
            id: request.id,
            federation: transport.federation,
        })
    }

    /// The message that answers a question.
    pub fn answer(
        &self,
        question: &Question,
        answer: Answer,
        signer: Option<&Holder>,
        now: UnixTime,
    ) -> Vec<u8> {
        let reply = Reply {
            message: question.asked.answer(answer).encode(),
            request: question.id.clone(),
            sender: self.identity.clone(),
            agent: AGENT.to_owned(),
            time_ns: now.as_nanos(),
        }
        .encode();
        let secure = match signer {
            Some(holder) => sign_reply(reply, holder.key(), holder.text()),
            None => SecureReply::new(reply),
        };
        let mut transport = Transport::new(secure.encode());
        transport.sender = Some(self.identity.clone());
        transport.federation.clone_from(&question.federation);
        transport.encode()
    }

    fn serves(&self, collective: &str) -> bool {
        self.collectives
            .iter()
            .any(|served| served.as_str() == collective)
    }

    /// Whether the filter means this host of the service.
    fn is_meant(&self, request: &Request) -> bool {
        let Some(filter) = request.filter.as_ref().filter(|filter| !filter.is_empty()) else {
            return true;
        };
        filter.matches(&NodeView {
            identity: &self.identity,
            agents: &[AGENT.to_owned()],
            classes: &[],
            facts: &Value::Object(serde_json::Map::new()),
        })
    }

    /// Whether answers may go there: to the replies of a collective that is served, and to nothing else.
    fn is_reply(&self, reply: &str) -> bool {
        let Some((collective, rest)) = reply.split_once(".reply.") else {
            return false;
        };
        self.serves(collective) && !rest.is_empty() && subject::is_valid(reply)
    }
}

impl Asked {
    fn read(payload: &[u8], limits: &Limits) -> Self {
        let unreadable = |action: &str, problem: String| Self::Unreadable {
            action: word(action),
            problem,
        };
        let request = match RpcRequest::decode(payload, limits) {
            Ok(request) => request,
            Err(error) => {
                let only: OnlyAction = serde_json::from_slice(payload).unwrap_or_default();
                return unreadable(&only.action, error.to_string());
            }
        };
        if request.action != ACTION {
            return Self::Unknown {
                action: word(&request.action),
            };
        }
        match SignRequest::from_data(request.data) {
            Ok(sign) => Self::Sign(sign),
            Err(error) => unreadable(&request.action, overlay_runtime::err_chain(&error)),
        }
    }

    /// The body of the answer. Clients of Choria fall over when `secure_request` is no text, whatever happened.
    fn answer(&self, answer: Answer) -> RpcReply {
        let (action, statuscode, statusmsg, secure_request) = match (self, answer) {
            (Self::Sign(_), Answer::Signed(text)) => {
                (ACTION, StatusCode::Ok, "OK".to_owned(), text)
            }
            (Self::Sign(_), Answer::Denied) => (
                ACTION,
                StatusCode::Aborted,
                RPC_DENIED.to_owned(),
                String::new(),
            ),
            (Self::Unknown { action }, _) => (
                action.as_str(),
                StatusCode::UnknownAction,
                format!("Unknown action {action} for agent {AGENT}"),
                String::new(),
            ),
            (Self::Unreadable { action, problem }, _) => (
                action.as_str(),
                StatusCode::InvalidData,
                format!("Could not process request: {problem}"),
                String::new(),
            ),
        };
        RpcReply {
            action: action.to_owned(),
            statuscode,
            statusmsg,
            data: Value::Object(SignReply { secure_request }.to_data()),
        }
    }
}

/// A foreign word, not longer than an answer should be.
fn word(text: &str) -> String {
    text.chars().take(MAX_WORD).collect()
}

#[cfg(test)]
mod tests;
