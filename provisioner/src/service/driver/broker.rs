//! What is asked of the broker and of all nodes.

use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use overlay_protocol::id::Ksuid;
use tokio::time::Instant;

use super::super::node::{Ask, Due, NodeId, What};
use super::super::wire::scan_subject;
use super::Driver;

/// How long the broker may take for an answer of its own.
const BROKER_LIMIT: Duration = Duration::from_secs(5);
/// Scans of which answers are still taken.
const SCANS: usize = 4;

impl Driver {
    /// Asks all nodes that wait.
    pub(super) async fn scan(&mut self) {
        self.next_scan = Instant::now() + self.interval;
        let id = self.new_id();
        let holder = self.parts.credentials.holder();
        let spoken = self.parts.speaker.scan(&holder, &id, self.now_ns());
        let sent = match spoken {
            Some(spoken) => {
                let subject = scan_subject();
                self.publish(subject, Some(spoken.reply), None, spoken.payload)
                    .await
            }
            None => Err("the instance's name breaks the subject".to_owned()),
        };
        if let Err(problem) = sent {
            tracing::warn!(problem, "no scan");
            self.parts.metrics.scan_failed();
            return;
        }
        tracing::debug!("Looking for provisionable hosts");
        self.parts.metrics.scanned();
        self.asks.insert(
            id,
            Ask {
                what: What::Scan,
                sent: Instant::now(),
            },
        );
        self.scans.push_back(id);
        if self.scans.len() > SCANS
            && let Some(old) = self.scans.pop_front()
        {
            self.asks.remove(&old);
        }
    }

    /// Publishes; the reply subject is where answers go.
    pub(super) async fn publish(
        &self,
        subject: String,
        reply: Option<String>,
        headers: Option<HeaderMap>,
        payload: Bytes,
    ) -> Result<(), String> {
        let client = &self.parts.client;
        let sent = async {
            match (reply, headers) {
                (Some(reply), Some(headers)) => {
                    client
                        .publish_with_reply_and_headers(subject, reply, headers, payload)
                        .await
                }
                (Some(reply), None) => client.publish_with_reply(subject, reply, payload).await,
                (None, Some(headers)) => {
                    client.publish_with_headers(subject, headers, payload).await
                }
                (None, None) => client.publish(subject, payload).await,
            }
        };
        // It waits only while the connection does not take anything.
        match tokio::time::timeout(BROKER_LIMIT, sent).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(overlay_runtime::err_chain(&error)),
            Err(_) => Err("the connection to the broker takes nothing".to_owned()),
        }
    }

    /// Asks the broker something, or writes into a stream; the answer, or its absence, comes as `what`.
    pub(super) async fn ask_broker(
        &mut self,
        subject: String,
        headers: Option<HeaderMap>,
        payload: Bytes,
        what: What,
    ) -> Ksuid {
        let id = self.new_id();
        let reply = format!("{}.{id}", self.inbox);
        let sent = Instant::now();
        self.asks.insert(id, Ask { what, sent });
        let limit = match self.publish(subject, Some(reply), headers, payload).await {
            Ok(()) => BROKER_LIMIT,
            Err(problem) => {
                tracing::debug!(problem, "not sent");
                Duration::ZERO
            }
        };
        self.timers.add(sent + limit, Due::Ask(id));
        id
    }

    /// The same for a node: its questions end with it.
    pub(super) async fn ask_for(
        &mut self,
        node: NodeId,
        subject: String,
        headers: Option<HeaderMap>,
        payload: Bytes,
        what: What,
    ) {
        let ask = self.ask_broker(subject, headers, payload, what).await;
        if let Some(node) = self.nodes.get_mut(&node) {
            node.asks.push(ask);
        }
    }

    pub(super) fn new_id(&self) -> Ksuid {
        let mut random = [0_u8; 16];
        // Without randomness the time alone makes ids: they clash within a second, and are found to.
        if getrandom::fill(&mut random).is_err() {
            let nanos = self.parts.clock.now().duration_since(std::time::UNIX_EPOCH);
            random = nanos.unwrap_or_default().as_nanos().to_be_bytes();
        }
        let seconds = u64::try_from(self.now().secs).unwrap_or_default();
        Ksuid::from_parts(seconds, random).unwrap_or_else(|_time| {
            let mut bytes = [0_u8; 20];
            for (to, from) in bytes.iter_mut().zip(random) {
                *to = from;
            }
            Ksuid::from_bytes(bytes)
        })
    }
}
