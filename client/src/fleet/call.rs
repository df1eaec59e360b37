//! Do this: requests to named nodes or to a service, and what came of them.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::Subscriber;
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use overlay_protocol::envelope::Limits;
use overlay_protocol::envelope::v2::SecureReply;
use overlay_protocol::filter::Filter;
use overlay_protocol::id::{AgentName, Collective, Identity, Ksuid};
use overlay_protocol::provisioning;
use overlay_protocol::rpc::RpcRequest;
use overlay_protocol::subject;
use tokio::time::{Instant, sleep_until};

use super::{CallError, Fleet, agent_name, new_id};
use crate::clock;
use crate::connection::{BrokerError, Collected, Connection, Objection};
use crate::gather::{Arrival, Gather};
use crate::message::{Answer, Draft, Trust};

/// After so many requests all of them must have left: nodes and broker are not flooded.
const PACE: usize = 256;
/// Replies that are doubtful wait so long for a better one of the same name.
const DOUBT: Duration = Duration::from_millis(300);

/// An action to be done.
#[derive(Debug, Clone)]
pub struct Call {
    /// What is to be done, by which agent, with which inputs.
    pub request: RpcRequest,
    /// Where; None: the configured collective.
    pub collective: Option<Collective>,
    /// By whom.
    pub target: Target,
    /// Sent along; nodes that it does not match do nothing. The agent is added.
    pub filter: Filter,
    /// How long to wait for replies after the last request left.
    pub timeout: Duration,
    /// In portions.
    pub batches: Option<Batches>,
}

/// Who is to do it.
#[derive(Debug, Clone)]
pub enum Target {
    /// These nodes, each by a message of its own.
    Nodes(Vec<Identity>),
    /// Any one host of a service.
    Service,
    /// All hosts of a service that listen each for itself. How many there are nobody knows: it ends when so long nobody
    /// more has answered.
    Hosts {
        /// How long.
        quiet: Duration,
    },
}

/// Portions of the nodes, one after the other.
#[derive(Debug, Clone, Copy)]
pub struct Batches {
    /// How many nodes at once; at least one.
    pub size: usize,
    /// The time between two of them.
    pub pause: Duration,
}

/// What came of a call. Who was asked and did not answer is in `missing`, by name.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The id of the request, in audits of the nodes too.
    pub id: Ksuid,
    /// When it began, in nanoseconds since 1970.
    pub started_ns: i64,
    /// From the first request's leaving to the last one's.
    pub publish_time: Duration,
    /// In all.
    pub request_time: Duration,
    /// How many were asked.
    pub asked: usize,
    /// How many of them answered.
    pub answered: usize,
    /// Who did not.
    pub missing: Vec<String>,
    /// Who was not asked and answered; their replies are not delivered.
    pub unexpected: Vec<String>,
    /// Senders whose replies are not proved, and why.
    pub doubtful: BTreeMap<String, String>,
    /// Replies that came again, or were none.
    pub strays: u64,
    /// What the broker said meanwhile.
    pub notices: Collected,
}

