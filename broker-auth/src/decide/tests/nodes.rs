//! Conformance cases of fleet nodes and of nodes that have yet to be provisioned.

use super::*;

const MD5: &str = "3f7c3a791b0eb10da51dca4cdedb9418";
const SHA256: &str = "d20fc1727ae10ccda51352aef09b2ffcbacb1a8a29236eac3eb7e1f66bfd8c57";
const EVENTS: [&str; 3] = [
    "choria.lifecycle.>",
    "choria.machine.transition",
    "choria.machine.watcher.>",
];

fn node(collectives: &[&str], permissions: ServerPermissions) -> Try {
    Try::with(token(&server_claims(collectives, permissions)))
}

fn publishes(collective: &str) -> [String; 3] {
    [
        format!("{collective}.reply.>"),
        format!("{collective}.broadcast.agent.registration"),
        format!("choria.federation.{collective}.collective"),
    ]
}

fn subscribes(collective: &str) -> [String; 4] {
    [
        format!("{collective}.broadcast.agent.>"),
        format!("{collective}.node.ginkgo.example.net"),
        format!("{collective}.reply.{MD5}.>"),
        format!("{collective}.reply.{SHA256}.>"),
    ]
}

fn and<'a>(own: &'a [String], more: &[&'a str]) -> Vec<&'a str> {
    own.iter()
        .map(String::as_str)
        .chain(more.iter().copied())
        .collect()
}

#[test]
fn case_27_a_node_of_two_collectives_gets_its_exact_lists() {
    let login = node(&["c1", "c2"], ServerPermissions::default()).login(&policy());
    assert_eq!(
        (login.role, login.account.as_str(), login.name.as_str()),
        (Role::Node, "choria", "ginkgo.example.net")
    );
    let publish = [publishes("c1"), publishes("c2")].concat();
    assert_allows(&login.permissions.publish, &and(&publish, &EVENTS));
    let subscribe = [subscribes("c1"), subscribes("c2")].concat();
    assert_allows(&login.permissions.subscribe, &and(&subscribe, &[]));
    assert_eq!(
        (
            login.permissions.publish.allow().len(),
            login.permissions.subscribe.allow().len()
        ),
        (9, 8)
    );
}

#[test]
fn case_28_the_permissions_of_a_node_add_their_subjects() {
    let none = ServerPermissions::default();
    let own = publishes("choria");
    let lists = |permissions| node(&["choria"], permissions).login(&policy()).permissions;

    let host = lists(ServerPermissions {
        service_host: true,
        ..none
    });
    assert_allows(
        &host.subscribe,
        &and(&subscribes("choria"), &["choria.broadcast.service.>"]),
    );
    let submitter = lists(ServerPermissions {
        submission: true,
        ..none
    });
    assert_allows(
        &submitter.publish,
        &[&and(&own, &EVENTS)[..], &["choria.submission.in.>"]].concat(),
    );
    let governor = lists(ServerPermissions {
        governor: true,
        ..none
    });
    assert_allows(&governor.publish, &and(&own, &EVENTS));

    let streams = [
        "$JS.API.STREAM.INFO.*",
        "$JS.API.STREAM.MSG.GET.*",
        "$JS.API.STREAM.MSG.DELETE.*",
        "$JS.API.DIRECT.GET.*",
        "$JS.API.DIRECT.GET.*.>",
        "$JS.API.CONSUMER.CREATE.*",
        "$JS.API.CONSUMER.CREATE.*.>",
        "$JS.API.CONSUMER.DURABLE.CREATE.*.*",
        "$JS.API.CONSUMER.INFO.*.*",
        "$JS.API.CONSUMER.MSG.NEXT.*.*",
        "$JS.ACK.>",
        "$JS.FC.>",
    ];
    let user = lists(ServerPermissions {
        streams: true,
        ..none
    });
    assert_allows(&user.publish, &[&and(&own, &EVENTS)[..], &streams].concat());
    assert_allows(
        &user.subscribe,
        &and(&subscribes("choria"), &["choria.republish.>"]),
    );
    let both = lists(ServerPermissions {
        streams: true,
        governor: true,
        ..none
    });
    assert_allows(
        &both.publish,
        &[&and(&own, &EVENTS)[..], &streams, &["choria.governor.*"]].concat(),
    );
}

#[test]
fn case_29_a_node_of_another_organisation_reaches_streams_by_the_imported_prefix() {
    let permissions = ServerPermissions {
        streams: true,
        ..ServerPermissions::default()
    };
    let claims = ServerClaims {
        ou: Some("acme".to_owned()),
        ..server_claims(&["choria"], permissions)
    };
    let login = Try::with(issue::sign(&claims, &acme()).unwrap()).login(&policy());
    let publish = sorted(login.permissions.publish.allow());
    assert!(publish.contains(&"choria.streams.CONSUMER.MSG.NEXT.*.*"));
    assert!(!publish.iter().any(|subject| subject.starts_with("$JS.API")));
    assert!(sorted(login.permissions.subscribe.allow()).contains(&"acme.republish.>"));
}

#[test]
fn case_30_a_node_without_collectives_connects_and_may_do_nothing() {
    let all = ServerPermissions {
        submission: true,
        streams: true,
        governor: true,
        service_host: true,
    };
    let login = node(&[], all).login(&policy());
    assert_eq!(login.permissions, Permissions::nothing());
    assert_eq!(
        (
            sorted(login.permissions.publish.deny()),
            login.permissions.publish.allow().len()
        ),
        (vec![">"], 0)
    );
}

#[test]
fn case_31_a_node_may_not_call_nodes_or_agents() {
    let login = node(&["c1"], ServerPermissions::default()).login(&policy());
    let publish = sorted(login.permissions.publish.allow());
    assert!(
        !publish
            .iter()
            .any(|subject| subject.starts_with("c1.node") || subject.ends_with("agent.>"))
    );
    assert!(publish.contains(&"c1.broadcast.agent.registration"));
}

#[test]
fn case_21_a_node_needs_a_key_and_an_identity() {
    let good = server_claims(&["choria"], ServerPermissions::default());
    let standard = Standard {
        public_key: String::new(),
        ..good.standard.clone()
    };
    Try::with(token(&ServerClaims {
        standard,
        ..good.clone()
    }))
    .refused_for(Reason::BadPublicKey);
    Try::with(token(&ServerClaims {
        identity: String::new(),
        ..good
    }))
    .refused_for(Reason::BadIdentity);
}

#[test]
fn names_that_reach_into_others_subjects_are_refused() {
    let good = server_claims(&["choria"], ServerPermissions::default());
    for identity in [
        ">",
        "*",
        "a.*.b",
        "a b",
        "a..b",
        ".a",
        "a.",
        "a\tb",
        &"x".repeat(300),
    ] {
        let claims = ServerClaims {
            identity: identity.to_owned(),
            ..good.clone()
        };
        Try::with(token(&claims)).refused_for(Reason::BadIdentity);
    }
    for collective in [">", "*", "a.b", "", "a b"] {
        let claims = ServerClaims {
            collectives: vec!["choria".into(), collective.into()],
            ..good.clone()
        };
        Try::with(token(&claims)).refused_for(Reason::BadCollective);
    }
}

#[test]
fn a_node_must_sign_the_nonce() {
    let good = node(&["choria"], ServerPermissions::default());
    let refusal = Try::unsigned(good.token.clone()).refusal(&policy());
    assert_eq!(
        (refusal.reason, refusal.claimed.as_deref()),
        (Reason::NonceNotSigned, Some("ginkgo.example.net"))
    );
    Try {
        signature: sign_nonce(&org(), NONCE).unwrap(),
        ..good
    }
    .refused_for(Reason::NonceSignatureWrong);
}

#[test]
fn malformed_subjects_of_a_node_are_dropped() {
    let claims = ServerClaims {
        pub_subjects: vec!["ok.>".into(), "a b".into()],
        ..server_claims(&["choria"], ServerPermissions::default())
    };
    let login = Try::with(token(&claims)).login(&policy());
    assert_eq!(login.dropped, ["a b"]);
    assert!(sorted(login.permissions.publish.allow()).contains(&"ok.>"));
}

#[test]
fn the_connection_of_a_node_outlives_its_token_unless_the_policy_says_otherwise() {
    let node = node(&["choria"], ServerPermissions::default());
    let ours = Try {
        library: "rust".to_owned(),
        ..node.clone()
    };
    let with = |node_expiry| Policy {
        node_expiry,
        ..policy()
    };
    for (expiry, go, rust) in [
        (NodeExpiry::Never, None, None),
        (NodeExpiry::RustNodes, None, Some(LATER)),
        (NodeExpiry::Always, Some(LATER), Some(LATER)),
    ] {
        assert_eq!(node.login(&with(expiry)).expires, go);
        assert_eq!(ours.login(&with(expiry)).expires, rust);
    }
}

#[test]
fn silenced_nodes_connect_and_may_do_nothing() {
    let policy = Policy {
        silence_nodes: true,
        ..policy()
    };
    let login = node(&["choria"], ServerPermissions::default()).login(&policy);
    assert_eq!(login.permissions, Permissions::nothing());
}

#[test]
fn a_denied_node_stays_out() {
    let mut policy = policy();
    policy
        .denied
        .identities
        .insert("ginkgo.example.net".to_owned());
    let refusal = node(&["choria"], ServerPermissions::default()).refusal(&policy);
    assert_eq!(refusal.reason, Reason::Denied);
}

#[test]
fn a_server_token_with_a_chain_signature_but_no_chain_is_refused() {
    let mut claims = server_claims(&["choria"], ServerPermissions::default());
    claims.standard.tcs = "00".repeat(64);
    claims.standard.iss = format!("I-{}", org().public());
    Try::with(token(&claims)).refused_for(Reason::IssuerExpired);
}
