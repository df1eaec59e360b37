use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::StreamExt as _;
use overlay_protocol::envelope::Limits;
use overlay_protocol::envelope::v2::{Reply, Request, SecureReply, Transport};
use overlay_protocol::id::Ksuid;
use overlay_protocol::lifecycle::Event;
use overlay_protocol::rpc::{RpcReply, RpcRequest, StatusCode};
use overlay_testkit::emulated::{AfterRestart, Behaviour, Fault, Fleet, Standing, Step};
use overlay_testkit::{Broker, eventually, mint};
use overlay_tokens::issue::{ProvisioningToken, ServerToken};
use overlay_tokens::{Key, PublicKey};
use serde_json::{Value, json};

use crate::{LIMIT, PERIOD};

const NODE: &str = "n00000.example.net";
const NONCE: &str = "6a6fd5a1a0a94c5a9f3c3a1d0c5ff06b";

/// What came back for one request.
#[derive(Debug)]
struct Heard {
    reply: Reply,
    body: Vec<u8>,
}

/// A provisioner by hand.
struct Provisioner {
    client: async_nats::Client,
    key: Key,
    sender: String,
    id: std::cell::Cell<u8>,
}

impl Provisioner {
    async fn new(broker: &Broker, sender: &str) -> Self {
        Self {
            client: async_nats::connect(broker.url()).await.unwrap(),
            key: mint::key(),
            sender: sender.to_owned(),
            id: std::cell::Cell::new(0),
        }
    }

    /// Asks, and yields all that came within a moment.
    async fn hear(&self, subject: &str, agent: &str, action: &str, data: Value) -> Vec<Heard> {
        self.id.set(self.id.get() + 1);
        let now = mint::now();
        let seconds = u64::try_from(now.secs).unwrap();
        let id = Ksuid::from_parts(seconds, [self.id.get(); 16])
            .unwrap()
            .to_string();
        let message = match agent {
            "discovery" => overlay_protocol::rpc::DISCOVERY_PING.to_vec(),
            _ => RpcRequest {
                agent: agent.to_owned(),
                action: action.to_owned(),
                data: data.as_object().unwrap().clone(),
            }
            .encode(),
        };
        let request = Request {
            message,
            id: id.clone(),
            sender: self.sender.clone(),
            caller: "provisioner=test".to_owned(),
            collective: "provisioning".to_owned(),
            agent: agent.to_owned(),
            ttl: Duration::from_secs(60),
            time_ns: now.as_nanos(),
            filter: None,
        };
        let secure = overlay_tokens::request::sign_request(request.encode(), &self.key, "a.b.c");
        let mut transport = Transport::new(secure.encode());
        let reply_to = format!("provisioning.reply.x.{id}");
        transport.reply = Some(reply_to.clone());
        let mut replies = self.client.subscribe(reply_to).await.unwrap();
        let payload = transport.encode();
        self.client
            .publish(subject.to_owned(), payload.into())
            .await
            .unwrap();
        let limits = Limits::default();
        let mut heard = Vec::new();
        // For the first one; then until it is quiet.
        let mut patience = Duration::from_millis(1500);
        while let Ok(Some(message)) = tokio::time::timeout(patience, replies.next()).await {
            patience = Duration::from_millis(500);
            let transport = Transport::decode(&message.payload, &limits).unwrap();
            let Ok(secure) = SecureReply::decode(&transport.data, &limits) else {
                continue;
            };
            let reply = Reply::decode(&secure.reply, &limits).unwrap();
            heard.push(Heard {
                body: reply.message.clone(),
                reply,
            });
        }
        heard
    }

    async fn ask(&self, action: &str, data: Value) -> RpcReply {
        let agent = match action {
            "inventory" => "rpcutil",
            _ => "choria_provision",
        };
        let subject = format!("provisioning.node.{NODE}");
        let heard = self.hear(&subject, agent, action, data).await;
        assert_eq!(heard.len(), 1, "{action}: {heard:?}");
        assert_eq!(heard[0].reply.sender, NODE);
        RpcReply::decode(&heard[0].body, &Limits::default()).unwrap()
    }
}

fn token(organisation: &mint::Organisation) -> String {
    organisation.provisioning(ProvisioningToken {
        token: "s3cret".to_owned().into(),
        urls: vec!["nats://127.0.0.1:4222".to_owned()],
        by_default: true,
        protocol_v2: true,
        validity: Duration::from_secs(3600),
        ..ProvisioningToken::default()
    })
}

async fn one(broker: &Broker, behaviour: Behaviour) -> Fleet {
    Fleet::builder(broker.port())
        .token(token(&mint::Organisation::new()))
        .count(1)
        .behaviour(behaviour)
        .start()
        .await
}

