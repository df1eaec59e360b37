use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use overlay_policy::Rego;
use overlay_protocol::audit;
use overlay_protocol::envelope::Limits;
use overlay_protocol::envelope::v2::{Request, SecureRequest};
use overlay_protocol::filter::Filter;
use overlay_protocol::rpc::RpcRequest;
use overlay_testkit::mint::{self, Chain, Login, Organisation};
use overlay_tokens::claims::{ClientClaims, ClientPermissions};
use overlay_tokens::issue::{self, ClientToken, ServerToken};
use overlay_tokens::request::{RequestPolicy, verify_request};
use overlay_tokens::{Issuers, Key, UnixTime, Unverified};
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use super::{Decision, Judge, Reason, Rules, Submission};
use crate::config::{Authorizer, Delegator, Denied, Tenants};
use crate::via::Via;

const MINUTE: Duration = Duration::from_secs(60);

struct World {
    organisation: Organisation,
    chain: Chain,
    rules: Rules,
    now: UnixTime,
}

impl World {
    fn new() -> Self {
        let organisation = Organisation::new();
        // A little later than whatever is minted here.
        let now = UnixTime::from_secs(mint::now().secs + 5);
        Self {
            chain: organisation.chain(ClientToken::new("aaa_chain")),
            rules: Rules {
                issuers: organisation.issuers(),
                max_validity: Duration::from_secs(24 * 3600),
                max_ttl: 10 * MINUTE,
                clock_skew: Duration::from_secs(5),
                allow_bearer_tokens: false,
                max_request_bytes: 64 * 1024,
                tenants: Tenants::default(),
                denied: Denied::default(),
                authorizer: Authorizer::Token,
                site: "london".to_owned(),
            },
            organisation,
            now,
        }
    }

    fn user(&self) -> Login {
        self.user_with("up=bob", |_token| {})
    }

    fn user_with(&self, callerid: &str, change: impl FnOnce(&mut ClientToken)) -> Login {
        let mut token = ClientToken {
            agents: vec!["rpcutil.*".to_owned()],
            permissions: Some(fleet()),
            ..ClientToken::new(callerid)
        };
        change(&mut token);
        self.chain.client(token)
    }

    fn judge(&self) -> Judge {
        Judge::new(self.rules.clone(), Rego::default(), 100)
    }

    fn decide(&self, submission: &Submission) -> Decision {
        self.judge().decide(submission, &|_claims| false, self.now)
    }

    /// The reason for which a request of bob's, changed, is denied.
    fn denies(&self, login: &Login, change: impl FnOnce(&mut Request)) -> Reason {
        let mut request = request(self.now);
        change(&mut request);
        self.denies_bytes(login, request.encode())
    }

    fn denies_bytes(&self, login: &Login, bytes: Vec<u8>) -> Reason {
        let submission = submission(login, bytes);
        let decision = self.decide(&submission);
        let data = decision.data(&submission, "london", self.now.secs);
        assert_eq!(data.action, Some(audit::Decision::Deny));
        decision.verdict.expect_err("it is denied")
    }

    fn allows(&self, login: &Login, change: impl FnOnce(&mut Request)) -> Request {
        let mut request = request(self.now);
        change(&mut request);
        let decision = self.decide(&submission(login, request.encode()));
        let approved = decision
            .verdict
            .unwrap_or_else(|reason| panic!("{reason:?}: {}", decision.message));
        Request::decode(&approved.request, &Limits::default()).unwrap()
    }
}

fn fleet() -> ClientPermissions {
    ClientPermissions {
        fleet_management: true,
        signed_fleet_management: true,
        ..ClientPermissions::default()
    }
}

fn request(now: UnixTime) -> Request {
    Request {
        message: call("rpcutil", "ping"),
        id: "2ecvzXAzWRTIbJ5YMQTXGLJmC8V".to_owned(),
        sender: "client.example.net".to_owned(),
        caller: "up=bob".to_owned(),
        collective: "choria".to_owned(),
        agent: "rpcutil".to_owned(),
        ttl: MINUTE,
        time_ns: now.as_nanos(),
        filter: Some(Filter::default()),
    }
}

fn call(agent: &str, action: &str) -> Vec<u8> {
    RpcRequest {
        agent: agent.to_owned(),
        action: action.to_owned(),
        ..RpcRequest::default()
    }
    .encode()
}

fn submission(login: &Login, bytes: Vec<u8>) -> Submission {
    Submission {
        token: login.token.clone(),
        signature: Some(hex::encode(login.key.sign(&bytes))),
        request: bytes.into(),
        via: Via::Http,
        peer: "192.0.2.1".to_owned(),
    }
}

