//! Keys and the files that hold them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use overlay_testkit::vectors::{Loader, Outcome, for_cases};
use overlay_tokens::claims::{ClientClaims, ServerClaims};
use overlay_tokens::issue::{PrivateKey, sign};
use overlay_tokens::rsa::{RsaPrivate, RsaPublic};
use overlay_tokens::{Algorithm, Key, PublicKey, Unverified, VerifyKey};
use serde_json::Value;

use super::{Keys, now, same, text, with_keys};

pub(super) fn keys(file: &Value, _loader: &Loader) -> Outcome {
    let mut outcome = for_cases(file, |case| {
        let key =
            Key::from_seed_text(text(case, "seed_hex")?.as_bytes()).map_err(|e| e.to_string())?;
        same(
            "public",
            &key.public().to_string().as_str(),
            &text(case, "public_hex")?,
        )
    });
    let keys = Keys::of(file);
    for (name, forms) in file["common"].as_object().into_iter().flatten() {
        outcome.run(name, || pem_forms(name, forms, &keys));
    }
    outcome
}

/// All forms of one key say the same; a key that is not RSA is refused.
fn pem_forms(name: &str, forms: &Value, keys: &Keys) -> Result<(), String> {
    let public = RsaPublic::from_pem(text(forms, "public_pem")?);
    if forms.get("private_pkcs1_pem").is_none() && forms.get("private_pkcs8_pem").is_none() {
        return same("an RSA key", &public.is_ok(), &false);
    }
    let public = public.map_err(|error| error.to_string())?;
    for form in ["private_pkcs1_pem", "private_pkcs8_pem"] {
        if let Ok(pem) = keys.pem(name, form) {
            let private = RsaPrivate::from_pem(pem).map_err(|error| format!("{form}: {error}"))?;
            same(form, &private.public(), &public)?;
        }
    }
    if let Ok(pem) = keys.pem(name, "certificate_pem") {
        let certified = RsaPublic::from_pem(pem).map_err(|error| error.to_string())?;
        same("certificate_pem", &certified, &public)?;
    }
    Ok(())
}

pub(super) fn key_files(file: &Value, loader: &Loader) -> Outcome {
    with_keys(file, loader, |case, keys| {
        let expect = &case["expect"];
        if let Some(theirs) = expect["is_encoded_key"].as_bool() {
            return same(
                "literal key",
                &PublicKey::looks_like_one(text(case, "text")?),
                &theirs,
            );
        }
        let content = STANDARD
            .decode(text(case, "content_b64")?)
            .map_err(|e| e.to_string())?;
        if case.get("token").is_some() {
            public_file(case, &content)
        } else {
            private_file(expect, &content, keys)
        }
    })
}

fn public_file(case: &Value, content: &[u8]) -> Result<(), String> {
    let verdict = VerifyKey::from_file_content(content)
        .map_err(|error| error.to_string())
        .and_then(|key| {
            Unverified::<ServerClaims>::decode(text(case, "token")?)
                .map_err(|error| error.to_string())?
                .verify_with_key(&key, now(case))
                .map_err(|error| error.to_string())
        });
    match (verdict, case["expect"]["valid"].as_bool()) {
        (Ok(_), Some(true)) | (Err(_), Some(false)) => Ok(()),
        (ours, theirs) => Err(format!("{ours:?} where the original says {theirs:?}")),
    }
}

fn private_file(expect: &Value, content: &[u8], keys: &Keys) -> Result<(), String> {
    match (Key::from_seed_text(content), expect["public_hex"].as_str()) {
        (Ok(key), Some(theirs)) => same("public", &key.public().to_string().as_str(), &theirs)?,
        (Err(_), None) => {}
        (ours, theirs) => return Err(format!("{ours:?} where the original says {theirs:?}")),
    }
    match (
        PrivateKey::from_file_content(content),
        expect["sign_token_alg"].as_str(),
    ) {
        (Ok(key), Some(theirs)) => {
            let token = sign(&ClientClaims::default(), &key).map_err(|error| error.to_string())?;
            let token = Unverified::<ClientClaims>::decode(&token).map_err(|e| e.to_string())?;
            same("alg", &token.algorithm().as_str(), &theirs)?;
            if *token.algorithm() == Algorithm::Rs256 {
                let rsa = keys.rsa("rsa")?.public();
                let PrivateKey::Rsa(ours) = key else {
                    return Err("RS256 without an RSA key".to_owned());
                };
                same("public", &ours.public(), &rsa)?;
            }
            Ok(())
        }
        (Err(_), None) => Ok(()),
        (ours, theirs) => Err(format!("{ours:?} where the original says {theirs:?}")),
    }
}
