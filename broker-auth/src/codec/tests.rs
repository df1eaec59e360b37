use overlay_tokens::broker_jwt::{UserKey, decode_request};
use overlay_tokens::{Issuers, Key};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::decide::{Refusal, Role, decide};
use crate::permissions::Permissions;
use crate::policy::{Memory, Policy, ProvisioningCompat};
use crate::reason::Reason;

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

fn account() -> AccountKey {
    AccountKey::from_raw([0x21; 32]).unwrap()
}

/// Changes the claims of a request.
type Change = fn(&mut Value);

/// A request as nats-server makes it, for any claims; signed by a server key.
fn request(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let server = nkeys::KeyPair::new_from_raw(nkeys::KeyPairType::Server, [7; 32]).unwrap();
    let mut claims = json!({
        "aud": "nats-authorization-request", "exp": NOW.secs + 2, "iat": NOW.secs, "jti": "x",
        "iss": server.public_key(), "sub": account().public(),
        "nats": {
            "type": "authorization_request", "version": 2,
            "server_id": { "name": "b1", "host": "127.0.0.1", "id": server.public_key(), "version": "2.15.1" },
            "user_nkey": UserKey::from_raw([8; 32]).unwrap().public(),
            "client_info": { "host": "192.0.2.1", "id": 5, "kind": "Client", "type": "nats" },
            "connect_opts": { "name": "n1", "lang": "go", "protocol": 1 },
            "client_tls": { "version": "1.3", "cipher": "x" },
        },
    });
    change(&mut claims);
    let signed = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(r#"{"typ":"JWT","alg":"ed25519-nkey"}"#),
        URL_SAFE_NO_PAD.encode(claims.to_string())
    );
    let signature = server.sign(signed.as_bytes()).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)).into_bytes()
}

fn claims(token: &str) -> Value {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let claims = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap()
}

fn login() -> Decision {
    Decision::Allow(crate::decide::Login {
        role: Role::Client,
        account: "choria".to_owned(),
        name: "up=rip".to_owned(),
        expires: Some(NOW.secs + 60),
        permissions: Permissions::unprovisioned(None, ProvisioningCompat::default()),
        dropped: Vec::new(),
    })
}

#[test]
fn an_answer_is_about_the_user_and_for_the_server_that_asked() {
    let codec = Codec::new(account(), None);
    let asked = codec.read(&request(|_| {}), None, NOW).unwrap();
    let answer = String::from_utf8(codec.write(&asked, &login(), None, NOW).unwrap()).unwrap();
    let answer = claims(&answer);
    assert_eq!(
        (&answer["sub"], &answer["aud"]),
        (&json!(asked.user_nkey), &json!(asked.server_id.id))
    );
    assert_eq!(answer["nats"]["type"], "authorization_response");
    assert_eq!(answer["nats"].get("error"), None);
    let user = claims(answer["nats"]["jwt"].as_str().unwrap());
    assert_eq!(
        (&user["aud"], &user["name"], &user["exp"]),
        (&json!("choria"), &json!("up=rip"), &json!(NOW.secs + 60))
    );
    assert_eq!(user["sub"], answer["sub"]);
    assert_eq!(user["nats"]["pub"].get("deny"), None);
    assert_eq!(user["nats"].get("issuer_account"), None);
}

#[test]
fn nothing_allowed_is_written_as_everything_denied() {
    let codec = Codec::new(account(), None);
    let asked = codec.read(&request(|_| {}), None, NOW).unwrap();
    let Decision::Allow(login) = login() else {
        unreachable!()
    };
    let nothing = Decision::Allow(crate::decide::Login {
        permissions: Permissions::nothing(),
        ..login
    });
    let answer = String::from_utf8(codec.write(&asked, &nothing, None, NOW).unwrap()).unwrap();
    let user = claims(claims(&answer)["nats"]["jwt"].as_str().unwrap());
    assert_eq!(user["nats"]["pub"], json!({ "deny": [">"] }));
    assert_eq!(user["nats"]["sub"], json!({ "deny": [">"] }));
}

#[test]
fn a_refusal_has_a_reason_and_no_user() {
    let codec = Codec::new(account(), None);
    let asked = codec.read(&request(|_| {}), None, NOW).unwrap();
    let refusal = Decision::Refuse(Refusal::from(Reason::TokenExpired));
    let answer = String::from_utf8(codec.write(&asked, &refusal, None, NOW).unwrap()).unwrap();
    let answer = claims(&answer);
    assert_eq!(answer["nats"]["error"], Reason::TokenExpired.sentence());
    assert_eq!(answer["nats"].get("jwt"), None);
}

