//! What holds whatever is presented.

use proptest::prelude::*;

use super::*;

fn attempts() -> impl Strategy<Value = Try> {
    let good = [
        token(&client_claims(ClientPermissions {
            org_admin: true,
            provisioner: true,
            ..fleet()
        })),
        token(&server_claims(&["choria"], ServerPermissions::default())),
        token(&provisioning_claims()),
    ];
    let damaged = (
        prop::sample::select(good.to_vec()),
        any::<prop::sample::Index>(),
        any::<u8>(),
    );
    let tokens = prop_oneof![
        damaged.prop_map(|(token, at, byte)| {
            let mut bytes = token.into_bytes();
            let at = at.index(bytes.len());
            bytes[at] ^= byte;
            String::from_utf8_lossy(&bytes).into_owned()
        }),
        any::<String>(),
        Just(issue::sign(&client_claims(fleet()), &holder()).unwrap()),
    ];
    let user = prop::sample::select(vec!["", "provisioner", "system", "rip"]);
    let password = prop::sample::select(vec!["", "provS3cret", "sysS3cret"]);
    let kind = prop::sample::select(vec![Kind::Client, Kind::Leaf, Kind::Mqtt, Kind::Other]);
    let tls = prop::sample::select(vec![Tls::None, Tls::Encrypted]);
    (tokens, user, password, kind, tls, any::<bool>()).prop_map(
        |(token, user, password, kind, tls, signed)| {
            let attempt = if signed {
                Try::with(token)
            } else {
                Try::unsigned(token)
            };
            Try {
                kind,
                tls,
                ..attempt.with_user(user, password)
            }
        },
    )
}

/// Whether a token is one that an issuer signed, byte for byte, line ends and unused bits of the last letter apart.
fn is_genuine(token: &str) -> bool {
    use overlay_tokens::Token;
    let issuers = policy().issuers;
    match Token::decode(token.trim_matches(['\r', '\n'])) {
        Ok(Token::Client(token)) => token.verify(&issuers, NOW).is_ok(),
        Ok(Token::Server(token)) => token.verify(&issuers, NOW).is_ok(),
        Ok(Token::Provisioning(token)) => token.verify(&issuers, NOW).is_ok(),
        Ok(Token::Unknown(_)) | Err(_) => false,
    }
}

proptest! {
    #[test]
    fn no_unverified_token_ever_yields_a_permission(attempt in attempts()) {
        if let Decision::Allow(login) = attempt.decide(&policy(), NOW) {
            prop_assert!(is_genuine(&attempt.token), "{login:?}");
            prop_assert!(attempt.kind == Kind::Client && attempt.tls != Tls::None);
        }
    }

    #[test]
    fn no_expired_token_ever_yields_a_permission(exp in any::<i32>(), now in any::<i32>()) {
        let mut claims = client_claims(fleet());
        (claims.standard.exp, claims.standard.nbf) = (Some(i64::from(exp)), None);
        let allowed = matches!(
            Try::with(token(&claims)).decide(&policy(), UnixTime::from_secs(i64::from(now))),
            Decision::Allow(_)
        );
        prop_assert_eq!(allowed, now < exp);
    }

    #[test]
    fn no_side_is_ever_without_a_list(
        flags in any::<[bool; 6]>(),
        subjects in prop::collection::vec(".{0,12}", 0..4),
        collectives in prop::collection::vec("[a-z]{1,4}", 0..3),
    ) {
        let permissions = ClientPermissions {
            streams_admin: flags[0], streams_user: flags[1], events_viewer: flags[2],
            election_user: flags[3], governor: flags[4], fleet_management: flags[5],
            ..ClientPermissions::default()
        };
        let client = ClientClaims {
            pub_subjects: subjects.clone(), sub_subjects: subjects.clone(), ..client_claims(permissions)
        };
        let node = ServerClaims {
            pub_subjects: subjects,
            collectives,
            ..server_claims(&[], ServerPermissions { streams: flags[0], governor: flags[1], ..Default::default() })
        };
        for login in [Try::with(token(&client)).login(&policy()), Try::with(token(&node)).login(&policy())] {
            for side in [&login.permissions.publish, &login.permissions.subscribe] {
                prop_assert!(!side.allow().is_empty() || side.deny() == [">"]);
                let all_valid = side
                    .allow()
                    .iter()
                    .all(|subject| overlay_protocol::subject::is_valid_permission(subject));
                prop_assert!(all_valid);
            }
        }
    }
}
