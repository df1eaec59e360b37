//! Documents, spans, subjects and heartbeats.

use overlay_protocol::replication::{heartbeat_body, heartbeat_headers, heartbeat_time};
use overlay_runtime::config::{self, Loaded};
use overlay_runtime::{Fault, FileConfig as _, Secrets};
use overlay_stream_replicator::compat::{Original, duration};
use overlay_stream_replicator::{Config, Mapping};
use overlay_testkit::vectors::{self, Loader, Outcome};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Faults that we find in a file that the original takes: rules of docs/conformance/stream-replicator.md.
const STRICTER: [&str; 11] = [
    // The original finds these when it makes the worker, or never.
    "is required",
    "is missing",
    "target initiated streams requires no_target_create to not be set",
    // Names that no consumer, subject or header can have.
    "has a space or a control character",
    "has one of",
    "is no place in a subject",
    "is not the address of a broker",
    "is not an address and port",
    // Nothing to do.
    "names nothing to copy",
    "names no broker",
    "is no subject",
];

pub(super) fn documents(file: &Value, _loader: &Loader) -> Outcome {
    vectors::for_cases(file, |case| {
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        let state = dir.path().join("state").display().to_string();
        let filled = |text: &str| text.replace("@STATE@", &state);
        let yaml = filled(case["yaml"].as_str().ok_or("no yaml")?);
        let expect: Value = serde_json::from_str(&filled(&case["expect"].to_string()))
            .map_err(|error| error.to_string())?;
        let read = Original::read(&yaml);
        match expect["verdict"].as_str() {
            Some("panic") => match read {
                Err(faults) if !faults.is_empty() => Ok(()),
                other => Err(format!("not refused: {other:?}")),
            },
            Some("error") => {
                let told = match read {
                    Err(faults) => faults,
                    Ok(original) => whole(&original).err().unwrap_or_default(),
                };
                refused(&told, expect["error"].as_str().unwrap_or_default())
            }
            Some("ok") if is_negative(&expect["derived"]) => match read {
                Err(_) => Ok(()),
                Ok(_) => Err("a span below nothing is taken".to_owned()),
            },
            Some("ok") => {
                let original = read.map_err(|faults| format!("refused: {faults:?}"))?;
                parsed(&original, &expect["parsed"])?;
                derived(&original, &expect["derived"])?;
                // Files that it names are on another machine.
                match checked(&original) {
                    Ok(_) => Ok(()),
                    Err(faults) => stricter(&faults),
                }
            }
            other => Err(format!("unknown verdict {other:?}")),
        }
    })
}

/// All the way to a checked configuration, files looked at.
fn whole(original: &Original) -> Result<Config, Vec<Fault>> {
    let config = checked(original)?;
    match config.inspect(&Secrets::default()) {
        faults if faults.is_empty() => Ok(config),
        faults => Err(faults),
    }
}

fn checked(original: &Original) -> Result<Config, Vec<Fault>> {
    let table = original.table()?;
    let text = toml::to_string(&table).map_err(|e| vec![Fault::new("", e.to_string())])?;
    let Loaded { config, .. } = config::load_text::<Config>(&text)?;
    Ok(config)
}

fn stricter(faults: &[Fault]) -> Result<(), String> {
    let odd = faults
        .iter()
        .find(|fault| !STRICTER.iter().any(|rule| fault.problem().contains(rule)));
    odd.map_or(Ok(()), |fault| Err(format!("refused later: {fault}")))
}

/// The original's words are among ours, except those of its libraries.
fn refused(told: &[Fault], error: &str) -> Result<(), String> {
    if told.is_empty() {
        return Err(format!("taken, the original says {error}"));
    }
    let of_libraries = ["json: ", "yaml: ", "parsing time "];
    if of_libraries.iter().any(|begin| error.starts_with(begin)) {
        return Ok(());
    }
    // Who has nothing to do is refused for that; directories are looked at afterwards.
    let is_idle = told
        .iter()
        .any(|fault| fault.problem().contains("names nothing to copy"));
    if is_idle && error.starts_with("could not create state directory") {
        return Ok(());
    }
    // What is wrong with a span, and what the system says of a directory, is in our own words.
    let ours = match error.split_once(": ") {
        Some((key, rest)) if !rest.starts_with("invalid time unit") => format!("{key}: "),
        _ => error.to_owned(),
    };
    if told.iter().any(|fault| fault.problem().starts_with(&ours)) {
        Ok(())
    } else {
        Err(format!("{error:?} is not in {told:?}"))
    }
}

