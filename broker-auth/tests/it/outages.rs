//! The service down, slow, doubled, confused; the broker restarted and reloaded.

use std::time::Duration;

use overlay_testkit::{Broker, eventually_blocking};
use overlay_tokens::UnixTime;
use overlay_tokens::broker_jwt::{
    AccountKey, Permissions, UserJwt, decode_request, encode_response, encode_user,
};
use overlay_tokens::issue::ClientToken;

use crate::cell::{Cell, OFTEN, Parts, SOON};
use crate::login::{client, fleet, node, provisioning_token};
use crate::raw::{Connect, Raw};

#[test]
fn case_46_without_the_service_nobody_gets_in_and_nobody_is_thrown_out() {
    let mut cell = Cell::start();
    let connect = client(&cell.parts.organisation, fleet());
    let mut before = cell.login(&connect).unwrap();
    cell.service.process.kill();
    let started = tokio::time::Instant::now();
    assert_eq!(
        cell.login(&connect).map(|_| ()).unwrap_err(),
        "-ERR 'Authorization Violation'"
    );
    let waited = started.elapsed();
    assert!(
        (Duration::from_millis(1500)..Duration::from_secs(20)).contains(&waited),
        "{waited:?}"
    );
    assert!(before.may_publish("choria.node.x"));
    let _back = cell.parts.service(&[cell.broker.port()], "");
    cell.login(&connect).unwrap();
}

#[test]
fn case_47_two_instances_answer_each_login_once_and_one_is_enough() {
    let mut cell = Cell::start();
    let second = cell.parts.service(&[cell.broker.port()], "");
    let connect = client(&cell.parts.organisation, fleet());
    let allowed = "overlay_broker_auth_logins_allowed_total{role=\"client\"}";
    for _ in 0..40 {
        cell.login(&connect).unwrap();
    }
    let (first, other) = (cell.service.metric(allowed), second.metric(allowed));
    assert_eq!(first + other, 40.0);
    assert!(first > 0.0 && other > 0.0, "{first} and {other}");
    let log = cell.broker.log();
    assert!(!log.contains("Problem registering"), "{log}");
    cell.service.process.kill();
    // A request in the hands of the killed instance is lost, the next try is not.
    for _ in 0..20 {
        cell.login_soon(&connect);
    }
    assert!(second.metric(allowed) >= other + 19.0);
}

#[test]
fn a_stopped_service_answers_what_it_holds_and_leaves_the_rest_to_the_other() {
    let mut cell = Cell::start();
    let _second = cell.parts.service(&[cell.broker.port()], "");
    let connect = client(&cell.parts.organisation, fleet());
    std::thread::scope(|scope| {
        let logins = scope.spawn(|| {
            (0..60)
                .filter(|_| cell.parts.login(cell.broker.port(), &connect).is_ok())
                .count()
        });
        std::thread::sleep(Duration::from_millis(100));
        cell.service.process.terminate();
        assert_eq!(logins.join().unwrap(), 60);
    });
    assert!(cell.service.process.wait(SOON).success());
}

#[test]
fn requests_that_waited_too_long_are_dropped_and_the_next_are_answered() {
    let cell = Cell::start();
    let connect = client(&cell.parts.organisation, fleet());
    cell.login(&connect).unwrap();
    cell.service.process.pause();
    assert!(cell.login(&connect).is_err());
    // Three seconds more than the quickest request are too many, and on a busy machine that one waited as well.
    std::thread::sleep(Duration::from_secs(6));
    cell.service.process.unpause();
    let stale = "overlay_broker_auth_requests_unanswered_total{cause=\"stale\"}";
    eventually_blocking(SOON, OFTEN, || cell.service.metric(stale) >= 1.0);
    cell.login_soon(&connect);
}

