//! Providers that are broken, hostile or slow: what they answer is bounded and told.

use std::collections::HashMap;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::*;

const DISCOVERY: &str = "/.well-known/openid-configuration";

/// Answers by path; `BASE` in an answer is its own address.
struct Hostile {
    base: String,
    _serving: JoinSet<()>,
}

impl Hostile {
    async fn start(answers: &[(&str, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port is free");
        let base = format!("http://{}", listener.local_addr().expect("it listens"));
        let answers: HashMap<String, String> = answers
            .iter()
            .map(|(path, answer)| ((*path).to_owned(), answer.replace("BASE", &base)))
            .collect();
        let answers = Arc::new(answers);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut visits = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                visits.spawn(answer(stream, Arc::clone(&answers)));
            }
        });
        Self {
            base,
            _serving: serving,
        }
    }

    fn desk(&self) -> Desk {
        Desk::new(Oidc {
            timeout: Duration::from_secs(5),
            ..settings(&self.base, None)
        })
    }
}

async fn answer(mut stream: TcpStream, answers: Arc<HashMap<String, String>>) {
    let mut head = vec![0; 8192];
    let got = stream.read(&mut head).await.unwrap_or(0);
    head.truncate(got);
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default();
    let answer = answers.get(path).map_or("404 \n", String::as_str);
    let (status, body) = answer.split_once('\n').unwrap_or(("200", answer));
    if body == "SILENCE" {
        std::future::pending::<()>().await;
    }
    let start = format!(
        "HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
    );
    // Whoever has heard enough goes away in the middle.
    let mut written = stream.write_all(start.as_bytes()).await;
    if body == "ENDLESS" {
        while written.is_ok() {
            written = stream.write_all(&[b' '; 65_536]).await;
        }
    } else {
        drop(stream.write_all(body.as_bytes()).await);
    }
}

fn metadata(change: &[(&str, &str)]) -> String {
    let mut metadata = serde_json::json!({
        "issuer": "BASE",
        "authorization_endpoint": "BASE/auth",
        "token_endpoint": "BASE/token",
        "userinfo_endpoint": "BASE/me",
        "jwks_uri": "BASE/jwks",
        "device_authorization_endpoint": "BASE/device",
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    });
    for (name, value) in change {
        metadata[*name] = (*value).into();
    }
    format!("200\n{metadata}")
}

const KEYS: (&str, &str) = ("/jwks", "200\n{\"keys\":[]}");

#[tokio::test]
async fn a_description_that_cannot_be_used_is_refused_within_the_limit() {
    let cases = [
        ("no JSON", "200\nhello".to_owned(), Reason::Provider),
        ("nothing", "200\n".to_owned(), Reason::Provider),
        ("a list", "200\n[]".to_owned(), Reason::Provider),
        (
            "deep",
            format!("200\n{}", "[".repeat(100_000)),
            Reason::Provider,
        ),
        ("endless", "200\nENDLESS".to_owned(), Reason::Provider),
        ("silence", "200\nSILENCE".to_owned(), Reason::Unavailable),
        ("unwell", "503\n{}".to_owned(), Reason::Unavailable),
        ("gone", "404\n{}".to_owned(), Reason::Provider),
        ("elsewhere", "302\n{}".to_owned(), Reason::Provider),
        (
            "another issuer",
            metadata(&[("issuer", "https://idp.example.net")]),
            Reason::Provider,
        ),
        (
            "keys in the clear",
            metadata(&[("jwks_uri", "http://192.0.2.1/jwks")]),
            Reason::Provider,
        ),
        (
            "keys in a file",
            metadata(&[("jwks_uri", "file:///etc/passwd")]),
            Reason::Provider,
        ),
    ];
    for (name, description, reason) in cases {
        let hostile = Hostile::start(&[(DISCOVERY, &description), KEYS]).await;
        let begun = tokio::time::Instant::now();
        let refused = hostile.desk().begin(MethodKind::Device, "").await;
        let refused = refused.expect_err(name);
        assert_eq!(refused.reason, reason, "{name}: {refused}");
        assert!(
            !refused.message.is_empty() && refused.message.len() < 1000,
            "{name}: {refused}"
        );
        assert!(begun.elapsed() < Duration::from_secs(10), "{name}");
    }
}

