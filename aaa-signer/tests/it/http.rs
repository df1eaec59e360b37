//! The real program by HTTP: logins, signatures, the record of them, and the end.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;

use overlay_protocol::envelope::Limits;
use overlay_protocol::envelope::v2::{Request, SecureRequest};
use overlay_protocol::signing::login::password_text;
use overlay_protocol::signing::{HttpSignRequest, HttpSignResponse, LoginRequest};
use overlay_testkit::mint::{self, Login};
use overlay_testkit::{eventually_blocking, free_port};
use serde_json::Value;

use crate::caller::request;
use crate::cell::{OFTEN, Parts, SOON, Service};
use crate::wire::{self, Answer, post};

const LOGIN: &str = "/choria/v1/login";
const SIGN: &str = "/choria/v1/sign";
const PASSWORD: &str = "open sesame";

/// A service that signs, and logs in one user.
fn service(parts: &Parts, more: &str) -> Service {
    let hash = bcrypt::hash_with_salt(PASSWORD, 4, [7; 16]).unwrap();
    let users = serde_json::json!([{
        "username": "bob", "password": hash.format_for_version(bcrypt::Version::TwoB), "acls": ["rpcutil.*"],
    }]);
    let path = parts.path("users.json");
    fs::write(&path, users.to_string()).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let login = format!(
        "[login]\ntoken_file = {:?}\nseed_file = {:?}\n[login.userlist]\nfile = {path:?}\n",
        parts.path("login.jwt"),
        parts.path("login.seed"),
    );
    parts.start_alone(&format!("{}{login}{more}", parts.signer("")))
}

fn login(port: u16, headers: &str, password: &str) -> Answer {
    wire::ask(port, &login_request(headers, password))
}

fn login_request(headers: &str, password: &str) -> Vec<u8> {
    let key = mint::key();
    let timestamp = mint::now().secs.to_string();
    let signature = key.sign(password_text(&timestamp, "bob", password).as_bytes());
    let body = LoginRequest {
        username: "bob".to_owned(),
        password: password.into(),
        timestamp,
        public_key: key.public().to_string(),
        signature: hex::encode(signature),
    };
    post(LOGIN, headers, &serde_json::to_string(&body).unwrap())
}

fn sign_request(caller: &Login, request: &Request) -> Vec<u8> {
    let bytes = request.encode();
    let signature = hex::encode(caller.key.sign(&bytes));
    let body = HttpSignRequest::new(caller.token.as_str().into(), &bytes, signature);
    post(SIGN, "", &serde_json::to_string(&body).unwrap())
}

/// The lines of the record that tell of what somebody asked.
fn records(parts: &Parts) -> Vec<Value> {
    let text = fs::read_to_string(parts.path("audit.jsonl")).unwrap_or_default();
    let lines = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["data"]["via"] == "http").collect()
}

fn only_texts(answer: &Answer) -> serde_json::Map<String, Value> {
    let Value::Object(members) = answer.json() else {
        panic!("no object: {}", answer.text());
    };
    assert!(members.values().all(Value::is_string), "{members:?}");
    members
}

#[test]
fn aaa_case_20_answers_to_logins_have_texts_alone() {
    let parts = Parts::new();
    let service = service(&parts, "");
    let good = login(service.http, "", PASSWORD);
    let members = only_texts(&good);
    assert_eq!((good.status, members.len()), (200, 1));
    assert!(members.contains_key("token"));
    assert_eq!(good.header("cache-control"), Some("no-store"));
    let bad = login(service.http, "", "no such password");
    assert_eq!(
        (bad.status, bad.text()),
        (200, "{\"error\":\"Login failed\"}\n")
    );
    let html = login(service.http, "Accept: text/html\r\n", PASSWORD);
    assert_eq!((html.status, html.header("content-type")), (200, Some("")));
    assert!(only_texts(&html).contains_key("token"));
}

#[test]
fn aaa_case_40_a_denial_is_one_text_and_says_nothing_else() {
    let parts = Parts::new();
    let service = service(&parts, "");
    let bob = parts.user("up=bob", &["rpcutil.*"]);
    let denied = wire::ask(
        service.http,
        &sign_request(&bob, &request("up=bob", "shell", "run")),
    );
    assert_eq!(
        (denied.status, denied.text()),
        (200, "{\"error\":\"Request denied\"}\n")
    );
    assert_eq!(denied.header("content-type"), Some("application/json"));
    for body in [
        "{}",
        "null",
        "{\"token\":\"x\",\"request\":\"e30=\",\"signature\":\"y\"}",
    ] {
        let denied = wire::ask(service.http, &post(SIGN, "", body));
        assert_eq!(
            (denied.status, denied.text()),
            (200, "{\"error\":\"Request denied\"}\n"),
            "{body}"
        );
    }
}

