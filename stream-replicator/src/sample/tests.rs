use std::cell::Cell;

use proptest::prelude::*;

use super::*;

fn sampling(field: &str) -> Sampling {
    Sampling {
        inspect: Inspect::Field(field.to_owned()),
        force: Some("force".to_owned()),
        force_is_strict: false,
        interval: Duration::from_secs(3_600),
        warn: Duration::from_secs(1_800),
        size_trigger: 0.0,
        lifecycle: false,
    }
}

fn value(field: &str, body: &str) -> Option<String> {
    Reader::new(&sampling(field))
        .value("subject", None, body.as_bytes())
        .map(Cow::into_owned)
}

#[track_caller]
fn assert_value(field: &str, body: &str, expected: &str) {
    assert_eq!(
        value(field, body).unwrap_or_default(),
        expected,
        "{field} of {body}"
    );
}

#[test]
fn fields_are_found_by_their_path() {
    assert_value("sender", r#"{"sender":"h1"}"#, "h1");
    assert_value(
        "sender",
        r#"{ "x" : [1,{"sender":"no"}] , "sender" : "h1" }"#,
        "h1",
    );
    assert_value("a.b", r#"{"a":{"b":"x"}}"#, "x");
    assert_value("a\\.b", r#"{"a":{"b":"y"},"a.b":"x"}"#, "x");
    assert_value("l.1", r#"{"l":["a","b"]}"#, "b");
    assert_value("l.#", r#"{"l":[1,{"a":[3]},"2"]}"#, "3");
    assert_value("1.s", r#"[{"s":"a"},{"s":"b"}]"#, "b");
    assert_value("s*r", r#"{"server":"a"}"#, "a");
    assert_value("s?x", r#"{"süx":"a"}"#, "a");
    assert_value("*a*b*", r#"{"xxab":"1","xaxbx":"2"}"#, "1");
    assert_value("l.#.n", r#"{"l":[{"n":"a"},{"n":"b"}]}"#, r#"["a","b"]"#);
    assert_value(
        "l.#(n==\"b\").v",
        r#"{"l":[{"n":"a","v":1},{"n":"b","v":2}]}"#,
        "2",
    );
    assert_value("l.@reverse.0", r#"{"l":["a","b"]}"#, "b");
    assert_value("..1.s", "{\"s\":\"a\"}\n{\"s\":\"b\"}", "b");
}

#[test]
fn what_is_no_text_becomes_one() {
    assert_value("v", r#"{"v":12}"#, "12");
    assert_value("v", r#"{"v":-0012}"#, "-0012");
    assert_value("v", r#"{"v":1.50}"#, "1.5");
    assert_value("v", r#"{"v":1e3}"#, "1000");
    assert_value("v", r#"{"v":true}"#, "true");
    assert_value("v", r#"{"v":false}"#, "false");
    assert_value("v", r#"{"v":null}"#, "");
    assert_value("v", r#"{"v":{"a": 1}}"#, r#"{"a": 1}"#);
    assert_value("v", r#"{"v":"a\"b\\\u00e4\ud83d\ude0b\n"}"#, "a\"b\\ä😋\n");
    assert_value("v", r#"{"v":"a\ud83dx"}"#, "a\u{fffd}x");
    assert_value("v", r#"{"v":"a\qb"}"#, "a");
}

#[test]
fn the_first_document_and_the_first_member_count_and_what_follows_does_not() {
    assert_value("s", r#"{"s":"a","s":"b"}"#, "a");
    assert_value("s", r#"{"s":"a", oops"#, "a");
    assert_value("s", "{\"s\":\"a\"}\n{\"s\":\"b\"}", "a");
    assert_value("s", r#"{"t":"x"}{"s":"b"}"#, "");
    assert_value("s", r#"noise {"s":"b"}"#, "b");
    assert_value("s", r#"{"s":"a"#, "");
    assert_value("s", r#"{"s":{"a":1"#, r#"{"a":1"#);
    assert_value("a.b", r#"{"a":1,"a":{"c":2},"a":{"b":3}}"#, "3");
    assert_value("s", "", "");
    assert_value("s", "not json", "");
}

#[test]
fn a_value_that_is_too_long_for_a_name_is_none() {
    let body = format!(r#"{{"s":"{}"}}"#, "x".repeat(MAX_VALUE));
    assert_eq!(value("s", &body).map(|value| value.len()), Some(MAX_VALUE));
    let body = format!(r#"{{"s":"{}"}}"#, "x".repeat(MAX_VALUE + 1));
    assert_eq!(value("s", &body), None);
}

#[test]
fn tokens_are_counted_from_one_and_the_whole_subject_is_one_value() {
    let of = |token: Option<usize>, subject: &'static str| {
        let mut sampling = sampling("x");
        sampling.inspect = Inspect::Token(token.and_then(std::num::NonZeroUsize::new));
        Reader::new(&sampling)
            .value(subject, None, b"{}")
            .map(Cow::into_owned)
    };
    assert_eq!(of(None, "test.1").as_deref(), Some("test.1"));
    assert_eq!(of(Some(1), "test.1").as_deref(), Some("test"));
    assert_eq!(of(Some(2), "test.1").as_deref(), Some("1"));
    assert_eq!(of(Some(3), "test.1"), None);
}

#[test]
fn sr_case_33_a_field_that_is_there_forces_and_strictly_only_one_that_says_yes() {
    let mut sampling = sampling("s");
    let forced = |sampling: &Sampling, body: &str| Reader::new(sampling).is_forced(body.as_bytes());
    for (body, exists, says_yes) in [
        (r#"{"force":true}"#, true, true),
        (r#"{"force":false}"#, true, false),
        (r#"{"force":null}"#, true, false),
        (r#"{"force":"True"}"#, true, true),
        (r#"{"force":"no"}"#, true, false),
        (r#"{"force":0}"#, true, false),
        (r#"{"force":2}"#, true, true),
        (r#"{"other":true}"#, false, false),
    ] {
        sampling.force_is_strict = false;
        assert_eq!(forced(&sampling, body), exists, "{body}");
        sampling.force_is_strict = true;
        assert_eq!(forced(&sampling, body), says_yes, "{body}");
    }
    sampling.force = None;
    assert!(!forced(&sampling, r#"{"force":true}"#));
}

fn at(seconds: u64) -> Nanos {
    Nanos::of(std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

fn decided(copied_ago: u64, seen_ago: u64, chance: f64) -> Why {
    let now = 100_000;
    let before = Before {
        seen: Some(at(now - seen_ago)),
        copied: Some(at(now - copied_ago)),
        copied_size: 100,
    };
    Rule::new(Duration::from_secs(3_600), 0.0).decide(&before, at(now), 100, || chance)
}

#[test]
fn sr_case_36_copies_are_due_in_the_last_tenth_of_the_interval() {
    assert!(decided(61 * 60, 10 * 60, 0.0).copies());
    assert!(!decided(50 * 60, 10 * 60, 0.999).copies());
    // 57 min: past a limit that chance put at 54 min, not past one at 59 min 59 s.
    assert!(decided(57 * 60, 10 * 60, 0.999).copies());
    assert!(!decided(57 * 60, 10 * 60, 0.0).copies());
    assert_eq!(
        decided(720, 720, 0.5).to_string(),
        "sampled: copied 12 min ago"
    );
}

#[test]
fn chance_is_asked_only_where_it_decides() {
    let asked = Cell::new(0);
    let before = Before {
        seen: Some(at(1_000)),
        copied: Some(at(1_000)),
        copied_size: 1,
    };
    let rule = Rule::new(Duration::from_secs(3_600), 0.0);
    for now in [1_001, 3_000, 4_590, 10_000] {
        rule.decide(&before, at(now), 1, || {
            asked.set(asked.get() + 1);
            0.5
        });
    }
    assert_eq!(asked.get(), 1);
}

proptest! {
    #[test]
    fn foreign_bytes_never_panic_whatever_the_path(
        body in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..120),
            "[{}\\[\\]\",:\\\\utfn0-9a-z. -]{0,80}".prop_map(String::into_bytes),
        ],
        field in prop_oneof![
            Just("a".to_owned()),
            Just("a.b.0".to_owned()),
            Just("*".to_owned()),
            Just("a.#".to_owned()),
            "[a-c.*?#@|\\\\{}\\[\\]()0-9\"=!]{1,12}",
        ],
    ) {
        let mut sampling = sampling(&field);
        sampling.force = Some(field);
        for strict in [false, true] {
            sampling.force_is_strict = strict;
            let reader = Reader::new(&sampling);
            let _forced = reader.is_forced(&body);
            let value = reader.value("subject", None, &body);
            prop_assert!(value.is_none_or(|value| !value.is_empty()));
        }
    }

    #[test]
    fn members_of_whole_documents_are_found_as_a_parser_finds_them(
        name in "[a-z]{1,4}",
        others in proptest::collection::vec(("[A-Z]{1,4}", "[ -~]{0,12}"), 0..6),
        text in "\\PC{1,20}",
    ) {
        let mut object: Vec<String> = others
            .iter()
            .map(|(name, text)| format!("{}:[{},{{\"x\":1}}]", serde_json::json!(name), serde_json::json!(text)))
            .collect();
        object.push(format!("{}:{}", serde_json::json!(name), serde_json::json!(text)));
        let body = format!("{{{}}}", object.join(","));
        prop_assert_eq!(value(&name, &body), Some(text));
    }
}
