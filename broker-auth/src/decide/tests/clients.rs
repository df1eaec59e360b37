//! Conformance cases of client logins.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;

const LIST_A: [&str; 20] = [
    "$JS.API.INFO",
    "$JS.API.STREAM.NAMES",
    "$JS.API.STREAM.LIST",
    "$JS.API.STREAM.INFO.*",
    "$JS.API.STREAM.MSG.GET.*",
    "$JS.API.STREAM.MSG.DELETE.*",
    "$JS.API.DIRECT.GET.*",
    "$JS.API.DIRECT.GET.*.>",
    "$JS.API.CONSUMER.CREATE.*",
    "$JS.API.CONSUMER.CREATE.*.>",
    "$JS.API.CONSUMER.DURABLE.CREATE.*.*",
    "$JS.API.CONSUMER.DELETE.*.*",
    "$JS.API.CONSUMER.NAMES.*",
    "$JS.API.CONSUMER.LIST.*",
    "$JS.API.CONSUMER.INFO.*.*",
    "$JS.API.CONSUMER.MSG.NEXT.*.*",
    "$JS.ACK.>",
    "$JS.FC.>",
    "$KV.>",
    "$O.>",
];
const FLEET: [&str; 4] = [
    "*.broadcast.agent.>",
    "*.broadcast.service.>",
    "*.node.>",
    "choria.federation.*.federation",
];

/// The token of the specification: issued by a chain issuer, with streams, events and the fleet.
const CHAIN_TOKEN: &str = concat!(
    "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCJ9.eyJjYWxsZXJpZCI6InVwPXJpcCIsIm91IjoiY2hvcmlhIiwicGVybWlzc2lvbnMiOnsic3RyZWFt",
    "c191c2VyIjp0cnVlLCJldmVudHNfdmlld2VyIjp0cnVlLCJmbGVldF9tYW5hZ2VtZW50Ijp0cnVlfSwicHVycG9zZSI6ImNob3JpYV9jbGllbnRf",
    "aWQiLCJ0Y3MiOiI3OTU5NDI1Nzg3NTA5ODJkMDE2ZjNjYjg5ODY1NzU2NzM0NmZiMTI2NWM0MjRmNjRiNWEwNGVmNjkxNDFlMDI3N2RhOGY1MTAx",
    "MmUyY2E1NTQyOWQ5MjQ1ZDI1OTEwMjcxNjdmMWE4ZGRhMTQwMGMzNzdjYWExNGRhNWIzNDYwNS42OGY3MGQ5ZGQwMmM4MjMzMThjZjZkNWRhMzEx",
    "ODIxNDc4ZjhhZjk4ZGE3NzI3OGQ0YzYxMzVmMTAxMzcyN2E3OGQyMTliMmEzZDhkMGY3MWY1NGQxMmEyODE0NmI4M2QzZjljYjc2ZGQ1NGFhMGNk",
    "N2Y0OGE1YTE5ZTRiYTUwMyIsInB1YmxpY19rZXkiOiJlZDQ5MjhjNjI4ZDFjMmM2ZWFlOTAzMzg5MDU5OTU2MTI5NTkyNzNhNWM2M2Y5MzYzNmMx",
    "NDYxNGFjODczN2QxIiwiaXNzZXhwIjo0MTAyNDQ0ODAwLCJpc3MiOiJDLTB1anNzd1RoSUdUVVltMks4RmpPT2ZYdFkxSy44MTM5NzcwZWE4N2Qx",
    "NzVmNTZhMzU0NjZjMzRjN2VjY2NiOGQ4YTkxYjRlZTM3YTI1ZGY2MGY1YjhmYzliMzk0IiwiZXhwIjo0MTAyNDQ0ODAwLCJuYmYiOjE1MDc2MDc1",
    "NTcsImlhdCI6MTUwNzYwNzU1NywianRpIjoiMHVqc3N0SzRLbk96UzdLWU9hcTdyTlExSnN0In0.nXxxozufP9kS1IUYUQOADJpMAxXQsIILfGUA",
    "gxfh9rdzOvJoUPY6mZZ73Z7_kNAxnfVWCvyfbxS7OP2dGqfRBA"
);

fn replies() -> [String; 2] {
    [
        format!("*.reply.{USER_MD5}.>"),
        format!("*.reply.{USER_SHA256}.>"),
    ]
}