#[tokio::test]
async fn an_emulated_node_goes_the_whole_way_once_and_comes_back_as_a_member() {
    let broker = Broker::plain();
    let organisation = mint::Organisation::new();
    let provisioner = Provisioner::new(&broker, "one").await;
    let mut events = provisioner
        .client
        .subscribe("choria.lifecycle.>")
        .await
        .unwrap();
    provisioner.client.flush().await.unwrap();
    let back = AfterRestart::Member(Duration::from_millis(10));
    let fleet = one(&broker, Behaviour::default().after_restart(back)).await;
    assert_eq!(fleet.tally().connected, 1);
    fleet.announce().await;

    let secret = json!({ "token": "s3cret" });
    let jwt = provisioner.ask("jwt", secret.clone()).await;
    assert!(jwt.data["jwt"].as_str().unwrap().starts_with("ey"));
    let made = provisioner
        .ask("gen25519", json!({ "token": "s3cret", "nonce": NONCE }))
        .await;
    let public: PublicKey = made.data["public_key"].as_str().unwrap().parse().unwrap();
    let signature = hex::decode(made.data["signature"].as_str().unwrap()).unwrap();
    assert!(public.verify(NONCE.as_bytes(), &signature));
    let inventory = provisioner.ask("inventory", json!({})).await;
    assert_eq!(inventory.data["collectives"], json!(["provisioning"]));

    let refused = provisioner.ask("restart", secret.clone()).await;
    assert_eq!(
        refused.statuscode,
        StatusCode::Aborted,
        "nothing to restart with yet"
    );
    let membership = |identity: &str| {
        let token = ServerToken {
            identity: identity.to_owned(),
            public_key: Some(public),
            ..ServerToken::default()
        };
        json!({ "token": "s3cret", "config": "{\"a\":\"b\"}", "server_jwt": organisation.server(token).token })
    };
    let other = provisioner
        .ask("configure", membership("other.example.net"))
        .await;
    assert_eq!(
        other.statuscode,
        StatusCode::Aborted,
        "a token of another node"
    );
    let done = provisioner.ask("configure", membership(NODE)).await;
    assert_eq!(
        done.data["message"],
        "Wrote 2 lines to /etc/choria/server.conf"
    );
    provisioner.ask("restart", secret).await;
    eventually(LIMIT, PERIOD, || async { fleet.tally().members == 1 }).await;

    let seen = fleet.node(NODE);
    assert!(seen.is_enrolled_once(), "{seen:?}");
    assert_eq!(seen.standing, Standing::Member);
    assert_eq!(seen.settings()["a"], "b");
    let mut kinds = Vec::new();
    for _ in 0..4 {
        let event = events.next().await.unwrap();
        let event = Event::decode(&event.payload, &Limits::default()).unwrap();
        assert_eq!(event.identity, NODE);
        kinds.push(format!("{} {}", event.kind.type_name(), event.component));
    }
    let due = [
        "startup provision_mode_server",
        "provisioned provision_mode_server",
        "shutdown provision_mode_server",
        "startup server",
    ];
    assert_eq!(kinds, due);
}

#[tokio::test]
async fn lock_and_secret_keep_others_out() {
    let broker = Broker::plain();
    let brief = Duration::from_secs(5);
    let fleet = one(&broker, Behaviour::default().lock(brief)).await;
    let (one, two) = (
        Provisioner::new(&broker, "one").await,
        Provisioner::new(&broker, "two").await,
    );
    let wrong = one.ask("jwt", json!({ "token": "wrong" })).await;
    assert_eq!(wrong.statusmsg, "Incorrect provision token supplied");
    let late = two.ask("jwt", json!({ "token": "s3cret" })).await;
    assert_eq!(late.statusmsg, "Could not obtain provisioning lock");
    eventually(LIMIT, PERIOD, || async {
        let reply = two.ask("jwt", json!({ "token": "s3cret" })).await;
        (reply.statuscode == StatusCode::Ok).then_some(())
    })
    .await;
    let seen = fleet.node(NODE);
    assert!(
        seen.calls_of(Step::Jwt) >= 3 && seen.callers.len() == 2,
        "{seen:?}"
    );
}

