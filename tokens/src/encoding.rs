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
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Appends the encoding of `bytes` to `text`.
pub(crate) fn encode_onto(bytes: &[u8], text: &mut String) {
    URL_SAFE_NO_PAD.encode_string(bytes, text);
}

#[cfg(test)]
mod tests {
    use super::*;

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
