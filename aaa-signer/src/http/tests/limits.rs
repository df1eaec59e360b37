//! What one client may take.

use std::num::NonZeroUsize;

use axum::Router;
use axum::routing::any;
use tokio::net::TcpListener;

use super::super::connection::Entrance;
use super::super::metrics::Metrics;
use super::super::peer::Proxies;
use super::super::serve::admit;
use super::*;

const SHORT: Duration = Duration::from_millis(300);

fn some(number: usize) -> NonZeroUsize {
    NonZeroUsize::new(number).unwrap()
}

fn limited(change: impl FnOnce(&mut HttpLimits)) -> Http {
    let mut settings = settings();
    change(&mut settings.limits);
    settings
}

#[tokio::test]
async fn a_head_that_comes_in_drops_ends_and_others_are_served_meanwhile() {
    let served = Served::start(&limited(|limits| limits.header_timeout = SHORT)).await;
    let mut slow = Vec::new();
    for _ in 0..50 {
        let mut client = served.connect().await;
        client.send(b"POST /choria/v1/login HTTP/1.1\r\nX: ").await;
        slow.push(client);
    }
    assert_eq!(served.ask(&get("/healthz")).await.status, 200);
    for client in &mut slow {
        // One letter now and then does not help.
        drop(client.stream.write_all(b"y").await);
        while !client.is_closed().await {}
    }
    served
        .metric_becomes("overlay_aaa_http_connections", 0.0)
        .await;
    served
        .metric_becomes(
            "overlay_aaa_http_connections_total{outcome=\"broken\"}",
            50.0,
        )
        .await;
}

