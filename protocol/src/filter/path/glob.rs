//! `*` and `?` in names.

/// Tells whether `text` fits `pattern`: `*` is any number of characters, `?` is one, and `\` takes the next as it is.
pub(super) fn fits(text: &str, pattern: &str) -> bool {
    let mut text = text.chars();
    let mut pattern = pattern.chars();
    // Where to go on after a mismatch: behind the last star, with one more character taken by it.
    let mut retry = None;
    loop {
        let mut after_pattern = pattern.clone();
        let mut after_text = text.clone();
        let expected = after_pattern.next();
        let actual = after_text.next();
        let step = match (expected, actual) {
            (Some('*'), _) => {
                retry = Some((after_pattern.clone(), text.clone()));
                pattern = after_pattern;
                continue;
            }
            (None, None) => return true,
            (Some('?'), Some(_)) => true,
            (Some('\\'), Some(actual)) => after_pattern.next() == Some(actual),
            (Some(expected), Some(actual)) => expected == actual,
            (_, None) => return false,
            (None, Some(_)) => false,
        };
        if step {
            pattern = after_pattern;
            text = after_text;
            continue;
        }
        let Some((star, mut from)) = retry.take() else {
            return false;
        };
        if from.next().is_none() {
            return false;
        }
        retry = Some((star.clone(), from.clone()));
        pattern = star;
        text = from;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks_fit() {
        for (text, pattern) in [
            ("family", "fam*"),
            ("family", "f?mily"),
            ("", "*"),
            ("aXbXc", "*X*c"),
            ("a*b", "a\\*b"),
            ("zürich", "z?rich"),
            ("abab", "*ab"),
        ] {
            assert!(fits(text, pattern), "{text} {pattern}");
        }
        for (text, pattern) in [
            ("family", "fam"),
            ("fam", "fam?"),
            ("aab", "a\\*b"),
            ("ab", "*c"),
            ("", "?"),
        ] {
            assert!(!fits(text, pattern), "{text} {pattern}");
        }
    }
}
