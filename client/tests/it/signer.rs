//! Requests that another signs: over the same connection, and by web services.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use overlay_client::connection::BrokerError;
use overlay_client::signer::{AnswerFault, Check};
use overlay_client::{
    Batches, Call, CallError, ConnectError, Fleet, Outcome, Question, SignerError, Suspicion,
    Target, Window,
};
use overlay_protocol::envelope::v2::Request;
use overlay_protocol::filter::Filter;
use overlay_protocol::rpc::RpcRequest;
use overlay_protocol::signing::{HttpSignRequest, HttpSignResponse};
use overlay_testkit::mint::{self, Authority, Login, Organisation};
use overlay_testkit::{Broker, eventually};
use overlay_tokens::Issuers;
use overlay_tokens::claims::ClientPermissions;
use overlay_tokens::issue::ClientToken;
use serde_json::Map;
use tempfile::TempDir;
use tokio::time::Instant;

use crate::cell;
use crate::fleet::{self, Node, node};
use crate::signer_host::{Habit, Order, Signatory, SignerHost};
use crate::web::{Asked, Does, Service};

const OVER_BROKER: &str = "[signer]\nservice = true\ntimeout = \"5s\"\n";

/// A broker with nodes and, mostly, a signer.
struct World {
    broker: Broker,
    organisation: Organisation,
    user: Login,
    nodes: fleet::Fleet,
    host: Option<SignerHost>,
    dir: TempDir,
}

/// A user who must be signed for.
fn user(organisation: &Organisation, name: &str, actions: &[&str]) -> Login {
    organisation.client(ClientToken {
        permissions: Some(ClientPermissions {
            signed_fleet_management: true,
            ..ClientPermissions::default()
        }),
        agents: actions.iter().map(|action| (*action).to_owned()).collect(),
        ..ClientToken::new(name)
    })
}

impl World {
    fn start(habit: Option<Habit>, nodes: Vec<Node>) -> Self {
        Self::of(Broker::plain(), habit, nodes, "up=bob")
    }

    fn of(broker: Broker, habit: Option<Habit>, nodes: Vec<Node>, name: &str) -> Self {
        let key = mint::key();
        let organisation = Organisation::with_key(key.clone());
        let user = user(&organisation, name, &["rpcutil.ping"]);
        let dir = tempfile::tempdir().unwrap();
        user.write(dir.path(), "client");
        let nodes = fleet::Fleet::start(&broker.url(), Organisation::with_key(key), nodes);
        let host = habit
            .map(|habit| SignerHost::start(&broker.url(), Signatory::new(&organisation, habit)));
        Self {
            broker,
            organisation,
            user,
            nodes,
            host,
            dir,
        }
    }

    async fn connect(&self, signer: &str) -> Fleet {
        self.try_connect(signer).await.unwrap()
    }

    async fn try_connect(&self, signer: &str) -> Result<Fleet, ConnectError> {
        let issuer = self.organisation.public();
        let text = format!("{signer}[issuers]\nchoria = \"{issuer}\"\n");
        let config = cell::load(self.dir.path(), &self.broker.url(), &text);
        Fleet::connect(config, "test").await
    }

    async fn connect_without_issuers(&self) -> Fleet {
        let config = cell::load(self.dir.path(), &self.broker.url(), OVER_BROKER);
        Fleet::connect(config, "test").await.unwrap()
    }

    fn orders(&self) -> Vec<Order> {
        self.host.as_ref().unwrap().orders()
    }

    fn requests_of_nodes(&self) -> usize {
        self.nodes.seen().len()
    }
}

fn ping(names: &[&str]) -> Call {
    Call {
        request: RpcRequest {
            agent: "rpcutil".to_owned(),
            action: "ping".to_owned(),
            data: Map::new(),
        },
        collective: None,
        target: Target::Nodes(names.iter().map(|name| name.parse().unwrap()).collect()),
        filter: Filter::default(),
        timeout: Duration::from_secs(5),
        batches: None,
    }
}

async fn call(fleet: &Fleet, names: &[&str]) -> Result<Outcome, SignerError> {
    match fleet.call(&ping(names), |_| {}).await {
        Ok(outcome) => Ok(outcome),
        Err(CallError::Signer(error)) => Err(error),
        Err(other) => panic!("{other:?}"),
    }
}

