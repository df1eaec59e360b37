//! Authorization requests as nats-server sent them, and forgeries of them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use overlay_tokens::UnixTime;
use overlay_tokens::broker_jwt::{
    AccountKey, CalloutError, CalloutRequest, CalloutVerifier, CurveKey, MAX_CALLOUT_BYTES,
    decode_request,
};
use serde_json::{Value, json};

use crate::support::b64;

fn file() -> Value {
    serde_json::from_str(include_str!("../data/callout-requests.json")).unwrap()
}

fn raw(settings: &Value, member: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    hex::decode_to_slice(settings[member].as_str().unwrap(), &mut bytes).unwrap();
    bytes
}

fn moment(case: &Value) -> UnixTime {
    UnixTime::from_secs(case["now"].as_i64().unwrap())
}

fn same(request: &CalloutRequest, claims: &Value) {
    let nats = &claims["nats"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    assert_eq!(request.user_nkey, text(&nats["user_nkey"]));
    let (server, client, connect) = (
        &nats["server_id"],
        &nats["client_info"],
        &nats["connect_opts"],
    );
    assert_eq!(request.server_id.id, text(&claims["iss"]));
    assert_eq!(request.server_id.name, text(&server["name"]));
    assert_eq!(request.server_id.version, text(&server["version"]));
    assert_eq!(request.server_id.xkey, text(&server["xkey"]));
    assert_eq!(request.client_info.host, text(&client["host"]));
    assert_eq!(
        request.client_info.id,
        client["id"].as_u64().unwrap_or_default()
    );
    assert_eq!(request.client_info.kind, text(&client["kind"]));
    assert_eq!(request.client_info.type_, text(&client["type"]));
    assert_eq!(request.client_info.nonce, text(&client["nonce"]));
    assert_eq!(
        request.connect_opts.auth_token.expose(),
        text(&connect["auth_token"])
    );
    assert_eq!(request.connect_opts.sig, text(&connect["sig"]));
    assert_eq!(request.connect_opts.user, text(&connect["user"]));
    assert_eq!(request.connect_opts.pass.expose(), text(&connect["pass"]));
    assert_eq!(request.exp, claims["exp"].as_i64().unwrap());
    assert_eq!(
        request.client_tls.is_some(),
        nats.get("client_tls").is_some()
    );
    if let Some(tls) = &request.client_tls {
        assert_eq!(
            json!(tls.verified_chains),
            nats["client_tls"]
                .get("verified_chains")
                .cloned()
                .unwrap_or(json!([]))
        );
        assert_eq!(tls.version, text(&nats["client_tls"]["version"]));
    }
}

#[test]
fn requests_of_nats_server_are_read_sealed_and_open() {
    let file = file();
    let settings = &file["settings"];
    let issuer = settings["callout_issuer"].as_str().unwrap();
    let account = AccountKey::from_raw(raw(settings, "callout_issuer_raw_seed_hex")).unwrap();
    assert_eq!(account.public(), issuer);
    let curve = CurveKey::from_raw(raw(settings, "xkey_raw_seed_hex"));
    assert_eq!(curve.public(), settings["xkey_public"].as_str().unwrap());
    let verifier = CalloutVerifier::new(issuer);
    let mut sealed_seen = 0;
    for case in file["cases"].as_array().unwrap() {
        let jwt = case["request_jwt"].as_str().unwrap();
        let now = moment(case);
        same(
            &verifier.decode(jwt.as_bytes(), now).unwrap(),
            &case["request_claims"],
        );
        let Some(sealed) = case["sealed_request_b64"].as_str() else {
            continue;
        };
        sealed_seen += 1;
        let sealed = STANDARD.decode(sealed).unwrap();
        let sender = case["header_nats_server_xkey"].as_str().unwrap();
        assert_eq!(curve.open(sender, &sealed).unwrap(), jwt.as_bytes());
        for _ in 0..2 {
            let request = verifier
                .decode_sealed(&curve, sender, &sealed, now)
                .unwrap();
            same(&request, &case["request_claims"]);
        }
    }
    assert!(sealed_seen > 0);
}

#[test]
fn a_request_for_somebody_else_or_too_late_is_refused() {
    let file = file();
    let case = &file["cases"][0];
    let issuer = file["settings"]["callout_issuer"].as_str().unwrap();
    let jwt = case["request_jwt"].as_str().unwrap().as_bytes();
    let exp = case["request_claims"]["exp"].as_i64().unwrap();
    let other = AccountKey::from_raw([1; 32]).unwrap();
    assert!(matches!(
        decode_request(jwt, other.public(), moment(case)),
        Err(CalloutError::Claim { claim: "sub" })
    ));
    let at = |secs| decode_request(jwt, issuer, UnixTime::from_secs(secs));
    at(exp - 1).unwrap();
    assert!(matches!(at(exp), Err(CalloutError::Expired { late: 0 })));
    let lenient = CalloutVerifier::new(issuer).with_leeway(30);
    lenient.decode(jwt, UnixTime::from_secs(exp + 29)).unwrap();
    assert!(matches!(
        lenient.decode(jwt, UnixTime::from_secs(exp + 30)),
        Err(CalloutError::Expired { late: 30 })
    ));
}

#[test]
fn a_changed_request_is_refused() {
    let file = file();
    let case = &file["cases"][0];
    let issuer = file["settings"]["callout_issuer"].as_str().unwrap();
    let segments: Vec<_> = case["request_jwt"].as_str().unwrap().split('.').collect();
    let with = |header: &str, claims: &Value, signature: &str| {
        let jwt = format!("{}.{}.{signature}", b64(header), b64(&claims.to_string()));
        decode_request(jwt.as_bytes(), issuer, moment(case)).unwrap_err()
    };
    const HEADER: &str = r#"{"typ":"JWT","alg":"ed25519-nkey"}"#;
    let claims = &case["request_claims"];
    for (pointer, value) in [
        ("/nats/client_info/kind", json!("Client2")),
        ("/nats/connect_opts/auth_token", json!("other")),
        ("/exp", json!(4_000_000_000_u64)),
    ] {
        let mut changed = claims.clone();
        *changed.pointer_mut(pointer).unwrap() = value;
        assert!(
            matches!(with(HEADER, &changed, segments[2]), CalloutError::Signature),
            "{pointer}"
        );
    }
    let mut unusable = claims.clone();
    unusable["iss"] = json!(issuer);
    assert!(matches!(
        with(HEADER, &unusable, segments[2]),
        CalloutError::Key { .. }
    ));
    for header in [
        r#"{"typ":"JWT","alg":"none"}"#,
        r#"{"typ":"JWT","alg":"EdDSA"}"#,
        "{}",
    ] {
        assert!(
            matches!(with(header, claims, ""), CalloutError::Form),
            "{header}"
        );
    }
    assert!(matches!(with(HEADER, claims, ""), CalloutError::Signature));
    for bytes in [
        b"".as_slice(),
        b"..",
        b"a.b.c",
        b"\xff\xff",
        segments[0].as_bytes(),
    ] {
        decode_request(bytes, issuer, moment(case)).unwrap_err();
    }
    let long = vec![b'a'; MAX_CALLOUT_BYTES + 1];
    assert!(matches!(
        decode_request(&long, issuer, moment(case)),
        Err(CalloutError::TooLong { .. })
    ));
}

#[test]
fn a_curve_key_speaks_only_for_the_server_that_proved_it() {
    let file = file();
    let settings = &file["settings"];
    let case = &file["cases"][0];
    let issuer = settings["callout_issuer"].as_str().unwrap();
    let service = CurveKey::from_raw(raw(settings, "xkey_raw_seed_hex"));
    let verifier = CalloutVerifier::new(issuer);
    let jwt = case["request_jwt"].as_str().unwrap();
    // A stranger seals a request that names another curve key than the stranger's.
    let stranger = CurveKey::from_raw([7; 32]);
    let sealed = stranger.seal(service.public(), jwt.as_bytes()).unwrap();
    assert!(matches!(
        verifier.decode_sealed(&service, stranger.public(), &sealed, moment(case)),
        Err(CalloutError::Claim { claim: "xkey" })
    ));
    // ... or one that names the stranger's, which the server never signed.
    let mut claims = case["request_claims"].clone();
    claims["nats"]["server_id"]["xkey"] = json!(stranger.public());
    let segments: Vec<_> = jwt.split('.').collect();
    let forged = format!(
        "{}.{}.{}",
        segments[0],
        b64(&claims.to_string()),
        segments[2]
    );
    let sealed = stranger.seal(service.public(), forged.as_bytes()).unwrap();
    for _ in 0..2 {
        assert!(matches!(
            verifier.decode_sealed(&service, stranger.public(), &sealed, moment(case)),
            Err(CalloutError::Signature)
        ));
    }
}

#[test]
fn secrets_of_a_request_are_masked() {
    let file = file();
    let case = &file["cases"][0];
    let issuer = file["settings"]["callout_issuer"].as_str().unwrap();
    let jwt = case["request_jwt"].as_str().unwrap().as_bytes();
    let request = decode_request(jwt, issuer, moment(case)).unwrap();
    assert!(!format!("{request:?}").contains(request.connect_opts.auth_token.expose()));
}
