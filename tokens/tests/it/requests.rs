//! The numbered conformance cases of messages that are about verification.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use overlay_protocol::envelope::Limits;
use overlay_protocol::envelope::v2::{Reply, SecureRequest};
use overlay_tokens::claims::{ClientClaims, ClientPermissions};
use overlay_tokens::request::{
    BadReply, ReplyTrust, RequestError, RequestPolicy, RequestVerifier, VerifiedRequest,
    sign_reply, sign_request, verify_reply, verify_request,
};
use overlay_tokens::{
    ChainError, Issuers, Key, PublicKey, TokenError, UnixTime, Unverified, VerifyError, sign_nonce,
};

use crate::support::{
    ISSUED, chain_issuer, client, issuers, now, org, other_org, server_claims, signed, user,
};

const SEED: [u8; 32] = [
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25,
    26, 27, 28, 29, 30, 31,
];
const REQUEST: &str = r#"{"protocol":"io.choria.protocol.v2.request","message":"eyJhZ2VudCI6InJwY3V0aWwiLCJhY3Rpb24iOiJwaW5nIiwiZGF0YSI6e319","id":"2ecvzXAzWRTIbJ5YMQTXGLJmC8V","sender":"client.example.net","caller":"up=bob","collective":"choria","agent":"rpcutil","ttl":60,"time":1700000000000000000,"filter":{"fact":[],"cf_class":[],"agent":["rpcutil"],"identity":[],"compound":[]}}"#;
const REQUEST_SIGNATURE: &str =
    "VBzaQQ0KINYnhb4EjnSCCgJW3oHdjJsBIe1OYZUA1r2J0KFhjGaVnoloBTcONuCyaccjD95VfJfkWJzrqB6cBw==";
const REPLY: &str = r#"{"protocol":"io.choria.protocol.v2.reply","message":"eyJhY3Rpb24iOiJwaW5nIiwic3RhdHVzY29kZSI6MCwic3RhdHVzbXNnIjoiT0siLCJkYXRhIjp7InBvbmciOjE3MDAwMDAwMDB9fQ==","request":"2ecvzXAzWRTIbJ5YMQTXGLJmC8V","sender":"n1.example.net","agent":"rpcutil","time":1700000000500000000}"#;
const REPLY_SIGNATURE: &str =
    "qVEVn8oUd21D3jtym2HDH5IGzvf1Crd/bg0OVowGKgTalalb4b4PSehdB4UDk7IBdcWWZqzYvSwR6W8yyJMOAQ==";

fn delegator() -> Key {
    Key::from_seed([8; 32])
}

fn only(grant: impl FnOnce(&mut ClientPermissions)) -> Option<ClientPermissions> {
    let mut permissions = ClientPermissions::default();
    grant(&mut permissions);
    Some(permissions)
}

fn claims(callerid: &str, key: &Key, grant: impl FnOnce(&mut ClientPermissions)) -> ClientClaims {
    let mut claims = client(callerid, key)
        .claims(UnixTime::from_secs(ISSUED))
        .unwrap();
    claims.permissions = only(grant);
    claims
}

fn fleet_user() -> ClientClaims {
    claims("up=rip", &user(), |granted| granted.fleet_management = true)
}

fn signed_fleet_user() -> ClientClaims {
    claims("up=rip@example.com", &user(), |granted| {
        granted.signed_fleet_management = true
    })
}

fn delegator_claims() -> ClientClaims {
    claims("up=aaa", &delegator(), |granted| {
        granted.authentication_delegator = true
    })
}

fn request(caller: &str) -> Vec<u8> {
    REQUEST.replace("up=bob", caller).into_bytes()
}

/// A request signed by the delegator in the name of `caller`, carrying the caller's token.
fn delegated(caller: &str, token: &str, signer: &str) -> SecureRequest {
    let mut secure = sign_request(request(caller), &delegator(), token);
    secure.signer = Some(signer.to_owned());
    secure
}

/// Verifies with and without a memory of tokens; both must agree.
fn check(secure: &SecureRequest) -> Result<VerifiedRequest, RequestError> {
    check_with(secure, RequestPolicy::default(), now())
}

fn check_with(
    secure: &SecureRequest,
    policy: RequestPolicy,
    now: UnixTime,
) -> Result<VerifiedRequest, RequestError> {
    let without = verify_request(secure, &issuers(), now, &policy);
    let verifier = RequestVerifier::new(issuers(), policy, 16);
    for _ in 0..2 {
        let with = verifier.verify(secure, now);
        assert_eq!(
            with.as_ref().map(|_| ()).map_err(ToString::to_string),
            without.as_ref().map(|_| ()).map_err(ToString::to_string)
        );
    }
    without
}