fn with_replies<'a>(replies: &'a [String; 2], more: &[&'a str]) -> Vec<&'a str> {
    replies
        .iter()
        .map(String::as_str)
        .chain(more.iter().copied())
        .collect()
}

#[test]
fn case_17_a_chain_issued_token_gets_its_exact_lists() {
    let login = Try::with(CHAIN_TOKEN).login(&policy());
    assert_eq!(
        (login.role, login.account.as_str(), login.name.as_str()),
        (Role::Client, "choria", "up=rip")
    );
    assert_eq!(login.expires, Some(LATER));
    let replies = replies();
    let events = [
        "choria.republish.>",
        "choria.lifecycle.event.>",
        "choria.machine.watcher.>",
        "choria.machine.transition",
    ];
    assert_allows(
        &login.permissions.subscribe,
        &with_replies(&replies, &events),
    );
    let publish = [&["$SYS.REQ.USER.INFO"], LIST_A.as_slice(), FLEET.as_slice()].concat();
    assert_allows(&login.permissions.publish, &publish);
}

#[test]
fn case_18_a_nonce_that_is_not_signed_by_the_holder_is_refused() {
    let good = Try::with(CHAIN_TOKEN);
    let standard_base64 = {
        use std::fmt::Write as _;
        let mut text = good.signature.replace('-', "+").replace('_', "/");
        write!(text, "==").unwrap();
        text
    };
    for (signature, reason) in [
        (
            sign_nonce(&holder(), "another-nonce").unwrap(),
            Reason::NonceSignatureWrong,
        ),
        (
            sign_nonce(&org(), NONCE).unwrap(),
            Reason::NonceSignatureWrong,
        ),
        (String::new(), Reason::NonceNotSigned),
        (standard_base64, Reason::NonceSignatureMalformed),
        (good.signature[..80].to_owned(), Reason::NonceSignatureWrong),
        ("a".repeat(4000), Reason::NonceSignatureMalformed),
    ] {
        Try {
            signature,
            ..good.clone()
        }
        .refused_for(reason);
    }
}

#[test]
fn a_signature_without_a_nonce_is_refused_as_a_fault_of_the_broker() {
    let signature = URL_SAFE_NO_PAD.encode(holder().sign(b""));
    Try {
        nonce: String::new(),
        signature,
        ..Try::with(CHAIN_TOKEN)
    }
    .refused_for(Reason::NonceNotOffered);
}

#[test]
fn case_19_a_token_that_is_only_in_the_jwt_field_does_not_count() {
    // The broker blanks the field, so what arrives is a signature without a token.
    Try::with("").refused_for(Reason::NothingPresented);
}

#[test]
fn case_20_the_organisation_must_be_named_and_known() {
    for (ou, reason) in [
        (Some("other"), Reason::UnknownOrganisation),
        (Some("CHORIA"), Reason::UnknownOrganisation),
        (Some("acme"), Reason::NotSignedByIssuer),
        (None, Reason::NoOrganisation),
    ] {
        let claims = ClientClaims {
            ou: ou.map(str::to_owned),
            ..client_claims(fleet())
        };
        Try::with(token(&claims)).refused_for(reason);
    }
}

#[test]
fn case_21_a_client_needs_a_key_and_a_caller_id() {
    let good = client_claims(fleet());
    for public_key in ["", "abcd", "zz", &"f".repeat(62)] {
        let standard = Standard {
            public_key: public_key.to_owned(),
            ..good.standard.clone()
        };
        Try::with(token(&ClientClaims {
            standard,
            ..good.clone()
        }))
        .refused_for(Reason::BadPublicKey);
    }
    for callerid in ["", "up=a\nb"] {
        let claims = ClientClaims {
            callerid: callerid.to_owned(),
            ..good.clone()
        };
        Try::with(token(&claims)).refused_for(Reason::BadCallerId);
    }
}

#[test]
fn case_22_a_client_without_permissions_has_its_inbox_and_what_its_token_lists() {
    let claims = ClientClaims {
        permissions: None,
        pub_subjects: vec!["foo.>".to_owned()],
        ..client_claims(fleet())
    };
    let login = Try::with(token(&claims)).login(&policy());
    assert_allows(&login.permissions.publish, &["$SYS.REQ.USER.INFO", "foo.>"]);
    let replies = replies();
    assert_allows(&login.permissions.subscribe, &with_replies(&replies, &[]));
}

#[test]
fn case_24_a_governor_needs_streams() {
    let governor = ClientPermissions {
        governor: true,
        ..ClientPermissions::default()
    };
    let governors = ["*.governor.*", "choria.lifecycle.event.governor.>"];
    let publish = |permissions| {
        Try::with(token(&client_claims(permissions)))
            .login(&policy())
            .permissions
            .publish
    };
    assert_allows(&publish(governor), &["$SYS.REQ.USER.INFO"]);
    let user = ClientPermissions {
        streams_user: true,
        ..governor
    };
    assert_allows(
        &publish(user),
        &[
            &["$SYS.REQ.USER.INFO"],
            LIST_A.as_slice(),
            governors.as_slice(),
        ]
        .concat(),
    );
    let admin = ClientPermissions {
        streams_admin: true,
        ..governor
    };
    assert_allows(
        &publish(admin),
        &[&["$SYS.REQ.USER.INFO", "$JS.>"], governors.as_slice()].concat(),
    );
}

#[test]
fn case_25_signed_fleet_management_alone_reaches_the_fleet() {
    let signed = ClientPermissions {
        signed_fleet_management: true,
        ..ClientPermissions::default()
    };
    let login = Try::with(token(&client_claims(signed))).login(&policy());
    let publish = [&["$SYS.REQ.USER.INFO"], FLEET.as_slice()].concat();
    assert_allows(&login.permissions.publish, &publish);
}

#[test]
fn case_26_an_org_admin_may_do_everything_in_the_account_of_the_fleet() {
    let admin = ClientPermissions {
        org_admin: true,
        streams_user: true,
        ..fleet()
    };
    let login = Try::with(token(&client_claims(admin))).login(&policy());
    assert_eq!(login.account, "choria");
    assert_eq!(login.permissions, Permissions::unrestricted());
}

#[test]
fn permissions_that_are_for_others_grant_nothing() {
    let others = ClientPermissions {
        system_user: true,
        service: true,
        authentication_delegator: true,
        provisioner: true,
        ..ClientPermissions::default()
    };
    let login = Try::with(token(&client_claims(others))).login(&policy());
    assert_allows(&login.permissions.publish, &["$SYS.REQ.USER.INFO"]);
}

#[test]
fn elections_and_events_have_their_subjects() {
    let permissions = ClientPermissions {
        election_user: true,
        events_viewer: true,
        streams_admin: true,
        ..ClientPermissions::default()
    };
    let login = Try::with(token(&client_claims(permissions))).login(&policy());
    let publish = [
        "$SYS.REQ.USER.INFO",
        "$JS.>",
        "$JS.API.STREAM.INFO.KV_CHORIA_LEADER_ELECTION",
        "$KV.CHORIA_LEADER_ELECTION.>",
    ];
    assert_allows(&login.permissions.publish, &publish);
    let replies = replies();
    let subscribe = [
        "$JS.EVENT.>",
        "choria.lifecycle.event.>",
        "choria.machine.watcher.>",
        "choria.machine.transition",
    ];
    assert_allows(
        &login.permissions.subscribe,
        &with_replies(&replies, &subscribe),
    );
}

#[test]
fn case_41_a_purpose_that_nobody_logs_in_with_is_refused() {
    for purpose in ["other", ""] {
        let mut claims = client_claims(fleet());
        claims.standard.purpose = Purpose::from(purpose.to_owned());
        Try::with(token(&claims)).refused_for(Reason::UnknownPurpose);
    }
}

#[test]
fn case_49_malformed_subjects_are_dropped_one_by_one() {
    let claims = ClientClaims {
        pub_subjects: ["good.x", "a b", "a..b", "", ".x"]
            .map(str::to_owned)
            .to_vec(),
        sub_subjects: ["a b", "y.", "ok.>", "a.>.b"].map(str::to_owned).to_vec(),
        ..client_claims(ClientPermissions::default())
    };
    let login = Try::with(token(&claims)).login(&policy());
    assert_allows(
        &login.permissions.publish,
        &["$SYS.REQ.USER.INFO", "good.x"],
    );
    let replies = replies();
    assert_allows(
        &login.permissions.subscribe,
        &with_replies(&replies, &["ok.>"]),
    );
    assert_eq!(
        login.dropped,
        ["a b", "a..b", "", ".x", "a b", "y.", "a.>.b"]
    );
}

#[test]
fn a_token_outside_of_its_time_is_refused() {
    let at = |exp: Option<i64>, nbf: i64| {
        let mut claims = client_claims(fleet());
        (claims.standard.exp, claims.standard.nbf) = (exp, Some(nbf));
        Try::with(token(&claims))
    };
    at(Some(NOW.secs), 0).refused_for(Reason::TokenExpired);
    at(Some(NOW.secs - 300), 0).refused_for(Reason::TokenExpired);
    at(None, NOW.secs + 1).refused_for(Reason::TokenNotYetValid);
    at(None, NOW.secs + 300).refused_for(Reason::TokenNotYetValid);
    assert_eq!(at(None, NOW.secs).login(&policy()).expires, None);
    assert_eq!(
        at(Some(NOW.secs + 1), 0).login(&policy()).expires,
        Some(NOW.secs + 1)
    );
}

#[test]
fn a_remembered_token_expires_like_any_other() {
    let policy = policy();
    let mut claims = client_claims(fleet());
    claims.standard.exp = Some(NOW.secs + 10);
    let attempt = Try::with(token(&claims));
    attempt.login(&policy);
    attempt.login(&policy);
    let Decision::Refuse(refusal) = attempt.decide(&policy, UnixTime::from_secs(NOW.secs + 10))
    else {
        panic!("an expired token is let in");
    };
    assert_eq!(refusal.reason, Reason::TokenExpired);
    assert_eq!(refusal.claimed.as_deref(), Some("up=rip"));
}

#[test]
fn line_ends_around_a_token_are_forgiven_and_blanks_are_not() {
    let good = token(&client_claims(fleet()));
    Try::with(format!("{good}\r\n")).login(&policy());
    Try::with(format!("\n{good}")).login(&policy());
    for bad in [
        format!("{good} "),
        format!(" {good}"),
        format!("{good}="),
        format!("{good}.x"),
    ] {
        Try::with(bad).refused_for(Reason::TokenMalformed);
    }
}

#[test]
fn what_is_no_token_is_refused_with_the_fault() {
    let good = token(&client_claims(fleet()));
    let (signed, _) = good.rsplit_once('.').unwrap();
    for bad in [
        "hello",
        "a.b.c",
        signed,
        &"x".repeat(70_000),
        "..",
        "\u{0}.\u{0}.\u{0}",
    ] {
        let refusal = Try::with(bad).refusal(&policy());
        assert_eq!(refusal.reason, Reason::TokenMalformed);
        assert!(refusal.detail.is_some());
    }
}

#[test]
fn forged_tokens_are_refused_and_say_whom_they_claimed_to_be() {
    let foreign = issue::sign(&client_claims(fleet()), &acme()).unwrap();
    let refusal = Try::with(foreign).refusal(&policy());
    assert_eq!(refusal.reason, Reason::NotSignedByIssuer);
    assert_eq!(refusal.claimed.as_deref(), Some("up=rip"));
    assert_eq!(refusal.purpose, Some(Purpose::Client));
    let mut broken = client_claims(fleet());
    broken.standard.iss = "C-x".to_owned();
    Try::with(token(&broken)).refused_for(Reason::BrokenChain);
}

#[test]
fn the_algorithm_of_a_token_does_not_choose_its_key() {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let good = token(&client_claims(fleet()));
    let (_, rest) = good.split_once('.').unwrap();
    for alg in ["none", "HS256", "ES256", "RS256", "EdDSAX", ""] {
        let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"{alg}","typ":"JWT"}}"#));
        Try::with(format!("{header}.{rest}")).refused_for(Reason::TokenAlgorithm);
    }
}

