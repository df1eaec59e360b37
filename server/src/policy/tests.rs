use std::time::Duration;

use serde_json::{Map, json};

use super::*;

fn request(agent: &str) -> Request {
    Request {
        message: Vec::new(),
        id: "1".to_owned(),
        sender: "laptop".to_owned(),
        caller: "up=bob".to_owned(),
        collective: "choria".to_owned(),
        agent: agent.to_owned(),
        ttl: Duration::from_secs(60),
        time_ns: 1_795_000_000_000_000_000,
        filter: Some(Filter {
            identity: vec!["node1".to_owned()],
            ..Filter::default()
        }),
    }
}

fn node() -> View<'static> {
    View::new("node1", Vec::new(), Vec::new(), json!({"country": "mt"}))
}

fn body(agent: &str, action: &str) -> RpcRequest {
    let mut data = Map::new();
    data.insert("ttl".to_owned(), json!(1));
    RpcRequest {
        agent: agent.to_owned(),
        action: action.to_owned(),
        data,
    }
}

fn claims(agents: &[&str], rego: Option<&str>) -> ClientClaims {
    ClientClaims {
        callerid: "up=bob".to_owned(),
        agents: agents.iter().map(ToString::to_string).collect(),
        opa_policy: rego.map(str::to_owned),
        ..ClientClaims::default()
    }
}

fn by_token(agents: &[&str], rego: Option<&str>, agent: &str, action: &str) -> Result<(), Denial> {
    Judge::of(Authorization::CallerToken, None).judge(
        &request(agent),
        &body(agent, action),
        Some(&claims(agents, rego)),
        &node,
    )
}

/// Whether the policy in the token says no, and whether that is for a fault of it.
fn denied(result: &Result<(), Denial>) -> Option<bool> {
    match result {
        Err(Denial::Policy(why)) => Some(why.error),
        _ => None,
    }
}

#[test]
fn rpc_case_37_the_agent_list_allows_what_it_names_and_no_more() {
    let list = ["rpcutil.ping"];
    assert_eq!(by_token(&list, None, "rpcutil", "ping"), Ok(()));
    let other = by_token(&list, None, "rpcutil", "inventory");
    assert_eq!(denied(&other), Some(false));
    let bare = by_token(&["rpcutil"], None, "rpcutil", "ping");
    assert_eq!(denied(&bare), Some(true));
    assert_eq!(by_token(&["*"], None, "x", "y"), Ok(()));
    assert_eq!(by_token(&["a.b", "x.*"], None, "x", "y"), Ok(()));
    assert!(by_token(&["a.b.c", "x.*"], None, "x", "y").is_err());
    assert_eq!(by_token(&["x.*", "a.b.c"], None, "x", "y"), Ok(()));
}

#[test]
fn rpc_case_38_both_policies_or_none_deny() {
    let yes = "package io.choria.aaasvc\nallow := true\n";
    let both = by_token(&["*"], Some(yes), "rpcutil", "ping");
    assert_eq!(denied(&both), Some(true));
    let none = by_token(&[], None, "rpcutil", "ping");
    assert_eq!(denied(&none), Some(true));
    assert_eq!(by_token(&[], Some(yes), "rpcutil", "ping"), Ok(()));
}

#[test]
fn a_rego_policy_sees_the_signed_request_and_the_site_of_a_node() {
    let policy = "package io.choria.aaasvc
default allow := false
allow if {
  input.site == \"server\"
  input.ttl == 60
  input.data.ttl == 1
  input.sender == \"laptop\"
  input.claims.callerid == \"up=bob\"
  input.action == \"ping\"
  requires_identity_filter(\"node1\")
}
";
    assert_eq!(by_token(&[], Some(policy), "rpcutil", "ping"), Ok(()));
    let other = by_token(&[], Some(policy), "rpcutil", "inventory");
    assert_eq!(denied(&other), Some(false));
}

#[test]
fn an_evaluator_is_made_for_the_first_policy_only() {
    let judge = Judge::of(Authorization::CallerToken, None);
    let yes = "package io.choria.aaasvc\nallow := true\n";
    for (caller, made) in [
        (claims(&["*"], None), false),
        (claims(&[], Some(yes)), true),
    ] {
        assert_eq!(
            judge.judge(
                &request("rpcutil"),
                &body("rpcutil", "ping"),
                Some(&caller),
                &node
            ),
            Ok(())
        );
        assert_eq!(judge.rego.get().is_some(), made);
    }
}

#[test]
fn a_body_for_another_agent_is_denied_with_and_without_a_policy() {
    let all = claims(&["*"], None);
    let judged = |mode, body_agent: &str| {
        Judge::of(mode, None).judge(
            &request("rpcutil"),
            &body(body_agent, "ping"),
            Some(&all),
            &node,
        )
    };
    for mode in [Authorization::Off, Authorization::CallerToken] {
        assert!(judged(mode, "choria_util").is_err());
        assert!(judged(mode, "rpcutil").is_ok());
    }
    assert!(judged(Authorization::Off, "").is_ok());
    assert!(judged(Authorization::CallerToken, "").is_err());
}

#[test]
fn a_policy_language_that_is_not_known_denies_all() {
    let judge = Judge::of(Authorization::Unsupported("action_policy"), None);
    let all = claims(&["*"], None);
    assert!(
        judge
            .judge(
                &request("rpcutil"),
                &body("rpcutil", "ping"),
                Some(&all),
                &node
            )
            .is_err()
    );
}

#[test]
fn policy_files_decide_by_caller_action_and_facts() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("rpcutil.policy"),
        "policy default deny\nallow\tup=bob\tping\tcountry=mt\t*\n",
    )
    .unwrap();
    let files = PolicyFiles {
        directory: dir.path().to_owned(),
        allow_unconfigured: false,
        default: None,
    };
    let judge = Judge::of(Authorization::PolicyFiles, Some(files));
    let ask =
        |agent: &str, action: &str| judge.judge(&request(agent), &body(agent, action), None, &node);
    assert_eq!(ask("rpcutil", "ping"), Ok(()));
    assert!(matches!(ask("rpcutil", "inventory"), Err(Denial::File(_))));
    assert!(matches!(ask("puppet", "status"), Err(Denial::File(_))));
    assert!(
        judge
            .judge(&request("rpcutil"), &body("puppet", "ping"), None, &node)
            .is_err()
    );
}
