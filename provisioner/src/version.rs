//! Versions of packages, compared as RPM compares them.

use std::cmp::Ordering;
use std::iter::Peekable;
use std::str::Chars;

/// Compares two versions of the form `[EPOCH:]VERSION[-RELEASE]`.
#[must_use]
pub fn compare(one: &str, other: &str) -> Ordering {
    let (one, other) = (Parts::of(one), Parts::of(other));
    one.epoch
        .cmp(&other.epoch)
        .then_with(|| compare_texts(one.version, other.version))
        .then_with(|| compare_texts(one.release, other.release))
}

struct Parts<'a> {
    epoch: u64,
    version: &'a str,
    release: &'a str,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Self {
        let (epoch, rest) = match text.split_once(':') {
            Some((epoch, rest)) => (epoch.parse().unwrap_or_default(), rest),
            None => (0, text),
        };
        let (version, release) = rest.split_once('-').unwrap_or((rest, ""));
        Self {
            epoch,
            version,
            release,
        }
    }
}

/// Compares run by run: numbers by value, letters by order, a number being newer than letters; `~` comes before
/// everything, the end too, and `^` before everything but the end.
fn compare_texts(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (one.chars().peekable(), other.chars().peekable());
    loop {
        skip_separators(&mut one);
        skip_separators(&mut other);
        let heads = (one.peek().copied(), other.peek().copied());
        match heads {
            (None, None) => return Ordering::Equal,
            (Some('~'), Some('~')) | (Some('^'), Some('^')) => {
                one.next();
                other.next();
                continue;
            }
            (Some('~'), _) => return Ordering::Less,
            (_, Some('~')) => return Ordering::Greater,
            (Some('^'), None) => return Ordering::Greater,
            (None, Some('^')) => return Ordering::Less,
            (Some('^'), Some(_)) => return Ordering::Less,
            (Some(_), Some('^')) => return Ordering::Greater,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(a), Some(b)) => {
                let order = match (a.is_ascii_digit(), b.is_ascii_digit()) {
                    (true, true) => {
                        let numbers = (digits(&mut one), digits(&mut other));
                        let lengths = numbers.0.len().cmp(&numbers.1.len());
                        lengths.then_with(|| numbers.0.cmp(&numbers.1))
                    }
                    (false, false) => letters(&mut one).cmp(&letters(&mut other)),
                    (true, false) => Ordering::Greater,
                    (false, true) => Ordering::Less,
                };
                if order != Ordering::Equal {
                    return order;
                }
            }
        }
    }
}

fn skip_separators(text: &mut Peekable<Chars<'_>>) {
    while text
        .next_if(|c| !c.is_ascii_alphanumeric() && !matches!(c, '~' | '^'))
        .is_some()
    {}
}

/// The digits of a number without leading zeros.
fn digits(text: &mut Peekable<Chars<'_>>) -> String {
    while text.next_if_eq(&'0').is_some() {}
    std::iter::from_fn(|| text.next_if(char::is_ascii_digit)).collect()
}

fn letters(text: &mut Peekable<Chars<'_>>) -> String {
    std::iter::from_fn(|| text.next_if(char::is_ascii_alphabetic)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn runs_of_digits_are_numbers_and_newer_than_letters() {
        for (older, newer) in [
            ("0.30.2", "0.30.10"),
            ("v0.30.2", "0.30.2"),
            ("0.30.2~rc1", "0.30.2"),
            ("0.30.2", "0.30.2^git1"),
            ("0.30.2^git1", "0.30.2.1"),
            ("0.30.2", "0.30.2-1"),
            ("9.9", "1:0.1"),
            ("", "0.1"),
            ("1.0a", "1.0b"),
        ] {
            assert_eq!(compare(older, newer), Ordering::Less, "{older} {newer}");
            assert_eq!(compare(newer, older), Ordering::Greater, "{older} {newer}");
        }
        assert_eq!(compare("0.030.2", "0.30.02"), Ordering::Equal);
    }

    proptest! {
        #[test]
        fn each_is_equal_to_itself_and_the_order_has_two_ends(
            one in "[0-9a-z.~^:-]{0,12}",
            other in "[0-9a-z.~^:-]{0,12}",
        ) {
            prop_assert_eq!(compare(&one, &one), Ordering::Equal);
            prop_assert_eq!(compare(&one, &other), compare(&other, &one).reverse());
        }

        #[test]
        fn no_text_panics(one in ".*", other in ".*") {
            let _order = compare(&one, &other);
        }
    }
}
