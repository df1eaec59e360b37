use super::*;

fn found(pattern: &str, text: &str) -> bool {
    Pattern::new(pattern, Case::Sensitive)
        .unwrap()
        .is_match(text)
}

#[test]
fn slashes_mark_a_regular_expression() {
    assert_eq!(between_slashes("/a/"), Some("a"));
    assert_eq!(between_slashes("/"), Some(""));
    assert_eq!(between_slashes("//"), Some(""));
    assert_eq!(between_slashes("///"), Some("/"));
    assert_eq!(between_slashes("/a"), None);
    assert_eq!(between_slashes("a/"), None);
}

#[test]
fn perl_classes_and_word_boundaries_are_ascii() {
    assert!(!found(r"^\w+$", "zürich"));
    assert!(!found(r"\d", "٣"));
    assert!(!found(r"\s", "\u{a0}"));
    assert!(found(r"z\b", "zü"));
    assert!(found(r"[^\w]", "ü"));
    assert!(found(r"[\W]", "ü"));
    assert!(found(r"a\Bb", "ab"));
}

#[test]
fn brackets_know_no_set_operations() {
    assert!(found("[a&&b]", "&"));
    assert!(found("[[a]", "["));
    assert!(found("[a~~b]", "~"));
    assert!(found("[]a]", "]"));
    assert!(found("[a-]", "-"));
    assert!(found("[[:alpha:]_]", "x"));
    assert!(!found("[[:^alpha:]]", "x"));
    assert!(found("[[:alp]", ":"));
}

#[test]
fn quoted_and_octal_texts_are_read() {
    assert!(found(r"^\Qa.b*\Ec$", "a.b*c"));
    assert!(found(r"^\Qa.b", "a.b"));
    assert!(found(r"^\101\x42\x{43}$", "ABC"));
    assert!(found(r"\<a\>", "<a>"));
}

#[test]
fn braces_that_count_nothing_are_plain() {
    assert!(found("a{", "a{"));
    assert!(found("a{,2}", "a{,2}"));
    assert!(found("^a{2}$", "aa"));
    assert!(found("^a{1,}?$", "aaa"));
    assert!(found("x]}", "x]}"));
}

#[test]
fn what_go_refuses_is_refused() {
    for pattern in [
        "(",
        ")",
        "*",
        "a**",
        "a+?*",
        "a{1001}",
        "a{2,1}",
        r"\Z",
        r"\8",
        r"\1",
        r"\",
        "[a",
        "[b-a]",
        "(?x)a",
        "(?=a)",
        "(?P<a",
        r"\pé",
        "[[:nosuch:]]",
        r"\p{Nosuch}",
    ] {
        assert!(Pattern::new(pattern, Case::Sensitive).is_err(), "{pattern}");
    }
}

#[test]
fn large_expressions_are_refused_before_they_cost_anything() {
    for pattern in [
        "a".repeat(5_000),
        r"(\pL{100}){100}".to_owned(),
        "(".repeat(2_000) + &")".repeat(2_000),
    ] {
        let error = Pattern::new(&pattern, Case::Sensitive).unwrap_err();
        assert!(
            !error.reason.contains('\n') && error.pattern.len() <= 80,
            "{error}"
        );
    }
}

#[test]
fn case_is_as_asked_unless_the_expression_says_otherwise() {
    let insensitive = |pattern: &str, text: &str| {
        Pattern::new(pattern, Case::Insensitive)
            .unwrap()
            .is_match(text)
    };
    assert!(insensitive("hello", "HELLO"));
    assert!(!insensitive("(?-i)HELLO", "hello"));
    assert!(!found("hello", "HELLO"));
}
