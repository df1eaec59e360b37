//! `ingest/events-made.json`, `ingest/events-parsed.json`, `ingest/events-live.json`

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
