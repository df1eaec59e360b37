use super::login::{
    Continue, PasswordLogin, begin_text, continue_text, logout_text, password_text,
};
use super::*;

#[test]
fn inputs_and_outputs_of_the_action_read_back() {
    let request = SignRequest {
        token: "jwt".into(),
        request: "{}".to_owned(),
        signature: "ab".to_owned(),
    };
    assert_eq!(SignRequest::from_data(request.to_data()).unwrap(), request);
    assert_eq!(
        SignRequest::from_data(Map::new()).unwrap(),
        SignRequest::default()
    );
    let number = Map::from_iter([("token".to_owned(), 1.into())]);
    assert!(SignRequest::from_data(number).is_err());
    let reply = SignReply {
        secure_request: "{}".to_owned(),
    };
    assert_eq!(SignReply::from_data(reply.to_data()).unwrap(), reply);
    assert!(SignReply::from_data(Map::new()).is_err());
}

#[test]
fn bodies_over_http_have_the_names_of_the_original() {
    let request = HttpSignRequest::new("jwt".into(), b"{}", "ab".to_owned());
    assert_eq!(
        serde_json::to_string(&request).unwrap(),
        r#"{"token":"jwt","request":"e30=","signature":"ab"}"#
    );
    assert_eq!(request.request_bytes().unwrap(), b"{}");
    assert_eq!(
        serde_json::to_string(&HttpSignResponse::signed(b"{}")).unwrap(),
        r#"{"secure_request":"e30="}"#
    );
    assert_eq!(
        serde_json::to_string(&HttpSignResponse::refused(HTTP_DENIED)).unwrap(),
        r#"{"error":"Request denied"}"#
    );
    assert!(
        HttpSignResponse {
            secure_request: "e30".to_owned(),
            error: String::new()
        }
        .secure_request_bytes()
        .is_err()
    );
}

#[test]
fn a_login_shows_its_secrets_on_the_wire_and_nowhere_else() {
    let login = PasswordLogin {
        login: LoginRequest {
            username: "bob".to_owned(),
            password: "secret".into(),
            timestamp: "1".to_owned(),
            public_key: "aa".to_owned(),
            signature: "bb".to_owned(),
        },
        otp: Some("123456".into()),
    };
    assert_eq!(
        serde_json::to_string(&login).unwrap(),
        r#"{"username":"bob","password":"secret","timestamp":"1","public_key":"aa","signature":"bb","otp":"123456"}"#
    );
    let shown = format!("{login:?}");
    assert!(
        !shown.contains("secret") && !shown.contains("123456"),
        "{shown}"
    );
    let read: PasswordLogin = serde_json::from_str(r#"{"username":"bob","password":"x"}"#).unwrap();
    assert_eq!(read.otp, None);
    let plain = serde_json::to_string(&Continue::default()).unwrap();
    assert!(!plain.contains("code"), "{plain}");
}

#[test]
fn proofs_are_the_texts_that_were_agreed_on() {
    assert_eq!(*password_text("1", "bob", "a:b"), "1:bob:a:b");
    assert_eq!(
        begin_text("1", "oidc", "device", ""),
        "overlay-login-begin:1:oidc:device:"
    );
    assert_eq!(
        *continue_text("1", "f", "c", "s"),
        "overlay-login-continue:1:f:c:s"
    );
    assert_eq!(logout_text("1", "j"), "overlay-logout:1:j");
}
