//! The numbered conformance cases of tokens.

use overlay_tokens::claims::{
    ClientClaims, ClientPermissions, ProvisioningClaims, Purpose, ServerClaims, unique_id,
};
use overlay_tokens::issue::{ClientToken, ProvisioningToken, ServerToken, sign};
use overlay_tokens::{
    ChainError, DecodeError, Key, KeyError, TokenError, UnixTime, Unverified, VerifyError,
    VerifyKey, purpose,
};
use serde_json::{Value, json};

use crate::support::{
    ISSUED, altered, chain, chain_issuer, chain_issuer_claims, client, client_claims, forge, now,
    org, other_org, server_claims, signed, user, verify, verify_at,
};

/// A token of `up=rip` by a chain issuer, made by the original; good until 2100.
const TOK: &str = include_str!("../data/tok.jwt");

fn refusal<C: overlay_tokens::claims::Claims>(token: &str) -> VerifyError {
    match verify::<C>(token) {
        Err(TokenError::Verify(error)) => error,
        other => panic!("not refused by verification but {other:?}"),
    }
}

fn chain_issued() -> String {
    chain_issuer().issue(client_claims()).unwrap()
}

/// The chain issued token of `up=rip`, its claims changed and signed by the chain issuer again.
fn chain_altered(change: impl FnOnce(&mut Value)) -> String {
    let claims = verify::<ClientClaims>(&chain_issued())
        .unwrap()
        .into_claims();
    altered(&claims, &chain(), change)
}

#[test]
fn case_01_a_chain_issued_token_verifies_with_the_organisation_key() {
    let token = verify::<ClientClaims>(TOK).unwrap();
    assert_eq!(token.verification_key(), &VerifyKey::from(chain().public()));
    assert_eq!(token.callerid, "up=rip");
    assert_eq!(token.unique_id(), "7419405695a186147a0de38f7e31a509");
    assert_eq!(token.expires_at(), Some(4_102_444_800));
    assert!(token.granted().streams_user && token.granted().fleet_management);
}

#[test]
fn case_02_another_organisation_did_not_sign_it() {
    let key = VerifyKey::from(other_org().public());
    let error = Unverified::<ClientClaims>::decode(TOK)
        .unwrap()
        .verify_with_key(&key, now());
    assert_eq!(
        error.unwrap_err(),
        VerifyError::Chain(ChainError::Organisation)
    );
}

#[test]
fn case_03_a_made_up_organisation_signature_is_refused() {
    let changed = chain_altered(|claims| {
        let tcs = claims["tcs"].as_str().unwrap();
        let (first, _) = tcs.split_once('.').unwrap();
        let changed = if first.starts_with('0') { '1' } else { '0' };
        let first = format!("{changed}{}", &first[1..]);
        let jti = claims["jti"].as_str().unwrap();
        let second = hex::encode(chain().sign(format!("{jti}.{first}").as_bytes()));
        claims["tcs"] = json!(format!("{first}.{second}"));
    });
    assert_eq!(
        refusal::<ClientClaims>(&changed),
        VerifyError::Chain(ChainError::Organisation)
    );

    let attacker = Key::from_seed([9; 32]);
    let claims = verify::<ClientClaims>(&chain_issued())
        .unwrap()
        .into_claims();
    let forged = altered(&claims, &attacker, |claims| {
        let jti = claims["jti"].as_str().unwrap().to_owned();
        let first = hex::encode(attacker.sign(format!("{jti}.{}", attacker.public()).as_bytes()));
        let second = hex::encode(attacker.sign(format!("{jti}.{first}").as_bytes()));
        claims["iss"] = json!(format!("C-{jti}.{}", attacker.public()));
        claims["tcs"] = json!(format!("{first}.{second}"));
    });
    assert_eq!(
        refusal::<ClientClaims>(&forged),
        VerifyError::Chain(ChainError::Organisation)
    );
}

