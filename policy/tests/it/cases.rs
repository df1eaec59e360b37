//! The numbered cases of authorisers.

use overlay_policy::{DISCOVERY, Rego, TokenPolicy, action_list, from_token};
use overlay_protocol::filter::{Filter, parse_fact};
use overlay_tokens::claims::ClientClaims;
use serde_json::json;

use crate::request::{Request, allows, decide, patient};

fn list(elements: &[&str]) -> Vec<String> {
    elements.iter().map(ToString::to_string).collect()
}

fn listed(elements: &[&str], agent: &str, action: &str) -> (bool, bool) {
    let verdict = action_list(&list(elements), agent, action);
    (verdict.is_allowed(), verdict.is_error())
}

fn filtered(filter: Filter) -> Request {
    Request {
        filter,
        ..Request::default()
    }
}

#[test]
fn aaa_case_48_a_star_allows_and_an_empty_list_denies() {
    assert_eq!(listed(&["*"], "rpcutil", "ping"), (true, false));
    assert_eq!(listed(&[], "rpcutil", "ping"), (false, false));
    let request = Request::default();
    let nothing = from_token(
        &ClientClaims::default(),
        &Rego::default(),
        &request.question(),
    );
    assert!(!nothing.is_allowed());
}

#[test]
fn aaa_case_49_a_list_allows_what_it_names() {
    assert_eq!(listed(&["rpcutil.*"], "rpcutil", "ping"), (true, false));
    assert_eq!(listed(&["rpcutil.*"], "package", "install"), (false, false));
    assert_eq!(
        listed(&["rpcutil.ping"], "rpcutil", "inventory"),
        (false, false)
    );
}

#[test]
fn aaa_case_50_a_malformed_element_ends_the_reading_of_a_list() {
    for (elements, verdict) in [
        (&["rpcutil"][..], (false, true)),
        (&["rpcutil.ping", "bad"], (true, false)),
        (&["bad", "rpcutil.ping"], (false, true)),
        (&["*.ping"], (false, false)),
        (&["a.b.c"], (false, true)),
        (&["RPCUTIL.ping"], (false, false)),
    ] {
        assert_eq!(listed(elements, "rpcutil", "ping"), verdict, "{elements:?}");
    }
}

#[test]
fn aaa_case_51_discovery_is_allowed_with_empty_claims() {
    let request = Request {
        agent: DISCOVERY.to_owned(),
        ..Request::default()
    };
    let rego = Rego::default();
    assert!(action_list(&[], DISCOVERY, "x").is_allowed());
    assert!(rego.decide("", &request.question()).is_allowed());
    assert!(from_token(&ClientClaims::default(), &rego, &request.question()).is_allowed());
}

#[test]
fn aaa_case_52_both_dialects_are_read_and_another_package_is_denied() {
    let rego = patient();
    let request = Request::default();
    for (package, body, allowed) in [
        (
            "io.choria.aaasvc",
            "allow { input.agent == \"myco\" }",
            true,
        ),
        (
            "io.choria.aaasvc",
            "allow if { input.agent == \"myco\" }",
            true,
        ),
        (
            "io.choria.aaasvc",
            "import rego.v1\nallow if { input.agent == \"myco\" }",
            true,
        ),
        (
            "io.choria.aaasvc",
            "import rego.v1\nallow { input.agent == \"myco\" }",
            false,
        ),
        ("choria.aaa.policy", "allow = true", false),
    ] {
        let text = format!("package {package}\n{body}\n");
        let verdict = rego.decide(&text, &request.question());
        assert_eq!(verdict.is_allowed(), allowed, "{text}\n{verdict:?}");
        assert_eq!(verdict.is_error(), !allowed, "{text}\n{verdict:?}");
    }
}

#[test]
fn aaa_case_53_what_is_not_true_is_a_no() {
    let rego = patient();
    let request = Request::default();
    for body in [
        "allow if { input.agent == \"other\" }",
        "allow = \"yes\"",
        "allow if { input.agent == ",
    ] {
        let text = format!("package io.choria.aaasvc\n{body}\n");
        let verdict = rego.decide(&text, &request.question());
        assert!(!verdict.is_allowed() && verdict.is_error(), "{verdict:?}");
    }
}

#[test]
fn aaa_case_54_requires_filter_does_not_count_agents() {
    let agents = Filter {
        agent: list(&["myco"]),
        ..Filter::default()
    };
    let compound = serde_json::from_value(json!({
        "fact": [], "cf_class": [], "agent": [], "identity": [],
        "compound": [[{"expr": "with('apache')"}]],
    }))
    .unwrap();
    for call in [
        "requires_filter()",
        "requires_filter() == true",
        "x := requires_filter(); x",
        "requires_filter(true)",
    ] {
        let body = format!("allow if {{ {call} }}");
        assert!(!allows(&body, &filtered(agents.clone())), "{call}");
        assert!(allows(&body, &filtered(Filter::clone(&compound))), "{call}");
    }
    assert!(allows(
        "allow if { not requires_filter() }",
        &filtered(agents)
    ));
}

