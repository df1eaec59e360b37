//! One connection: what the node hears on it.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_nats::{Client, Event, ServerError, Subscriber};
use futures_util::StreamExt;
use futures_util::stream::{SelectAll, select_all};
use overlay_protocol::id::AgentName;
use overlay_protocol::subject;
use overlay_runtime::{CancellationToken, Clock};
use overlay_tokens::UnixTime;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::Instant;

use super::settle::settle;
use super::throttle::Throttle;
use crate::authorise::{Accepted, Receiver, Stage, authorise};
use crate::link::Traffic;
use crate::node::Node;
use crate::replay::Seen;
use crate::stats::Count;

/// Why a connection is no longer held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The node stops.
    Shutdown,
    /// The broker is gone.
    Lost,
}

/// What is kept from one connection to the next.
#[derive(Debug)]
pub(super) struct Session {
    node: Arc<Node>,
    receiver: Receiver,
    seen: Seen,
    jobs: mpsc::Sender<Accepted>,
    clock: Clock,
    complaints: Throttle,
}

impl Session {
    pub(super) fn new(
        node: Arc<Node>,
        receiver: Receiver,
        seen: Seen,
        jobs: mpsc::Sender<Accepted>,
        clock: Clock,
    ) -> Self {
        Self {
            node,
            receiver,
            seen,
            jobs,
            clock,
            complaints: Throttle::default(),
        }
    }

    pub(super) fn node(&self) -> &Node {
        &self.node
    }

    /// Ends the queue; tells how many requests wait in it.
    pub(super) fn close(self) -> usize {
        self.jobs.max_capacity() - self.jobs.capacity()
    }

    pub(super) fn lost(&self) {
        self.node.link.detach();
    }

    /// Subscribes, does `once_heard`, and takes messages until the end of the connection.
    pub(super) async fn hold(
        &mut self,
        client: &Client,
        events: &mut mpsc::Receiver<Event>,
        url: &str,
        shutdown: &CancellationToken,
        once_heard: impl Future<Output = ()>,
    ) -> End {
        let mut messages = match self.subscribe(client).await {
            Ok(messages) => messages,
            Err(error) => {
                tracing::error!(broker = url, error, "could not subscribe");
                return End::Lost;
            }
        };
        let statistics = client.statistics();
        self.node.link.attach(
            url.to_owned(),
            client.server_info().tls_required,
            Box::new(move || Traffic {
                in_messages: statistics.in_messages.load(Ordering::Relaxed),
                in_bytes: statistics.in_bytes.load(Ordering::Relaxed),
                out_messages: statistics.out_messages.load(Ordering::Relaxed),
                out_bytes: statistics.out_bytes.load(Ordering::Relaxed),
            }),
        );
        tracing::info!(broker = url, subscriptions = messages.len(), "connected");
        once_heard.await;
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return End::Shutdown,
                event = events.recv() => match event {
                    Some(event) => self.note(event, client, url).await,
                    None => return End::Lost,
                },
                message = messages.next() => match message {
                    Some(message) => self.take(&message).await,
                    None => return End::Lost,
                },
            }
        }
    }

    async fn subscribe(&self, client: &Client) -> Result<SelectAll<Subscriber>, String> {
        let mut subscribers = Vec::new();
        for subject in self.subjects() {
            let subscriber = client
                .subscribe(subject)
                .await
                .map_err(|error| overlay_runtime::err_chain(&error))?;
            subscribers.push(subscriber);
        }
        if !settle(client, &self.node).await {
            tracing::warn!("the broker did not return a message to the node's own inbox");
        }
        Ok(select_all(subscribers))
    }

    /// One subject an agent and collective, and the node's own in each collective.
    fn subjects(&self) -> Vec<String> {
        let mut subjects = Vec::new();
        for collective in &self.node.collectives {
            for agent in self.node.agent_names() {
                match AgentName::new(agent.as_str()) {
                    Ok(agent) => subjects.push(subject::broadcast_agent(collective, &agent)),
                    Err(error) => {
                        tracing::error!(agent, error = %error, "an agent without a usable name")
                    }
                }
            }
            subjects.push(subject::node(collective, &self.node.identity));
        }
        subjects
    }

    async fn note(&self, event: Event, client: &Client, url: &str) {
        let link = &self.node.link;
        match event {
            // The first one is told before anything was subscribed; `hold` speaks for that.
            Event::Connected if link.connected_server().is_some() => {}
            Event::Connected => {
                let heard = settle(client, &self.node).await;
                tracing::info!(broker = url, heard, "connected again");
                link.reconnected();
            }
            Event::Disconnected => {
                tracing::warn!(broker = url, "the connection is lost");
                link.disconnected();
            }
            Event::LameDuckMode => tracing::info!(broker = url, "the broker is about to stop"),
            Event::SlowConsumer(_) => {
                self.node.stats.add(Count::Dropped);
                tracing::error!("messages came faster than they could be read, one was dropped");
            }
            Event::ServerError(error) => self.server_error(&error, url),
            Event::ClientError(error) => {
                tracing::debug!(broker = url, error = %error, "connection")
            }
            Event::Draining | Event::Closed => {}
        }
    }

    fn server_error(&self, error: &ServerError, url: &str) {
        let text = error.to_string();
        match refused_subject(&text) {
            Some(subject) => {
                tracing::error!(
                    broker = url,
                    subject,
                    "the broker does not let this node hear that subject: it is deaf there"
                );
                self.node.link.refused(subject.to_owned());
            }
            None => tracing::error!(broker = url, error = text, "the broker complains"),
        }
    }

    /// Hands a request to the workers, who get one chance to make room first.
    async fn enqueue(&mut self, accepted: Accepted) {
        let mut sent = self.jobs.try_send(accepted);
        if let Err(TrySendError::Full(waiting)) = sent {
            tokio::task::yield_now().await;
            sent = self.jobs.try_send(waiting);
        }
        match sent {
            Ok(()) => self.node.stats.add(Count::Valid),
            Err(TrySendError::Full(dropped) | TrySendError::Closed(dropped)) => {
                self.node.stats.add(Count::Dropped);
                if let Some(kept_back) = self.complaints.pass(Instant::now()) {
                    tracing::error!(
                        kept_back,
                        request = dropped.request.id,
                        "all workers are busy and the queue is full: the request is dropped"
                    );
                }
            }
        }
    }

    async fn take(&mut self, message: &async_nats::Message) {
        let now = UnixTime::from(self.clock.now());
        let stats = Arc::clone(&self.node.stats);
        stats.add(Count::Total);
        stats.message_at(now.secs);
        let node = Arc::clone(&self.node);
        let view = || node.view();
        let judged =
            guarded(|| authorise(&message.payload, &self.receiver, &view, &mut self.seen, now));
        let Some(judged) = judged else {
            stats.add(Count::Invalid);
            stats.add(Count::Panicked);
            if let Some(kept_back) = self.complaints.pass(Instant::now()) {
                tracing::error!(
                    kept_back,
                    subject = %message.subject,
                    "a message made this node panic, it is refused"
                );
            }
            return;
        };
        match judged {
            Ok(accepted) => {
                stats.add(Count::Passed);
                self.enqueue(accepted).await;
            }
            Err(refused) => {
                if refused.passed() {
                    stats.add(Count::Passed);
                }
                stats.add(refused.count());
                let reason = overlay_runtime::err_chain(&refused);
                if refused.stage() == Stage::Filter || message.payload.is_empty() {
                    // An empty message is how others find out that somebody listens.
                    tracing::debug!(subject = %message.subject, reason, "not for this node");
                } else if let Some(kept_back) = self.complaints.pass(Instant::now()) {
                    tracing::warn!(
                        kept_back,
                        subject = %message.subject,
                        stage = ?refused.stage(),
                        reason,
                        "a message was refused"
                    );
                }
            }
        }
    }
}

