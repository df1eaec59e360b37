//! Replies, what the original's client makes of them, and what we must flag.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use overlay_protocol::envelope::Limits;
use overlay_protocol::envelope::v2::{Reply, SecureReply, Transport};
use overlay_testkit::vectors::{Loader, Outcome};
use overlay_tokens::claims::ServerClaims;
use overlay_tokens::request::{ReplyTrust, VerifiedReply, verify_reply};
use overlay_tokens::{Issuers, Unverified, VerifyKey};
use ring::signature::{ED25519, UnparsedPublicKey};
use serde_json::{Value, json};

use super::{now, same, text, with_keys};

pub(super) fn replies(file: &Value, loader: &Loader) -> Outcome {
    with_keys(file, loader, |case, keys| {
        let expect = &case["expect"];
        // Strict validation fails in the original only because its schema names the constant of a request.
        let theirs =
            expect["accepted"].as_bool().ok_or("no verdict")? || case["strict"] == json!(true);
        let org = keys.key(case["issuer"].as_str().unwrap_or("org"))?.public();
        let issuers = Issuers::new([("choria".to_owned(), org)]).map_err(|e| e.to_string())?;
        let bytes = STANDARD
            .decode(text(case, "transport_b64")?)
            .map_err(|e| e.to_string())?;
        let limits = Limits::default();
        let ours = Transport::decode(&bytes, &limits)
            .and_then(|transport| SecureReply::decode(&transport.data, &limits))
            .and_then(|secure| {
                Ok((
                    verify_reply(&secure, &issuers, now(case), &limits, None)?,
                    secure,
                ))
            });
        match ours {
            Ok((reply, secure)) if theirs => {
                if let Some(theirs) = expect.get("reply") {
                    same_reply(&reply.reply, theirs)?;
                }
                flagged(case, &reply, &secure, &VerifyKey::from(org))
            }
            Err(_) if !theirs => Ok(()),
            Ok(_) => Err("accepted, which the original refuses".to_owned()),
            Err(error) => Err(format!("refused, which the original accepts: {error}")),
        }
    })
}

fn same_reply(ours: &Reply, theirs: &Value) -> Result<(), String> {
    same("agent", &ours.agent.as_str(), &text(theirs, "agent")?)?;
    same("request", &ours.request.as_str(), &text(theirs, "request")?)?;
    same("sender", &ours.sender.as_str(), &text(theirs, "sender")?)?;
    same(
        "time",
        &ours.time_ns.to_string().as_str(),
        &text(theirs, "time_ns")?,
    )?;
    same(
        "payload",
        &STANDARD.encode(&ours.message).as_str(),
        &text(theirs, "payload_b64")?,
    )
}

/// The trust that is due, worked out with another implementation of the signature.
fn flagged(
    case: &Value,
    reply: &VerifiedReply,
    secure: &SecureReply,
    org: &VerifyKey,
) -> Result<(), String> {
    let due = match (&secure.signature, &secure.sender) {
        (None, None) => "unsigned",
        (Some(signature), Some(sender)) => {
            let token = Unverified::<ServerClaims>::decode(sender)
                .ok()
                .and_then(|token| token.verify_with_key(org, now(case)).ok());
            let proved = token.is_some_and(|token| {
                let key = hex::decode(&token.standard.public_key).unwrap_or_default();
                UnparsedPublicKey::new(&ED25519, key)
                    .verify(&secure.reply, signature)
                    .is_ok()
                    && token.identity == reply.reply.sender
            });
            if proved { "signed" } else { "bad" }
        }
        _ => "bad",
    };
    let ours = match &reply.trust {
        ReplyTrust::Signed { .. } => "signed",
        ReplyTrust::Unsigned => "unsigned",
        ReplyTrust::Bad(_) => "bad",
    };
    same("trust", &ours, &due)
}
