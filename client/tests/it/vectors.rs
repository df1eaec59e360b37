//! Replays the vectors that this crate handles.

use overlay_client::signer::Check;
use overlay_protocol::envelope::Limits;
use overlay_protocol::envelope::v2::{Reply, Request, SecureReply, SecureRequest, Transport};
use overlay_protocol::filter::Filter;
use overlay_protocol::rpc::{RpcReply, RpcRequest, StatusCode};
use overlay_protocol::signing::{self, SignReply, SignRequest};
use overlay_testkit::vectors::{self, Handler, Loader, Outcome};
use overlay_tokens::claims::ClientClaims;
use overlay_tokens::{Issuers, Key, PublicKey, UnixTime, Unverified};
use serde_json::Value;

const HANDLERS: &[(&str, Handler)] = &[("aaa/sign-rpc-client.json", exchanges)];

#[test]
fn recorded_exchanges_replay() {
    vectors::replay(
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors"),
        HANDLERS,
    )
    .assert_passed();
}

/// What a client of the original asked a signer of the original, and was answered.
fn exchanges(file: &Value, loader: &Loader) -> Outcome {
    let keys = loader
        .load(file["keys"].as_str().unwrap_or("keys.json"))
        .unwrap();
    vectors::for_cases(file, |case| exchange(case, &keys))
}

fn exchange(case: &Value, keys: &Value) -> Result<(), String> {
    let limits = Limits::default();
    let asked = question(case, &limits)?;
    let expect = &case["expect"];
    let message = base64(&expect["reply_message_b64"])?;
    let transport = Transport::decode(&message, &limits).map_err(text)?;
    same(
        &transport.sender.as_deref(),
        &expect["reply"]["headers"]["sender"].as_str(),
        "sender of the transport",
    )?;
    // Its hash is compared here.
    let secure = SecureReply::decode(&transport.data, &limits).map_err(text)?;
    let reply = Reply::decode(&secure.reply, &limits).map_err(text)?;
    let expected = &expect["reply"]["reply"];
    same(
        &Some(reply.request.as_str()),
        &expected["request"].as_str(),
        "request id",
    )?;
    same(
        &Some(reply.sender.as_str()),
        &expected["sender"].as_str(),
        "sender of the reply",
    )?;
    let body = RpcReply::decode(&reply.message, &limits).map_err(text)?;
    let status = StatusCode::from_wire(expect["reply"]["body"]["statuscode"].as_u64().unwrap_or(9));
    same(&body.statuscode, &status, "status")?;
    same(
        &Some(body.statusmsg.as_str()),
        &expect["reply"]["body"]["statusmsg"].as_str(),
        "words",
    )?;
    let Value::Object(data) = body.data else {
        return Err("the data is no object".to_owned());
    };
    let signed = SignReply::from_data(data).map_err(text)?.secure_request;
    if status != StatusCode::Ok {
        same(
            &body.statusmsg.as_str(),
            &signing::RPC_DENIED,
            "words of a refusal",
        )?;
        return same(&signed.as_str(), &"", "request beside a refusal");
    }
    let issuers = Issuers::new([("choria".to_owned(), public(keys, "org")?)]).map_err(text)?;
    let check = Check {
        submitted: asked.request.as_bytes(),
        token: asked.token.expose(),
        issuers: Some(&issuers),
        now: UnixTime {
            secs: case["now"].as_i64().ok_or("no time")?,
            nanos: 0,
        },
        limits,
    };
    let accepted = check.signed(signed.as_bytes()).map_err(chain)?;
    same(
        &accepted.caller.as_str(),
        &asked.token.expose(),
        "token beside the request",
    )?;
    // Signed once more with the same key, it is the same to the byte.
    let again = seed(keys, "signer")?.sign(&accepted.request);
    same(
        &accepted.signature.as_slice(),
        &again.as_slice(),
        "signature",
    )
}

/// What was asked is what our client asks in its place.
fn question(case: &Value, limits: &Limits) -> Result<SignRequest, String> {
    let message = base64(&case["message_b64"])?;
    let transport = Transport::decode(&message, limits).map_err(text)?;
    let headers = &case["decoded"]["headers"];
    same(
        &transport.reply.as_deref(),
        &headers["reply"].as_str(),
        "reply subject",
    )?;
    let secure = SecureRequest::decode(&transport.data, limits).map_err(text)?;
    same(&secure.is_unsigned(), &true, "outer request goes unsigned")?;
    same(&secure.signer, &None, "outer signer")?;
    let outer = Request::decode(&secure.request, limits).map_err(text)?;
    let expected = &case["decoded"]["request"];
    same(
        &Some(outer.agent.as_str()),
        &expected["agent"].as_str(),
        "agent",
    )?;
    same(&outer.agent.as_str(), &signing::AGENT, "agent")?;
    same(
        &Some(outer.caller.as_str()),
        &expected["caller"].as_str(),
        "caller",
    )?;
    same(&Some(outer.time_ns), &expected["time"].as_i64(), "time")?;
    same(&outer.filter, &Some(Filter::default()), "filter")?;
    let body = RpcRequest::decode(&outer.payload(), limits).map_err(text)?;
    same(&body.action.as_str(), &signing::ACTION, "action")?;
    let asked = SignRequest::from_data(body.data).map_err(text)?;
    same(&asked.token.expose(), &secure.caller.as_str(), "token")?;
    let claims = Unverified::<ClientClaims>::decode(asked.token.expose()).map_err(text)?;
    let key: PublicKey = claims
        .claims_unverified()
        .standard
        .public_key
        .parse()
        .map_err(text)?;
    let signature = unhex(&asked.signature)?;
    same(
        &key.verify(asked.request.as_bytes(), &signature),
        &true,
        "proof of the caller",
    )?;
    Ok(asked)
}

fn member<'a>(keys: &'a Value, name: &str, member: &str) -> Result<&'a str, String> {
    let cases = keys["cases"].as_array().ok_or("no keys")?;
    let key = cases.iter().find(|case| case["name"] == name);
    key.and_then(|key| key[member].as_str())
        .ok_or_else(|| format!("no key {name}"))
}

fn public(keys: &Value, name: &str) -> Result<PublicKey, String> {
    member(keys, name, "public_hex")?.parse().map_err(text)
}

fn seed(keys: &Value, name: &str) -> Result<Key, String> {
    Key::from_seed_text(member(keys, name, "seed_hex")?.as_bytes()).map_err(text)
}

fn base64(value: &Value) -> Result<Vec<u8>, String> {
    use base64::Engine as _;
    let text_of = value.as_str().ok_or("no base64")?;
    base64::engine::general_purpose::STANDARD
        .decode(text_of)
        .map_err(text)
}

fn unhex(digits: &str) -> Result<Vec<u8>, String> {
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| {
            let pair = std::str::from_utf8(pair).map_err(text)?;
            u8::from_str_radix(pair, 16).map_err(text)
        })
        .collect()
}

fn same<T: PartialEq + std::fmt::Debug>(found: &T, expected: &T, what: &str) -> Result<(), String> {
    if found == expected {
        return Ok(());
    }
    Err(format!("{what}: {found:?} instead of {expected:?}"))
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn chain(error: impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