/// A token with claims that no builder makes.
fn issued(claims: &ClientClaims, by: &Key, key: Key) -> Login {
    Login {
        token: issue::sign(claims, by).unwrap(),
        key,
    }
}

#[test]
fn aaa_case_21_what_is_signed_is_what_nodes_accept() {
    let world = World::new();
    let user = world.user();
    let delegator = world.organisation.client(ClientToken {
        permissions: Some(ClientPermissions {
            authentication_delegator: true,
            ..ClientPermissions::default()
        }),
        ..ClientToken::new("aaa_request_signer")
    });
    let key = delegator.key.clone();
    let delegator = Delegator {
        token: delegator.token.as_str().into(),
        key: delegator.key,
        expires_at: None,
    };
    let decision = world.decide(&submission(&user, request(world.now).encode()));
    let signed = delegator.sign(decision.verdict.unwrap().request);
    let mut secure = SecureRequest::decode(&signed, &Limits::default()).unwrap();
    assert!(key.public().verify(&secure.request, &secure.signature));
    assert_eq!(secure.caller, *delegator.token);
    secure.caller = user.token;
    let verified = verify_request(
        &secure,
        &world.rules.issuers,
        world.now,
        &RequestPolicy::default(),
    )
    .unwrap();
    assert_eq!(verified.request.caller, "up=bob");
    assert!(verified.delegator.is_some());
}

#[test]
fn aaa_case_22_a_caller_is_written_without_dots_and_at_signs() {
    let world = World::new();
    let user = world.user_with("up=bob.smith@example.com", |_token| {});
    let signed = world.allows(&user, |_request| {});
    assert_eq!(signed.caller, "up=bob_smith_example_com");
}

#[test]
fn rpc_case_45_a_caller_is_written_without_dots_and_at_signs() {
    let world = World::new();
    let user = world.user_with("up=bob@example.com", |_token| {});
    assert_eq!(
        world.allows(&user, |_request| {}).caller,
        "up=bob_example_com"
    );
}

#[test]
fn aaa_case_23_the_token_names_the_caller_whatever_the_request_says() {
    let world = World::new();
    let signed = world.allows(&world.user(), |request| {
        request.caller = "up=alice".to_owned()
    });
    assert_eq!(signed.caller, "up=bob");
}

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
fn aaa_case_34_to_36_what_is_no_whole_request_is_denied_and_recorded() {
    let world = World::new();
    let user = world.user();
    let good = String::from_utf8(request(world.now).encode()).unwrap();
    let without = |member: &str| good.replacen(&format!("\"{member}\":"), "\"x\":", 1);
    for text in [
        String::new(),
        "hello".to_owned(),
        "[]".to_owned(),
        "null".to_owned(),
        good.replace("protocol.v2.request", "protocol.v9.request"),
        r#"{"protocol":"choria:request:1","message":"{}","envelope":{"requestid":"x"}}"#.to_owned(),
        r#"{"protocol":"choria:request:1","message":"{}","envelope":null}"#.to_owned(),
        good.replace("\"ttl\":60", "\"ttl\":0"),
        good.replace("\"sender\":\"client.example.net\"", "\"sender\":\"\""),
        without("ttl"),
        without("id"),
        without("sender"),
        without("agent"),
        without("message"),
        without("collective"),
        without("time"),
        without("filter"),
        format!("{good}garbage"),
        "[".repeat(100_000 / 2),
    ] {
        assert_eq!(
            world.denies_bytes(&user, text.clone().into_bytes()),
            Reason::Request,
            "{text}"
        );
    }
}

#[test]
fn aaa_case_39_a_null_envelope_is_denied() {
    let world = World::new();
    let bytes = br#"{"protocol":"choria:request:1","message":"{}","envelope":null}"#;
    assert_eq!(
        world.denies_bytes(&world.user(), bytes.to_vec()),
        Reason::Request
    );
}

#[test]
fn aaa_case_37_envelope_and_message_name_one_agent() {
    let world = World::new();
    let user = world.user_with("up=bob", |token| token.agents = vec!["*".to_owned()]);
    assert_eq!(
        world.denies(&user, |request| request.agent = "shell".to_owned()),
        Reason::Agent
    );
    assert_eq!(
        world.denies(&user, |request| request.message = call("shell", "run")),
        Reason::Agent
    );
}

#[test]
fn rpc_case_46_envelope_and_message_name_one_agent() {
    let world = World::new();
    let reason = world.denies(&world.user(), |request| request.agent = "shell".to_owned());
    assert_eq!(reason, Reason::Agent);
}