/// Signs what comes over HTTP.
fn web_signer(
    organisation: &Organisation,
    habit: Habit,
) -> impl Fn(&Asked) -> Does + Send + 'static {
    let signatory = Arc::new(Signatory::new(organisation, habit));
    move |asked| {
        let question: HttpSignRequest = serde_json::from_slice(&asked.body).unwrap();
        let answer = if habit == Habit::Denies {
            HttpSignResponse::refused("Request denied")
        } else {
            HttpSignResponse::signed(&signatory.sign(&question.request_bytes().unwrap()))
        };
        Does::Answer(200, serde_json::to_string(&answer).unwrap())
    }
}

fn by_web(urls: &[String]) -> String {
    format!("[signer]\nurls = {urls:?}\ntimeout = \"4s\"\n")
}

#[tokio::test]
async fn rpc_case_43_every_request_is_signed_over_the_same_connection_and_verifies_on_nodes() {
    let world = World::start(Some(Habit::Signs), vec![node("a"), node("b")]);
    let fleet = world.connect(OVER_BROKER).await;
    let question = Question {
        collective: None,
        filter: Filter::default(),
        window: Window::fixed(Duration::from_secs(5)),
        enough: Some(2),
    };
    let heard = fleet.ping(question, |_, _| {}).await.unwrap();
    assert_eq!(heard.nodes, ["a", "b"]);
    let outcome = call(&fleet, &["a", "b"]).await.unwrap();
    assert_eq!(outcome.answered, 2);

    let orders = world.orders();
    let agents: Vec<&str> = orders
        .iter()
        .map(|order| order.request.agent.as_str())
        .collect();
    assert_eq!(agents, ["discovery", "rpcutil"]);
    for order in &orders {
        assert_eq!(order.subject, "choria.broadcast.service.aaa_signer");
        assert_eq!(order.outer.signature, b"insecure");
        assert_eq!(order.outer.caller, world.user.token);
        assert_eq!(order.outer.signer, None);
        assert_eq!(order.outer_request.agent, "aaa_signer");
        assert_eq!(order.outer_request.caller, "up=bob");
        assert!(order.outer_request.filter.clone().unwrap().is_empty());
        assert_eq!(order.asked.token.expose(), world.user.token);
        let signature = hex(&order.asked.signature);
        let key = world.user.key.public();
        assert!(key.verify(order.asked.request.as_bytes(), &signature));
    }
    // One login for the caller, whatever is asked and signed.
    let connections: serde_json::Value = world.broker.monitoring("/connz?state=any");
    let mine: Vec<&str> = connections["connections"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|connection| connection["name"].as_str())
        .filter(|name| name.starts_with("up=bob"))
        .collect();
    assert_eq!(mine, ["up=bob-test"]);
}

fn hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

#[tokio::test]
async fn one_signature_is_made_for_each_message_published() {
    let nodes = ["a", "b", "c", "d", "e"];
    let world = World::start(Some(Habit::Signs), nodes.map(node).to_vec());
    let fleet = world.connect(OVER_BROKER).await;
    let outcome = call(&fleet, &nodes).await.unwrap();
    assert_eq!((outcome.answered, world.orders().len()), (5, 1));
    let in_portions = Call {
        batches: Some(Batches {
            size: 2,
            pause: Duration::from_millis(1),
        }),
        ..ping(&nodes)
    };
    let outcome = fleet.call(&in_portions, |_| {}).await.unwrap();
    assert_eq!((outcome.answered, world.orders().len()), (5, 4));
    let seen = world.orders();
    let ids: Vec<&str> = seen[1..]
        .iter()
        .map(|order| order.request.id.as_str())
        .collect();
    assert_eq!(ids, vec![outcome.id.to_string(); 3]);
}

#[tokio::test]
async fn rpc_case_45_a_caller_with_an_address_is_named_as_the_signer_writes_it() {
    let world = World::of(
        Broker::plain(),
        Some(Habit::Signs),
        vec![node("a")],
        "up=bob@example.com",
    );
    let fleet = world.connect(OVER_BROKER).await;
    // The nodes verify that the name in the request belongs to the token beside it.
    assert_eq!(call(&fleet, &["a"]).await.unwrap().answered, 1);
    assert_eq!(world.orders()[0].request.caller, "up=bob@example.com");
}

