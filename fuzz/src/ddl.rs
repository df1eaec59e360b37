//! Descriptions of agents.

use overlay_protocol::envelope::Limits;
use overlay_protocol::rpc::ddl::{Action, Aggregates, decode};
use serde_json::{Map, Value, json};

/// Texts that are tried as values of every input.
const VALUES: [&str; 10] = [
    "", "1", "-1.5", "true", "one", "{}", "[1]", "10.0.0.1", "a;b", "\u{e9}",
];

/// Decodes a description and uses each of its actions.
///
/// Holds: a description survives being written; a converted input is a valid one.
pub fn ddl(data: &[u8]) {
    let limits = Limits::default();
    let Ok(ddl) = decode(data, &limits) else {
        return;
    };
    let written = serde_json::to_vec(&ddl).expect("a description is JSON");
    let roomy = Limits {
        max_bytes: limits.max_bytes * 8,
        ..limits
    };
    assert_eq!(
        decode(&written, &roomy).expect("what we write decodes"),
        ddl,
        "a description changes when written"
    );
    for name in ddl.action_names() {
        action(ddl.action(name).expect("a listed action exists"));
    }
}

fn action(action: &Action) {
    drop(action.validate(&Map::new()));
    for (name, input) in &action.input {
        for text in VALUES {
            if let Ok(value) = input.convert(text) {
                drop(input.validate(&value));
            }
            let Ok(data) = action.convert_inputs(&[(name.clone(), text.to_owned())]) else {
                continue;
            };
            let value = data.get(name).expect("a converted input is there");
            assert!(
                input.validate(value).is_ok(),
                "a converted input is not valid"
            );
        }
    }
    let mut summaries = Aggregates::new(action);
    for value in [
        json!(1),
        json!("x"),
        json!(null),
        json!([1, "a"]),
        json!(true),
    ] {
        let mut data: Map<String, Value> = action
            .output
            .keys()
            .map(|name| (name.clone(), value.clone()))
            .collect();
        summaries.add(&data);
        data.clear();
        action.set_output_defaults(&mut data);
    }
    drop(summaries.summaries());
    drop(summaries.to_json());
}
