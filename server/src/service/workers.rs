//! Runs accepted requests, a bounded number at once.

use std::sync::Arc;

use overlay_runtime::Clock;
use overlay_tokens::UnixTime;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::outbox::Outbox;
use crate::authorise::Accepted;
use crate::dispatch::{Body, Dispatcher};
use crate::identity::Credentials;
use crate::reply::{self, Frame};
use crate::stats::Count;

/// What every worker shares.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) dispatcher: Dispatcher,
    pub(super) outbox: Outbox,
    pub(super) credentials: Option<Arc<Credentials>>,
    pub(super) sign_replies: bool,
    pub(super) clock: Clock,
}

/// Takes requests until the queue is closed and empty, then lets the last ones finish.
pub(super) async fn work(mut queue: mpsc::Receiver<Accepted>, worker: Arc<Worker>, most: usize) {
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            Some(ended) = running.join_next(), if !running.is_empty() => note(ended),
            job = queue.recv(), if running.len() < most => match job {
                Some(accepted) => {
                    running.spawn(Arc::clone(&worker).serve(accepted));
                }
                None => break,
            },
        }
    }
    while let Some(ended) = running.join_next().await {
        note(ended);
    }
}

fn note(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(error = %error, "a worker panicked");
    }
}

impl Worker {
    async fn serve(self: Arc<Self>, accepted: Accepted) {
        let now = UnixTime::from(self.clock.now());
        let Some(body) = self.dispatcher.handle(&accepted, now).await else {
            return;
        };
        let Some(subject) = accepted.reply_to.clone() else {
            let id = &accepted.request.id;
            tracing::debug!(request = id, "the request names no reply subject");
            return;
        };
        let bytes = self.sealed(body, &accepted);
        self.outbox.publish(subject, bytes, Count::Reply).await;
    }

    fn sealed(&self, body: Body, accepted: &Accepted) -> Vec<u8> {
        let request = &accepted.request;
        let node = &self.dispatcher.node;
        let holder = self
            .credentials
            .as_ref()
            .and_then(|credentials| credentials.current())
            .filter(|_| self.sign_replies);
        let server = node.link.connected_server();
        let frame = Frame {
            request: &request.id,
            agent: &request.agent,
            identity: node.identity.as_str(),
            server: server.as_deref().unwrap_or("unknown"),
            federation: accepted.federation.as_ref(),
            time_ns: UnixTime::from(self.clock.now()).as_nanos(),
            signer: holder.as_deref(),
        };
        let most = self.outbox.max_payload();
        let sealed = reply::seal(body.bytes, &frame);
        if sealed.len() <= most {
            return sealed;
        }
        node.stats.add(Count::Oversized);
        tracing::error!(
            request = request.id,
            agent = request.agent,
            action = body.action,
            bytes = sealed.len(),
            most,
            "a reply is too large for the broker, an error goes in its place"
        );
        reply::seal(reply::too_large(&body.action, sealed.len(), most), &frame)
    }
}