#[test]
fn case_04_the_second_half_by_another_key_is_refused() {
    let changed = chain_altered(|claims| {
        let (first, _) = claims["tcs"].as_str().unwrap().split_once('.').unwrap();
        let jti = claims["jti"].as_str().unwrap();
        let second = hex::encode(user().sign(format!("{jti}.{first}").as_bytes()));
        claims["tcs"] = json!(format!("{first}.{second}"));
    });
    assert_eq!(
        refusal::<ClientClaims>(&changed),
        VerifyError::Chain(ChainError::ChainIssuer)
    );
}

#[test]
fn case_05_the_id_must_be_made_at_the_time_of_issue() {
    for offset in [-1, 1] {
        let changed = chain_altered(|claims| claims["iat"] = json!(ISSUED + offset));
        assert_eq!(
            refusal::<ClientClaims>(&changed),
            VerifyError::Chain(ChainError::IdTime)
        );
    }
    let changed =
        chain_altered(|claims| claims["jti"] = json!("8a3f6a1e-2f0f-4c5b-9d55-7b1e6b0f8f11"));
    assert_eq!(
        refusal::<ClientClaims>(&changed),
        VerifyError::Chain(ChainError::Id)
    );
}

#[test]
fn case_06_the_expiry_of_the_issuer_counts() {
    let without = chain_altered(|claims| {
        claims.as_object_mut().unwrap().remove("issexp");
    });
    assert_eq!(
        refusal::<ClientClaims>(&without),
        VerifyError::Chain(ChainError::Missing { claim: "issexp" })
    );
    let edge = now();
    let token = chain_altered(|claims| claims["issexp"] = json!(edge.secs));
    verify_at::<ClientClaims>(&token, edge).unwrap();
    for past in [
        UnixTime { nanos: 1, ..edge },
        UnixTime::from_secs(edge.secs + 1),
    ] {
        let error = verify_at::<ClientClaims>(&token, past).unwrap_err();
        assert!(
            matches!(error, TokenError::Verify(VerifyError::IssuerExpired)),
            "{error:?}"
        );
    }
}

#[test]
fn case_07_a_chain_issued_token_needs_all_claims_of_the_chain() {
    for claim in ["public_key", "jti", "tcs", "iat", "exp"] {
        let changed = chain_altered(|claims| {
            claims.as_object_mut().unwrap().remove(claim);
        });
        assert_eq!(
            refusal::<ClientClaims>(&changed),
            VerifyError::Chain(ChainError::Missing { claim })
        );
    }
    let zero = chain_altered(|claims| claims["exp"] = json!(0));
    assert_eq!(refusal::<ClientClaims>(&zero), VerifyError::Expired);
}

#[test]
fn case_08_the_issuer_text_is_free_unless_it_names_a_chain() {
    let mut claims = client_claims();
    claims.standard.iss = "anything".into();
    verify::<ClientClaims>(&signed(&claims, &org())).unwrap();
    claims.standard.iss = "C-x".into();
    let error = refusal::<ClientClaims>(&signed(&claims, &org()));
    assert_eq!(
        error,
        VerifyError::Chain(ChainError::Missing { claim: "tcs" })
    );
}

#[test]
fn case_09_a_chain_issuer_is_a_client_and_no_server() {
    let token = verify::<ClientClaims>(&signed(&chain_issuer_claims(), &org())).unwrap();
    assert!(token.is_chain_issuer());
    let mut server = server_claims();
    server.standard.iss = token.standard.iss.clone();
    server.standard.tcs = token.standard.tcs.clone();
    assert_eq!(
        refusal::<ServerClaims>(&signed(&server, &org())),
        VerifyError::IssuerExpired
    );
    assert!(matches!(
        refusal::<ServerClaims>(token.text()),
        VerifyError::Purpose {
            expected: Purpose::Server,
            found: Purpose::Client
        }
    ));
}

