//! Standard base64 as Go reads and writes it.

use std::io;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64_simd::AsOut as _;
use serde::{Serialize, Serializer};

/// So many bytes are encoded at once: a multiple of three, so that only the last part is padded.
const PART: usize = 768;

// Go demands the padding but ignores what the unused last bits hold.
const STANDARD: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

/// Encodes with padding.
pub(crate) fn encode(bytes: &[u8]) -> String {
    base64_simd::STANDARD.encode_to_string(bytes)
}

/// Returns how long bytes are in base64.
pub(crate) fn length(bytes: &[u8]) -> usize {
    bytes.len().div_ceil(3) * 4
}

/// Encodes with padding, without a text in between.
pub(crate) fn write<W: io::Write + ?Sized>(writer: &mut W, bytes: &[u8]) -> io::Result<()> {
    let mut text = [0_u8; PART / 3 * 4];
    for part in bytes.chunks(PART) {
        writer.write_all(base64_simd::STANDARD.encode(part, text.as_mut_slice().as_out()))?;
    }
    Ok(())
}

/// Bytes in a message, which [`json::encode`](crate::json::encode) writes as base64.
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// Decodes text in which CR and LF do not count, as in Go.
pub(crate) fn decode(text: &[u8]) -> Result<Vec<u8>, base64::DecodeError> {
    // the fast decoder is strict: what it refuses may still be what Go takes
    if let Ok(bytes) = base64_simd::STANDARD.decode_to_vec(text) {
        return Ok(bytes);
    }
    STANDARD.decode(text).or_else(|error| {
        let is_break = |byte: &u8| matches!(byte, b'\r' | b'\n');
        if !text.iter().any(is_break) {
            return Err(error);
        }
        let joined: Vec<u8> = text
            .iter()
            .copied()
            .filter(|byte| !is_break(byte))
            .collect();
        STANDARD.decode(joined)
    })
}

/// Bytes as a text of a document, for serde.
pub(crate) mod text {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::encode(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::decode(text.as_bytes()).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use proptest::prelude::*;

    use super::{Bytes, PART, STANDARD, decode, encode, length};

    #[test]
    fn line_breaks_do_not_count_and_padding_does() {
        assert_eq!(decode(b"cG\r\nluZw==\n").unwrap(), b"ping");
        assert!(decode(b"cGluZw").is_err());
        assert!(decode(b"cGlu Zw==").is_err());
        assert!(decode(b"cGluZw==cGluZw==").is_err());
        assert_eq!(encode(b"ping"), "cGluZw==");
    }

    #[test]
    fn unused_last_bits_are_ignored() {
        assert_eq!(decode(b"cGluZx==").unwrap(), b"ping");
    }

    proptest! {
        #[test]
        fn the_fast_decoder_never_takes_what_the_other_refuses(text in "[A-Za-z0-9+/=\r\n-]{0,40}") {
            if let Ok(fast) = base64_simd::STANDARD.decode_to_vec(&text) {
                prop_assert_eq!(STANDARD.decode(&text).unwrap(), fast);
            }
        }

        #[test]
        fn what_is_encoded_reads_back(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let text = STANDARD.encode(&bytes);
            prop_assert_eq!(&encode(&bytes), &text);
            prop_assert_eq!(length(&bytes), text.len());
            prop_assert_eq!(decode(encode(&bytes).as_bytes()).unwrap(), bytes);
        }

        #[test]
        fn bytes_of_any_length_are_a_text_in_json(bytes in proptest::collection::vec(any::<u8>(), 0..3 * PART)) {
            let text = crate::json::encode_text(&Bytes(&bytes));
            prop_assert_eq!(text, format!("\"{}\"", STANDARD.encode(&bytes)));
        }
    }
}