#[test]
fn what_is_allowed_is_signed_for_the_caller_and_told_with_its_address() {
    let parts = Parts::new();
    let service = service(&parts, "");
    let bob = parts.user("up=bob", &["rpcutil.*"]);
    let signed = wire::ask(
        service.http,
        &sign_request(&bob, &request("up=alice", "rpcutil", "ping")),
    );
    let answer: HttpSignResponse = serde_json::from_slice(&signed.body).unwrap();
    let limits = Limits::default();
    let secure = SecureRequest::decode(&answer.secure_request_bytes().unwrap(), &limits).unwrap();
    assert!(secure.signer.is_some());
    assert_eq!(
        Request::decode(&secure.request, &limits).unwrap().caller,
        "up=bob"
    );
    let records = records(&parts);
    let [record] = records.as_slice() else {
        panic!("one record: {records:?}");
    };
    assert_eq!(record["data"]["peer"], "127.0.0.1");
    assert_eq!(record["data"]["action"], "allow");
}

#[test]
fn a_trusted_proxy_names_the_client_in_the_record() {
    let parts = Parts::new();
    // The table [http] is already there: a second file is laid over the first.
    let service = service(&parts, "");
    assert_eq!(
        login(service.http, "X-Forwarded-For: 192.0.2.7\r\n", PASSWORD).status,
        200
    );
    assert_eq!(records(&parts)[0]["data"]["peer"], "127.0.0.1");
    drop(service);

    let parts = Parts::new();
    let (admin, http) = (free_port(), free_port());
    let text = parts
        .alone(admin, http, &parts.signer(""))
        .replace("insecure = true\n", "trusted_proxies = [\"127.0.0.1\"]\n");
    let service = parts.start(admin, http, &text);
    service.wait_until_ready();
    let bob = parts.user("up=bob", &["rpcutil.*"]);
    let request = sign_request(&bob, &request("up=bob", "rpcutil", "ping"));
    let request = String::from_utf8(request).unwrap();
    let request = request.replacen("\r\n", "\r\nX-Forwarded-For: 10.0.0.1, 192.0.2.7\r\n", 1);
    assert_eq!(wire::ask(service.http, request.as_bytes()).status, 200);
    assert_eq!(records(&parts)[0]["data"]["peer"], "192.0.2.7");
}

#[test]
fn a_guess_whose_client_goes_at_once_is_recorded_all_the_same() {
    let parts = Parts::new();
    let service = service(&parts, "");
    for _ in 0..3 {
        let mut stream = wire::connect(service.http);
        stream
            .write_all(&login_request("", "no such password"))
            .unwrap();
        drop(stream);
    }
    eventually_blocking(SOON, OFTEN, || {
        let told = records(&parts).len();
        if told == 3 {
            Ok(())
        } else {
            Err(format!("{told} records"))
        }
    });
}

#[test]
fn at_sigterm_a_request_under_way_is_answered_and_the_end_is_clean() {
    let parts = Parts::new();
    let mut service = service(&parts, "");
    let bob = parts.user("up=bob", &["rpcutil.*"]);
    let whole = sign_request(&bob, &request("up=bob", "rpcutil", "ping"));
    let (first, rest) = whole.split_at(whole.len() - 10);
    let mut stream = wire::connect(service.http);
    stream.write_all(first).unwrap();
    eventually_blocking(SOON, OFTEN, || {
        service.metric("overlay_aaa_http_connections") > 0.5
    });
    // The listener has seen the head by the time that a later connection was answered.
    assert_eq!(
        wire::ask(service.http, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").status,
        200
    );
    service.process.terminate();
    eventually_blocking(SOON, OFTEN, || {
        std::net::TcpStream::connect(("127.0.0.1", service.http)).is_err()
    });
    stream.write_all(rest).unwrap();
    let answer = wire::read(&mut stream);
    assert!(
        answer.json()["secure_request"].is_string(),
        "{}",
        answer.text()
    );
    assert!(service.process.wait(SOON).success());
    assert_eq!(records(&parts).len(), 1);
}

#[test]
fn aaa_case_64_a_listener_that_cannot_be_is_a_failed_start_with_its_reason() {
    let parts = Parts::new();
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().port();
    let (admin, http) = (free_port(), free_port());
    let good = parts.alone(admin, http, &parts.signer(""));
    let table = [
        (
            parts.alone(admin, taken, &parts.signer("")),
            "listen on 127.0.0.1",
        ),
        (
            good.replace(
                "insecure = true",
                "certificate_file = \"/nonexistent/aaa.pem\"\nkey_file = \"/nonexistent/aaa.key\"",
            ),
            "/nonexistent/aaa.pem",
        ),
        (
            good.replace(
                "insecure = true",
                "certificate_file = \"/nonexistent/aaa.pem\"",
            ),
            "http.key_file",
        ),
        (
            good.replace("listen = \"127.0.0.1:", "listen = \"0.0.0.0:")
                .replace("insecure = true", ""),
            "http.listen",
        ),
    ];
    for (text, part) in table {
        let mut service = parts.start(admin, http, &text);
        let status = service.process.wait(SOON);
        assert!(!status.success(), "{part}");
        let told = service.process.stderr();
        assert!(told.contains(part), "{part} in {told}");
    }
}
