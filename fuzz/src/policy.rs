//! Policies: what a caller brings along in a token, to be read, checked and evaluated.

use std::sync::LazyLock;
use std::time::Duration;

use overlay_policy::{Limits, Question, Rego, action_list};
use overlay_protocol::filter::Filter;
use serde_json::{Value, json};

/// A text that begins like this is the body of a policy; anything else is a whole one.
const PACKAGE: &str = "package io.choria.aaasvc\n";

static REGO: LazyLock<Rego> = LazyLock::new(|| {
    Rego::new(Limits {
        time: Duration::from_millis(100),
        policies: 8,
        policy_bytes: 8 * 1024,
        ..Limits::default()
    })
});

/// Holds: a policy that cannot be used denies; the same question has the same answer; an explanation agrees with the
/// decision; a list allows only what one of its elements names.
pub fn policy(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    list(text);

    let filter = Filter {
        identity: vec!["node1".to_owned()],
        ..Filter::default()
    };
    let inputs = json!({"component": "frontend", "list": ["x", "y"], "count": 5});
    let claims = json!({"callerid": "up=bob", "user_properties": {"group": "admins"}});
    let question = question(&inputs, &claims, &filter);
    for text in [text.to_owned(), format!("{PACKAGE}{text}")] {
        let verdict = REGO.decide(&text, &question);
        let is_usable = REGO.check(&text).is_ok();
        assert_eq!(is_usable, REGO.faults(&text).is_ok());
        assert!(
            is_usable || !verdict.is_allowed(),
            "an unusable policy allows"
        );
        assert!(!(verdict.is_error() && verdict.is_allowed()));

        // What takes too long may end in time the next time.
        let is_slow = |message: &str| message.contains("took more than");
        let explanation = REGO.explain(&text, &question);
        if !is_slow(&verdict.why().message)
            && !is_slow(&explanation.verdict.why().message)
            && !is_random(&text)
        {
            assert_eq!(
                verdict, explanation.verdict,
                "the same question, another answer"
            );
        }
        assert!(verdict.why().rule.len() < 200 && verdict.why().message.len() < 1_000);
    }
}

/// Whether the answer may be another each time.
fn is_random(text: &str) -> bool {
    text.contains("rand.intn") || text.contains("now_ns")
}

fn list(text: &str) {
    let elements: Vec<String> = text.lines().map(str::to_owned).collect();
    let verdict = action_list(&elements, "rpcutil", "ping");
    if verdict.is_allowed() {
        assert!(
            elements
                .iter()
                .any(|element| matches!(element.as_str(), "*" | "rpcutil.*" | "rpcutil.ping"))
        );
    }
}

fn question<'a>(data: &'a Value, claims: &'a Value, filter: &'a Filter) -> Question<'a> {
    Question {
        agent: "myco",
        action: "deploy",
        data,
        sender: "some.node",
        collective: "choria",
        ttl: 60,
        time_ns: 1_795_000_000_000_000_000,
        site: "beta",
        filter,
        claims,
        tenant: Some("blue"),
    }
}
