//! ID tokens of all sorts, against the keys of one provider.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use openidconnect::core::{
    CoreEdDsaPrivateSigningKey, CoreHmacKey, CoreIdToken, CoreIdTokenClaims, CoreJsonWebKeySet,
    CoreJwsSigningAlgorithm,
};
use openidconnect::{
    Audience, ClientId, EmptyAdditionalClaims, JsonWebKeyId, PrivateSigningKey as _,
    StandardClaims, SubjectIdentifier,
};
use overlay_tokens::UnixTime;

use super::*;
use crate::authenticate::oidc::verify::{Expected, VerifyError, verify};

const NOW: UnixTime = UnixTime {
    secs: 1_700_000_000,
    nanos: 0,
};
const ISSUER: &str = "https://idp.example.net";
const SECRET: &str = "the secret of the client";

struct Key {
    key: CoreEdDsaPrivateSigningKey,
}

impl Key {
    fn new(id: &str) -> Self {
        // What comes before the 32 bytes of an Ed25519 seed in PKCS #8 (RFC 8410, 7).
        let mut der = hex::decode("302e020100300506032b657004220420").expect("hexadecimal");
        let seed = mint::key().seed_text();
        der.extend(hex::decode(seed.as_bytes()).expect("a seed is hexadecimal"));
        let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, der);
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n");
        let id = Some(JsonWebKeyId::new(id.to_owned()));
        Self {
            key: CoreEdDsaPrivateSigningKey::from_ed25519_pem(&pem, id).expect("a key"),
        }
    }

    fn sign(&self, claims: CoreIdTokenClaims) -> CoreIdToken {
        let algorithm = CoreJwsSigningAlgorithm::EdDsa;
        CoreIdToken::new(claims, &self.key, algorithm, None, None).expect("it is signed")
    }

    fn published(keys: &[&Self]) -> CoreJsonWebKeySet {
        let keys = keys.iter().map(|key| key.key.as_verification_key());
        CoreJsonWebKeySet::new(keys.collect())
    }
}

fn after(seconds: i64) -> DateTime<Utc> {
    let now = DateTime::from_timestamp(NOW.secs, 0).expect("a time");
    now + TimeDelta::seconds(seconds)
}

fn claims() -> CoreIdTokenClaims {
    of(ISSUER, &["overlay"], after(300), after(0)).set_nonce(Some(Nonce::new("n".to_owned())))
}

fn of(
    issuer: &str,
    audiences: &[&str],
    expires: DateTime<Utc>,
    issued: DateTime<Utc>,
) -> CoreIdTokenClaims {
    let audiences = audiences
        .iter()
        .map(|&audience| Audience::new(audience.to_owned()));
    CoreIdTokenClaims::new(
        IssuerUrl::new(issuer.to_owned()).expect("an address"),
        audiences.collect(),
        expires,
        issued,
        StandardClaims::new(SubjectIdentifier::new("id-1".to_owned())),
        EmptyAdditionalClaims {},
    )
}

fn judge(
    token: &CoreIdToken,
    keys: &CoreJsonWebKeySet,
    audiences: &[String],
    nonce: Option<&str>,
) -> Result<Claims, VerifyError> {
    let expected = Expected {
        issuer: &IssuerUrl::new(ISSUER.to_owned()).expect("an address"),
        client_id: &ClientId::new("overlay".to_owned()),
        audiences,
        keys,
    };
    let nonce = nonce.map(|nonce| Nonce::new(nonce.to_owned()));
    verify(token, &expected, nonce.as_ref(), NOW)
}

#[test]
fn a_token_of_the_provider_for_this_login_is_believed() {
    let key = Key::new("a");
    let keys = Key::published(&[&Key::new("b"), &key]);
    let claims = judge(&key.sign(claims()), &keys, &[], Some("n")).expect("it is good");
    assert_eq!(claims.subject().ok(), Some("id-1"));
}

