//! Logging in at a cell: by HTTPS, over the broker, at a terminal; and not.

use std::time::Duration;

use crate::people::{Way, says};
use crate::world::World;

const SOON: Duration = Duration::from_secs(30);
const WAYS: [Way; 2] = [Way::Https, Way::Broker];

#[test]
fn a_person_logs_in_by_https_and_over_the_broker_and_is_signed_for() {
    let world = World::with_signers(1, &[]);
    let bob = world.user("bob", "correct horse", &["--acl", "rpcutil.*"]);
    let _up = world.up();
    world.wait_for_nodes(1);
    for way in WAYS {
        bob.login(way, "correct horse").ok();
        let session = bob.overlay(&["whoami", "--json"]).ok().json();
        assert_eq!(session["caller"], "up=bob", "{session}");
        let said = bob.req("rpcutil", "ping").ok().json();
        assert_eq!(said["request_stats"]["ok"], 1, "{way:?}: {said}");
    }
    let logins = world.wait_for_records(2, |record| {
        record["data"]["login"]["user"] == "bob" && says(record, "up=bob", "allow")
    });
    let ways: Vec<_> = logins.iter().map(|record| &record["data"]["via"]).collect();
    assert_eq!(ways, ["http", "broker"], "{logins:?}");
    for login in &logins {
        let peer = login["data"]["peer"].as_str().unwrap();
        assert!(
            peer.contains("127.0.0.1") || peer.contains("::1"),
            "{login}"
        );
    }
    world.wait_for_records(2, |record| {
        record["data"]["rpc"]["action"] == "ping" && says(record, "up=bob", "allow")
    });
}

#[test]
fn a_wrong_password_gives_no_session_takes_none_away_and_is_on_record() {
    let world = World::with_signers(1, &[]);
    let bob = world.user("bob", "correct horse", &["--acl", "*"]);
    let _up = world.up();
    for way in WAYS {
        let said = bob.login(way, "wrong");
        assert_ne!(said.code, 0, "{said:?}");
        assert!(said.err.contains("Login failed"), "{said:?}");
        assert!(!bob.token().exists());
        let unknown = world.person("nobody").login(way, "wrong");
        assert_eq!(unknown.code, said.code);
        assert!(unknown.err.contains("Login failed"), "{unknown:?}");
    }
    bob.login(Way::Https, "correct horse").ok();
    let session = std::fs::read_to_string(bob.token()).unwrap();
    assert_ne!(bob.login(Way::Https, "wrong").code, 0);
    assert_eq!(std::fs::read_to_string(bob.token()).unwrap(), session);
    let refused = world.wait_for_records(5, |record| {
        record["data"]["login"].is_object() && record["data"]["action"] == "deny"
    });
    let of = |user: &str| {
        let named = |record: &&serde_json::Value| record["data"]["login"]["user"] == user;
        refused.iter().filter(named).count()
    };
    assert_eq!((of("bob"), of("nobody")), (3, 2), "{refused:?}");
}

#[test]
fn a_person_at_a_terminal_is_asked_and_the_password_is_not_shown() {
    let world = World::with_signers(1, &[]);
    let bob = world.user("bob", "correct horse", &["--acl", "rpcutil.*"]);
    let _up = world.up();
    let mut terminal = bob.at_terminal(&["login"]);
    // The name that the machine knows is offered.
    terminal.expect("bob", SOON);
    terminal.send("");
    terminal.expect("assword", SOON);
    terminal.send("correct horse");
    let (status, shown) = terminal.wait(SOON);
    assert!(status.success(), "{shown}");
    assert!(!shown.contains("correct horse"), "{shown}");
    assert!(bob.token().exists(), "{shown}");

    let mut terminal = bob.at_terminal(&["login", "--user", "bob", "--over", "broker"]);
    terminal.expect("assword", SOON);
    terminal.send("wrong");
    let (status, shown) = terminal.wait(SOON);
    assert!(
        !status.success() && shown.contains("Login failed"),
        "{shown}"
    );
    bob.overlay(&["whoami"]).ok();
    assert_eq!(bob.world().path(), world.path());
}