#[test]
fn a_sealed_request_gets_a_sealed_answer() {
    let (ours, servers) = (CurveKey::from_raw([1; 32]), CurveKey::from_raw([2; 32]));
    let plain = request(|claims| claims["nats"]["server_id"]["xkey"] = servers.public().into());
    let sealed = servers.seal(ours.public(), &plain).unwrap();
    let public = ours.public().to_owned();
    let codec = Codec::new(account(), Some(ours));
    let sealer = Some(servers.public());
    let asked = codec.read(&sealed, sealer, NOW).unwrap();
    let answer = codec.write(&asked, &login(), sealer, NOW).unwrap();
    let answer = servers.open(&public, &answer).unwrap();
    assert!(answer.starts_with(b"eyJ"));
    assert!(matches!(
        codec.read(&sealed, Some(CurveKey::from_raw([3; 32]).public()), NOW),
        Err(ReadError::Callout(_))
    ));
    assert!(matches!(
        Codec::new(account(), None).read(&sealed, sealer, NOW),
        Err(ReadError::NoCurveKey)
    ));
}

#[test]
fn requests_that_are_not_for_us_or_not_whole_are_not_read() {
    let codec = Codec::new(account(), None);
    let changes: [Change; 8] = [
        |claims| claims["aud"] = "other".into(),
        |claims| claims["sub"] = AccountKey::from_raw([9; 32]).unwrap().public().into(),
        |claims| claims["nats"]["type"] = "user".into(),
        |claims| claims["nats"]["version"] = 1.into(),
        |claims| claims["nats"]["user_nkey"] = "U".into(),
        |claims| claims["nats"]["server_id"]["id"] = "N".into(),
        |claims| claims["exp"] = (NOW.secs - 2 * i64::from(CLOCK_LEEWAY)).into(),
        |claims| claims["nats"] = Value::Null,
    ];
    for change in changes {
        assert!(codec.read(&request(change), None, NOW).is_err());
    }
    let good = request(|_| {});
    for bad in [
        &good[..good.len() / 2],
        &good[..good.len() - 4],
        b"",
        b"...",
        b"xkv1",
        &[0xff; 300],
    ] {
        assert!(codec.read(bad, None, NOW).is_err());
    }
    let mut changed = good;
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    assert!(codec.read(&changed, None, NOW).is_err());
}

#[test]
fn an_attempt_is_what_the_request_says() {
    let read = |change: Change| decode_request(&request(change), account().public(), NOW).unwrap();
    let kinds: [(Change, Kind); 5] = [
        (|_| {}, Kind::Client),
        (
            |claims| claims["nats"]["client_info"]["type"] = "websocket".into(),
            Kind::Client,
        ),
        (
            |claims| claims["nats"]["client_info"]["type"] = "mqtt".into(),
            Kind::Mqtt,
        ),
        (
            |claims| claims["nats"]["client_info"]["kind"] = "Leafnode".into(),
            Kind::Leaf,
        ),
        (
            |claims| claims["nats"]["client_info"]["kind"] = "Router".into(),
            Kind::Other,
        ),
    ];
    for (change, kind) in kinds {
        assert_eq!(Attempt::from(&read(change)).kind, kind);
    }
    let tls: [(Change, Tls); 4] = [
        (
            |claims| claims["nats"]["client_tls"] = Value::Null,
            Tls::None,
        ),
        (|_| {}, Tls::Encrypted),
        (
            |claims| claims["nats"]["client_tls"]["certs"] = json!(["pem"]),
            Tls::Encrypted,
        ),
        (
            |claims| claims["nats"]["client_tls"]["verified_chains"] = json!([["pem"]]),
            Tls::Verified,
        ),
    ];
    for (change, tls) in tls {
        assert_eq!(Attempt::from(&read(change)).tls, tls);
    }
    let request = read(|claims| {
        claims["nats"]["connect_opts"]["auth_token"] = "\ntoken\r\n".into();
        claims["nats"]["client_info"]["user"] = "[REDACTED]".into();
        claims["nats"]["connect_opts"]["jwt"] = "ignored".into();
    });
    let attempt = Attempt::from(&request);
    assert_eq!(
        (attempt.token.0, attempt.user, attempt.name),
        ("token", "", "n1")
    );
    assert!(!format!("{attempt:?}").contains("token\""));
}

proptest! {
    #[test]
    fn no_request_panics_or_is_let_in_unproved(bytes in prop::collection::vec(any::<u8>(), 0..400), texts in any::<[String; 6]>()) {
        let codec = Codec::new(account(), Some(CurveKey::from_raw([1; 32])));
        prop_assert!(codec.read(&bytes, None, NOW).is_err());
        prop_assert!(codec.read(&bytes, Some(&texts[0]), NOW).is_err());
        let bytes = request(|claims| {
            for (member, text) in ["auth_token", "user", "pass", "sig", "name", "lang"].into_iter().zip(&texts) {
                claims["nats"]["connect_opts"][member] = text.as_str().into();
            }
        });
        let asked = codec.read(&bytes, None, NOW).unwrap();
        let issuers = Issuers::new([("choria".to_owned(), Key::from_seed([1; 32]).public())]).unwrap();
        let policy = Policy::new(issuers, "choria", Memory::new(0));
        let decision = decide(&Attempt::from(&asked), &policy, NOW);
        prop_assert!(matches!(decision, Decision::Refuse(_)));
        codec.write(&asked, &decision, None, NOW).unwrap();
    }
}