#[test]
fn aaa_case_38_times_and_lives_are_bounded() {
    let world = World::new();
    let user = world.user();
    let seconds = |seconds: i64| seconds * 1_000_000_000;
    for (ttl, ahead, reason) in [
        (60, 0, None),
        (60, -59, None),
        (60, 4, None),
        (600, 0, None),
        (601, 0, Some(Reason::Ttl)),
        (315_360_000, 0, Some(Reason::Ttl)),
        (60, 86_400, Some(Reason::Time)),
        (60, 6, Some(Reason::Time)),
        (60, -60, Some(Reason::Time)),
        (60, -86_400, Some(Reason::Time)),
    ] {
        let mut request = request(world.now);
        request.ttl = Duration::from_secs(ttl);
        request.time_ns += seconds(ahead);
        let decision = world.decide(&submission(&user, request.encode()));
        assert_eq!(decision.verdict.err(), reason, "{ttl} {ahead}");
    }
}

#[test]
fn rpc_case_47_times_and_lives_are_bounded() {
    let world = World::new();
    let user = world.user();
    let day = 86_400 * 1_000_000_000;
    assert_eq!(
        world.denies(&user, |request| request.time_ns += day),
        Reason::Time
    );
    assert_eq!(
        world.denies(&user, |request| request.ttl = Duration::from_secs(86_400)),
        Reason::Ttl
    );
}

#[test]
fn aaa_case_51_discovery_needs_no_policy_and_no_call() {
    let world = World::new();
    let user = world.user_with("up=bob", |token| token.agents = Vec::new());
    let signed = world.allows(&user, |request| {
        request.agent = "discovery".to_owned();
        request.message = b"cGluZw==".to_vec();
    });
    assert_eq!(signed.message, b"cGluZw==");
    assert_eq!(world.denies(&user, |_| {}), Reason::PolicyError);
}

