//! Remembers which requests were taken, so that none is done twice.
//!
//! What is remembered is a digest of the signed bytes, not the request id: a client that works in
//! batches signs each batch anew under one id, and a node in two batches must answer twice. The
//! same bytes twice can only be a copy. An entry is kept while its request would still be in time.

use std::collections::{BTreeSet, HashMap};

/// Digest of the bytes under a signature.
pub type Digest = [u8; 16];

/// What was seen, bounded in number.
#[derive(Debug)]
pub struct Seen {
    capacity: usize,
    until: HashMap<Digest, i64>,
    by_end: BTreeSet<(i64, Digest)>,
}

/// What is known of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// It was not seen before and is remembered now.
    First,
    /// It was seen before.
    Again,
}

impl Seen {
    /// Remembers up to `capacity` requests; with 0 every request is a first.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity,
            until: HashMap::new(),
            by_end: BTreeSet::new(),
        }
    }

    /// Notes a request that is in time until `ends`, both in nanoseconds since 1970.
    ///
    /// When full, the request that is out of time first is forgotten first.
    pub fn note(&mut self, digest: Digest, ends: i64, now: i64) -> Sight {
        if self.capacity == 0 {
            return Sight::First;
        }
        while let Some(first) = self.by_end.first().copied() {
            if first.0 >= now && self.by_end.len() < self.capacity {
                break;
            }
            // Only what is over is forgotten on behalf of something already known.
            if first.0 >= now && self.until.contains_key(&digest) {
                break;
            }
            self.by_end.remove(&first);
            self.until.remove(&first.1);
        }
        if self.until.contains_key(&digest) {
            return Sight::Again;
        }
        self.until.insert(digest, ends);
        self.by_end.insert((ends, digest));
        Sight::First
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.by_end.len()
    }

    /// Whether none is remembered.
    pub fn is_empty(&self) -> bool {
        self.by_end.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn digest(number: u8) -> Digest {
        [number; 16]
    }

    #[test]
    fn the_same_bytes_are_taken_once_while_in_time() {
        let mut seen = Seen::new(8);
        assert_eq!(seen.note(digest(1), 100, 10), Sight::First);
        assert_eq!(seen.note(digest(1), 100, 99), Sight::Again);
        assert_eq!(seen.note(digest(2), 100, 99), Sight::First);
        assert_eq!(seen.note(digest(1), 200, 101), Sight::First);
    }

    #[test]
    fn without_capacity_nothing_is_remembered() {
        let mut seen = Seen::new(0);
        assert_eq!(seen.note(digest(1), 100, 10), Sight::First);
        assert_eq!(seen.note(digest(1), 100, 10), Sight::First);
        assert!(seen.is_empty());
    }

    proptest! {
        #[test]
        fn it_never_grows_above_its_capacity_and_never_passes_a_known_one(
            steps in proptest::collection::vec((0u8..20, 1i64..50), 1..200),
            capacity in 1usize..8,
        ) {
            let mut seen = Seen::new(capacity);
            for (now, (number, ttl)) in steps.into_iter().enumerate() {
                let now = i64::try_from(now).unwrap();
                let known = seen.until.get(&digest(number)).is_some_and(|ends| *ends >= now);
                let sight = seen.note(digest(number), now + ttl, now);
                prop_assert_eq!(sight == Sight::Again, known);
                prop_assert!(seen.len() <= capacity);
                prop_assert_eq!(seen.until.len(), seen.by_end.len());
            }
        }
    }
}
