//! `rpc/subjects.json`

use overlay_protocol::id::{AgentName, Collective, Identity, md5_hex};
use overlay_protocol::subject::{self, RequestKind};
use overlay_testkit::vectors::{Loader, Outcome, for_cases};
use serde_json::Value;

use super::same;

pub(crate) fn subjects(file: &Value, _loader: &Loader) -> Outcome {
    for_cases(file, |case| {
        let input = case.get("in").ok_or("no input")?;
        let expect = case.get("expect").ok_or("no expectation")?;
        let field = |name: &str| input.get(name).and_then(Value::as_str);
        match case.get("op").and_then(Value::as_str) {
            Some("node") => single(input, expect, &node(field)),
            Some("agent") => single(input, expect, &broadcast(field, subject::broadcast_agent)),
            Some("service") => single(input, expect, &broadcast(field, subject::broadcast_service)),
            Some("message") => message(input, expect),
            Some("inbox") => {
                let collective = collective(field)?;
                let prefix = subject::inbox_prefix(
                    &collective,
                    &md5_hex(field("caller").ok_or("no caller")?),
                );
                same(
                    "prefix",
                    &Some(prefix.as_str()),
                    &expect.get("prefix").and_then(Value::as_str),
                )
            }
            op => Err(format!("unknown op {op:?}")),
        }
    })
}

/// Compares a subject with the original's, which is made of any texts.
fn single(input: &Value, expect: &Value, ours: &Result<String, String>) -> Result<(), String> {
    let theirs = expect
        .get("subject")
        .and_then(Value::as_str)
        .ok_or("no subject expected")?;
    match ours {
        Ok(ours) => same("subject", &ours.as_str(), &theirs),
        Err(_) if has_bad_name(input) => Ok(()),
        Err(error) => Err(format!("refused: {error}")),
    }
}

/// Tells whether a name breaks the rule that names cannot reach into other subjects.
fn has_bad_name(input: &Value) -> bool {
    let names = ["identity", "host", "collective", "agent"];
    names
        .into_iter()
        .filter_map(|name| Some((name, input.get(name)?.as_str()?)))
        .any(|(name, text)| {
            let tokens = matches!(name, "identity" | "host") || !text.contains('.');
            let odd = |found: char| {
                found.is_whitespace()
                    || found.is_control()
                    || matches!(found, '*' | '>' | '\u{fffd}')
            };
            !tokens
                || text.len() > 255
                || text.chars().any(odd)
                || text.split('.').any(str::is_empty)
        })
}

fn message(input: &Value, expect: &Value) -> Result<(), String> {
    let field = |name: &str| input.get(name).and_then(Value::as_str);
    if let Some(theirs) = expect.get("reply_subject").and_then(Value::as_str) {
        let caller = md5_hex(field("caller").ok_or("no caller")?);
        let id = field("request_id").ok_or("no request id")?;
        same(
            "reply",
            &subject::reply(&collective(field)?, &caller, id).as_str(),
            &theirs,
        )?;
    }
    let ours = request_subject(input);
    match expect.get("subject").and_then(Value::as_str) {
        Some(_) if ours.is_err() && has_bad_name(input) => Ok(()),
        Some(theirs) => {
            same("subject", &ours?.as_str(), &theirs)?;
            let Some(filter) = expect.get("agent_filter").and_then(Value::as_array) else {
                return Ok(());
            };
            let kind: RequestKind = field("type")
                .ok_or("no type")?
                .parse()
                .map_err(|error| format!("{error}"))?;
            same("agent filter", &kind.filters_agent(), &!filter.is_empty())
        }
        None => ours.map_or(Ok(()), |ours| Err(format!("{ours} instead of an error"))),
    }
}

fn request_subject(input: &Value) -> Result<String, String> {
    let field = |name: &str| input.get(name).and_then(Value::as_str);
    let kind: RequestKind = field("type")
        .ok_or("no type")?
        .parse()
        .map_err(|error| format!("{error}"))?;
    if let Some(custom) = field("custom_target") {
        return if subject::is_valid(custom) {
            Ok(custom.to_owned())
        } else {
            Err("bad target".to_owned())
        };
    }
    let hosts = input.get("hosts").and_then(Value::as_array);
    let host = match hosts {
        Some(hosts) => hosts.first().and_then(Value::as_str),
        None if kind == RequestKind::Direct => field("host"),
        None => None,
    };
    let host = host
        .map(Identity::new)
        .transpose()
        .map_err(|error| error.to_string())?;
    let agent =
        AgentName::new(field("agent").ok_or("no agent")?).map_err(|error| error.to_string())?;
    subject::target(kind, &collective(field)?, &agent, host.as_ref())
        .map_err(|error| error.to_string())
}

fn node<'a>(field: impl Fn(&str) -> Option<&'a str>) -> Result<String, String> {
    let identity = Identity::new(field("identity").ok_or("no identity")?)
        .map_err(|error| error.to_string())?;
    Ok(subject::node(&collective(field)?, &identity))
}

fn broadcast<'a>(
    field: impl Fn(&str) -> Option<&'a str>,
    make: fn(&Collective, &AgentName) -> String,
) -> Result<String, String> {
    let agent =
        AgentName::new(field("agent").ok_or("no agent")?).map_err(|error| error.to_string())?;
    Ok(make(&collective(field)?, &agent))
}

fn collective<'a>(field: impl Fn(&str) -> Option<&'a str>) -> Result<Collective, String> {
    Collective::new(field("collective").ok_or("no collective")?).map_err(|error| error.to_string())
}
