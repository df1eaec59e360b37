use super::{Event, EventKind, Refusal, SOURCE};
use crate::error::{DecodeError, Layer};
use crate::json::{Limits, Member, Object, json, text};

const MEMBERS: &[Member] = &[
    text("protocol"),
    text("specversion"),
    text("source"),
    json("data"),
    text("data_base64"),
    text("id"),
    text("identity"),
    text("component"),
    json("timestamp"),
    text("version"),
    text("new_version"),
    text("governor"),
    json("sequence"),
    text("event_type"),
];

/// How many CloudEvents may lie inside of each other; more is nobody's intention.
const MAX_WRAPS: usize = 4;

impl Event {
    /// Decodes an event in either form.
    ///
    /// As lenient as the original: of a CloudEvent only version, source and data are looked at, and
    /// most members of the data may be missing or null.
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
    let protocol = object.str("protocol")?;
    if protocol.starts_with(SOURCE) {
        return plain(&object, bytes, protocol);
    }
    if object.str("specversion")? != "1.0" || object.str("source")? != SOURCE {
        return Err(unknown(protocol));
    }
    let Some(wraps) = wraps.checked_sub(1) else {
        return Err(object.bad("data", "too many events inside of each other"));
    };
    if let Some(encoded) = object.optional_text("data_base64")? {
        let data = crate::b64::decode(encoded.as_bytes());
        let data = data.map_err(|error| object.bad("data_base64", error))?;
        return decode(&data, limits, wraps);
    }
    let data = object.raw("data").ok_or_else(|| object.missing("data"))?;
    decode(data.get().as_bytes(), limits, wraps)
}

fn plain(object: &Object<'_>, bytes: &[u8], protocol: &str) -> Result<Event, DecodeError> {
    let Some(type_) = protocol
        .strip_prefix(SOURCE)
        .and_then(|rest| rest.strip_prefix(".v1."))
    else {
        return Err(unknown(protocol));
    };
    let text = |member| object.str(member).map(str::to_owned);
    let kind = match type_ {
        "startup" => EventKind::Startup {
            version: text("version")?,
        },
        "shutdown" => EventKind::Shutdown,
        "alive" => EventKind::Alive {
            version: text("version")?,
        },
        "provisioned" => EventKind::Provisioned,
        "upgraded" => EventKind::Upgraded {
            version: text("version")?,
            new_version: text("new_version")?,
        },
        "governor" => EventKind::Governor {
            governor: object
                .optional_text("governor")?
                .ok_or_else(|| object.missing("governor"))?,
            sequence: object.optional("sequence")?.unwrap_or_default(),
            stage: text("event_type")?,
        },
        "refused" => {
            EventKind::Refused(serde_json::from_slice::<Refusal>(bytes).map_err(|source| {
                DecodeError::Json {
                    layer: Layer::Event,
                    source,
                }
            })?)
        }
        _ => return Err(unknown(protocol)),
    };
    Ok(Event {
        id: text("id")?,
        identity: text("identity")?,
        component: text("component")?,
        timestamp: object.optional("timestamp")?.unwrap_or_default(),
        kind,
    })
}

fn unknown(protocol: &str) -> DecodeError {
    DecodeError::Protocol {
        layer: Layer::Event,
        found: protocol.chars().take(64).collect(),
    }
}
