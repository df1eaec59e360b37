use super::*;

#[test]
fn a_key_is_masked_when_shown_for_debugging() {
    let key = Key::from_seed([7; 32]);
    let shown = format!("{key:?}");
    assert!(!shown.contains(key.seed_text().as_str()), "{shown}");
    assert!(shown.contains(&key.public().to_string()), "{shown}");
}

#[test]
fn generated_keys_differ_and_sign() {
    let (one, two) = (Key::generate().unwrap(), Key::generate().unwrap());
    assert_ne!(one.public(), two.public());
    let signature = one.sign(b"text");
    assert!(one.public().verify(b"text", &signature));
    assert!(!two.public().verify(b"text", &signature));
    assert!(!one.public().verify(b"texT", &signature));
}

#[test]
fn a_signature_of_another_length_or_with_a_large_scalar_is_refused() {
    let key = Key::from_seed([1; 32]);
    let mut signature = key.sign(b"m");
    assert!(!key.public().verify(b"m", &signature[..63]));
    assert!(
        !key.public()
            .verify(b"m", &[signature.as_slice(), &[0]].concat())
    );
    // Adding the group order to the scalar gives another text of the same signature, which must not pass.
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut carry = 0_u16;
    for (byte, order) in signature[32..].iter_mut().zip(ORDER) {
        carry += u16::from(*byte) + u16::from(order);
        *byte = u8::try_from(carry & 0xff).unwrap();
        carry >>= 8;
    }
    assert!(!key.public().verify(b"m", &signature));
}

#[test]
fn the_identity_point_is_known_as_weak() {
    let mut bytes = [0_u8; 32];
    bytes[0] = 1;
    assert!(PublicKey::from_bytes(bytes).unwrap().is_weak());
    assert!(!Key::from_seed([1; 32]).public().is_weak());
}

#[test]
fn a_point_off_the_curve_is_refused() {
    let mut bytes = [0_u8; 32];
    bytes[0] = 2;
    assert_eq!(PublicKey::from_bytes(bytes), Err(KeyError::NotAPoint));
}