fn refused(secure: &SecureRequest) -> RequestError {
    check(secure).unwrap_err()
}

#[test]
fn rpc_case_01_the_known_signature_verifies_and_covers_every_byte() {
    let key = Key::from_seed(SEED);
    let public = "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8";
    assert_eq!(key.public(), public.parse::<PublicKey>().unwrap());
    let secure = sign_request(REQUEST.as_bytes().to_vec(), &key, "token\n");
    assert_eq!(STANDARD.encode(&secure.signature), REQUEST_SIGNATURE);
    assert_eq!(secure.caller, "token");
    let reply = sign_reply(REPLY.as_bytes().to_vec(), &key, "token");
    assert_eq!(STANDARD.encode(reply.signature.unwrap()), REPLY_SIGNATURE);
    assert_eq!(
        STANDARD.encode(reply.hash),
        "a2fNAiMo2LPNH+BZHovPg7ucWf7XIK4R2vjHwmbLkGc="
    );
    let nonce =
        "v0-iwrZ_Kmbe-0EzbQxLmT2o4-Mc06IxY8ViAYWMtfEWKkWeme0SsD2ymOYfT7GNky_qLpimiyW3ZLn0ZPBtBw";
    assert_eq!(sign_nonce(&key, "S2Fub25jZQ").unwrap(), nonce);

    let token = signed(&fleet_user(), &org());
    let good = sign_request(request("up=rip"), &user(), &token);
    check(&good).unwrap();
    for place in (0..good.request.len()).step_by(7) {
        let mut flipped = good.clone();
        flipped.request[place] ^= 1;
        assert!(
            matches!(refused(&flipped), RequestError::Signature),
            "byte {place}"
        );
    }
}

#[test]
fn rpc_case_02_the_same_meaning_in_other_bytes_is_refused() {
    let token = signed(&fleet_user(), &org());
    let mut secure = sign_request(request("up=rip"), &user(), &token);
    let value: serde_json::Value = serde_json::from_slice(&secure.request).unwrap();
    secure.request = serde_json::to_vec(&value).unwrap();
    assert!(matches!(refused(&secure), RequestError::Signature));
}

#[test]
fn rpc_case_08_a_garbage_reply_signature_is_flagged() {
    let token = signed(&server_claims(), &org());
    let reply = |sender: &str| REPLY.replace("n1.example.net", sender).into_bytes();
    let trust = |secure: &_| {
        verify_reply(secure, &issuers(), now(), &Limits::default(), None)
            .unwrap()
            .trust
    };
    let good = sign_reply(reply("ginkgo.example.net"), &user(), &token);
    assert!(
        matches!(trust(&good), ReplyTrust::Signed { identity } if identity == "ginkgo.example.net")
    );

    let mut garbage = good.clone();
    garbage.signature = Some(vec![0; 64]);
    assert!(matches!(
        trust(&garbage),
        ReplyTrust::Bad(BadReply::Signature)
    ));
    let by_other = sign_reply(reply("ginkgo.example.net"), &org(), &token);
    assert!(matches!(
        trust(&by_other),
        ReplyTrust::Bad(BadReply::Signature)
    ));
    let as_other = sign_reply(reply("n2.example.net"), &user(), &token);
    assert!(matches!(
        trust(&as_other),
        ReplyTrust::Bad(BadReply::OtherSender { .. })
    ));
    let mut half = good;
    half.sender = None;
    assert!(matches!(trust(&half), ReplyTrust::Bad(BadReply::Half)));
    let untrusted = sign_reply(
        reply("ginkgo.example.net"),
        &user(),
        &signed(&server_claims(), &user()),
    );
    assert!(matches!(
        trust(&untrusted),
        ReplyTrust::Bad(BadReply::Token(_))
    ));
    let client = sign_reply(reply("up=rip"), &user(), &signed(&fleet_user(), &org()));
    assert!(matches!(
        trust(&client),
        ReplyTrust::Bad(BadReply::Token(_))
    ));
}

#[test]
fn rpc_case_09_an_unsigned_reply_is_accepted_as_such() {
    let secure = overlay_protocol::envelope::v2::SecureReply::new(REPLY.as_bytes().to_vec());
    let verified = verify_reply(&secure, &issuers(), now(), &Limits::default(), None).unwrap();
    assert!(matches!(verified.trust, ReplyTrust::Unsigned));
    assert_eq!(
        verified.reply,
        Reply::decode(REPLY.as_bytes(), &Limits::default()).unwrap()
    );
}