#[test]
fn a_token_that_is_not_for_this_login_is_refused() {
    let key = Key::new("a");
    let keys = Key::published(&[&key]);
    let good = || of(ISSUER, &["overlay"], after(300), after(0));
    let nonce = |nonce: &str| Some(Nonce::new(nonce.to_owned()));
    let party = |party: &str| Some(ClientId::new(party.to_owned()));
    let cases = [
        (
            "issuer",
            of(
                "https://evil.example.net",
                &["overlay"],
                after(300),
                after(0),
            ),
        ),
        (
            "issuer with a slash",
            of(
                "https://idp.example.net/",
                &["overlay"],
                after(300),
                after(0),
            ),
        ),
        ("audience", of(ISSUER, &["another"], after(300), after(0))),
        (
            "second audience",
            of(ISSUER, &["overlay", "another"], after(300), after(0)),
        ),
        ("no audience", of(ISSUER, &[], after(300), after(0))),
        ("expired", of(ISSUER, &["overlay"], after(0), after(-300))),
        (
            "long expired",
            of(ISSUER, &["overlay"], after(-86_400), after(-90_000)),
        ),
        (
            "from the future",
            of(ISSUER, &["overlay"], after(90_000), after(86_400)),
        ),
        ("party", good().set_authorized_party(party("another"))),
    ];
    for (name, claims) in cases {
        let token = key.sign(claims.set_nonce(nonce("n")));
        let fault = judge(&token, &keys, &[], Some("n")).expect_err(name);
        assert!(!fault.may_be_a_new_key(), "{name}: {fault:?}");
    }
    for (name, claims) in [
        ("no nonce", good()),
        ("nonce", good().set_nonce(nonce("another"))),
        ("empty nonce", good().set_nonce(nonce(""))),
    ] {
        assert!(
            judge(&key.sign(claims), &keys, &[], Some("n")).is_err(),
            "{name}"
        );
    }
}

#[test]
fn of_several_audiences_all_are_known_and_one_is_the_party() {
    let key = Key::new("a");
    let keys = Key::published(&[&key]);
    let both = || of(ISSUER, &["overlay", "portal"], after(300), after(0));
    let known = ["portal".to_owned()];
    let party = |party: &str| Some(ClientId::new(party.to_owned()));
    let judged = |claims| judge(&key.sign(claims), &keys, &known, None);
    assert!(judged(both().set_authorized_party(party("overlay"))).is_ok());
    assert_eq!(
        judged(both().set_authorized_party(party("portal"))),
        Err(VerifyError::Party)
    );
    assert_eq!(judged(both()), Err(VerifyError::Party));
}

#[test]
fn a_key_that_is_not_published_may_be_new_and_nothing_else_helps() {
    let (key, other) = (Key::new("a"), Key::new("b"));
    let token = key.sign(claims());
    let unknown = judge(&token, &Key::published(&[&other]), &[], Some("n"));
    assert!(unknown.expect_err("unknown").may_be_a_new_key());
    // The provider may give a new key an old name.
    let same_name = judge(&token, &Key::published(&[&Key::new("a")]), &[], Some("n"));
    assert!(same_name.expect_err("another key").may_be_a_new_key());
    let none = judge(&token, &Key::published(&[]), &[], Some("n"));
    assert!(none.expect_err("no keys").may_be_a_new_key());
}

#[test]
fn what_is_signed_with_a_shared_secret_or_not_at_all_proves_no_provider() {
    let key = Key::new("a");
    let keys = Key::published(&[&key]);
    let shared = CoreIdToken::new(
        claims(),
        &CoreHmacKey::new(SECRET),
        CoreJwsSigningAlgorithm::HmacSha256,
        None,
        None,
    );
    let fault = judge(&shared.expect("it is signed"), &keys, &[], Some("n")).expect_err("HS256");
    assert!(!fault.may_be_a_new_key(), "{fault:?}");

    let signed = key.sign(claims()).to_string();
    let mut parts = signed.split('.');
    let (head, payload, signature) = (parts.next(), parts.next(), parts.next());
    let [head, payload, signature] = [head, payload, signature].map(Option::unwrap_or_default);
    let none = URL_SAFE_NO_PAD.encode(br#"{"alg":"none"}"#);
    let other = URL_SAFE_NO_PAD
        .encode(serde_json::to_vec(&of(ISSUER, &["overlay"], after(301), after(0))).expect("JSON"));
    for text in [
        format!("{none}.{payload}."),
        format!("{none}.{payload}.{signature}"),
        format!("{head}.{payload}."),
        format!("{head}.{other}.{signature}"),
    ] {
        let verdict = text
            .parse::<CoreIdToken>()
            .map_err(|error| error.to_string())
            .and_then(|token| judge(&token, &keys, &[], None).map_err(|fault| fault.to_string()));
        assert!(verdict.is_err(), "{text}");
    }
}
