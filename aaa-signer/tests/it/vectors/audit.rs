//! Records as the original writes and publishes them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use overlay_aaa_signer::audit::{Entry, OriginalForm, Settings};
use overlay_protocol::audit::{Data, Decision, Kind, original_document, original_line};
use overlay_testkit::vectors::{Loader, Outcome, for_cases};
use overlay_testkit::{Broker, eventually};
use serde_json::Value;
use serde_json::value::RawValue;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::audit::{LONG, PERIOD, Writer, client, entry, in_file, in_stream};

/// `aaa/audit-logfile.json`: the record of each line that the original wrote gives the same line.
pub(super) fn logfile(file: &Value, _loader: &Loader) -> Outcome {
    for_cases(file, |case| {
        let expect = &case["expect"];
        if let Some(lines) = expect["lines"].as_array() {
            return runtime().block_on(lines_of(lines));
        }
        if let Some(mode) = expect["mode"].as_str() {
            return runtime().block_on(mode_is(mode));
        }
        if expect["old_file_lines_grew"].is_boolean() {
            return runtime().block_on(follows_a_rename());
        }
        Err(format!("nothing known is expected: {expect}"))
    })
}

/// `aaa/audit-jetstream.json`: the record of each document that the original published gives the same bytes.
pub(super) fn documents(file: &Value, _loader: &Loader) -> Outcome {
    for_cases(file, |case| {
        let expect = &case["expect"];
        if let Some(messages) = expect["messages"].as_array() {
            return messages.iter().try_for_each(document);
        }
        if let Some(count) = expect["stream_messages"].as_u64() {
            return runtime().block_on(stored(count, expect));
        }
        // Rule: where the original signs what is recorded nowhere, we deny.
        if expect["signed"] == true {
            return runtime().block_on(nowhere_is_denied());
        }
        Err(format!("nothing known is expected: {expect}"))
    })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

fn text<'a>(value: &'a Value, member: &str) -> Result<&'a str, String> {
    value[member].as_str().ok_or_else(|| format!("no {member}"))
}

fn decision(text: &str) -> Result<Decision, String> {
    match text {
        "allow" => Ok(Decision::Allow),
        "deny" => Ok(Decision::Deny),
        other => Err(format!("action {other}")),
    }
}

/// The record that a line of the original tells of. Where `%` in a request made it write something else, that is the
/// request.
fn data_of(line: &Value) -> Result<Data, String> {
    let time = OffsetDateTime::parse(text(line, "time")?, &Rfc3339);
    let request = RawValue::from_string(text(line, "msg")?.to_owned());
    Ok(Data {
        callerid: text(line, "caller")?.to_owned(),
        action: Some(decision(text(line, "action")?)?),
        site: text(line, "site")?.to_owned(),
        time: time.map_err(|error| error.to_string())?.unix_timestamp(),
        request: Some(request.map_err(|error| error.to_string())?),
        ..Data::default()
    })
}

fn with_logfile(dir: &Path) -> Settings {
    Settings {
        original: OriginalForm {
            logfile: Some(dir.join("old")),
            topic: None,
        },
        ..in_file(&dir.join("audit"))
    }
}

/// Writes the records, and compares the file with the lines. Rule: where the original writes nothing, it could not read
/// the request; the chain has a record all the same, the copy has no line.
async fn lines_of(lines: &[Value]) -> Result<(), String> {
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    let writer = Writer::ready(with_logfile(dir.path()), None).await;
    let mut expected = String::new();
    for line in lines {
        let text = line.as_str().ok_or("a line is no text")?;
        let parsed: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let data = data_of(&parsed)?;
        expected.push_str(text);
        expected.push('\n');
        let kind = Kind::Signature;
        let stored = writer.audit.record(Entry { kind, data }).await;
        stored.map_err(|error| error.to_string())?;
    }
    let mut unreadable = entry(Decision::Deny);
    unreadable.data.request = None;
    assert!(original_line(&unreadable.data).is_none());
    let stored = writer.audit.record(unreadable).await;
    stored.map_err(|error| error.to_string())?;
    writer.close().await;
    let written = fs::read_to_string(dir.path().join("old")).unwrap_or_default();
    if written == expected {
        Ok(())
    } else {
        Err(format!("wrote {written} instead of {expected}"))
    }
}

