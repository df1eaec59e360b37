//! `rpc/agents.json`, `rpc/agents-provisioning.json`: live requests and replies.

use overlay_protocol::envelope::v2::{Reply, Request, SecureReply, SecureRequest, Transport};
use overlay_protocol::rpc::ddl::{Action, builtin};
use overlay_protocol::rpc::{DISCOVERY_PONG, RpcReply, RpcRequest, StatusCode};
use overlay_testkit::vectors::{Loader, Outcome, for_cases};
use serde_json::{Map, Value};

use super::{bytes, fault, limits, same, text};

pub(crate) fn agents(file: &Value, _loader: &Loader) -> Outcome {
    for_cases(file, |case| {
        let request = request_of(case)?;
        let replies = case
            .pointer("/expect/replies")
            .and_then(Value::as_array)
            .ok_or("no replies")?;
        for reply in replies {
            check_reply(&request, reply)?;
        }
        Ok(())
    })
}

fn request_of(case: &Value) -> Result<Request, String> {
    let transport = Transport::decode(&bytes(case, "/transport_b64")?, &limits())
        .map_err(fault("transport"))?;
    let secure =
        SecureRequest::decode(&transport.data, &limits()).map_err(fault("secure request"))?;
    let request = Request::decode(&secure.request, &limits()).map_err(fault("request"))?;
    same(
        "request payload",
        &request.message,
        &bytes(case, "/request_payload_b64")?,
    )?;
    if request.agent != "discovery" {
        let body =
            RpcRequest::decode(&request.payload(), &limits()).map_err(fault("rpc request"))?;
        same("agent", &body.agent, &request.agent)?;
    }
    Ok(request)
}

fn check_reply(request: &Request, expect: &Value) -> Result<(), String> {
    let transport = Transport::decode(&bytes(expect, "/transport_b64")?, &limits())
        .map_err(fault("transport"))?;
    same(
        "sender",
        &transport.sender.as_deref(),
        &Some(text(expect, "/sender")?),
    )?;
    let secure = SecureReply::decode(&transport.data, &limits()).map_err(fault("secure reply"))?;
    let encoded = secure.encode();
    same("secure reply", &encoded, &transport.data)?;
    let reply = Reply::decode(&secure.reply, &limits()).map_err(fault("reply"))?;
    same("reply bytes", &reply.encode(), &secure.reply)?;
    same("payload", &reply.message, &bytes(expect, "/payload_b64")?)?;
    same(
        "request",
        &reply.request.as_str(),
        &text(expect, "/request")?,
    )?;
    same("request id", &reply.request, &request.id)?;
    same("sender", &reply.sender.as_str(), &text(expect, "/sender")?)?;
    same("agent", &reply.agent.as_str(), &text(expect, "/agent")?)?;
    same(
        "time",
        &reply.time_ns.to_string().as_str(),
        &text(expect, "/time_ns")?,
    )?;
    let Some(payload) = expect.get("payload") else {
        return same("discovery", &reply.message.as_slice(), &DISCOVERY_PONG);
    };
    let body = RpcReply::decode(&reply.message, &limits()).map_err(fault("rpc reply"))?;
    same(
        "body",
        &serde_json::from_slice::<Value>(&body.encode()).map_err(fault("rpc reply"))?,
        payload,
    )?;

    let action = builtin(&reply.agent).and_then(|ddl| ddl.action(&body.action));
    match (action, body.data.as_object()) {
        (Some(action), Some(data)) => check_outputs(action, body.statuscode, data),
        _ => Ok(()),
    }
}

/// Outputs must be declared and of their type; of what was not done only the names are looked at, since the original
/// fills in nulls, and an action without declared outputs may say anything.
fn check_outputs(
    action: &Action,
    status: StatusCode,
    data: &Map<String, Value>,
) -> Result<(), String> {
    if action.output.is_empty() {
        return Ok(());
    }
    for (name, value) in data {
        let Some(output) = action.output.get(name) else {
            return Err(format!(
                "output {name} of {} is not declared",
                action.action
            ));
        };
        let right = match output.kind.as_str() {
            "string" => value.is_string(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            "array" => value.is_array(),
            "hash" => value.is_object(),
            "" => true,
            other => return Err(format!("unknown type {other}")),
        };
        if status == StatusCode::Ok && !right {
            return Err(format!(
                "output {name} of {} is no {}: {value}",
                action.action, output.kind
            ));
        }
    }
    Ok(())
}
