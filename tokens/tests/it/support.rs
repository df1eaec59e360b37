//! Keys, tokens and forgeries for the tests.

use overlay_tokens::claims::{Claims, ClientClaims, ClientPermissions, ServerClaims};
use overlay_tokens::issue::{
    ChainIssuer, ClientToken, OrgIssuer, ServerToken, add_org_issuer_data, sign,
};
use overlay_tokens::{Issuers, Key, TokenError, UnixTime, Unverified, Verified, VerifyKey};
use serde_json::{Value, json};

/// Time of issue of the tokens that are made here.
pub(crate) const ISSUED: i64 = 1_700_000_000;

/// The moment at which they are looked at, an hour later.
pub(crate) fn now() -> UnixTime {
    UnixTime::from_secs(ISSUED + 3600)
}

pub(crate) fn org() -> Key {
    Key::from_seed([1; 32])
}

pub(crate) fn chain() -> Key {
    Key::from_seed([2; 32])
}

pub(crate) fn user() -> Key {
    Key::from_seed([3; 32])
}

pub(crate) fn other_org() -> Key {
    Key::from_seed([5; 32])
}

pub(crate) fn issuers() -> Issuers {
    Issuers::new([
        ("choria".to_owned(), org().public()),
        ("acme".to_owned(), other_org().public()),
    ])
    .unwrap()
}

/// A client that lives for a day.
pub(crate) fn client(callerid: &str, key: &Key) -> ClientToken {
    ClientToken {
        public_key: Some(key.public()),
        validity: std::time::Duration::from_secs(86_400),
        permissions: Some(ClientPermissions {
            fleet_management: true,
            ..ClientPermissions::default()
        }),
        ..ClientToken::new(callerid)
    }
}

pub(crate) fn client_claims() -> ClientClaims {
    client("up=rip", &user())
        .claims(UnixTime::from_secs(ISSUED))
        .unwrap()
}

pub(crate) fn server_claims() -> ServerClaims {
    ServerToken {
        identity: "ginkgo.example.net".into(),
        collectives: vec!["choria".into()],
        public_key: Some(user().public()),
        validity: std::time::Duration::from_secs(86_400),
        ..ServerToken::default()
    }
    .claims(UnixTime::from_secs(ISSUED))
    .unwrap()
}

/// Claims of a chain issuer, not yet signed.
pub(crate) fn chain_issuer_claims() -> ClientClaims {
    let mut claims = client("chain=chain", &chain())
        .claims(UnixTime::from_secs(ISSUED))
        .unwrap();
    add_org_issuer_data(&mut claims.standard, &org()).unwrap();
    claims
}

pub(crate) fn chain_issuer() -> ChainIssuer {
    let token = OrgIssuer::new(org())
        .issue_chain_issuer(
            client("chain=chain", &chain())
                .claims(UnixTime::from_secs(ISSUED))
                .unwrap(),
        )
        .unwrap();
    ChainIssuer::new(&verify::<ClientClaims>(&token).unwrap(), chain()).unwrap()
}

/// Verifies with the first organisation's key.
pub(crate) fn verify<C: Claims>(token: &str) -> Result<Verified<C>, TokenError> {
    verify_at(token, now())
}

pub(crate) fn verify_at<C: Claims>(token: &str, now: UnixTime) -> Result<Verified<C>, TokenError> {
    let key = VerifyKey::from(org().public());
    Ok(Unverified::<C>::decode(token)?.verify_with_key(&key, now)?)
}

/// A token with any header and claims, signed as well as it can be.
pub(crate) fn forge(header: &Value, claims: &Value, key: &Key) -> String {
    let signed = format!("{}.{}", b64(&header.to_string()), b64(&claims.to_string()));
    let signature = key.sign(signed.as_bytes());
    format!("{signed}.{}", b64_bytes(&signature))
}

/// Changes the claims of a token and signs it anew.
pub(crate) fn altered<C: Claims>(claims: &C, key: &Key, change: impl FnOnce(&mut Value)) -> String {
    let mut json = claims.to_json();
    change(&mut json);
    forge(&json!({"alg": "EdDSA", "typ": "JWT"}), &json, key)
}

pub(crate) fn signed<C: Claims>(claims: &C, key: &Key) -> String {
    sign(claims, key).unwrap()
}

pub(crate) fn b64(text: &str) -> String {
    b64_bytes(text.as_bytes())
}

pub(crate) fn b64_bytes(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

/// Decodes base64url as leniently as Go does, on its own account.
pub(crate) fn unb64(text: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    let config = base64::engine::GeneralPurposeConfig::new()
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true);
    let engine = base64::engine::GeneralPurpose::new(&base64::alphabet::URL_SAFE, config);
    engine.decode(text.replace(['\r', '\n'], "")).ok()
}
