//! What holds for all inputs.

use overlay_protocol::id::Ksuid;
use overlay_tokens::broker_jwt::{AccountKey, decode_request};
use overlay_tokens::claims::{
    Claims, ClientClaims, ClientPermissions, ProvisioningClaims, ServerClaims, Standard,
};
use overlay_tokens::issue::sign;
use overlay_tokens::own::{Holder, check_own};
use overlay_tokens::rsa::{RsaPrivate, RsaPublic};
use overlay_tokens::{
    Key, PublicKey, Token, UnixTime, Unverified, VerifyKey, algorithm, purpose, verify_nonce,
};
use proptest::prelude::*;

use crate::support::{ISSUED, b64, chain_issuer, client_claims, now, org, signed, user, verify};

fn look_at(text: &str) {
    drop(algorithm(text));
    drop(purpose(text));
    drop(Token::decode(text));
    drop(check_own(text, now()));
    drop(Holder::new(text, user()));
    drop(RsaPublic::from_pem(text));
    drop(RsaPrivate::from_pem(text));
    drop(text.parse::<PublicKey>());
    drop(Key::from_seed_text(text.as_bytes()));
    drop(AccountKey::from_seed(text));
    verify::<ClientClaims>(text).unwrap_err();
    verify::<ServerClaims>(text).unwrap_err();
    verify::<ProvisioningClaims>(text).unwrap_err();
    verify_nonce(&user().public(), text, text).unwrap_err();
    decode_request(text.as_bytes(), text, now()).unwrap_err();
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        ".{0,20}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        let name = prop_oneof![
            ".{0,8}",
            "(purpose|tcs|public_key|issexp|iss|sub|aud|exp|nbf|iat|jti|callerid|permissions|agents|ou)",
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::hash_map(name, inner, 0..8)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

prop_compose! {
    fn client()(
        callerid in ".{1,20}",
        agents in prop::collection::vec("[a-z_.]{1,12}", 0..4),
        ou in prop::option::of("[a-z]{1,8}"),
        properties in prop::collection::btree_map(".{0,6}", ".{0,6}", 0..4),
        policy in prop::option::of(".{1,40}"),
        flags in any::<[bool; 4]>(),
        granted in any::<bool>(),
        subjects in prop::collection::vec(".{0,10}", 0..3),
        exp in (ISSUED + 7200)..(1_i64 << 53),
        nbf in prop::option::of(-(1_i64 << 53)..ISSUED),
        random in any::<[u8; 16]>(),
        aud in prop::collection::vec(".{0,5}", 0..3),
    ) -> ClientClaims {
        ClientClaims {
            callerid,
            agents,
            tenant: ou.clone(),
            ou,
            user_properties: properties,
            opa_policy: policy,
            permissions: granted.then_some(ClientPermissions {
                streams_user: flags[0],
                org_admin: flags[1],
                service: flags[2],
                provisioner: flags[3],
                audit_viewer: flags[3],
                ..ClientPermissions::default()
            }),
            pub_subjects: subjects.clone(),
            sub_subjects: subjects,
            standard: Standard {
                purpose: ClientClaims::PURPOSE,
                public_key: user().public().to_string(),
                iss: "free text".to_owned(),
                aud,
                exp: Some(exp),
                nbf,
                iat: Some(ISSUED),
                jti: Ksuid::from_parts(1_700_000_000, random).unwrap().to_string(),
                ..Standard::default()
            },
        }
    }
}

proptest! {
    #[test]
    fn no_text_panics_or_verifies(text in any::<String>(), bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        look_at(&text);
        look_at(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn no_shape_of_a_token_panics_or_verifies(
        header in prop_oneof![Just(r#"{"alg":"EdDSA"}"#.to_owned()), json().prop_map(|json| json.to_string())],
        claims in json(),
        signature in "[A-Za-z0-9_-]{0,90}",
    ) {
        look_at(&format!("{}.{}.{signature}", b64(&header), b64(&claims.to_string())));
    }

    #[test]
    fn what_is_issued_reads_as_it_was_written(claims in client()) {
        let token = sign(&claims, &org()).unwrap();
        let verified = verify::<ClientClaims>(&token).unwrap();
        prop_assert_eq!(&*verified, &claims);
        prop_assert_eq!(verified.text(), &token);
        let by_chain = verify::<ClientClaims>(&chain_issuer().issue(claims.clone()).unwrap()).unwrap();
        prop_assert_eq!(&by_chain.callerid, &claims.callerid);
        prop_assert!(by_chain.standard.exp <= claims.standard.exp);
        prop_assert!(!by_chain.is_chain_issuer());
    }

    #[test]
    fn no_changed_token_verifies(place in any::<prop::sample::Index>(), bit in 0_u32..7, chained in any::<bool>()) {
        let token = if chained { chain_issuer().issue(client_claims()).unwrap() } else { signed(&client_claims(), &org()) };
        let mut bytes = token.clone().into_bytes();
        let place = place.index(bytes.len());
        bytes[place] ^= 1 << bit;
        let changed = String::from_utf8(bytes).unwrap();
        let outcome = verify::<ClientClaims>(&changed);
        // One thing may differ: the unused bits at the end of the signature, and line ends, which are no part of it.
        if let Ok(verified) = outcome {
            let original = verify::<ClientClaims>(&token).unwrap();
            prop_assert_eq!(verified.into_claims(), original.into_claims());
            prop_assert_eq!(place, token.len() - 1);
        }
    }

    #[test]
    fn no_token_verifies_with_another_key(seed in any::<[u8; 32]>()) {
        prop_assume!(seed != [1; 32]);
        let key = VerifyKey::from(Key::from_seed(seed).public());
        for token in [signed(&client_claims(), &org()), chain_issuer().issue(client_claims()).unwrap()] {
            Unverified::<ClientClaims>::decode(&token).unwrap().verify_with_key(&key, now()).unwrap_err();
        }
    }

    #[test]
    fn no_expired_token_verifies(secs in any::<i64>(), nanos in 0_u32..1_000_000_000) {
        let token = chain_issuer().issue(client_claims()).unwrap();
        let expires = ISSUED + 86_400;
        let verdict = crate::support::verify_at::<ClientClaims>(&token, UnixTime { secs, nanos });
        prop_assert_eq!(verdict.is_ok(), (ISSUED..expires).contains(&secs));
    }
}
