//! Flows of real nodes and the original: the recorded node answers our provisioner, whose requests must carry the same.

use std::collections::VecDeque;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use overlay_protocol::envelope::v2::{Reply, Request, SecureReply, SecureRequest, Transport};
use overlay_protocol::json::Limits;
use overlay_protocol::rpc::{RpcReply, RpcRequest};
use overlay_provisioner::{Action, Call, CallFault, HelperFault, Policy, Question};
use overlay_testkit::vectors::{self, Loader, Outcome};
use overlay_tokens::claims::{Claims as _, ServerClaims};
use overlay_tokens::{Key, UnixTime, Unverified, sign_possession};
use serde_json::{Map, Value};

use super::machine::{self, Keys, Node, Run, text};

/// A request of the original and the node's reply.
pub(super) struct Exchange {
    pub(super) action: String,
    pub(super) data: Map<String, Value>,
    pub(super) reply: Option<RpcReply>,
    pub(super) at: i64,
}

/// All flows of a file.
pub(super) fn flows(file: &Value, loader: &Loader) -> Outcome {
    let keys = Keys::load(loader);
    vectors::for_cases(file, |case| {
        let keys = keys.as_ref().map_err(Clone::clone)?;
        let stdout = text(&case["helper"]["stdout"])?.to_owned();
        let run = replay(case, keys, &keys.policy(), &mut |_| stdout.clone())?;
        let stdin = json(text(&case["helper"]["stdin"])?)?;
        let asked = run.questions.first().ok_or("the helper was not asked")?;
        same("the helper's input", &json_of(asked)?, &stdin, case)?;
        fleet_sees(case, &run)
    })
}

/// Replays one flow, as often as the original went through it; returns the last run.
pub(super) fn replay(
    case: &Value,
    keys: &Keys,
    policy: &Policy,
    helper: &mut dyn FnMut(usize) -> String,
) -> Result<Run, String> {
    let (identity, exchanges) = exchanges(case)?;
    let restarts = exchanges
        .iter()
        .any(|exchange| exchange.action == "restart");
    let mut node = Recorded {
        key: case.get("node_seed").map(machine::key).transpose()?,
        exchanges: exchanges.into(),
        stdout: String::new(),
        restarts,
        faults: Vec::new(),
        secret: keys.secret.clone(),
    };
    let mut last = Err("nothing was recorded".to_owned());
    for round in 0..10 {
        let Some(first) = node.exchanges.front() else {
            break;
        };
        let now = UnixTime::from_secs(first.at);
        node.stdout = helper(round);
        let left = node.exchanges.len();
        let seed = u8::try_from(round).unwrap_or_default();
        let run = machine::run(keys, policy, &identity, None, &mut node, now, seed)?;
        if let Some(fault) = node.faults.pop() {
            return Err(fault);
        }
        if node.exchanges.len() == left {
            return Err(format!("nothing was asked: {}", run.outcome()));
        }
        last = Ok(run);
    }
    if let Some(exchange) = node.exchanges.front() {
        return Err(format!("{} was never asked", exchange.action));
    }
    let run = last?;
    if run.is_enrolled() != restarts {
        return Err(format!("ended as {}", run.outcome()));
    }
    Ok(run)
}

/// The node of a recording.
struct Recorded {
    key: Option<Key>,
    exchanges: VecDeque<Exchange>,
    stdout: String,
    restarts: bool,
    faults: Vec<String>,
    secret: String,
}

