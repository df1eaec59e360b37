use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{Action, Aggregates, Ddl, Display, InputError, builtin, builtins, decode};
use crate::json::Limits;

fn action(definition: Value) -> Action {
    serde_json::from_value(definition).unwrap()
}

/// An action with one input `x` of the given description.
fn with_input(mut input: Value) -> Action {
    let fields = input.as_object_mut().unwrap();
    for (name, value) in [("prompt", "x"), ("description", "x")] {
        fields.insert(name.to_owned(), json!(value));
    }
    fields.entry("optional").or_insert(json!(false));
    action(json!({"action": "a", "description": "a", "input": {"x": input}}))
}

fn convert(action: &Action, text: &str) -> Result<Value, String> {
    let pairs = [("X".to_owned(), text.to_owned())];
    action
        .convert_inputs(&pairs)
        .map(|data| data.get("x").unwrap().clone())
        .map_err(|error| error.to_string())
}

fn map(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

#[test]
fn texts_convert_by_type() {
    for (kind, text, value) in [
        ("string", "a b", json!("a b")),
        ("integer", "-3", json!(-3)),
        ("number", "3", json!(3)),
        ("number", "3.5", json!(3.5)),
        ("float", "3.5", json!(3.5)),
        ("boolean", "T", json!(true)),
        ("boolean", "0", json!(false)),
        ("hash", r#"{"a":[1]}"#, json!({"a": [1]})),
        ("Hash", "{}", json!({})),
        ("array", "[1]", json!([1])),
        ("Array", "[]", json!([])),
    ] {
        let action = with_input(json!({"type": kind, "validation": ".", "maxlength": 10}));
        assert_eq!(convert(&action, text), Ok(value), "{kind} {text}");
    }
}

#[test]
fn values_that_are_not_allowed_are_refused_with_the_words_of_the_original() {
    let shell = json!({"type": "string", "validation": "shellsafe", "maxlength": 5});
    let list = json!({"type": "list", "list": ["a", "b"]});
    for (input, text, error) in [
        (
            shell.clone(),
            "a;b",
            "invalid value for 'x': may not contain ';'",
        ),
        (
            shell.clone(),
            "a&&b",
            "invalid value for 'x': may not contain '&&'",
        ),
        (
            shell,
            "abcdef",
            "invalid value for 'x': is longer than 5 characters",
        ),
        (list, "c", "invalid value for 'x': should be one of a, b"),
        (
            json!({"type": "integer"}),
            "1.5",
            "invalid value for 'x': '1.5' is not a valid integer",
        ),
        (
            json!({"type": "float"}),
            "x",
            "invalid value for 'x': 'x' is not a valid float",
        ),
        (
            json!({"type": "boolean"}),
            "yes",
            "invalid value for 'x': 'yes' is not a valid boolean",
        ),
        (
            json!({"type": "hash"}),
            "[]",
            "invalid value for 'x': '[]' is not a valid JSON string with a hash inside",
        ),
        (
            json!({"type": "string", "validation": "^[0-9]+$", "maxlength": 9}),
            "abc",
            "invalid value for 'x': input does not match '^[0-9]+$'",
        ),
        (
            json!({"type": "string", "validation": "ipv4address", "maxlength": 99}),
            "::1",
            "invalid value for 'x': ::1 is not an IPv4 address",
        ),
    ] {
        assert_eq!(
            convert(&with_input(input), text),
            Err(error.to_owned()),
            "{text}"
        );
    }
}

#[test]
fn a_default_is_checked_when_it_is_used() {
    for (input, verdict) in [
        (json!({"type": "integer", "default": 3}), Ok(json!(3))),
        (
            json!({"type": "integer", "default": ""}),
            Err("is not an integer"),
        ),
        (
            json!({"type": "string", "validation": "^a", "default": ""}),
            Ok(json!("")),
        ),
        (
            json!({"type": "string", "validation": "^a", "default": "b"}),
            Err("input does not match '^a'"),
        ),
        (
            json!({"type": "string", "maxlength": 2, "default": "abc"}),
            Err("is longer than 2 characters"),
        ),
        (
            json!({"type": "list", "list": ["a"], "default": "b"}),
            Err("should be one of a"),
        ),
    ] {
        let used = with_input(input.clone()).convert_inputs(&[]);
        let used = used.map(|data| data["x"].clone());
        assert_eq!(
            used.map_err(|error| error.to_string()),
            verdict.map_err(|reason| format!("invalid value for 'x': {reason}")),
            "{input}"
        );
    }
    let given = json!({"type": "string", "validation": "^a", "default": "b"});
    assert_eq!(convert(&with_input(given), "ab"), Ok(json!("ab")));
}

#[test]
fn inputs_in_capitals_are_found_before_lower_case_ones() {
    let text = json!({"prompt": "x", "description": "x", "type": "string", "optional": true});
    let action =
        action(json!({"action": "a", "description": "a", "input": {"CN": text, "ou": text}}));
    let pairs = [("CN", "1"), ("OU", "2")].map(|(key, text)| (key.to_owned(), text.to_owned()));
    let data = action.convert_inputs(&pairs).unwrap();
    assert_eq!(Value::Object(data), json!({"CN": "1", "ou": "2"}));
}

#[test]
fn undeclared_and_missing_inputs_are_refused() {
    let action = with_input(json!({"type": "string"}));
    let pairs = [("y".to_owned(), "1".to_owned())];
    let error = action.convert_inputs(&pairs).unwrap_err();
    assert_eq!(error.to_string(), "input 'y' has not been declared");
    let error = action.convert_inputs(&[]).unwrap_err();
    assert_eq!(error.to_string(), "input 'x' is required");
    assert_eq!(
        action.validate(&map(json!({}))),
        Err(InputError::Required("x".to_owned()))
    );
    assert_eq!(
        action.validate(&map(json!({"x": "a", "y": 1}))),
        Err(InputError::Undeclared("y".to_owned()))
    );
    assert_eq!(
        action.validate(&map(json!({"x": "a", "process_results": true}))),
        Ok(())
    );
}

#[test]
fn defaults_fill_in_for_missing_inputs_and_outputs() {
    let action = with_input(json!({"type": "integer", "default": 7}));
    assert_eq!(
        Value::Object(action.convert_inputs(&[]).unwrap()),
        json!({"x": 7})
    );
    let inventory = builtin("rpcutil").unwrap().action("inventory").unwrap();
    let mut data = map(json!({"version": "1"}));
    inventory.set_output_defaults(&mut data);
    assert_eq!(
        Value::Object(data),
        json!({"version": "1", "upgradable": false})
    );
}

#[test]
fn a_text_without_a_length_is_validated_all_the_same() {
    let action = with_input(json!({"type": "string", "validation": "shellsafe", "maxlength": 0}));
    assert!(convert(&action, "a;b").is_err());
}

#[test]
fn an_expression_that_begins_with_a_letter_is_enforced_and_an_unknown_validator_is_not() {
    let expression = with_input(json!({"type": "string", "validation": "a|^b$", "maxlength": 9}));
    assert_eq!(convert(&expression, "b"), Ok(json!("b")));
    assert!(convert(&expression, "xyz").is_err());
    let named = with_input(json!({"type": "string", "validation": "service_name", "maxlength": 9}));
    assert_eq!(convert(&named, "xyz"), Ok(json!("xyz")));
}

#[test]
fn an_expression_that_cannot_be_compiled_refuses_instead_of_passing() {
    for pattern in ["(", "^(a{1000}){1000}$"] {
        let action = with_input(json!({"type": "string", "validation": pattern, "maxlength": 9}));
        assert_eq!(
            convert(&action, "a"),
            Err(format!("invalid value for 'x': invalid regex '{pattern}'"))
        );
    }
}

#[test]
fn numbers_as_go_writes_them_pass() {
    for (kind, value, good) in [
        ("integer", json!(5), true),
        ("integer", json!(5.0), true),
        ("integer", json!(5.5), false),
        ("float", json!(5), true),
        ("number", json!("5"), false),
        ("boolean", json!("true"), false),
    ] {
        let action = with_input(json!({"type": kind}));
        assert_eq!(
            action.validate(&map(json!({"x": value}))).is_ok(),
            good,
            "{kind} {value}"
        );
    }
}

#[test]
fn broken_descriptions_are_refused() {
    let good = serde_json::to_value(builtin("rpcutil").unwrap()).unwrap();
    let broken = |pointer: &str, value: Value| {
        let mut ddl = good.clone();
        *ddl.pointer_mut(pointer).unwrap() = value;
        decode(ddl.to_string().as_bytes(), &Limits::default())
    };
    assert!(broken("/metadata/name", json!("rpcutil")).is_ok());
    assert!(broken("/metadata/name", json!("a.b")).is_err());
    assert!(broken("/metadata/name", json!("")).is_err());
    assert!(broken("/metadata/timeout", json!(-1)).is_err());
    assert!(broken("/actions/0/action", json!("A")).is_err());
    assert!(
        broken("/actions/0/action", json!("ping")).is_err(),
        "a second ping"
    );
    assert!(broken("/actions", json!({})).is_err());
    assert!(decode(&[b'['; 100_000], &Limits::default()).is_err());
}

#[test]
fn the_display_is_failed_unless_said_otherwise() {
    assert_eq!(
        with_input(json!({"type": "string"})).display,
        Display::Failed
    );
}

#[test]
fn every_text_of_the_builtins_has_a_rule_and_a_limit() {
    // Choria's own schema of descriptions demands both
    for (ddl, action) in builtins()
        .iter()
        .flat_map(|ddl| ddl.actions.iter().map(move |action| (ddl, action)))
    {
        for (name, input) in &action.input {
            let complete = !input.validation.is_empty() && input.maxlength > 0;
            assert!(
                input.kind != super::InputKind::String || complete,
                "{}#{}: {name}",
                ddl.metadata.name,
                action.action
            );
        }
    }
}

#[test]
fn every_aggregate_of_the_builtins_names_an_output() {
    for (ddl, action) in builtins()
        .iter()
        .flat_map(|ddl| ddl.actions.iter().map(move |action| (ddl, action)))
    {
        assert_eq!(
            Aggregates::new(action).summaries().len(),
            action.aggregate.len(),
            "{}",
            ddl.metadata.name
        );
        for aggregate in &action.aggregate {
            let output = aggregate.args.first().unwrap().as_str().unwrap();
            assert!(
                action.output.contains_key(output),
                "{} {output}",
                action.action
            );
        }
    }
}

#[test]
fn values_are_counted_by_their_text_or_json() {
    let action = builtin("rpcutil").unwrap().action("get_fact").unwrap();
    let mut sums = Aggregates::new(action);
    assert!(sums.summaries().first().unwrap().lines.is_empty());
    for value in [
        json!("RedHat"),
        json!("RedHat"),
        json!("Debian"),
        json!(null),
        json!(["a"]),
        json!(["a"]),
    ] {
        sums.add(&map(json!({"fact": "x", "value": value})));
    }
    assert_eq!(
        sums.to_json(),
        json!({"value": {"RedHat": 2, "Debian": 1, "null": 1, "[\"a\"]": 2}})
    );
    let summary = sums.summaries().remove(0);
    assert_eq!(summary.display_as, "Value");
    assert_eq!(
        summary.lines,
        ["RedHat: 2", " [\"a\"]: 2", "Debian: 1", "  null: 1"].map(|line| line.to_owned())
    );
}

#[test]
fn summaries_take_formats_and_replacements() {
    let action = action(json!({
        "action": "a", "description": "a",
        "output": {"up": {"description": "x", "display_as": "Up"}, "load": {"description": "x", "display_as": "Load"}},
        "aggregate": [
            {"function": "boolean_summary", "args": ["up", {"true": "yes", "false": "no", "format": "%5s = %d"}]},
            {"function": "average", "args": ["load", {"format": "mean %.1f"}]},
            {"function": "chart", "args": ["load"]},
            {"function": "unknown", "args": ["load"]},
            {"function": "summary", "args": []},
        ],
    }));
    let mut sums = Aggregates::new(&action);
    for (up, load) in [
        (true, json!(1)),
        (true, json!("2")),
        (false, json!(6.0)),
        (true, json!([])),
    ] {
        sums.add(&map(json!({"up": up, "load": load})));
    }
    let summaries = sums.summaries();
    assert_eq!(summaries.len(), 3);
    let of = |output: &str, at: usize| {
        summaries
            .iter()
            .filter(|sum| sum.output == output)
            .nth(at)
            .unwrap()
    };
    assert_eq!(of("up", 0).json, json!({"yes": 3, "no": 1}));
    assert_eq!(
        of("up", 0).lines,
        ["  yes = 3", "   no = 1"].map(|line| line.to_owned())
    );
    assert_eq!(of("load", 0).json, json!({"average": 3.0}));
    assert_eq!(of("load", 0).lines, ["mean 3.0".to_owned()]);
    assert!(
        of("load", 1)
            .json
            .get("chart")
            .unwrap()
            .as_str()
            .unwrap()
            .contains('┤')
    );
}

proptest! {
    #[test]
    fn validation_never_panics(kind in "string|integer|number|float|boolean|hash|array|list", validation in ".{0,20}", text in ".{0,20}") {
        let action = with_input(json!({"type": kind, "validation": validation, "maxlength": 10, "list": ["a"]}));
        drop(convert(&action, &text));
    }

    #[test]
    fn descriptions_read_back(name in "[a-z0-9_]{1,10}", text in ".{0,20}") {
        let mut ddl = builtin("rpcutil").unwrap().clone();
        ddl.metadata.name = name;
        ddl.metadata.description = text;
        let decoded: Ddl = decode(&crate::json::encode(&ddl), &Limits::default()).unwrap();
        prop_assert_eq!(decoded, ddl);
    }
}
