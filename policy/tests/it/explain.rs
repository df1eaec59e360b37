//! The line that decided, and why the others did not.

use overlay_policy::{Dialect, StepState, Verdict};

use crate::request::{Request, patient};

const POLICY: &str = r#"package io.choria.aaasvc

default allow := false

# Line 5.
allow if {
	input.agent == "rpcutil"
	input.action == "ping"
}

allow if {
	input.agent == "myco"
	some x in input.data.list
	x == "y"
	admin
}

admin if input.claims.user_properties.group == "admins"
"#;

fn rule(text: &str, request: &Request) -> String {
    let verdict = patient().decide(text, &request.question());
    let rule = verdict.why().rule.clone();
    let hash = verdict.why().policy.clone().unwrap();
    let short = &hash[..12];
    rule.replace(short, "HASH")
}

#[test]
fn every_decision_names_the_line_that_made_it() {
    let request = Request::default();
    assert_eq!(rule(POLICY, &request), "rego HASH line 11");
    let other = Request {
        agent: "rpcutil".to_owned(),
        action: "ping".to_owned(),
        ..Request::default()
    };
    assert_eq!(rule(POLICY, &other), "rego HASH line 6");
    let third = Request {
        agent: "shell".to_owned(),
        ..Request::default()
    };
    assert_eq!(rule(POLICY, &third), "rego HASH line 3");
}

#[test]
fn values_else_branches_and_single_rules_are_named_too() {
    let request = Request::default();
    for (lines, expected) in [
        ("allow := true", "rego HASH line 2"),
        ("allow := input.agent == \"myco\"", "rego HASH line 2"),
        ("allow := input.agent == \"x\"", "rego HASH line 2"),
        ("default allow := true", "rego HASH line 2"),
        (
            "allow := false if { input.agent == \"x\" }\nelse := true if { input.action == \"deploy\" }",
            "rego HASH line 3",
        ),
        (
            "allow if { input.agent == \"x\" }\nelse if { input.action == \"deploy\" }",
            "rego HASH line 3",
        ),
        (
            "allow := false if { input.agent == \"myco\" }\nelse := true",
            "rego HASH line 2",
        ),
        (
            "default allow := false\nallow if { input.agent == \"x\" }",
            "rego HASH line 2",
        ),
        (
            "default allow := false\nallow if { input.agent == \"myco\" }",
            "rego HASH line 3",
        ),
        (
            "allow { x == \"myco\"; x = input.agent }\nallow { input.agent == \"y\" }",
            "rego HASH line 2",
        ),
        (
            "allow = x { x := input.agent == \"y\" }\nallow = true { input.agent == \"y\" }",
            "rego HASH line 2",
        ),
    ] {
        let text = format!("package io.choria.aaasvc\n{lines}\n");
        assert_eq!(rule(&text, &request), expected, "{lines}");
    }
}

#[test]
fn an_explanation_names_the_first_statement_that_does_not_hold() {
    let request = Request {
        claims: serde_json::json!({"user_properties": {"group": "guests"}}),
        ..Request::default()
    };
    let explanation = patient().explain(POLICY, &request.question());
    assert!(matches!(explanation.verdict, Verdict::Deny(_)));
    assert_eq!(explanation.policy.unwrap().dialect, Dialect::V1);
    let fails = |at, statement: &str| StepState::Fails {
        at,
        statement: statement.to_owned(),
    };
    let states: Vec<_> = explanation
        .rules
        .into_iter()
        .map(|step| (step.line, step.state))
        .collect();
    assert_eq!(
        states,
        [
            (6, fails(7, "input.agent == \"rpcutil\"")),
            (11, fails(15, "admin")),
        ]
    );
    assert_eq!(explanation.input.unwrap()["agent"], "myco");
}

#[test]
fn an_explanation_of_a_yes_says_which_rules_hold() {
    let explanation = patient().explain(POLICY, &Request::default().question());
    assert!(explanation.verdict.is_allowed());
    let holds: Vec<bool> = explanation
        .rules
        .iter()
        .map(|step| step.state == StepState::Holds)
        .collect();
    assert_eq!(holds, [false, true]);
}

#[test]
fn an_explanation_of_v0_is_made_in_v0() {
    let text = "package io.choria.aaasvc\ndefault allow = false\nallow {\n  input.agent == \"myco\"\n  input.data.absent == 1\n}\n";
    let explanation = patient().explain(text, &Request::default().question());
    assert_eq!(explanation.policy.unwrap().dialect, Dialect::V0);
    assert_eq!(
        explanation.rules[0].state,
        StepState::Fails {
            at: 5,
            statement: "input.data.absent == 1".to_owned()
        }
    );
}

#[test]
fn all_faults_of_a_policy_are_listed_by_line() {
    let text = "package io.choria.aaasvc\nallow if { frobnicate(1) }\nallow if { startswith(5, \"a\") }\nallow if { http.send({}) }\n";
    let faults = patient().faults(text).unwrap_err();
    let lines: Vec<_> = faults.iter().map(|fault| fault.line).collect();
    assert_eq!(lines, [Some(2), Some(3), Some(4)], "{faults:?}");
}

#[test]
fn a_syntax_error_has_a_line_in_the_dialect_that_it_is_written_in() {
    for (text, line) in [
        (
            "package io.choria.aaasvc\ndefault allow = false\nallow { input.agent == \n",
            3,
        ),
        (
            "package io.choria.aaasvc\nallow if {\n  input.agent = = 1\n}\n",
            3,
        ),
        (
            "package io.choria.aaasvc\nallow {\n  input.agent == 1\n  ) \n}\n",
            4,
        ),
    ] {
        let fault = patient().check(text).unwrap_err();
        assert_eq!(fault.line, Some(line), "{fault:?}");
    }
}
