//! Messages that are gone from the source before they were copied: each is counted once, and `on_gap` says what happens.

use super::Site;
use crate::config::Reaction;

/// Up to which sequence of a source what is gone was counted.
#[derive(Debug, Default)]
pub(super) struct Counted {
    /// When the source was made, in milliseconds: another one counts from its own beginning.
    created: i64,
    up_to: u64,
}

impl Counted {
    fn up_to(&self, created: i64) -> u64 {
        if self.created == created {
            self.up_to
        } else {
            0
        }
    }

    /// How many behind `read` and before `first` are not counted yet.
    fn left(&self, created: i64, read: u64, first: u64) -> u64 {
        let counted = self.up_to(created);
        first.saturating_sub(read.max(counted).saturating_add(1))
    }

    /// All before `first` are counted.
    fn count(&mut self, created: i64, first: u64) {
        let before = self.up_to(created);
        *self = Self {
            created,
            up_to: before.max(first.saturating_sub(1)),
        };
    }
}

impl Site {
    /// All that was behind `read` and before `first` is gone from the source, which was made at `created`: counts and tells
    /// it. Where an operator is to decide about it, says so in words and counts nothing: that is done when they did.
    pub(in crate::service) fn missed(
        &mut self,
        created: i64,
        read: u64,
        first: u64,
    ) -> Result<(), String> {
        let missed = self.counted.left(created, read, first);
        if missed == 0 {
            // What a period begins behind is not missed however far back it reads.
            self.counted.count(created, read.saturating_add(1));
            return Ok(());
        }
        let words = format!("{missed} messages are gone from the source before they were copied");
        if self.config.on_gap == Reaction::Stop && !self.goes_on {
            return Err(words);
        }
        self.counted.count(created, first);
        self.metrics.missed(missed);
        self.trouble(words);
        Ok(())
    }

    /// The source gives sequences out for a second time.
    pub(super) fn count_anew(&mut self) {
        self.counted = Counted::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_is_counted_once() {
        let mut counted = Counted::default();
        assert_eq!(counted.left(7, 300, 501), 200);
        counted.count(7, 501);
        // The same is found again, and more of it.
        assert_eq!(counted.left(7, 300, 501), 0);
        assert_eq!(counted.left(7, 300, 511), 10);
        assert_eq!(counted.left(7, 510, 511), 0);
    }

    #[test]
    fn of_another_source_nothing_is_counted_yet() {
        let mut counted = Counted::default();
        counted.count(7, 501);
        assert_eq!(counted.left(8, 3, 11), 7);
        assert_eq!(counted.left(8, 300, 11), 0);
    }
}
