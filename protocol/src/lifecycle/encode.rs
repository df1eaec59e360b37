use cloudevents::{EventBuilder as _, EventBuilderV10};
use serde::Serialize;
use time::format_description::well_known::Rfc3339;

use super::{Event, EventKind, Refusal, SOURCE};
use crate::json;

/// An event that is no CloudEvent.
#[derive(Debug, thiserror::Error)]
#[error("event is no cloud event")]
pub struct EncodeError {
    source: cloudevents::event::EventBuilderError,
}

impl Event {
    /// Encodes as a CloudEvent in JSON, with the members in the order in which the original writes them.
    #[must_use]
    pub fn to_cloudevent_json(&self) -> Vec<u8> {
        let protocol = self.protocol();
        json::encode(&CloudEvent {
            specversion: "1.0",
            id: &self.id,
            source: SOURCE,
            kind: &protocol,
            subject: &self.identity,
            datacontenttype: "application/json",
            time: self.rfc3339(),
            data: self.data(&protocol),
        })
    }

    /// Encodes in the plain form that old consumers read.
    #[must_use]
    pub fn to_plain_json(&self) -> Vec<u8> {
        json::encode(&self.data(&self.protocol()))
    }

    /// Converts to the type of the CloudEvents library.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] when an attribute cannot stand in a CloudEvent.
    pub fn to_cloudevent(&self) -> Result<cloudevents::Event, EncodeError> {
        let protocol = self.protocol();
        let data = serde_json::to_value(self.data(&protocol)).unwrap_or_default();
        let mut builder = EventBuilderV10::new()
            .id(&self.id)
            .source(SOURCE)
            .ty(&protocol)
            .data("application/json", data);
        if !self.identity.is_empty() {
            builder = builder.subject(&self.identity);
        }
        if let Some(time) = self.rfc3339() {
            builder = builder.time(time);
        }
        builder.build().map_err(|source| EncodeError { source })
    }

    fn rfc3339(&self) -> Option<String> {
        self.time().and_then(|time| time.format(&Rfc3339).ok())
    }

    fn data<'a>(&'a self, protocol: &'a str) -> Plain<'a> {
        let extra = match &self.kind {
            EventKind::Startup { version } | EventKind::Alive { version } => {
                Extra::Version { version }
            }
            EventKind::Shutdown | EventKind::Provisioned => Extra::None {},
            EventKind::Upgraded {
                version,
                new_version,
            } => Extra::Upgraded {
                version,
                new_version,
            },
            EventKind::Governor {
                governor,
                sequence,
                stage,
            } => Extra::Governor {
                governor,
                sequence: *sequence,
                event_type: stage,
            },
            EventKind::Refused(refusal) => Extra::Refused(refusal),
        };
        Plain {
            protocol,
            id: &self.id,
            identity: &self.identity,
            component: &self.component,
            timestamp: self.timestamp,
            extra,
        }
    }
}

#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    id: &'a str,
    source: &'static str,
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    subject: &'a str,
    datacontenttype: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    data: Plain<'a>,
}

#[derive(Serialize)]
struct Plain<'a> {
    protocol: &'a str,
    id: &'a str,
    identity: &'a str,
    component: &'a str,
    timestamp: i64,
    #[serde(flatten)]
    extra: Extra<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Extra<'a> {
    None {},
    Version {
        version: &'a str,
    },
    Upgraded {
        version: &'a str,
        new_version: &'a str,
    },
    Governor {
        governor: &'a str,
        sequence: u64,
        event_type: &'a str,
    },
    Refused(&'a Refusal),
}
