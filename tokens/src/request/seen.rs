//! Remembers which requests were taken, so that none is done twice: by a digest of the signed bytes, for as long as the
//! request would be in time.

use std::collections::{BTreeSet, HashMap};

/// Digest of the bytes under a signature.
pub type Digest = [u8; 16];

/// What was seen, bounded in number.
#[derive(Debug)]
pub(super) struct Seen {
    capacity: usize,
    until: HashMap<Digest, i64>,
    by_end: BTreeSet<(i64, Digest)>,
}

/// What is known of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sight {
    /// It was not seen before and is remembered now.
    First,
    /// It was seen before, or nothing more can be remembered.
    Again,
}

impl Seen {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            until: HashMap::new(),
            by_end: BTreeSet::new(),
        }
    }

    /// Notes a request that is in time until `ends`, in Unix nanoseconds. When it is full of requests that are in time,
    /// no further one is taken: rather none than one twice.
    pub(super) fn note(&mut self, digest: Digest, ends: i64, now: i64) -> Sight {
        while let Some(&(first, old)) = self.by_end.first()
            && first < now
        {
            self.by_end.remove(&(first, old));
            self.until.remove(&old);
        }
        if self.until.contains_key(&digest) || self.until.len() >= self.capacity {
            return Sight::Again;
        }
        self.until.insert(digest, ends);
        self.by_end.insert((ends, digest));
        Sight::First
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_bytes_are_taken_once_while_in_time_and_nothing_is_forgotten_before() {
        let mut seen = Seen::new(2);
        assert_eq!(seen.note([1; 16], 100, 10), Sight::First);
        assert_eq!(seen.note([1; 16], 100, 100), Sight::Again);
        assert_eq!(seen.note([2; 16], 200, 100), Sight::First);
        assert_eq!(seen.note([3; 16], 300, 100), Sight::Again);
        assert_eq!(seen.note([1; 16], 300, 101), Sight::First);
    }
}
