//! Filters: as JSON, as typed, paths to facts, and expressions.

use std::sync::LazyLock;

use overlay_protocol::filter::{
    Expression, Filter, FilterBuilder, NodeView, Operator, Scope, lookup, parse_fact,
};
use serde_json::{Value, json};

static FACTS: LazyLock<Value> = LazyLock::new(|| {
    json!({
        "string": "hello world", "int": 1, "float": 1.2, "big": 9_007_199_254_740_993_u64, "t": true, "f": false,
        "nul": null, "list": ["a", "b", "c"], "nums": [1, 2, 3], "empty_list": [], "obj": {"k": "v"}, "ver": "1.10.0",
        "os": {"family": "RedHat", "release": {"major": "8", "minor": 4}}, "with.dot": "dotted", "unicode": "Zürich",
        "mounts": [{"path": "/", "size": 10}, {"path": "/data", "size": 200}], "json": "{\"a\":[1]}"
    })
});

/// Evaluates a filter on a node; bytes that are no filter are taken for each kind of text that a filter holds.
///
/// Holds: a filter travels unchanged; compiled for many nodes it says the same as for one; what `check` refuses as a
/// whole does not match.
pub fn filter(data: &[u8]) {
    if let Ok(filter) = serde_json::from_slice::<Filter>(data) {
        judge(&filter);
        return;
    }
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    if let Ok(fact) = parse_fact(text) {
        assert!(
            text.contains(&fact.fact) && text.contains(&fact.value),
            "a fact filter holds what was not typed"
        );
        judge(&Filter {
            fact: vec![fact],
            ..Filter::default()
        });
    }
    drop(lookup(&FACTS, text));
    judge(&FilterBuilder::new().combined(text).build());
    judge(&FilterBuilder::new().compound(text).build());
    judge(
        &FilterBuilder::new()
            .identity(&format!("/{text}/"))
            .class(text)
            .build(),
    );
    if let Ok(expression) = Expression::new(text) {
        drop(expression.is_true(&Echo));
    }
}

fn judge(filter: &Filter) {
    let agents = ["rpcutil".to_owned(), "choria_util".to_owned()];
    let classes = ["apache".to_owned(), "role::web".to_owned()];
    let node = NodeView {
        identity: "n1.example.net",
        agents: &agents,
        classes: &classes,
        facts: &FACTS,
    };
    let verdict = filter.explain(&node);
    assert_eq!(
        verdict,
        filter.compile().explain(&node),
        "a compiled filter says something else"
    );
    assert_eq!(verdict.is_match(), filter.matches(&node));
    drop(verdict.to_string());
    if filter.is_empty() {
        assert!(verdict.is_match(), "an empty filter does not match");
    }
    // One identity of many may be faulty, and a boolean fact is not searched for the expression it is given.
    let is_strict = filter.identity.is_empty()
        && filter
            .fact
            .iter()
            .all(|entry| entry.operator != Operator::Matches);
    if is_strict && filter.check_wire().is_ok() && filter.check().is_err() {
        assert!(!verdict.is_match(), "a faulty filter matches");
    }
    let json = serde_json::to_vec(filter).expect("a filter is JSON");
    let again: Filter = serde_json::from_slice(&json).expect("a filter's JSON is a filter");
    assert_eq!(&again, filter, "a filter changes when it is sent");
}

/// A scope that knows one variable, and one function that gives its arguments back.
struct Echo;

impl Scope for Echo {
    fn variable(&self, name: &str) -> Option<Value> {
        (name == "code").then(|| json!(0))
    }

    fn call(&self, name: &str, arguments: &[Value]) -> Option<Result<Value, String>> {
        (name == "data").then(|| Ok(Value::from(arguments.to_vec())))
    }
}