async fn mode_is(expected: &str) -> Result<(), String> {
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    let writer = Writer::ready(with_logfile(dir.path()), None).await;
    let stored = writer.record(Decision::Allow).await;
    stored.map_err(|error| error.to_string())?;
    writer.close().await;
    let metadata = fs::metadata(dir.path().join("old")).map_err(|error| error.to_string())?;
    let mode = format!("{:#o}", metadata.permissions().mode() & 0o777);
    if mode == expected {
        Ok(())
    } else {
        Err(format!("mode {mode}"))
    }
}

/// Rule: the original goes on in a file that was renamed; we write a new one under the name that is configured.
async fn follows_a_rename() -> Result<(), String> {
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    let (path, renamed) = (dir.path().join("old"), dir.path().join("old.1"));
    let writer = Writer::ready(with_logfile(dir.path()), None).await;
    for _file in 0..2 {
        let stored = writer.record(Decision::Allow).await;
        stored.map_err(|error| error.to_string())?;
        if !renamed.exists() {
            fs::rename(&path, &renamed).map_err(|error| error.to_string())?;
        }
    }
    writer.close().await;
    let lines = |path: &Path| fs::read_to_string(path).map(|text| text.lines().count());
    match (lines(&renamed), lines(&path)) {
        (Ok(1), Ok(1)) => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

fn document(message: &Value) -> Result<(), String> {
    let theirs = STANDARD
        .decode(text(message, "data_b64")?)
        .map_err(|error| error.to_string())?;
    let data: Data = serde_json::from_slice(&theirs).map_err(|error| error.to_string())?;
    let ours = original_document(&data).ok_or("no document")?;
    if ours != theirs {
        return Err(format!("wrote {}", String::from_utf8_lossy(&ours)));
    }
    let keys: Vec<_> = message["key_order"]
        .as_array()
        .into_iter()
        .flatten()
        .collect();
    if keys.len() == message["data"].as_object().map_or(0, serde_json::Map::len) {
        Ok(())
    } else {
        Err("the document has other members than it is said to have".to_owned())
    }
}

/// A stream on the subject stores the documents, and nothing with them.
async fn stored(count: u64, expect: &Value) -> Result<(), String> {
    let broker = Broker::builder().jetstream().start();
    let client = client(&broker).await;
    let subject = text(expect, "stored_subject")?.to_owned();
    let jetstream = async_nats::jetstream::new(client.clone());
    let config = async_nats::jetstream::stream::Config {
        name: "OLD".to_owned(),
        subjects: vec![subject.clone()],
        ..Default::default()
    };
    let stream = jetstream
        .create_stream(config)
        .await
        .map_err(|error| error.to_string())?;
    let settings = Settings {
        original: OriginalForm {
            logfile: None,
            topic: Some(subject.clone()),
        },
        ..in_stream()
    };
    let writer = Writer::ready(settings, Some(client)).await;
    for _record in 0..count {
        let stored = writer.record(Decision::Allow).await;
        stored.map_err(|error| error.to_string())?;
    }
    eventually(LONG, PERIOD, || async {
        writer.count("overlay_aaa_audit_stored_total", "original_topic") == count
    })
    .await;
    writer.close().await;
    let message = stream
        .get_raw_message(count)
        .await
        .map_err(|error| error.to_string())?;
    let headers = expect["stored_headers"]
        .as_object()
        .map_or(0, serde_json::Map::len);
    if message.subject.as_str() == subject && message.headers.len() == headers {
        Ok(())
    } else {
        Err(format!("{} with {:?}", message.subject, message.headers))
    }
}

async fn nowhere_is_denied() -> Result<(), String> {
    let settings = Settings {
        limit: Duration::from_secs(2),
        ..in_file(Path::new("/dev/full"))
    };
    let writer = Writer::start(settings, None);
    let stored = writer.record(Decision::Allow).await;
    let errors = writer.count("choria_aaa_auditor_errors", "");
    writer.close().await;
    match stored {
        Err(_denied) if errors > 0 => Ok(()),
        Err(_denied) => Err("denied, and not counted".to_owned()),
        Ok(_) => Err("recorded where nothing can be".to_owned()),
    }
}
