//! Whole messages to a real node that waits to be enrolled, put to ours.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use overlay_protocol::envelope::Limits;
use overlay_protocol::rpc::RpcReply;
use overlay_runtime::Environment;
use overlay_server::agents::Agents;
use overlay_server::agents::choria_provision::ChoriaProvision;
use overlay_server::authorise::{Receiver, authorise};
use overlay_server::dispatch::{Body, Dispatcher};
use overlay_server::effect::channel;
use overlay_server::link::Link;
use overlay_server::node::Node;
use overlay_server::provisioning::{Applicant, Files, Former, Stance, Ticket};
use overlay_server::replay::Seen;
use overlay_server::{Config, Program};
use overlay_testkit::vectors::{Loader, Outcome, for_cases};
use overlay_tokens::UnixTime;
use serde_json::Value;

use super::{bytes, is_ambiguous, number, opened, text};

/// The longest life of a request to a node that waits.
const MAX_TTL: Duration = Duration::from_secs(3600);

/// Where a node that waits replies to.
const REPLIES: &str = "provisioning.reply.";

pub(super) fn messages(file: &Value, _loader: &Loader) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("provisioning.jwt");
    std::fs::write(&place, file["node_token"].as_str().unwrap_or_default()).unwrap();
    let configuration = dir.path().join("server.conf");
    let ticket = Arc::new(Ticket::read(&place).unwrap());
    // One node heard all of the recording; each message that names one is for it.
    let identity = file["cases"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|case| case["subject"].as_str()?.strip_prefix("provisioning.node."))
        .next()
        .unwrap_or("x1.example.net");
    let config = Config::waiting(
        identity.parse().unwrap(),
        Arc::clone(&ticket),
        &configuration,
    )
    .unwrap();
    let (effects, _orders) = channel();
    let applicant = Applicant::new(
        Stance::Unprovisioned,
        config.identity.clone(),
        ticket,
        Files {
            former: Former::beside(&configuration),
            configuration: configuration.clone(),
        },
        Program::upcoming("server", &[configuration], &Environment::new()),
        effects,
    );
    let mut agents = Agents::builtin();
    agents.add(Arc::new(ChoriaProvision::new(Arc::new(applicant))));
    let link = Arc::new(Link::new(Duration::from_secs(1), None));
    let node = Arc::new(Node::new(&config, agents, link, 0));
    let receiver = Receiver::new(&config);
    let dispatcher = Dispatcher::new(&config, Arc::clone(&node));
    let mut seen = Seen::new(256);
    let mut heard = BTreeSet::new();
    for_cases(file, |case| {
        let message = bytes(case, "request_b64")?;
        let now = UnixTime::from_secs(number(case, "now")?);
        let again = !heard.insert(message.clone());
        let judged = authorise(&message, &receiver, &|| node.view(), &mut seen, now);
        let ambiguous = judged.as_ref().err().is_some_and(is_ambiguous);
        let mut answer: Option<(String, Body)> = None;
        if let Ok(accepted) = judged
            && let Some(body) = runtime.block_on(dispatcher.handle(&accepted, now))
            && let Some(subject) = accepted.reply_to.clone()
        {
            answer = Some((subject, body));
        }
        let expect = &case["expect"];
        let silent = expect["answered"] != true;
        let by_rule = again || ambiguous || left_alone(&message, expect);
        match (answer, silent || by_rule) {
            (None, true) => Ok(()),
            (None, false) => Err("no answer".to_owned()),
            (Some((subject, _)), true) => Err(format!("answered on {subject}")),
            (Some((subject, body)), false) => compare(expect, &subject, &body, &place),
        }
    })
}

/// Rules: the life of a request is bounded, and replies go where provisioners listen.
fn left_alone(message: &[u8], expect: &Value) -> bool {
    let long = opened(message).is_ok_and(|(_, request)| request.ttl > MAX_TTL);
    let elsewhere = expect["reply_subject"]
        .as_str()
        .is_some_and(|subject| !subject.starts_with(REPLIES));
    long || elsewhere
}

fn compare(expect: &Value, subject: &str, body: &Body, file: &Path) -> Result<(), String> {
    if expect["reply_subject"] != *subject {
        return Err(format!("answered on {subject}"));
    }
    let wanted = &expect["reply_message"];
    if let Some(wanted) = wanted.as_str() {
        return if body.bytes == wanted.as_bytes() {
            Ok(())
        } else {
            Err("another answer".to_owned())
        };
    }
    let reply =
        RpcReply::decode(&body.bytes, &Limits::default()).map_err(|error| error.to_string())?;
    let code = reply.statuscode.as_u8();
    if wanted["statuscode"] != code || wanted["action"] != reply.action {
        return Err(format!("{} {code} {}", reply.action, reply.statusmsg));
    }
    // What could not be parsed is told in the words of each one's library.
    let told = text(wanted, "statusmsg")?;
    if code < 3 && told != reply.statusmsg {
        return Err(reply.statusmsg);
    }
    let (wanted, found) = (&wanted["data"], &reply.data);
    let names = |data: &Value| {
        data.as_object()
            .map(|members| members.keys().cloned().collect::<BTreeSet<_>>())
    };
    if names(wanted) != names(found) {
        return Err(format!("data {found}"));
    }
    if wanted["jwt"] == "{the file}" {
        let content = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
        if found["jwt"] != content {
            return Err("not the file".to_owned());
        }
    }
    Ok(())
}
