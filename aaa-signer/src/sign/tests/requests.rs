//! What is a request, and what its policy is told of it.

use super::*;

#[test]
fn aaa_case_34_to_36_what_is_no_whole_request_is_denied_and_recorded() {
    let world = World::new();
    let user = world.user();
    let good = String::from_utf8(request(world.now).encode()).unwrap();
    let without = |member: &str| good.replacen(&format!("\"{member}\":"), "\"x\":", 1);
    let empty = |member: &str, value: &str| {
        let emptied = good.replacen(
            &format!("\"{member}\":\"{value}\""),
            &format!("\"{member}\":\"\""),
            1,
        );
        assert_ne!(emptied, good, "{member}");
        emptied
    };
    let message = base64_simd::STANDARD.encode_to_string(call("rpcutil", "ping"));
    for text in [
        String::new(),
        "hello".to_owned(),
        "[]".to_owned(),
        "null".to_owned(),
        good.replace("protocol.v2.request", "protocol.v9.request"),
        r#"{"protocol":"choria:request:1","message":"{}","envelope":{"requestid":"x"}}"#.to_owned(),
        r#"{"protocol":"choria:request:1","message":"{}","envelope":null}"#.to_owned(),
        good.replace("\"ttl\":60", "\"ttl\":0"),
        empty("id", "2ecvzXAzWRTIbJ5YMQTXGLJmC8V"),
        empty("sender", "client.example.net"),
        empty("agent", "rpcutil"),
        empty("message", &message),
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
fn a_request_that_is_too_long_is_not_looked_at() {
    let world = World::new();
    let user = world.user();
    assert_eq!(
        world.denies_bytes(&user, vec![b'x'; 64 * 1024 + 1]),
        Reason::TooLong
    );
}

#[test]
fn what_is_asked_for_twice_is_signed_to_the_same_bytes_which_nodes_do_once() {
    let world = World::new();
    let user = world.user();
    let judge = world.judge();
    let key = mint::key();
    let submission = submission(&user, request(world.now).encode());
    let signed = [0, 1].map(|_| {
        let decision = judge.decide(&submission, &|_claims| false, world.now);
        let bytes = decision.verdict.unwrap().request;
        (key.sign(&bytes), bytes)
    });
    assert_eq!(signed[0], signed[1]);
}
