//! How the original fills claims and trust chains.

use std::time::Duration;

use overlay_protocol::id::Ksuid;
use overlay_testkit::vectors::{Loader, Outcome};
use overlay_tokens::claims::{Claims, ClientClaims, ProvisioningClaims, ServerClaims, Standard};
use overlay_tokens::issue::{
    ClientToken, ProvisioningToken, ServerToken, add_chain_issuer_data, add_org_issuer_data, sign,
};
use overlay_tokens::{Key, UnixTime, Unverified, VerifyKey};
use serde_json::Value;

use super::{Keys, now, same, same_json, text, with_keys};
use crate::support::b64;

pub(super) fn issue(file: &Value, loader: &Loader) -> Outcome {
    with_keys(file, loader, |case, keys| match text(case, "op")? {
        "add_org_issuer_data" => org_issuer(case, keys),
        "add_chain_issuer_data" => match case["in"]["claims_before"]["purpose"].as_str() {
            Some("choria_server") => chain_issuer::<ServerClaims>(case, keys),
            _ => chain_issuer::<ClientClaims>(case, keys),
        },
        "new_claims" => new_claims(case),
        other => Err(format!("unknown operation {other}")),
    })
}

fn org_issuer(case: &Value, keys: &Keys) -> Result<(), String> {
    let (input, expect) = (&case["in"], &case["expect"]);
    let org = keys.key(text(input, "org_key")?)?;
    let mut standard = Standard {
        jti: text(input, "jti")?.to_owned(),
        public_key: text(input, "public_key")?.to_owned(),
        ..Standard::default()
    };
    let added = add_org_issuer_data(&mut standard, org);
    if let Some(theirs) = expect["error"].as_str() {
        return refused(added, theirs);
    }
    added.map_err(|error| error.to_string())?;
    same("iss", &standard.iss.as_str(), &text(expect, "iss")?)?;
    same("tcs", &standard.tcs.as_str(), &text(expect, "tcs")?)?;
    same(
        "signature",
        &standard.tcs,
        &hex::encode(org.sign(text(expect, "signed_text")?.as_bytes())),
    )?;
    let claims = claims::<ClientClaims>(&expect["claims"])?;
    let token = sign(&claims, org).map_err(|error| error.to_string())?;
    let verified = Unverified::<ClientClaims>::decode(&token)
        .map_err(|error| error.to_string())?
        .verify_with_key(&VerifyKey::from(org.public()), issued(&claims.standard))
        .map_err(|error| error.to_string())?;
    same_json("claims", &verified.to_json(), &expect["claims"])?;
    let theirs = expect["is_chain_issuer"].as_bool().unwrap_or_default();
    same("is_chain_issuer", &verified.is_chain_issuer(), &theirs)
}

fn chain_issuer<C: Claims + Standing>(case: &Value, keys: &Keys) -> Result<(), String> {
    let (input, expect) = (&case["in"], &case["expect"]);
    let key = keys.key(text(input, "issuer_key")?)?;
    let issuer = claims::<ClientClaims>(&input["issuer"])?;
    let mut claims = claims::<C>(&input["claims_before"])?;
    let own_key = issuer.standard.public_key == key.public().to_string();
    let is_issuer = !issuer.standard.tcs.is_empty() && !issuer.standard.tcs.contains('.');
    let complete = !claims.standing().public_key.is_empty();
    let added = add_chain_issuer_data(claims.standing(), &issuer.standard, key);
    // Ours alone: what would verify nowhere is not made.
    if expect.get("error").is_none() && !(own_key && is_issuer && complete) {
        return same("made", &added.is_ok(), &false);
    }
    if let Some(theirs) = expect["error"].as_str() {
        return refused(added, theirs);
    }
    added.map_err(|error| error.to_string())?;
    same_json("claims", &claims.to_json(), &expect["claims"])?;
    let signature = hex::encode(key.sign(text(expect, "signed_text")?.as_bytes()));
    same("tcs", &claims.standing().tcs.ends_with(&signature), &true)?;
    verifies::<C>(
        &sign(&claims, key).map_err(|error| error.to_string())?,
        &claims,
        &issuer,
        keys,
    )?;
    verifies::<C>(text(expect, "token")?, &claims, &issuer, keys)
}

