use crate::id::Identity;

/// Returns the key under which buckets keep what belongs to a node.
///
/// Letters and digits of ASCII, `.` and `-` stand for themselves, every other byte is `_` and two hexadecimal digits;
/// so each identity has one key and each key at most one identity.
#[must_use]
pub fn record_key(identity: &Identity) -> String {
    let mut key = String::with_capacity(identity.as_str().len());
    for byte in identity.as_str().bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-') {
            key.push(char::from(byte));
        } else {
            key.push('_');
            key.push_str(&hex::encode([byte]));
        }
    }
    key
}

/// Returns the identity that a key is of; none for a key that [`record_key`] does not make.
#[must_use]
pub fn identity_of_key(key: &str) -> Option<Identity> {
    let mut bytes = Vec::with_capacity(key.len());
    let mut rest = key.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'_' {
            let digits = [rest.next()?, rest.next()?];
            let mut decoded = [0_u8];
            hex::decode_to_slice(digits, &mut decoded).ok()?;
            bytes.extend(decoded);
        } else {
            bytes.push(byte);
        }
    }
    let identity = Identity::new(String::from_utf8(bytes).ok()?).ok()?;
    (record_key(&identity) == key).then_some(identity)
}
