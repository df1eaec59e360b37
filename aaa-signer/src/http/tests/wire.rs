//! What clients of the original see of its framework.

use super::*;

const LOGIN: &str = "/choria/v1/login";
const SIGN: &str = "/choria/v1/sign";

fn problem(code: u16, message: &str) -> String {
    serde_json::json!({ "code": code, "message": message }).to_string()
}

fn unreadable(why: &str) -> String {
    problem(
        400,
        &format!("parsing request body from \"\" failed, because {why}"),
    )
}

#[tokio::test]
async fn aaa_case_18_requests_that_reach_no_operation_are_answered_as_the_original_does() {
    let served = Served::start(&settings()).await;
    let head = |line: &str, headers: &str, body: &str| {
        format!(
            "{line} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let json = "Content-Type: application/json\r\n";
    let required = problem(602, "request in body is required");
    let table = [
        (post(LOGIN, ""), 422, required.clone()),
        (post(LOGIN, " \n"), 422, required.clone()),
        (head("POST /choria/v1/login", "", ""), 422, required.clone()),
        (
            "POST /choria/v1/sign HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
            422,
            required,
        ),
        (post(LOGIN, "{"), 400, unreadable("unexpected EOF")),
        (
            post(LOGIN, "{\"timestamp\":1763668800}"),
            400,
            unreadable("json: cannot unmarshal number into Go struct field LoginRequest.timestamp of type string"),
        ),
        (
            post(LOGIN, "[]"),
            400,
            unreadable("json: cannot unmarshal array into Go value of type models.LoginRequest"),
        ),
        (
            post(SIGN, "{\"request\":\"aGVs-G8=\"}"),
            400,
            unreadable("illegal base64 data at input byte 4"),
        ),
        (
            head("POST /choria/v1/login", "Content-Type: text/plain\r\n", "{}"),
            415,
            problem(415, "unsupported media type \"text/plain\", only [application/json] are allowed"),
        ),
        (
            head("POST /choria/v1/sign", "", "{}"),
            415,
            problem(415, "unsupported media type \"application/octet-stream\", only [application/json] are allowed"),
        ),
        (get(LOGIN), 405, problem(405, "method GET is not allowed, but [POST] are")),
        (head("OPTIONS /choria/v1/sign", "", ""), 405, problem(405, "method OPTIONS is not allowed, but [POST] are")),
        (get("/choria/v1"), 404, problem(404, "path /choria/v1 was not found")),
        (get("/Choria/v1/login"), 404, problem(404, "path /Choria/v1/login was not found")),
        (get("/choria//v1/logout/?x=1"), 404, problem(404, "path /choria//v1/logout/ was not found")),
        (get("/debug/pprof/"), 404, problem(404, "path /debug/pprof/ was not found")),
        (head("POST /choria/v1/sign", json, "{}"), 501, "\"operation PostSign has not yet been implemented\"\n".to_owned()),
        (post("//choria/./v1//login/?x=1", "null"), 501, "\"operation PostLogin has not yet been implemented\"\n".to_owned()),
    ];
    for (request, status, body) in table {
        let answer = served.ask(&request).await;
        assert_eq!(
            (answer.status, answer.text()),
            (status, body.as_str()),
            "{request}"
        );
        assert_eq!(
            answer.header("content-type"),
            Some("application/json"),
            "{request}"
        );
        let allow = (status == 405).then_some("POST");
        assert_eq!(answer.header("allow"), allow, "{request}");
    }
}

#[tokio::test]
async fn other_methods_of_our_own_paths_are_told_what_is_allowed() {
    let served = Served::start(&settings()).await;
    let answer = served.ask(&post("/healthz", "{}")).await;
    assert_eq!(
        (answer.status, answer.header("allow")),
        (405, Some("GET,HEAD"))
    );
    let answer = served.ask(&get("/overlay/v1/login/begin")).await;
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
}

#[tokio::test]
async fn head_has_the_head_alone() {
    let served = Served::start(&settings()).await;
    let mut client = served.connect().await;
    for (path, status) in [("/healthz", 200), (LOGIN, 405)] {
        let request = format!("HEAD {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let mut client = served.connect().await;
        client.send(request.as_bytes()).await;
        while !client.is_closed().await {}
        let text = String::from_utf8(client.unread).unwrap();
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{text}");
        assert!(text.ends_with("\r\n\r\n"), "{text}");
    }
    client.send(get("/healthz").as_bytes()).await;
    assert_eq!(client.answer().await.status, 200);
}

#[tokio::test]
async fn a_connection_is_kept_unless_the_client_wants_otherwise() {
    let served = Served::start(&settings()).await;
    let mut client = served.connect().await;
    for _ in 0..3 {
        client.send(post(SIGN, "{}").as_bytes()).await;
        assert_eq!(client.answer().await.status, 501);
    }
    // Two at once, as a client that does not wait sends them.
    client
        .send([get("/healthz"), post(SIGN, "{}")].concat().as_bytes())
        .await;
    assert_eq!(client.answer().await.status, 200);
    assert_eq!(client.answer().await.status, 501);
    let close = get("/healthz").replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    client.send(close.as_bytes()).await;
    assert_eq!(client.answer().await.status, 200);
    assert!(client.is_closed().await);

    let mut old = served.connect().await;
    old.send(b"GET /healthz HTTP/1.0\r\n\r\n").await;
    assert_eq!(old.answer().await.status, 200);
    assert!(old.is_closed().await);
}

#[tokio::test]
async fn a_body_in_pieces_is_one_body() {
    let served = Served::start(&settings()).await;
    let mut client = served.connect().await;
    let head = "POST /choria/v1/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    client
        .send(format!("{head}Transfer-Encoding: chunked\r\n\r\n2\r\n{{\"\r\n").as_bytes())
        .await;
    client
        .send(b"a\r\nusername\":\r\n3\r\n5}x\r\n0\r\n\r\n")
        .await;
    let answer = client.answer().await;
    assert_eq!(answer.status, 400);
    assert!(
        answer.text().contains("LoginRequest.username"),
        "{}",
        answer.text()
    );
}

#[tokio::test]
async fn our_own_operations_take_one_strict_value() {
    let served = Served::start(&settings()).await;
    // Without a login service there is nothing to be strict about.
    let answer = served.ask(&post("/overlay/v1/login/password", "{}")).await;
    assert_eq!(answer.status, 501);
    assert_eq!(served.ask(&get("/overlay/v1/login")).await.status, 501);
}

#[tokio::test]
async fn what_is_no_http_is_refused_and_hurts_nobody() {
    let served = Served::start(&settings()).await;
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"\0\0\0\0\0\0\0\0\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /choria/v1/login HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /choria/v1/login HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /choria/v1/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut client = served.connect().await;
        client.send(garbage).await;
        client.stream.shutdown().await.unwrap();
        if let Some(answer) = client.try_answer().await {
            assert!((400..=505).contains(&answer.status), "{answer:?}");
        }
    }
    let head = format!(
        "GET /healthz HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n",
        "y".repeat(40_000)
    );
    assert_eq!(served.ask(&head).await.status, 431);
    assert_eq!(served.ask(&get("/healthz")).await.status, 200);
    served
        .metric_becomes("overlay_aaa_http_connections", 0.0)
        .await;
}

#[tokio::test]
async fn requests_are_counted_by_operation_and_status() {
    let served = Served::start(&settings()).await;
    for path in ["/a", "/b", "/c"] {
        served.ask(&get(path)).await;
    }
    served.ask(&get("/healthz")).await;
    let requests = "overlay_aaa_http_requests_total";
    // Paths are the client's own: they are no labels.
    let other = format!("{requests}{{operation=\"other\",status=\"404\"}}");
    served.metric_becomes(&other, 3.0).await;
    let healthz = format!("{requests}{{operation=\"healthz\",status=\"200\"}}");
    served.metric_becomes(&healthz, 1.0).await;
}
