use proptest::prelude::*;

use super::*;

fn these(domains: &[&str]) -> Domains {
    Domains::These(domains.iter().map(|&domain| domain.to_owned()).collect())
}

fn usual() -> Names {
    Names::new(Separator::Dot, Domains::OfTwoLabels)
}

fn taken(names: &Names, all: &[&str]) -> Vec<bool> {
    all.iter()
        .map(|name| names.callerid("oidc", name).is_ok())
        .collect()
}

#[test]
fn names_that_choria_cannot_read_are_refused() {
    let callerid = |name: &str| usual().callerid("oidc", name);
    assert_eq!(
        callerid("bob.o-neil2@example.net").as_deref(),
        Ok("oidc=bob.o-neil2@example.net")
    );
    assert_eq!(callerid(""), Err(NameError::Empty));
    assert_eq!(callerid(&"a".repeat(129)), Err(NameError::TooLong(129)));
    for (name, character) in [
        ("bob smith", ' '),
        ("bob=alice", '='),
        ("auth0|1", '|'),
        ("b\u{f6}b", '\u{f6}'),
        ("bob\n", '\n'),
        ("\u{ff42}ob", '\u{ff42}'),
    ] {
        assert_eq!(callerid(name), Err(NameError::Character(character)));
    }
}

#[test]
fn of_names_that_nodes_see_alike_one_is_taken() {
    let alike = [
        "a.b@x.org",
        "a_b@x.org",
        "a@b.x.org",
        "a.b.x.org",
        "a_b_x_org",
    ];
    let taken = |separator, domains| taken(&Names::new(separator, domains), &alike);
    let (dot, underscore) = (Separator::Dot, Separator::Underscore);
    assert_eq!(
        taken(dot, Domains::OfTwoLabels),
        [true, false, false, false, false]
    );
    assert_eq!(
        taken(underscore, Domains::OfTwoLabels),
        [false, true, false, false, false]
    );
    assert_eq!(
        taken(dot, these(&["x.org", "b.x.org"])),
        [false, false, true, false, false]
    );
    assert_eq!(
        taken(dot, these(&["y.org"])),
        [false, false, false, true, false]
    );
    assert_eq!(
        taken(underscore, these(&[])),
        [false, false, false, false, true]
    );
    let refused = usual().callerid("oidc", "a_b_x_org");
    let shared = NameError::Shared("a_b_x_org".to_owned(), "a.b@x.org".to_owned());
    assert_eq!(refused, Err(shared));
}

#[test]
fn names_and_addresses_as_people_have_them_are_taken_unless_set() {
    let names = [
        "bob",
        "bob-2",
        "ann.lee",
        "bob@example.net",
        "ann.lee@example.net",
        "ann.maria.lee@Example.net",
        "3fa85f64-5717-4562-b3fc-2c963f66afa6",
    ];
    assert_eq!(taken(&usual(), &names), [true; 7]);
    let far = Names::new(
        Separator::Dot,
        these(&["example.co.uk", "corp.example.net"]),
    );
    let names = [
        "ann.lee@example.co.uk",
        "bob@CORP.example.net",
        "ann.maria.lee",
        "ann.lee@other.net",
    ];
    assert_eq!(taken(&far, &names), [true, true, true, false]);
    // Subjects of providers, base64url.
    let subjects = Names::new(Separator::Underscore, these(&[]));
    assert_eq!(taken(&subjects, &["AAA_b-c__d_", "a.b"]), [true, false]);
}

/// Every name that is written as this one is.
fn all_written_as(written: &str) -> Vec<String> {
    let mut names = vec![String::new()];
    for letter in written.chars() {
        let letters = match letter {
            '_' => vec!['_', '.', '@'],
            other => vec![other],
        };
        names = names
            .iter()
            .flat_map(|name| letters.iter().map(move |letter| format!("{name}{letter}")))
            .collect();
    }
    names
}

fn settings() -> impl Strategy<Value = Names> {
    let separator = prop_oneof![Just(Separator::Dot), Just(Separator::Underscore)];
    let domain = "[ab]{1,2}(\\.[ab]{1,2}){0,2}";
    let domains = prop_oneof![
        Just(Domains::OfTwoLabels),
        proptest::collection::vec(domain, 0..4).prop_map(Domains::These),
    ];
    (separator, domains).prop_map(|(separator, domains)| Names::new(separator, domains))
}

proptest! {
    #[test]
    fn of_all_names_that_nodes_see_alike_at_most_one_is_taken(
        names in settings(),
        written in "([ab]{0,2}_){0,6}[ab]{0,2}",
    ) {
        let alike = all_written_as(&written);
        let taken = alike.iter().filter(|name| names.callerid("x", name).is_ok());
        prop_assert!(taken.count() <= 1);
    }

    #[test]
    fn of_sound_written_forms_one_name_is_taken(
        names in settings(),
        written in "[ab]{1,2}(_[ab]{1,2}){0,5}",
    ) {
        let alike = all_written_as(&written);
        let taken = alike.iter().filter(|name| names.callerid("x", name).is_ok());
        prop_assert_eq!(taken.count(), 1);
    }

    #[test]
    fn a_caller_id_tells_the_name_it_came_from(name in "\\PC{0,20}") {
        if let Ok(callerid) = usual().callerid("oidc", &name) {
            prop_assert_eq!(callerid.strip_prefix("oidc="), Some(name.as_str()));
        }
    }
}
