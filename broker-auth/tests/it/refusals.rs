//! How refusals are told: log, metrics, events; and what bad input in the account of the callouts does.

use std::time::Duration;

use async_nats::jetstream;
use futures_util::StreamExt as _;
use overlay_protocol::json::Limits;
use overlay_protocol::lifecycle::{Event, EventKind};
use overlay_protocol::subject;
use overlay_runtime::{Clock, Context, FileConfig as _, config};
use overlay_testkit::{Broker, eventually};
use overlay_tokens::broker_jwt::{CurveKey, UserKey};
use overlay_tokens::issue::ClientToken;

use crate::cell::{self, Cell, OFTEN, Parts, SOON};
use crate::login::{client, fleet};
use crate::raw::Connect;

#[tokio::test]
async fn a_refusal_is_an_event_with_whom_why_and_from_where() {
    let cell = Cell::start();
    let streams = cell.streams().await;
    let mut events = streams.subscribe(subject::REFUSALS).await.unwrap();
    cell::settle(&streams).await;
    let connect = client(&cell.parts.organisation, fleet());
    cell.login(&Connect::token(&connect.token))
        .map(|_| ())
        .unwrap_err();
    let message = tokio::time::timeout(SOON, events.next())
        .await
        .unwrap()
        .unwrap();
    let event = Event::decode(&message.payload, &Limits::default()).unwrap();
    assert_eq!(event.identity, "up=rip");
    let EventKind::Refused(refusal) = event.kind else {
        panic!("{event:?}")
    };
    assert_eq!(refusal.reason, "nonce_not_signed");
    assert!(
        refusal.message.contains("did not sign"),
        "{}",
        refusal.message
    );
    assert_eq!(
        (
            refusal.purpose.as_deref(),
            refusal.organisation.as_deref(),
            refusal.client_host.as_deref()
        ),
        (Some("choria_client_id"), Some("choria"), Some("127.0.0.1"))
    );
    assert_eq!(
        (
            refusal.client_name.as_deref(),
            refusal.server_name.as_deref()
        ),
        (Some("raw"), Some("testkit"))
    );

    let context = jetstream::new(streams);
    let mut stored = context.get_stream("CHORIA_EVENTS").await.unwrap();
    assert_eq!(stored.info().await.unwrap().state.messages, 1);
    let log = cell.service.process.stderr();
    let line = log
        .lines()
        .find(|line| line.contains("login refused"))
        .unwrap();
    for part in [
        "nonce_not_signed",
        "up=rip",
        "choria_client_id",
        "127.0.0.1",
        "raw",
        "testkit",
    ] {
        assert!(line.contains(part), "{part} not in {line}");
    }
    assert!(!log.contains(&connect.token));
}

#[tokio::test]
async fn a_storm_of_refusals_is_summed_up_and_slows_nobody_down() {
    let cell = Cell::with(
        |builder| builder,
        "[refusals]\nper_second = 2\nsummary = \"1s\"\n",
    );
    let streams = cell.streams().await;
    let mut events = streams.subscribe(subject::REFUSALS).await.unwrap();
    cell::settle(&streams).await;
    let started = tokio::time::Instant::now();
    for _ in 0..60 {
        cell.login(&Connect::token("not a token"))
            .map(|_| ())
            .unwrap_err();
    }
    // Two at once, and two more in each second that the storm took and was told of.
    let most = 6 + 2 * started.elapsed().as_secs();
    cell.login(&client(&cell.parts.organisation, fleet()))
        .unwrap();
    assert_eq!(cell.service.refused("token_malformed"), 60.0);
    let (mut single, mut summed) = (0, 0);
    while single + summed < 60 {
        let message = tokio::time::timeout(SOON, events.next())
            .await
            .unwrap()
            .unwrap();
        let event = Event::decode(&message.payload, &Limits::default()).unwrap();
        let EventKind::Refused(refusal) = event.kind else {
            panic!("{event:?}")
        };
        if refusal.reason == "summary" {
            summed += refusal
                .message
                .split(' ')
                .next()
                .unwrap()
                .parse::<u64>()
                .unwrap();
        } else {
            single += 1;
        }
    }
    assert_eq!(single + summed, 60);
    assert!(
        single <= most,
        "{single} told one by one, {summed} summed up"
    );
}

