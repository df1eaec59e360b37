//! What holds of every text.

use overlay_policy::{Limits, Rego, action_list};
use proptest::prelude::*;
use std::time::Duration;

use crate::request::Request;

fn impatient() -> Rego {
    Rego::new(Limits {
        time: Duration::from_millis(100),
        ..Limits::default()
    })
}

/// Pieces of policies, so that more than noise comes out.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("allow"),
        Just("default "),
        Just(" if "),
        Just(" := "),
        Just(" = "),
        Just("{"),
        Just("}"),
        Just("["),
        Just("]"),
        Just("("),
        Just(")"),
        Just("\n"),
        Just(" | "),
        Just("; "),
        Just("input"),
        Just(".agent"),
        Just("data"),
        Just("some x in "),
        Just("every x in "),
        Just("x"),
        Just("_"),
        Just("not "),
        Just("else "),
        Just("contains "),
        Just(" with "),
        Just(" as "),
        Just("import rego.v1\n"),
        Just("import data.io.choria.aaasvc as me\n"),
        Just("true"),
        Just("1"),
        Just("1e3"),
        Just("\"a\""),
        Just("`ü`"),
        Just(","),
        Just(":"),
        Just(" == "),
        Just(" + "),
        Just("-"),
        Just("requires_filter()"),
        Just("requires_fact_filter"),
        Just("print"),
        Just("count"),
        Just("walk"),
        Just("# ü\n"),
    ]
    .prop_map(str::to_owned)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_text_ends_the_process(pieces in prop::collection::vec(piece(), 0..40)) {
        let text = format!("package io.choria.aaasvc\nallow if {{ true }}\n{}", pieces.concat());
        let rego = impatient();
        let request = Request::default();
        let verdict = rego.decide(&text, &request.question());
        // A policy is usable or not, and says the same of itself both times.
        prop_assert_eq!(rego.check(&text).is_err(), rego.faults(&text).is_err());
        prop_assert!(rego.check(&text).is_ok() || verdict.is_error());
        let explanation = rego.explain(&text, &request.question());
        prop_assert_eq!(explanation.verdict.is_allowed(), verdict.is_allowed());
    }

    #[test]
    fn noise_is_never_a_yes(text in "\\PC{0,200}") {
        let verdict = impatient().decide(&text, &Request::default().question());
        prop_assert!(!verdict.is_allowed());
    }

    #[test]
    fn a_list_allows_only_what_it_names(
        elements in prop::collection::vec("[a-c.*]{0,5}", 0..6),
        agent in "[a-c]{1,2}",
        action in "[a-c]{1,2}",
    ) {
        let names = |element: &String| {
            *element == "*"
                || *element == format!("{agent}.*")
                || *element == format!("{agent}.{action}")
        };
        let verdict = action_list(&elements, &agent, &action);
        if verdict.is_allowed() {
            prop_assert!(elements.iter().any(names));
        } else if !verdict.is_error() {
            prop_assert!(!elements.iter().any(names));
        }
    }
}