#[test]
fn case_10_no_algorithm_is_confused_with_another() {
    let claims = serde_json::to_value(client_claims()).unwrap();
    for name in [
        "none",
        "HS256",
        "ES256",
        "PS256",
        "eddsa",
        "ed25519-nkey",
        "",
    ] {
        let token = forge(&json!({"alg": name, "typ": "JWT"}), &claims, &org());
        assert_eq!(
            refusal::<ClientClaims>(&token),
            VerifyError::Algorithm { name: name.into() }
        );
    }
    let rsa = forge(&json!({"alg": "RS256", "typ": "JWT"}), &claims, &org());
    assert_eq!(
        refusal::<ClientClaims>(&rsa),
        VerifyError::KeyType { algorithm: "RSA" }
    );
    let unsigned = token_without_signature(&claims);
    assert_eq!(refusal::<ClientClaims>(&unsigned), VerifyError::Signature);
}

fn token_without_signature(claims: &Value) -> String {
    let token = forge(&json!({"alg": "EdDSA"}), claims, &org());
    token[..=token.rfind('.').unwrap()].to_owned()
}

#[test]
fn case_11_expiry_and_start_are_exact() {
    let token = |exp: Option<i64>, nbf: Option<i64>| {
        let mut claims = client_claims();
        claims.standard.exp = exp;
        claims.standard.nbf = nbf;
        signed(&claims, &org())
    };
    let secs = now().secs;
    assert_eq!(
        refusal::<ClientClaims>(&token(Some(secs), None)),
        VerifyError::Expired
    );
    verify::<ClientClaims>(&token(Some(secs + 1), None)).unwrap();
    verify::<ClientClaims>(&token(None, Some(secs))).unwrap();
    assert_eq!(
        refusal::<ClientClaims>(&token(None, Some(secs + 1))),
        VerifyError::NotYetValid
    );
    let forever = verify::<ClientClaims>(&token(None, None)).unwrap();
    assert_eq!(forever.expires_at(), None);
    assert!(forever.standard.is_expired_for_holder(now()));
}

#[test]
fn case_12_a_provisioning_token_is_known_by_its_subject_and_never_by_a_chain() {
    let mut claims = ProvisioningToken {
        urls: vec!["broker:4222".into()],
        validity: std::time::Duration::from_secs(86_400),
        ..ProvisioningToken::default()
    }
    .claims(UnixTime::from_secs(ISSUED))
    .unwrap();
    claims.standard.purpose = Purpose::default();
    let token = signed(&claims, &org());
    verify::<ProvisioningClaims>(&token).unwrap();
    assert_eq!(purpose(&token).unwrap(), Purpose::Provisioning);

    let issuer = chain_issuer_claims();
    claims.standard.public_key = user().public().to_string();
    overlay_tokens::issue::add_chain_issuer_data(&mut claims.standard, &issuer.standard, &chain())
        .unwrap();
    let by_chain = signed(&claims, &chain());
    assert_eq!(
        refusal::<ProvisioningClaims>(&by_chain),
        VerifyError::Signature
    );
    verify::<ProvisioningClaims>(&signed(&claims, &org())).unwrap();
}

#[test]
fn case_13_a_line_end_passes_and_another_number_of_segments_does_not() {
    let token = signed(&client_claims(), &org());
    verify::<ClientClaims>(&format!("{token}\n")).unwrap();
    verify::<ClientClaims>(&format!("{token}\r\n")).unwrap();
    let two = token.rsplit_once('.').unwrap().0.to_owned();
    for text in [
        two,
        format!("{token}.AA"),
        format!("{token}."),
        String::new(),
        ".".into(),
    ] {
        let error = verify::<ClientClaims>(&text).unwrap_err();
        assert!(
            matches!(error, TokenError::Decode(DecodeError::Segments)),
            "{text}: {error:?}"
        );
    }
    verify::<ClientClaims>(&format!(" {token}")).unwrap_err();
    verify::<ClientClaims>(&format!("{token} ")).unwrap_err();
    verify::<ClientClaims>(&format!("{token}==")).unwrap_err();
}

#[test]
fn case_14_a_seed_is_exactly_64_digits() {
    let seed = user().seed_text();
    assert_eq!(
        Key::from_seed_text(seed.as_bytes()).unwrap().public(),
        user().public()
    );
    for bytes in [
        format!("{}\n", *seed),
        seed[..63].to_owned(),
        format!("{}0", *seed),
    ] {
        let error = Key::from_seed_text(bytes.as_bytes()).unwrap_err();
        assert_eq!(error, KeyError::Length { bytes: bytes.len() });
    }
    assert_eq!(
        Key::from_seed_text(&[b'z'; 64]).unwrap_err(),
        KeyError::NotHex
    );
}