#[tokio::test]
async fn nobody_is_sent_to_an_address_in_the_clear_or_shown_what_is_no_code() {
    let device = |code: &str, page: &str| {
        let answer = serde_json::json!({
            "device_code": "d", "user_code": code, "verification_uri": page, "expires_in": 600,
        });
        format!("200\n{answer}")
    };
    for (name, answer) in [
        ("in the clear", device("ABCD", "http://192.0.2.1/device")),
        ("no page", device("ABCD", "javascript:alert(1)")),
        (
            "escape",
            device("AB\u{1b}[2JCD", "https://idp.example.net/device"),
        ),
        (
            "long",
            device(&"A".repeat(65), "https://idp.example.net/device"),
        ),
        ("no JSON", "200\n<html>".to_owned()),
        ("no members", "200\n{}".to_owned()),
        (
            "numbers",
            "200\n{\"device_code\":1,\"user_code\":2}".to_owned(),
        ),
    ] {
        let hostile =
            Hostile::start(&[(DISCOVERY, &metadata(&[])), KEYS, ("/device", &answer)]).await;
        let refused = hostile.desk().begin(MethodKind::Device, "").await;
        assert_eq!(refused.expect_err(name).reason, Reason::Provider, "{name}");
    }
    let clear = metadata(&[("authorization_endpoint", "http://192.0.2.1/auth")]);
    let hostile = Hostile::start(&[(DISCOVERY, &clear), KEYS]).await;
    let refused = hostile.desk().begin(MethodKind::Code, REDIRECT).await;
    assert_eq!(refused.expect_err("in the clear").reason, Reason::Provider);
}

#[tokio::test]
async fn what_the_token_endpoint_says_is_bounded_and_told() {
    let device = "200\n{\"device_code\":\"d\",\"user_code\":\"A\",\"verification_uri\":\"BASE/device\",\"expires_in\":600,\"interval\":0}";
    let unsigned = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJ4In0.";
    let no_token = "200\n{\"access_token\":\"a\",\"token_type\":\"bearer\"}".to_owned();
    let forged = format!(
        "200\n{{\"access_token\":\"a\",\"token_type\":\"bearer\",\"id_token\":\"{unsigned}\"}}"
    );
    let slow_down = "400\n{\"error\":\"slow_down\"}".to_owned();
    let cases = [
        ("no ID token", no_token, Err(Reason::Provider)),
        ("forged", forged, Err(Reason::Provider)),
        ("no JSON", "200\nhello".to_owned(), Err(Reason::Provider)),
        ("endless", "200\nENDLESS".to_owned(), Err(Reason::Provider)),
        (
            "silence",
            "200\nSILENCE".to_owned(),
            Err(Reason::Unavailable),
        ),
        (
            "unknown",
            "400\n{\"error\":\"invalid_\\u001b[2J\"}".to_owned(),
            Err(Reason::Provider),
        ),
        ("slow down", slow_down, Ok(6)),
    ];
    for (name, token, verdict) in cases {
        let answers = [
            (DISCOVERY, metadata(&[])),
            (KEYS.0, KEYS.1.to_owned()),
            ("/device", device.to_owned()),
            ("/token", token),
        ];
        let answers: Vec<(&str, &str)> = answers
            .iter()
            .map(|(path, text)| (*path, text.as_str()))
            .collect();
        let hostile = Hostile::start(&answers).await;
        let desk = hostile.desk();
        let begun = desk.begin(MethodKind::Device, "").await.expect(name);
        assert_eq!(
            begun.interval,
            Some(1),
            "a provider is never asked without a pause"
        );
        match (desk.finish(&begun.flow, "", "").await, verdict) {
            (Ok(Step::Pending { seconds }), Ok(expected)) => {
                assert!(seconds >= expected - 1, "{name}")
            }
            (Err(refused), Err(reason)) => {
                assert_eq!(refused.reason, reason, "{name}: {refused}");
                assert!(!refused.message.contains('\u{1b}'), "{name}: {refused}");
            }
            (other, _) => panic!("{name}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn many_who_wait_for_a_provider_that_is_away_do_not_wait_for_each_other() {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port is free");
    let base = format!("http://{}", listener.local_addr().expect("it listens"));
    drop(listener);
    let desk = Arc::new(Desk::new(Oidc {
        timeout: Duration::from_secs(2),
        ..settings(&base, None)
    }));
    let mut many = JoinSet::new();
    for _ in 0..64 {
        let desk = Arc::clone(&desk);
        many.spawn(async move { desk.begin(MethodKind::Device, "").await.is_err() });
    }
    let all = async {
        while let Some(refused) = many.join_next().await {
            assert!(refused.expect("it ends"));
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(30), all).await;
    assert!(in_time.is_ok(), "they queue up");
}
