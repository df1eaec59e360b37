//! Signatures over the broker's nonce, alone and as real programs sent them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use overlay_protocol::id::Collective;
use overlay_testkit::vectors::{Loader, Outcome};
use overlay_tokens::claims::{unique_id, unique_id_sha256};
use overlay_tokens::own::{Holder, OwnError};
use overlay_tokens::{Key, Token, UnixTime, sign_nonce, verify_nonce};
use serde_json::Value;

use super::{now, same, text, with_keys};

pub(super) fn nonces(file: &Value, loader: &Loader) -> Outcome {
    with_keys(file, loader, |case, keys| {
        let expect = &case["expect"];
        if let Some(id) = case["id"].as_str() {
            same("md5", &unique_id(id).as_str(), &text(expect, "md5")?)?;
            return same(
                "sha256",
                &unique_id_sha256(id).as_str(),
                &text(expect, "sha256")?,
            );
        }
        let key = keys.key(text(case, "key")?)?;
        if names_another_key(text(case, "token")?, key) {
            let ours = Holder::new(text(case, "token")?, key.clone());
            return same("taken with another key", &ours.is_ok(), &false);
        }
        let holder = match (
            Holder::new(text(case, "token")?, key.clone()),
            expect["error"].as_str(),
        ) {
            (Err(OwnError::Purpose { .. }), Some(theirs)) if theirs.contains("purpose") => {
                return Ok(());
            }
            (Err(_), Some(_)) => return Ok(()),
            (Ok(holder), None) => holder,
            (ours, theirs) => return Err(format!("{ours:?} where the original says {theirs:?}")),
        };
        let collective = Collective::new(text(case, "collective")?).map_err(|e| e.to_string())?;
        same(
            "inbox",
            &holder.inbox_prefix(&collective).as_str(),
            &text(expect, "inbox_prefix")?,
        )?;
        let nonce = text(case, "nonce")?;
        match (
            holder.sign_nonce(nonce, now(case)),
            expect["sign_error"].as_str(),
        ) {
            (Err(OwnError::Expired), Some(theirs)) if theirs.contains("expired") => Ok(()),
            (Err(OwnError::Offer(_)), None) if !is_a_nonce(nonce) => {
                same("verifies", &theirs_verifies(key, nonce, expect)?, &true)
            }
            (Ok(ours), None) if is_a_nonce(nonce) => {
                same(
                    "signature",
                    &ours.as_str(),
                    &text(expect, "sig_on_the_wire")?,
                )?;
                let hex = hex::encode(key.sign(nonce.as_bytes()));
                same("signature", &hex.as_str(), &text(expect, "signature_hex")?)?;
                same(
                    "verifies",
                    &verify_nonce(&key.public(), nonce, &ours).is_ok(),
                    &expect["verifies"].as_bool().unwrap_or_default(),
                )
            }
            (ours, theirs) => Err(format!("{ours:?} where the original says {theirs:?}")),
        }
    })
}

/// The rule that decides what is signed: the original signs every text.
fn is_a_nonce(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=64).contains(&text.len()) && text.bytes().all(plain)
}

/// Whether the original's signature over a text that we do not sign is the key's, and is accepted unless it is over
/// the empty text, which proves nothing fresh.
fn theirs_verifies(key: &Key, nonce: &str, expect: &Value) -> Result<bool, String> {
    let theirs = text(expect, "sig_on_the_wire")?;
    let is_the_keys = URL_SAFE_NO_PAD.encode(key.sign(nonce.as_bytes())) == theirs;
    let is_accepted = verify_nonce(&key.public(), nonce, theirs).is_ok();
    let is_said_good = expect["verifies"].as_bool().unwrap_or_default();
    Ok(is_the_keys && is_accepted == (is_said_good && !nonce.is_empty()))
}

/// Ours alone: a holder must have the key that its token names. Provisioning tokens name none.
fn names_another_key(token: &str, key: &Key) -> bool {
    let public = match Token::decode(token) {
        Ok(Token::Client(token)) => token.claims_unverified().standard.public_key.clone(),
        Ok(Token::Server(token)) => token.claims_unverified().standard.public_key.clone(),
        Ok(Token::Provisioning(_) | Token::Unknown(_)) | Err(_) => return false,
    };
    !public.eq_ignore_ascii_case(&key.public().to_string())
}

/// The original sends a broker without a nonce a signature over the empty text; we neither make nor accept it.
pub(super) fn connect(file: &Value, loader: &Loader) -> Outcome {
    with_keys(file, loader, |case, keys| {
        let Some(line) = case["expect"].get("connect") else {
            return same(
                "connected",
                &case["expect"]["connected"],
                &Value::Bool(false),
            );
        };
        let token = text(line, "auth_token")?;
        let Some(holder) = case["holder_key"].as_str() else {
            return same("sig", &line.get("sig"), &None);
        };
        let key = keys.key(holder)?;
        let holder = Holder::new(token, key.clone()).map_err(|error| error.to_string())?;
        same("token", &holder.text(), &token)?;
        if line.get("jwt").is_some() {
            same("jwt", &text(line, "jwt")?, &token)?;
        }
        let (nonce, sig) = (
            case["nonce"].as_str().unwrap_or_default(),
            text(line, "sig")?,
        );
        same(
            "signature",
            &URL_SAFE_NO_PAD.encode(key.sign(nonce.as_bytes())).as_str(),
            &sig,
        )?;
        let signed = is_a_nonce(nonce).then_some(sig);
        same("signed", &sign_nonce(key, nonce).ok().as_deref(), &signed)?;
        let at = UnixTime::from_secs(holder.expires_at().unwrap_or_default() - 1);
        same(
            "signature",
            &holder.sign_nonce(nonce, at).ok().as_deref(),
            &signed,
        )?;
        same(
            "verifies",
            &verify_nonce(&key.public(), nonce, sig).is_ok(),
            &!nonce.is_empty(),
        )
    })
}