#[test]
fn case_15_what_a_chain_issuer_issues_ends_with_it() {
    let issuer = chain_issuer();
    let expires = issuer.expires_at().unwrap();
    let claims = ServerToken {
        identity: "n1".into(),
        collectives: vec!["choria".into()],
        public_key: Some(user().public()),
        validity: std::time::Duration::from_secs(365 * 86_400),
        ..ServerToken::default()
    }
    .claims(UnixTime::from_secs(ISSUED))
    .unwrap();
    let token = verify::<ServerClaims>(&issuer.issue(claims).unwrap()).unwrap();
    assert_eq!(
        (token.standard.exp, token.standard.issexp),
        (Some(expires), Some(expires))
    );
}

#[test]
fn case_16_absent_and_empty_permissions_are_written_differently() {
    let claims = |permissions| {
        let token = ClientToken {
            permissions,
            ..client("up=rip", &user())
        };
        serde_json::to_value(token.claims(now()).unwrap()).unwrap()
    };
    assert_eq!(claims(None).get("permissions"), None);
    assert_eq!(
        claims(Some(ClientPermissions::default()))["permissions"],
        json!({})
    );
    let read: ClientClaims = verify::<ClientClaims>(&signed(
        &client("x", &user()).claims(now()).unwrap(),
        &org(),
    ))
    .unwrap()
    .into_claims();
    assert!(read.permissions.is_some());
}

#[test]
fn unique_ids_keep_case() {
    assert_ne!(unique_id("up=rip"), unique_id("UP=rip"));
}

#[test]
fn the_organisation_in_the_token_selects_the_issuer() {
    let issuers = crate::support::issuers();
    let check = |token: &str| {
        Unverified::<ClientClaims>::decode(token)
            .unwrap()
            .verify(&issuers, now())
    };
    let mut claims = client_claims();
    check(&signed(&claims, &org())).unwrap();
    assert_eq!(
        check(&signed(&claims, &other_org())).unwrap_err(),
        VerifyError::Signature
    );
    claims.ou = Some("acme".into());
    check(&signed(&claims, &other_org())).unwrap();
    claims.ou = Some("other".into());
    assert_eq!(
        check(&signed(&claims, &org())).unwrap_err(),
        VerifyError::UnknownOu { ou: "other".into() }
    );
    claims.ou = None;
    assert_eq!(
        check(&signed(&claims, &org())).unwrap_err(),
        VerifyError::NoOu
    );
}

#[test]
fn a_proved_chain_issuer_is_remembered_and_proves_nothing_else() {
    let issuers = crate::support::issuers();
    let check = |token: &str| {
        Unverified::<ClientClaims>::decode(token)
            .unwrap()
            .verify(&issuers, now())
    };
    check(&chain_issued()).unwrap();
    check(&chain_issued()).unwrap();
    let forged = chain_altered(|claims| {
        let jti = claims["jti"].as_str().unwrap();
        let (first, _) = claims["tcs"].as_str().unwrap().split_once('.').unwrap();
        let second = hex::encode(user().sign(format!("{jti}.{first}").as_bytes()));
        claims["tcs"] = json!(format!("{first}.{second}"));
    });
    assert_eq!(
        check(&forged).unwrap_err(),
        VerifyError::Chain(ChainError::ChainIssuer)
    );
    let renamed = chain_altered(|claims| {
        let iss = claims["iss"].as_str().unwrap().replacen("C-", "C-0", 1);
        claims["iss"] = json!(iss);
    });
    assert_eq!(
        check(&renamed).unwrap_err(),
        VerifyError::Chain(ChainError::Organisation)
    );
}

