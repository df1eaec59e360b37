//! People who have yet to log in.

use super::*;
use crate::policy::LoginRoom;

fn policy_with_room() -> Policy {
    Policy {
        login: Some(LoginRoom { seconds: 900 }),
        ..policy()
    }
}

fn session() -> Try {
    Try::with("").with_user("login", &holder().public().to_string())
}

#[test]
fn whoever_holds_the_key_of_a_session_may_talk_to_the_login_service_and_hear_its_answers() {
    let login = session().login(&policy_with_room());
    let key = holder().public().to_string();
    assert_eq!((login.role, login.account.as_str()), (Role::Login, "login"));
    assert_eq!(login.name, format!("login:{}", &key[..16]));
    assert_eq!(login.expires, Some(NOW.secs + 900));
    assert_allows(&login.permissions.publish, &["overlay.login.v1.*"]);
    let replies = format!("overlay.login.reply.{key}.>");
    assert_allows(&login.permissions.subscribe, &[&replies]);
    assert_eq!(login.permissions.answers, None);
}

#[test]
fn the_key_may_be_written_in_capitals_and_names_the_same_replies() {
    let shouted = holder().public().to_string().to_uppercase();
    let login = Try::with("")
        .with_user("login", &shouted)
        .login(&policy_with_room());
    assert_eq!(
        login.permissions,
        session().login(&policy_with_room()).permissions
    );
}

#[test]
fn nobody_gets_in_who_does_not_prove_to_hold_the_key() {
    let refused = |attempt: Try| attempt.refusal(&policy_with_room()).reason;
    let unsigned = Try {
        signature: String::new(),
        ..session()
    };
    assert_eq!(refused(unsigned), Reason::NonceNotSigned);
    let of_another = Try {
        signature: sign_nonce(&org(), NONCE).unwrap(),
        ..session()
    };
    assert_eq!(refused(of_another), Reason::NonceSignatureWrong);
    let old = Try {
        nonce: "another-nonce".to_owned(),
        ..session()
    };
    assert_eq!(refused(old), Reason::NonceSignatureWrong);
    for key in [
        "secret",
        ">",
        "*",
        "a.b",
        &"0".repeat(63),
        &"0".repeat(65),
        &"g".repeat(64),
    ] {
        let attempt = Try::with("").with_user("login", key);
        assert_eq!(refused(attempt), Reason::LoginKey, "{key}");
    }
    assert_eq!(
        refused(Try::with("").with_user("login", "")),
        Reason::NothingPresented
    );
}

#[test]
fn logins_over_the_broker_are_off_unless_they_are_configured() {
    session().refused_for(Reason::LoginOff);
    let clear = Try {
        tls: Tls::None,
        ..session()
    };
    clear.refused_for(Reason::NotEncrypted);
}

#[test]
fn a_token_counts_whatever_the_user_is_called() {
    let login = Try::with(token(&client_claims(fleet())))
        .with_user("login", "x")
        .login(&policy_with_room());
    assert_eq!((login.role, login.name.as_str()), (Role::Client, "up=rip"));
}

#[test]
fn whoever_may_read_the_audit_can_neither_write_nor_remove_it() {
    let viewer = ClientPermissions {
        audit_viewer: true,
        ..ClientPermissions::default()
    };
    let login = Try::with(token(&client_claims(viewer))).login(&policy());
    assert_allows(
        &login.permissions.publish,
        &[
            "$SYS.REQ.USER.INFO",
            "overlay.audit.api.STREAM.INFO.AAA_AUDIT",
            "overlay.audit.api.DIRECT.GET.AAA_AUDIT",
            "overlay.audit.api.DIRECT.GET.AAA_AUDIT.>",
        ],
    );
    let subscribe = sorted(login.permissions.subscribe.allow());
    assert!(subscribe.contains(&"overlay.audit.aaa.>"));
    let without = Try::with(token(&client_claims(ClientPermissions {
        streams_user: true,
        events_viewer: true,
        system_user: true,
        governor: true,
        ..fleet()
    })))
    .login(&policy());
    for subject in sorted(without.permissions.publish.allow()) {
        assert!(!subject.contains("audit"), "{subject}");
    }
    for subject in sorted(without.permissions.subscribe.allow()) {
        assert!(!subject.contains("audit"), "{subject}");
    }
}
