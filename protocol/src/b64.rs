//! Standard base64 as Go reads and writes it.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

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

    use super::{STANDARD, decode, encode};

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
            prop_assert_eq!(encode(&bytes), STANDARD.encode(&bytes));
            prop_assert_eq!(decode(encode(&bytes).as_bytes()).unwrap(), bytes);
        }
    }
}
