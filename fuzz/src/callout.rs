//! Authorization requests of nats-server.

use std::sync::LazyLock;

use nkeys::{KeyPair, KeyPairType};
use overlay_tokens::broker_jwt::{AccountKey, CalloutVerifier, CurveKey, decode_request};

use crate::{NOW, sign};

/// The account key that requests are addressed to, as in the captured ones.
static ACCOUNT: LazyLock<AccountKey> =
    LazyLock::new(|| AccountKey::from_raw([0x21; 32]).expect("an account key"));

/// The key that requests are sealed for, as in the captured ones.
static CURVE: LazyLock<CurveKey> = LazyLock::new(|| CurveKey::from_raw([0x31; 32]));

/// A server that signs whatever it is given.
static SERVER: LazyLock<KeyPair> =
    LazyLock::new(|| KeyPair::new_from_raw(KeyPairType::Server, [0x41; 32]).expect("a server key"));

/// Decodes a request; bytes that begin with a brace are claims, which a server signs first.
///
/// Holds: what is accepted names its server and is not overdue; no changed byte of it is accepted; what is not sealed
/// for us does not open.
pub fn callout_request(data: &[u8]) {
    if data.first() == Some(&b'{') {
        let text = String::from_utf8_lossy(data);
        let claims = text
            .replace("@SERVER@", &SERVER.public_key())
            .replace("@ACCOUNT@", ACCOUNT.public());
        let header = r#"{"typ":"JWT","alg":"ed25519-nkey"}"#;
        let sealer = CurveKey::from_raw([0x51; 32]);
        let claims = claims.replace("@XKEY@", sealer.public());
        let signed = sign(header, claims.as_bytes(), |bytes| {
            SERVER.sign(bytes).expect("a signature")
        });
        request(signed.as_bytes());
        let sealed = sealer
            .seal(CURVE.public(), signed.as_bytes())
            .expect("a sealed request");
        let verifier = CalloutVerifier::new(ACCOUNT.public());
        let first = verifier.decode_sealed(&CURVE, sealer.public(), &sealed, NOW);
        let second = verifier.decode_sealed(&CURVE, sealer.public(), &sealed, NOW);
        assert_eq!(
            first.is_ok(),
            second.is_ok(),
            "a sealed request is judged anew"
        );
    }
    request(data);
    let sender = CurveKey::from_raw([0x61; 32]);
    assert!(
        CURVE.open(sender.public(), data).is_err(),
        "what nobody sealed opens"
    );
    if let Ok(text) = str::from_utf8(data) {
        drop(CURVE.open(text, data));
        drop(AccountKey::from_seed(text.trim()));
        drop(CurveKey::from_seed(text.trim()));
    }
}

fn request(data: &[u8]) {
    let Ok(request) = decode_request(data, ACCOUNT.public(), NOW) else {
        return;
    };
    assert!(
        request.server_id.id.starts_with('N') && request.user_nkey.starts_with('U'),
        "a request of nobody"
    );
    assert!(request.exp >= NOW.secs, "an overdue request");
    assert!(!format!("{request:?}").is_empty());
    let at = data.len() / 2;
    let mut changed = data.to_vec();
    changed[at] ^= 1;
    assert!(
        decode_request(&changed, ACCOUNT.public(), NOW).is_err(),
        "a changed request is accepted"
    );
    assert!(
        decode_request(
            data,
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            NOW
        )
        .is_err(),
        "a request to somebody else is accepted"
    );
}
