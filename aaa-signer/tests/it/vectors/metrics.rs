//! The original's metrics: which series an event adds to.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use overlay_testkit::http_get;
use overlay_testkit::vectors::{Loader, Outcome, for_cases};
use serde_json::{Value, json};

use crate::caller::request;
use crate::cell::{Parts, Service, post};

type Series = BTreeMap<String, f64>;

/// What comes before the names that are the signer's; those of logins are looked at with the logins.
const OURS: [&str; 2] = ["choria_aaa_authorizer_", "choria_aaa_signer_"];

pub(super) fn increments(file: &Value, _loader: &Loader) -> Outcome {
    let parts = Parts::new();
    let signer = parts.signer("");
    let service = parts.start_alone_at("paris", &signer);
    for_cases(file, |case| {
        match case["expect"]["increments"].as_object() {
            Some(increments) => {
                let expected = increments
                    .iter()
                    .filter_map(|(name, value)| Some((name.clone(), value.as_f64()?)))
                    .filter(|(name, _)| OURS.iter().any(|prefix| name.starts_with(prefix)))
                    .collect();
                check(expected, &parts, &service)
            }
            None => check_start(&case["expect"], &service),
        }
    })
}

/// The build is told, under the original's name.
fn check_start(expect: &Value, service: &Service) -> Result<(), String> {
    let text = text_of(service)?;
    let recorded = expect["choria_series"].as_array().into_iter().flatten();
    let builds = recorded
        .filter_map(Value::as_str)
        .filter(|name| name.contains("build_info"));
    for name in builds {
        let (name, _labels) = name.split_once('{').unwrap_or((name, ""));
        if !text.contains(&format!("{name}{{site=\"paris\",version=")) {
            return Err(format!("no {name}"));
        }
    }
    Ok(())
}

/// Makes the event that the series tell of, and compares what was added.
fn check(mut expected: Series, parts: &Parts, service: &Service) -> Result<(), String> {
    let names: Vec<_> = expected.keys().cloned().collect();
    let has = |part: &str| names.iter().any(|name| name.contains(part));
    if expected.is_empty() {
        return Ok(());
    }
    let (allowed, denied) = (has("authorizer_allowed"), has("authorizer_denied"));
    let action = names.iter().find_map(|name| label(name, "action"));
    let (agent, action) = match &action {
        Some(action) => action.split_once('.').unwrap_or((action, "")),
        None => ("rpcutil", "ping"),
    };
    let agents: &[&str] = match (allowed, denied, has("authorizer_errors")) {
        (true, _, _) => &["*"],
        (_, true, true) => &["nodot"],
        (_, true, false) => &["other.action"],
        (_, false, _) => &["*"],
    };
    let user = if has("invalid_token") {
        Parts::new().user("up=bob", agents)
    } else {
        parts.user("up=bob", agents)
    };
    let mut asked = request("up=bob", agent, action);
    if allowed && has("signer_denied") {
        // Rule: a request that breaks its form is refused before a policy is asked.
        asked.id = String::new();
        expected.retain(|name, _| !name.contains("authorizer_"));
    }
    let bytes = asked.encode();
    // Denied, and neither token nor policy was the cause: nobody has signed.
    let is_signed = allowed || denied || has("invalid_token");
    let signature = if is_signed {
        hex::encode(user.key.sign(&bytes))
    } else {
        String::new()
    };
    let body = json!({
        "token": user.token, "request": STANDARD.encode(&bytes), "signature": signature,
    });
    let before = series(service)?;
    post(service.http, "/choria/v1/sign", body.to_string().as_bytes())?;
    let mut added = series(service)?;
    for (name, value) in &mut added {
        *value -= before.get(name).copied().unwrap_or_default();
    }
    added.retain(|_, value| value.abs() > f64::EPSILON);
    if added == expected {
        Ok(())
    } else {
        Err(format!("added {added:?}, expected {expected:?}"))
    }
}

fn text_of(service: &Service) -> Result<String, String> {
    let (_status, text) = http_get(service.admin, "/metrics").map_err(|error| error.to_string())?;
    Ok(text)
}

/// The signer's series and their values.
fn series(service: &Service) -> Result<Series, String> {
    let text = text_of(service)?;
    Ok(text
        .lines()
        .filter(|line| OURS.iter().any(|prefix| line.starts_with(prefix)))
        .filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        })
        .collect())
}

/// The value of a label in the name of a series.
fn label(series: &str, name: &str) -> Option<String> {
    let (_, rest) = series.split_once(&format!("{name}=\""))?;
    let mut value = String::new();
    let mut letters = rest.chars();
    loop {
        match letters.next()? {
            '"' => return Some(value),
            '\\' => value.push(match letters.next()? {
                'n' => '\n',
                other => other,
            }),
            other => value.push(other),
        }
    }
}
