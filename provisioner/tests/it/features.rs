//! What is switched on by configuration, or said by the helper, and reaches the node: each on the wire.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use overlay_protocol::provisioning::NodeState;
use overlay_testkit::emulated::Step;
use overlay_testkit::eventually;
use overlay_tokens::issue::ProvisioningToken;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::cell::{Cell, OFTEN, Provisioner, SOON, all_enrolled_once, leaving};

/// No second attempt.
const ONCE: &str = "[retry]\nfirst = \"1h\"\n";
/// How long one node takes of a rate.
const TURN: Duration = Duration::from_secs(4);

/// Waits until a node's record has this reason.
async fn has_reason(cell: &Cell, provisioner: &Provisioner, name: &str, reason: &str) {
    eventually(SOON, OFTEN, || async {
        let record = cell.record(name).await;
        let found = record.as_ref().and_then(|record| record.reason.as_deref());
        if found == Some(reason) {
            Ok(())
        } else {
            let log = provisioner.process.stderr();
            Err(format!("{name} is to be {reason}: {record:?}\n{log}"))
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_one_token_or_of_one_site_wait_for_their_turn() {
    tokio::join!(turns("token"), turns("site"));
}

/// Of three nodes with what is bounded in common one begins at once, and each other a turn later; one that does not have
/// it does not wait with them.
async fn turns(bound: &str) {
    let cell = Cell::start().await;
    let rate = format!(
        "[rates.{bound}]\nnodes = 1\nper = \"{}s\"\nburst = 1\n",
        TURN.as_secs()
    );
    let provisioner = cell.provisioner(&rate);
    let token = |site: &str| {
        let site = json!({ "site": site });
        cell.token_of(|token| ProvisioningToken {
            extensions: site.as_object().cloned(),
            ..token
        })
    };
    let shared = token("ber");
    let tokens: Vec<String> = match bound {
        "token" => vec![shared.clone(), shared.clone(), shared, token("ber")],
        _ => vec![token("ber"), token("ber"), token("ber"), token("ams")],
    };
    let names = ["n1", "n2", "n3", "other"].map(|name| format!("{name}.example.net"));
    let fleet = cell
        .nodes()
        .names(names.clone())
        .behave(move |index, _| leaving().shows_token(tokens[index].clone()))
        .start()
        .await;
    let announced = fleet.announce().await;
    all_enrolled_once(&fleet, &provisioner).await;
    let took = |name: &String| fleet.node(name).restarted_at.unwrap() - announced;
    let mut shared: Vec<Duration> = names[..3].iter().map(took).collect();
    shared.sort();
    assert!(shared[1] >= TURN, "{bound}: {shared:?}");
    assert!(shared[2] >= TURN * 2, "{bound}: {shared:?}");
    assert!(took(&names[3]) < shared[2], "{bound}: {shared:?}");
    let limited = "overlay_provisioner_not_enrolled_total{reason=\"rate_limited\"}";
    assert!(provisioner.metric(limited) >= 2.0, "{bound}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_whose_token_is_good_is_refused_unless_the_helper_confirms() {
    let cell = Cell::start().await;
    let provisioner = cell.provisioner(&format!(
        "{ONCE}[streams.claims]\nlease = \"5s\"\nkeep = \"1s\"\n"
    ));
    let names = ["held.example.net", "confirm-held.example.net"];
    let members = cell.nodes().names(names).start().await;
    members.announce().await;
    all_enrolled_once(&members, &provisioner).await;
    for name in names {
        eventually(SOON, OFTEN, || async {
            let record = cell.record(name).await;
            record.is_some_and(|record| record.state == NodeState::Member)
        })
        .await;
    }
    // Both are gone now, and neither is connected to the fleet.
    let others = cell.nodes().names(names).start().await;
    others.announce().await;
    provisioner.wait_for_reason("name_held").await;
    eventually(SOON, OFTEN, || async {
        others.node(names[1]).restarts == 1
    })
    .await;
    assert_eq!(others.node(names[0]).configured, 0);
    assert_eq!(cell.audit_of(names[0]).await, ["enrolled", "refused"]);
    assert_eq!(cell.audit_of(names[1]).await, ["enrolled", "enrolled"]);
    assert_eq!(
        cell.record(names[0]).await.unwrap().state,
        NodeState::Member
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signing_request_reaches_the_helper_and_its_certificate_the_node() {
    let cell = Cell::start().await;
    let provisioner = cell.provisioner(&format!("[pki]\ndenied_names = ['^admin']\n{ONCE}"));
    let names = ["pki-1.example.net", "admin-1.example.net"];
    let fleet = cell.nodes().names(names).start().await;
    fleet.announce().await;
    eventually(SOON, OFTEN, || async { fleet.node(names[0]).restarts == 1 }).await;
    let seen = fleet.node(names[0]);
    assert_eq!(seen.calls_of(Step::Gencsr), 1);
    let given = seen.configuration.unwrap();
    let text = |name: &str| given[name].as_str().unwrap().to_owned();
    assert!(text("certificate").starts_with("-----BEGIN CERTIFICATE REQUEST-----"));
    assert!(text("ca").starts_with("-----BEGIN PUBLIC KEY-----"));
    assert_eq!(text("ssldir"), "/etc/choria/ssl");
    has_reason(&cell, &provisioner, names[1], "csr_denied").await;
    assert_eq!(fleet.node(names[1]).configured, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_helper_places_and_allows_is_what_the_node_is_given() {
    let cell = Cell::start().await;
    let placement = "[placement.lon-7]\nhosts = [\"nats://cell7.example.net:4222\"]\ncollectives = [\"choria\", \"lon\"]\n";
    let provisioner = cell.provisioner(&format!("{ONCE}{placement}"));
    let names = ["placed-1.example.net", "nowhere-1.example.net"];
    let fleet = cell.nodes().names(names).start().await;
    fleet.announce().await;
    eventually(SOON, OFTEN, || async { fleet.node(names[0]).restarts == 1 }).await;
    let seen = fleet.node(names[0]);
    let settings = seen.settings();
    assert_eq!(
        settings["plugin.choria.middleware_hosts"],
        "nats://cell7.example.net:4222"
    );
    assert_eq!(settings["collectives"], "choria,lon");
    let given = seen.configuration.unwrap();
    assert_eq!(
        given["action_policies"],
        json!({"rpcutil.policy": "policy default deny\n"})
    );
    assert_eq!(
        given["opa_policies"],
        json!({"main.rego": "package choria.aaa.policy\n"})
    );
    let record = cell.record(names[0]).await.unwrap();
    assert_eq!(record.placement.as_deref(), Some("lon-7"));
    assert_eq!(record.issued.unwrap().collectives, ["choria", "lon"]);
    has_reason(&cell, &provisioner, names[1], "helper_output").await;
    assert_eq!(fleet.node(names[1]).configured, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_decides_in_place_of_a_program() {
    let cell = Cell::start().await;
    let service = Service::start().await;
    cell.file("helper.token", "t0ken\n");
    let more = format!(
        "[helper]\nmode = \"http\"\nurl = \"http://127.0.0.1:{}/helper\"\ntoken_file = {:?}\n{ONCE}",
        service.port,
        cell.dir.path().join("helper.token").display().to_string()
    );
    let provisioner = cell.provisioner(&more);
    let names = ["n1.example.net", "defer-1.example.net"];
    let fleet = cell.nodes().names(names).start().await;
    fleet.announce().await;
    eventually(SOON, OFTEN, || async { fleet.node(names[0]).restarts == 1 }).await;
    assert_eq!(fleet.node(names[0]).settings()["identity"], names[0]);
    has_reason(&cell, &provisioner, names[1], "deferred").await;
    let heads = service.heads.lock().unwrap().clone();
    for head in &heads {
        let head = head.to_lowercase();
        assert!(head.starts_with("post /helper http/1.1\r\n"), "{head}");
        assert!(head.contains("authorization: bearer t0ken\r\n"), "{head}");
    }
    assert_eq!(heads.len(), 2, "{heads:?}");
}

/// A helper as a service: takes every node whose name does not begin with `defer`.
struct Service {
    port: u16,
    /// The heads of the requests that it had.
    heads: Arc<Mutex<Vec<String>>>,
    _work: JoinSet<()>,
}

impl Service {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let mut work = JoinSet::new();
        let log = Arc::clone(&heads);
        work.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&log)));
            }
        });
        Self {
            port,
            heads,
            _work: work,
        }
    }
}

/// Answers the requests of one connection, one after the other.
async fn serve(mut stream: TcpStream, heads: Arc<Mutex<Vec<String>>>) {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match stream.read(&mut chunk).await {
            Ok(read @ 1..) => bytes.extend_from_slice(&chunk[..read]),
            Ok(_) | Err(_) => return,
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        // A body that is not whole is no JSON yet.
        let Ok(question) = serde_json::from_str::<Value>(body) else {
            continue;
        };
        heads.lock().unwrap().push(format!("{head}\r\n"));
        bytes.clear();
        let name = question["identity"].as_str().unwrap();
        let answer = if name.starts_with("defer") {
            json!({"defer": true, "msg": "come again"})
        } else {
            json!({"configuration": {"identity": name, "plugin.choria.server.provision": "false"}})
        };
        let answer = answer.to_string();
        let response = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{answer}",
            answer.len()
        );
        if stream.write_all(response.as_bytes()).await.is_err() {
            return;
        }
    }
}
