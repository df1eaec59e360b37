//! The static users of a cell's broker can do their work and nothing else.
#![allow(
    clippy::unwrap_used,
    reason = "a helper that fails is a test that fails"
)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event};
use overlay_testkit::eventually;
use serde_json::{Value, json};

use crate::cell_run::up;
use crate::cell_support::{Place, has, succeeds};

const LIMIT: Duration = Duration::from_secs(20);
const PERIOD: Duration = Duration::from_millis(20);

/// A connection, and what the broker forbade it.
pub(crate) struct User {
    pub(crate) client: Client,
    forbidden: Arc<Mutex<Vec<String>>>,
}

impl User {
    async fn connect(place: &Place, key: &str) -> Self {
        Self::with(place, ConnectOptions::with_nkey(place.read(key))).await
    }

    pub(crate) async fn with(place: &Place, options: ConnectOptions) -> Self {
        let forbidden: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&forbidden);
        let client = options
            .add_root_certificates(place.path("tls/ca.pem"))
            .require_tls(true)
            .event_callback(move |event| {
                let seen = Arc::clone(&seen);
                async move {
                    if let Event::ServerError(error) = event {
                        seen.lock().unwrap().push(error.to_string());
                    }
                }
            })
            .connect(place.url())
            .await
            .unwrap();
        Self { client, forbidden }
    }

    /// Whether publishing to `subject` is forbidden: the broker's answer to a ping comes after its complaint.
    pub(crate) async fn may_not_publish(&self, subject: &str) {
        self.client
            .publish(subject.to_owned(), "{}".into())
            .await
            .unwrap();
        self.is_complained_of(subject).await;
    }

    pub(crate) async fn may_not_subscribe(&self, subject: &str) {
        let _subscription = self.client.subscribe(subject.to_owned()).await.unwrap();
        self.is_complained_of(subject).await;
    }

    async fn is_complained_of(&self, subject: &str) {
        self.client.flush().await.unwrap();
        let quoted = format!("\"{subject}\"");
        eventually(LIMIT, PERIOD, || async {
            let seen = self.forbidden.lock().unwrap();
            if seen
                .iter()
                .any(|line| line.contains("Permissions Violation") && line.contains(&quoted))
            {
                Ok(())
            } else {
                Err(format!("{subject} was not forbidden; seen: {seen:?}"))
            }
        })
        .await;
    }

    pub(crate) async fn api(&self, call: &str, body: &Value) -> Value {
        let subject = format!("$JS.API.{call}");
        let answer = self
            .client
            .request(subject, body.to_string().into())
            .await
            .unwrap();
        serde_json::from_slice(&answer.payload).unwrap()
    }
}

#[tokio::test]
async fn static_users_can_do_their_work_and_nothing_else() {
    if !has(
        "static_users_can_do_their_work_and_nothing_else",
        &["overlay-broker-auth"],
    ) {
        return;
    }
    let place = Place::new();
    succeeds(&place.init(&[]));
    let mut process = up(&place, &["--only", "nats-server"]);
    process.wait_for_line("ready: cell test is up", LIMIT);

    let streams = User::connect(&place, "broker-auth/streams.nk").await;
    for (stream, subject) in [
        ("CHORIA_EVENTS", "choria.lifecycle.>"),
        ("KV_CHORIA_LEADER_ELECTION", "$KV.CHORIA_LEADER_ELECTION.>"),
    ] {
        let config = json!({ "name": stream, "subjects": [subject] });
        for (call, body) in [
            ("CREATE", &config),
            ("UPDATE", &config),
            ("INFO", &json!({})),
        ] {
            let answer = streams.api(&format!("STREAM.{call}.{stream}"), body).await;
            assert!(answer["error"].is_null(), "{call} {stream}: {answer}");
        }
    }
    streams
        .client
        .publish("choria.lifecycle.event.refused.broker_auth", "{}".into())
        .await
        .unwrap();
    for subject in [
        "$JS.API.STREAM.DELETE.CHORIA_EVENTS",
        "$JS.API.STREAM.PURGE.CHORIA_EVENTS",
        "$JS.API.STREAM.CREATE.OTHER",
        "$JS.API.STREAM.MSG.GET.CHORIA_EVENTS",
        "choria.node.n1",
        "choria.broadcast.agent.rpcutil",
        "choria.lifecycle.event.startup.server",
        "$KV.OTHER.key",
        "$KV.CHORIA_LEADER_ELECTION.provisioner",
        "$JS.API.CONSUMER.CREATE.KV_CHORIA_LEADER_ELECTION.x",
    ] {
        streams.may_not_publish(subject).await;
    }
    for subject in [">", "choria.>", "choria.reply.>", "$JS.EVENT.>"] {
        streams.may_not_subscribe(subject).await;
    }

    let callout = User::connect(&place, "broker-auth/callout.nk").await;
    callout.may_not_publish("$SYS.REQ.SERVER.PING").await;
    callout.may_not_publish("choria.node.n1").await;
    callout.may_not_subscribe(">").await;
    callout.may_not_subscribe("$SYS.ACCOUNT.*.CONNECT").await;
    assert!(process.stop(LIMIT).success());
}
