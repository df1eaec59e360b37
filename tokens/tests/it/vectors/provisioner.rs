//! Keys, proofs and the transport of keys while a node is enrolled.

use overlay_protocol::provisioning::action::Gen25519Reply;
use overlay_testkit::vectors::{Loader, Outcome, for_cases};
use overlay_tokens::claims::{Claims, ClientClaims, ProvisioningClaims, Purpose, ServerClaims};
use overlay_tokens::key_transport::{
    ExchangeError, ExchangeKey, SharedSecret, TransportError, decrypt_private_key,
    encrypt_private_key,
};
use overlay_tokens::rsa::{RsaPrivate, RsaPublic};
use overlay_tokens::{
    Key, PossessionError, PublicKey, UnixTime, Unverified, Verified, sign_possession,
    verify_possession,
};
use serde_json::Value;

use super::{same, text};

/// `provisioner/keys.json`: seeds and public keys belong together, and each token is the organisation's.
pub(super) fn keys(file: &Value, _loader: &Loader) -> Outcome {
    let mut outcome = for_cases(file, |case| {
        let key = seed(text(case, "seed")?)?;
        same(
            "public key",
            &key.public().to_string().as_str(),
            &text(case, "public")?,
        )
    });
    for (name, token) in file["tokens"].as_object().into_iter().flatten() {
        outcome.run(&format!("token {name}"), || token_of(file, token));
    }
    if let Some(x509) = file.get("x509") {
        outcome.run("x509", || certificates(x509));
    }
    outcome
}

fn token_of(file: &Value, token: &Value) -> Result<(), String> {
    let token = token.as_str().ok_or("no text")?;
    match overlay_tokens::purpose(token).map_err(|error| error.to_string())? {
        Purpose::Client => {
            let claims = verified::<ClientClaims>(file, token)?;
            // what issues others names the organisation and holds a key of the file
            if claims.is_chain_issuer() {
                let holder = signers(file).any(|key| Ok(key) == claims.public_key());
                return same("key of the issuer is known", &holder, &true);
            }
            Ok(())
        }
        Purpose::Server => verified::<ServerClaims>(file, token).map(drop),
        Purpose::Provisioning => {
            let claims = verified::<ProvisioningClaims>(file, token)?;
            same(
                "secret",
                &Some(claims.cht.expose()),
                &file["provisioning_secret"].as_str(),
            )
        }
        Purpose::Unknown(other) => Err(format!("purpose {other}")),
    }
}

/// The token under whichever key of the file it is signed by, a second after its time of issue.
fn verified<C: Claims>(file: &Value, token: &str) -> Result<Verified<C>, String> {
    let decoded = Unverified::<C>::decode(token).map_err(|error| error.to_string())?;
    let issued = decoded.claims_unverified().standard().iat;
    let now = UnixTime::from_secs(issued.unwrap_or_default() + 1);
    signers(file)
        .find_map(|key| decoded.clone().verify_with_key(&key.into(), now).ok())
        .ok_or_else(|| "signed by no key of the file".to_owned())
}

fn signers(file: &Value) -> impl Iterator<Item = PublicKey> {
    let cases = file["cases"].as_array().into_iter().flatten();
    cases.filter_map(|case| case["public"].as_str()?.parse().ok())
}

/// Keys that differ in form only are one key, and what certifies it holds it.
fn certificates(x509: &Value) -> Result<(), String> {
    let mut public: Option<RsaPublic> = None;
    for (name, pem) in x509.as_object().into_iter().flatten() {
        let pem = pem.as_str().ok_or("no text")?;
        let fault = |error: overlay_tokens::rsa::RsaError| format!("{name}: {error}");
        let key = if pem.contains("PRIVATE KEY-----") {
            RsaPrivate::from_pem(pem).map_err(fault)?.public()
        } else {
            RsaPublic::from_pem(pem).map_err(fault)?
        };
        if name.starts_with("node_") {
            let known = public.get_or_insert_with(|| key.clone());
            same(name, &key, known)?;
        }
    }
    Ok(())
}

/// `provisioner/nonce.json`
pub(super) fn nonces(file: &Value, _loader: &Loader) -> Outcome {
    for_cases(file, |case| {
        let expect = &case["expect"];
        let valid = expect["valid"].as_bool().ok_or("no verdict")?;
        if let Some(own) = case["seed"].as_str() {
            let (key, nonce) = (seed(own)?, text(case, "nonce")?);
            same(
                "public key",
                &key.public().to_string().as_str(),
                &text(case, "public_key")?,
            )?;
            same(
                "signature",
                &sign_possession(&key, nonce)
                    .map_err(|error| error.to_string())?
                    .as_str(),
                &text(case, "signature")?,
            )?;
        }
        let listed = case["exchanges"].as_array();
        let single = case.get("nonce").map(|_| case);
        for exchange in listed.into_iter().flatten().chain(single) {
            let verdict = verify_possession(
                text(exchange, "nonce")?,
                text(exchange, "public_key")?,
                text(exchange, "signature")?,
            );
            same("accepted", &verdict.is_ok(), &valid)?;
            if let Err(error) = verdict {
                says(expect, &error)?;
            }
        }
        match listed {
            Some(none) if none.is_empty() => without_exchange(expect),
            Some(_) | None => Ok(()),
        }
    })
}

/// The text of the original, where it logged one, names the same fault.
fn says(expect: &Value, error: &PossessionError) -> Result<(), String> {
    let ours = match error {
        PossessionError::NoKey => "no public key received",
        PossessionError::NoSignature => "no signature received",
        PossessionError::Encoding => "invalid signature",
        PossessionError::Invalid => "invalid nonce signature",
        // the original does not look, or dies
        PossessionError::Key(_) | PossessionError::WeakKey => return Ok(()),
    };
    let log = expect["log"].as_array();
    let mut lines = log.into_iter().flatten().filter_map(Value::as_str);
    let named = log.is_none() || lines.any(|line| line.ends_with(ours));
    same(&format!("{ours} is what was logged"), &named, &true)
}