#[tokio::test]
async fn rpc_case_44_a_denial_is_told_with_what_the_own_token_says_and_nothing_is_sent() {
    let world = World::start(Some(Habit::Denies), vec![node("a")]);
    let fleet = world.connect(OVER_BROKER).await;
    let started = Instant::now();
    let error = call(&fleet, &["a"]).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(4));
    let SignerError::Denied {
        by,
        said,
        what,
        request,
        suspicion,
    } = error
    else {
        panic!("{error:?}")
    };
    assert_eq!(
        (by.as_str(), said.as_str()),
        ("aaa.example.net", "Request Denied")
    );
    assert_eq!(
        (what.as_str(), suspicion),
        ("rpcutil ping", Suspicion::None)
    );
    assert_eq!(request, world.orders()[0].request.id);
    assert_eq!(world.requests_of_nodes(), 0);
}

#[tokio::test]
async fn what_a_token_does_not_list_is_suspected() {
    for (actions, policy, expected) in [
        (vec!["puppet.*"], None, Suspicion::NotListed),
        (vec![], None, Suspicion::NothingAllowed),
        (vec!["*"], None, Suspicion::None),
        (vec!["rpcutil.*"], None, Suspicion::None),
        (vec![], Some("package io.choria.aaasvc"), Suspicion::Policy),
    ] {
        let world = World::start(Some(Habit::Denies), vec![]);
        let token = ClientToken {
            agents: actions.iter().map(|action| (*action).to_owned()).collect(),
            opa_policy: policy.map(str::to_owned),
            ..ClientToken::new("up=bob")
        };
        world
            .organisation
            .client(token)
            .write(world.dir.path(), "client");
        let fleet = world.connect(OVER_BROKER).await;
        let error = call(&fleet, &["a"]).await.unwrap_err();
        let SignerError::Denied { suspicion, .. } = error else {
            panic!("{error:?}")
        };
        assert_eq!(suspicion, expected, "{actions:?} {policy:?}");
    }
}

#[tokio::test]
async fn a_signed_request_that_differs_from_what_was_submitted_is_not_sent() {
    for member in [
        "message",
        "id",
        "sender",
        "collective",
        "agent",
        "ttl",
        "time",
        "filter",
    ] {
        let world = World::start(Some(Habit::Changes(member)), vec![node("a")]);
        let fleet = world.connect(OVER_BROKER).await;
        let error = call(&fleet, &["a"]).await.unwrap_err();
        assert!(
            matches!(&error, SignerError::Answer { source: AnswerFault::Changed(named), .. } if *named == member),
            "{member}: {error:?}"
        );
        assert_eq!(world.requests_of_nodes(), 0);
    }
}

#[tokio::test]
async fn an_answer_that_nodes_would_refuse_is_not_sent() {
    for habit in [
        Habit::NoDelegator,
        Habit::Unnamed,
        Habit::OtherKey,
        Habit::Empty,
        Habit::Unread,
    ] {
        let world = World::start(Some(habit), vec![node("a")]);
        let fleet = world.connect(OVER_BROKER).await;
        let error = call(&fleet, &["a"]).await.unwrap_err();
        let fits = match (habit, &error) {
            (Habit::Unread, SignerError::Denied { said, .. }) => said == "cannot be read",
            (_, SignerError::Answer { source, .. }) => matches!(
                (habit, source),
                (Habit::NoDelegator, AnswerFault::Untrusted(_))
                    | (Habit::Unnamed, AnswerFault::NoSigner)
                    | (Habit::OtherKey, AnswerFault::Signature)
                    | (Habit::Empty, AnswerFault::Decode(_))
            ),
            _ => false,
        };
        assert!(fits, "{habit:?}: {error:?}");
        assert_eq!(world.requests_of_nodes(), 0);
    }
}