#[test]
fn rpc_case_11_a_fleet_manager_signs_for_itself() {
    let secure = sign_request(request("up=rip"), &user(), &signed(&fleet_user(), &org()));
    let verified = check(&secure).unwrap();
    assert_eq!(verified.request.caller, "up=rip");
    assert_eq!(verified.caller.callerid, "up=rip");
    assert!(verified.delegator.is_none());
}

#[test]
fn rpc_case_12_an_unknown_or_absent_organisation_is_refused() {
    let mut claims = fleet_user();
    for ou in [None, Some("nobody".to_owned())] {
        claims.ou = ou;
        let secure = sign_request(request("up=rip"), &user(), &signed(&claims, &org()));
        assert!(matches!(
            refused(&secure),
            RequestError::Caller(TokenError::Verify(
                VerifyError::NoOu | VerifyError::UnknownOu { .. }
            ))
        ));
    }
}

#[test]
fn rpc_case_13_a_signed_fleet_manager_requires_delegation() {
    for also_fleet in [false, true] {
        let claims = claims("up=rip", &user(), |granted| {
            granted.signed_fleet_management = true;
            granted.fleet_management = also_fleet;
        });
        let secure = sign_request(request("up=rip"), &user(), &signed(&claims, &org()));
        assert!(matches!(
            refused(&secure),
            RequestError::RequiresDelegation { .. }
        ));
    }
}

#[test]
fn rpc_case_14_a_delegator_signs_for_the_caller_that_its_request_names() {
    let (caller, signer) = (
        signed(&signed_fleet_user(), &org()),
        signed(&delegator_claims(), &org()),
    );
    let verified = check(&delegated("up=rip_example_com", &caller, &signer)).unwrap();
    assert_eq!(verified.caller.callerid, "up=rip@example.com");
    assert_eq!(verified.delegator.unwrap().callerid, "up=aaa");

    // Ours alone: the original lets the delegator name anybody beside any fleet user's token.
    for other in ["up=root", "up=rip@example.com"] {
        let secure = delegated(other, &caller, &signer);
        assert!(matches!(refused(&secure), RequestError::OtherCaller { .. }));
        let lenient = RequestPolicy {
            bind_delegated_caller: false,
            ..RequestPolicy::default()
        };
        check_with(&secure, lenient, now()).unwrap();
    }
}

#[test]
fn rpc_case_15_a_signer_must_be_a_delegator() {
    let caller = signed(&signed_fleet_user(), &org());
    let signer = signed(
        &claims("up=aaa", &delegator(), |granted| granted.org_admin = true),
        &org(),
    );
    let secure = delegated("up=rip_example_com", &caller, &signer);
    assert!(matches!(
        refused(&secure),
        RequestError::NotADelegator { .. }
    ));
}

#[test]
fn rpc_case_16_signer_and_caller_stand_under_one_organisation() {
    let mut acme = delegator_claims();
    acme.ou = Some("acme".into());
    let signer = signed(&acme, &other_org());
    let caller = signed(&signed_fleet_user(), &org());
    let secure = delegated("up=rip_example_com", &caller, &signer);
    assert!(matches!(
        refused(&secure),
        RequestError::Caller(TokenError::Verify(VerifyError::Signature))
    ));
}

#[test]
fn rpc_case_17_a_caller_without_fleet_access_is_not_helped_by_a_delegator() {
    let caller = signed(
        &claims("up=rip", &user(), |granted| granted.org_admin = true),
        &org(),
    );
    let secure = delegated("up=rip", &caller, &signed(&delegator_claims(), &org()));
    assert!(matches!(
        refused(&secure),
        RequestError::NoFleetAccess { .. }
    ));
    let alone = sign_request(request("up=rip"), &user(), &caller);
    assert!(matches!(
        refused(&alone),
        RequestError::NoFleetAccess { .. }
    ));
}

#[test]
fn rpc_case_18_with_a_signer_the_callers_own_signature_is_nothing() {
    let caller = signed(&signed_fleet_user(), &org());
    let mut secure = sign_request(request("up=rip_example_com"), &user(), &caller);
    secure.signer = Some(signed(&delegator_claims(), &org()));
    assert!(matches!(refused(&secure), RequestError::Signature));
}

#[test]
fn rpc_case_19_a_caller_names_itself() {
    let secure = sign_request(request("up=root"), &user(), &signed(&fleet_user(), &org()));
    assert!(matches!(refused(&secure), RequestError::OtherCaller { .. }));
}

