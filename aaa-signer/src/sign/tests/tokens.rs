//! Whose token counts, for how long, and where.

use super::*;

#[test]
fn aaa_case_24_a_bearer_token_counts_only_where_it_may_and_a_wrong_signature_never() {
    let mut world = World::new();
    let user = world.user();
    let bytes = request(world.now).encode();
    let mut bearer = submission(&user, bytes.clone());
    bearer.signature = None;
    let mut empty = bearer.clone();
    empty.signature = Some(String::new());
    let mut wrong = bearer.clone();
    wrong.signature = Some(hex::encode(mint::key().sign(&bytes)));
    for (allow, submission, reason) in [
        (false, &bearer, Some(Reason::NoSignature)),
        (false, &empty, Some(Reason::NoSignature)),
        (false, &wrong, Some(Reason::Signature)),
        (true, &bearer, None),
        (true, &empty, None),
        (true, &wrong, Some(Reason::Signature)),
    ] {
        world.rules.allow_bearer_tokens = allow;
        assert_eq!(world.decide(submission).verdict.err(), reason);
    }
}

#[test]
fn aaa_case_25_the_signature_is_over_the_bytes_and_of_64_of_them() {
    let world = World::new();
    let user = world.user();
    let bytes = request(world.now).encode();
    let text = base64_simd::STANDARD.encode_to_string(&bytes);
    let good = hex::encode(user.key.sign(&bytes));
    for signature in [
        hex::encode(user.key.sign(text.as_bytes())),
        good.get(..126).unwrap().to_owned(),
        format!("{good}00"),
        "zz".repeat(64),
        "aW5zZWN1cmU=".to_owned(),
    ] {
        let mut submission = submission(&user, bytes.clone());
        submission.signature = Some(signature);
        assert_eq!(
            world.decide(&submission).verdict.unwrap_err(),
            Reason::Signature
        );
    }
    let mut upper = submission(&user, bytes);
    upper.signature = Some(good.to_uppercase());
    assert!(world.decide(&upper).verdict.is_ok());
}

#[test]
fn aaa_case_26_tokens_of_others_and_of_no_algorithm_are_refused() {
    let world = World::new();
    let user = world.user();
    let foreign = Organisation::new().client(ClientToken {
        agents: vec!["*".to_owned()],
        permissions: Some(fleet()),
        ..ClientToken::new("up=bob")
    });
    assert_eq!(world.denies(&foreign, |_| {}), Reason::Token);
    let claims = user.token.split('.').nth(1).unwrap();
    for header in [
        r#"{"alg":"none","typ":"JWT"}"#,
        r#"{"alg":"HS256","typ":"JWT"}"#,
        r#"{"alg":"RS256","typ":"JWT"}"#,
    ] {
        let header = base64_simd::URL_SAFE_NO_PAD.encode_to_string(header);
        let login = Login {
            token: format!("{header}.{claims}.AAAA"),
            key: user.key.clone(),
        };
        assert_eq!(world.denies(&login, |_| {}), Reason::Token);
    }
}

#[test]
fn aaa_case_27_a_chain_issuer_that_the_organisation_has_not_signed_is_none() {
    let world = World::new();
    // Somebody else's organisation signs a chain issuer, and the token says it is of ours.
    let forged = Organisation::new()
        .chain(ClientToken::new("aaa_chain"))
        .client(ClientToken {
            agents: vec!["*".to_owned()],
            permissions: Some(fleet()),
            ..ClientToken::new("up=admin")
        });
    assert_eq!(world.denies(&forged, |_| {}), Reason::Token);
    let decision = world.decide(&submission(&forged, request(world.now).encode()));
    assert!(decision.caller.is_none());
    let pinned = Issuers::pinned(world.chain.login.key.public()).unwrap();
    let mut world = world;
    world.rules.issuers = pinned;
    assert_eq!(world.denies(&forged, |_| {}), Reason::Token);
    assert_eq!(world.allows(&world.user(), |_| {}).caller, "up=bob");
}