#[test]
fn only_a_chain_issuer_with_its_own_key_issues() {
    use overlay_tokens::issue::{ChainIssuer, IssueError};
    let plain = verify::<ClientClaims>(&signed(&client_claims(), &org())).unwrap();
    assert!(matches!(
        ChainIssuer::new(&plain, user()),
        Err(IssueError::NotAChainIssuer)
    ));
    let issuer = verify::<ClientClaims>(&signed(&chain_issuer_claims(), &org())).unwrap();
    assert!(matches!(
        ChainIssuer::new(&issuer, user()),
        Err(IssueError::OtherKey)
    ));
    let issued = verify::<ClientClaims>(&chain_issued()).unwrap();
    assert!(matches!(
        ChainIssuer::new(&issued, user()),
        Err(IssueError::NotAChainIssuer)
    ));
}

#[test]
fn a_remembered_token_is_still_checked_for_time_and_issuers() {
    use overlay_tokens::{Issuers, VerifiedCache};
    let cache = VerifiedCache::<ClientClaims>::new(16, 1 << 20);
    let issuers = crate::support::issuers();
    let token = chain_issued();
    let first = cache.verify(&token, &issuers, now()).unwrap();
    let again = cache.verify(&token, &issuers, now()).unwrap();
    assert!(std::sync::Arc::ptr_eq(&first, &again));
    let others = Issuers::new([("choria".to_owned(), other_org().public())]).unwrap();
    cache.verify(&token, &others, now()).unwrap_err();
    let early = UnixTime::from_secs(ISSUED - 1);
    let error = cache.verify(&token, &issuers, early).unwrap_err();
    assert!(
        matches!(error, TokenError::Verify(VerifyError::NotYetValid)),
        "{error:?}"
    );
    let late = UnixTime::from_secs(first.expires_at().unwrap());
    cache.verify(&token, &issuers, now()).unwrap();
    let error = cache.verify(&token, &issuers, late).unwrap_err();
    assert!(
        matches!(error, TokenError::Verify(VerifyError::Expired)),
        "{error:?}"
    );
}

#[test]
fn other_spellings_of_a_remembered_token_are_good_and_not_remembered() {
    use overlay_tokens::VerifiedCache;
    let cache = VerifiedCache::<ClientClaims>::new(16, 1 << 20);
    let issuers = crate::support::issuers();
    let token = chain_issued();
    let kept = cache.verify(&token, &issuers, now()).unwrap();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let mut spellings: Vec<String> = (0..=signature.len())
        .map(|at| {
            let (before, after) = signature.split_at(at);
            format!("{signed}.{before}\r\n{after}")
        })
        .collect();
    // 64 bytes leave four bits of the last character unused.
    let (rest, last) = signature.split_at(signature.len() - 1);
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let place = alphabet.find(last).unwrap();
    spellings.extend((1..16).map(|more| {
        let other = &alphabet[place + more..=place + more];
        format!("{signed}.{rest}{other}")
    }));
    for spelling in spellings {
        cache.verify(&spelling, &issuers, now()).unwrap();
        assert_eq!(cache.len(), 1, "{spelling:?}");
    }
    let again = cache.verify(&token, &issuers, now()).unwrap();
    assert!(std::sync::Arc::ptr_eq(&kept, &again));
}

#[test]
fn the_cache_stays_within_its_bytes() {
    use overlay_tokens::VerifiedCache;
    let cache = VerifiedCache::<ClientClaims>::new(8, 8 * 4096);
    let issuers = crate::support::issuers();
    for number in 0..200 {
        let claims = client(&format!("up=user{number}"), &user())
            .claims(UnixTime::from_secs(ISSUED))
            .unwrap();
        cache
            .verify(&sign(&claims, &org()).unwrap(), &issuers, now())
            .unwrap();
    }
    assert!(!cache.is_empty() && cache.len() <= 32, "{}", cache.len());
}

#[test]
fn a_token_too_long_for_any_receiver_is_not_issued() {
    let mut claims = client_claims();
    claims.opa_policy = Some("x".repeat(60 * 1024));
    assert!(matches!(
        sign(&claims, &org()),
        Err(overlay_tokens::issue::IssueError::TooLong { .. })
    ));
}