fn is_negative(derived: &Value) -> bool {
    derived.as_array().into_iter().flatten().any(|stream| {
        let members = stream.as_object().into_iter().flatten();
        members
            .filter(|(key, _)| key.ends_with("_s"))
            .any(|(_, value)| value.as_f64().is_some_and(|value| value < 0.0))
    })
}

fn parsed(original: &Original, theirs: &Value) -> Result<(), String> {
    let ours = serde_json::to_value(original).map_err(|error| error.to_string())?;
    same("", &ours, theirs)
}

/// Nothing is the same as empty, and a time the same as the same time.
fn same(at: &str, ours: &Value, theirs: &Value) -> Result<(), String> {
    match (ours, theirs) {
        (Value::Object(members), Value::Object(other)) => {
            other.iter().try_for_each(|(key, value)| {
                let member = members.get(key).unwrap_or(&Value::Null);
                same(&format!("{at}.{key}"), member, value)
            })
        }
        (Value::Array(values), Value::Array(other)) if values.len() == other.len() => values
            .iter()
            .zip(other)
            .try_for_each(|(value, other)| same(at, value, other)),
        (Value::Number(one), Value::Number(other)) if one.as_f64() == other.as_f64() => Ok(()),
        (Value::String(one), Value::String(other))
            if one == other || moment(one) == moment(other) =>
        {
            Ok(())
        }
        (one, other) if one == other || (is_empty(one) && is_empty(other)) => Ok(()),
        (one, other) => Err(format!("{at} is {one}, the original's is {other}")),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(members) => members.values().all(is_empty),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// A time; none is that of the year 1. Nothing for another text, which equals nothing.
fn moment(text: &str) -> Result<i128, String> {
    if text.is_empty() {
        return moment("0001-01-01T00:00:00Z");
    }
    OffsetDateTime::parse(text, &Rfc3339)
        .map(OffsetDateTime::unix_timestamp_nanos)
        .map_err(|_error| text.to_owned())
}

fn derived(original: &Original, theirs: &Value) -> Result<(), String> {
    let theirs = theirs.as_array().map(Vec::as_slice).unwrap_or_default();
    if original.streams.len() != theirs.len() {
        return Err(format!("{} streams", original.streams.len()));
    }
    for (stream, theirs) in original.streams.iter().zip(theirs) {
        for (key, span) in [
            ("inspect_duration_s", stream.times.inspect),
            ("warn_duration_s", stream.times.warn),
            ("max_age_s", stream.times.max_age),
            ("start_delta_s", stream.times.start_delta),
        ] {
            let seconds = theirs[key].as_f64().ok_or(key)?;
            if (seconds - span.as_secs_f64()).abs() > 1e-6 {
                return Err(format!("{key} is {span:?}, the original's is {seconds}"));
            }
        }
        let ours = serde_json::to_value(stream).map_err(|error| error.to_string())?;
        for key in [
            "name",
            "stream",
            "target_stream",
            "source_tls",
            "target_tls",
            "source_choria",
            "target_choria",
        ] {
            same(key, &ours[key], &theirs[key])?;
        }
        if moment(&stream.start_time) != moment(theirs["start_time"].as_str().unwrap_or_default()) {
            return Err(format!("start_time is {}", stream.start_time));
        }
        // A name with a slash leads the original's file astray, and is refused by us.
        if !stream.name.contains('/') && !original.state_store.is_empty() {
            let file = format!(
                "{}/{}_{}.json",
                original.state_store, stream.stream, stream.name
            );
            same("state_file", &Value::from(file), &theirs["state_file"])?;
        }
    }
    Ok(())
}

pub(super) fn durations(file: &Value, _loader: &Loader) -> Outcome {
    vectors::for_cases(file, |case| {
        let text = case["input"].as_str().ok_or("no input")?;
        let expect = &case["expect"];
        let read = duration(text);
        let known = expect["error"].as_str();
        match (read, expect["nanoseconds"].as_i64(), known) {
            (Ok(span), Some(nanos), _) if i128::from(nanos) == nanos_of(span) && !is_odd(text) => {
                Ok(())
            }
            // Below nothing, or so long that it is counted as below nothing; or no number at all.
            (Err(_), Some(nanos), _) if nanos < 0 || is_odd(text) => Ok(()),
            (Err(error), None, Some(theirs)) => {
                let own = error.to_string();
                let same = own == theirs || !theirs.starts_with("invalid time unit");
                if same { Ok(()) } else { Err(own) }
            }
            (read, _, _) => Err(format!("{read:?}, the original says {expect}")),
        }
    })
}

fn nanos_of(span: std::time::Duration) -> i128 {
    i128::try_from(span.as_nanos()).unwrap_or(i128::MAX)
}

/// Words for numbers that are none.
fn is_odd(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.contains("nan") || text.contains("inf")
}

pub(super) fn mappings(file: &Value, _loader: &Loader) -> Outcome {
    vectors::for_cases(file, |case| {
        let text = |key: &str| case[key].as_str().ok_or(format!("no {key}"));
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let mapping = Mapping {
            prefix: some(text("target_subject_prefix")?),
            remove: some(text("target_subject_remove")?),
        };
        let subject = text("subject")?;
        let theirs = case["expect"]["subject"].as_str().ok_or("no subject")?;
        let ours = mapping.apply(subject);
        if ours != theirs {
            return Err(format!("{ours:?}"));
        }
        // A filter of this subject alone is known to spoil, or not.
        match (mapping.check(&[subject]), is_subject(theirs)) {
            (Ok(()), true) | (Err(_), false) => Ok(()),
            (known, good) => Err(format!("{known:?} though it is a subject: {good}")),
        }
    })
}

fn is_subject(text: &str) -> bool {
    !text.contains(char::is_whitespace)
        && text
            .split('.')
            .all(|token| !token.is_empty() && token != "*" && token != ">")
}

pub(super) fn heartbeats(file: &Value, _loader: &Loader) -> Outcome {
    let yaml = file["heartbeats_yaml"].as_str().unwrap_or_default();
    let beats = Original::read(yaml)
        .and_then(|original| {
            let table = original.table()?;
            let text = toml::to_string(&table).map_err(|e| vec![Fault::new("", e.to_string())])?;
            config::load_text::<Config>(&text)
        })
        .map(|loaded| loaded.config.heartbeats.unwrap().beats);
    vectors::for_cases(file, |case| {
        let beats = beats.as_ref().map_err(|faults| format!("{faults:?}"))?;
        let subject = case["subject"].as_str().ok_or("no subject")?;
        let beat = beats.iter().find(|beat| beat.subject == subject);
        let beat = beat.ok_or("no such beat")?;
        let theirs: Vec<(&str, &str)> = case["headers"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|pair| Some((pair[0].as_str()?, pair[1].as_str()?)))
            .collect();
        let originator = theirs
            .iter()
            .find(|(name, _)| *name == "Choria-SR-Originator");
        let (_, originator) = originator.ok_or("no originator")?;
        let ours = heartbeat_headers(originator, subject, &beat.headers);
        if ours != theirs {
            return Err(format!("headers {ours:?}"));
        }
        let body = case["body"].as_str().ok_or("no body")?;
        let sent = heartbeat_time(body.as_bytes()).ok_or("no time in the body")?;
        let stored = case["stored"].as_str().ok_or("no time")?;
        let stored = OffsetDateTime::parse(stored, &Rfc3339).map_err(|e| e.to_string())?;
        if heartbeat_body(sent) != body || (stored.unix_timestamp() - sent).abs() > 2 {
            return Err(format!("{sent}"));
        }
        Ok(())
    })
}