#[tokio::test]
async fn without_issuers_the_signature_still_has_to_be_the_signers() {
    let world = World::start(Some(Habit::OtherKey), vec![node("a")]);
    let error = call(&world.connect_without_issuers().await, &["a"])
        .await
        .unwrap_err();
    assert!(
        matches!(
            &error,
            SignerError::Answer {
                source: AnswerFault::Signature,
                ..
            }
        ),
        "{error:?}"
    );
    let world = World::start(Some(Habit::Signs), vec![node("a")]);
    let outcome = call(&world.connect_without_issuers().await, &["a"]).await;
    assert_eq!(outcome.unwrap().answered, 1);
}

#[tokio::test]
async fn a_denial_of_somebody_else_does_not_count_when_the_signer_signs() {
    let world = World::start(Some(Habit::Contradicted), vec![node("a")]);
    let fleet = world.connect(OVER_BROKER).await;
    assert_eq!(call(&fleet, &["a"]).await.unwrap().answered, 1);
    let world = World::start(Some(Habit::DeniesUnsigned), vec![node("a")]);
    let fleet = world.connect(OVER_BROKER).await;
    let error = call(&fleet, &["a"]).await.unwrap_err();
    assert!(matches!(error, SignerError::Denied { .. }), "{error:?}");
}

#[tokio::test]
async fn aaa_case_44_a_signer_that_is_not_there_is_told_at_once() {
    let world = World::start(None, vec![]);
    // Somebody else listens to everything, which is not to host the service.
    let fleet = world.connect(OVER_BROKER).await;
    drop(world.nodes);
    let nobody_left = eventually(
        Duration::from_secs(30),
        Duration::from_millis(50),
        async || {
            let started = Instant::now();
            match call(&fleet, &["a"]).await {
                Err(SignerError::Nobody(asked)) => {
                    assert_eq!(asked, "choria.broadcast.service.aaa_signer");
                    assert!(started.elapsed() < Duration::from_secs(2));
                    true
                }
                // The broker has not noticed yet that the nodes are gone.
                Err(SignerError::Silent { .. }) => false,
                other => panic!("{other:?}"),
            }
        },
    );
    nobody_left.await;
}

#[tokio::test]
async fn a_signer_that_says_nothing_is_waited_for_up_to_the_limit() {
    let world = World::start(Some(Habit::Silent), vec![node("a")]);
    let fleet = world
        .connect("[signer]\nservice = true\ntimeout = \"400ms\"\n")
        .await;
    let error = call(&fleet, &["a"]).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "no signer answered on choria.broadcast.service.aaa_signer within 400ms"
    );
    assert_eq!(world.requests_of_nodes(), 0);
}

#[tokio::test]
async fn waiting_for_a_signer_can_be_ended() {
    let world = World::start(Some(Habit::Silent), vec![node("a")]);
    let fleet = world.connect(OVER_BROKER).await;
    let stop = async {
        let asked = async || !world.orders().is_empty();
        eventually(Duration::from_secs(20), Duration::from_millis(5), asked).await;
        fleet.stop().stop();
    };
    let (result, ()) = tokio::join!(call(&fleet, &["a"]), stop);
    let error = result.unwrap_err();
    assert!(matches!(error, SignerError::Interrupted), "{error:?}");
}