/// What was issued verifies under the organisation that the issuer names, at the time of issue.
fn verifies<C: Claims>(
    token: &str,
    claims: &C,
    issuer: &ClientClaims,
    keys: &Keys,
) -> Result<(), String> {
    let named = issuer.standard.iss.trim_start_matches("I-");
    let org = keys
        .seeds
        .values()
        .map(Key::public)
        .find(|key| key.to_string() == named)
        .ok_or("no such organisation")?;
    let verified = Unverified::<C>::decode(token)
        .map_err(|error| error.to_string())?
        .verify_with_key(&VerifyKey::from(org), issued(claims.standard()))
        .map_err(|error| error.to_string())?;
    same("claims", &verified.to_json(), &claims.to_json())
}

/// New claims from the inputs that the expected ones show, or the refusal that the text names.
fn new_claims(case: &Value) -> Result<(), String> {
    let expect = &case["expect"];
    if let Some(theirs) = expect["error"].as_str() {
        return constructor_refuses(theirs, now(case));
    }
    let theirs: Value =
        serde_json::from_str(text(expect, "claims_json")?).map_err(|e| e.to_string())?;
    let ours = match text(&theirs, "purpose")? {
        "choria_client_id" => remake_client(&claims(&theirs)?, now(case))?.to_json(),
        "choria_server" => remake_server(&claims(&theirs)?, now(case))?.to_json(),
        _ => remake_provisioning(&claims(&theirs)?, now(case))?.to_json(),
    };
    same_json("claims", &ours, &theirs)
}

fn remake_client(like: &ClientClaims, now: UnixTime) -> Result<ClientClaims, String> {
    let token = ClientToken {
        callerid: like.callerid.clone(),
        public_key: like.standard.public_key.parse().ok(),
        ou: unless(like.ou.as_deref(), "choria"),
        validity: validity(&like.standard),
        issuer: unless(Some(&like.standard.iss), "Choria Tokens Package"),
        agents: like.agents.clone(),
        user_properties: like.user_properties.clone(),
        opa_policy: like.opa_policy.clone(),
        tenant: like.tenant().map_err(|error| error.to_string())?,
        permissions: like.permissions,
        pub_subjects: like.pub_subjects.clone(),
        sub_subjects: like.sub_subjects.clone(),
    };
    token
        .claims_with_id(now, id(&like.standard)?)
        .map_err(|error| error.to_string())
}

fn remake_server(like: &ServerClaims, now: UnixTime) -> Result<ServerClaims, String> {
    let token = ServerToken {
        identity: like.identity.clone(),
        collectives: like.collectives.clone(),
        public_key: like.standard.public_key.parse().ok(),
        validity: Duration::from_secs(lifetime(&like.standard)),
        ou: unless(like.ou.as_deref(), "choria"),
        issuer: unless(Some(&like.standard.iss), "Choria Tokens Package"),
        permissions: like.permissions,
        pub_subjects: like.pub_subjects.clone(),
    };
    token
        .claims_with_id(now, id(&like.standard)?)
        .map_err(|error| error.to_string())
}

fn remake_provisioning(
    like: &ProvisioningClaims,
    now: UnixTime,
) -> Result<ProvisioningClaims, String> {
    let token = ProvisioningToken {
        token: like.cht.clone(),
        secure: like.chs,
        urls: like
            .chu
            .split(',')
            .filter(|url| !url.is_empty())
            .map(str::to_owned)
            .collect(),
        srv_domain: like.chsrv.clone(),
        by_default: like.chpd,
        registration: like.chrd.clone(),
        facts: like.chf.clone(),
        username: like.chusr.clone(),
        password: like.chpwd.clone(),
        extensions: like.extensions.clone(),
        ou: unless(like.ou.as_deref(), "choria"),
        protocol_v2: like.v2,
        allow_update: like.update,
        validity: validity(&like.standard),
        issuer: unless(Some(&like.standard.iss), "Choria Tokens Package"),
    };
    token
        .claims_with_id(now, id(&like.standard)?)
        .map_err(|error| error.to_string())
}

