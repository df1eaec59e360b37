//! PEM with headers, as keys had it before PKCS #8 (RFC 1421).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::{MAX_PEM_BYTES, TransportError};

/// Characters of base64 in a line.
const LINE: usize = 64;

/// The first block of a text.
pub(super) struct Block<'a> {
    pub(super) label: &'a str,
    headers: &'a str,
    pub(super) der: Zeroizing<Vec<u8>>,
}

impl<'a> Block<'a> {
    pub(super) fn read(pem: &'a str) -> Result<Self, TransportError> {
        if pem.len() > MAX_PEM_BYTES {
            return Err(TransportError::TooLong { bytes: pem.len() });
        }
        Self::find(pem).ok_or(TransportError::NoKey)
    }

    fn find(pem: &'a str) -> Option<Self> {
        let (_, rest) = pem.split_once("-----BEGIN ")?;
        let (label, rest) = rest.split_once("-----")?;
        let (inside, _) = rest.split_once(&format!("-----END {label}-----"))?;
        // Headers have a colon, which base64 has not; a blank line ends them.
        let (headers, body) = if inside.contains(':') {
            let blank = ["\n\n", "\n\r\n"]
                .iter()
                .filter_map(|blank| Some((inside.find(blank)?, blank.len())))
                .min()?;
            let (headers, body) = inside.split_at_checked(blank.0)?;
            (headers, body.get(blank.1..)?)
        } else {
            ("", inside)
        };
        let text = body.bytes().filter(|byte| !byte.is_ascii_whitespace());
        let text: Zeroizing<Vec<u8>> = Zeroizing::new(text.collect());
        let mut der = Zeroizing::new(vec![0; base64::decoded_len_estimate(text.len())]);
        let length = STANDARD.decode_slice(text.as_slice(), &mut der).ok()?;
        der.truncate(length);
        Some(Self {
            label,
            headers,
            der,
        })
    }

    pub(super) fn header(&self, name: &str) -> Option<&'a str> {
        self.headers
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find_map(|(found, value)| (found.trim() == name).then(|| value.trim()))
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.header("DEK-Info").is_some() || self.header("Proc-Type").is_some()
    }
}

/// Writes one block; `headers` end with a blank line if there are any.
pub(super) fn write(label: &str, headers: &str, der: &[u8]) -> Zeroizing<String> {
    let mut encoded = Zeroizing::new(String::with_capacity(der.len() * 4 / 3 + 4));
    STANDARD.encode_string(der, &mut encoded);
    // Of the full length from the start, so that no copy of a key is left behind by growing.
    let size = encoded.len() + encoded.len() / LINE + headers.len() + 2 * label.len() + 40;
    let mut text = Zeroizing::new(String::with_capacity(size));
    for part in ["-----BEGIN ", label, "-----\n", headers] {
        text.push_str(part);
    }
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, next) = rest.split_at_checked(LINE).unwrap_or((rest, ""));
        text.push_str(line);
        text.push('\n');
        rest = next;
    }
    for part in ["-----END ", label, "-----\n"] {
        text.push_str(part);
    }
    text
}
