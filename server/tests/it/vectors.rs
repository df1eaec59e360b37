//! Requests captured from and made by the original, replayed.
//!
//! Where this node differs on purpose the case is told by a rule over its data; the rules are in
//! `docs/conformance/server.md`.

mod fleet;
mod node_agent;
mod node_boot;
mod node_requests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use overlay_protocol::envelope::Limits;
use overlay_protocol::envelope::v2::{Request, SecureRequest, Transport};
use overlay_protocol::id::Collective;
use overlay_protocol::rpc::RpcReply;
use overlay_protocol::{DecodeError, subject};
use overlay_runtime::config::load_text;
use overlay_server::Config;
use overlay_server::agents::Agents;
use overlay_server::agents::data::NAMES;
use overlay_server::authorise::{Accepted, Receiver, Refused, Stage, Trust, authorise};
use overlay_server::dispatch::Dispatcher;
use overlay_server::link::Link;
use overlay_server::node::{Node, View};
use overlay_server::replay::Seen;
use overlay_testkit::vectors::{Loader, Outcome, for_cases, replay};
use overlay_tokens::claims::ClientClaims;
use overlay_tokens::request::{RequestError, RequestPolicy, RequestVerifier};
use overlay_tokens::{Issuers, UnixTime, Unverified};
use serde_json::{Value, json};

/// The longest time to live of the default configuration, in seconds.
const MAX_TTL: u64 = 5 * 3600;

#[test]
fn vectors_are_handled_as_the_original_does_or_a_rule_says() {
    replay(
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors"),
        &[
            ("aaa/fleet-acceptance.json", fleet::requests),
            ("provisioner/node-agent.json", node_agent::requests),
            ("provisioner/node-boot.json", node_boot::starts),
            ("provisioner/node-requests.json", node_requests::messages),
            ("rpc/requests-accepted.json", accepted),
            ("rpc/requests-refused.json", refused),
            ("rpc/server-behaviour.json", behaviour),
        ],
    )
    .assert_passed();
}

fn accepted(file: &Value, _loader: &Loader) -> Outcome {
    for_cases(file, |case| {
        let bytes = bytes(case, "transport_b64")?;
        let verdict = judge(file, case, &bytes)?;
        let expect = &case["expect"];
        match (rule(file, case)?, verdict) {
            (Some((_, stage)), Err(refused)) if refused.stage() == stage => Ok(()),
            (Some((rule, _)), verdict) => Err(format!("rule `{rule}` does not hold: {verdict:?}")),
            (None, Ok(accepted)) => compare(&accepted, expect),
            (None, Err(refused)) if is_ambiguous(&refused) => Ok(()),
            (None, Err(refused)) => Err(format!("refused at {:?}: {refused}", refused.stage())),
        }
    })
}

fn refused(file: &Value, _loader: &Loader) -> Outcome {
    for_cases(file, |case| {
        let verdict = judge(file, case, &bytes(case, "transport_b64")?)?;
        let stage = text(&case["expect"], "stage")?;
        let latest = match stage {
            "transport" => Stage::Transport,
            "secure_request" => Stage::SecureRequest,
            "request" => Stage::Request,
            "filter" => Stage::Filter,
            "message" => Stage::Message,
            "ttl" => Stage::Ttl,
            other => return Err(format!("unknown stage {other}")),
        };
        match verdict {
            Err(refused) if refused.stage() <= latest => Ok(()),
            Err(refused) => Err(format!("refused at {:?} only: {refused}", refused.stage())),
            Ok(_) => Err("accepted".to_owned()),
        }
    })
}

fn judge(file: &Value, case: &Value, bytes: &[u8]) -> Result<Result<Accepted, Refused>, String> {
    let receivers = &file["common"]["receivers"];
    let node = &receivers["node"];
    let receiver = Receiver {
        trust: Trust::Verified(RequestVerifier::new(
            issuers(&receivers[text(case, "receiver")?])?,
            RequestPolicy::default(),
            8,
        )),
        limits: Limits::default(),
        collectives: texts(&node["collectives"])
            .into_iter()
            .map(|name| Collective::new(name).map_err(|error| error.to_string()))
            .collect::<Result<_, _>>()?,
        max_ttl: Duration::from_secs(MAX_TTL),
    };
    let identity = text(node, "identity")?;
    let view = || {
        View::new(
            identity,
            texts(&node["agents"]),
            texts(&node["classes"]),
            node["facts"].clone(),
        )
    };
    let now = UnixTime {
        secs: number(case, "now")?,
        nanos: u32::try_from(number(case, "now_ns")?).map_err(|error| error.to_string())?,
    };
    Ok(authorise(bytes, &receiver, &view, &mut Seen::new(8), now))
}