/// Leaves out of complete inputs what the text says is required, and expects a refusal for it.
fn constructor_refuses(theirs: &str, now: UnixTime) -> Result<(), String> {
    let client = ClientToken::new("");
    let server = ServerToken {
        identity: "n1".into(),
        collectives: vec!["choria".into()],
        public_key: Some(Key::from_seed([1; 32]).public()),
        validity: Duration::from_secs(1),
        ..ServerToken::default()
    };
    let refusal = match theirs {
        "caller id is required" => client.claims(now).map(drop),
        "identity is required" => ServerToken {
            identity: String::new(),
            ..server
        }
        .claims(now)
        .map(drop),
        "at least one collective is required" => ServerToken {
            collectives: vec![],
            ..server
        }
        .claims(now)
        .map(drop),
        "public key is required" => ServerToken {
            public_key: None,
            ..server
        }
        .claims(now)
        .map(drop),
        "validity is required" => ServerToken {
            validity: Duration::ZERO,
            ..server
        }
        .claims(now)
        .map(drop),
        "srv domain or urls required" => ProvisioningToken::default().claims(now).map(drop),
        other => return Err(format!("unknown refusal {other}")),
    };
    refused(refusal, theirs)
}

/// Both refuse, and both name the same thing.
fn refused(
    ours: Result<(), overlay_tokens::issue::IssueError>,
    theirs: &str,
) -> Result<(), String> {
    let Err(ours) = ours else {
        return Err(format!("accepted where the original says {theirs}"));
    };
    let ours = ours.to_string();
    let words = [
        "caller id",
        "identity",
        "collective",
        "public key",
        "validity",
        "srv domain",
        "expiry",
        "token id",
    ];
    match words.into_iter().find(|word| theirs.contains(word)) {
        Some(word) if !ours.contains(word) => Err(format!("refused as {ours:?}, not {theirs:?}")),
        _ => Ok(()),
    }
}

trait Standing {
    fn standing(&mut self) -> &mut Standard;
}

impl Standing for ClientClaims {
    fn standing(&mut self) -> &mut Standard {
        &mut self.standard
    }
}

impl Standing for ServerClaims {
    fn standing(&mut self) -> &mut Standard {
        &mut self.standard
    }
}

fn claims<C: Claims>(json: &Value) -> Result<C, String> {
    let token = format!(
        "{}.{}.AA",
        b64(r#"{"alg":"EdDSA"}"#),
        b64(&json.to_string())
    );
    Unverified::<C>::decode(&token)
        .map(|token| token.claims_unverified().clone())
        .map_err(|error| format!("{error}: {json}"))
}

fn issued(standard: &Standard) -> UnixTime {
    UnixTime::from_secs(standard.iat.unwrap_or_default())
}

fn lifetime(standard: &Standard) -> u64 {
    let seconds = standard.exp.unwrap_or_default() - standard.iat.unwrap_or_default();
    u64::try_from(seconds).unwrap_or_default()
}

/// The validity that was asked for; the default hour means that none was.
fn validity(standard: &Standard) -> Duration {
    match lifetime(standard) {
        3600 => Duration::ZERO,
        seconds => Duration::from_secs(seconds),
    }
}

fn unless(text: Option<&str>, default: &str) -> String {
    text.filter(|text| *text != default)
        .unwrap_or_default()
        .to_owned()
}

fn id(standard: &Standard) -> Result<Ksuid, String> {
    standard.jti.parse().map_err(|error| format!("{error}"))
}
