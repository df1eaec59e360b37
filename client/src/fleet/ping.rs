//! Who is there: a broadcast, and replies of unknown number.

use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use overlay_protocol::envelope::Limits;
use overlay_protocol::filter::Filter;
use overlay_protocol::id::Collective;
use overlay_protocol::rpc::DISCOVERY_PING;
use overlay_protocol::subject;
use tokio::time::{Instant, sleep_until};

use super::{CallError, Fleet, agent_name, new_id};
use crate::connection::Collected;
use crate::gather::{Arrival, Gather};
use crate::message::{Answer, Draft};
use crate::window::Window;

/// What is asked of everybody.
#[derive(Debug, Clone)]
pub struct Question {
    /// Who is meant; None: the configured collective.
    pub collective: Option<Collective>,
    /// Which of them.
    pub filter: Filter,
    /// How long to wait.
    pub window: Window,
    /// So many replies are enough.
    pub enough: Option<usize>,
}

/// Who answered.
#[derive(Debug, Clone, Default)]
pub struct Heard {
    /// The names, sorted, each once.
    pub nodes: Vec<String>,
    /// From the request's leaving to the end of the waiting.
    pub took: Duration,
    /// Replies that came again, or were none.
    pub strays: u64,
    /// What the broker said meanwhile.
    pub notices: Collected,
}

impl Fleet {
    /// Asks everybody, and calls `on_reply` with the name and the delay of each that answers.
    ///
    /// Signatures of the replies are not checked: only names come of it, and whoever is asked to do
    /// something then has to sign for itself.
    ///
    /// # Errors
    ///
    /// The question could not be asked. That nobody answers is no error.
    pub async fn ping(
        &self,
        question: Question,
        mut on_reply: impl FnMut(&str, Duration),
    ) -> Result<Heard, CallError> {
        let agent = agent_name("discovery")?;
        self.may_ask(&agent)?;
        let config = self.config();
        if config.require_filter && is_for_everybody(&question.filter) {
            return Err(CallError::NeedsFilter);
        }
        let credentials = self.connection().credentials();
        let collective = question
            .collective
            .unwrap_or_else(|| config.collective.clone());
        let id = new_id()?;
        let draft = Draft {
            reply_to: subject::reply_to(&collective, credentials.uid(), &id),
            id,
            agent: agent.clone(),
            filter: question.filter,
            payload: DISCOVERY_PING.to_vec(),
            ttl: config.ttl,
            sender: config.identity.clone(),
            collective: collective.clone(),
        };
        let mut replies = self.connection().subscribe(draft.reply_to.clone()).await?;
        let sealed = self.seal(&draft).await?;
        let started = Instant::now();
        self.connection()
            .publish(subject::broadcast_agent(&collective, &agent), sealed)
            .await?;
        self.connection().flush().await?;

        let mut hearing = Hearing {
            id: draft.id.to_string(),
            limits: self.limits(),
            started,
            window: question.window,
            enough: question.enough.unwrap_or(usize::MAX),
            gather: Gather::default(),
            heard: Heard::default(),
        };
        let mut stopped = std::pin::pin!(self.stopped());
        loop {
            tokio::select! {
                biased;
                message = replies.next() => {
                    let Some(message) = message else { break };
                    if hearing.enter(&message.payload, &mut on_reply) {
                        break;
                    }
                }
                () = sleep_until(started + hearing.window.end()) => break,
                () = &mut stopped => break,
            }
        }
        // What has arrived counts, even if this loop was too slow to look at it in time.
        while let Some(Some(message)) = replies.next().now_or_never() {
            if hearing.enter(&message.payload, &mut on_reply) {
                break;
            }
        }
        let mut heard = hearing.heard;
        heard.nodes.sort_unstable();
        heard.took = started.elapsed();
        heard.notices = self.connection().take_notices();
        Ok(heard)
    }
}

/// Whether a filter names nothing but the agent that is asked for.
fn is_for_everybody(filter: &Filter) -> bool {
    let without_agent = Filter {
        agent: Vec::new(),
        ..filter.clone()
    };
    filter.agent.len() <= 1 && without_agent.is_empty()
}

/// The state of listening for replies.
struct Hearing {
    id: String,
    limits: Limits,
    started: Instant,
    window: Window,
    enough: usize,
    gather: Gather,
    heard: Heard,
}

impl Hearing {
    /// Enters a message; true when that is enough.
    fn enter(&mut self, payload: &[u8], on_reply: &mut impl FnMut(&str, Duration)) -> bool {
        if self.heard.nodes.len() >= self.enough {
            return true;
        }
        let Ok((answer, _)) = Answer::decode(payload, &self.id, &self.limits) else {
            self.heard.strays += 1;
            return false;
        };
        let sender = answer.reply.sender;
        self.gather.expect([sender.clone()]);
        match self.gather.accept(&sender) {
            Arrival::Expected => {
                let delay = self.started.elapsed();
                self.window.replied(delay);
                on_reply(&sender, delay);
                self.heard.nodes.push(sender);
            }
            Arrival::Duplicate | Arrival::Unexpected => self.heard.strays += 1,
        }
        self.heard.nodes.len() >= self.enough
    }
}
