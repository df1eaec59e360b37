use std::fs::FileTimes;
use std::num::NonZeroUsize;
use std::time::{Duration, SystemTime};

use overlay_runtime::Clock;
use overlay_tokens::UnixTime;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::authenticate::userlist::list::{ListError, UserList};

/// Cost 5: `secret`, then `alicepw`.
const BOB: &str = "$2a$05$m0tNKxBQy5gIkElYrL1xG.hXAXqXWa7HrH9N9HnqaSTMxoBldTcGC";
const ALICE: &str = "$2a$05$WxEyUuipLN/HQzruTAk2HulAIzYQwX3nn50lPjnDGrZsropYX6mAK";
const TOTP: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
const NOW: i64 = 1_111_111_111;
const CODE: &str = "050471";

struct Desk {
    dir: tempfile::TempDir,
    userlist: Userlist,
    hashes: prometheus::IntCounter,
}

impl Desk {
    fn new(users: &Value) -> Self {
        Self::of_form(users, Form::Overlay)
    }

    fn of_form(users: &Value, form: Form) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users.json");
        std::fs::write(&path, users.to_string()).unwrap();
        let registry = prometheus::Registry::new();
        let hasher = Hasher::new(NonZeroUsize::new(2).unwrap(), 16).unwrap();
        let hashes = hasher.counter();
        let userlist = Userlist::new(
            Source::open(&path, form).unwrap(),
            hasher,
            Memory::alone(Clock::manual(
                SystemTime::UNIX_EPOCH + Duration::from_secs(1_111_111_111),
            )),
            Metrics::register(&registry, "paris").unwrap(),
        );
        Self {
            dir,
            userlist,
            hashes,
        }
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.dir.path().join(name), content).unwrap();
    }

    /// As editors and `overlay user` do it.
    fn replace(&self, users: &Value) {
        self.write("users.new", &users.to_string());
        std::fs::rename(
            self.dir.path().join("users.new"),
            self.dir.path().join("users.json"),
        )
        .unwrap();
    }

    async fn log_in(&self, name: &str, password: &str) -> Result<Person, Reason> {
        self.log_in_with(name, password, None).await
    }

    async fn log_in_with(
        &self,
        name: &str,
        password: &str,
        otp: Option<&str>,
    ) -> Result<Person, Reason> {
        let attempt = Attempt {
            username: name.to_owned(),
            password: password.into(),
            otp: otp.map(Into::into),
            now: UnixTime::from_secs(NOW),
        };
        self.userlist
            .authenticate(&attempt)
            .await
            .map_err(|refusal| refusal.reason)
    }
}

fn bob() -> Value {
    json!({"username": "bob", "password": BOB, "acls": ["rpcutil.*"],
        "broker_permissions": {"signed_fleet_management": true, "events_viewer": true}})
}

fn alice() -> Value {
    json!({"username": "alice", "password": ALICE, "opa_policy": "package io.choria.aaasvc"})
}

#[tokio::test]
async fn somebody_is_who_the_record_says() {
    let desk = Desk::new(&json!([{
        "username": "bob", "password": BOB, "organization": "acme", "acls": ["rpcutil.*"],
        "opa_policy": "inline",
        "properties": {"group": "admins"}, "broker_permissions": {"audit_viewer": true},
        "tenant": "blue", "validity": "90m"
    }]));
    let person = desk.log_in("bob", "secret").await.unwrap();
    assert_eq!(person.callerid, "up=bob");
    assert_eq!(person.agents, ["rpcutil.*"]);
    assert_eq!(person.organisation.as_deref(), Some("acme"));
    assert_eq!(person.opa_policy.as_deref(), Some("inline"));
    assert_eq!(person.properties["group"], "admins");
    assert!(person.permissions.unwrap().audit_viewer);
    assert_eq!(person.tenant.as_deref(), Some("blue"));
    assert_eq!(person.validity, Some(Duration::from_secs(5400)));
}