#[test]
fn aaa_case_28_and_29_tokens_out_of_their_time_are_refused() {
    let world = World::new();
    let user = world.user();
    let org = mint::key();
    let mut rules = world.rules.clone();
    rules.issuers = Issuers::new([("choria".to_owned(), org.public())]).unwrap();
    let judge = Judge::new(rules, Rego::default(), 10);
    let claims = ClientToken {
        agents: vec!["*".to_owned()],
        public_key: Some(user.key.public()),
        validity: MINUTE,
        ..ClientToken::new("up=bob")
    }
    .claims(world.now)
    .unwrap();
    let secs = world.now.secs;
    for (exp, nbf, reason) in [
        (secs + 60, secs, None),
        (secs, secs, Some(Reason::Token)),
        (secs - 1, secs - 60, Some(Reason::Token)),
        (secs + 7200, secs + 3600, Some(Reason::Token)),
    ] {
        let mut claims = claims.clone();
        claims.standard.exp = Some(exp);
        claims.standard.nbf = Some(nbf);
        let login = issued(&claims, &org, user.key.clone());
        let submission = submission(&login, request(world.now).encode());
        let decision = judge.decide(&submission, &|_| false, world.now);
        assert_eq!(decision.verdict.err(), reason, "{}", decision.message);
    }
}

#[test]
fn aaa_case_28_a_chain_has_its_own_expiry_and_ids_of_the_time_of_issue() {
    let world = World::new();
    let user = world.user();
    let token = Unverified::<ClientClaims>::decode(&user.token).unwrap();
    let good = token.claims_unverified().clone();
    let secs = world.now.secs;
    let decide = |change: &dyn Fn(&mut ClientClaims)| {
        let mut claims = good.clone();
        change(&mut claims);
        let login = issued(&claims, &world.chain.login.key, user.key.clone());
        let decision = world.decide(&submission(&login, request(world.now).encode()));
        decision.verdict.err()
    };
    assert_eq!(decide(&|_claims| {}), None);
    let refused = Some(Reason::Token);
    assert_eq!(decide(&|claims| claims.standard.issexp = None), refused);
    let past = |claims: &mut ClientClaims| claims.standard.issexp = Some(secs - 1);
    assert_eq!(decide(&past), refused);
    let later = |claims: &mut ClientClaims| {
        claims.standard.iat = claims.standard.iat.map(|iat| iat - 60);
    };
    assert_eq!(decide(&later), refused);
}

#[test]
fn aaa_case_30_a_token_has_an_expiry_and_only_a_service_s_may_be_far() {
    let world = World::new();
    let far = |service: bool| {
        world.user_with("up=bob", |token| {
            token.validity = Duration::from_secs(48 * 3600);
            token.permissions = Some(ClientPermissions { service, ..fleet() });
        })
    };
    // The chain issuer lives for an hour: what it issues never lives longer.
    let mut short = World::new();
    short.rules.max_validity = MINUTE;
    let user = short.user();
    assert_eq!(short.denies(&user, |_| {}), Reason::Validity);
    let service = short.user_with("up=bot", |token| {
        token.permissions = Some(ClientPermissions {
            service: true,
            ..fleet()
        });
    });
    short.allows(&service, |_| {});
    assert!(
        world
            .decide(&submission(&far(false), request(world.now).encode()))
            .verdict
            .is_ok()
    );

    // Beside the original: a service's token that never expires is refused.
    let org = mint::key();
    let mut rules = world.rules.clone();
    rules.issuers = Issuers::new([("choria".to_owned(), org.public())]).unwrap();
    let mut claims = ClientToken {
        agents: vec!["*".to_owned()],
        public_key: Some(user.key.public()),
        permissions: Some(ClientPermissions {
            service: true,
            ..fleet()
        }),
        ..ClientToken::new("up=bot")
    }
    .claims(world.now)
    .unwrap();
    claims.standard.exp = None;
    let login = issued(&claims, &org, user.key);
    let decision = Judge::new(rules, Rego::default(), 10).decide(
        &submission(&login, request(world.now).encode()),
        &|_| false,
        world.now,
    );
    assert_eq!(decision.verdict.unwrap_err(), Reason::Validity);
}

#[test]
fn rpc_case_44_a_wrong_signature_and_a_token_that_is_good_for_too_long_are_denied() {
    let mut world = World::new();
    let user = world.user();
    let mut wrong = submission(&user, request(world.now).encode());
    wrong.signature = Some(hex::encode(mint::key().sign(b"other")));
    assert_eq!(world.decide(&wrong).verdict.unwrap_err(), Reason::Signature);
    world.rules.max_validity = MINUTE;
    assert_eq!(world.denies(&user, |_| {}), Reason::Validity);
}

