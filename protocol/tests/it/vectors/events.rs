//! `ingest/events-made.json`, `ingest/events-parsed.json`, `ingest/events-live.json`, `provisioner/events.json`

use cloudevents::AttributesReader as _;
use overlay_protocol::lifecycle::{Event, EventKind};
use overlay_testkit::vectors::{Loader, Outcome, for_cases};
use serde_json::Value;

use super::{bytes, fault, limits, same, text};

pub(crate) fn made(file: &Value, _loader: &Loader) -> Outcome {
    for_cases(file, |case| {
        let expect = case.get("expect").ok_or("no expectation")?;
        let (plain, cloud) = (
            bytes(expect, "/native_b64")?,
            bytes(expect, "/cloudevent_b64")?,
        );
        let event = Event::decode(&plain, &limits()).map_err(fault("plain"))?;
        same(
            "both forms",
            &Event::decode(&cloud, &limits()).map_err(fault("cloud event"))?,
            &event,
        )?;
        same(
            "plain",
            &String::from_utf8(event.to_plain_json()),
            &String::from_utf8(plain),
        )?;
        same(
            "cloud event",
            &String::from_utf8(event.to_cloudevent_json()),
            &String::from_utf8(cloud),
        )?;
        check_subject(expect, &event)?;
        same("text", &event.to_string().as_str(), &text(expect, "/text")?)
    })
}

pub(crate) fn parsed(file: &Value, _loader: &Loader) -> Outcome {
    for_cases(file, |case| {
        let expect = case.get("expect").ok_or("no expectation")?;
        let document = bytes(case, "/doc_b64")?;
        let decoded = Event::decode(&document, &limits());
        if expect.get("error").is_some() {
            return decoded.map_or(Ok(()), |event| Err(format!("accepted as {event}")));
        }
        let event = match decoded {
            Err(_) if duplicate_or_misspelt(&document) => return Ok(()),
            decoded => decoded.map_err(fault("event"))?,
        };
        same("type", &event.kind.type_name(), &text(expect, "/type")?)?;
        same(
            "identity",
            &event.identity.as_str(),
            &text(expect, "/identity")?,
        )?;
        same(
            "component",
            &event.component.as_str(),
            &text(expect, "/component")?,
        )?;
        // for an id or a time that is not said the original makes up one, and we say that there is none
        if !event.id.is_empty() {
            same("id", &event.id.as_str(), &text(expect, "/id")?)?;
        }
        if event.timestamp != 0 {
            same(
                "timestamp",
                &Some(event.timestamp),
                &expect.get("timestamp").and_then(Value::as_i64),
            )?;
        }
        check_subject(expect, &event)?;
        same("text", &event.to_string().as_str(), &text(expect, "/text")?)
    })
}

pub(crate) fn live(file: &Value, _loader: &Loader) -> Outcome {
    for_cases(file, |case| {
        let expect = case.get("expect").ok_or("no expectation")?;
        let (subject, data) = (text(expect, "/subject")?, bytes(expect, "/data_b64")?);
        if subject.starts_with("choria.lifecycle.") {
            let event = Event::decode(&data, &limits()).map_err(fault("event"))?;
            same("subject", &event.subject().as_deref(), &Some(subject))?;
            let plain: Value =
                serde_json::from_slice(&event.to_plain_json()).map_err(fault("plain"))?;
            let said = expect.get("data").ok_or("no data")?;
            return same("members", &plain, said.get("data").unwrap_or(said));
        }
        // states of autonomous agents are no lifecycle events, but CloudEvents that viewers can show
        let event: cloudevents::Event =
            serde_json::from_slice(&data).map_err(fault("cloud event"))?;
        same(
            "source",
            &event.source().to_string().as_str(),
            &"io.choria.machine",
        )?;
        Event::decode(&data, &limits()).map_or(Ok(()), |event| Err(format!("taken for {event}")))
    })
}

/// What nodes and provisioners published, with its subject: events in either form, and registration data.
pub(crate) fn provisioner(file: &Value, _loader: &Loader) -> Outcome {
    for_cases(file, |case| {
        let (subject, payload) = (text(case, "/subject")?, bytes(case, "/payload_b64")?);
        if !subject.starts_with("choria.lifecycle.event.") {
            same(
                "registration",
                &subject,
                &overlay_protocol::subject::PROVISIONING_REGISTRATION,
            )?;
            return Event::decode(&payload, &limits())
                .map_or(Ok(()), |event| Err(format!("taken for {event}")));
        }
        let event = Event::decode(&payload, &limits()).map_err(fault("event"))?;
        same("subject", &event.subject().as_deref(), &Some(subject))?;
        let whole: Value = serde_json::from_slice(&payload).map_err(fault("json"))?;
        if let Some(decoded) = case.get("decoded") {
            same("decoded", &whole, decoded)?;
        }
        // in the form in which it came, each event is written again as it was
        let data = whole
            .get("data")
            .filter(|_| whole.get("specversion").is_some());
        let ours = match data {
            Some(_) => event.to_cloudevent_json(),
            None => event.to_plain_json(),
        };
        let ours: Value = serde_json::from_slice(&ours).map_err(fault("ours"))?;
        same("members", &ours, &whole)?;
        let data = data.unwrap_or(&whole);
        same(
            "identity",
            &event.identity.as_str(),
            &text(data, "/identity")?,
        )?;
        same(
            "type",
            &event.protocol().as_str(),
            &text(data, "/protocol")?,
        )
    })
}

/// The original puts any component into the subject; we refuse those that break it.
fn check_subject(expect: &Value, event: &Event) -> Result<(), String> {
    let theirs = Some(text(expect, "/subject")?)
        .filter(|subject| overlay_protocol::subject::is_valid(subject));
    same("subject", &event.subject().as_deref(), &theirs)?;
    if let EventKind::Governor { governor, .. } = &event.kind {
        same("governor is named", &governor.is_empty(), &false)?;
    }
    Ok(())
}

/// Tells whether a document breaks the rule that each known member stands there once and in its own letters.
fn duplicate_or_misspelt(document: &[u8]) -> bool {
    use overlay_protocol::DecodeError;
    matches!(
        Event::decode(document, &limits()),
        Err(DecodeError::Duplicate { .. } | DecodeError::Misspelt { .. })
    )
}
