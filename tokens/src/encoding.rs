//! Base64 as tokens carry it: the URL alphabet without padding, read as leniently as Go reads it.
//!
//! Line ends anywhere are skipped and unused bits of the last character may be set, so one token has several texts.
//! Text is therefore never an identity; the caches of this crate key on it only to find equal texts again.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

/// Decodes one segment of a token.
pub(crate) fn decode_segment(text: &str) -> Result<Vec<u8>, base64::DecodeError> {
    // the fast decoder is strict: what it refuses may still be what Go takes
    if let Ok(bytes) = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(text) {
        return Ok(bytes);
    }
    if text.bytes().any(|byte| matches!(byte, b'\r' | b'\n')) {
        let joined: Vec<u8> = text
            .bytes()
            .filter(|byte| !matches!(byte, b'\r' | b'\n'))
            .collect();
        return LENIENT.decode(joined);
    }
    LENIENT.decode(text)
}

/// Tells whether the text is the one that encoding gives, among all that decode to the same bytes.
pub(crate) fn is_canonical(text: &str) -> bool {
    let mut bytes = Vec::new();
    URL_SAFE_NO_PAD.decode_vec(text, &mut bytes).is_ok()
}

/// Encodes bytes as the URL alphabet without padding.
pub(crate) fn encode(bytes: &[u8]) -> String {
    base64_simd::URL_SAFE_NO_PAD.encode_to_string(bytes)
}

/// Appends the encoding of `bytes` to `text`.
pub(crate) fn encode_onto(bytes: &[u8], text: &mut String) {
    base64_simd::URL_SAFE_NO_PAD.encode_append(bytes, text);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_fast_decoder_never_takes_what_the_other_refuses(text in "[A-Za-z0-9_=+\r\n-]{0,40}") {
            if let Ok(fast) = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(&text) {
                prop_assert_eq!(LENIENT.decode(&text).unwrap(), fast);
                prop_assert!(is_canonical(&text));
            }
        }

        #[test]
        fn what_is_encoded_reads_back(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let text = encode(&bytes);
            prop_assert_eq!(&text, &URL_SAFE_NO_PAD.encode(&bytes));
            let mut more = "a.".to_owned();
            encode_onto(&bytes, &mut more);
            prop_assert_eq!(&more[2..], &text);
            prop_assert_eq!(decode_segment(&text).unwrap(), bytes);
        }
    }

    #[test]
    fn line_ends_are_skipped_and_trailing_bits_forgiven() {
        assert_eq!(decode_segment("YW\r\nJj\n").unwrap(), b"abc");
        assert_eq!(decode_segment("YR").unwrap(), b"a");
        assert!(is_canonical("YQ") && is_canonical("YWJj"));
        assert!(!is_canonical("YR") && !is_canonical("YW\r\nJj"));
    }

    #[test]
    fn padding_blanks_and_the_standard_alphabet_are_refused() {
        for text in ["YQ==", " YQ", "YQ ", "-_+/", "Y"] {
            decode_segment(text).unwrap_err();
        }
    }
}
