//! The reference of metrics: its page is what a service shows that has done everything that metrics tell of.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use overlay_protocol::signing::HttpSignRequest;
use overlay_testkit::http_get;
use overlay_testkit::mint::Login;

use crate::caller::request;
use crate::cell::{Cell, Service, post};

const PAGE: &str = "docs/reference/metrics-aaa-signer.md";

/// What is shown of one metric.
#[derive(Debug, Default)]
struct Metric {
    kind: String,
    help: String,
    labels: BTreeSet<String>,
}

#[test]
fn the_page_of_metrics_has_all_that_the_service_shows_and_nothing_else() {
    let cell = Cell::start();
    let parts = &cell.parts;
    let users = parts.path("users.json");
    fs::write(&users, "[]").unwrap();
    let more = format!(
        "{}[login]\ntoken_file = {:?}\nseed_file = {:?}\n[login.userlist]\nfile = {users:?}\n",
        parts.signer(""),
        parts.path("login.jwt"),
        parts.path("login.seed"),
    );
    let service = cell.service("aaa-1.example.net", &more);
    // What a policy says is counted by its words, of which there are none before.
    sign(&service, &parts.user("up=alice", &["rpcutil.*"]));
    sign(&service, &parts.user("up=bob", &["nodot"]));
    post(service.http, "/choria/v1/login", b"{}").unwrap();
    let (_status, text) = http_get(service.admin, "/metrics").unwrap();
    let page = page(&metrics(&text));
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let kept = fs::read_to_string(root.join(PAGE)).unwrap_or_default();
    assert!(
        kept == page,
        "{PAGE} is not what the service shows; it should be:\n{page}"
    );
}

fn sign(service: &Service, user: &Login) {
    let bytes = request("up=x", "rpcutil", "ping").encode();
    let signature = hex::encode(user.key.sign(&bytes));
    let body = HttpSignRequest::new(user.token.as_str().into(), &bytes, signature);
    let body = serde_json::to_vec(&body).unwrap();
    assert_eq!(
        post(service.http, "/choria/v1/sign", &body).unwrap().0,
        200,
        "an answer, whatever it says"
    );
}

/// Reads Prometheus' text form.
fn metrics(text: &str) -> BTreeMap<String, Metric> {
    let mut metrics: BTreeMap<String, Metric> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            current = name.to_owned();
            metrics.entry(current.clone()).or_default().help = help.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            metrics.entry(name.to_owned()).or_default().kind = kind.to_owned();
        } else if let Some((_name, rest)) = line.split_once('{') {
            let metric = metrics.get_mut(&current).unwrap();
            let (labels, _value) = rest.rsplit_once('}').unwrap();
            let names = labels
                .split("\",")
                .filter_map(|label| label.split_once('='));
            let names = names.map(|(name, _value)| name.to_owned());
            // The bounds of a histogram are its form, not a label that somebody chose.
            metric.labels.extend(names.filter(|name| name != "le"));
        }
    }
    metrics
}

fn page(metrics: &BTreeMap<String, Metric>) -> String {
    let mut page = "# Metrics of overlay-aaa-signer\n\n\
        Shown at `/metrics` of `[admin] listen`, and of `[http]` with `metrics = true`. A test compares this page with what the \
        service shows.\nCounters of outcomes and reasons are there from the start, at 0, so that a rate knows of the first event.\n"
        .to_owned();
    let parts = [
        ("The service", "overlay_aaa_"),
        ("Under the names of Choria's service", "choria_aaa_"),
        ("Of every component", ""),
    ];
    let mut told = BTreeSet::new();
    for (title, prefix) in parts {
        write!(
            page,
            "\n## {title}\n\n| Name | Kind | Labels | Meaning |\n| --- | --- | --- | --- |\n"
        )
        .unwrap();
        for (name, metric) in metrics {
            if !name.starts_with(prefix) || !told.insert(name) {
                continue;
            }
            let labels: Vec<_> = metric
                .labels
                .iter()
                .map(|name| format!("`{name}`"))
                .collect();
            let Metric { kind, help, .. } = metric;
            let labels = labels.join(", ");
            assert!(!help.contains('|'), "{name}");
            writeln!(page, "| `{name}` | {kind} | {labels} | {help} |").unwrap();
        }
    }
    page
}
