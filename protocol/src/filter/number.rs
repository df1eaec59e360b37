//! Numbers as the Go programs of a fleet read, compare and print them.

/// From this size on a double is printed with an exponent.
const EXPONENT_FROM: f64 = 1e21;

/// Reads a decimal number; what overflows a double is none.
pub(super) fn parse_float(text: &str) -> Option<f64> {
    // Rust reads "inf" and "nan" as well.
    let plain = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    text.parse()
        .ok()
        .filter(|value: &f64| plain && value.is_finite())
}

/// Tells whether Go's `ParseBool` takes the text for true; everything else is false.
pub(super) fn is_true(text: &str) -> bool {
    matches!(text, "1" | "t" | "T" | "true" | "TRUE" | "True")
}

/// Cuts a fact to a whole number as Choria does.
///
/// Choria reads the printed digits, so numbers beyond 2^63 wrap around at 2^64; those printed with an exponent become
/// the lowest integer.
pub(super) fn truncate(value: f64) -> i64 {
    if value.abs() >= EXPONENT_FROM || value.is_nan() {
        return i64::MIN;
    }
    let digits = format_float(value.abs().trunc());
    let wrapped = digits.bytes().fold(0_i64, |sum, digit| {
        sum.wrapping_mul(10).wrapping_add(i64::from(digit - b'0'))
    });
    if value < 0.0 {
        wrapped.wrapping_neg()
    } else {
        wrapped
    }
}

/// Prints a number as Go's JSON encoder does: the shortest digits that read back, whole numbers without a point.
pub(super) fn format_float(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude == 0.0 || (1e-6..EXPONENT_FROM).contains(&magnitude) {
        return format!("{value}");
    }
    let text = format!("{value:e}");
    match text.split_once('e') {
        Some((digits, exponent)) if !exponent.starts_with('-') => format!("{digits}e+{exponent}"),
        Some(_) | None => text,
    }
}

/// Prints a number as Go's `%v` does: as [`format_float`], but small ones with an exponent of two digits.
pub(super) fn print_float(value: f64) -> String {
    if value == 0.0 || value.abs() >= 1e-4 || value.is_nan() {
        return match (value.is_infinite(), value > 0.0) {
            (true, true) => "+Inf".to_owned(),
            (true, false) => "-Inf".to_owned(),
            (false, _) => format_float(value),
        };
    }
    let text = format!("{value:e}");
    match text.split_once("e-") {
        Some((digits, exponent)) => format!("{digits}e-{exponent:0>2}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_part_is_cut_towards_zero() {
        assert_eq!(truncate(2.5), 2);
        assert_eq!(truncate(-2.5), -2);
        assert_eq!(truncate(0.0), 0);
        assert_eq!(truncate(9_007_199_254_740_992.0), 9_007_199_254_740_992);
    }

    #[test]
    fn numbers_above_the_integers_wrap_around() {
        assert_eq!(truncate(18_446_744_073_709_551_615.0), 384);
        assert_eq!(truncate(1e300), i64::MIN);
    }

    #[test]
    fn floats_are_printed_as_go_prints_them() {
        for (value, text) in [
            (1.0, "1"),
            (1.5, "1.5"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1e-7, "1e-7"),
        ] {
            assert_eq!(format_float(value), text);
        }
    }

    #[test]
    fn texts_that_are_no_plain_decimal_number_are_refused() {
        for text in ["", ".", "inf.", "nan", "1.5e999", "1_0.0", " 1.0"] {
            assert_eq!(parse_float(text), None, "{text:?}");
        }
        for text in ["1.", ".5", "+1.5", "-1.5e3"] {
            assert!(parse_float(text).is_some(), "{text:?}");
        }
    }
}
