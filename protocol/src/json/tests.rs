use proptest::prelude::*;

use super::{Limits, Member, Object, depth_exceeds, encode_text, json, text};
use crate::error::{DecodeError, Layer};

const KNOWN: &[Member] = &[text("protocol"), json("data"), text("sender")];

fn decode(text: &str) -> Result<(), DecodeError> {
    Object::decode(Layer::Transport, KNOWN, text.as_bytes(), &Limits::default()).map(drop)
}

#[test]
fn characters_that_go_escapes_are_escaped() {
    assert_eq!(
        encode_text("a<b>&\u{2028}\"é"),
        r#""a\u003cb\u003e\u0026\u2028\"é""#
    );
}

proptest! {
    #[test]
    fn what_go_escapes_is_escaped_wherever_it_stands(text in "([<>&\u{2028}\u{2029}\u{2027}\u{202a}é–\\\"a]|\\PC){0,40}") {
        let plain = serde_json::to_string(&text).unwrap();
        let expected = plain
            .replace('<', "\\u003c")
            .replace('>', "\\u003e")
            .replace('&', "\\u0026")
            .replace('\u{2028}', "\\u2028")
            .replace('\u{2029}', "\\u2029");
        prop_assert_eq!(encode_text(&text), expected);
    }
}

#[test]
fn a_member_twice_is_refused_even_if_both_agree() {
    let error = decode(r#"{"data":"a","data":"a"}"#).unwrap_err();
    assert!(
        matches!(error, DecodeError::Duplicate { member: "data", .. }),
        "{error}"
    );
}

#[test]
fn an_unknown_member_twice_is_skipped() {
    decode(r#"{"x":1,"x":2}"#).unwrap();
}

#[test]
fn a_member_in_other_letters_is_refused() {
    for text in [
        r#"{"Data":"a"}"#,
        r#"{"data":"a","DATA":"b"}"#,
        "{\"\u{17f}ender\":\"a\"}",
    ] {
        let error = decode(text).unwrap_err();
        assert!(
            matches!(error, DecodeError::Misspelt { .. }),
            "{text}: {error}"
        );
    }
}

#[test]
fn what_is_no_object_is_refused() {
    for text in [
        "", " ", "null", "[]", "1", "\"{}\"", "{", "{} {}", "{\"a\"}", "{\"a\":}",
    ] {
        assert!(
            matches!(decode(text), Err(DecodeError::Json { .. })),
            "{text}"
        );
    }
}

#[test]
fn a_depth_bomb_is_refused_before_it_is_parsed() {
    let bomb = format!("{{\"x\":{}", "[".repeat(900_000));
    assert!(matches!(decode(&bomb), Err(DecodeError::TooDeep { .. })));
    let objects = "{\"a\":".repeat(100_000);
    assert!(matches!(decode(&objects), Err(DecodeError::TooDeep { .. })));
}

#[test]
fn brackets_inside_text_do_not_count() {
    assert!(!depth_exceeds(br#"{"a":"[[[[[[\"[[[[\\"}"#, 1));
    assert!(depth_exceeds(br#"{"a":"\\"[[}"#, 1));
}

#[test]
fn a_document_above_the_limit_is_refused_unread() {
    let limits = Limits {
        max_bytes: 8,
        max_depth: 4,
    };
    let error = Object::decode(Layer::Reply, KNOWN, b"{\"data\":1}", &limits)
        .map(drop)
        .unwrap_err();
    assert!(
        matches!(
            error,
            DecodeError::TooLarge {
                size: 10,
                limit: 8,
                ..
            }
        ),
        "{error}"
    );
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        drop(Object::decode(Layer::Transport, KNOWN, &bytes, &Limits::default()));
    }

    #[test]
    fn what_is_encoded_reads_back(text in ".*") {
        let encoded = encode_text(&text);
        prop_assert!(!encoded.contains(['<', '>', '&']));
        prop_assert_eq!(serde_json::from_str::<String>(&encoded).unwrap(), text);
    }
}