#[tokio::test]
async fn a_caller_who_may_not_ask_the_signer_is_told_at_once() {
    let users = r#"authorization { users = [
        {user: bob, password: secret, permissions: {publish: "nothing", subscribe: "*.reply.>"}}
    ] }"#;
    let broker = Broker::builder()
        .max_control_line(65_536)
        .config(users)
        .start();
    let dir = tempfile::tempdir().unwrap();
    user(&Organisation::new(), "up=bob", &[]).write(dir.path(), "client");
    std::fs::write(dir.path().join("password"), "secret\n").unwrap();
    let more = format!("user = \"bob\"\npassword_file = \"password\"\n{OVER_BROKER}");
    let config = cell::load(dir.path(), &broker.url(), &more);
    let fleet = Fleet::connect(config, "test").await.unwrap();
    let started = Instant::now();
    let error = call(&fleet, &["a"]).await.unwrap_err();
    assert!(
        matches!(&error, SignerError::Broker(BrokerError::NotAllowed(why)) if why.contains("aaa_signer")),
        "{error:?}"
    );
    assert!(started.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn the_signer_itself_is_asked_without_a_signature() {
    let world = World::start(Some(Habit::Signs), vec![]);
    let fleet = world.connect(OVER_BROKER).await;
    let body = overlay_protocol::signing::SignRequest {
        token: world.user.token.as_str().into(),
        request: String::from_utf8(
            Request {
                message: b"x".to_vec(),
                id: "x".to_owned(),
                sender: "x".to_owned(),
                caller: "up=bob".to_owned(),
                collective: "choria".to_owned(),
                agent: "rpcutil".to_owned(),
                ttl: Duration::from_secs(1),
                time_ns: 1,
                filter: None,
            }
            .encode(),
        )
        .unwrap(),
        signature: String::new(),
    };
    let ask = Call {
        request: RpcRequest {
            agent: "aaa_signer".to_owned(),
            action: "sign".to_owned(),
            data: body.to_data(),
        },
        target: Target::Service,
        ..ping(&[])
    };
    let outcome = fleet.call(&ask, |_| {}).await.unwrap();
    assert_eq!(outcome.answered, 1);
    let orders = world.orders();
    assert_eq!(orders.len(), 1, "nothing else was signed");
    assert_eq!(orders[0].outer.signature, b"insecure");
}

#[tokio::test]
async fn rpc_case_48_a_web_service_signs_as_well() {
    let world = World::start(None, vec![node("a")]);
    let service = Service::start(web_signer(&world.organisation, Habit::Signs));
    let fleet = world
        .connect(&by_web(&[service.url("/choria/v1/sign")]))
        .await;
    assert_eq!(call(&fleet, &["a"]).await.unwrap().answered, 1);
    let asked = service.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(
        (asked[0].method.as_str(), asked[0].path.as_str()),
        ("POST", "/choria/v1/sign")
    );
    assert_eq!(asked[0].content_type, "application/json");
    let question: HttpSignRequest = serde_json::from_slice(&asked[0].body).unwrap();
    assert_eq!(question.token.expose(), world.user.token);
    let signature = hex(&question.signature);
    let bytes = question.request_bytes().unwrap();
    assert!(world.user.key.public().verify(&bytes, &signature));
}

#[tokio::test]
async fn rpc_case_48_a_denial_of_a_web_service_is_final() {
    let world = World::start(None, vec![node("a")]);
    let denies = Service::start(web_signer(&world.organisation, Habit::Denies));
    let signs = Service::start(web_signer(&world.organisation, Habit::Signs));
    let fleet = world
        .connect(&by_web(&[denies.url("/sign"), signs.url("/sign")]))
        .await;
    let error = call(&fleet, &["a"]).await.unwrap_err();
    assert!(
        matches!(&error, SignerError::Denied { said, .. } if said == "Request denied"),
        "{error:?}"
    );
    assert_eq!(signs.asked().len(), 0);
    assert_eq!(world.requests_of_nodes(), 0);
}

#[tokio::test]
async fn web_services_that_are_down_broken_or_busy_are_passed_over() {
    let world = World::start(None, vec![node("a")]);
    let busy = Service::start(|_| Does::Answer(503, "busy".to_owned()));
    let hangs_up = Service::start(|_| Does::HangUp);
    let nonsense = Service::start(|_| Does::Answer(200, "<html>".to_owned()));
    let changes = Service::start(web_signer(&world.organisation, Habit::Changes("ttl")));
    let signs = Service::start(web_signer(&world.organisation, Habit::Signs));
    let bad: Vec<String> = [&busy, &hangs_up, &nonsense, &changes]
        .iter()
        .map(|service| service.url("/sign"))
        .chain(["http://127.0.0.1:1/sign".to_owned()])
        .collect();
    let mut urls = bad.clone();
    urls.push(signs.url("/sign"));
    let fleet = world.connect(&by_web(&urls)).await;
    assert_eq!(call(&fleet, &["a"]).await.unwrap().answered, 1);

    let fleet = world.connect(&by_web(&bad)).await;
    let error = call(&fleet, &["a"]).await.unwrap_err();
    let SignerError::Unreachable { tries } = &error else {
        panic!("{error:?}")
    };
    for (url, reason) in bad.iter().zip(&tries[..]) {
        assert!(reason.contains(url), "{url}: {reason}");
    }
    assert_eq!(tries.len(), 5);
    assert!(tries[0].contains("503: busy"), "{tries:?}");
}

#[tokio::test]
async fn a_web_service_that_says_nothing_costs_its_share_of_the_time() {
    let world = World::start(None, vec![node("a")]);
    let silent = Service::start(|_| Does::Nothing);
    let signs = Service::start(web_signer(&world.organisation, Habit::Signs));
    let urls = [silent.url("/sign"), signs.url("/sign")];
    let text = format!("[signer]\nurls = {urls:?}\ntimeout = \"1s\"\n");
    let fleet = world.connect(&text).await;
    assert_eq!(call(&fleet, &["a"]).await.unwrap().answered, 1);
}

#[tokio::test]
async fn the_certificate_of_a_web_service_is_verified_unless_told_otherwise() {
    let world = World::start(None, vec![node("a")]);
    let authority = Authority::new();
    let service = Service::start_tls(
        crate::web::tls(&authority.server("aaa", &[])),
        web_signer(&world.organisation, Habit::Signs),
    );
    let url = format!("https://localhost:{}/sign", service.port);
    let with = |more: &str| format!("[signer]\nurl = \"{url}\"\n{more}\n");
    let other = Authority::new();
    for untrusting in [String::new(), format!("ca_file = {:?}", other.ca_file())] {
        let fleet = world.connect(&with(&untrusting)).await;
        let error = call(&fleet, &["a"]).await.unwrap_err();
        assert!(error.to_string().contains("is not trusted"), "{error}");
        assert_eq!(service.asked().len(), 0);
    }
    for trusting in [
        format!("ca_file = {:?}", authority.ca_file()),
        "verify = false".to_owned(),
    ] {
        let fleet = world.connect(&with(&trusting)).await;
        assert_eq!(call(&fleet, &["a"]).await.unwrap().answered, 1);
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(256))]

    #[test]
    fn no_change_of_a_byte_makes_a_node_do_something_else(at in 0.0..1.0, to in proptest::prelude::any::<u8>()) {
        let (submitted, answer, token, issuers) = answered();
        let limits = overlay_protocol::envelope::Limits::default();
        let check = Check { submitted, token, issuers: Some(issuers), now: mint::now(), limits };
        let good = check.signed(answer).unwrap();
        let mut changed = answer.clone();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in the text")]
        let place = (at * changed.len() as f64) as usize;
        changed[place] = to;
        // The token of the caller is our own in any case. That of the signer was verified: the last letter of its signature
        // has bits that mean nothing, so the text may differ.
        if let Ok(signed) = check.signed(&changed) {
            proptest::prop_assert_eq!(&signed.request, &good.request);
            proptest::prop_assert_eq!(&signed.signature, &good.signature);
            proptest::prop_assert_eq!(&signed.caller, &good.caller);
        }
    }
}

type Answered = (Vec<u8>, Vec<u8>, String, Issuers);

/// A request and the answer of a good signer, the caller's token, and who is trusted.
fn answered() -> (
    &'static Vec<u8>,
    &'static Vec<u8>,
    &'static str,
    &'static Issuers,
) {
    static MADE: OnceLock<Answered> = OnceLock::new();
    let (submitted, answer, token, issuers) = MADE.get_or_init(|| {
        let organisation = Organisation::new();
        let caller = user(&organisation, "up=bob", &["*"]);
        let submitted = Request {
            message: b"x".to_vec(),
            id: "x".to_owned(),
            sender: "desk".to_owned(),
            caller: "up=bob".to_owned(),
            collective: "choria".to_owned(),
            agent: "rpcutil".to_owned(),
            ttl: Duration::from_secs(60),
            time_ns: mint::now().as_nanos(),
            filter: Some(Filter::default()),
        }
        .encode();
        let answer = Signatory::new(&organisation, Habit::Signs).sign(&submitted);
        (submitted, answer, caller.token, organisation.issuers())
    });
    (submitted, answer, token, issuers)
}