#[tokio::test]
async fn aaa_case_8_unknown_wrong_locked_and_disabled_take_one_hash_each() {
    let mut disabled = bob();
    disabled["username"] = "off".into();
    disabled["disabled"] = true.into();
    let desk = Desk::of_form(
        &json!([bob(), disabled, {"username": "oscar", "password": "*LOCKED*"},
            {"username": "filed", "password_file": "/nowhere"}]),
        Form::Choria,
    );
    for (name, password, expected) in [
        ("bob", "wrong", Reason::Password),
        ("nobody-here", "secret", Reason::UnknownUser),
        ("Bob", "secret", Reason::UnknownUser),
        ("off", "secret", Reason::Disabled),
        ("off", "wrong", Reason::Disabled),
        ("oscar", "*LOCKED*", Reason::NoPassword),
        ("filed", "secret", Reason::UserFile),
    ] {
        let before = desk.hashes.get();
        assert_eq!(desk.log_in(name, password).await, Err(expected), "{name}");
        assert_eq!(desk.hashes.get() - before, 1, "{name}");
        let attempt = Attempt {
            username: name.to_owned(),
            password: password.into(),
            otp: None,
            now: UnixTime::from_secs(NOW),
        };
        desk.userlist.pretend(&attempt).await;
        assert_eq!(desk.hashes.get() - before, 2, "{name}, pretended");
    }
}

#[tokio::test]
async fn names_without_a_hash_are_worked_on_with_those_of_others() {
    let list = |users: Value| {
        let bytes = users.to_string().into_bytes();
        UserList::decode(&bytes, Form::Overlay, Path::new("/"))
            .unwrap()
            .list
    };
    let key = RandomState::new();
    let two = list(json!([bob(), alice()]));
    let decoys: Vec<_> = (0..64)
        .map(|number| two.decoy(&format!("nobody-{number}"), &key))
        .collect();
    assert!(decoys.contains(&Stored::read(BOB)) && decoys.contains(&Stored::read(ALICE)));
    assert_eq!(two.decoy("one", &key), two.decoy("one", &key));
    assert!(list(json!([])).decoy("one", &key).is_usable());
}

#[tokio::test]
async fn aaa_case_9_a_policy_file_is_read_at_every_login() {
    let mut user = bob();
    user["opa_policy_file"] = "bob.rego".into();
    let desk = Desk::new(&json!([user]));
    assert_eq!(desk.log_in("bob", "secret").await, Err(Reason::UserFile));
    for text in ["package one", "package two"] {
        desk.write("bob.rego", text);
        let person = desk.log_in("bob", "secret").await.unwrap();
        assert_eq!(person.opa_policy.as_deref(), Some(text));
    }
    desk.write("bob.rego", &"x".repeat(300 * 1024));
    assert_eq!(desk.log_in("bob", "secret").await, Err(Reason::UserFile));
}

#[tokio::test]
async fn aaa_case_10_a_policy_in_the_record_counts_and_its_file_is_not_read() {
    let mut user = bob();
    user["opa_policy"] = "package here".into();
    user["opa_policy_file"] = "bob.rego".into();
    let desk = Desk::new(&json!([user]));
    for _ in 0..2 {
        let person = desk.log_in("bob", "secret").await.unwrap();
        assert_eq!(person.opa_policy.as_deref(), Some("package here"));
        desk.write("bob.rego", "package there");
    }
}

#[tokio::test]
async fn passwords_actions_and_second_factors_may_be_in_files() {
    let desk = Desk::new(&json!([{
        "username": "bob", "password_file": "bob.hash", "acls_file": "bob.acls", "totp_file": "bob.totp"
    }]));
    desk.write("bob.hash", &format!("{BOB}\n"));
    desk.write(
        "bob.acls",
        "# may look\nrpcutil.*\n\npuppet.status # and more\n",
    );
    desk.write("bob.totp", TOTP);
    assert_eq!(
        desk.log_in("bob", "secret").await,
        Err(Reason::SecondFactor)
    );
    let person = desk.log_in("bob", &format!("secret{CODE}")).await.unwrap();
    assert_eq!(person.agents, ["rpcutil.*", "puppet.status"]);
    assert_eq!(person.factor, Some("totp"));
    desk.write("bob.hash", ALICE);
    assert_eq!(
        desk.log_in("bob", "secret000000").await,
        Err(Reason::Password)
    );
    desk.write("bob.hash", "plain text");
    assert_eq!(
        desk.log_in("bob", "plain text").await,
        Err(Reason::UserFile)
    );
}

