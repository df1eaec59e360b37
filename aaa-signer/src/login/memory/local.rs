//! The memory of one instance.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Failures;

/// So many used requests and codes are remembered; each had a right password behind it.
const MAX_MARKS: usize = 100_000;

#[derive(Debug, Default)]
pub(super) struct Local {
    marks: Mutex<Marks>,
    /// Bounded by the number of slots.
    failures: Mutex<HashMap<String, (Failures, i64)>>,
}

#[derive(Debug, Default)]
struct Marks {
    expires: HashMap<String, i64>,
    swept: i64,
}

/// There is no room for another mark.
#[derive(Debug)]
pub(super) struct Full;

impl Local {
    /// Whether `key` is new; it is kept until `expires`.
    pub(super) fn create(&self, key: &str, expires: i64, now: i64) -> Result<bool, Full> {
        let mut marks = lock(&self.marks);
        if marks.expires.get(key).is_some_and(|expires| now < *expires) {
            return Ok(false);
        }
        if marks.expires.len() >= MAX_MARKS || now.saturating_sub(marks.swept) >= 60 {
            marks.expires.retain(|_, expires| now < *expires);
            marks.swept = now;
        }
        if marks.expires.len() >= MAX_MARKS {
            return Err(Full);
        }
        marks.expires.insert(key.to_owned(), expires);
        Ok(true)
    }

    /// Whether `key` is kept.
    pub(super) fn has(&self, key: &str, now: i64) -> bool {
        let marks = lock(&self.marks);
        marks.expires.get(key).is_some_and(|expires| now < *expires)
    }

    pub(super) fn failures(&self, key: &str, now: i64) -> Failures {
        match lock(&self.failures).get(key) {
            Some((failures, expires)) if now < *expires => *failures,
            Some(_) | None => Failures::default(),
        }
    }

    pub(super) fn failed(
        &self,
        key: &str,
        now: i64,
        step: impl Fn(Failures) -> (Failures, Duration),
    ) -> Failures {
        let mut all = lock(&self.failures);
        let before = match all.get(key) {
            Some((failures, expires)) if now < *expires => *failures,
            Some(_) | None => Failures::default(),
        };
        let (after, remembered) = step(before);
        let expires = now.saturating_add_unsigned(remembered.as_secs());
        all.insert(key.to_owned(), (after, expires));
        after
    }

    /// Takes over what others know.
    pub(super) fn note(&self, key: &str, failures: Failures, now: i64, remembered: Duration) {
        let expires = now.saturating_add_unsigned(remembered.as_secs());
        lock(&self.failures).insert(key.to_owned(), (failures, expires));
    }

    pub(super) fn forget(&self, key: &str) {
        lock(&self.failures).remove(key);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
