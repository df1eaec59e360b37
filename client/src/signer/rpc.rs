//! The signer as a service on the broker, asked over the connection at hand.

use std::time::Duration;

use async_nats::{Message, StatusCode as Status};
use futures_util::StreamExt;
use overlay_protocol::envelope::v2::SecureRequest;
use overlay_protocol::filter::Filter;
use overlay_protocol::id::AgentName;
use overlay_protocol::rpc::{RpcRequest, StatusCode};
use overlay_protocol::{signing, subject};
use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use super::{AnswerFault, Check, Order, SignerError, unsigned};
use crate::clock;
use crate::connection::BrokerError;
use crate::message::{self, Answer, Draft};

/// An answer that cannot be used waits so long for a better one.
const DOUBT: Duration = Duration::from_millis(300);

pub(super) async fn sign(
    order: &Order<'_>,
    deadline: Instant,
    within: Duration,
) -> Result<SecureRequest, SignerError> {
    let draft = draft(order)?;
    let asked = subject::broadcast_service(&draft.collective, &draft.agent);
    let id = draft.id.to_string();
    let credentials = order.credentials();
    let question = unsigned(draft.request(credentials, clock::now_ns()), credentials);
    let mut replies = order
        .connection
        .ask(asked.clone(), draft.reply_to.clone(), draft.pack(&question))
        .await?;
    let mut objection = std::pin::pin!(order.connection.objection_to(&asked));
    let mut until = deadline;
    let mut unusable = None;
    loop {
        tokio::select! {
            biased;
            message = replies.next() => match message {
                None => return Err(BrokerError::Closed.into()),
                Some(message) if message.status == Some(Status::NO_RESPONDERS) => {
                    return Err(SignerError::Nobody(asked.clone()));
                }
                Some(message) => match read(order, &message, &id) {
                    Verdict::Signed(signed) => return Ok(*signed),
                    Verdict::Refused(refusal) => return Err(refusal),
                    Verdict::Doubtful(fault) => {
                        until = deadline.min(Instant::now() + DOUBT);
                        unusable.get_or_insert(fault);
                    }
                    Verdict::Stray => {}
                }
            },
            objection = &mut objection => return Err(objection.into()),
            () = sleep_until(until) => {
                let asked = asked.clone();
                return Err(unusable.unwrap_or(SignerError::Silent { asked, within }));
            }
        }
    }
}

fn draft(order: &Order<'_>) -> Result<Draft, SignerError> {
    let config = order.config;
    let credentials = order.credentials();
    let agent: AgentName = signing::AGENT
        .parse()
        .map_err(|_| SignerError::Nobody(signing::AGENT.to_owned()))?;
    let id = message::new_id().ok_or(SignerError::Random)?;
    let body = signing::SignRequest {
        token: credentials.token().into(),
        request: String::from_utf8_lossy(&order.request).into_owned(),
        signature: order.signature(),
    };
    let request = RpcRequest {
        agent: signing::AGENT.to_owned(),
        action: signing::ACTION.to_owned(),
        data: body.to_data(),
    };
    Ok(Draft {
        reply_to: subject::reply_to(&config.collective, credentials.uid(), &id),
        id,
        collective: config.collective.clone(),
        agent,
        filter: Filter::default(),
        payload: request.encode(),
        ttl: config.ttl,
        sender: config.identity.clone(),
    })
}

/// What a message on the reply subject is.
enum Verdict {
    Signed(Box<SecureRequest>),
    /// A refusal of whom there is no reason to doubt.
    Refused(SignerError),
    /// Something that is not used unless nothing better comes.
    Doubtful(SignerError),
    /// No reply to this question.
    Stray,
}

fn read(order: &Order<'_>, message: &Message, id: &str) -> Verdict {
    let now = clock::now();
    let issuers = order.config.issuers.as_ref();
    let Ok((mut answer, secure)) = Answer::decode(&message.payload, id, &order.limits) else {
        return Verdict::Stray;
    };
    answer.check(&secure, issuers, now, &order.limits);
    let by = crate::web::shown(&answer.reply.sender);
    let unusable = |source| {
        let by = by.clone();
        Verdict::Doubtful(SignerError::Answer { by, source })
    };
    let body = match answer.body(&order.limits) {
        Ok(body) => body,
        Err(error) => return unusable(AnswerFault::Decode(error)),
    };
    if body.statuscode != StatusCode::Ok {
        let refusal = order.denied(by, &body.statusmsg);
        return if answer.trust.is_good() {
            Verdict::Refused(refusal)
        } else {
            Verdict::Doubtful(refusal)
        };
    }
    let text = body
        .data
        .get("secure_request")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let check = Check {
        submitted: &order.request,
        token: order.credentials().token(),
        issuers,
        now,
        limits: order.limits,
    };
    // The content proves itself, whoever sent it.
    match check.signed(text.as_bytes()) {
        Ok(signed) => Verdict::Signed(Box::new(signed)),
        Err(fault) => unusable(fault),
    }
}
