use serde_json::Value;

use super::*;

const NOW: UnixTime = UnixTime::from_secs(1_700_000_000);

fn claims(token: &str) -> Value {
    let segments: Vec<_> = token.split('.').collect();
    assert_eq!(segments.len(), 3);
    assert_eq!(segments[0], HEADER);
    serde_json::from_slice(&encoding::decode_segment(segments[1]).unwrap()).unwrap()
}

#[test]
fn a_side_without_an_allow_list_is_denied_entirely() {
    let key = AccountKey::from_raw([1; 32]).unwrap();
    let user = UserJwt {
        account: "choria".into(),
        name: "up=rip".into(),
        expires: Some(5),
        permissions: Permissions {
            pub_allow: vec!["$SYS.REQ.USER.INFO".into()],
            sub_deny: vec!["a".into()],
            ..Permissions::default()
        },
        ..UserJwt::default()
    };
    let claims = claims(&encode_user(&user, "UX", &key, NOW).unwrap());
    assert_eq!(
        claims["nats"]["pub"],
        serde_json::json!({"allow": ["$SYS.REQ.USER.INFO"]})
    );
    assert_eq!(claims["nats"]["sub"], serde_json::json!({"deny": [">"]}));
    assert_eq!(claims["aud"], "choria");
    assert_eq!(claims["sub"], "UX");
    assert_eq!(claims["iss"], key.public());
    assert_eq!(claims["exp"], 5);
    assert!(claims["nats"].get("issuer_account").is_none());
}

#[test]
fn an_answer_has_either_a_user_or_a_reason() {
    let key = AccountKey::from_raw([1; 32]).unwrap();
    let answer =
        |answer| claims(&encode_response(answer, "UX", "NX", &key, NOW).unwrap())["nats"].clone();
    let granted = answer(Ok("eyJ"));
    assert_eq!(
        (granted["jwt"].as_str(), granted.get("error")),
        (Some("eyJ"), None)
    );
    let refused = answer(Err("no token"));
    assert_eq!(
        (refused.get("jwt"), refused["error"].as_str()),
        (None, Some("no token"))
    );
    assert_eq!(answer(Err(""))["error"], "refused");
}

#[test]
fn the_library_of_nats_verifies_what_we_sign() {
    let key = AccountKey::from_raw([1; 32]).unwrap();
    let token = encode_response(Err("no"), "UX", "NX", &key, NOW).unwrap();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let theirs = nkeys::KeyPair::from_public_key(key.public()).unwrap();
    theirs
        .verify(
            signed.as_bytes(),
            &encoding::decode_segment(signature).unwrap(),
        )
        .unwrap();
}

#[test]
fn answers_are_written_as_the_server_reads_them() {
    let key = AccountKey::from_raw([1; 32]).unwrap();
    let mut user = UserJwt {
        account: "provisioning".into(),
        resp: Some(Responses {
            max: 1,
            ttl: Duration::from_secs(90),
        }),
        ..UserJwt::default()
    };
    let nats = claims(&encode_user(&user, "UX", &key, NOW).unwrap())["nats"].clone();
    assert_eq!(
        nats["resp"],
        serde_json::json!({"max": 1, "ttl": 90_000_000_000_u64})
    );
    user.resp = Some(Responses {
        max: 1,
        ttl: Duration::MAX,
    });
    let nats = claims(&encode_user(&user, "UX", &key, NOW).unwrap())["nats"].clone();
    assert_eq!(nats["resp"]["ttl"], i64::MAX);
    let nats = claims(&encode_user(&UserJwt::default(), "UX", &key, NOW).unwrap())["nats"].clone();
    assert!(nats.get("resp").is_none());
}
