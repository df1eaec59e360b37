use proptest::prelude::*;

use super::*;

fn read(output: &str) -> Result<Answer, AnswerError> {
    Answer::decode(output.as_bytes())
}

#[test]
fn names_match_in_any_case_and_the_last_counts() {
    let answer = read(
        r#" {"DEFER": true, "defer": false, "Msg": "a", "msg": "b",
            "Configuration": {"a": "1", "a": "2", "A": "3"},
            "Server_Claims": {"OU": "x", "Permissions": {"STREAMS": true}}} "#,
    )
    .unwrap();
    assert!(!answer.defer);
    assert_eq!(answer.msg, "b");
    // Settings are the node's: their names keep their case.
    assert_eq!(answer.configuration["a"], "2");
    assert_eq!(answer.configuration["A"], "3");
    let claims = answer.server_claims.unwrap();
    assert_eq!(claims.ou.as_deref(), Some("x"));
    assert!(claims.permissions.unwrap().streams);
}

#[test]
fn nothing_is_wrong_with_null_and_unknown_members() {
    assert_eq!(read("null").unwrap().configuration.len(), 0);
    let answer = read(
        r#"{"defer": null, "key": null, "server_claims": null, "configuration": {"a": null}, "new": [{}]}"#,
    )
    .unwrap();
    assert_eq!(answer.configuration["a"], "");
    assert!(answer.server_claims.is_none() && answer.key.is_empty());
}

#[test]
fn an_expiry_may_be_a_text_or_a_fraction() {
    for (text, exp) in [
        ("2300000000", 2_300_000_000),
        ("\"2300000000\"", 2_300_000_000),
        ("2300000000.9", 2_300_000_000),
        ("2.3e9", 2_300_000_000),
        ("-5", -5),
    ] {
        let answer = read(&format!(r#"{{"server_claims": {{"exp": {text}}}}}"#)).unwrap();
        assert_eq!(answer.server_claims.unwrap().exp, Some(exp), "{text}");
    }
    for text in ["\"soon\"", "true", "[]", "1e300", "\"\""] {
        let output = format!(r#"{{"server_claims": {{"exp": {text}}}}}"#);
        assert!(read(&output).is_err(), "{text}");
    }
}

#[test]
fn a_member_of_another_type_fails_the_whole() {
    for output in [
        r#"{"defer": "yes"}"#,
        r#"{"msg": 1}"#,
        r#"{"configuration": {"a": 1}}"#,
        r#"{"configuration": ["a"]}"#,
        r#"{"action_policies": {"a": true}}"#,
        r#"{"key": {}}"#,
        r#"{"server_claims": []}"#,
        r#"{"server_claims": {"collectives": "a"}}"#,
        r#"{"server_claims": {"permissions": {"streams": 1}}}"#,
        r#"{"server_claims": {"identity": 1}}"#,
        r#"{"server_claims": {"nbf": {}}}"#,
        r#"{"confirm": 1}"#,
    ] {
        assert!(
            matches!(read(output), Err(AnswerError::Member { .. })),
            "{output}"
        );
    }
}

#[test]
fn what_is_no_single_object_is_no_answer() {
    assert_eq!(read(" \n"), Err(AnswerError::Empty));
    let mark = "\u{feff}{}";
    for output in ["{", "[]", "7", "{} {}", "{}x", mark, "\"a\""] {
        assert!(
            matches!(read(output), Err(AnswerError::Json(_))),
            "{output}"
        );
    }
    let deep = "[".repeat(100_000);
    assert!(read(&format!("{{\"a\":{deep}")).is_err());
    assert!(Answer::decode(b"{\"msg\":\"\xff\"}").is_err());
}

#[test]
fn a_private_key_is_not_shown() {
    let answer = read(r#"{"key": "-----BEGIN PRIVATE KEY-----"}"#).unwrap();
    assert!(!format!("{answer:?}").contains("BEGIN"));
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        drop(Answer::decode(&bytes));
    }

    #[test]
    fn no_json_panics(text in r#"\{("(defer|exp|server_claims|configuration|key)":(null|1|"a"|\{"exp":[0-9.e-]{1,9}\}|\[\]),?){0,4}\}"#) {
        drop(read(&text));
    }
}