#[test]
fn aaa_case_31_a_server_is_no_user() {
    let world = World::new();
    let server = world.organisation.server(ServerToken {
        identity: "n1.example.net".to_owned(),
        ..ServerToken::default()
    });
    assert_eq!(world.denies(&server, |_| {}), Reason::Token);
}

#[test]
fn aaa_case_32_a_token_names_a_caller() {
    let world = World::new();
    let org = mint::key();
    let key = mint::key();
    let mut rules = world.rules.clone();
    rules.issuers = Issuers::new([("choria".to_owned(), org.public())]).unwrap();
    let mut claims = ClientToken {
        public_key: Some(key.public()),
        validity: MINUTE,
        ..ClientToken::new("up=bob")
    }
    .claims(world.now)
    .unwrap();
    claims.callerid = String::new();
    let login = issued(&claims, &org, key);
    let decision = Judge::new(rules, Rego::default(), 10).decide(
        &submission(&login, request(world.now).encode()),
        &|_| false,
        world.now,
    );
    assert_eq!(decision.verdict.unwrap_err(), Reason::Caller);
}

#[test]
fn aaa_case_33_white_space_around_a_token_is_none_of_it() {
    let world = World::new();
    let mut user = world.user();
    user.token.push('\n');
    world.allows(&user, |_| {});
}

#[test]
fn tenants_are_served_where_they_may_be() {
    let mut world = World::new();
    let of = |world: &World, tenant: &str| {
        world.user_with("up=bob", |token| token.tenant = tenant.parse().ok())
    };
    let (acme, globex, none) = (of(&world, "acme"), of(&world, "globex"), world.user());
    world.allows(&acme, |_| {});
    world.rules.tenants = Tenants {
        serve: Some(BTreeSet::from(["acme".to_owned()])),
        required: false,
        collectives: BTreeMap::from([("acme".to_owned(), BTreeSet::from(["acme".to_owned()]))]),
    };
    assert_eq!(world.denies(&globex, |_| {}), Reason::Tenant);
    assert_eq!(world.denies(&acme, |_| {}), Reason::Collective);
    world.allows(&acme, |request| request.collective = "acme".to_owned());
    world.allows(&none, |_| {});
    world.rules.tenants.required = true;
    assert_eq!(world.denies(&none, |_| {}), Reason::Tenant);
    let bytes = request(world.now).encode();
    let decision = world.decide(&submission(&acme, bytes.clone()));
    let data = decision.data(&submission(&acme, bytes), "london", world.now.secs);
    assert_eq!(data.decision.unwrap().tenant.as_deref(), Some("acme"));
}

#[test]
fn a_revoked_token_is_refused() {
    let world = World::new();
    let user = world.user();
    let submission = submission(&user, request(world.now).encode());
    let decision = world
        .judge()
        .decide(&submission, &|_claims| true, world.now);
    assert_eq!(decision.verdict.unwrap_err(), Reason::Revoked);
}

#[test]
fn who_is_on_the_deny_list_is_refused_with_all_that_an_issuer_there_has_issued() {
    let mut world = World::new();
    let (user, other) = (world.user(), world.user_with("up=alice", |_| {}));
    let claims = |token: &str| {
        let token = Unverified::<ClientClaims>::decode(token).unwrap();
        token.claims_unverified().clone()
    };
    let deny = |world: &mut World, denied: Denied| {
        world.rules.denied = denied;
    };
    let only = |id: String| Denied {
        tokens: [id].into(),
        ..Denied::default()
    };
    deny(&mut world, only(claims(&user.token).standard.jti));
    assert_eq!(world.denies(&user, |_| {}), Reason::Revoked);
    world.allows(&other, |_| {});

    let issuer = claims(&world.chain.login.token).standard.jti;
    deny(&mut world, only(issuer));
    assert_eq!(world.denies(&user, |_| {}), Reason::Revoked);
    assert_eq!(world.denies(&other, |_| {}), Reason::Revoked);

    let callers = ["up=alice".to_owned()].into();
    deny(
        &mut world,
        Denied {
            callers,
            ..Denied::default()
        },
    );
    world.allows(&user, |_| {});
    assert_eq!(world.denies(&other, |_| {}), Reason::Revoked);

    for (seconds, is_denied) in [(3600, false), (1, true)] {
        deny(
            &mut world,
            Denied {
                issuers_older_than: Some(seconds),
                ..Denied::default()
            },
        );
        let decision = world.decide(&submission(&user, request(world.now).encode()));
        assert_eq!(decision.verdict.is_err(), is_denied, "{seconds}");
    }
}