#[test]
fn a_session_that_was_ended_is_signed_for_no_more_by_any_signer() {
    let world = World::with_signers(2, &[]);
    let bob = world.user("bob", "correct horse", &["--acl", "rpcutil.*"]);
    let _up = world.up();
    world.wait_for_nodes(1);
    bob.login(Way::Https, "correct horse").ok();
    bob.req("rpcutil", "ping").ok();
    let kept = bob.home().join("stolen");
    std::fs::create_dir_all(&kept).unwrap();
    for file in ["client.jwt", "client.seed"] {
        std::fs::copy(
            bob.home().join(".config/overlay").join(file),
            kept.join(file),
        )
        .unwrap();
    }
    bob.overlay(&["logout"]).ok();
    // Whoever kept a copy of token and key has nothing.
    for file in ["client.jwt", "client.seed"] {
        std::fs::copy(
            kept.join(file),
            bob.home().join(".config/overlay").join(file),
        )
        .unwrap();
    }
    // Each signer hears of it within a moment; from then on none forgets it.
    overlay_testkit::eventually_blocking(SOON, Duration::from_millis(100), || {
        match bob.req("rpcutil", "ping").code {
            0 => Err("signed"),
            _ => Ok(()),
        }
    });
    for _ in 0..6 {
        assert_ne!(bob.req("rpcutil", "ping").code, 0);
    }
}

#[test]
fn wrong_passwords_at_one_signer_lock_the_door_of_the_other() {
    let world = World::with_signers(2, &[]);
    let bob = world.user("bob", "correct horse", &["--acl", "rpcutil.*"]);
    // Each signer reads the file: the lock outlasts what is tried below, on a machine of any speed.
    world.edit(
        "aaa-signer/aaa-signer.toml",
        "",
        "[login.limits]\nfirst_delay = \"5m\"",
    );
    let _up = world.up();
    world.wait_for_signer(1, true);
    world.wait_for_signer(2, true);
    let first = world.https_port();
    let at = |port: u16, password: &str| {
        let url = format!("https://localhost:{port}");
        let args = ["login", "--user", "bob", "--password-stdin", "--url", &url];
        crate::world::Said::given(&mut bob.command(&args), password)
    };
    at(first + 1, "correct horse").ok();
    for _ in 0..20 {
        assert_ne!(at(first, "wrong").code, 0);
    }
    let said = at(first + 1, "correct horse");
    assert_ne!(said.code, 0, "the other signer still lets bob in: {said:?}");
    let locked = world.wait_for_records(1, |record| {
        record["data"]["decision"]["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("lock"))
    });
    assert!(!locked.is_empty());
}

/// Whoever overhears a login cannot do it again, whichever signer it reaches.
#[tokio::test(flavor = "multi_thread")]
async fn the_proof_of_a_login_is_good_once_at_all_signers_together() {
    let world = World::with_signers(2, &[]);
    world.user("bob", "correct horse", &["--acl", "*"]);
    let _up = world.up();
    world.wait_for_signer(1, true);
    world.wait_for_signer(2, true);
    let key = overlay_tokens::Key::generate().unwrap();
    let public = key.public().to_string();
    let timestamp = now();
    let proof = format!("{timestamp}:bob:correct horse");
    let signature: String = key
        .sign(proof.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let login = serde_json::json!({
        "username": "bob", "password": "correct horse", "timestamp": timestamp.to_string(),
        "public_key": public, "signature": signature,
    });
    let (user, session) = (public.clone(), key.clone());
    let stranger = async_nats::ConnectOptions::with_auth_callback(move |nonce| {
        let (user, session) = (user.clone(), session.clone());
        async move {
            let mut auth = async_nats::Auth::new();
            auth.username = Some("login".to_owned());
            auth.password = Some(user);
            auth.signature = Some(session.sign(&nonce).to_vec());
            Ok(auth)
        }
    })
    .custom_inbox_prefix(format!("overlay.login.reply.{public}"))
    .add_root_certificates(world.dir().join("tls/ca.pem"))
    .connect(format!("tls://localhost:{}", world.port))
    .await
    .unwrap();
    let mut tokens = 0;
    // The broker chooses among the signers at random.
    for _ in 0..24 {
        let answer = stranger
            .request("overlay.login.v1.password", login.to_string().into())
            .await
            .unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&answer.payload).unwrap();
        assert!(
            answer["token"].is_string() || answer["error"] == "Login failed",
            "{answer}"
        );
        tokens += usize::from(answer["token"].is_string());
    }
    assert_eq!(tokens, 1);
    let records = world.wait_for_records(24, |record| record["data"]["login"]["user"] == "bob");
    let mut chains: Vec<_> = records
        .iter()
        .map(|record| record["chain"].to_string())
        .collect();
    chains.sort();
    chains.dedup();
    assert_eq!(chains.len(), 2, "both took part: {records:?}");
}

#[expect(clippy::disallowed_methods, reason = "a login is of now")]
fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_secs()
}
