//! The end: what was asked is answered.

use super::*;

#[tokio::test]
async fn aaa_case_65_at_the_stop_what_was_asked_is_answered_and_nobody_else_gets_in() {
    let served = Served::start(&settings()).await;
    let mut idle = served.connect().await;
    idle.send(get("/healthz").as_bytes()).await;
    assert_eq!(idle.answer().await.status, 200);
    // A request whose body is still under way.
    let whole = post("/choria/v1/sign", "{\"token\":\"x\"}");
    let (first, rest) = whole.as_bytes().split_at(whole.len() - 3);
    let mut asking = served.connect().await;
    asking.send(first).await;
    served
        .metric_becomes("overlay_aaa_http_connections", 2.0)
        .await;
    // The head has been read once its peer is known: asked for by a second request's time at the latest.
    assert_eq!(served.ask(&get("/healthz")).await.status, 200);

    served.shutdown.cancel();
    assert!(idle.is_closed().await);
    asking.send(rest).await;
    let answer = asking.answer().await;
    assert_eq!(
        (answer.status, answer.header("connection")),
        (501, Some("close"))
    );
    assert!(asking.is_closed().await);
    let address = served.address;
    served.ended().await;
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_client_that_never_finishes_does_not_hold_the_stop_for_ever() {
    let mut settings = settings();
    settings.limits.header_timeout = Duration::from_secs(3);
    settings.limits.body_timeout = Duration::from_secs(3);
    let served = Served::start(&settings).await;
    let mut half_head = served.connect().await;
    half_head.send(b"POST /choria/v1/sign HT").await;
    let mut half_body = served.connect().await;
    half_body
        .send(&post("/choria/v1/sign", "{}").as_bytes()[..90])
        .await;
    served
        .metric_becomes("overlay_aaa_http_connections", 2.0)
        .await;
    served.shutdown.cancel();
    served.ended().await;
}

#[tokio::test]
async fn readiness_follows_the_service_and_health_does_not() {
    let served = Served::start(&settings()).await;
    let ready = served.ask(&get("/readyz")).await;
    assert_eq!((ready.status, ready.text()), (200, "{\"ready\":true}\n"));
    let part = served.readiness.part("audit");
    part.down("the disk is full");
    let ready = served.ask(&get("/readyz")).await;
    // Why is for those who may see the admin listener.
    assert_eq!((ready.status, ready.text()), (503, "{\"ready\":false}\n"));
    let health = served.ask(&get("/healthz")).await;
    assert_eq!(
        (health.status, health.text()),
        (200, "{\"status\":\"ok\"}\n")
    );
}
