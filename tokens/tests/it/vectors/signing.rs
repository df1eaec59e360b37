//! Keys and tokens of logins and signatures, with what `choria jwt view` says of them.

use overlay_testkit::vectors::{Loader, Outcome, for_cases};
use overlay_tokens::claims::{Claims, ClientClaims, ProvisioningClaims, Purpose, ServerClaims};
use overlay_tokens::{UnixTime, Unverified, Verified, VerifyKey};
use serde_json::{Value, json};

use super::verdicts::judge_as;
use super::{Keys, same, same_json, text, with_keys};

/// `aaa/keys.json`: seeds and public keys belong together, each token is the organisation's and says what is listed.
pub(super) fn keys(file: &Value, _loader: &Loader) -> Outcome {
    let mut outcome = for_cases(file, |case| {
        let seed = text(case, "seed_hex")?;
        let key = overlay_tokens::Key::from_seed_text(seed.as_bytes())
            .map_err(|error| error.to_string())?;
        same(
            "public",
            &key.public().to_string().as_str(),
            &text(case, "public_hex")?,
        )
    });
    let keys = Keys::of(file);
    for (name, made) in file["tokens"].as_object().into_iter().flatten() {
        outcome.run(name, || token(made, &keys));
    }
    outcome
}

fn token(made: &Value, keys: &Keys) -> Result<(), String> {
    let text = text(made, "token")?;
    let org = keys.key("org")?.public().into();
    match made["claims"]["purpose"].as_str() {
        Some("choria_server") => verified::<ServerClaims>(text, &made["claims"], &org).map(drop),
        _ => {
            let token = verified::<ClientClaims>(text, &made["claims"], &org)?;
            let says_issuer = made["claims"]["tcs"].is_string();
            same("is_chain_issuer", &token.is_chain_issuer(), &says_issuer)?;
            let known = keys
                .seeds
                .values()
                .any(|key| Ok(key.public()) == token.public_key());
            same("key of the holder is known", &known, &true)
        }
    }
}

/// The token, at the time at which it was issued.
fn verified<C: Claims>(text: &str, claims: &Value, org: &VerifyKey) -> Result<Verified<C>, String> {
    let issued = UnixTime::from_secs(claims["iat"].as_i64().ok_or("no iat")?);
    let token = Unverified::<C>::decode(text)
        .map_err(|error| error.to_string())?
        .verify_with_key(org, issued)
        .map_err(|error| error.to_string())?;
    same_json("claims", &token.to_json(), claims)?;
    Ok(token)
}

/// `aaa/sign-tokens.json`: the verdict of the original's command, which strips the end of the file, reads the purpose, and
/// verifies what it knows.
pub(super) fn tokens(file: &Value, loader: &Loader) -> Outcome {
    let now = UnixTime::from_secs(file["now"].as_i64().unwrap_or_default());
    with_keys(file, loader, |case, keys| {
        let viewed = &case["expect"]["choria_jwt_view_with_organisation_key"];
        let exits_well = viewed["exit"] == 0;
        let first = viewed["first_line"].as_str().unwrap_or_default();
        let expect = json!({
            "valid": exits_well && first.starts_with("Validated"),
            "error": (!exits_well).then(|| error_of(first)),
        });
        let org = Some(keys.key("org")?.public().into());
        let token = text(case, "token")?.trim_end();
        let as_client = |expect: &Value| {
            judge_as::<ClientClaims>(token, "client", expect, org.clone(), now, |_token| Ok(()))
        };
        match overlay_tokens::purpose(token) {
            Ok(Purpose::Server) => {
                judge_as::<ServerClaims>(token, "server", &expect, org, now, |_token| Ok(()))
            }
            Ok(Purpose::Provisioning) => {
                judge_as::<ProvisioningClaims>(token, "provisioning", &expect, org, now, |_token| {
                    Ok(())
                })
            }
            Ok(Purpose::Client) | Err(_) => as_client(&expect),
            // the command shows the claims of what it does not know, and verifies nothing
            Ok(Purpose::Unknown(_)) => {
                same("shown as it is", &first.starts_with('{'), &true)?;
                as_client(&json!({ "valid": false, "error": "not a client token" }))
            }
        }
    })
}

/// The error of the library in a line of the command's log.
fn error_of(line: &str) -> &str {
    let message = line.split("Could not run Choria: ").nth(1).unwrap_or(line);
    let message = message.split('"').next().unwrap_or(message);
    message
        .strip_prefix("could not parse token: ")
        .unwrap_or(message)
}