#[test]
fn after_a_restart_of_the_broker_the_service_is_back_before_its_clients() {
    let mut cell = Cell::start();
    let connect = client(&cell.parts.organisation, fleet());
    cell.broker.restart();
    let started = tokio::time::Instant::now();
    cell.login_soon(&connect);
    assert!(
        started.elapsed() < Duration::from_secs(15),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_are_answered_while_the_streams_user_is_kept_out_and_events_wait_for_it() {
    let parts = Parts::new();
    let broker = Broker::builder()
        .tls(&parts.tls)
        .callout(&parts.keys)
        .start();
    let stranger = overlay_tokens::broker_jwt::UserKey::generate().unwrap();
    let seed = parts.secret("late.nk", &stranger.seed().unwrap());
    let streams = format!("[streams]\nseed_file = {:?}\n", seed.display().to_string());
    let mut service = parts.start_changed(&[broker.port()], &streams, |config| {
        config.replace("[callout]", "connect_limit = \"1s\"\n[callout]")
    });
    let part = format!("broker:broker-auth-{}-streams", service.admin);
    let status = |readiness: &serde_json::Value| readiness["parts"][&part].clone();
    let limit_is_over = "no broker reached";
    eventually_blocking(SOON, OFTEN, || {
        let text = overlay_testkit::http_get(service.admin, "/ready").map(|(_, text)| text);
        match text {
            Ok(text) if text.contains(limit_is_over) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    let connect = client(&parts.organisation, fleet());
    parts.login(broker.port(), &connect).unwrap();
    assert!(parts.login(broker.port(), &Connect::default()).is_err());
    let (code, readiness) = service.readiness();
    assert_eq!(
        (code, &status(&readiness)["status"]),
        (503, &serde_json::json!("down")),
        "{readiness}"
    );
    assert!(service.process.has_ended().is_none());

    parts.secret("late.nk", &parts.keys.streams.seed().unwrap());
    service.wait_until_ready();
    service
        .wait_for_metric(
            "overlay_broker_auth_refusals_told_total{how=\"published\"}",
            1.0,
        )
        .await;
}

#[test]
fn requests_that_come_unsealed_are_answered_and_counted() {
    let parts = Parts::new();
    let broker = Broker::builder()
        .tls(&parts.tls)
        .jetstream()
        .max_control_line(65_536)
        .config(parts.keys.config_unsealed())
        .start();
    let service = parts.service(&[broker.port()], "");
    let unsealed = "overlay_broker_auth_requests_unsealed_total";
    let before = service.metric(unsealed);
    assert!(before >= 1.0, "the trial login is the first");
    let connect = client(&parts.organisation, fleet());
    parts.login(broker.port(), &connect).unwrap();
    assert_eq!(service.metric(unsealed), before + 1.0);
    let log = service.process.stderr();
    assert_eq!(log.matches("come unsealed").count(), 1, "{log}");
}

#[test]
fn case_45_a_long_token_needs_a_longer_control_line_than_the_default() {
    let policy = "x".repeat(7_000);
    let token = |parts: &Parts| {
        let token = ClientToken {
            opa_policy: Some(policy.clone()),
            ..ClientToken::new("up=rip")
        };
        Connect::of(&parts.organisation.client(token))
    };
    let cell = Cell::start();
    cell.login(&token(&cell.parts)).unwrap();

    let parts = Parts::new();
    let broker = Broker::builder()
        .tls(&parts.tls)
        .jetstream()
        .config(parts.keys.config())
        .start();
    let _service = parts.service(&[broker.port()], "");
    let told = parts
        .login(broker.port(), &token(&parts))
        .map(|_| ())
        .unwrap_err();
    assert!(
        told.to_lowercase().contains("maximum control line"),
        "{told}"
    );
}

#[test]
fn case_38_without_tls_nobody_gets_in() {
    let parts = Parts::new();
    let broker = Broker::builder().callout(&parts.keys).start();
    let config = parts
        .config(&[broker.port()], 0, "")
        .replace("tls://", "nats://");
    let ca = format!(
        "ca_file = {:?}\n",
        parts.authority.ca_file().display().to_string()
    );
    let admin = overlay_testkit::free_port();
    let config = config.replace(&ca, "").replace(
        "listen = \"127.0.0.1:0\"",
        &format!("listen = \"127.0.0.1:{admin}\""),
    );
    let path = parts.dir.path().join("plain.toml");
    std::fs::write(&path, config).unwrap();
    let process = overlay_testkit::Process::builder(env!("CARGO_BIN_EXE_overlay-broker-auth"))
        .args(["--config".as_ref(), path.as_os_str()])
        .start();
    let service = crate::cell::Service { process, admin };
    service.wait_until_ready();
    let connect = client(&parts.organisation, fleet());
    assert!(Raw::plain(broker.port()).login(&connect).is_err());
    assert_eq!(service.refused("not_encrypted"), 1.0);
}

#[test]
fn case_51_a_static_user_that_is_not_listed_is_asked_about() {
    let parts = Parts::new();
    let unlisted = overlay_tokens::broker_jwt::UserKey::generate().unwrap();
    let listed = format!("nkey: \"{}\"\n", parts.keys.streams.public());
    let both = format!("{listed} }}\n{{ nkey: \"{}\"\n", unlisted.public());
    let config = parts.keys.config();
    assert!(config.contains(&listed), "{config}");
    let broker = Broker::builder()
        .tls(&parts.tls)
        .jetstream()
        .max_control_line(65_536)
        .config(config.replace(&listed, &both))
        .start();
    let service = parts.service(&[broker.port()], "");
    let seed = unlisted.seed().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let refused = runtime.block_on(async { parts.nkey(broker.port(), &seed).await.is_err() });
    assert!(refused);
    assert_eq!(service.refused("nothing_presented"), 1.0);
}

#[test]
fn case_53_a_reload_leaves_nobody_with_rights_that_its_token_no_longer_has() {
    let cell = Cell::start();
    let organisation = &cell.parts.organisation;
    let validity = Duration::from_secs(4);
    let short = ClientToken {
        validity,
        ..ClientToken::new("up=short")
    };
    let short = Connect::of(&organisation.client(short));
    let mut logins = vec![cell.login(&short).unwrap()];
    let connects = [
        client(organisation, fleet()),
        node(organisation, "n1"),
        Connect::token(&provisioning_token(organisation)),
    ];
    logins.extend(connects.iter().map(|connect| cell.login(connect).unwrap()));
    std::thread::sleep(validity);
    cell.broker.reload().unwrap();
    for mut login in logins {
        let told = login.until_closed();
        assert!(told.iter().all(|line| !line.starts_with("MSG")), "{told:?}");
    }
    for connect in &connects {
        cell.login_soon(connect);
    }
    assert!(cell.login(&short).is_err());
}

#[test]
fn any_server_of_a_cluster_asks_any_instance() {
    let parts = Parts::new();
    let cluster = Broker::builder()
        .name("b")
        .tls(&parts.tls)
        .callout(&parts.keys)
        .start_cluster();
    cluster.wait_for_jetstream();
    let ports: Vec<_> = cluster.brokers.iter().map(Broker::port).collect();
    let seed = parts.streams_seed();
    let streams = format!("[streams]\nseed_file = {seed}\nreplicas = 3\ninterval = \"1s\"\n");
    let one = parts.service(&ports[..1], &streams);
    let two = parts.service(&ports[1..2], &streams);
    let connect = client(&parts.organisation, fleet());
    for _ in 0..10 {
        for port in &ports {
            parts.login(*port, &connect).unwrap();
        }
    }
    let allowed = "overlay_broker_auth_logins_allowed_total{role=\"client\"}";
    let (one, two) = (one.metric(allowed), two.metric(allowed));
    assert_eq!(one + two, 30.0);
    assert!(one > 0.0 && two > 0.0, "{one} and {two}");
}

/// A service that answers each request in a wrong way must not let anybody in, whatever the way.
#[tokio::test(flavor = "multi_thread")]
async fn case_48_wrong_answers_let_nobody_in() {
    type Answer = fn(&CalloutParts<'_>) -> String;
    let ways: [(&str, Answer); 7] = [
        ("a good answer", |parts| {
            parts.response(Ok(&parts.user(
                &parts.request_nkey,
                parts.account,
                "choria",
            )))
        }),
        ("another user", |parts| {
            let other = overlay_tokens::broker_jwt::UserKey::generate().unwrap();
            parts.response(Ok(&parts.user(other.public(), parts.account, "choria")))
        }),
        ("for another server", |parts| {
            let other = overlay_tokens::broker_jwt::UserKey::generate().unwrap();
            let user = parts.user(&parts.request_nkey, parts.account, "choria");
            encode_response(
                Ok(&user),
                &parts.request_nkey,
                other.public(),
                parts.account,
                parts.now,
            )
            .unwrap()
        }),
        ("about another user", |parts| {
            let other = overlay_tokens::broker_jwt::UserKey::generate().unwrap();
            let user = parts.user(&parts.request_nkey, parts.account, "choria");
            encode_response(
                Ok(&user),
                other.public(),
                parts.server,
                parts.account,
                parts.now,
            )
            .unwrap()
        }),
        ("user signed by another key", |parts| {
            let other = AccountKey::generate().unwrap();
            parts.response(Ok(&parts.user(&parts.request_nkey, &other, "choria")))
        }),
        ("an account that does not exist", |parts| {
            parts.response(Ok(&parts.user(
                &parts.request_nkey,
                parts.account,
                "nowhere",
            )))
        }),
        ("a refusal", |parts| parts.response(Err("no"))),
    ];
    let parts = Parts::new();
    let broker = Broker::builder()
        .tls(&parts.tls)
        .jetstream()
        .max_control_line(65_536)
        .config(parts.keys.config_unsealed())
        .start();
    let callout = parts.callout(broker.port()).await;
    let mut requests = callout.subscribe("$SYS.REQ.USER.AUTH").await.unwrap();
    callout.flush().await.unwrap();
    for (way, answer) in ways {
        let connect = client(&parts.organisation, fleet());
        let raw = parts.open(broker.port());
        let login = tokio::task::spawn_blocking(move || raw.login(&connect).map(|_| ()));
        let request = tokio::time::timeout(SOON, futures_util::StreamExt::next(&mut requests))
            .await
            .unwrap()
            .unwrap();
        let now = overlay_testkit::mint::now();
        let asked = decode_request(&request.payload, parts.keys.account.public(), now).unwrap();
        // Case 44: what the broker tells of a client with a token only.
        assert!(asked.connect_opts.jwt.is_empty() && !asked.connect_opts.auth_token.is_empty());
        assert_eq!(asked.client_info.user, "[REDACTED]");
        assert!(!asked.connect_opts.sig.is_empty() && asked.client_info.nonce.len() == 15);
        let answer = answer(&CalloutParts {
            request_nkey: asked.user_nkey.clone(),
            server: &asked.server_id.id,
            account: &parts.keys.account,
            now,
        });
        callout
            .publish(request.reply.unwrap(), answer.into())
            .await
            .unwrap();
        let login = login.await.unwrap();
        assert_eq!(login.is_ok(), way == "a good answer", "{way}: {login:?}");
    }
}

struct CalloutParts<'a> {
    request_nkey: String,
    server: &'a str,
    account: &'a AccountKey,
    now: UnixTime,
}

impl CalloutParts<'_> {
    fn user(&self, subject: &str, issuer: &AccountKey, account: &str) -> String {
        let user = UserJwt {
            account: account.to_owned(),
            name: "x".to_owned(),
            expires: None,
            permissions: Permissions {
                pub_allow: vec!["x".to_owned()],
                sub_allow: vec!["x".to_owned()],
                ..Permissions::default()
            },
            ..UserJwt::default()
        };
        encode_user(&user, subject, issuer, self.now).unwrap()
    }

    fn response(&self, answer: Result<&str, &str>) -> String {
        encode_response(
            answer,
            &self.request_nkey,
            self.server,
            self.account,
            self.now,
        )
        .unwrap()
    }
}
