//! Tokens of clients, servers and provisioning, and key files.

use overlay_tokens::claims::{Claims, ClientClaims, ProvisioningClaims, ServerClaims};
use overlay_tokens::rsa::{RsaPrivate, RsaPublic};
use overlay_tokens::{Issuers, Key, PublicKey, Token, Unverified, VerifyKey, purpose};

use crate::{NOW, ORG, STRANGER, sign};

/// Decodes and verifies a token; bytes that begin with a brace are claims, which are signed first.
///
/// Holds: no key but the right one verifies; what is verified has not expired and reads the same again.
pub fn tokens(data: &[u8]) {
    if data.first() == Some(&b'{') {
        let signed = sign(r#"{"alg":"EdDSA","typ":"JWT"}"#, data, |bytes| {
            ORG.sign(bytes).to_vec()
        });
        token(&signed);
    }
    drop(VerifyKey::from_file_content(data));
    drop(Key::from_seed_text(data));
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    if let Ok(key) = text.parse::<PublicKey>() {
        assert_eq!(
            key.to_string().parse::<PublicKey>(),
            Ok(key),
            "a public key changes when printed"
        );
    }
    if text.starts_with("-----BEGIN") {
        drop(RsaPublic::from_pem(text));
        drop(RsaPrivate::from_pem(text));
    }
    token(text);
}

fn token(text: &str) {
    if let Ok(token) = Token::decode(text) {
        let known = purpose(text).expect("a decoded token has a purpose");
        let expected = match token {
            Token::Client(_) => ClientClaims::PURPOSE,
            Token::Server(_) => ServerClaims::PURPOSE,
            Token::Provisioning(_) => ProvisioningClaims::PURPOSE,
            Token::Unknown(_) => known.clone(),
        };
        assert_eq!(known, expected, "a token is decoded as something else");
    }
    verify::<ClientClaims>(text);
    verify::<ServerClaims>(text);
    verify::<ProvisioningClaims>(text);
}

fn verify<C: Claims>(text: &str) {
    let Ok(token) = Unverified::<C>::decode(text) else {
        return;
    };
    let stranger = VerifyKey::from(STRANGER.public());
    assert!(
        token.clone().verify_with_key(&stranger, NOW).is_err(),
        "a stranger's key verifies"
    );
    let issuers = Issuers::new([("choria".to_owned(), ORG.public())]).expect("one issuer");
    drop(token.clone().verify(&issuers, NOW));
    let org = VerifyKey::from(ORG.public());
    let Ok(verified) = token.verify_with_key(&org, NOW) else {
        return;
    };
    assert!(
        verified.expires_at().is_none_or(|end| end > NOW.secs),
        "an expired token is verified"
    );
    let again = Unverified::<C>::decode(verified.text()).expect("a verified token decodes");
    assert!(
        again.verify_with_key(&org, NOW).is_ok(),
        "a verified token is refused at second sight"
    );
    assert!(verified.to_json().is_object());
    drop(verified.public_key());
}