#[test]
fn aaa_case_57_policies_are_told_of_the_envelope_and_not_of_what_the_message_says() {
    let world = World::new();
    let policy = "package io.choria.aaasvc\nimport rego.v1\ndefault allow := false\n\
        allow if { input.collective == \"production\"; input.ttl == 60; input.sender == \"client.example.net\"; \
        input.site == \"london\"; input.claims.callerid == \"up=bob\" }\n";
    let user = world.user_with("up=bob", |token| {
        token.agents = Vec::new();
        token.opa_policy = Some(policy.to_owned());
    });
    let lie =
        br#"{"agent":"rpcutil","action":"ping","data":{},"collective":"production","ttl":60}"#;
    assert_eq!(
        world.denies(&user, |request| request.message = lie.to_vec()),
        Reason::Policy
    );
    world.allows(&user, |request| {
        request.collective = "production".to_owned()
    });
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
fn a_slow_policy_and_a_long_request_are_put_off_and_lists_are_not() {
    let mut world = World::new();
    world.rules.max_request_bytes = 384 * 1024;
    let policy = |body: &str| {
        format!("package io.choria.aaasvc\ndefault allow := false\nallow if {{ {body} }}")
    };
    let with_policy = |text: String| {
        world.user_with("up=bob", |token| {
            token.agents.clear();
            token.opa_policy = Some(text);
        })
    };
    let slow = with_policy(policy(
        "a := numbers.range(1, 100000); some x in a; some y in a; x + y == -1",
    ));
    let quick = with_policy(policy("input.agent == \"rpcutil\""));
    let judge = world.judge();
    let quickly = |submission: &Submission| {
        let time = Duration::from_millis(50);
        judge.decide_quickly(submission, &|_claims| false, world.now, time)
    };
    let wholly = |submission: &Submission| judge.decide(submission, &|_claims| false, world.now);
    let mut long = request(world.now);
    long.sender = "x".repeat(200 * 1024);
    let (short, long) = (request(world.now).encode(), long.encode());

    let at_first = submission(&quick, short.clone());
    assert!(quickly(&at_first).is_none(), "the policy is not compiled");
    assert!(wholly(&at_first).verdict.is_ok());
    let soon = (0..100).find_map(|_| quickly(&at_first));
    assert!(soon.is_some_and(|decision| decision.verdict.is_ok()));
    assert!(quickly(&submission(&quick, long.clone())).is_none());

    let late = submission(&slow, short);
    assert_eq!(wholly(&late).verdict.unwrap_err(), Reason::PolicyError);
    assert!(quickly(&late).is_none());

    let listed = submission(&world.user(), long);
    assert!(quickly(&listed).is_some_and(|decision| decision.verdict.is_ok()));
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

#[test]
fn a_request_that_is_too_long_is_not_looked_at() {
    let world = World::new();
    let user = world.user();
    assert_eq!(
        world.denies_bytes(&user, vec![b'x'; 64 * 1024 + 1]),
        Reason::TooLong
    );
}

#[test]
fn the_record_marks_names_that_nobody_vouches_for() {
    let world = World::new();
    let forged = Organisation::new().client(ClientToken::new("up=admin"));
    let mut bytes = request(world.now);
    bytes.caller = "up=root".to_owned();
    let submission = submission(&forged, bytes.encode());
    let decision = world.decide(&submission);
    let data = decision.data(&submission, "london", world.now.secs);
    assert_eq!(data.callerid, "up=root");
    let token = data.token.unwrap();
    assert!(!token.verified);
    assert_eq!(token.callerid, "up=admin");
}

#[test]
fn strangers_write_little_into_the_record() {
    let world = World::new();
    let long = "é".repeat(100_000);
    let forged = Organisation::new().client(ClientToken::new("up=admin"));
    let mut asked = request(world.now);
    asked.caller.clone_from(&long);
    let mut stranger = submission(&forged, asked.encode());
    stranger.peer.clone_from(&long);
    let unread = Submission {
        token: long,
        ..stranger.clone()
    };
    for submission in [&stranger, &unread] {
        let mut world = World::new();
        world.rules.max_request_bytes = 1 << 20;
        let decision = world.decide(submission);
        assert_eq!(decision.verdict.as_ref().err(), Some(&Reason::Token));
        let data = decision.data(submission, "london", world.now.secs);
        assert!(data.request.is_none());
        let message = data.decision.as_ref().unwrap().message.clone();
        let hash = hex::encode(Sha256::digest(&submission.request));
        assert!(message.contains(&hash), "{message}");
        assert!(data.callerid.starts_with('é') && data.callerid.ends_with('…'));
        assert!(data.to_json().len() < 4096);
    }
    // Who is known and denied: the request is the evidence, and stays whole. A token alone makes nobody known.
    let user = world.user();
    let mut endless = request(world.now);
    endless.ttl = Duration::from_secs(10 * 365 * 86_400);
    let bytes = endless.encode();
    let mut known = submission(&user, bytes.clone());
    let data = world.decide(&known).data(&known, "london", world.now.secs);
    assert_eq!(data.request.unwrap().get().as_bytes(), bytes);
    known.signature = None;
    let data = world.decide(&known).data(&known, "london", world.now.secs);
    assert!(data.request.is_none());
}

#[test]
fn the_record_of_a_request_is_one_line_whatever_its_form() {
    let world = World::new();
    let user = world.user();
    let pretty = String::from_utf8(request(world.now).encode())
        .unwrap()
        .replace(',', ",\r\n");
    for bytes in [
        pretty.into_bytes(),
        b"hello\nworld".to_vec(),
        vec![0xff; 10],
    ] {
        let mut submission = submission(&user, bytes);
        submission.signature = None;
        let decision = world.decide(&submission);
        let line = decision
            .data(&submission, "london", world.now.secs)
            .to_json();
        assert!(!line.contains(&b'\n') && !line.contains(&b'\r'));
    }
}

fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..256),
        "\\PC{0,200}".prop_map(String::into_bytes),
    ]
}

proptest! {
    #[test]
    fn nothing_is_signed_without_the_callers_signature(
        token in "[A-Za-z0-9_.-]{0,200}",
        request in any_bytes(),
        signature in proptest::option::of("[0-9a-f]{0,140}"),
    ) {
        let world = World::new();
        let submission = Submission {
            token,
            request: request.into(),
            signature,
            via: Via::Rpc,
            peer: String::new(),
        };
        let decision = world.decide(&submission);
        prop_assert!(decision.verdict.is_err());
        let line = decision.data(&submission, "london", 0).to_json();
        prop_assert!(!line.contains(&b'\n'));
    }

    #[test]
    fn what_is_changed_after_it_was_signed_is_denied(at in 0_usize..400, bit in 0_u8..8) {
        let world = World::new();
        let user = world.user();
        let bytes = request(world.now).encode();
        let mut submission = submission(&user, bytes.clone());
        let mut changed = bytes;
        let at = at % changed.len();
        changed[at] ^= 1 << bit;
        submission.request = changed.into();
        prop_assert_eq!(world.decide(&submission).verdict.unwrap_err(), Reason::Signature);
    }
}
