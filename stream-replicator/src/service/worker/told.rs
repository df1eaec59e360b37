//! When a fault goes to the log: a retry that fails every few seconds must not fill it, and one that fails for a day must
//! not look mended.

use std::time::{Duration, SystemTime};

/// How long the same words are not said again.
const AGAIN: Duration = Duration::from_secs(60);

/// What was told last and still holds, and when.
#[derive(Debug, Default)]
pub(super) struct Told(Option<(String, SystemTime)>);

impl Told {
    /// Whether these words are to be told at `now`; if so, they count as told.
    pub(super) fn is_due(&mut self, words: &str, now: SystemTime) -> bool {
        if let Some((told, at)) = &self.0
            && told == words
            && now.duration_since(*at).is_ok_and(|since| since < AGAIN)
        {
            return false;
        }
        self.0 = Some((words.to_owned(), now));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
    }

    #[test]
    fn the_same_words_are_told_once_a_minute() {
        let mut told = Told::default();
        let due: Vec<u64> = (0..=130)
            .step_by(10)
            .filter(|second| told.is_due("no stream", at(*second)))
            .collect();
        assert_eq!(due, [0, 60, 120]);
    }

    #[test]
    fn other_words_are_told_at_once() {
        let mut told = Told::default();
        assert!(told.is_due("no stream", at(0)));
        assert!(told.is_due("stream is full", at(1)));
        assert!(told.is_due("no stream", at(2)));
    }

    #[test]
    fn a_clock_that_goes_back_silences_nothing() {
        let mut told = Told::default();
        assert!(told.is_due("no stream", at(500)));
        assert!(told.is_due("no stream", at(0)));
        assert!(!told.is_due("no stream", at(1)));
    }
}
