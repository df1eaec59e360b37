//! The RPC agent on a real broker, whose logins the cell's own service decides.

use std::time::Duration;

use futures_util::StreamExt as _;
use overlay_protocol::audit::{Decision, Record};
use overlay_protocol::envelope::Limits;
use overlay_protocol::envelope::v2::Request;
use overlay_protocol::id::md5_hex;
use overlay_protocol::signing::HttpSignRequest;
use overlay_testkit::mint::{self, Organisation};
use overlay_testkit::{eventually, free_port};
use overlay_tokens::claims::ClientPermissions;
use overlay_tokens::issue::ClientToken;
use overlay_tokens::request::{RequestPolicy, verify_request};

use crate::caller::{Answer, Caller, Message, SUBJECT, inputs, request};
use crate::cell::{Cell, OFTEN, SOON, post};

const BOB: &str = "up=bob";

/// All records of the stream.
async fn records(cell: &Cell) -> Vec<Record> {
    let client = cell.records().await;
    let jetstream = async_nats::jetstream::new(client);
    let stream = jetstream.get_stream("AAA_AUDIT").await.unwrap();
    let mut records = Vec::new();
    let last = stream.cached_info().state.last_sequence;
    for sequence in 1..=last {
        let Ok(message) = stream.direct_get(sequence).await else {
            continue;
        };
        for line in message.payload.split(|byte| *byte == b'\n') {
            if !line.is_empty() {
                records.push(Record::decode(line).unwrap());
            }
        }
    }
    records
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aaa_case_21_23_40_and_42_requests_are_signed_and_recorded_or_denied_and_recorded() {
    let cell = Cell::start();
    let service = cell.signer("aaa-1.example.net");
    let bob = cell.parts.user(BOB, &["rpcutil.ping"]);
    let mut caller = Caller::new(cell.client(&bob).await, &bob, BOB).await;

    let mut asked = request("up=alice", "rpcutil", "ping");
    let answer = caller.sign(&asked).await;
    let mut secure = answer.signed();
    secure.caller.clone_from(&bob.token);
    let issuers = cell.parts.organisation.issuers();
    let verified =
        verify_request(&secure, &issuers, mint::now(), &RequestPolicy::default()).unwrap();
    asked.caller = BOB.to_owned();
    assert_eq!(verified.request, asked);
    assert!(verified.delegator.is_some());
    assert_eq!(answer.reply.sender, "aaa-1.example.net");
    assert!(answer.secure.signature.is_some() && answer.secure.sender.is_some());

    let denied = caller.sign(&request(BOB, "package", "install")).await;
    assert!(denied.is_denied(), "{denied:?}");

    let records = records(&cell).await;
    let signatures: Vec<_> = records
        .iter()
        .filter(|record| record.data.rpc.is_some())
        .map(|record| {
            let data = &record.data;
            let rpc = data.rpc.as_ref().unwrap();
            let token = data.token.as_ref().unwrap();
            (
                data.action,
                rpc.agent.as_str(),
                rpc.action.as_str(),
                token.verified,
                data.via.as_str(),
            )
        })
        .collect();
    assert_eq!(
        signatures,
        [
            (Some(Decision::Allow), "rpcutil", "ping", true, "rpc"),
            (Some(Decision::Deny), "package", "install", true, "rpc"),
        ]
    );
    let recorded = records[1].data.request.as_ref().unwrap().get();
    let recorded = Request::decode(recorded.as_bytes(), &Limits::default()).unwrap();
    assert_eq!(recorded.caller, BOB);
    let allowed = service.metric("choria_aaa_signer_allowed{signer=\"basicjwt\",site=\"test\"}");
    assert!((allowed - 1.0).abs() < f64::EPSILON, "{allowed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rpc_case_43_and_aaa_case_41_whatever_is_asked_is_answered_with_a_text() {
    let cell = Cell::start();
    let service = cell.signer("aaa-1.example.net");
    let bob = cell.parts.user(BOB, &["*"]);
    let mut caller = Caller::new(cell.client(&bob).await, &bob, BOB).await;
    for body in [
        "hello",
        "[]",
        "{}",
        r#"{"agent":"aaa_signer","action":"login","data":{"username":"bob"}}"#,
        r#"{"agent":"aaa_signer","action":"sign","data":{"request":{"a":1}}}"#,
        r#"{"agent":"aaa_signer","action":"sign","data":{"request":"{\"protocol\":\"choria:request:1\",\"message\":\"{}\",\"envelope\":null}","token":"x","signature":"y"}}"#,
    ] {
        let message = Message::new(&bob, BOB, body.as_bytes().to_vec());
        let answer = caller.ask(&message).await;
        assert_eq!(answer.secure_request(), "", "{body}");
    }
    // Silence is for what does not say where answers go, and it costs nothing.
    for payload in [b"hello".to_vec(), b"{}".to_vec(), vec![0xff; 600_000]] {
        caller.send(payload).await;
    }
    service
        .wait_for_metric("overlay_aaa_rpc_dropped_total{cause=\"unreadable\"}", 3.0)
        .await;
    let answer = caller.sign(&request(BOB, "rpcutil", "ping")).await;
    assert!(!answer.secure_request().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aaa_case_27_and_63_forged_and_foreign_tokens_are_denied_on_the_wire_counted_and_marked() {
    let cell = Cell::start();
    let service = cell.signer("aaa-1.example.net");
    let bob = cell.parts.user(BOB, &["rpcutil.ping"]);
    let mut caller = Caller::new(cell.client(&bob).await, &bob, BOB).await;
    let forged = Organisation::new()
        .chain(ClientToken::new("aaa_chain_issuer"))
        .client(ClientToken {
            agents: vec!["*".to_owned()],
            ..ClientToken::new("up=admin")
        });
    let asked = request("up=admin", "rpcutil", "ping").encode();
    let answer = caller
        .ask(&Message::sign(&bob, BOB, &inputs(&forged, &asked)))
        .await;
    assert!(answer.is_denied(), "{answer:?}");
    // A good token, and somebody else's signature.
    let mut stolen = inputs(&bob, &asked);
    stolen.signature = hex::encode(forged.key.sign(&asked));
    let answer = caller.ask(&Message::sign(&bob, BOB, &stolen)).await;
    assert!(answer.is_denied(), "{answer:?}");
    let records = records(&cell).await;
    let proved: Vec<_> = records
        .iter()
        .filter_map(|record| Some((record.data.action?, record.data.token.as_ref()?.verified)))
        .collect();
    assert_eq!(proved, [(Decision::Deny, false), (Decision::Deny, true)]);
    for (name, expected) in [("invalid_token", 1.0), ("denied", 2.0), ("allowed", 0.0)] {
        let series = format!("choria_aaa_signer_{name}{{signer=\"basicjwt\",site=\"test\"}}");
        let counted = service.metric(&series);
        assert!(
            (counted - expected).abs() < f64::EPSILON,
            "{name}: {counted}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aaa_case_43_two_instances_share_the_work_and_each_request_has_one_answer() {
    let cell = Cell::start();
    let services = [
        cell.signer("aaa-1.example.net"),
        cell.signer("aaa-2.example.net"),
    ];
    let bob = cell.parts.user(BOB, &["*"]);
    let mut caller = Caller::new(cell.client(&bob).await, &bob, BOB).await;
    const REQUESTS: usize = 60;
    for _ in 0..REQUESTS {
        let asked = request(BOB, "rpcutil", "ping").encode();
        let message = Message::sign(&bob, BOB, &inputs(&bob, &asked));
        caller.send(message.encode()).await;
    }
    let mut senders = std::collections::BTreeMap::new();
    let mut requests = std::collections::BTreeSet::new();
    for _ in 0..REQUESTS {
        let answer = caller.answer().await;
        assert!(!answer.secure_request().is_empty());
        assert!(
            requests.insert(answer.reply.request.clone()),
            "answered twice"
        );
        *senders.entry(answer.reply.sender.clone()).or_insert(0) += 1;
    }
    assert_eq!(senders.len(), services.len(), "{senders:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_is_answered_however_many_ask_at_once() {
    let cell = Cell::start();
    let more = cell.parts.signer("in_flight = 64");
    let service = cell.service("aaa-1.example.net", &more);
    let bob = cell.parts.user(BOB, &["*"]);
    let client = cell.client(&bob).await;
    let mut replies = client
        .subscribe(format!("choria.reply.{}.>", md5_hex(BOB)))
        .await
        .unwrap();
    const REQUESTS: usize = 512;
    for _ in 0..REQUESTS {
        let asked = request(BOB, "rpcutil", "ping").encode();
        let message = Message::sign(&bob, BOB, &inputs(&bob, &asked));
        client
            .publish(SUBJECT, message.encode().into())
            .await
            .unwrap();
    }
    client.flush().await.unwrap();
    let (mut signed, mut denied) = (0, 0);
    for heard in 0..REQUESTS {
        let message = tokio::time::timeout(Duration::from_secs(20), replies.next()).await;
        let message = message.unwrap_or_else(|_| panic!("{heard} answers of {REQUESTS}"));
        let answer = Answer::read(&message.unwrap().payload);
        if answer.is_denied() {
            denied += 1;
        } else {
            assert!(!answer.secure_request().is_empty());
            signed += 1;
        }
    }
    assert!(signed > 0, "{signed} signed, {denied} denied");
    let busy = service.metric("overlay_aaa_requests_total{outcome=\"busy\",via=\"rpc\"}");
    assert!(
        (busy - f64::from(denied)).abs() < f64::EPSILON,
        "{busy} of {denied}"
    );
    let in_flight = service.metric("overlay_aaa_requests_in_flight");
    assert!(in_flight.abs() < f64::EPSILON, "{in_flight}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aaa_case_65_what_is_in_flight_at_the_end_is_answered_and_recorded() {
    let cell = Cell::start();
    let mut service = cell.signer("aaa-1.example.net");
    let bob = cell.parts.user(BOB, &["*"]);
    let mut caller = Caller::new(cell.client(&bob).await, &bob, BOB).await;
    let viewer = cell.parts.user_with("up=viewer", |token| {
        token.permissions = Some(ClientPermissions {
            events_viewer: true,
            ..ClientPermissions::default()
        });
    });
    let viewer = cell.client(&viewer).await;
    let mut events = viewer.subscribe("choria.lifecycle.event.>").await.unwrap();
    viewer.flush().await.unwrap();
    const REQUESTS: usize = 100;
    caller.send_many(REQUESTS).await;
    // The first answer says that the host has begun.
    drop(caller.answer().await);
    let status = service.process.stop(SOON);
    assert_eq!(status.code(), Some(0), "{}", service.process.stderr());
    let mut answered = 1;
    while let Ok(Some(_)) = tokio::time::timeout(Duration::from_secs(2), async {
        Some(caller.answer().await)
    })
    .await
    {
        answered += 1;
        if answered == REQUESTS {
            break;
        }
    }
    let event = tokio::time::timeout(SOON, events.next()).await;
    let subject = event.expect("the end is told").unwrap().subject;
    assert_eq!(
        subject.as_str(),
        "choria.lifecycle.event.shutdown.service_host"
    );
    let records = records(&cell).await;
    let allowed = records
        .iter()
        .filter(|record| record.data.action == Some(Decision::Allow))
        .count();
    assert_eq!(
        allowed, answered,
        "what was signed was answered, and nothing else"
    );
    let last = records.last().unwrap().kind;
    assert_eq!(last, overlay_protocol::audit::Kind::Closed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_read_again_whole_or_the_ones_before_stay() {
    let cell = Cell::start();
    let service = cell.signer("aaa-1.example.net");
    let bob = cell.parts.user(BOB, &["*"]);
    let mut caller = Caller::new(cell.client(&bob).await, &bob, BOB).await;
    let before = caller.sign(&request(BOB, "rpcutil", "ping")).await.signed();
    let dir = cell.parts.dir.path();

    // A client that is no delegator is refused; what was there before signs on.
    cell.parts.delegator(false).write(dir, "signer");
    service
        .wait_for_metric("overlay_aaa_key_reloads_total{outcome=\"refused\"}", 1.0)
        .await;
    let still = caller.sign(&request(BOB, "rpcutil", "ping")).await.signed();
    assert_eq!(still.signer, before.signer);

    let renewed = cell.parts.delegator(true);
    renewed.write(dir, "signer");
    service
        .wait_for_metric("overlay_aaa_key_reloads_total{outcome=\"read\"}", 1.0)
        .await;
    let after = caller.sign(&request(BOB, "rpcutil", "ping")).await.signed();
    assert_eq!(after.signer.as_deref(), Some(renewed.token.as_str()));
    assert!(
        renewed
            .key
            .public()
            .verify(&after.request, &after.signature)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aaa_case_61_nothing_is_signed_without_a_record_and_signing_goes_on_afterwards() {
    let mut cell = Cell::start();
    let more = format!("[audit]\nlimit = \"1s\"\n{}", cell.parts.signer(""));
    let service = cell.service("aaa-1.example.net", &more);
    let bob = cell.parts.user(BOB, &["*"]);
    {
        let mut caller = Caller::new(cell.client(&bob).await, &bob, BOB).await;
        assert!(
            !caller
                .sign(&request(BOB, "rpcutil", "ping"))
                .await
                .is_denied()
        );
    }
    // HTTP needs no broker, but its record does.
    cell.broker.stop();
    let asked = request(BOB, "rpcutil", "ping").encode();
    let body = HttpSignRequest::new(
        bob.token.as_str().into(),
        &asked,
        hex::encode(bob.key.sign(&asked)),
    );
    let body = serde_json::to_vec(&body).unwrap();
    let (status, answer) = post(service.http, "/choria/v1/sign", &body).unwrap();
    assert_eq!(
        (status, answer.as_slice()),
        (200, &b"{\"error\":\"Request denied\"}\n"[..])
    );
    let refused = service.metric("overlay_aaa_requests_total{outcome=\"audit\",via=\"http\"}");
    assert!((refused - 1.0).abs() < f64::EPSILON, "{refused}");
    cell.broker.start_again();
    // The client that asked is gone with the broker; a new one is served as soon as both connections are back.
    eventually(SOON, OFTEN, || async {
        let client = cell
            .try_client(&bob)
            .await
            .map_err(|error| error.to_string())?;
        let mut caller = Caller::new(client, &bob, BOB).await;
        let asked = request(BOB, "rpcutil", "ping").encode();
        let message = Message::sign(&bob, BOB, &inputs(&bob, &asked));
        caller.send(message.encode()).await;
        match tokio::time::timeout(Duration::from_secs(5), caller.answer()).await {
            Ok(answer) if !answer.is_denied() => Ok(()),
            Ok(_) => Err("denied".to_owned()),
            Err(_) => Err("no answer".to_owned()),
        }
    })
    .await;
    drop(service);
    let records = records(&cell).await;
    let allowed = records
        .iter()
        .filter(|record| record.data.action == Some(Decision::Allow))
        .count();
    assert!(allowed >= 2, "{allowed}");
}

#[test]
fn aaa_case_47_and_64_keys_that_cannot_do_their_work_keep_the_service_from_starting() {
    let cell = Cell::start();
    let starts = |identity: &str, text: &dyn Fn(String) -> String| {
        let (admin, http) = (free_port(), free_port());
        let config = text(cell.config(identity, admin, http, &cell.parts.signer("")));
        let mut service = cell.parts.start(admin, http, &config);
        let status = service.process.wait(SOON);
        (status.code(), service.process.stderr())
    };
    let same = |text: String| text;
    cell.parts
        .delegator(false)
        .write(cell.parts.dir.path(), "signer");
    let (code, text) = starts("aaa-1.example.net", &same);
    assert_eq!(code, Some(78), "{text}");
    assert!(text.contains("authentication_delegator"), "{text}");

    cell.parts
        .delegator(true)
        .write(cell.parts.dir.path(), "signer");
    let (code, text) = starts("aaa-1.example.net", &|text| {
        text.replace("signer.seed", "login.seed")
    });
    assert_eq!(code, Some(78), "{text}");
    assert!(text.contains("signer.token_file"), "{text}");

    let (code, text) = starts("aaa-1.example.net", &|text| {
        text.replace("aaa-1.example.net.jwt", "nobody.jwt")
    });
    assert_eq!(code, Some(78), "{text}");
    assert!(text.contains("identity.token_file"), "{text}");

    let (code, text) = starts("aaa-1.example.net", &|text| {
        cell.parts.host("aaa-1.example.net", false);
        text
    });
    assert_eq!(code, Some(78), "{text}");
    assert!(text.contains("service_host"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_signed_once_the_stream_is_full() {
    let cell = Cell::start();
    let more = format!(
        "max_bytes = 1048576\n[audit]\nlimit = \"2s\"\n{}",
        cell.parts.signer("")
    );
    let service = cell.service("aaa-1.example.net", &more);
    let bob = cell.parts.user(BOB, &["*"]);
    let mut caller = Caller::new(cell.client(&bob).await, &bob, BOB).await;
    let (mut signed, mut denied) = (0, 0);
    // A record is larger than the request in it; a few hundred fill the stream.
    for _ in 0..40 {
        const BURST: usize = 50;
        caller.send_many(BURST).await;
        for _ in 0..BURST {
            if caller.answer().await.is_denied() {
                denied += 1;
            } else {
                signed += 1;
            }
        }
        if denied > 0 {
            break;
        }
    }
    assert!(signed > 0 && denied > 0, "{signed} signed, {denied} denied");
    let refused = service.metric("overlay_aaa_requests_total{outcome=\"audit\",via=\"rpc\"}");
    assert!(
        (refused - f64::from(denied)).abs() < f64::EPSILON,
        "{refused} of {denied}"
    );
    let recorded = records(&cell)
        .await
        .iter()
        .filter(|record| record.data.action == Some(Decision::Allow))
        .count();
    assert!(
        recorded >= usize::try_from(signed).unwrap(),
        "{recorded} records of {signed}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_that_never_end_or_are_none_deny_and_hold_nobody_up() {
    let cell = Cell::start();
    let more = format!(
        "{}\n[policy]\ntime_limit = \"200ms\"\n",
        cell.parts.signer("")
    );
    let _service = cell.service("aaa-1.example.net", &more);
    let endless = "package io.choria.aaasvc\nimport rego.v1\ndefault allow := false\n\
        allow if { some a, b, c in numbers.range(1, 1000); a * b * c == -1 }\n\
        allow if { count([x | some x in numbers.range(1, 3000); some y in numbers.range(1, 3000); x == -y]) > 1 }\n";
    let bob = cell.parts.user(BOB, &["*"]);
    let client = cell.client(&bob).await;
    let mut caller = Caller::new(client, &bob, BOB).await;
    // Small to keep, and endless to compare: the clock is not looked at within that.
    let doubled = |name: &str| {
        let steps = (1..60).map(|n| format!("{name}{n} := [{name}{m}, {name}{m}]\n", m = n - 1));
        format!("{name}0 := [1]\n{}", steps.collect::<String>())
    };
    let shared = format!(
        "package io.choria.aaasvc\nimport rego.v1\n{}{}allow if x59 == y59\n",
        doubled("x"),
        doubled("y")
    );
    let none = ["package io.choria.aaasvc\nallow {", "hello"];
    for policy in [endless, &shared, none[0], none[1]] {
        let user = cell.parts.user_with("up=slow", |token| {
            token.opa_policy = Some(policy.to_owned());
        });
        let asked = request("up=slow", "rpcutil", "ping").encode();
        let message = Message::sign(&bob, BOB, &inputs(&user, &asked));
        let began = tokio::time::Instant::now();
        assert!(caller.ask(&message).await.is_denied(), "{policy}");
        assert!(began.elapsed() < Duration::from_secs(20), "{policy}");
    }
    assert!(
        !caller
            .sign(&request(BOB, "rpcutil", "ping"))
            .await
            .is_denied()
    );
    let last = records(&cell).await;
    let reasons: Vec<_> = last
        .iter()
        .filter_map(|record| Some(record.data.decision.as_ref()?.reason.clone()))
        .collect();
    assert_eq!(
        reasons,
        [
            "policy_error",
            "policy_error",
            "policy_error",
            "policy_error",
            "allowed"
        ]
    );
}
