//! The RPC agent at the broker: takes requests, has them signed, answers each.

mod denials;

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, Message, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::SelectAll;
use overlay_protocol::lifecycle::EventKind;
use overlay_protocol::subject;
use overlay_runtime::{CancellationToken, Clock, Context, Tasks, err_chain, nats};
use overlay_tokens::UnixTime;
use tokio_util::task::TaskTracker;

use crate::keyring::Keyring;
use crate::metrics::Metrics;
use crate::rpc::{self, Answer, Asked, Dropped, Face, Question};
use crate::sign::Submission;
use crate::signer::{Place, Signer};
use crate::via::Via;

use super::lifecycle::Teller;
use denials::Denials;

/// How long the broker may take to take the last answers.
const DRAIN: Duration = Duration::from_secs(3);
/// Answers to those for whom there was no place that may wait for the broker to take them.
const DENIALS: usize = 4096;

/// The agent with all that it works with.
#[derive(Debug)]
pub(super) struct Agent {
    face: Face,
    signer: Arc<Signer>,
    keyring: Keyring,
    client: Client,
    clock: Clock,
    metrics: Metrics,
    tasks: Tasks,
    /// Requests that are still to be answered.
    open: TaskTracker,
    denials: Denials,
}

impl Agent {
    pub(super) fn new(
        face: Face,
        signer: Arc<Signer>,
        keyring: Keyring,
        client: Client,
        metrics: Metrics,
        cx: &Context,
    ) -> Self {
        let (tasks, open) = (cx.tasks.clone(), TaskTracker::new());
        let denials = Denials::new(
            client.clone(),
            metrics.clone(),
            tasks.clone(),
            open.clone(),
            DENIALS,
        );
        Self {
            face,
            signer,
            keyring,
            client,
            clock: cx.clock.clone(),
            metrics,
            tasks,
            open,
            denials,
        }
    }

    /// Subscribes in every collective, in the queue group of all hosts of the service.
    pub(super) async fn subscribe(&self) -> anyhow::Result<SelectAll<Subscriber>> {
        let agent = rpc::agent()?;
        let mut all = SelectAll::new();
        for collective in &self.face.collectives {
            let subject = subject::broadcast_service(collective, &agent);
            let group = subject::service_group(&agent);
            all.push(self.client.queue_subscribe(subject, group).await?);
        }
        Ok(all)
    }

    /// Answers until the shutdown, and then what had been given to this host before.
    pub(super) async fn work(
        self: Arc<Self>,
        mut requests: SelectAll<Subscriber>,
        teller: Teller,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut telling = std::pin::pin!(teller.work());
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                () = &mut telling => {}
                message = requests.next() => match message {
                    Some(message) => self.take(message),
                    None => anyhow::bail!("the subscriptions of the agent ended"),
                },
            }
        }
        let mut is_drained = true;
        for subscriber in requests.iter_mut() {
            is_drained &= subscriber.drain().await.is_ok();
        }
        while is_drained && let Some(message) = requests.next().await {
            self.take(message);
        }
        self.open.close();
        self.open.wait().await;
        teller.tell(EventKind::Shutdown).await;
        nats::drain(&self.client, DRAIN).await;
        Ok(())
    }

    /// Takes up one message. Never waits: whoever cannot be served is told so at once.
    fn take(self: &Arc<Self>, message: Message) {
        let place = self.signer.place();
        let agent = Arc::clone(self);
        match place {
            Some(place) => {
                let work = async move { agent.serve(&message.payload, place).await };
                self.tasks
                    .spawn_job("request", self.open.track_future(work));
            }
            None => self.turn_away(&message.payload),
        }
    }

    async fn serve(&self, payload: &[u8], place: Place) {
        let Some(mut question) = self.read(payload) else {
            return;
        };
        let signed = match submission(&mut question) {
            Some(submission) => self.signer.sign_at(place, submission).await.ok(),
            None => None,
        };
        let text = signed.and_then(|signed| String::from_utf8(signed.into()).ok());
        let answer = text.map_or(Answer::Denied, Answer::Signed);
        self.send(&question, answer).await;
    }

    /// Answers that it is denied, without looking at it.
    fn turn_away(&self, payload: &[u8]) {
        let Some(leave) = self.denials.leave() else {
            return;
        };
        let Some(mut question) = self.read(payload) else {
            return;
        };
        if let Some(submission) = submission(&mut question) {
            self.signer.refuse(&submission);
        }
        let (subject, answer) = self.answer(&question, Answer::Denied);
        self.denials.send(leave, subject, answer);
    }

    fn read(&self, payload: &[u8]) -> Option<Question> {
        let now = UnixTime::from(self.clock.now());
        match self.face.read(payload, now) {
            Ok(question) => Some(question),
            Err(cause) => {
                self.metrics.dropped(cause).inc();
                tracing::debug!(
                    cause = cause.label(),
                    "a message to the agent is not answered"
                );
                None
            }
        }
    }

    async fn send(&self, question: &Question, answer: Answer) {
        let (subject, answer) = self.answer(question, answer);
        publish(&self.client, &self.metrics, subject, answer).await;
    }

    fn answer(&self, question: &Question, answer: Answer) -> (String, Bytes) {
        if let Asked::Unreadable { problem, .. } = &question.asked {
            tracing::info!(problem, sender = question.sender, "request not understood");
        }
        let keys = self.keyring.current();
        let now = UnixTime::from(self.clock.now());
        let answer = self.face.answer(
            question,
            answer,
            keys.server.as_ref().map(|server| &server.holder),
            now,
        );
        (question.reply.clone(), answer.into())
    }
}

/// Takes out of a question what is to be signed, if that is what is asked.
fn submission(question: &mut Question) -> Option<Submission> {
    let Asked::Sign(sign) = &mut question.asked else {
        return None;
    };
    let sign = std::mem::take(sign);
    Some(Submission {
        token: sign.token.expose().to_owned(),
        request: sign.request.into(),
        signature: Some(sign.signature).filter(|signature| !signature.is_empty()),
        via: Via::Rpc,
        peer: question.sender.clone(),
    })
}

async fn publish(client: &Client, metrics: &Metrics, subject: String, answer: Bytes) {
    if let Err(error) = client.publish(subject, answer).await {
        metrics.dropped(Dropped::Unsent).inc();
        tracing::warn!(error = err_chain(&error), "an answer was not sent");
    }
}