/// Judges, or gives nothing after a panic: a fault of ours in one message must not end the node.
fn guarded<T>(judge: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(judge)).ok()
}

/// The subject of a broker's refusal to let a client subscribe.
fn refused_subject(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("ermissions Violation for Subscription to \"")?;
    rest.split_once('"').map(|(subject, _)| subject)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use overlay_testkit::eventually;
    use overlay_tokens::Key;

    use super::*;
    use crate::agents::Agents;
    use crate::config::Config;
    use crate::link::Link;

    fn session() -> Session {
        let organisation = Key::from_seed([7; 32]).public();
        let text = format!(
            "identity = \"n1.example.net\"\ntoken_file = \"/none/server.jwt\"\nseed_file = \"/none/server.seed\"\n\
             [issuers]\nchoria = \"{organisation}\"\n\
             [broker]\nservers = [\"nats://127.0.0.1:4222\"]\ntls = false\n"
        );
        let config = overlay_runtime::config::load_text::<Config>(&text)
            .unwrap()
            .config;
        let link = Arc::new(Link::new(Duration::from_secs(2), None));
        Session::new(
            Arc::new(Node::new(&config, Agents::builtin(), link, 0)),
            Receiver::new(&config),
            Seen::new(16),
            mpsc::channel(1).0,
            Clock::system(),
        )
    }

    #[tokio::test]
    async fn what_is_owed_once_the_node_hears_stays_owed_when_subscribing_fails() {
        let client = async_nats::ConnectOptions::new()
            .retry_on_initial_connect()
            .max_reconnects(1)
            .connect("nats://127.0.0.1:1")
            .await
            .unwrap();
        let limit = Duration::from_secs(20);
        eventually(limit, Duration::from_millis(20), async || {
            client.subscribe("any").await.is_err()
        })
        .await;
        let (_events, mut events) = mpsc::channel(1);
        let mut owed = Some("startup");
        let end = session()
            .hold(
                &client,
                &mut events,
                "nats://127.0.0.1:1",
                &CancellationToken::new(),
                async { owed = None },
            )
            .await;
        assert_eq!(end, End::Lost);
        assert_eq!(owed, Some("startup"));
    }

    #[test]
    fn a_panic_is_the_end_of_one_judgement_only() {
        let none: Option<()> = guarded(|| panic!("a fault of ours"));
        assert_eq!(none, None);
        assert_eq!(guarded(|| 1), Some(1));
    }

    #[test]
    fn a_refusal_names_its_subject() {
        assert_eq!(
            refused_subject("nats: Permissions Violation for Subscription to \"a.b.>\""),
            Some("a.b.>")
        );
        assert_eq!(
            refused_subject("Permissions Violation for Subscription to \"a\" using queue \"b\""),
            Some("a")
        );
        assert_eq!(
            refused_subject("Permissions Violation for Publish to \"a\""),
            None
        );
    }
}
