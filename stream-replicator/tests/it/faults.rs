//! Everything that may fail does, and the target holds each message of the source once and in order.
//!
//! Brokers and replicator are real processes; links go through proxies. What counts is read from the target itself: the
//! source sequences in `Choria-SR-Source`, bodies and subjects, against what the source stream holds.

mod cluster;
mod disk;
mod gaps;
mod keyed;
mod kills;
mod letters;
mod limits;
mod links;
mod model;
mod mute;
mod positions;
mod queues;
mod replicas;
mod sources;
mod verdict;
mod world;

use std::time::Duration;

/// How long a copy may take to be whole again after a fault; seconds when all is well.
const LIMIT: Duration = Duration::from_secs(180);
const PERIOD: Duration = Duration::from_millis(50);

/// Numbers that look random and come again with their seed.
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number below `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end.max(1)
    }

    fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from))
    }
}
