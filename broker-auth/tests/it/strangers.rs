//! People who have yet to log in, the service that they talk to, and the readers of its record: a real broker with the
//! accounts of a generated cell.

use std::time::Duration;

use async_nats::jetstream::{self, kv, stream};
use futures_util::StreamExt as _;
use overlay_protocol::id::md5_hex;
use overlay_testkit::eventually_blocking;
use overlay_testkit::mint::key;
use overlay_tokens::Key;
use overlay_tokens::claims::ClientPermissions;
use serde_json::{Value, json};

use crate::cell::{Cell, OFTEN, SOON};
use crate::login::{client, fleet};
use crate::provision::VETTED;
use crate::raw::{Connect, Raw};

const ROOM: &str = "[login]\n";
const VERSIONS: [Option<&str>; 2] = [Some("2.12"), None];

fn stranger(key: &Key) -> Connect {
    Connect::named()
        .user("login", &key.public().to_string())
        .signed_by(key)
}

fn viewer() -> ClientPermissions {
    ClientPermissions {
        audit_viewer: true,
        ..ClientPermissions::default()
    }
}

/// The signer's user, with its stream and its bucket.
async fn signer(cell: &Cell) -> async_nats::Client {
    let client = cell.nkey(&cell.parts.keys.aaa.seed().unwrap()).await;
    let jetstream = jetstream::new(client.clone());
    let audit = stream::Config {
        name: "AAA_AUDIT".to_owned(),
        subjects: vec!["overlay.audit.aaa.>".to_owned()],
        allow_direct: true,
        deny_delete: true,
        deny_purge: true,
        ..stream::Config::default()
    };
    jetstream.create_stream(audit).await.unwrap();
    let logins = kv::Config {
        bucket: "AAA_LOGINS".to_owned(),
        limit_markers: Some(Duration::from_secs(1)),
        ..kv::Config::default()
    };
    jetstream.create_key_value(logins).await.unwrap();
    client
}

fn of_version(version: Option<&str>) -> Cell {
    Cell::of_accounts_and_version(|keys| keys.cell_config(VETTED), ROOM, version)
}

#[test]
fn a_stranger_hears_nothing_but_answers_to_its_own_key_and_speaks_to_nobody_but_the_login_service()
{
    let cell = Cell::of_overlay(VETTED, ROOM);
    let (own, other) = (key(), key());
    let mut stranger_at = cell.login(&stranger(&own)).unwrap();
    assert!(stranger_at.may_subscribe(&format!("overlay.login.reply.{}.>", own.public())));
    assert!(stranger_at.may_publish("overlay.login.v1.methods"));
    for subject in [
        ">".to_owned(),
        "*.>".to_owned(),
        "overlay.>".to_owned(),
        "overlay.login.>".to_owned(),
        "overlay.login.v1.*".to_owned(),
        "overlay.login.v1.password".to_owned(),
        "overlay.login.reply.>".to_owned(),
        "overlay.login.reply.*.x".to_owned(),
        format!("overlay.login.reply.{}.>", other.public()),
        format!("overlay.login.reply.{}.x", other.public()),
        "overlay.audit.aaa.>".to_owned(),
        "_INBOX.>".to_owned(),
        "_R_.>".to_owned(),
        "$JS.>".to_owned(),
        "$KV.>".to_owned(),
        "$SRV.>".to_owned(),
        "$SYS.>".to_owned(),
        "choria.>".to_owned(),
        "*.node.*".to_owned(),
    ] {
        assert!(!stranger_at.may_subscribe(&subject), "{subject}");
    }
    for subject in [
        "overlay.login.v1.password.x",
        "overlay.login.reply.x",
        "overlay.audit.aaa.aaa-1",
        "overlay.audit.api.STREAM.INFO.AAA_AUDIT",
        "$JS.API.INFO",
        "$JS.API.STREAM.INFO.AAA_AUDIT",
        "$JS.API.DIRECT.GET.AAA_AUDIT",
        "$KV.AAA_LOGINS.lock.bob",
        "$SRV.PING",
        "$SYS.REQ.USER.INFO",
        "choria.broadcast.service.aaa_signer",
        "choria.broadcast.agent.discovery",
        "choria.lifecycle.event.startup.server",
        "_R_.a.b",
        "_INBOX.x",
    ] {
        assert!(!stranger_at.may_publish(subject), "{subject}");
    }
}

