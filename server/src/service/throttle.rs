//! Keeps one kind of log line from filling the disk: whoever may publish to a node could.

use std::time::Duration;

use tokio::time::Instant;

/// So many lines in [`WINDOW`], the rest is only counted.
const MOST: u32 = 20;

const WINDOW: Duration = Duration::from_secs(10);

/// Lets some lines through and counts the others.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    since: Option<Instant>,
    said: u32,
    kept_back: u64,
}

impl Throttle {
    /// Whether a line may be written at `now`; if so, how many were kept back before it.
    pub(super) fn pass(&mut self, now: Instant) -> Option<u64> {
        let over = self
            .since
            .is_none_or(|since| now.duration_since(since) >= WINDOW);
        if over {
            self.since = Some(now);
            self.said = 0;
        }
        if self.said >= MOST {
            self.kept_back = self.kept_back.saturating_add(1);
            return None;
        }
        self.said += 1;
        Some(std::mem::take(&mut self.kept_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_its_size_told_later() {
        let mut throttle = Throttle::default();
        let start = Instant::now();
        let passed = (0..1000).filter(|_| throttle.pass(start).is_some()).count();
        assert_eq!(passed, 20);
        assert_eq!(throttle.pass(start + WINDOW / 2), None);
        assert_eq!(throttle.pass(start + WINDOW), Some(981));
        assert_eq!(throttle.pass(start + WINDOW), Some(0));
    }
}
