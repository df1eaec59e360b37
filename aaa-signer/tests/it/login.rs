//! Logins over a real broker, by people whom it knows nothing of, and by several instances at once.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use async_nats::{Auth, Client, ConnectOptions, HeaderMap};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use overlay_protocol::signing::LoginResponse;
use overlay_protocol::signing::login::{LoginRequest, Logout, Methods, logout_text, password_text};
use overlay_protocol::subject;
use overlay_testkit::{eventually, mint};
use overlay_tokens::claims::ClientClaims;
use overlay_tokens::{Key, Unverified};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::cell::{Cell, OFTEN, SOON, Service};
use crate::{audit, caller};

/// Cost 5, `secret`.
const BOB: &str = "$2a$05$m0tNKxBQy5gIkElYrL1xG.hXAXqXWa7HrH9N9HnqaSTMxoBldTcGC";

/// The tables of a login service whose only user is bob.
fn login(cell: &Cell) -> String {
    let users = json!([{"username": "bob", "password": BOB, "acls": ["rpcutil.*"],
        "broker_permissions": {"signed_fleet_management": true}}]);
    std::fs::write(cell.parts.path("users.json"), users.to_string()).unwrap();
    format!(
        "[login]\ntoken_file = {:?}\nseed_file = {:?}\n[login.limits]\nper_source = 0\nper_name = 0\n[login.userlist]\nfile = {:?}\n",
        cell.parts.path("login.jwt"),
        cell.parts.path("login.seed"),
        cell.parts.path("users.json"),
    )
}

/// Somebody who has yet to log in: known by nothing but the key of the session to be.
async fn stranger(cell: &Cell, key: &Key) -> Client {
    let owned = key.clone();
    let prefix = subject::login_reply_prefix(key.public().as_bytes());
    ConnectOptions::with_auth_callback(move |nonce| {
        let key = owned.clone();
        async move {
            let mut auth = Auth::new();
            auth.username = Some("login".to_owned());
            auth.password = Some(key.public().to_string());
            auth.signature = Some(key.sign(&nonce).to_vec());
            Ok(auth)
        }
    })
    .custom_inbox_prefix(prefix)
    .add_root_certificates(cell.parts.authority.ca_file())
    .connect(format!("tls://127.0.0.1:{}", cell.broker.port()))
    .await
    .unwrap()
}

fn request(key: &Key, user: &str, password: &str) -> LoginRequest {
    let timestamp = mint::now().secs.to_string();
    let text = password_text(&timestamp, user, password);
    LoginRequest {
        username: user.to_owned(),
        password: password.into(),
        public_key: key.public().to_string(),
        signature: hex::encode(key.sign(text.as_bytes())),
        timestamp,
    }
}