#[test]
fn denied_tokens_issuers_and_callers_stay_out() {
    let denying = |deny: fn(&mut crate::policy::Denied)| {
        let mut policy = policy();
        deny(&mut policy.denied);
        policy
    };
    let plain = Try::with(token(&client_claims(fleet())));
    let chained = Try::with(CHAIN_TOKEN);
    let by_id = denying(|denied| denied.tokens.extend(["2Xyz".to_owned()]));
    assert_eq!(plain.refusal(&by_id).reason, Reason::Denied);
    chained.login(&by_id);
    let by_issuer = denying(|denied| {
        denied
            .tokens
            .extend(["0ujsswThIGTUYm2K8FjOOfXtY1K".to_owned()])
    });
    assert_eq!(chained.refusal(&by_issuer).reason, Reason::Denied);
    plain.login(&by_issuer);
    let by_caller = denying(|denied| denied.callers.extend(["up=rip".to_owned()]));
    assert_eq!(plain.refusal(&by_caller).reason, Reason::Denied);
}

#[test]
fn tokens_of_an_old_chain_issuer_stay_out_where_its_age_is_bounded() {
    // The chain issuer's id was made in 2017.
    let chained = Try::with(CHAIN_TOKEN);
    chained.login(&policy());
    let bounded = |seconds| {
        let mut policy = policy();
        policy.denied.issuers_older_than = Some(seconds);
        policy
    };
    let refusal = chained.refusal(&bounded(86_400));
    assert_eq!(
        (refusal.reason, refusal.claimed.as_deref()),
        (Reason::IssuerTooOld, Some("up=rip"))
    );
    let made: i64 = 1_507_607_557;
    chained.login(&bounded(NOW.secs - made));
    assert_eq!(
        chained.refusal(&bounded(NOW.secs - made - 1)).reason,
        Reason::IssuerTooOld
    );
    // What the organisation's issuer signed itself has no chain issuer.
    Try::with(token(&client_claims(fleet()))).login(&bounded(86_400));
}
