//! Random values of one enrolment, all from one seed that is made outside.

use std::fmt;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// A source of random values: SHA-256 over a secret seed and a counter.
///
/// The seed comes from the system's generator and is used for one enrolment only.
#[derive(Clone)]
pub struct Entropy {
    seed: Zeroizing<[u8; 32]>,
    drawn: u64,
}

impl Entropy {
    /// Takes a seed of which nobody else knows.
    #[must_use]
    pub fn new(seed: [u8; 32]) -> Self {
        Self {
            seed: Zeroizing::new(seed),
            drawn: 0,
        }
    }

    /// The next 32 bytes.
    pub(crate) fn bytes(&mut self) -> Zeroizing<[u8; 32]> {
        self.drawn = self.drawn.wrapping_add(1);
        let mut hash = Sha256::new();
        hash.update(*self.seed);
        hash.update(self.drawn.to_be_bytes());
        Zeroizing::new(hash.finalize().into())
    }

    /// The next 16 bytes.
    pub(crate) fn half(&mut self) -> [u8; 16] {
        let mut half = [0; 16];
        for (to, from) in half.iter_mut().zip(self.bytes().iter()) {
            *to = *from;
        }
        half
    }

    /// A nonce as Choria's provisioner makes them: 32 lower-case hexadecimal digits.
    pub(crate) fn nonce(&mut self) -> String {
        hex::encode(self.half())
    }

    /// A random UUID (version 4).
    pub(crate) fn uuid(&mut self) -> String {
        let mut bytes = self.half();
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        let hex = hex::encode(bytes);
        let (a, rest) = hex.split_at(8);
        let (b, rest) = rest.split_at(4);
        let (c, rest) = rest.split_at(4);
        let (d, e) = rest.split_at(4);
        [a, b, c, d, e].join("-")
    }

    /// A span between half and one and a half times the given one.
    pub(crate) fn jitter(&mut self, span: Duration) -> Duration {
        let bytes = self.half();
        let draw = u32::from(u16::from_be_bytes([bytes[0], bytes[1]]));
        span / 2 + (span / 0x1_0000).saturating_mul(draw)
    }
}

impl fmt::Debug for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entropy(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_differ_and_follow_from_the_seed() {
        let (mut one, mut same) = (Entropy::new([7; 32]), Entropy::new([7; 32]));
        let nonces = [one.nonce(), one.nonce()];
        assert_ne!(nonces[0], nonces[1]);
        assert_eq!(nonces, [same.nonce(), same.nonce()]);
        assert_eq!(nonces[0].len(), 32);
        assert_eq!(one.uuid().len(), 36);
        assert_eq!(format!("{one:?}"), "Entropy(***)");
    }

    #[test]
    fn jitter_stays_within_half_and_one_and_a_half() {
        let mut entropy = Entropy::new([1; 32]);
        let span = Duration::from_secs(2);
        for _ in 0..1000 {
            let drawn = entropy.jitter(span);
            assert!(drawn >= span / 2 && drawn <= span + span / 2, "{drawn:?}");
        }
    }
}
