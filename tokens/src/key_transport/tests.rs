use proptest::prelude::*;

use super::*;

/// A DER sequence that is no key but looks like one.
fn pem_of(label: &str, content: usize) -> String {
    let mut der = vec![0x30, 0x82];
    der.extend(u16::try_from(content).unwrap().to_be_bytes());
    der.extend(std::iter::repeat_n(7, content));
    pem::write(label, "", &der).to_string()
}

fn secret() -> SharedSecret {
    SharedSecret::from_bytes([9; 32])
}

#[test]
fn both_sides_share_what_choria_shares() {
    let bytes = |text: &str| <[u8; 32]>::try_from(hex::decode(text).unwrap()).unwrap();
    let node = ExchangeKey::from_bytes(bytes(
        "67e4a9b3934a3030470ed7a30f89eeaf7dab7b492aa9ee02fb864d690b7e6eeb",
    ));
    assert_eq!(
        node.public_hex(),
        "88a9a0ed27dc93c29466ea2bef99e078342b27e7a1d789fc35a9131f86c3a022"
    );
    let shared = node
        .shared("C25fab933b16b2a4589e2c2d297669b818c82881f2f9bfd08cb8fd298924a41b")
        .unwrap();
    assert_eq!(
        hex::encode(shared.expose()),
        "53a4887b448755a3f0a0618b289eb2369ec4b2461d44890abdfa3084ef080c55"
    );
    let other = ExchangeKey::generate().unwrap();
    assert_eq!(
        node.shared(&other.public_hex()),
        other.shared(&node.public_hex())
    );
}

#[test]
fn what_is_no_key_shares_nothing() {
    let key = ExchangeKey::from_bytes([6; 32]);
    for (peer, error) in [
        ("", ExchangeError::Length { bytes: 0 }),
        ("abcd", ExchangeError::Length { bytes: 4 }),
        (&"a".repeat(63), ExchangeError::Length { bytes: 63 }),
        (&"a".repeat(65), ExchangeError::Length { bytes: 65 }),
        (&"z".repeat(64), ExchangeError::NotHex),
        ("zz", ExchangeError::NotHex),
        (&"é".repeat(32), ExchangeError::NotHex),
        (&"0".repeat(64), ExchangeError::LowOrder),
        (&format!("01{}", "0".repeat(62)), ExchangeError::LowOrder),
        (
            "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
            ExchangeError::LowOrder,
        ),
    ] {
        assert_eq!(key.shared(peer), Err(error), "{peer}");
    }
}

#[test]
fn a_key_arrives_as_it_was_sent() {
    for label in ["RSA PRIVATE KEY", "PRIVATE KEY", "EC PRIVATE KEY"] {
        let sent = encrypt_private_key(&pem_of(label, 300), &secret(), [1; 16]).unwrap();
        assert!(sent.starts_with("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n"));
        let got = decrypt_private_key(&sent, &secret()).unwrap();
        assert_eq!(*got, pem_of("RSA PRIVATE KEY", 300));
        assert_eq!(
            decrypt_private_key(&sent.replace('\n', "\r\n"), &secret()).unwrap(),
            got
        );
        for other in 0..=255_u8 {
            if other != 9 {
                assert_eq!(
                    decrypt_private_key(&sent, &SharedSecret::from_bytes([other; 32])),
                    Err(TransportError::Secret)
                );
            }
        }
    }
}

#[test]
fn only_plain_private_keys_are_sent() {
    let send = |pem: &str| encrypt_private_key(pem, &secret(), [1; 16]);
    let sent = send(&pem_of("PRIVATE KEY", 300)).unwrap();
    assert_eq!(send(&sent), Err(TransportError::Encrypted));
    for pem in [
        "",
        "no key",
        &pem_of("CERTIFICATE", 300),
        &pem_of("ENCRYPTED PRIVATE KEY", 300),
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        "-----BEGIN PRIVATE KEY-----\n!!!!\n-----END PRIVATE KEY-----\n",
        "-----BEGIN PRIVATE KEY-----\nMAA=",
    ] {
        assert_eq!(send(pem), Err(TransportError::NoKey), "{pem}");
    }
    let bytes = MAX_PEM_BYTES + 1;
    assert_eq!(
        send(&"x".repeat(bytes)),
        Err(TransportError::TooLong { bytes })
    );
}

#[test]
fn what_comes_in_another_form_is_refused_by_name() {
    let sent = encrypt_private_key(&pem_of("PRIVATE KEY", 300), &secret(), [1; 16]).unwrap();
    let iv = hex::encode([1; 16]);
    let receive = |pem: &str| decrypt_private_key(pem, &secret());
    for (pem, error) in [
        (pem_of("RSA PRIVATE KEY", 300), TransportError::NotEncrypted),
        (
            sent.replace("AES-256-CBC", "DES-EDE3-CBC"),
            TransportError::Cipher,
        ),
        (sent.replace(&iv, "0102"), TransportError::Cipher),
        (sent.replace(&iv, &"z".repeat(32)), TransportError::Cipher),
        (sent.replace(&format!(",{iv}"), ""), TransportError::Cipher),
        (sent.replace("\n\n", "\n"), TransportError::NoKey),
        (
            sent.replace(&iv, &hex::encode([2; 16])),
            TransportError::Secret,
        ),
        (
            "-----BEGIN K-----\nDEK-Info: AES-256-CBC,00\n\n-----END K-----".to_owned(),
            TransportError::Cipher,
        ),
        (
            format!("-----BEGIN K-----\nDEK-Info: AES-256-CBC,{iv}\n\n-----END K-----"),
            TransportError::Secret,
        ),
    ] {
        assert_eq!(receive(&pem), Err(error), "{pem}");
    }
}

#[test]
fn secrets_are_not_shown() {
    let key = ExchangeKey::from_bytes([6; 32]);
    let shown = format!("{key:?} {:?}", secret());
    assert!(shown.contains("****") && !shown.contains("0606") && !shown.contains("0909"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn foreign_texts_never_panic(pem in "(-----BEGIN [A-Z ]{0,20}-----)?\\PC{0,40}\n\n?(DEK-Info: AES-256-CBC,[0-9a-f]{0,34})?\n\n[A-Za-z0-9+/=\n]{0,80}(-----END [A-Z ]{0,20}-----)?", peer in "\\PC{0,70}") {
        drop(decrypt_private_key(&pem, &secret()));
        drop(encrypt_private_key(&pem, &secret(), [0; 16]));
        let _ = ExchangeKey::from_bytes([6; 32]).shared(&peer).is_ok();
    }

    #[test]
    fn keys_of_every_length_arrive(length in 0_usize..2000, iv in any::<[u8; 16]>()) {
        let pem = pem_of("RSA PRIVATE KEY", length);
        let sent = encrypt_private_key(&pem, &secret(), iv).unwrap();
        let got = decrypt_private_key(&sent, &secret()).unwrap();
        prop_assert_eq!(got.as_str(), pem.as_str());
    }
}
