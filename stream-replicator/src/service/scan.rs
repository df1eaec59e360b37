//! Looks through a part of the target: headers alone, by a consumer that leaves nothing behind; few messages, or where no
//! consumer may be made, one by one.

use std::ops::RangeInclusive;
use std::time::Duration;

use async_nats::{Message, Subscriber};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use overlay_protocol::replication::SOURCE_HEADER;
use serde_json::json;

use super::api::{self, ApiError};
use super::connect::Link;
use super::reader::{self, From};
use crate::config::StreamConfig;
use crate::copy::header::MSG_ID;
use crate::copy::incoming::Delivery;

/// So few messages are asked for one by one.
const FEW: u64 = 64;
/// Whole messages that are under way at once.
const AT_ONCE: usize = 32;
/// Messages of one request to the consumer.
const BATCH: u64 = 8_192;
/// How long the target may be silent.
const SILENCE: Duration = Duration::from_secs(5);
/// The broker forgets a consumer that is done with.
const INACTIVE: Duration = Duration::from_secs(10);
/// So often without a single message in between it is begun anew.
const TRIES: u32 = 3;

/// What a message of the target says of where it comes from.
#[derive(Debug)]
pub(super) struct Seen<'a> {
    pub(super) sequence: u64,
    /// The last mark of a replicator.
    pub(super) mark: Option<&'a str>,
    pub(super) id: Option<&'a str>,
}

/// Shows each message of a part of the target, in order; with `subjects`, those alone as far as that saves anything.
pub(super) async fn scan(
    target: &Link,
    config: &StreamConfig,
    part: RangeInclusive<u64>,
    subjects: &[String],
    mut show: impl FnMut(&Seen<'_>),
) -> Result<(), ApiError> {
    let (mut from, until) = part.into_inner();
    if from > until {
        return Ok(());
    }
    if until - from < FEW {
        return one_by_one(target, config, from..=until, show).await;
    }
    let mut tries = 0;
    loop {
        let before = from;
        let read = by_consumer(target, config, (&mut from, until), subjects, &mut show).await;
        let Err(error) = read else {
            return Ok(());
        };
        tries = if from > before { 1 } else { tries + 1 };
        tracing::debug!(%error, from, until, "looking through the target");
        // What was seen is not looked at again.
        if tries >= TRIES {
            return one_by_one(target, config, from..=until, show).await;
        }
    }
}

async fn by_consumer(
    target: &Link,
    config: &StreamConfig,
    (from, until): (&mut u64, u64),
    subjects: &[String],
    show: &mut impl FnMut(&Seen<'_>),
) -> Result<(), ApiError> {
    let stream = config.target.stream.as_str();
    let name = format!("sr-{:016x}", reader::random());
    let mut wanted = json!({
        "name": name,
        "ack_policy": "none",
        "replay_policy": "instant",
        "mem_storage": true,
        "num_replicas": 1,
        "headers_only": true,
        "inactive_threshold": api::nanos(INACTIVE),
    });
    reader::deliver(&mut wanted, From::Behind(*from - 1));
    reader::filter(&mut wanted, subjects);
    let silent = |error: &dyn std::fmt::Display| ApiError::Silent(error.to_string());
    let made = api::create_consumer(&target.jetstream, stream, &name, &wanted).await?;
    let inbox = target.client.new_inbox();
    let mut messages: Subscriber = target
        .client
        .subscribe(inbox.clone())
        .await
        .map_err(|error| silent(&error))?;
    let prefix = config.target.endpoint.api_prefix.as_deref();
    let next = format!(
        "{}.CONSUMER.MSG.NEXT.{stream}.{name}",
        prefix.unwrap_or("$JS.API")
    );
    let mut pending = made.num_pending;
    let (mut deliveries, mut left) = (0, 0);
    while pending > 0 && *from <= until {
        if left == 0 {
            left = BATCH.min(pending);
            let question = Bytes::from(json!({ "batch": left, "no_wait": true }).to_string());
            let asked = target
                .client
                .publish_with_reply(next.clone(), inbox.clone(), question);
            asked.await.map_err(|error| silent(&error))?;
        }
        let message = match tokio::time::timeout(SILENCE, messages.next()).await {
            Ok(Some(message)) => message,
            Ok(None) => return Err(silent(&"the connection is closed")),
            Err(_elapsed) => return Err(silent(&"the target does not answer")),
        };
        let delivery = message.reply.as_deref().and_then(Delivery::read);
        let Some(delivery) = delivery else {
            let status = message.status.map_or(0, |status| status.as_u16());
            return Err(silent(&format!("the target says {status}")));
        };
        deliveries += 1;
        if delivery.consumer != deliveries {
            return Err(silent(&"a message was left out"));
        }
        (pending, left) = (delivery.pending, left - 1);
        *from = delivery.stream + 1;
        if delivery.stream <= until {
            show(&seen(&message, delivery.stream));
        }
    }
    // The broker would forget it by itself, a little later.
    let gone = api::delete_consumer(&target.jetstream, stream, &name).await;
    if let Err(error) = gone {
        tracing::debug!(%error, "consumer of a look through the target not deleted");
    }
    Ok(())
}

fn seen(message: &Message, sequence: u64) -> Seen<'_> {
    let headers = message.headers.as_ref();
    Seen {
        sequence,
        mark: headers
            .and_then(|headers| headers.get_all(SOURCE_HEADER).last())
            .map(|mark| mark.as_str()),
        id: headers
            .and_then(|headers| headers.get(MSG_ID))
            .map(|id| id.as_str()),
    }
}

async fn one_by_one(
    target: &Link,
    config: &StreamConfig,
    part: RangeInclusive<u64>,
    mut show: impl FnMut(&Seen<'_>),
) -> Result<(), ApiError> {
    let stream = config.target.stream.as_str();
    let mut looks = Box::pin(
        stream::iter(part)
            .map(|sequence| api::message(&target.jetstream, stream, sequence))
            .buffered(AT_ONCE),
    );
    while let Some(message) = looks.next().await {
        if let Some(message) = message? {
            show(&Seen::of(&message));
        }
    }
    Ok(())
}

impl<'a> Seen<'a> {
    pub(super) fn of(message: &'a api::Stored) -> Self {
        Self {
            sequence: message.sequence,
            // A chain's values: the last one is that of who wrote it here.
            mark: message.values(SOURCE_HEADER).next_back(),
            id: message.values(MSG_ID).next(),
        }
    }
}