#[test]
fn a_stranger_that_does_not_hold_the_key_is_refused_and_told_why_in_the_log() {
    let cell = Cell::of_overlay(VETTED, ROOM);
    let refused = |connect: &Connect, reason: &str| {
        let before = cell.service.refused(reason);
        assert!(cell.login(connect).is_err(), "{reason}");
        assert_eq!(cell.service.refused(reason), before + 1.0, "{reason}");
    };
    let own = key();
    let public = own.public().to_string();
    let named = Connect::named();
    refused(&named.clone().user("login", &public), "nonce_not_signed");
    refused(
        &named.clone().user("login", &public).signed_by(&key()),
        "nonce_signature_wrong",
    );
    refused(&named.user("login", "secret").signed_by(&own), "login_key");
    let off = Cell::of_overlay(VETTED, "");
    assert!(off.login(&stranger(&own)).is_err());
    assert_eq!(off.service.refused("login_off"), 1.0);
}

#[test]
fn the_connection_of_a_stranger_ends_soon() {
    let cell = Cell::of_overlay(VETTED, "[login]\nduration = \"4s\"\n");
    let told = cell.login(&stranger(&key())).unwrap().until_closed();
    assert!(
        told.iter()
            .any(|line| line.contains("User Authentication Expired")),
        "{told:?}"
    );
}