async fn ask<T: DeserializeOwned>(client: &Client, subject: &'static str, body: &Value) -> T {
    let answer = client
        .request(subject, body.to_string().into())
        .await
        .unwrap();
    serde_json::from_slice(&answer.payload).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

async fn log_in(client: &Client, login: &LoginRequest) -> LoginResponse {
    let body = serde_json::to_value(login).unwrap();
    ask(client, subject::LOGIN_PASSWORD, &body).await
}

/// Posts a body by HTTP; returns status and body of the answer.
fn post(port: u16, path: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let length = body.len();
    let question = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    stream.write_all(question.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

/// The records in the stream.
async fn stored(client: &Client) -> Vec<Value> {
    let lines = audit::stream_lines(client).await;
    let json = |(_, line): (_, Vec<u8>)| serde_json::from_slice(&line).unwrap();
    lines.into_iter().map(json).collect()
}

/// The body of a question to sign.
fn sign_body(token: &str, key: &Key, request: &[u8]) -> String {
    json!({
        "token": token,
        "request": STANDARD.encode(request),
        "signature": hex::encode(key.sign(request)),
    })
    .to_string()
}

/// One login by HTTP.
fn log_in_at(service: &Service, login: &LoginRequest) -> Value {
    let body = serde_json::to_string(login).unwrap();
    let (status, answer) = post(service.http, "/choria/v1/login", &body);
    assert_eq!(status, 200, "{answer}");
    serde_json::from_str(&answer).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_nothing_but_a_password_logs_in_over_the_broker() {
    let cell = Cell::start();
    let _service = cell.service("aaa-1.cell", &login(&cell));
    let key = mint::key();
    let client = stranger(&cell, &key).await;
    let methods: Methods = ask(&client, subject::LOGIN_METHODS, &json!({})).await;
    assert_eq!(methods.methods[0].name, "userlist");
    let answer = log_in(&client, &request(&key, "bob", "wrong")).await;
    assert_eq!(
        (answer.token.as_str(), answer.error.as_str()),
        ("", "Login failed")
    );
    let answer = log_in(&client, &request(&key, "bob", "secret")).await;
    let token = Unverified::<ClientClaims>::decode(&answer.token)
        .unwrap()
        .verify(&cell.parts.organisation.issuers(), mint::now())
        .unwrap();
    assert_eq!(token.callerid, "up=bob");
    assert_eq!(token.standard.public_key, key.public().to_string());
    // What was asked is recorded with the address that the broker saw, whatever header a stranger sends.
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Request-Info", r#"{"host":"203.0.113.9"}"#);
    let body = serde_json::to_vec(&request(&key, "bob", "wrong again")).unwrap();
    let answer = client
        .request_with_headers(subject::LOGIN_PASSWORD, headers, body.into())
        .await
        .unwrap();
    assert!(answer.payload.starts_with(b"{\"error\""), "{answer:?}");
    let records = cell.records().await;
    let told = stored(&records).await;
    let peers: Vec<_> = told
        .iter()
        .filter(|record| record["type"] == "io.overlay.aaa.v1.login")
        .map(|record| record["data"]["peer"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(peers, ["127.0.0.1"; 3], "{told:?}");
    // The service tells of itself, as services of the broker do.
    let ping = records
        .request("$SRV.PING.overlay-login", "".into())
        .await
        .unwrap();
    let ping: Value = serde_json::from_slice(&ping.payload).unwrap();
    assert_eq!(ping["name"], "overlay-login");
    // A body that is none.
    let answer = client
        .request(subject::LOGIN_PASSWORD, "{".into())
        .await
        .unwrap();
    let code = answer
        .headers
        .as_ref()
        .and_then(|headers| headers.get("Nats-Service-Error-Code"));
    assert_eq!(code.map(async_nats::HeaderValue::as_str), Some("400"));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_take_one_request_once_and_lock_a_name_together() {
    let cell = Cell::start();
    // Longer than what is tried under the lock takes on a machine of any speed.
    let locked = "per_name = 0\nfirst_delay = \"10s\"";
    let table = login(&cell).replace("per_name = 0", locked);
    let one = cell.service("aaa-1.cell", &table);
    let two = cell.service("aaa-2.cell", &table);
    let login = request(&mint::key(), "bob", "secret");
    assert!(log_in_at(&one, &login)["token"].is_string());
    assert_eq!(log_in_at(&two, &login), json!({"error": "Login failed"}));
    for guess in 0..10 {
        let service = if guess % 2 == 0 { &one } else { &two };
        let guess = request(&mint::key(), "bob", &format!("guess {guess}"));
        assert_eq!(log_in_at(service, &guess), json!({"error": "Login failed"}));
    }
    let reasons: f64 = [&one, &two]
        .map(|service| service.metric(r#"overlay_aaa_logins_total{outcome="password",via="http"}"#))
        .iter()
        .sum();
    assert!(reasons <= 7.0, "{reasons} of ten guesses were looked at");
    let right = request(&mint::key(), "bob", "secret");
    assert_eq!(log_in_at(&two, &right), json!({"error": "Login failed"}));
    eventually(SOON, Duration::from_secs(1), || async {
        let right = request(&mint::key(), "bob", "secret");
        log_in_at(&two, &right)["token"].is_string()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_at_one_instance_has_ended_at_all() {
    let cell = Cell::start();
    let table = format!("{}{}", cell.parts.signer(""), login(&cell));
    let one = cell.service("aaa-1.cell", &table);
    let two = cell.service("aaa-2.cell", &table);
    let key = mint::key();
    let answer = log_in_at(&one, &request(&key, "bob", "secret"));
    let token = answer["token"].as_str().unwrap();
    let jti = Unverified::<ClientClaims>::decode(token)
        .unwrap()
        .claims_unverified()
        .standard
        .jti
        .clone();
    let sign = |service: &Service| {
        let request = caller::request("up=bob", "rpcutil", "ping");
        let body = sign_body(token, &key, &request.encode());
        let (_, answer) = post(service.http, "/choria/v1/sign", &body);
        answer
    };
    assert!(sign(&two).contains("secure_request"));
    let timestamp = mint::now().secs.to_string();
    let logout = Logout {
        token: token.into(),
        signature: hex::encode(key.sign(logout_text(&timestamp, &jti).as_bytes())),
        timestamp,
    };
    let client = stranger(&cell, &key).await;
    let body = serde_json::to_value(&logout).unwrap();
    let done: LoginResponse = ask(&client, subject::LOGIN_LOGOUT, &body).await;
    assert_eq!(done, LoginResponse::default());
    for service in [&one, &two] {
        eventually(SOON, OFTEN, || async {
            !sign(service).contains("secure_request")
        })
        .await;
    }
}
