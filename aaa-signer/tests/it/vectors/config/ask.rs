//! What a service answers that started on such a file: one login, and requests to sign.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use overlay_protocol::signing::login::password_text;
use overlay_testkit::mint;
use overlay_tokens::claims::ClientClaims;
use overlay_tokens::{Issuers, Unverified};
use serde_json::{Value, json};

use super::super::keys::{Keys, text};
use crate::caller::request;
use crate::cell::post;

/// Who logs in.
const USER: &str = "bob";

/// How a request to sign is signed by its holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signature {
    Good,
    Absent,
    Wrong,
}

/// Logs in, and compares the answer with the recorded one, and the token with the configuration.
pub(super) fn login(case: &Value, keys: &Keys, users: &Value, port: u16) -> Result<(), String> {
    let expected = &case["expect"]["login"];
    if expected.is_null() {
        return Ok(());
    }
    let password = text(&users["cases"][0]["clear_passwords"], USER)?;
    let key = keys.key(USER)?;
    let timestamp = mint::now().secs.to_string();
    let signed = password_text(&timestamp, USER, password);
    let login = json!({
        "username": USER,
        "password": password,
        "timestamp": timestamp,
        "public_key": key.public().to_string(),
        "signature": hex::encode(key.sign(signed.as_bytes())),
    });
    let (status, mut body) = json_of(port, "/choria/v1/login", &login)?;
    if let Some(token) = body["token"].as_str() {
        is_as_configured(token, &case["config"], keys)?;
        // The recorded one is left out.
        body["token"] = json!("...");
    }
    if expected["status"] == status && expected["body"] == body {
        Ok(())
    } else {
        Err(format!("login: {status} {body}, not {expected}"))
    }
}

/// The token is the user's, by the chain issuer of the file, for as long as the file says.
fn is_as_configured(token: &str, config: &Value, keys: &Keys) -> Result<(), String> {
    let issuers =
        Issuers::trusted_signers([keys.key("org")?.public()]).map_err(|error| error.to_string())?;
    let token = Unverified::<ClientClaims>::decode(token)
        .map_err(|error| error.to_string())?
        .verify(&issuers, mint::now())
        .map_err(|error| error.to_string())?;
    let standard = &token.standard;
    let validity = span(&config["userlist_authenticator"]["validity"])?;
    let lives = standard.exp.zip(standard.iat).map(|(exp, iat)| exp - iat);
    if token.callerid == "up=bob"
        && standard.public_key == keys.key(USER)?.public().to_string()
        && lives.and_then(|lives| u64::try_from(lives).ok()) == Some(validity.as_secs())
    {
        Ok(())
    } else {
        Err(format!("a token for {lives:?} s: {:?}", *token))
    }
}

/// Has requests signed: each answer is the one that the configuration asks for, and that to the recorded one the recorded one.
pub(super) fn signatures(case: &Value, keys: &Keys, port: u16) -> Result<(), String> {
    let expected = &case["expect"]["sign"];
    if expected.is_null() {
        return Ok(());
    }
    let recorded = recorded(text(case, "name")?);
    let bytes = request("up=bob", "rpcutil", "ping").encode();
    for token in ["chain", "direct", "service_perm"] {
        for signature in [Signature::Good, Signature::Absent, Signature::Wrong] {
            let signed = match signature {
                Signature::Good => hex::encode(keys.key(USER)?.sign(&bytes)),
                Signature::Absent => String::new(),
                Signature::Wrong => hex::encode(keys.key("alice")?.sign(&bytes)),
            };
            let question = json!({
                "token": keys.user(token)?,
                "request": STANDARD.encode(&bytes),
                "signature": signed,
            });
            let (status, mut body) = json_of(port, "/choria/v1/sign", &question)?;
            let members = body.as_object_mut().ok_or("no object")?;
            let is_signed = members.remove("secure_request").is_some();
            let due = is_due(&case["config"]["basicjwt_signer"], token, signature)?;
            if is_signed != due {
                return Err(format!(
                    "{token}, signature {signature:?}: signed {is_signed}, due {due}: {body}"
                ));
            }
            let is_alike = expected["status"] == status
                && expected["allowed"] == is_signed
                && expected["body"] == body;
            if (token, signature) == recorded
                && !is_alike
                && !is_signed_by_rule(&case["config"], expected)
            {
                return Err(format!("{token}: {status} {body}, not {expected}"));
            }
        }
    }
    Ok(())
}

/// Rule: the file of the organisation's key may end in a line end; the original then denies everything.
fn is_signed_by_rule(config: &Value, expected: &Value) -> bool {
    let certificate = config["basicjwt_signer"]["signing_certificate"].as_str();
    certificate.is_some_and(|path| path.ends_with("/org_nl.public")) && expected["allowed"] == false
}

/// Which token and signature were sent stands in the name of a case alone; else both are in order.
fn recorded(name: &str) -> (&'static str, Signature) {
    let token = if name.contains("permissions.service") {
        "service_perm"
    } else if name.contains("directly issued") {
        "direct"
    } else {
        "chain"
    };
    let signature = if name.contains("no signature") {
        Signature::Absent
    } else if name.contains("wrong signature") {
        Signature::Wrong
    } else {
        Signature::Good
    };
    (token, signature)
}

/// Whether a request is to be signed, by the table of the signer: a wrong signature never counts, none only where tokens
/// are enough, and a token that is good for longer than is allowed needs the permission of a service.
fn is_due(signer: &Value, token: &str, signature: Signature) -> Result<bool, String> {
    let is_proved = match signature {
        Signature::Good => true,
        Signature::Absent => signer["allow_bearer_tokens"] == true,
        Signature::Wrong => false,
    };
    // All tokens here are good for twenty years.
    let is_short = span(&signer["max_validity"])? > Duration::from_secs(20 * 366 * 86_400);
    Ok(is_proved && (is_short || token == "service_perm"))
}

/// The spans of time that stand in these files.
fn span(value: &Value) -> Result<Duration, String> {
    let minutes = match value.as_str() {
        Some("0s") => 0,
        Some("1h") => 60,
        Some("1h30m") => 90,
        Some("200000h") => 200_000 * 60,
        _ => return Err(format!("a span of {value}, which no case had")),
    };
    Ok(Duration::from_secs(minutes * 60))
}

fn json_of(port: u16, path: &str, body: &Value) -> Result<(u16, Value), String> {
    let (status, body) = post(port, path, body.to_string().as_bytes())?;
    let body = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
    Ok((status, body))
}
