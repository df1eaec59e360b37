use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const TEXT_LEN: usize = 27;
const EPOCH: u64 = 1_400_000_000;

/// Numbers of 32 bits that make up an id.
const LIMBS: usize = 5;
/// Characters that are read or written at once: as many as fit 32 bits.
const GROUP: usize = 5;
/// Values of so many characters.
const GROUP_SCALE: u64 = 62_u64.pow(5);

/// Sortable unique id: 4 bytes of seconds since 2014-05-13, 16 random bytes, written as 27 base62 characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ksuid([u8; 20]);

/// Why a text or a time is no [`Ksuid`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KsuidError {
    /// Other than 27 characters.
    #[error("ksuid is not 27 characters long")]
    Length,
    /// A character outside base62.
    #[error("ksuid has a character outside of 0-9, A-Z, a-z")]
    Character,
    /// More than 20 bytes can hold.
    #[error("ksuid is too large")]
    Overflow,
    /// A time before 2014 or after 2150.
    #[error("time is outside of what a ksuid can hold")]
    Time,
}

impl Ksuid {
    /// Makes an id from a time in Unix seconds and random bytes.
    ///
    /// # Errors
    ///
    /// [`KsuidError::Time`] when the time does not fit.
    pub fn from_parts(unix_seconds: u64, random: [u8; 16]) -> Result<Self, KsuidError> {
        let offset = unix_seconds.checked_sub(EPOCH).ok_or(KsuidError::Time)?;
        let offset = u32::try_from(offset).map_err(|_too_late| KsuidError::Time)?;
        let mut bytes = [0; 20];
        let (head, tail) = bytes.split_at_mut(4);
        head.copy_from_slice(&offset.to_be_bytes());
        tail.copy_from_slice(&random);
        Ok(Self(bytes))
    }

    /// Takes the 20 bytes as they are.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 20]) -> Self {
        Self(bytes)
    }

    /// Returns the 20 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }

    /// Returns the time inside, in Unix seconds.
    #[must_use]
    pub fn unix_seconds(&self) -> u64 {
        let [a, b, c, d, ..] = self.0;
        EPOCH + u64::from(u32::from_be_bytes([a, b, c, d]))
    }
}

impl FromStr for Ksuid {
    type Err = KsuidError;

    fn from_str(text: &str) -> Result<Self, KsuidError> {
        if text.len() != TEXT_LEN {
            return Err(KsuidError::Length);
        }
        let mut limbs = [0_u32; LIMBS];
        // the digits that do not fill a group come first
        let (first, rest) = text.as_bytes().split_at(TEXT_LEN % GROUP);
        for digits in std::iter::once(first).chain(rest.chunks(GROUP)) {
            let (mut group, mut scale) = (0_u64, 1_u64);
            for byte in digits {
                group = group * 62 + u64::from(digit(*byte)?);
                scale *= 62;
            }
            // value = value * scale + group, from the last limb up
            let mut carry = group;
            for limb in limbs.iter_mut().rev() {
                carry += u64::from(*limb) * scale;
                *limb = low(carry);
                carry >>= 32;
            }
            if carry != 0 {
                return Err(KsuidError::Overflow);
            }
        }
        let mut bytes = [0_u8; 20];
        for (place, limb) in bytes.chunks_mut(4).zip(limbs) {
            place.copy_from_slice(&limb.to_be_bytes());
        }
        Ok(Self(bytes))
    }
}

fn digit(byte: u8) -> Result<u8, KsuidError> {
    match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'A'..=b'Z' => Ok(byte - b'A' + 10),
        b'a'..=b'z' => Ok(byte - b'a' + 36),
        _ => Err(KsuidError::Character),
    }
}

/// Returns the last four bytes of a number.
fn low(number: u64) -> u32 {
    let [_, _, _, _, a, b, c, d] = number.to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

impl fmt::Display for Ksuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = [0_u32; LIMBS];
        for (limb, bytes) in rest.iter_mut().zip(self.0.chunks(4)) {
            *limb = bytes
                .iter()
                .fold(0, |limb, byte| limb << 8 | u32::from(*byte));
        }
        let mut text = [b'0'; TEXT_LEN];
        for places in text.rchunks_mut(GROUP) {
            // rest = rest / 62^5, the remainder is five digits
            let mut group = 0_u64;
            for limb in &mut rest {
                let value = group << 32 | u64::from(*limb);
                *limb = low(value / GROUP_SCALE);
                group = value % GROUP_SCALE;
            }
            for place in places.iter_mut().rev() {
                let digit = usize::try_from(group % 62).ok();
                let digit = digit.and_then(|digit| ALPHABET.get(digit));
                *place = digit.copied().unwrap_or(b'0');
                group /= 62;
            }
        }
        f.write_str(std::str::from_utf8(&text).map_err(|_never| fmt::Error)?)
    }
}

impl fmt::Debug for Ksuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ksuid({self})")
    }
}

impl TryFrom<String> for Ksuid {
    type Error = KsuidError;

    fn try_from(text: String) -> Result<Self, KsuidError> {
        text.parse()
    }
}

impl From<Ksuid> for String {
    fn from(id: Ksuid) -> Self {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{EPOCH, Ksuid, KsuidError};

    #[test]
    fn a_known_id_reads_and_writes_back() {
        let id: Ksuid = "0ujtsYcgvSTl8PAuAdqWYSMnLOv".parse().unwrap();
        assert_eq!(
            hex::encode(id.as_bytes()),
            "0669f7efb5a1cd34b5f99d1154fb6853345c9735"
        );
        assert_eq!(id.unix_seconds(), 1_507_608_047);
        assert_eq!(id.to_string(), "0ujtsYcgvSTl8PAuAdqWYSMnLOv");
    }

    #[test]
    fn texts_of_wrong_length_alphabet_or_size_are_refused() {
        assert_eq!("".parse::<Ksuid>(), Err(KsuidError::Length));
        assert_eq!(
            "0ujtsYcgvSTl8PAuAdqWYSMnLO".parse::<Ksuid>(),
            Err(KsuidError::Length)
        );
        assert_eq!(
            "0ujtsYcgvSTl8PAuAdqWYSMnLO-".parse::<Ksuid>(),
            Err(KsuidError::Character)
        );
        assert_eq!(
            "zzzzzzzzzzzzzzzzzzzzzzzzzzz".parse::<Ksuid>(),
            Err(KsuidError::Overflow)
        );
    }

    #[test]
    fn times_that_do_not_fit_are_refused() {
        assert_eq!(Ksuid::from_parts(EPOCH - 1, [0; 16]), Err(KsuidError::Time));
        assert_eq!(
            Ksuid::from_parts(EPOCH + (1 << 32), [0; 16]),
            Err(KsuidError::Time)
        );
    }

    proptest! {
        #[test]
        fn text_and_bytes_agree_and_sort_alike(a in any::<[u8; 20]>(), b in any::<[u8; 20]>()) {
            let (a, b) = (Ksuid::from_bytes(a), Ksuid::from_bytes(b));
            prop_assert_eq!(a.to_string().parse::<Ksuid>().unwrap(), a);
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
        }

        #[test]
        fn the_time_comes_back(offset in 0_u64..(1 << 32), random in any::<[u8; 16]>()) {
            prop_assert_eq!(Ksuid::from_parts(EPOCH + offset, random).unwrap().unix_seconds(), EPOCH + offset);
        }

        #[test]
        fn arbitrary_text_never_panics(text in "\\PC{0,40}") {
            if let Ok(id) = text.parse::<Ksuid>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }
}
