//! Paths of the original, asked of the real program on both of its listeners.
//!
//! Rules by which we differ, each a predicate over the data, are the functions at the end.

use overlay_testkit::vectors::{Loader, Outcome, for_cases};
use serde_json::Value;

use super::keys::text;
use crate::cell::{Parts, Service};
use crate::wire::{self, Answer};

/// `http-paths.json`: without signer and login, since it is about paths.
pub(super) fn paths(file: &Value, _loader: &Loader) -> Outcome {
    let parts = Parts::new();
    let service = parts.start_alone("");
    for_cases(file, |case| {
        if let Some(kept) = case["expect"].get("connection_header") {
            return connections(&service, kept);
        }
        let (method, path) = (text(case, "method")?, text(case, "path")?);
        let port = match text(case, "listener")? {
            "service" => service.http,
            "monitor" => service.admin,
            other => return Err(format!("no listener {other}")),
        };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        );
        let answer = wire::ask(port, request.as_bytes());
        compare(case, &answer)
    })
}

fn compare(case: &Value, answer: &Answer) -> Result<(), String> {
    let expect = &case["expect"];
    let status = expected_status(case)?;
    if answer.status != status {
        return Err(format!("status {} and not {status}", answer.status));
    }
    if status != expect["status"].as_u64().unwrap_or_default() || is_of_monitor(case) {
        return Ok(());
    }
    let content_type = answer.header("content-type").unwrap_or_default();
    if expect["content_type"] != content_type {
        return Err(format!("content type {content_type}"));
    }
    if let Some(allow) = expect.get("allow")
        && answer.header("allow") != allow.as_str()
    {
        return Err(format!("allow {:?}", answer.header("allow")));
    }
    if let Some(body) = expect.get("body").and_then(Value::as_str)
        && answer.text() != body
    {
        return Err(format!("body {}", answer.text()));
    }
    Ok(())
}

/// A connection that the client wants to keep: the original closes it, and we keep it.
fn connections(service: &Service, original: &Value) -> Result<(), String> {
    if original != "close" {
        return Err(format!("the original has {original}"));
    }
    let request = b"GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n";
    let answers = wire::ask_twice(service.http, request);
    match answers.map(|answer| answer.status) {
        [404, 404] => Ok(()),
        other => Err(format!("statuses {other:?}")),
    }
}

fn expected_status(case: &Value) -> Result<u64, String> {
    let (method, path) = (text(case, "method")?, text(case, "path")?);
    let path = path.split('?').next().unwrap_or_default();
    if is_of_monitor(case) {
        return Ok(monitor_status(method, path));
    }
    if is_health(path) {
        return Ok(200);
    }
    if is_document_of_the_original(path) {
        return Ok(404);
    }
    case["expect"]["status"]
        .as_u64()
        .ok_or_else(|| "no status".to_owned())
}

/// Whether a case is about the listener with the figures, which is the admin listener here: only its statuses are compared.
fn is_of_monitor(case: &Value) -> bool {
    case["listener"] == "monitor"
}

/// Figures are there, for reading only; what showed memory, stacks and the command line to anyone is not.
fn monitor_status(method: &str, path: &str) -> u64 {
    match (method, path) {
        ("GET", "/metrics") => 200,
        (_, "/metrics") => 405,
        _ => 404,
    }
}

/// There is a page for health.
fn is_health(path: &str) -> bool {
    path == "/healthz"
}

/// The description is ours, in its own place and version, and there is no page that loads a program from elsewhere.
fn is_document_of_the_original(path: &str) -> bool {
    matches!(path, "/swagger.json" | "/choria/v1/docs")
}