#[tokio::test]
async fn a_wrong_curve_key_keeps_the_service_from_being_ready_and_says_so() {
    let parts = Parts::new();
    let broker = Broker::builder()
        .tls(&parts.tls)
        .callout(&parts.keys)
        .start();
    let other = CurveKey::generate().unwrap();
    parts.secret("curve.nk", &other.seed().unwrap());
    let admin = overlay_testkit::free_port();
    let text = parts
        .config(&[broker.port()], admin, "")
        .replace(&format!("xkey = \"{}\"\n", parts.keys.curve.public()), "");
    let path = parts.dir.path().join("wrong.toml");
    std::fs::write(&path, text).unwrap();
    let mut process = overlay_testkit::Process::builder(env!("CARGO_BIN_EXE_overlay-broker-auth"))
        .args(["--config".as_ref(), path.as_os_str()])
        .start();
    process.wait_for_line("trial login was not answered", SOON);
    process.wait_for_line("request not read", SOON);
    let service = cell::Service { process, admin };
    let (_, text) = overlay_testkit::http_get(admin, "/ready").unwrap();
    let (code, readiness) = service.readiness();
    assert_eq!(code, 503);
    assert_eq!(readiness["parts"]["self-check"]["status"], "down", "{text}");
}

#[test]
fn a_wrong_key_that_the_file_admits_is_a_fault_before_the_start() {
    let parts = Parts::new();
    let other = CurveKey::generate().unwrap();
    parts.secret("curve.nk", &other.seed().unwrap());
    let path = parts.dir.path().join("wrong.toml");
    std::fs::write(&path, parts.config(&[4222], 0, "")).unwrap();
    let mut process = overlay_testkit::Process::builder(env!("CARGO_BIN_EXE_overlay-broker-auth"))
        .args(["--check".as_ref(), "--config".as_ref(), path.as_os_str()])
        .start();
    assert_eq!(process.wait(SOON).code(), Some(78));
    let told = process.stderr();
    assert!(
        told.contains("callout.curve_seed_file") && told.contains(parts.keys.curve.public()),
        "{told}"
    );
}

#[tokio::test]
async fn a_broker_that_asks_nobody_is_refused_by_the_service() {
    let parts = Parts::new();
    let broker = Broker::builder().tls(&parts.tls).jetstream().start();
    let text = parts.config(
        &[broker.port()],
        overlay_testkit::free_port(),
        "# no streams",
    );
    let path = parts.dir.path().join("open.toml");
    std::fs::write(&path, text).unwrap();
    let mut process = overlay_testkit::Process::builder(env!("CARGO_BIN_EXE_overlay-broker-auth"))
        .args(["--config".as_ref(), path.as_os_str()])
        .start();
    process.wait_for_line("without asking", SOON);
    assert!(!process.wait(SOON).success());
}

#[tokio::test]
async fn malformed_requests_in_the_account_of_the_callouts_are_counted_and_change_nothing() {
    let parts = Parts::new();
    // The broker lets nobody publish callouts in their account; a careless import from another account would.
    let intruder = UserKey::generate().unwrap();
    let import = r#"auth { imports: [ { stream: { account: elsewhere, subject: callouts }, to: "$SYS.REQ.USER.AUTH" } ]"#;
    let elsewhere = format!(
        "accounts {{ elsewhere {{ exports: [ {{ stream: callouts }} ], users: [ {{ nkey: \"{}\" }} ] }}\n",
        intruder.public()
    );
    let config = parts
        .keys
        .config()
        .replacen("  auth {\n", &format!("  {import}\n"), 1)
        .replacen("accounts {\n", &elsewhere, 1)
        .replacen(
            "auth_users: [",
            &format!("auth_users: [ \"{}\",", intruder.public()),
            1,
        );
    let broker = Broker::builder()
        .tls(&parts.tls)
        .jetstream()
        .max_control_line(65_536)
        .config(config)
        .start();
    let service = parts.service(&[broker.port()], "");
    let intruder = parts
        .nkey(broker.port(), &intruder.seed().unwrap())
        .await
        .unwrap();
    let bad: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"{}".to_vec(),
        b"a.b.c".to_vec(),
        b"xkv1".to_vec(),
        vec![0xff; 5000],
        vec![b'.'; 5000],
        b"eyJ0eXAiOiJKV1QiLCJhbGciOiJlZDI1NTE5LW5rZXkifQ.bnVsbA.AAAA".to_vec(),
        [
            b"eyJ0eXAiOiJKV1QiLCJhbGciOiJlZDI1NTE5LW5rZXkifQ.".to_vec(),
            vec![b'W'; 300_000],
        ]
        .concat(),
    ];
    for payload in &bad {
        for sealer in [
            None,
            Some(""),
            Some(parts.keys.curve.public()),
            Some("XNOKEY"),
        ] {
            let mut headers = async_nats::HeaderMap::new();
            if let Some(sealer) = sealer {
                headers.insert("Nats-Server-Xkey", sealer);
            }
            intruder
                .publish_with_reply_and_headers(
                    "callouts",
                    "_INBOX.intruder",
                    headers,
                    payload.clone().into(),
                )
                .await
                .unwrap();
        }
        intruder
            .publish("callouts", payload.clone().into())
            .await
            .unwrap();
    }
    intruder.flush().await.unwrap();
    let unreadable = "overlay_broker_auth_requests_unanswered_total{cause=\"unreadable\"}";
    let no_reply = "overlay_broker_auth_requests_unanswered_total{cause=\"no_reply\"}";
    service.wait_for_metric(unreadable, 4.0 * 8.0).await;
    service.wait_for_metric(no_reply, 8.0).await;
    assert_eq!(
        service.metric("overlay_broker_auth_requests_unanswered_total{cause=\"panic\"}"),
        0.0
    );
    parts
        .login(broker.port(), &client(&parts.organisation, fleet()))
        .unwrap();
}