/// What makes this node refuse a request that the original accepts, and where.
fn rule(file: &Value, case: &Value) -> Result<Option<(&'static str, Stage)>, String> {
    let receiver = &file["common"]["receivers"][text(case, "receiver")?];
    if receiver["disable_security_provider_verify"] == true {
        return Ok(Some((
            "verification is never switched off",
            Stage::SecureRequest,
        )));
    }
    let request = &case["expect"]["request"];
    if request["ttl"].as_u64().is_some_and(|ttl| ttl > MAX_TTL) {
        return Ok(Some(("a request lives for 5 h at most", Stage::Ttl)));
    }
    let signer = request["signer_token"].as_str().unwrap_or_default();
    if !signer.is_empty() {
        let token = text(request, "caller_token")?.trim();
        let claims =
            Unverified::<ClientClaims>::decode(token).map_err(|error| error.to_string())?;
        if request["caller"] != claims.claims_unverified().delegated_callerid() {
            return Ok(Some((
                "a delegated caller is the holder of the caller's token",
                Stage::SecureRequest,
            )));
        }
    }
    Ok(None)
}

/// Rule: a member that stands twice, or is spelt in another letter case, is refused.
fn is_ambiguous(refused: &Refused) -> bool {
    let (Refused::Decode(error) | Refused::Untrusted(RequestError::Request(error))) = refused
    else {
        return false;
    };
    matches!(
        error,
        DecodeError::Duplicate { .. } | DecodeError::Misspelt { .. }
    )
}

fn compare(accepted: &Accepted, expect: &Value) -> Result<(), String> {
    let request = &accepted.request;
    let wanted = &expect["request"];
    let found = json!({
        "payload": STANDARD.encode(&accepted.payload),
        "message": STANDARD.encode(&request.message),
        "reply_to": accepted.reply_to.clone().unwrap_or_default(),
        "agent": request.agent,
        "caller": request.caller,
        "collective": request.collective,
        "id": request.id,
        "sender": request.sender,
        "ttl": request.ttl.as_secs(),
        "time_ns": request.time_ns.to_string(),
        "federated": accepted.federation.is_some(),
        "federation": accepted.federation.as_ref().map(|federation| json!({
            "reply": federation.reply, "request": federation.request, "targets": federation.targets,
        })),
    });
    // The file holds payloads as texts where they are texts, else in base64.
    let same_payload = |member: &Value, bytes: &[u8]| {
        let member = member.as_str().unwrap_or_default();
        member == STANDARD.encode(bytes) || member.as_bytes() == bytes
    };
    let federation = expect.get("federation").cloned().unwrap_or(Value::Null);
    // Rule: what is no subject is no place to reply to.
    let reply_to = expect["reply_to"]
        .as_str()
        .filter(|subject| subject::is_valid(subject))
        .map_or_else(|| json!(""), |subject| json!(subject));
    let pairs = [
        ("reply_to", &reply_to),
        ("agent", &wanted["agent"]),
        ("caller", &wanted["caller"]),
        ("collective", &wanted["collective"]),
        ("id", &wanted["id"]),
        ("sender", &wanted["sender"]),
        ("ttl", &wanted["ttl"]),
        ("time_ns", &wanted["time_ns"]),
        ("federated", &expect["federated"]),
        ("federation", &federation),
    ];
    for (member, wanted) in pairs {
        if &found[member] != wanted {
            return Err(format!("{member} is {}, not {wanted}", found[member]));
        }
    }
    if !same_payload(&wanted["payload_b64"], &request.message) {
        return Err(format!("message {} differs", found["message"]));
    }
    if !same_payload(&expect["agent_payload_b64"], &accepted.payload) {
        return Err(format!("payload {} differs", found["payload"]));
    }
    Ok(())
}

