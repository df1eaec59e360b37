//! Who provisions the node at the moment: one caller at a time, so that two do not undo each other's work.
//!
//! Choria takes the lock before it looks at the token, so that one wrong call keeps the rightful caller out; here only a
//! caller with the right token gets it.

/// Seconds for which a caller keeps the lock after its last call.
const WINDOW: i64 = 120;

/// The lock of one process; a restart frees it.
#[derive(Debug, Default)]
pub struct Lock {
    holder: Option<(String, i64)>,
}

impl Lock {
    /// Whether somebody else has the lock at `now`, in Unix seconds.
    pub fn is_held_against(&self, who: &str, now: i64) -> bool {
        self.holder
            .as_ref()
            .is_some_and(|(holder, until)| holder != who && now < *until)
    }

    /// Whether anybody has the lock at `now`.
    pub fn is_held(&self, now: i64) -> bool {
        self.holder.as_ref().is_some_and(|(_, until)| now < *until)
    }

    /// Takes the lock, or keeps it for longer; false when somebody else has it.
    pub fn take(&mut self, who: &str, now: i64) -> bool {
        if self.is_held_against(who, now) {
            return false;
        }
        self.holder = Some((who.to_owned(), now.saturating_add(WINDOW)));
        true
    }
}

/// The name that a caller has for the lock.
pub fn holder(sender: &str, caller: &str) -> String {
    format!("{sender}.{caller}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn provision_case_19_a_second_caller_waits_until_the_first_is_idle_for_two_minutes() {
        let mut lock = Lock::default();
        assert!(lock.take("a", 1000));
        assert!(!lock.take("b", 1119));
        assert!(lock.is_held_against("b", 1119));
        assert!(lock.is_held(1119) && !lock.is_held(1120));
        assert!(!lock.is_held_against("a", 1119));
        // Each call extends it.
        assert!(lock.take("a", 1100));
        assert!(!lock.take("b", 1219));
        assert!(lock.take("b", 1220));
        assert!(!lock.take("a", 1221));
    }
}