/// A service whose clock is wrong by minutes: it answers, says whose clock differs, and judges tokens by its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_wrong_by_minutes_is_told_and_refusals_name_the_cause() {
    let parts = Parts::new();
    let broker = Broker::builder()
        .tls(&parts.tls)
        .callout(&parts.keys)
        .start();
    let text = parts.config(
        &[broker.port()],
        overlay_testkit::free_port(),
        "# no streams",
    );
    for (minutes, reason) in [(-10_i64, "token_not_yet_valid"), (10, "token_expired")] {
        let config = config::load_text::<overlay_broker_auth::Config>(&text)
            .unwrap()
            .config;
        let mut cx = Context::new().unwrap();
        let shift = Duration::from_secs(minutes.unsigned_abs() * 60);
        let now = std::time::SystemTime::UNIX_EPOCH
            + Duration::from_secs(u64::try_from(overlay_testkit::mint::now().secs).unwrap());
        cx.clock = Clock::manual(if minutes < 0 {
            now - shift
        } else {
            now + shift
        });
        cx.nats = Some(
            cx.connector
                .connect(&config.runtime().broker.unwrap())
                .await
                .unwrap(),
        );
        let (registry, shutdown, nats) = (
            cx.registry.clone(),
            cx.shutdown.clone(),
            cx.nats.clone().unwrap(),
        );
        overlay_broker_auth::run(config, cx).await.unwrap();
        let series = |name: &str| {
            let text = overlay_runtime::metrics::text(&registry).unwrap();
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok())
                .unwrap_or_default()
        };
        let token = ClientToken {
            validity: Duration::from_secs(300),
            ..ClientToken::new("up=rip")
        };
        let connect = Connect::of(&parts.organisation.client(token));
        let raw = parts.open(broker.port());
        let told = tokio::task::spawn_blocking(move || raw.login(&connect).map(|_| ()))
            .await
            .unwrap();
        told.unwrap_err();
        let refused = format!("overlay_broker_auth_logins_refused_total{{reason=\"{reason}\"}}");
        eventually(SOON, OFTEN, || async { series(&refused) >= 1.0 }).await;
        let behind = series("overlay_broker_auth_clock_difference_seconds");
        let expected = f64::from(i32::try_from(minutes * 60).unwrap());
        assert!(
            (behind - expected).abs() < 60.0,
            "{behind} s, about {expected} s expected"
        );
        shutdown.cancel();
        // Whether the service's tasks or this end the connection is all the same.
        drop(nats.drain().await);
    }
}

#[tokio::test]
async fn an_answer_that_the_broker_does_not_take_is_told_as_a_fault_of_the_configuration() {
    let cell = Cell::with(|builder| builder, "[accounts]\nchoria = \"nowhere\"\n");
    cell.login(&client(&cell.parts.organisation, fleet()))
        .map(|_| ())
        .unwrap_err();
    cell.service
        .wait_for_metric("overlay_broker_auth_answers_not_taken_total", 1.0)
        .await;
    // Our own refusals are heard of, too, and are no such fault.
    cell.login(&Connect::named()).map(|_| ()).unwrap_err();
    cell.service
        .wait_for_metric(
            "overlay_broker_auth_logins_refused_total{reason=\"nothing_presented\"}",
            1.0,
        )
        .await;
    assert_eq!(
        cell.service
            .metric("overlay_broker_auth_answers_not_taken_total"),
        1.0
    );
    let log = cell.service.process.stderr();
    assert!(log.contains("did not take our answer"), "{log}");
}