#[test]
fn aaa_case_55_requires_fact_filter_compares_parsed_filters() {
    let of = |text: &str| {
        filtered(Filter {
            fact: vec![parse_fact(text).unwrap()],
            ..Filter::default()
        })
    };
    let body = "allow if { requires_fact_filter(\"country=mt\") }";
    assert!(allows(body, &of("country==mt")));
    assert!(!allows(body, &of("country!=mt")));
    assert!(!allows(
        "allow if { requires_fact_filter(\"nonsense\") }",
        &of("a=b")
    ));
    assert!(allows(
        "allow if { requires_fact_filter(\"nonsense\") }\nallow if { input.agent == \"myco\" }",
        &of("a=b")
    ));
}

#[test]
fn aaa_case_56_requires_identity_filter_is_literal() {
    let of = |text: &str| {
        filtered(Filter {
            identity: list(&[text]),
            ..Filter::default()
        })
    };
    let body = "allow if { requires_identity_filter(\"some.node\") }";
    assert!(allows(body, &of("some.node")));
    assert!(!allows(body, &of("/some/")));
    assert!(allows(
        "allow if { requires_identity_filter(\"some.node\", x); x }",
        &of("some.node")
    ));
    assert!(allows(
        "allow if { requires_identity_filter(\"some.node\", false) }",
        &of("other")
    ));
}

#[test]
fn aaa_case_57_the_envelope_is_what_a_policy_sees() {
    let request = Request {
        data: json!({"collective": "development", "ttl": 1, "sender": "liar", "time": 0}),
        ..Request::default()
    };
    assert!(allows(
        "allow if { input.collective == \"choria\"; input.ttl == 60; input.sender == \"some.node\"; \
         time.parse_rfc3339_ns(input.time) == 1795000000000000000 }",
        &request
    ));
}

#[test]
fn aaa_case_58_data_site_and_claims_are_read() {
    for (data, allowed) in [
        (json!({}), true),
        (json!(null), true),
        (json!([1]), false),
        (json!("x"), false),
        (json!(1), false),
    ] {
        let request = Request {
            data,
            ..Request::default()
        };
        let verdict = decide("allow if { true }", &request);
        assert_eq!(verdict.is_allowed(), allowed, "{verdict:?}");
        assert_eq!(verdict.is_error(), !allowed, "{verdict:?}");
    }
    assert!(allows(
        "allow if { input.site == \"beta\"; input.claims.user_properties.group == \"admins\" }",
        &Request::default()
    ));
}

#[test]
fn a_tenant_is_offered_where_the_token_names_one() {
    let body = "allow if { input.tenant == \"blue\" }";
    assert!(!allows(body, &Request::default()));
    let request = Request {
        tenant: Some("blue".to_owned()),
        ..Request::default()
    };
    assert!(allows(body, &request));
}

#[test]
fn a_token_with_both_a_list_and_a_policy_denies() {
    let claims = ClientClaims {
        agents: list(&["*"]),
        opa_policy: Some("package io.choria.aaasvc\nallow := true\n".to_owned()),
        ..ClientClaims::default()
    };
    assert_eq!(TokenPolicy::of(&claims), TokenPolicy::Both);
    let request = Request::default();
    let verdict = from_token(&claims, &Rego::default(), &request.question());
    assert!(!verdict.is_allowed() && verdict.is_error());
}

#[test]
fn functions_of_opa_that_the_engine_lacks_are_there() {
    for call in [
        "crypto.sha256(\"a\") == \"ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb\"",
        "crypto.md5(\"a\") == \"0cc175b9c0f1b6a831c399e269772661\"",
        "crypto.sha1(\"a\") == \"86f7e437faa5a7fce15d1ddcb9eaeaea377667b8\"",
        "crypto.hmac.sha256(\"a\", \"k\", x); count(x) == 64",
        "crypto.hmac.equal(\"a\", \"a\")",
        "[h, p, s] := io.jwt.decode(\"eyJhbGciOiJub25lIn0.eyJhIjoxfQ.\"); h.alg == \"none\"; p.a == 1; s == \"\"",
        "not io.jwt.decode(\"nonsense\")",
        "print(\"seen\", input.nothing)",
    ] {
        let verdict = decide(&format!("allow if {{ {call} }}"), &Request::default());
        assert!(verdict.is_allowed(), "{call}: {verdict:?}");
    }
}