#[tokio::test]
async fn each_fault_shows_in_what_the_provisioner_hears() {
    let broker = Broker::plain();
    let provisioner = Provisioner::new(&broker, "one").await;
    let subject = format!("provisioning.node.{NODE}");
    let hear = async |fault: Fault| {
        let fleet = one(&broker, Behaviour::default().fault_times(fault, 1)).await;
        let inputs = json!({ "token": "s3cret", "nonce": NONCE });
        let heard = provisioner
            .hear(&subject, "choria_provision", "gen25519", inputs.clone())
            .await;
        let again = provisioner
            .hear(&subject, "choria_provision", "gen25519", inputs)
            .await;
        (heard, again.len(), fleet.node(NODE))
    };
    let step = Step::Gen25519;
    for (fault, answers, afterwards) in [
        (Fault::Silent(step), 0, 1),
        (Fault::Loses(step), 0, 1),
        (Fault::VanishBefore(step), 0, 0),
        (Fault::VanishAfter(step), 1, 0),
        (Fault::Twice(step), 2, 1),
        (Fault::BadHash(step), 0, 1),
        (Fault::NotJson(step), 1, 1),
    ] {
        let (heard, again, _) = hear(fault.clone()).await;
        assert_eq!((heard.len(), again), (answers, afterwards), "{fault:?}");
    }
    let (heard, _, _) = hear(Fault::AsNode(step, "other".to_owned())).await;
    assert_eq!(heard[0].reply.sender, "other");
    let (heard, _, _) = hear(Fault::Lacks(step, "directory")).await;
    let body: Value = serde_json::from_slice(&heard[0].body).unwrap();
    assert!(body["data"]["public_key"].is_string() && body["data"]["directory"].is_null());
    let (heard, _, _) = hear(Fault::WrongSignature).await;
    let body: Value = serde_json::from_slice(&heard[0].body).unwrap();
    let public: PublicKey = body["data"]["public_key"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let signature = hex::decode(body["data"]["signature"].as_str().unwrap()).unwrap();
    assert!(!public.verify(NONCE.as_bytes(), &signature));
}

#[tokio::test]
async fn many_nodes_share_a_connection_and_all_answer_a_scan_but_the_dead() {
    let broker = Broker::plain();
    let provisioner = Provisioner::new(&broker, "one").await;
    let fleet = Fleet::builder(broker.port())
        .token(token(&mint::Organisation::new()))
        .count(100)
        .shared()
        .behave(|index, _| match index {
            7 => Behaviour::dead(),
            _ => Behaviour::default(),
        })
        .start()
        .await;
    assert_eq!(fleet.tally().connected, 1);
    let heard = provisioner
        .hear(
            "provisioning.broadcast.agent.discovery",
            "discovery",
            "",
            json!({}),
        )
        .await;
    let names: BTreeSet<&str> = heard
        .iter()
        .map(|heard| heard.reply.sender.as_str())
        .collect();
    assert_eq!((heard.len(), names.len()), (99, 99));
    assert!(!names.contains("n00007.example.net"));
    assert!(heard.iter().all(|heard| heard.body == b"pong"));
}

#[tokio::test]
async fn nodes_are_back_after_the_broker_was() {
    let mut broker = Broker::plain();
    let fleet = Fleet::builder(broker.port())
        .count(20)
        .reconnect(Duration::from_millis(50))
        .start()
        .await;
    broker.restart();
    eventually(LIMIT, PERIOD, || async {
        let tally = fleet.tally();
        tally.lost == 20 && tally.connected == 20
    })
    .await;
}

#[tokio::test]
async fn a_refused_login_is_told_with_the_brokers_words() {
    let broker = Broker::builder()
        .config("authorization { token: \"right\" }")
        .start();
    let fleet = Fleet::builder(broker.port())
        .token("wrong")
        .count(1)
        .start()
        .await;
    let Standing::Refused(words) = fleet.node(NODE).standing else {
        panic!("{:?}", fleet.node(NODE));
    };
    assert_eq!(words, "Authorization Violation");
}

#[tokio::test]
async fn members_from_the_start_answer_a_scan_with_their_signatures() {
    let broker = Broker::plain();
    let organisation = mint::Organisation::new();
    let issuers = organisation.issuers();
    let fleet = Fleet::builder(broker.port())
        .count(3)
        .members(move |name| {
            organisation.server(ServerToken {
                identity: name.to_owned(),
                ..ServerToken::default()
            })
        })
        .start()
        .await;
    assert_eq!(fleet.tally().members, 3);
    let client = async_nats::connect(broker.url()).await.unwrap();
    let mut replies = client.subscribe("choria.reply.x").await.unwrap();
    let request = Request {
        message: overlay_protocol::rpc::DISCOVERY_PING.to_vec(),
        id: "2ecvzXAzWRTIbJ5YMQTXGLJmC8V".to_owned(),
        sender: "operator".to_owned(),
        caller: "up=operator".to_owned(),
        collective: "choria".to_owned(),
        agent: "discovery".to_owned(),
        ttl: Duration::from_secs(60),
        time_ns: mint::now().as_nanos(),
        filter: None,
    };
    let secure = overlay_tokens::request::sign_request(request.encode(), &mint::key(), "a.b.c");
    let mut transport = Transport::new(secure.encode());
    transport.reply = Some("choria.reply.x".to_owned());
    client
        .publish(
            "choria.broadcast.agent.discovery",
            transport.encode().into(),
        )
        .await
        .unwrap();
    let limits = Limits::default();
    let mut names = BTreeSet::new();
    for _ in 0..3 {
        let message = replies.next().await.unwrap();
        let transport = Transport::decode(&message.payload, &limits).unwrap();
        let secure = SecureReply::decode(&transport.data, &limits).unwrap();
        let verified =
            overlay_tokens::request::verify_reply(&secure, &issuers, mint::now(), &limits, None)
                .unwrap();
        let overlay_tokens::request::ReplyTrust::Signed { identity } = verified.trust else {
            panic!("not signed: {:?}", verified.trust);
        };
        assert_eq!(identity, verified.reply.sender);
        names.insert(verified.reply.sender);
    }
    assert_eq!(names.len(), 3);
}
