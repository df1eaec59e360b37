//! The numbered conformance cases of enrolment that keys and tokens decide.

use overlay_tokens::claims::{OverlayExtension, ProvisioningClaims, ServerClaims};
use overlay_tokens::issue::{ProvisioningToken, sign};
use overlay_tokens::{
    ChainError, Key, PossessionError, TokenError, UnixTime, VerifyError, sign_possession,
    verify_possession,
};
use serde_json::{Value, json};

use crate::support::{
    ISSUED, altered, chain, chain_issuer, now, org, server_claims, signed, verify, verify_at,
};

/// The server token that a provisioner issues, its claims changed and signed by the provisioner again.
fn issued(change: impl FnOnce(&mut Value)) -> String {
    let token = chain_issuer().issue(server_claims()).unwrap();
    let claims = verify::<ServerClaims>(&token).unwrap().into_claims();
    altered(&claims, &chain(), change)
}

fn refusal(token: &str) -> VerifyError {
    match verify::<ServerClaims>(token) {
        Err(TokenError::Verify(error)) => error,
        other => panic!("not refused by verification but {other:?}"),
    }
}

#[test]
fn provision_case_18_the_nonce_is_signed_as_text_and_never_as_what_it_decodes_to() {
    let nonce = "000102030405060708090a0b0c0d0e0f";
    let key = Key::from_seed([3; 32]);
    let public = key.public().to_string();
    let text = sign_possession(&key, nonce).unwrap();
    assert_eq!(verify_possession(nonce, &public, &text), Ok(key.public()));
    let decoded = hex::encode(key.sign(&hex::decode(nonce).unwrap()));
    assert_eq!(
        verify_possession(nonce, &public, &decoded),
        Err(PossessionError::Invalid)
    );
}

#[test]
fn provision_case_41_a_server_token_whose_id_is_of_another_second_is_refused() {
    verify::<ServerClaims>(&issued(|_claims| {})).unwrap();
    for offset in [-1, 1, 3600] {
        let token = issued(|claims| claims["iat"] = json!(ISSUED + offset));
        let error = refusal(&token);
        assert_eq!(error, VerifyError::Chain(ChainError::IdTime));
    }
    let shown = ChainError::IdTime.to_string();
    assert!(shown.contains("id"), "{shown}");
}

#[test]
fn provision_case_42_a_chain_of_a_made_up_provisioner_is_refused() {
    let attacker = Key::from_seed([9; 32]);
    let token = chain_issuer().issue(server_claims()).unwrap();
    let claims = verify::<ServerClaims>(&token).unwrap().into_claims();
    let forged = altered(&claims, &attacker, |claims| {
        let jti = claims["jti"].as_str().unwrap().to_owned();
        let first = hex::encode(attacker.sign(format!("{jti}.{}", attacker.public()).as_bytes()));
        let second = hex::encode(attacker.sign(format!("{jti}.{first}").as_bytes()));
        claims["iss"] = json!(format!("C-{jti}.{}", attacker.public()));
        claims["tcs"] = json!(format!("{first}.{second}"));
    });
    assert_eq!(
        refusal(&forged),
        VerifyError::Chain(ChainError::Organisation)
    );
}

#[test]
fn provision_case_43_the_end_of_the_provisioner_ends_what_it_issued() {
    let without = issued(|claims| {
        claims.as_object_mut().unwrap().remove("issexp");
    });
    assert_eq!(
        refusal(&without),
        VerifyError::Chain(ChainError::Missing { claim: "issexp" })
    );
    let past = issued(|claims| {
        claims["issexp"] = json!(now().secs - 1);
        claims["exp"] = json!(now().secs + 86_400);
    });
    assert_eq!(refusal(&past), VerifyError::IssuerExpired);
    let before = UnixTime::from_secs(now().secs - 2);
    verify_at::<ServerClaims>(&past, before).unwrap();
}

#[test]
fn a_provisioning_token_carries_what_is_ours_under_its_signature() {
    let extension = OverlayExtension {
        ca_sha256: vec![[0xab; 32]],
        identity: Some("n1.example.net".parse().unwrap()),
        one_time: true,
    };
    let mut extensions = json!({"site": "lon"}).as_object().unwrap().clone();
    extension.write(&mut extensions);
    let token = ProvisioningToken {
        token: "s3cret".into(),
        urls: vec!["nats://b1.example.net:4222".to_owned()],
        extensions: Some(extensions),
        ..ProvisioningToken::default()
    };
    let claims = token.claims(UnixTime::from_secs(ISSUED)).unwrap();
    let verified =
        verify_at::<ProvisioningClaims>(&signed(&claims, &org()), UnixTime::from_secs(ISSUED + 1))
            .unwrap();
    assert_eq!(verified.overlay(), Ok(extension));
    assert_eq!(verified.extensions.as_ref().unwrap()["site"], "lon");
    let plain = ProvisioningToken {
        token: "s3cret".into(),
        urls: vec!["nats://b1.example.net:4222".to_owned()],
        ..ProvisioningToken::default()
    };
    let claims = plain.claims(UnixTime::from_secs(ISSUED)).unwrap();
    assert!(claims.overlay().unwrap().is_empty());
    assert!(sign(&claims, &org()).unwrap().len() < 1024);
}