fn behaviour(file: &Value, loader: &Loader) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    for_cases(file, |case| {
        let load = |reference: &str| loader.load(reference).map_err(|error| error.to_string());
        let keys = load(text(&file["common"], "keys")?)?;
        let node = load("agents.json")?["common"]["node"].clone();
        let message = bytes(case, "transport_b64")?;
        let now = UnixTime::from_secs(number(case, "now")?);
        let replies = case["expect"]["replies"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        for identity in identities(case, &replies, &node)? {
            let mut wanted = replies
                .iter()
                .filter(|reply| reply["sender"] == identity)
                .collect::<Vec<_>>();
            let times = wanted.len().max(1);
            if is_left_alone(&message) {
                wanted.clear();
            }
            let found = answers(&keys, &node, &identity, &message, now, times, "");
            check_answers(&identity, &message, &wanted, &runtime.block_on(found)?)?;
        }
        Ok(())
    })
}

/// The nodes that hear the message: the one whose subject it is, all that answered, or the usual one.
fn identities(case: &Value, replies: &[Value], node: &Value) -> Result<BTreeSet<String>, String> {
    let mut identities = replies
        .iter()
        .filter_map(|reply| reply["sender"].as_str().map(str::to_owned))
        .collect::<BTreeSet<_>>();
    if let Some((_, identity)) = text(case, "subject")?.split_once(".node.") {
        identities.insert(identity.to_owned());
    }
    if identities.is_empty() {
        identities.insert(text(node, "identity")?.to_owned());
    }
    Ok(identities)
}

/// What a node answers to a message that comes `times` times; `more` ends its configuration.
async fn answers(
    keys: &Value,
    node: &Value,
    identity: &str,
    message: &[u8],
    now: UnixTime,
    times: usize,
    more: &str,
) -> Result<Vec<Vec<u8>>, String> {
    let org = keys["cases"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|key| key["name"] == "org")
        .and_then(|key| key["public_hex"].as_str())
        .ok_or("no key of the organisation")?;
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    let facts = dir.path().join("facts.json");
    let classes = dir.path().join("classes.txt");
    std::fs::write(&facts, node["facts"].to_string()).map_err(|error| error.to_string())?;
    std::fs::write(&classes, texts(&node["classes"]).join("\n"))
        .map_err(|error| error.to_string())?;
    let config = load_text::<Config>(&format!(
        "identity = \"{identity}\"\ntoken_file = \"x\"\n[issuers]\nchoria = \"{org}\"\n\
         [facts]\nfile = {facts:?}\nclasses_file = {classes:?}\n\
         [broker]\ntls = false\nservers = [\"nats://127.0.0.1:1\"]\n{more}"
    ))
    .map_err(|faults| format!("{faults:?}"))?
    .config;
    let link = Arc::new(Link::new(Duration::from_secs(1), None));
    let node = Arc::new(Node::new(&config, Agents::builtin(), link, now.secs));
    let receiver = Receiver::new(&config);
    let dispatcher = Dispatcher::new(&config, Arc::clone(&node));
    let mut seen = Seen::new(8);
    let mut bodies = Vec::new();
    for _ in 0..times {
        let Ok(accepted) = authorise(message, &receiver, &|| node.view(), &mut seen, now) else {
            continue;
        };
        if let Some(body) = dispatcher.handle(&accepted, now).await
            && accepted.reply_to.is_some()
        {
            bodies.push(body.bytes);
        }
    }
    Ok(bodies)
}

/// Whether this node leaves a message alone that the original acts on, by the rules for requests.
fn is_left_alone(message: &[u8]) -> bool {
    let Ok((secure, request)) = opened(message) else {
        return false;
    };
    let swapped = secure.signer.is_some()
        && Unverified::<ClientClaims>::decode(secure.caller.trim())
            .is_ok_and(|token| token.claims_unverified().delegated_callerid() != request.caller);
    swapped
        || request.ttl > Duration::from_secs(MAX_TTL)
        || Agents::builtin().get(&request.agent).is_none()
}