impl Fleet {
    /// Sends the call and hands each first reply of each asked node to `on_reply`.
    ///
    /// Ends when all have answered, or at the timeout. A reply whose signature is wrong or missing is
    /// only delivered if no better one of that sender comes, and is named in `doubtful`.
    ///
    /// # Errors
    ///
    /// The call could not be sent. That nobody answers is no error.
    pub async fn call(
        &self,
        call: &Call,
        mut on_reply: impl FnMut(&Answer),
    ) -> Result<Outcome, CallError> {
        let started_ns = clock::now_ns();
        let started = Instant::now();
        let draft = self.draft(call, None)?;
        let mut replies = self.connection().subscribe(draft.reply_to.clone()).await?;
        let mut exchange = Exchange {
            fleet: self,
            id: draft.id.to_string(),
            limits: self.limits(),
            is_service: matches!(call.target, Target::Service),
            quiet: match call.target {
                Target::Hosts { quiet } => Some(quiet),
                Target::Service | Target::Nodes(_) => None,
            },
            heard: 0,
            is_provisioner: matches!(call.target, Target::Service)
                && draft.agent.as_str() == provisioning::SERVICE,
            gather: Gather::default(),
            held: BTreeMap::new(),
            doubtful: BTreeMap::new(),
            strays: 0,
        };
        let mut publish_time = Duration::ZERO;
        match &call.target {
            Target::Service | Target::Hosts { .. } => {
                let to = subject::broadcast_service(&draft.collective, &draft.agent);
                publish_time = exchange
                    .run(&draft, &[to], call.timeout, &mut replies, &mut on_reply)
                    .await?;
            }
            Target::Nodes(nodes) => {
                let size = call
                    .batches
                    .map_or(nodes.len(), |batches| batches.size)
                    .max(1);
                for (number, batch) in nodes.chunks(size).enumerate() {
                    if let (Some(batches), true) = (call.batches, number > 0) {
                        let until = Instant::now() + batches.pause;
                        exchange.listen(until, &mut replies, &mut on_reply).await;
                    }
                    exchange
                        .gather
                        .expect(batch.iter().map(Identity::to_string));
                    if *self.stop.borrow() {
                        // Those never asked are named with the silent ones.
                        continue;
                    }
                    let to: Vec<String> = batch
                        .iter()
                        .map(|node| subject::node(&draft.collective, node))
                        .collect();
                    publish_time += exchange
                        .run(&draft, &to, call.timeout, &mut replies, &mut on_reply)
                        .await?;
                }
            }
        }
        Ok(Outcome {
            id: draft.id,
            started_ns,
            publish_time,
            request_time: started.elapsed(),
            asked: exchange.gather.asked(),
            answered: exchange.gather.answered(),
            missing: exchange.gather.missing(),
            unexpected: exchange.gather.unexpected(),
            doubtful: exchange.doubtful,
            strays: exchange.strays + exchange.gather.duplicates(),
            notices: self.connection().take_notices(),
        })
    }

    /// Sends the call and lets the replies go to `reply_to`, where somebody else reads them.
    ///
    /// # Errors
    ///
    /// The call could not be sent.
    pub async fn send(&self, call: &Call, reply_to: &str) -> Result<Ksuid, CallError> {
        let draft = self.draft(call, Some(reply_to))?;
        let to: Vec<String> = match &call.target {
            Target::Service | Target::Hosts { .. } => {
                vec![subject::broadcast_service(&draft.collective, &draft.agent)]
            }
            Target::Nodes(nodes) => nodes
                .iter()
                .map(|node| subject::node(&draft.collective, node))
                .collect(),
        };
        let sealed = self.seal(&draft).await?;
        publish(self.connection(), &to, sealed).await?;
        self.connection().hear_objection(Objection::Publish).await?;
        Ok(draft.id)
    }

    fn draft(&self, call: &Call, reply_to: Option<&str>) -> Result<Draft, CallError> {
        let agent: AgentName = agent_name(&call.request.agent)?;
        self.may_ask(&agent)?;
        if let Some(subject) = reply_to.filter(|subject| !subject::is_valid(subject)) {
            return Err(CallError::ReplyTo(subject.to_owned()));
        }
        let config = self.config();
        let collective = call
            .collective
            .clone()
            .unwrap_or_else(|| config.collective.clone());
        let id = new_id()?;
        let uid = self.connection().credentials().uid();
        let reply_to =
            reply_to.map_or_else(|| subject::reply_to(&collective, uid, &id), str::to_owned);
        let mut filter = call.filter.clone();
        let is_direct = matches!(call.target, Target::Nodes(_));
        if is_direct && !filter.agent.contains(&call.request.agent) {
            filter.agent.push(call.request.agent.clone());
        }
        Ok(Draft {
            id,
            collective,
            agent,
            filter,
            payload: call.request.encode(),
            ttl: config.ttl,
            sender: config.identity.clone(),
            reply_to,
        })
    }
}

