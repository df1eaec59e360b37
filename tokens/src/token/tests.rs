use super::*;

fn token(header: &str, claims: &str) -> String {
    format!(
        "{}.{}.{}",
        encoding::encode(header.as_bytes()),
        encoding::encode(claims.as_bytes()),
        "AA"
    )
}

fn client(claims: &str) -> Result<Unverified<ClientClaims>, DecodeError> {
    Unverified::decode(&token(r#"{"alg":"EdDSA"}"#, claims))
}

#[test]
fn a_claim_in_the_wrong_case_refuses_the_token() {
    for name in ["CallerID", "PURPOSE", "i\u{17f}s"] {
        let error = client(&format!(r#"{{"{name}":"x"}}"#)).unwrap_err();
        assert!(
            matches!(
                error,
                DecodeError::Json {
                    part: Part::Claims,
                    ..
                }
            ),
            "{error:?}"
        );
    }
    client(r#"{"permissions":{"Org_Admin":true}}"#).unwrap_err();
    assert!(
        client(r#"{"callerid2":"x"}"#)
            .unwrap()
            .claims
            .callerid
            .is_empty()
    );
}

#[test]
fn a_claim_that_comes_twice_refuses_the_token() {
    for claims in [
        r#"{"callerid":"a","callerid":"b"}"#,
        r#"{"exp":1,"exp":2}"#,
        r#"{"permissions":{"service":true,"service":false}}"#,
        r#"{"user_properties":{"a":"1","a":"2"}}"#,
    ] {
        client(claims).unwrap_err();
    }
}

#[test]
fn null_leaves_a_claim_absent() {
    let decoded =
        client(r#"{"callerid":null,"permissions":null,"exp":null,"agents":null,"ou":null}"#)
            .unwrap();
    assert_eq!(decoded.claims, ClientClaims::default());
    assert_eq!(client("null").unwrap().claims, ClientClaims::default());
}

#[test]
fn times_are_numbers_rounded_down_and_bounded() {
    let times =
        |text: &str| client(&format!(r#"{{"exp":{text}}}"#)).map(|token| token.claims.standard.exp);
    assert_eq!(times("12.9").unwrap(), Some(12));
    assert_eq!(times("-0.5").unwrap(), Some(-1));
    assert_eq!(times("1e3").unwrap(), Some(1000));
    assert_eq!(times("0").unwrap(), Some(0));
    for refused in [
        "\"12\"",
        "1e300",
        "9007199254740993",
        "18446744073709551615",
        "true",
        "[]",
    ] {
        times(refused).unwrap_err();
    }
}

#[test]
fn depth_is_bounded() {
    let nested = |depth: usize| {
        client(&format!(
            r#"{{"x":{}{}}}"#,
            "[".repeat(depth),
            "]".repeat(depth)
        ))
    };
    nested(100).unwrap();
    nested(200).unwrap_err();
    nested(10_001).unwrap_err();
}

#[test]
fn text_after_the_claims_and_long_tokens_are_refused() {
    client("{} {}").unwrap_err();
    client("{}\n ").unwrap();
    let long = format!("a.b.{}", "c".repeat(MAX_TOKEN_BYTES));
    assert!(matches!(
        Unverified::<ClientClaims>::decode(&long),
        Err(DecodeError::TooLong { .. })
    ));
}

#[test]
fn critical_header_extensions_are_refused() {
    let text = token(r#"{"alg":"EdDSA","crit":["b64"],"b64":false}"#, "{}");
    assert!(matches!(
        Unverified::<ClientClaims>::decode(&text),
        Err(DecodeError::Critical)
    ));
}

#[test]
fn an_unknown_algorithm_decodes_so_that_it_can_be_named() {
    let text = token(r#"{"alg":"none"}"#, r#"{"purpose":"choria_server"}"#);
    assert_eq!(algorithm(&text).unwrap(), Algorithm::Other("none".into()));
    assert_eq!(purpose(&text).unwrap(), Purpose::Server);
}
