use super::*;

#[test]
fn ordinary_text_passes() {
    let text =
        "package a\n# ((((1e999\nx := \"1e999 \\\" (((\" # \"\ny1e999 := 1.5e10\nz := `(((`\n";
    assert_eq!(scan(text, 1_000), Ok(Words::default()));
}

#[test]
fn numbers_that_would_fill_the_memory_are_refused_with_their_line() {
    for number in [
        "1e309",
        "1E+1000000000",
        "0.5e-99999999999999",
        &"9".repeat(401),
    ] {
        let fault = scan(&format!("package a\nx := {number}\n"), 10_000).unwrap_err();
        assert_eq!(
            (fault.kind, fault.line),
            (PolicyErrorKind::TooLarge, Some(2))
        );
    }
}

#[test]
fn deep_nesting_is_refused() {
    for bracket in ["(", "[", "{"] {
        let text = format!("package a\nx := {}", bracket.repeat(10_000));
        assert_eq!(
            scan(&text, 100_000).unwrap_err().kind,
            PolicyErrorKind::TooLarge
        );
    }
}

#[test]
fn a_long_text_is_refused() {
    assert_eq!(
        scan("package a", 8).unwrap_err().kind,
        PolicyErrorKind::TooLarge
    );
}

#[test]
fn nesting_that_the_parser_would_read_again_and_again_is_refused() {
    for (open, close) in [("[", "]"), ("{", "}"), ("{\"a\":[", "]}"), ("[1|", "]")] {
        let text = |count: usize| format!("x := {}1{}", open.repeat(count), close.repeat(count));
        assert!(scan(&text(6), 10_000).is_ok(), "{open}");
        assert!(scan(&text(31), 10_000).is_err(), "{open}");
    }
}

#[test]
fn words_tell_the_language() {
    for (text, are_of_v1) in [
        ("allow { x }", false),
        ("allow if { x }", true),
        ("allow { input.if; \"if\" } # if", false),
        ("import future.keywords.if\nallow if { x }", false),
        ("import future.keywords.if\nallow if { some x in y }", true),
        (
            "import future.keywords.if\nimport future.keywords.in\nallow if { some x in y }",
            false,
        ),
        (
            "import future.keywords\nallow if { every x in y { x } }",
            false,
        ),
    ] {
        assert_eq!(scan(text, 1_000), Ok(Words { are_of_v1 }), "{text}");
    }
}
