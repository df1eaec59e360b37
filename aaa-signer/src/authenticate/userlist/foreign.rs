//! Readers of what administrators write, with what must hold of what they take: for the fuzzer, which sees nothing else of them.
//!
//! Each panics when that does not hold.

use std::hash::RandomState;
use std::path::Path;

use overlay_tokens::claims::delegated;

use super::list::{Form, Kept, UserList, agents_of, password_of, totp_of};

/// A users file, as ours and as Choria's: what is taken strictly is taken leniently, with the same users; in a strict list no
/// two are one caller to nodes; for a name without a hash there is one to work with.
pub fn users(bytes: &[u8]) {
    let read = |form| UserList::decode(bytes, form, Path::new("/etc/aaa"));
    let (strict, lenient) = (read(Form::Overlay), read(Form::Choria));
    for list in [&strict, &lenient].into_iter().flatten() {
        let decoy = list.list.decoy("nobody", &RandomState::new());
        assert!(decoy.is_usable(), "there is nothing to work with");
    }
    let Ok(strict) = strict else {
        return;
    };
    let Ok(lenient) = lenient else {
        panic!("a strict reader takes what a lenient one refuses");
    };
    assert_eq!(strict.list.len(), lenient.list.len(), "users differ");
    let mut callers = std::collections::HashSet::new();
    for (name, user) in strict.list.iter() {
        assert!(
            callers.insert(delegated(name)),
            "two are one caller to nodes"
        );
        assert!(!name.chars().any(char::is_control), "a name steers");
        let other = lenient.list.get(name).map(|user| user.permissions);
        assert_eq!(other, Some(user.permissions), "rights differ");
        if let Kept::Here(stored) = &user.password {
            assert!(
                stored.is_usable() || user.disabled,
                "a user without a password"
            );
        }
    }
}

/// The files that a user's record may name: a list of actions, a password's hash, a second factor.
pub fn beside(text: &str) {
    if let Ok(agents) = agents_of(text) {
        let json = serde_json::to_string(&agents).unwrap_or_default();
        let again = agents_of(&json).unwrap_or_default();
        assert_eq!(again, agents, "actions change when written as a list");
    }
    if let Ok(stored) = password_of(text) {
        assert!(stored.is_usable(), "a hash that fits nothing is taken");
    }
    if let Ok(totp) = totp_of(text) {
        assert!(
            totp.step_of("not a code", 1_767_229_200).is_none(),
            "words are a code"
        );
    }
}
