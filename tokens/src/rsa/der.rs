//! Just enough DER (X.690) to find the RSA key in a `SubjectPublicKeyInfo` or an X.509 certificate.

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;
const OBJECT_ID: u8 = 0x06;
const VERSION: u8 = 0xa0;
/// `rsaEncryption`, 1.2.840.113549.1.1.1.
const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];

/// The `RSAPublicKey` inside a `SubjectPublicKeyInfo`.
pub(super) fn rsa_key_of_spki(spki: &[u8]) -> Option<&[u8]> {
    let (fields, _) = expect(spki, SEQUENCE)?;
    rsa_key_of_fields(fields)
}

/// The `RSAPublicKey` inside an X.509 certificate.
pub(super) fn rsa_key_of_certificate(certificate: &[u8]) -> Option<&[u8]> {
    let (certificate, _) = expect(certificate, SEQUENCE)?;
    let (signed, _) = expect(certificate, SEQUENCE)?;
    let (tag, _, after) = element(signed)?;
    let mut rest = if tag == VERSION { after } else { signed };
    // serialNumber, signature, issuer, validity, subject
    for _ in 0..5 {
        (_, _, rest) = element(rest)?;
    }
    let (fields, _) = expect(rest, SEQUENCE)?;
    rsa_key_of_fields(fields)
}

fn rsa_key_of_fields(fields: &[u8]) -> Option<&[u8]> {
    let (algorithm, rest) = expect(fields, SEQUENCE)?;
    let (object_id, _) = expect(algorithm, OBJECT_ID)?;
    if object_id != RSA_ENCRYPTION {
        return None;
    }
    let (bits, _) = expect(rest, BIT_STRING)?;
    match bits.split_first()? {
        (0, key) => Some(key),
        _ => None,
    }
}

fn expect(input: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    let (tag, content, rest) = element(input)?;
    (tag == wanted).then_some((content, rest))
}

/// Splits off the first element: tag, content, rest.
fn element(input: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = input.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (
                bytes
                    .iter()
                    .fold(0, |length, byte| length << 8 | usize::from(*byte)),
                rest,
            )
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            rsa_key_of_spki(&bytes);
            rsa_key_of_certificate(&bytes);
        }
    }

    #[test]
    fn a_length_beyond_the_input_is_refused() {
        assert_eq!(element(&[0x30, 0x05, 1, 2]), None);
        assert_eq!(element(&[0x30, 0x83, 0xff, 0xff, 0xff, 1]), None);
        assert_eq!(element(&[0x30, 0x80, 0, 0]), None);
        assert_eq!(
            element(&[0x30, 0x81, 0x01, 7, 9]),
            Some((0x30, [7].as_slice(), [9].as_slice()))
        );
    }
}