impl Node for Recorded {
    fn answer(&mut self, call: &Call) -> Result<RpcReply, CallFault> {
        // Ours asks for the inventory at the same time as for the token; the order among different actions may differ.
        let at = self
            .exchanges
            .iter()
            .position(|exchange| exchange.action == call.action.name());
        let Some(exchange) = at.and_then(|at| self.exchanges.remove(at)) else {
            self.faults
                .push(format!("{} was asked and is not recorded", call.action));
            return Err(CallFault::NoResponders);
        };
        if let Err(difference) = compare(call, &exchange, &self.secret) {
            self.faults.push(difference);
        }
        let Some(mut reply) = exchange.reply else {
            return Err(CallFault::TimedOut);
        };
        if call.action == Action::Gen25519 && reply.statuscode.as_u8() == 0 {
            let nonce = call.data["nonce"].as_str().unwrap_or_default();
            // The recorded signature is over the recorded nonce: it must verify there, and the same key signs ours.
            let recorded = exchange.data["nonce"].as_str().unwrap_or_default();
            let said = |member: &str| reply.data[member].as_str().unwrap_or_default().to_owned();
            let (public, signature) = (said("public_key"), said("signature"));
            if let Err(error) = overlay_tokens::verify_possession(recorded, &public, &signature) {
                self.faults.push(format!("the recorded proof: {error}"));
            }
            // Of a node that made several keys only the last seed is left: that key signs in each round.
            let key = self.key.clone().unwrap_or_else(|| Key::from_seed([1; 32]));
            reply.data["public_key"] = key.public().to_string().into();
            match sign_possession(&key, nonce) {
                Ok(signature) => reply.data["signature"] = signature.into(),
                Err(error) => self.faults.push(error.to_string()),
            }
        }
        Ok(reply)
    }

    fn helper(&mut self, _question: &Question) -> Result<String, HelperFault> {
        Ok(self.stdout.clone())
    }

    fn joins(&self) -> bool {
        self.restarts
    }
}

/// Our inputs against those of the original, member by member.
fn compare(call: &Call, exchange: &Exchange, secret: &str) -> Result<(), String> {
    let action = call.action;
    for (name, theirs) in &exchange.data {
        let ours = call.data.get(name).unwrap_or(&Value::Null);
        let fits = match (action, name.as_str()) {
            (_, "nonce") => {
                let form = |value: &Value| {
                    value.as_str().is_some_and(|text| {
                        text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
                    })
                };
                form(ours) == form(theirs)
            }
            (Action::Configure, "server_jwt") => same_token(ours, theirs)?,
            // Fresh keys on both sides: only that one is sent, encrypted, can be compared.
            (Action::Configure, "key") => {
                ours.as_str().is_some_and(str::is_empty)
                    == theirs.as_str().is_some_and(str::is_empty)
                    && ours.as_str().is_some_and(|key| key.contains("ENCRYPTED"))
                        == theirs.as_str().is_some_and(|key| key.contains("ENCRYPTED"))
            }
            (Action::Configure, "ecdh_public") => {
                ours.as_str().map(str::len) == theirs.as_str().map(str::len)
            }
            _ => ours == theirs,
        };
        if !fits {
            return Err(format!(
                "{action}: {name} is {ours}, the original sent {theirs}"
            ));
        }
    }
    for name in call.data.keys() {
        // Rule "a nonce with jwt": ours lets a member prove its old key.
        let extra = action == Action::Jwt && name == "nonce";
        if !(extra || exchange.data.contains_key(name)) {
            return Err(format!("{action}: {name} is sent, the original does not"));
        }
    }
    if action != Action::Inventory && call.data.get("token").and_then(Value::as_str) != Some(secret)
    {
        return Err(format!("{action}: another secret is sent"));
    }
    Ok(())
}

/// Whether two tokens claim the same, but for what is new with each.
fn same_token(ours: &Value, theirs: &Value) -> Result<bool, String> {
    let claims = |token: &Value| {
        let token = text(token)?;
        if token.is_empty() {
            return Ok(Value::Null);
        }
        let token = Unverified::<ServerClaims>::decode(token).map_err(|error| error.to_string())?;
        let mut claims = token.claims_unverified().to_json();
        for fresh in ["jti", "tcs", "public_key", "iat", "nbf", "exp"] {
            claims[fresh].take();
        }
        Ok::<_, String>(claims)
    };
    Ok(claims(ours)? == claims(theirs)?)
}

