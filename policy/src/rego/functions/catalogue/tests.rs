use regorus::unstable::BUILTINS;

use super::*;

#[test]
fn the_names_are_sorted() {
    assert!(FUNCTIONS.is_sorted_by(|left, right| left.name < right.name));
}

#[test]
fn what_is_not_ours_is_known_to_the_engine_with_as_many_arguments() {
    for function in FUNCTIONS.iter().filter(|function| !function.ours) {
        let known = BUILTINS
            .get(function.name)
            .map(|(_, arity)| usize::from(*arity));
        assert_eq!(known, Some(function.arity()), "{}", function.name);
    }
    for function in FUNCTIONS.iter().filter(|function| function.ours) {
        assert!(!BUILTINS.contains_key(function.name), "{}", function.name);
    }
}

#[test]
fn what_the_engine_knows_is_offered_or_withheld() {
    for name in BUILTINS.keys().filter(|name| !name.starts_with("__")) {
        assert!(
            function(name).is_some() != withheld(name).is_some(),
            "{name}"
        );
    }
}