/// Publishes the same bytes to every subject, no faster than the broker takes them.
async fn publish(
    connection: &Connection,
    subjects: &[String],
    payload: Bytes,
) -> Result<(), BrokerError> {
    for portion in subjects.chunks(PACE) {
        for subject in portion {
            connection.publish(subject.clone(), payload.clone()).await?;
        }
        connection.flush().await?;
    }
    Ok(())
}

/// The state of one call.
struct Exchange<'a> {
    fleet: &'a Fleet,
    id: String,
    limits: Limits,
    is_service: bool,
    /// How long to wait for one more host, when all hosts of a service are asked.
    quiet: Option<Duration>,
    /// Hosts that have answered, when all are asked.
    heard: usize,
    /// Whether the service is the provisioner's, which proves itself in its own way.
    is_provisioner: bool,
    gather: Gather,
    /// The first doubtful reply of each sender that is still waited for.
    held: BTreeMap<String, (Answer, String)>,
    /// Whose doubtful replies were delivered, and why they are doubtful.
    doubtful: BTreeMap<String, String>,
    strays: u64,
}

impl Exchange<'_> {
    /// Publishes one portion and waits for its replies; the time that publishing took.
    async fn run(
        &mut self,
        draft: &Draft,
        subjects: &[String],
        timeout: Duration,
        replies: &mut Subscriber,
        on_reply: &mut impl FnMut(&Answer),
    ) -> Result<Duration, CallError> {
        let fleet = self.fleet;
        let sealed = self
            .meanwhile(Box::pin(fleet.seal(draft)), replies, on_reply)
            .await?;
        let started = Instant::now();
        self.meanwhile(
            Box::pin(publish(fleet.connection(), subjects, sealed)),
            replies,
            on_reply,
        )
        .await?;
        let published = started.elapsed();
        self.listen_until_done(Instant::now() + timeout, replies, on_reply)
            .await;
        self.settle(on_reply);
        self.gather.give_up();
        Ok(published)
    }

    /// Does something else and reads replies, until the former is done.
    async fn meanwhile<T>(
        &mut self,
        work: impl Future<Output = T>,
        replies: &mut Subscriber,
        on_reply: &mut impl FnMut(&Answer),
    ) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                Some(message) = replies.next() => self.enter(&message.payload, on_reply),
            }
        }
    }

    async fn listen_until_done(
        &mut self,
        deadline: Instant,
        replies: &mut Subscriber,
        on_reply: &mut impl FnMut(&Answer),
    ) {
        let fleet = self.fleet;
        let mut stopped = std::pin::pin!(fleet.stopped());
        while !self.is_done() {
            let only_doubts = self.only_doubts_left();
            let until = match self.quiet {
                _ if only_doubts => deadline.min(Instant::now() + DOUBT),
                Some(quiet) if self.heard > 0 => deadline.min(Instant::now() + quiet),
                Some(_) | None => deadline,
            };
            tokio::select! {
                biased;
                message = replies.next() => match message {
                    Some(message) => self.enter(&message.payload, on_reply),
                    None => return,
                },
                () = sleep_until(until) => break,
                () = &mut stopped => break,
            }
        }
        // What has arrived counts, even if this loop was too slow to look at it in time.
        while let Some(Some(message)) = replies.next().now_or_never() {
            self.enter(&message.payload, on_reply);
        }
    }

    /// Listens for late replies until a time.
    async fn listen(
        &mut self,
        until: Instant,
        replies: &mut Subscriber,
        on_reply: &mut impl FnMut(&Answer),
    ) {
        let fleet = self.fleet;
        let mut stopped = std::pin::pin!(fleet.stopped());
        loop {
            tokio::select! {
                () = sleep_until(until) => return,
                () = &mut stopped => return,
                Some(message) = replies.next() => self.enter(&message.payload, on_reply),
            }
        }
    }

    fn is_done(&self) -> bool {
        if self.quiet.is_some() {
            false
        } else if self.is_service {
            self.gather.answered() > 0
        } else {
            self.gather.waiting() == 0
        }
    }

    /// Whether everybody still waited for has sent something doubtful.
    fn only_doubts_left(&self) -> bool {
        !self.held.is_empty() && self.gather.waiting() == self.held.len()
    }

    fn enter(&mut self, payload: &[u8], on_reply: &mut impl FnMut(&Answer)) {
        let (mut answer, secure) = match Answer::decode(payload, &self.id, &self.limits) {
            Ok(decoded) => decoded,
            Err(error) => {
                tracing::debug!(%error, "no reply");
                self.strays += 1;
                return;
            }
        };
        let sender = answer.reply.sender.clone();
        if self.quiet.is_some() {
            self.hear(answer, &secure, on_reply);
            return;
        }
        if self.is_service && self.gather.answered() == 0 {
            self.gather.expect([sender.clone()]);
        }
        if self.gather.judge(&sender) != Arrival::Expected {
            self.gather.accept(&sender);
            return;
        }
        let issuers = self.fleet.config().issuers.as_ref();
        if self.is_provisioner {
            answer.check_provisioner(&secure, issuers, clock::now());
        } else {
            answer.check(&secure, issuers, clock::now(), &self.limits);
        }
        match answer.trust.clone() {
            Trust::Verified | Trust::Unchecked => {
                self.held.remove(&sender);
                self.gather.accept(&sender);
                on_reply(&answer);
            }
            Trust::Unsigned => self.doubt(answer, "the reply is not signed".to_owned(), on_reply),
            Trust::Bad(why) => self.doubt(answer, why, on_reply),
        }
    }

    /// Takes the reply of one of several hosts, which may share a name; there is no better one to wait for.
    fn hear(
        &mut self,
        mut answer: Answer,
        secure: &SecureReply,
        on_reply: &mut impl FnMut(&Answer),
    ) {
        self.heard += 1;
        let entry = format!("{} {}", answer.reply.sender, self.heard);
        self.gather.expect([entry.clone()]);
        self.gather.accept(&entry);
        let issuers = self.fleet.config().issuers.as_ref();
        answer.check(secure, issuers, clock::now(), &self.limits);
        let why = match answer.trust.clone() {
            Trust::Verified | Trust::Unchecked => None,
            Trust::Unsigned => Some("the reply is not signed".to_owned()),
            Trust::Bad(why) => Some(why),
        };
        if let Some(why) = why {
            self.doubtful.insert(answer.reply.sender.clone(), why);
        }
        on_reply(&answer);
    }

    /// Keeps a reply that is not proved, as long as a better one may come.
    fn doubt(&mut self, answer: Answer, why: String, on_reply: &mut impl FnMut(&Answer)) {
        let sender = answer.reply.sender.clone();
        if self.gather.is_waiting(&sender) {
            self.held.entry(sender).or_insert((answer, why));
        } else {
            self.deliver_doubtful(&answer, why, on_reply);
        }
    }

    /// Delivers the doubtful replies of those who sent no better one; of a service one reply is enough.
    fn settle(&mut self, on_reply: &mut impl FnMut(&Answer)) {
        for (answer, why) in std::mem::take(&mut self.held).into_values() {
            if self.is_service && self.gather.answered() > 0 {
                return;
            }
            self.deliver_doubtful(&answer, why, on_reply);
        }
    }

    fn deliver_doubtful(
        &mut self,
        answer: &Answer,
        why: String,
        on_reply: &mut impl FnMut(&Answer),
    ) {
        self.gather.accept(&answer.reply.sender);
        self.doubtful.insert(answer.reply.sender.clone(), why);
        on_reply(answer);
    }
}