/// Requests and replies in the order of the requests, decoded from the recorded bytes.
pub(super) fn exchanges(case: &Value) -> Result<(String, Vec<Exchange>), String> {
    let limits = Limits::default();
    let empty = Vec::new();
    let messages = case["messages"].as_array().unwrap_or(&empty);
    let mut identity = None;
    let mut exchanges: Vec<(String, Exchange)> = Vec::new();
    for message in messages {
        let subject = text(&message["subject"])?;
        let bytes = STANDARD
            .decode(text(&message["payload_b64"])?)
            .map_err(|error| error.to_string())?;
        let shown = |error: &dyn std::fmt::Display| format!("{subject}: {error}");
        if let Some(name) = subject.strip_prefix("provisioning.node.") {
            identity.get_or_insert(name.to_owned());
            let transport = Transport::decode(&bytes, &limits).map_err(|e| shown(&e))?;
            let secure = SecureRequest::decode(&transport.data, &limits).map_err(|e| shown(&e))?;
            let request = Request::decode(&secure.request, &limits).map_err(|e| shown(&e))?;
            let payload = request.payload();
            let rpc = RpcRequest::decode(&payload, &limits).map_err(|e| shown(&e))?;
            let at = message["time"].as_f64().unwrap_or_default().floor();
            let exchange = Exchange {
                action: rpc.action,
                data: rpc.data,
                reply: None,
                at: format!("{at:.0}").parse().unwrap_or_default(),
            };
            exchanges.push((request.id, exchange));
        } else if subject.starts_with("provisioning.reply.") {
            let transport = Transport::decode(&bytes, &limits).map_err(|e| shown(&e))?;
            let secure = SecureReply::decode(&transport.data, &limits).map_err(|e| shown(&e))?;
            let reply = Reply::decode(&secure.reply, &limits).map_err(|e| shown(&e))?;
            if let Some((_, exchange)) = exchanges.iter_mut().find(|(id, _)| *id == reply.request) {
                let rpc = RpcReply::decode(&reply.message, &limits).map_err(|e| shown(&e))?;
                exchange.reply = Some(rpc);
            }
        }
    }
    let identity = identity.ok_or("no request to a node is recorded")?;
    let exchanges = exchanges
        .into_iter()
        .map(|(_, exchange)| exchange)
        .collect();
    Ok((identity, exchanges))
}

/// The events of the node that the fleet sees are those that the original let through.
fn fleet_sees(case: &Value, run: &Run) -> Result<(), String> {
    let Some(events) = case["events_in_account_choria"].as_array() else {
        return Ok(());
    };
    let seen: Vec<_> = events
        .iter()
        .filter_map(|event| {
            let rest = event["subject"]
                .as_str()?
                .strip_prefix("choria.lifecycle.event.")?;
            rest.strip_suffix(".provision_mode_server")
        })
        .collect();
    if run.vetted == seen {
        Ok(())
    } else {
        Err(format!("the fleet sees {:?}, it saw {seen:?}", run.vetted))
    }
}

/// The helper's input, where signatures differ as the nonces do.
fn same(what: &str, ours: &Value, theirs: &Value, case: &Value) -> Result<(), String> {
    let without = |value: &Value| {
        let mut value = value.clone();
        if value["ed25519_pubkey"].is_object() {
            value["ed25519_pubkey"]["signature"].take();
            // The seed that is left is that of the last round, whose key the helper may not have seen.
            let known = machine::key(&case["node_seed"]).map(|key| key.public().to_string());
            if known.ok().as_deref() != theirs["ed25519_pubkey"]["public_key"].as_str() {
                value["ed25519_pubkey"]["public_key"].take();
            }
        }
        value
    };
    if without(ours) == without(theirs) {
        Ok(())
    } else {
        Err(format!("{what} is {ours}, it was {theirs}"))
    }
}

pub(super) fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

pub(super) fn json_of(question: &Question) -> Result<Value, String> {
    serde_json::from_slice(&question.to_json()).map_err(|error| error.to_string())
}
