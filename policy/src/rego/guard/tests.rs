use super::*;

#[test]
fn ordinary_text_passes() {
    let text = "package a\n# ((((1e999\nx := \"1e999 \\\" (((\" # \"\ny1e999 := 1.5e10\nz := `(((`\n";
    assert_eq!(scan(text, 1_000), Ok(()));
}

#[test]
fn numbers_that_would_fill_the_memory_are_refused_with_their_line() {
    for number in ["1e309", "1E+1000000000", "0.5e-99999999999999", &"9".repeat(401)] {
        let fault = scan(&format!("package a\nx := {number}\n"), 10_000).unwrap_err();
        assert_eq!((fault.kind, fault.line), (PolicyErrorKind::TooLarge, Some(2)));
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