#[tokio::test]
async fn a_kept_connection_without_requests_ends() {
    let served = Served::start(&limited(|limits| limits.header_timeout = SHORT)).await;
    let mut client = served.connect().await;
    client.send(get("/healthz").as_bytes()).await;
    assert_eq!(client.answer().await.status, 200);
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn a_body_that_comes_too_slowly_is_refused() {
    let served = Served::start(&limited(|limits| limits.body_timeout = SHORT)).await;
    let mut client = served.connect().await;
    let whole = post("/choria/v1/login", &"x".repeat(100));
    client.send(&whole.as_bytes()[..whole.len() - 1]).await;
    let answer = client.answer().await;
    assert_eq!(
        (answer.status, answer.header("connection")),
        (408, Some("close"))
    );
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused_and_the_refusal_is_read() {
    let served = Served::start(&limited(|limits| limits.body_bytes = 16 * 1024)).await;
    // Up to the limit it is read and judged.
    let fits = format!("{{}}{}", " ".repeat(16 * 1024 - 2));
    assert_eq!(
        served.ask(&post("/choria/v1/sign", &fits)).await.status,
        501
    );
    for length in [16 * 1024 + 1, 2 * 1024 * 1024] {
        let answer = served
            .ask(&post("/choria/v1/sign", &"x".repeat(length)))
            .await;
        assert_eq!(answer.status, 413);
        assert_eq!(answer.json()["code"], 413);
    }
    let mut client = served.connect().await;
    let head = "POST /choria/v1/sign HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.send(head.as_bytes()).await;
    let piece = format!("2000\r\n{}\r\n", "x".repeat(0x2000));
    for _ in 0..4 {
        client.send(piece.as_bytes()).await;
    }
    client.send(b"0\r\n\r\n").await;
    assert_eq!(client.answer().await.status, 413);
    // One that is far too long is not even read.
    let mut client = served.connect().await;
    let head = "POST /choria/v1/sign HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999\r\n\r\n";
    client.send(head.as_bytes()).await;
    assert_eq!(client.answer().await.status, 413);
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn one_address_has_so_many_connections_and_no_more() {
    let served = Served::start(&limited(|limits| limits.connections_per_peer = some(4))).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut client = served.connect().await;
        client.send(get("/healthz").as_bytes()).await;
        assert_eq!(client.answer().await.status, 200);
        held.push(client);
    }
    let mut further = served.connect().await;
    assert!(further.is_closed().await);
    served
        .metric_becomes(
            "overlay_aaa_http_connections_total{outcome=\"too_many_of_peer\"}",
            1.0,
        )
        .await;
    held.pop();
    served
        .metric_becomes("overlay_aaa_http_connections", 3.0)
        .await;
    assert_eq!(served.ask(&get("/healthz")).await.status, 200);
}

#[tokio::test]
async fn a_trusted_proxy_has_no_limit_of_its_own() {
    let mut settings = limited(|limits| limits.connections_per_peer = some(1));
    settings.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let served = Served::start(&settings).await;
    let mut held = Vec::new();
    for _ in 0..8 {
        let mut client = served.connect().await;
        client.send(get("/healthz").as_bytes()).await;
        assert_eq!(client.answer().await.status, 200);
        held.push(client);
    }
}

#[tokio::test]
async fn when_all_places_are_taken_others_wait_and_are_served() {
    let served = Served::start(&limited(|limits| limits.connections = some(2))).await;
    let mut held = [served.connect().await, served.connect().await];
    for client in &mut held {
        client.send(get("/healthz").as_bytes()).await;
        assert_eq!(client.answer().await.status, 200);
    }
    let mut waiting = served.connect().await;
    waiting.send(get("/healthz").as_bytes()).await;
    let early = tokio::time::timeout(SHORT, waiting.answer()).await;
    assert!(early.is_err(), "it is served beyond the limit");
    drop(held);
    assert_eq!(waiting.answer().await.status, 200);
}

#[tokio::test]
async fn five_hundred_clients_at_once_are_all_answered() {
    let served = Served::start(&limited(|limits| {
        limits.connections = some(64);
        limits.connections_per_peer = some(1000);
    }))
    .await;
    let mut clients = JoinSet::new();
    for _ in 0..500 {
        let address = served.address;
        clients.spawn(async move {
            let mut client = Client::new(TcpStream::connect(address).await.unwrap());
            client.send(get("/healthz").as_bytes()).await;
            client.answer().await.status
        });
    }
    while let Some(status) = clients.join_next().await {
        assert_eq!(status.unwrap(), 200);
    }
    served
        .metric_becomes("overlay_aaa_http_connections", 0.0)
        .await;
}

#[tokio::test]
async fn a_connection_cut_at_any_byte_leaves_nothing_behind() {
    let served = Served::start(&settings()).await;
    let request = post("/choria/v1/sign", "{\"token\":\"x\"}");
    for end in 0..=request.len() {
        let mut client = served.connect().await;
        client.send(&request.as_bytes()[..end]).await;
    }
    served
        .metric_becomes("overlay_aaa_http_connections", 0.0)
        .await;
    assert_eq!(served.ask(&get("/healthz")).await.status, 200);
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_let_go() {
    let served = Served::start(&limited(|limits| {
        limits.body_timeout = SHORT;
        limits.header_timeout = LONG;
    }))
    .await;
    let mut client = served.connect().await;
    let many = get("/openapi.json").repeat(50);
    // Until the systems' buffers of both ends are full and the server gives up.
    while client.stream.write_all(many.as_bytes()).await.is_ok() {}
    served
        .metric_becomes("overlay_aaa_http_connections", 0.0)
        .await;
}

#[tokio::test]
async fn a_connection_is_kept_for_so_long() {
    let served = Served::start(&limited(|limits| limits.connection_age = SHORT)).await;
    let mut client = served.connect().await;
    let mut answers = 0;
    loop {
        if client
            .stream
            .write_all(get("/healthz").as_bytes())
            .await
            .is_err()
        {
            break;
        }
        let Some(answer) = client.try_answer().await else {
            break;
        };
        assert_eq!(answer.status, 200);
        answers += 1;
    }
    assert!(answers > 0);
}

/// A server of the given routes, behind the same entrance.
async fn serve(routes: Router, limits: HttpLimits) -> (SocketAddr, CancellationToken, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let entrance = Entrance {
        router: routes,
        proxies: Proxies(Vec::new()),
        limits,
        tls: None,
        metrics: Metrics::register(&Registry::new()).unwrap(),
        shutdown: shutdown.clone(),
    };
    let mut task = JoinSet::new();
    task.spawn(admit(listener, entrance.into()));
    (address, shutdown, task)
}

#[tokio::test]
async fn work_that_takes_too_long_or_fails_is_told() {
    let routes = Router::new()
        .route("/endless", any(std::future::pending::<()>))
        .route(
            "/panic",
            any(async || {
                if LONG > SHORT {
                    panic!("on purpose")
                }
            }),
        );
    let limits = HttpLimits {
        request_timeout: SHORT,
        ..HttpLimits::default()
    };
    let (address, _shutdown, _task) = serve(routes, limits).await;
    let mut client = Client::new(TcpStream::connect(address).await.unwrap());
    for (path, status) in [("/endless", 503), ("/panic", 500), ("/endless", 503)] {
        client.send(get(path).as_bytes()).await;
        let answer = client.answer().await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.json()["code"], status);
    }
}