/// Replies that were not kept: what the crash tells of them, or one that lacks its signature.
fn without_exchange(expect: &Value) -> Result<(), String> {
    let panics = expect["real_program"]["panic"].as_array();
    let lengths = panics.into_iter().flatten().filter_map(|line| {
        let (_, length) = line.as_str()?.split_once("bad public key length: ")?;
        length.parse::<usize>().ok()
    });
    let mut key = Key::from_seed([7; 32]).public().to_string();
    if let Some(length) = lengths.max() {
        key = key.chars().cycle().take(length * 2).collect();
    }
    let reply = Gen25519Reply {
        public_key: key,
        directory: "/etc/choria".to_owned(),
        ..Gen25519Reply::default()
    };
    let reply = Gen25519Reply::from_data(reply.to_data()).map_err(|error| error.to_string())?;
    let refused = verify_possession("00", &reply.public_key, &reply.signature).is_err()
        && reply.complete().is_err();
    same("refused", &refused, &true)
}

/// `provisioner/ecdh.json`
pub(super) fn exchange(file: &Value, _loader: &Loader) -> Outcome {
    for_cases(file, |case| {
        let (node, ours) = (
            exchange_key(case, "node")?,
            exchange_key(case, "provisioner")?,
        );
        let mut shared: Option<SharedSecret> = None;
        for (side, key, peer) in [
            ("node", &node, "provisioner"),
            ("provisioner", &ours, "node"),
        ] {
            let Some(key) = key else { continue };
            same(
                side,
                &key.public_hex().as_str(),
                &text(case, &format!("{side}_public"))?,
            )?;
            let Some(peer) = case[format!("{peer}_public")].as_str() else {
                continue;
            };
            let found = key.shared(peer).map_err(|error| error.to_string())?;
            let known = shared.get_or_insert_with(|| found.clone());
            same("both sides share one secret", &(found == *known), &true)?;
        }
        if let (Some(shared), Some(theirs)) = (&shared, case["shared"].as_str()) {
            same(
                "shared secret",
                &hex::encode(shared.expose()).as_str(),
                &theirs,
            )?;
        }
        if let Some(encrypted) = case["encrypted"].as_str() {
            transported(case, encrypted, shared.as_ref())?;
        }
        refusals(case)
    })
}

fn transported(case: &Value, encrypted: &str, shared: Option<&SharedSecret>) -> Result<(), String> {
    let expect = &case["expect"];
    let Some(shared) = shared else {
        // encrypted for a key that its reader does not have: any other secret must not open it
        let refused = decrypt_private_key(encrypted, &SharedSecret::from_bytes([7; 32]));
        return same("refused", &refused, &Err(TransportError::Secret));
    };
    let theirs = ["private_pem", "decrypted_pem"]
        .iter()
        .find_map(|member| expect[member].as_str());
    let ours = decrypt_private_key(encrypted, shared).map_err(|error| error.to_string())?;
    same("decrypted key", &Some(ours.as_str()), &theirs)?;
    if let (Some(key), Some(iv)) = (case["key"].as_str(), case["iv"].as_str()) {
        let iv = hex::decode(iv).ok().and_then(|iv| iv.try_into().ok());
        let ours = encrypt_private_key(key, shared, iv.ok_or("no IV of 16 bytes")?)
            .map_err(|error| error.to_string())?;
        same("encrypted key", &ours.trim_end(), &encrypted.trim_end())?;
        if let Some(unchanged) = expect["same_as_input"].as_bool() {
            same("same as input", &(Some(key) == theirs), &unchanged)?;
        }
    }
    Ok(())
}

/// Public keys that the original refused. Where only its log was kept, one of the kind that it names is made.
fn refusals(case: &Value) -> Result<(), String> {
    if case["expect"]["configure_sent"].as_bool() != Some(false) {
        return Ok(());
    }
    let log = case["expect"]["log"].as_array();
    for line in log.into_iter().flatten().filter_map(Value::as_str) {
        let (made, fault): (&str, fn(&ExchangeError) -> bool) = if line.contains("low order point")
        {
            (
                "0000000000000000000000000000000000000000000000000000000000000000",
                |error| *error == ExchangeError::LowOrder,
            )
        } else if line.contains("invalid byte") {
            ("zz", |error| *error == ExchangeError::NotHex)
        } else if line.contains("invalid public key") || line.contains("odd length") {
            ("abcd", |error| {
                matches!(error, ExchangeError::Length { .. })
            })
        } else {
            return Err(format!("a refusal that is not known: {line}"));
        };
        let peer = case["ecdh_public"].as_str().unwrap_or(made);
        match ExchangeKey::from_bytes([6; 32]).shared(peer) {
            Err(error) if fault(&error) => {}
            Err(error) => return Err(format!("refused as {error}, not as {line}")),
            Ok(_) => return Err(format!("{peer} is taken")),
        }
    }
    Ok(())
}

fn exchange_key(case: &Value, side: &str) -> Result<Option<ExchangeKey>, String> {
    let Some(private) = case[format!("{side}_private")].as_str() else {
        return Ok(None);
    };
    let bytes = hex::decode(private)
        .ok()
        .and_then(|bytes| bytes.try_into().ok());
    Ok(Some(ExchangeKey::from_bytes(
        bytes.ok_or("no private key of 32 bytes")?,
    )))
}

fn seed(text: &str) -> Result<Key, String> {
    Key::from_seed_text(text.as_bytes()).map_err(|error| error.to_string())
}