#[tokio::test]
async fn a_second_factor_is_asked_for_and_taken_once() {
    let mut user = bob();
    user["totp"] = TOTP.into();
    let desk = Desk::new(&json!([user, alice()]));
    assert_eq!(
        desk.log_in("bob", "secret").await,
        Err(Reason::SecondFactor)
    );
    let wrong = desk.log_in_with("bob", "secret", Some("000000")).await;
    assert_eq!(wrong, Err(Reason::SecondFactor));
    let wrong = desk.log_in_with("bob", "wrong", Some(CODE)).await;
    assert_eq!(
        wrong,
        Err(Reason::Password),
        "a wrong password uses no code up"
    );
    assert!(desk.log_in_with("bob", "secret", Some(CODE)).await.is_ok());
    let again = desk.log_in_with("bob", "secret", Some(CODE)).await;
    assert_eq!(again, Err(Reason::SecondFactorReused));
    let again = desk.log_in("bob", &format!("secret{CODE}")).await;
    assert_eq!(again, Err(Reason::SecondFactorReused));
    // Who has no second factor may have digits at the end of the password, and is not asked for a code.
    assert!(
        desk.log_in_with("alice", "alicepw", Some("123456"))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn aaa_case_11_and_14_the_kinds_of_hashes_and_defaults() {
    let hash = |prefix: &str| BOB.replacen("$2a$", prefix, 1);
    let desk = Desk::new(&json!([
        {"username": "y", "password": hash("$2y$")},
        {"username": "b", "password": hash("$2b$")},
        {"username": "argon", "password": "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$eFHOGwq4jWMWOnI7pTxiExR6tlgKMJK0nmTtZoFWcqg"},
    ]));
    for name in ["y", "b"] {
        let person = desk.log_in(name, "secret").await.unwrap();
        assert_eq!(person.organisation, None, "the login's default");
        assert_eq!(person.permissions, None);
    }
    assert_eq!(desk.log_in("argon", "secret").await, Err(Reason::Password));
}

#[tokio::test]
async fn aaa_case_12_a_new_file_is_taken_whole_and_nothing_of_the_old_one_stays() {
    let desk = Desk::new(&json!([bob(), alice()]));
    assert!(
        desk.log_in("bob", "secret")
            .await
            .unwrap()
            .permissions
            .is_some()
    );
    let mut plain = bob();
    plain.as_object_mut().unwrap().remove("broker_permissions");
    desk.replace(&json!([alice(), plain]));
    let person = desk.log_in("bob", "secret").await.unwrap();
    assert_eq!((person.permissions, person.opa_policy), (None, None));
    let person = desk.log_in("alice", "alicepw").await.unwrap();
    assert!(person.agents.is_empty() && person.permissions.is_none());
    desk.replace(&json!([alice()]));
    assert_eq!(desk.log_in("bob", "secret").await, Err(Reason::UnknownUser));
}

#[tokio::test]
async fn aaa_case_13_a_bad_file_leaves_the_users_before() {
    let desk = Desk::new(&json!([bob()]));
    for bad in [
        "[{\"username\":\"bob\",\"pass",
        "{\"users\":[]}",
        "[{\"username\":\"mallory\",\"password\":\"x\"},{\"username\":5}]",
        &json!([alice(), alice()]).to_string(),
    ] {
        desk.write("users.json", bad);
        assert!(desk.log_in("bob", "secret").await.is_ok(), "{bad}");
        assert_eq!(
            desk.log_in("alice", "alicepw").await,
            Err(Reason::UnknownUser)
        );
        assert!(desk.userlist.fault().is_some(), "{bad}");
    }
    std::fs::remove_file(desk.dir.path().join("users.json")).unwrap();
    assert!(desk.log_in("bob", "secret").await.is_ok());
    assert!(desk.userlist.fault().unwrap().contains("read users file"));
    desk.replace(&json!([alice()]));
    assert!(desk.log_in("alice", "alicepw").await.is_ok());
    assert_eq!(desk.userlist.fault(), None);
}

#[tokio::test]
async fn a_change_is_seen_although_length_and_time_are_the_same() {
    let desk = Desk::new(&json!([bob()]));
    let path = desk.dir.path().join("users.json");
    let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
    assert!(desk.log_in("bob", "secret").await.is_ok());
    let mut other = bob();
    other["username"] = "bop".into();
    std::fs::write(&path, json!([other]).to_string()).unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    file.set_times(FileTimes::new().set_modified(modified))
        .unwrap();
    assert_eq!(desk.log_in("bob", "secret").await, Err(Reason::UnknownUser));
    assert!(desk.log_in("bop", "secret").await.is_ok());
}

#[test]
fn faults_of_our_form_are_told_with_the_user() {
    let decode = |users: Value| {
        UserList::decode(users.to_string().as_bytes(), Form::Overlay, Path::new("/"))
    };
    for (change, part) in [
        (json!({"username": ""}), "the name is empty"),
        (json!({"username": " bob"}), "spaces around it"),
        (
            json!({"password": "plaintext"}),
            "neither a bcrypt nor an argon2id hash",
        ),
        (
            json!({"password": ""}),
            "neither a bcrypt nor an argon2id hash",
        ),
        (json!({"password_file": "x"}), "exclude each other"),
        (
            json!({"dissabled": true}),
            "`dissabled` is no key of a user",
        ),
        (json!({"Password": ALICE}), "`password` comes twice"),
        (json!({"tenant": "Blue"}), "a tenant is"),
        (json!({"validity": "soon"}), "`validity`"),
        (json!({"validity": "0s"}), "`validity`"),
        (json!({"totp": "short"}), "`totp` is neither"),
        (
            json!({"totp": TOTP, "totp_file": "x"}),
            "exclude each other",
        ),
    ] {
        let mut user = bob();
        for (key, value) in change.as_object().unwrap() {
            user[key] = value.clone();
        }
        let error = decode(json!([alice(), user])).unwrap_err();
        let ListError::Faults(faults) = &error else {
            panic!("{error:?}");
        };
        assert_eq!(faults.len(), 1, "{change}: {faults:?}");
        assert!(faults[0].contains(part), "{change}: {faults:?}");
        assert!(faults[0].contains("record 2"), "{faults:?}");
        assert!(!faults[0].contains("$2a$"), "no hash is told: {faults:?}");
    }
    let error = decode(json!([bob(), bob()])).unwrap_err().to_string();
    assert!(error.contains("comes twice"), "{error}");
    let named = |name: &str| {
        let mut user = bob();
        user["username"] = name.into();
        user
    };
    let alike = json!([named("a.b@x"), named("c.b@x"), named("a_b@x")]);
    let error = decode(alike).unwrap_err().to_string();
    assert!(
        error.contains("(record 3) and user \"a.b@x\" are one caller"),
        "{error}"
    );
    let disabled = json!([{"username": "bob", "disabled": true}]);
    assert!(
        decode(disabled).is_ok(),
        "who is disabled needs no password"
    );
}

#[test]
fn choria_s_form_takes_what_choria_s_service_takes() {
    let users = json!([
        {"Username": "Trent", "PASSWORD": BOB, "Acls": ["a.b", null], "Broker_Permissions": {"Signed_Fleet_Management": true},
            "unknown_key": [1, 2], "properties": {"a": null}, "opa_policy": null},
        {"username": "dup", "password": BOB},
        {"username": "dup", "password": ALICE},
        {"username": "", "password": "x"},
        {"username": "d.up", "password": BOB},
        {"username": "d_up", "password": BOB},
    ]);
    let read =
        UserList::decode(users.to_string().as_bytes(), Form::Choria, Path::new("/")).unwrap();
    assert_eq!(read.list.len(), 5);
    let trent = read.list.get("Trent").unwrap();
    assert_eq!(
        trent.agents,
        Kept::Here(vec!["a.b".to_owned(), String::new()])
    );
    assert!(trent.permissions.unwrap().signed_fleet_management);
    let first = &read.list.get("dup").unwrap().password;
    assert_eq!(*first, Kept::Here(Stored::read(BOB)));
    for told in ["comes twice", "are one caller"] {
        assert!(read.notices.iter().any(|notice| notice.contains(told)));
    }
    for bad in [
        "{}",
        "5",
        "[5]",
        "[null]",
        r#"[{"username":"a","acls":"b"}]"#,
    ] {
        let read = UserList::decode(bad.as_bytes(), Form::Choria, Path::new("/"));
        assert!(matches!(read, Err(ListError::Json(_))), "{bad}");
    }
    let null = UserList::decode(b"null", Form::Choria, Path::new("/")).unwrap();
    assert_eq!(null.list.len(), 0);
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for form in [Form::Overlay, Form::Choria] {
            drop(UserList::decode(&bytes, form, Path::new("/")));
        }
    }
}
