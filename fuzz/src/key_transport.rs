//! Private keys on their way to a node, and proofs of possession.

use overlay_tokens::key_transport::{
    ExchangeKey, SharedSecret, decrypt_private_key, encrypt_private_key,
};
use overlay_tokens::{sign_possession, sign_renewal, verify_possession, verify_renewal};

use crate::{ORG, STRANGER};

/// Reads a text as an encrypted key, as a public key for an exchange, and as a nonce with a signature.
///
/// Holds: what is decrypted encrypts and decrypts to itself; no other secret opens it; no proof is one of another nonce.
pub fn key_transport(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    let node = ExchangeKey::from_bytes([7; 32]);
    for (secret, other) in [([7; 32], [8; 32]), ([8; 32], [7; 32])] {
        let (secret, other) = (
            SharedSecret::from_bytes(secret),
            SharedSecret::from_bytes(other),
        );
        // a text that is a plain key travels, one that is an encrypted key arrives
        if let Ok(sent) = encrypt_private_key(text, &secret, [3; 16]) {
            arrives(&sent, &secret, &other);
        }
        if let Ok(key) = decrypt_private_key(text, &secret) {
            let sent = encrypt_private_key(&key, &secret, [3; 16]).expect("a key is sent");
            arrives(&sent, &secret, &other);
            let again = decrypt_private_key(&sent, &secret).expect("it arrives");
            assert!(again == key, "a key changes on its way");
        }
    }
    if let Ok(shared) = node.shared(text) {
        assert!(*shared.expose() != [0; 32], "nothing is secret");
    }
    let (nonce, rest) = text.split_once('\n').unwrap_or((text, ""));
    let (public, signature) = rest.split_once('\n').unwrap_or((rest, ""));
    if let Ok(key) = verify_possession(nonce, public, signature) {
        let other = format!("{nonce}0");
        assert!(
            verify_possession(&other, public, signature).is_err(),
            "a proof is one of another nonce"
        );
        assert!(!key.is_weak(), "a weak key proves something");
        assert!(verify_renewal(&key, nonce, signature).is_err() || nonce.is_empty());
    }
    if let Ok(signature) = sign_possession(&ORG, nonce) {
        let public = ORG.public().to_string();
        assert!(verify_possession(nonce, &public, &signature).is_ok());
        assert!(verify_renewal(&ORG.public(), nonce, &signature).is_err());
    }
    if let Ok(signature) = sign_renewal(&ORG, nonce) {
        assert!(verify_renewal(&ORG.public(), nonce, &signature).is_ok());
        assert!(verify_renewal(&STRANGER.public(), nonce, &signature).is_err());
    }
}

fn arrives(sent: &str, secret: &SharedSecret, other: &SharedSecret) {
    assert!(decrypt_private_key(sent, secret).is_ok(), "a key is lost");
    assert!(
        decrypt_private_key(sent, other).is_err(),
        "another secret opens it"
    );
}
