use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Event, EventKind, Refusal, SOURCE};
use crate::error::{DecodeError, Layer};
use crate::json::{Limits, Object};

const MEMBERS: &[&str] = &["protocol", "specversion", "source", "data", "data_base64"];

/// How many CloudEvents may lie inside of each other; more is nobody's intention.
const MAX_WRAPS: usize = 4;

impl Event {
    /// Decodes an event in either form.
    ///
    /// As lenient as the original: of a CloudEvent only version, source and data are looked at, and most members of the
    /// data may be missing.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] says which limit or member was broken, or which protocol is not known.
    pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Self, DecodeError> {
        decode(bytes, limits, MAX_WRAPS)
    }
}

fn decode(bytes: &[u8], limits: &Limits, wraps: usize) -> Result<Event, DecodeError> {
    let object = Object::decode(Layer::Event, MEMBERS, bytes, limits)?;
    let protocol: Option<String> = object.optional("protocol")?;
    let protocol = protocol.unwrap_or_default();
    if protocol.starts_with(SOURCE) {
        return plain(bytes, &protocol);
    }
    let specversion: Option<String> = object.optional("specversion")?;
    let source: Option<String> = object.optional("source")?;
    if specversion.as_deref() != Some("1.0") || source.as_deref() != Some(SOURCE) {
        return Err(unknown(&protocol));
    }
    let Some(wraps) = wraps.checked_sub(1) else {
        return Err(object.bad("data", "too many events inside of each other"));
    };
    if let Some(encoded) = object.optional_text("data_base64")? {
        let data = crate::b64::decode(encoded.as_bytes())
            .map_err(|error| object.bad("data_base64", error))?;
        return decode(&data, limits, wraps);
    }
    let data = object.raw("data").ok_or_else(|| object.missing("data"))?;
    decode(data.get().as_bytes(), limits, wraps)
}

fn plain(bytes: &[u8], protocol: &str) -> Result<Event, DecodeError> {
    let Some(type_) = protocol
        .strip_prefix(SOURCE)
        .and_then(|rest| rest.strip_prefix(".v1."))
    else {
        return Err(unknown(protocol));
    };
    let kind = match type_ {
        "startup" => EventKind::Startup {
            version: read::<Versions>(bytes)?.version,
        },
        "shutdown" => EventKind::Shutdown,
        "alive" => EventKind::Alive {
            version: read::<Versions>(bytes)?.version,
        },
        "provisioned" => EventKind::Provisioned,
        "upgraded" => {
            let Versions {
                version,
                new_version,
            } = read(bytes)?;
            EventKind::Upgraded {
                version,
                new_version,
            }
        }
        "governor" => {
            let Slot {
                governor,
                sequence,
                event_type,
            } = read(bytes)?;
            if governor.is_empty() {
                return Err(DecodeError::Missing {
                    layer: Layer::Event,
                    member: "governor",
                });
            }
            EventKind::Governor {
                governor,
                sequence,
                stage: event_type,
            }
        }
        "refused" => EventKind::Refused(read::<Refusal>(bytes)?),
        _ => return Err(unknown(protocol)),
    };
    let Common {
        id,
        identity,
        component,
        timestamp,
    } = read(bytes)?;
    Ok(Event {
        id,
        identity,
        component,
        timestamp,
        kind,
    })
}

fn unknown(protocol: &str) -> DecodeError {
    DecodeError::Protocol {
        layer: Layer::Event,
        found: protocol.chars().take(64).collect(),
    }
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    serde_json::from_slice(bytes).map_err(|source| DecodeError::Json {
        layer: Layer::Event,
        source,
    })
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Common {
    id: String,
    identity: String,
    component: String,
    timestamp: i64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Versions {
    version: String,
    new_version: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Slot {
    governor: String,
    sequence: u64,
    event_type: String,
}