#[test]
fn rpc_case_20_a_server_never_calls() {
    let token = signed(&server_claims(), &org());
    let secure = sign_request(request("ginkgo.example.net"), &user(), &token);
    assert!(matches!(
        refused(&secure),
        RequestError::Caller(TokenError::Verify(VerifyError::Purpose { .. }))
    ));
    let secure = delegated(
        "up=rip_example_com",
        &signed(&signed_fleet_user(), &org()),
        &token,
    );
    assert!(matches!(refused(&secure), RequestError::Signer(_)));
}

#[test]
fn rpc_case_21_a_chain_issued_caller_is_accepted_only_with_the_whole_chain() {
    let token = chain_issuer().issue(fleet_user()).unwrap();
    check(&sign_request(request("up=rip"), &user(), &token)).unwrap();

    let claims = Unverified::<ClientClaims>::decode(&token)
        .unwrap()
        .claims_unverified()
        .clone();
    let chain = crate::support::chain();
    let case = |change: &dyn Fn(&mut ClientClaims)| {
        let mut claims = claims.clone();
        change(&mut claims);
        refused(&sign_request(
            request("up=rip"),
            &user(),
            &signed(&claims, &chain),
        ))
    };
    let forged = case(&|claims| {
        let tcs = claims.standard.tcs.clone();
        let (_, second) = tcs.split_once('.').unwrap();
        claims.standard.tcs = format!("{}.{second}", hex::encode(chain.sign(b"x")));
    });
    assert!(matches!(
        forged,
        RequestError::Caller(TokenError::Verify(VerifyError::Chain(
            ChainError::Organisation
        )))
    ));
    let expired = case(&|claims| claims.standard.issexp = Some(ISSUED));
    assert!(matches!(
        expired,
        RequestError::Caller(TokenError::Verify(VerifyError::IssuerExpired))
    ));
    let missing = case(&|claims| claims.standard.tcs.clear());
    assert!(matches!(
        missing,
        RequestError::Caller(TokenError::Verify(VerifyError::Chain(
            ChainError::Missing { .. }
        )))
    ));
}

#[test]
fn rpc_case_22_receivers_give_no_leeway() {
    let secure = sign_request(request("up=rip"), &user(), &signed(&fleet_user(), &org()));
    let at = |secs| check_with(&secure, RequestPolicy::default(), UnixTime::from_secs(secs));
    at(ISSUED).unwrap();
    at(ISSUED + 86_399).unwrap();
    for (secs, expected) in [
        (ISSUED - 1, VerifyError::NotYetValid),
        (ISSUED + 86_400, VerifyError::Expired),
    ] {
        let RequestError::Caller(TokenError::Verify(error)) = at(secs).unwrap_err() else {
            panic!("not refused for the time of the caller's token");
        };
        assert_eq!(error, expected);
    }
}

#[test]
fn trusted_signers_are_tried_in_turn_and_stand_alone() {
    let issuers = Issuers::trusted_signers([other_org().public(), org().public()]).unwrap();
    let policy = RequestPolicy::default();
    let direct = sign_request(request("up=rip"), &user(), &signed(&fleet_user(), &org()));
    verify_request(&direct, &issuers, now(), &policy).unwrap();
    let (caller, signer) = (
        signed(&signed_fleet_user(), &org()),
        signed(&delegator_claims(), &org()),
    );
    verify_request(
        &delegated("up=rip_example_com", &caller, &signer),
        &issuers,
        now(),
        &policy,
    )
    .unwrap();
    let mixed = signed(&delegator_claims(), &other_org());
    verify_request(
        &delegated("up=rip_example_com", &caller, &mixed),
        &issuers,
        now(),
        &policy,
    )
    .unwrap_err();
}

#[test]
fn an_insecure_request_or_one_without_a_key_is_refused() {
    let token = signed(&fleet_user(), &org());
    let mut secure = sign_request(request("up=rip"), &user(), &token);
    secure.signature = b"insecure".to_vec();
    assert!(matches!(refused(&secure), RequestError::Signature));
    let mut claims = fleet_user();
    claims.standard.public_key.clear();
    let secure = sign_request(request("up=rip"), &user(), &signed(&claims, &org()));
    assert!(matches!(refused(&secure), RequestError::NoPublicKey { .. }));
}

#[test]
fn signed_bytes_that_are_no_request_are_refused_after_the_signature() {
    let token = signed(&fleet_user(), &org());
    let secure = sign_request(b"{}".to_vec(), &user(), &token);
    assert!(matches!(refused(&secure), RequestError::Request(_)));
    let secure = sign_request(b"{}".to_vec(), &org(), &token);
    assert!(matches!(refused(&secure), RequestError::Signature));
}
