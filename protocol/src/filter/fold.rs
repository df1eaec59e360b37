//! Case as Go's `strings` package sees it: one character at a time.

/// Lower-cases each character by itself.
pub(super) fn lower(text: &str) -> String {
    text.chars().map(lower_char).collect()
}

/// Compares without regard to case.
pub(super) fn equal(left: &str, right: &str) -> bool {
    left.chars().map(fold_char).eq(right.chars().map(fold_char))
}

fn lower_char(character: char) -> char {
    // The one character whose lower case has two: its mapping alone is a plain i.
    if character == 'İ' {
        'i'
    } else {
        single(character.to_lowercase()).unwrap_or(character)
    }
}

fn fold_char(character: char) -> char {
    // The dotted capital and the dotless small i fold to nothing but themselves.
    if matches!(character, 'İ' | 'ı') {
        return character;
    }
    let upper = single(character.to_uppercase()).unwrap_or(character);
    single(upper.to_lowercase()).unwrap_or(upper)
}

fn single(mut characters: impl Iterator<Item = char>) -> Option<char> {
    let first = characters.next();
    if characters.next().is_none() {
        first
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_folds_by_character() {
        assert!(equal("Zürich", "zÜRICH"));
        assert!(equal("\u{212a}", "k"));
        assert!(equal("ſ", "S"));
        assert!(equal("ß", "ẞ"));
        assert!(!equal("ß", "SS"));
        assert!(!equal("ı", "i"));
    }

    #[test]
    fn lower_case_keeps_the_number_of_characters() {
        assert_eq!(lower("İΣΑΣ"), "iσασ");
    }
}
