//! What the original wrote to helpers, and what helpers answered.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use overlay_provisioner::{Answer, HelperRules, Hidden, NodeKey, Question, SigningRequest};
use overlay_testkit::vectors::{self, Loader, Outcome};
use overlay_tokens::Unverified;
use overlay_tokens::claims::ProvisioningClaims;
use serde_json::Value;

use super::flow::{json, json_of};
use super::machine::{Keys, text};

pub(super) fn exchanges(file: &Value, loader: &Loader) -> Outcome {
    let keys = Keys::load(loader);
    vectors::for_cases(file, |case| {
        let keys = keys.as_ref().map_err(Clone::clone)?;
        let written = json(text(&case["stdin"])?)?;
        let question = question(&written, keys)?;
        // Rule "an unreadable inventory": no helper is ever asked about such a node.
        if question.inventory.is_empty() {
            return Ok(());
        }
        let ours = json_of(&question)?;
        if ours != written {
            return Err(format!("{ours} is written, it was {written}"));
        }
        let members: Vec<_> = ours
            .as_object()
            .map(|o| o.keys().cloned().collect())
            .unwrap_or_default();
        if let Some(wanted) = case["expect"]["stdin_keys"].as_array() {
            let has_all = wanted
                .iter()
                .filter_map(Value::as_str)
                .all(|key| members.iter().any(|member| member == key));
            if !has_all || members.len() != wanted.len() {
                return Err(format!("has the members {members:?}"));
            }
        }
        match case.get("stdout").and_then(Value::as_str) {
            Some(stdout) => answer(stdout),
            None => Ok(()),
        }
    })
}

/// Asks again what was asked, from the parts of it.
fn question(written: &Value, keys: &Keys) -> Result<Question, String> {
    let part = |value: &Value, member: &str| text(&value[member]).map(str::to_owned);
    let csr = part_of(written, "csr")
        .map(|csr| {
            Ok::<_, String>(SigningRequest {
                csr: part(csr, "csr")?,
                public_key: part(csr, "public_key")?,
                ssldir: part(csr, "ssldir")?,
            })
        })
        .transpose()?;
    let key = part_of(written, "ed25519_pubkey")
        .map(|key| {
            Ok::<_, String>(NodeKey {
                public_key: part(key, "public_key")?,
                directory: part(key, "directory")?,
                signature: part(key, "signature")?,
            })
        })
        .transpose()?;
    let rules = HelperRules {
        details: false,
        secrets: true,
    };
    let jwt = part_of(written, "jwt")
        .map(|claims| Ok::<_, String>(Hidden::claims(&token(claims, keys)?, &rules)))
        .transpose()?;
    let inventory = match text(&written["inventory"])? {
        "" => String::new(),
        inventory => overlay_protocol::json::encode_text(&json(inventory)?),
    };
    Ok(Question {
        identity: part(written, "identity")?,
        csr,
        ed25519_pubkey: key,
        inventory,
        jwt,
        overlay: None,
    })
}

/// A member that is there and not `null`.
fn part_of<'a>(written: &'a Value, member: &str) -> Option<&'a Value> {
    written.get(member).filter(|part| !part.is_null())
}

/// A token with these claims, signed by the organisation, as the node would have shown it.
fn token(claims: &Value, keys: &Keys) -> Result<ProvisioningClaims, String> {
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let signed = [
        encode(r#"{"alg":"EdDSA","typ":"JWT"}"#),
        encode(&claims.to_string()),
    ]
    .join(".");
    let signature = URL_SAFE_NO_PAD.encode(keys.org.sign(signed.as_bytes()));
    let token = Unverified::<ProvisioningClaims>::decode(&format!("{signed}.{signature}"))
        .map_err(|error| error.to_string())?;
    Ok(token.claims_unverified().clone())
}

/// What a helper wrote is read, all of it.
fn answer(stdout: &str) -> Result<(), String> {
    let answer = Answer::decode(stdout.as_bytes()).map_err(|error| error.to_string())?;
    let written = json(stdout)?;
    let texts = |member: &str, read: &std::collections::BTreeMap<String, String>| {
        let wanted = written[member].as_object().cloned().unwrap_or_default();
        let same = wanted.len() == read.len()
            && wanted
                .iter()
                .all(|(name, value)| read.get(name).map(String::as_str) == value.as_str());
        if same {
            Ok(())
        } else {
            Err(format!("{member} was not read whole"))
        }
    };
    texts("configuration", &answer.configuration)?;
    texts("action_policies", &answer.action_policies)?;
    texts("opa_policies", &answer.opa_policies)?;
    for (member, read) in [
        ("msg", answer.msg.as_str()),
        ("key", answer.key.expose()),
        ("certificate", &answer.certificate),
        ("ca", &answer.ca),
        ("ssldir", &answer.ssldir),
        ("upgrade", &answer.upgrade),
    ] {
        if written[member].as_str().unwrap_or_default() != read {
            return Err(format!("{member} was not read"));
        }
    }
    for (member, read) in [("defer", answer.defer), ("shutdown", answer.shutdown)] {
        if written[member].as_bool().unwrap_or_default() != read {
            return Err(format!("{member} was not read"));
        }
    }
    if written["server_claims"].is_object() != answer.server_claims.is_some() {
        return Err("server_claims was not read".to_owned());
    }
    Ok(())
}