fn check_answers(
    identity: &str,
    message: &[u8],
    wanted: &[&Value],
    found: &[Vec<u8>],
) -> Result<(), String> {
    // Rule: the same signed bytes are done once.
    let expected = wanted.len().min(1);
    if found.len() != expected {
        return Err(format!(
            "{identity}: {} answers, not {expected}",
            found.len()
        ));
    }
    let (Some(wanted), Some(found)) = (wanted.first(), found.first()) else {
        return Ok(());
    };
    let Some(payload) = wanted.get("payload") else {
        let wanted = bytes(wanted, "payload_b64")?;
        return if wanted == *found {
            Ok(())
        } else {
            Err(format!("{identity}: another answer"))
        };
    };
    let reply = RpcReply::decode(found, &Limits::default()).map_err(|error| error.to_string())?;
    let status = u64::from(reply.statuscode.as_u8());
    if let Some((rule, code)) = changed_status(message)? {
        return if status == code {
            Ok(())
        } else {
            Err(format!(
                "{identity}: rule `{rule}`: status {status}, not {code}"
            ))
        };
    }
    if Some(status) != payload["statuscode"].as_u64() {
        return Err(format!("{identity}: status {status}: {}", reply.statusmsg));
    }
    if status <= 2 && payload["statusmsg"] != reply.statusmsg {
        return Err(format!("{identity}: says {}", reply.statusmsg));
    }
    if payload["action"] != reply.action {
        return Err(format!("{identity}: action {}", reply.action));
    }
    let keys = |data: &Value| {
        data.as_object()
            .map(|map| map.keys().cloned().collect::<BTreeSet<_>>())
    };
    if keys(&payload["data"]) != keys(&reply.data) {
        return Err(format!("{identity}: data {}", reply.data));
    }
    if payload["action"] == "get_fact" && payload["data"] != reply.data {
        return Err(format!("{identity}: data {}", reply.data));
    }
    Ok(())
}

/// What makes this node answer another status than the original.
fn changed_status(message: &[u8]) -> Result<Option<(&'static str, u64)>, String> {
    let (_, request) = opened(message)?;
    let Ok(body) = serde_json::from_slice::<Value>(&request.payload()) else {
        return Ok(None);
    };
    if !matches!(body["data"], Value::Null | Value::Object(_)) {
        return Ok(Some(("inputs are an object", 4)));
    }
    let agent = body["agent"].as_str().unwrap_or_default();
    if !agent.is_empty() && agent != request.agent {
        return Ok(Some(("a body for another agent is not authorised", 1)));
    }
    let source = body["data"]["source"].as_str();
    if body["action"] == "get_data" && source.is_some_and(|source| !NAMES.contains(&source)) {
        return Ok(Some(("there is no such data source", 1)));
    }
    Ok(None)
}

fn opened(message: &[u8]) -> Result<(SecureRequest, Request), String> {
    let limits = Limits::default();
    let text = |error: DecodeError| error.to_string();
    let transport = Transport::decode(message, &limits).map_err(text)?;
    let secure = SecureRequest::decode(&transport.data, &limits).map_err(text)?;
    let request = Request::decode(&secure.request, &limits).map_err(text)?;
    Ok((secure, request))
}

fn issuers(receiver: &Value) -> Result<Issuers, String> {
    let key = |value: &Value| {
        value
            .as_str()
            .ok_or_else(|| "no key".to_owned())?
            .parse()
            .map_err(|error: overlay_tokens::KeyError| error.to_string())
    };
    let made = if let Some(named) = receiver["issuers"].as_object() {
        let keys = named
            .iter()
            .map(|(name, value)| Ok((name.clone(), key(value)?)))
            .collect::<Result<Vec<_>, String>>()?;
        Issuers::new(keys)
    } else {
        let keys = receiver["trusted_signers"]
            .as_array()
            .into_iter()
            .flatten()
            .map(key)
            .collect::<Result<Vec<_>, String>>()?;
        Issuers::trusted_signers(keys)
    };
    made.map_err(|error| error.to_string())
}

fn bytes(value: &Value, member: &str) -> Result<Vec<u8>, String> {
    STANDARD
        .decode(text(value, member)?)
        .map_err(|error| format!("{member}: {error}"))
}

fn text<'a>(value: &'a Value, member: &str) -> Result<&'a str, String> {
    value[member]
        .as_str()
        .ok_or_else(|| format!("no text {member}"))
}

fn number(value: &Value, member: &str) -> Result<i64, String> {
    value[member]
        .as_i64()
        .ok_or_else(|| format!("no number {member}"))
}

fn texts(value: &Value) -> Vec<String> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|item| item.as_str().map(str::to_owned))
        .collect()
}
