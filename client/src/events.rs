//! Lifecycle events and refused logins, live.

use async_nats::Subscriber;
use futures_util::StreamExt;
use overlay_protocol::envelope::Limits;
use overlay_protocol::error::DecodeError;
use overlay_protocol::lifecycle::Event;
use overlay_protocol::subject;

use crate::connection::{BrokerError, Connection, Objection};

/// Events as they come.
#[derive(Debug)]
pub struct Events {
    subscriber: Subscriber,
    limits: Limits,
}

/// One message on the events' subjects.
#[derive(Debug)]
pub struct Seen {
    /// The event, or why it is none.
    pub event: Result<Event, DecodeError>,
    /// The message as it came.
    pub bytes: Vec<u8>,
}

impl Events {
    /// Subscribes to all lifecycle events, refused logins among them.
    ///
    /// # Errors
    ///
    /// The broker does not allow it: it takes the permission to view events.
    pub async fn watch(connection: &Connection) -> Result<Self, BrokerError> {
        let subscriber = connection
            .subscribe(subject::LIFECYCLE_EVENTS.to_owned())
            .await?;
        connection.hear_objection(Objection::Subscribe).await?;
        Ok(Self {
            subscriber,
            limits: Limits::default(),
        })
    }

    /// Waits for the next one; None when the connection is closed.
    pub async fn next(&mut self) -> Option<Seen> {
        let message = self.subscriber.next().await?;
        let event = Event::decode(&message.payload, &self.limits);
        Some(Seen {
            event,
            bytes: message.payload.to_vec(),
        })
    }
}