/// What the login service makes of it: where an answer goes is the broker's to say, and so is from where a request came.
#[tokio::test(flavor = "multi_thread")]
async fn the_broker_says_who_asks_and_where_the_answer_goes() {
    for version in VERSIONS {
        let cell = of_version(version);
        let signer = signer(&cell).await;
        let mut requests = signer.subscribe("overlay.login.v1.*").await.unwrap();
        signer.flush().await.unwrap();
        let own = key();
        let mut asking = cell.login(&stranger(&own)).unwrap();
        let inbox = format!("overlay.login.reply.{}.1", own.public());
        asking.send(&format!("SUB {inbox} 1\r\n"));
        // A reply that the signer could publish to, and headers that only the broker writes.
        let forged = "NATS/1.0\r\nNats-Request-Info: {\"host\":\"192.0.2.1\"}\r\n\r\n";
        for reply in ["$KV.AAA_LOGINS.lock.bob", "overlay.audit.aaa.aaa-1", &inbox] {
            let payload = "{}";
            asking.send(&format!(
                "HPUB overlay.login.v1.password {reply} {} {}\r\n{forged}{payload}\r\n",
                forged.len(),
                forged.len() + payload.len()
            ));
            let request = requests.next().await.unwrap();
            let answer = request.reply.clone().unwrap();
            assert!(answer.starts_with("_R_."), "{answer}");
            let headers = request.headers.as_ref().unwrap();
            let info: Vec<_> = headers.get_all("Nats-Request-Info").collect();
            assert_eq!(info.len(), 1, "{info:?}");
            let info: Value = serde_json::from_str(info[0].as_str()).unwrap();
            assert_eq!(info["host"], "127.0.0.1", "{info}");
            signer.publish(answer, "answer".into()).await.unwrap();
            signer.flush().await.unwrap();
        }
        let (subject, _, payload) = asking.message();
        assert_eq!(
            (subject.as_str(), payload.as_str()),
            (inbox.as_str(), "answer")
        );
        let bucket = jetstream::new(signer.clone())
            .get_key_value("AAA_LOGINS")
            .await
            .unwrap();
        assert!(bucket.entry("lock.bob").await.unwrap().is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_of_the_audit_get_single_records_batches_and_the_live_tail() {
    for version in VERSIONS {
        let cell = of_version(version);
        let signer = signer(&cell).await;
        let jetstream = jetstream::new(signer.clone());
        let write = async |text: &'static str| {
            let published = jetstream.publish("overlay.audit.aaa.aaa-1", text.into());
            published.await.unwrap().await.unwrap();
        };
        for text in ["one", "two", "three"] {
            write(text).await;
        }
        let login = client(&cell.parts.organisation, viewer());
        let mut reader = cell.login(&login).unwrap();
        let inbox = format!("choria.reply.{}.1", md5_hex("up=rip"));
        let info = reader.request("overlay.audit.api.STREAM.INFO.AAA_AUDIT", &inbox, "");
        let info: Value = serde_json::from_str(&info).unwrap();
        assert_eq!(info["state"]["messages"], 3, "{info}");
        reader.send(&format!("SUB {inbox} 2\r\n"));
        let ask =
            json!({ "batch": 10, "seq": 1, "next_by_subj": "overlay.audit.aaa.>" }).to_string();
        reader.publish("overlay.audit.api.DIRECT.GET.AAA_AUDIT", &inbox, &ask);
        for text in ["one", "two", "three", ""] {
            assert_eq!(reader.message().2, text);
        }
        let last = "overlay.audit.api.DIRECT.GET.AAA_AUDIT.overlay.audit.aaa.aaa-1";
        reader.publish(last, &inbox, "");
        assert_eq!(reader.message().2, "three");
        reader.send("SUB overlay.audit.aaa.> 3\r\n");
        reader.told();
        write("four").await;
        let (subject, _, payload) = reader.message();
        assert_eq!(
            (subject.as_str(), payload.as_str()),
            ("overlay.audit.aaa.aaa-1", "four")
        );
        for subject in [
            "overlay.audit.aaa.aaa-1",
            "overlay.audit.api.STREAM.PURGE.AAA_AUDIT",
            "overlay.audit.api.STREAM.MSG.DELETE.AAA_AUDIT",
            "$JS.API.STREAM.INFO.AAA_AUDIT",
        ] {
            assert!(!reader.may_publish(subject), "{subject}");
        }
        // Nobody else in the fleet's account.
        let mut operator = cell
            .login(&client(
                &cell.parts.organisation,
                ClientPermissions {
                    streams_user: true,
                    events_viewer: true,
                    ..fleet()
                },
            ))
            .unwrap();
        assert!(!operator.may_subscribe("overlay.audit.aaa.>"));
        assert!(!operator.may_subscribe("overlay.audit.>"));
        assert!(!operator.may_publish("overlay.audit.api.DIRECT.GET.AAA_AUDIT"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_signer_can_neither_remove_nor_empty_its_record() {
    let cell = Cell::of_overlay(VETTED, ROOM);
    let signer = signer(&cell).await;
    let jetstream = jetstream::new(signer.clone());
    let mut audit = jetstream.get_stream("AAA_AUDIT").await.unwrap();
    let sent = jetstream.publish("overlay.audit.aaa.aaa-1", "one".into());
    sent.await.unwrap().await.unwrap();
    for subject in [
        "$JS.API.STREAM.DELETE.AAA_AUDIT",
        "$JS.API.STREAM.PURGE.AAA_AUDIT",
        "$JS.API.STREAM.MSG.DELETE.AAA_AUDIT",
        "$JS.API.STREAM.DELETE.KV_AAA_LOGINS",
        "$JS.API.STREAM.CREATE.OTHER",
        "$JS.API.CONSUMER.CREATE.AAA_AUDIT",
        "choria.broadcast.agent.shell",
    ] {
        signer
            .publish(subject, r#"{"seq":1}"#.into())
            .await
            .unwrap();
    }
    // other limits would drop records as well as a purge
    let sent = jetstream.publish("overlay.audit.aaa.aaa-1", "two".into());
    sent.await.unwrap().await.unwrap();
    let mut config = audit.cached_info().config.clone();
    config.max_messages = 1;
    config.discard = stream::DiscardPolicy::Old;
    let payload = serde_json::to_vec(&config).unwrap();
    signer
        .publish("$JS.API.STREAM.UPDATE.AAA_AUDIT", payload.into())
        .await
        .unwrap();
    signer.flush().await.unwrap();
    assert_eq!(audit.info().await.unwrap().state.messages, 2);
    assert!(audit.cached_info().config.max_messages <= 0);
}

/// However many strangers come, the signer and the fleet find their place.
#[test]
fn a_flood_of_strangers_fills_its_own_account_only() {
    let cell = Cell::of_accounts(
        |keys| {
            keys.cell_config(VETTED)
                .replace("max_connections: 2000", "max_connections: 3")
        },
        ROOM,
    );
    let strangers: Vec<Result<Raw, String>> =
        (0..6).map(|_| cell.login(&stranger(&key()))).collect();
    assert_eq!(strangers.iter().filter(|login| login.is_ok()).count(), 3);
    cell.login(&client(&cell.parts.organisation, fleet()))
        .unwrap();
    let seed = cell.parts.keys.aaa.seed().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async { cell.nkey(&seed).await.flush().await.unwrap() });
    drop(strangers);
    eventually_blocking(SOON, OFTEN, || cell.login(&stranger(&key())));
}
