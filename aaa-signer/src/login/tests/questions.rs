//! Questions over the broker that are no attempts: answered or not, they are counted, since nothing is recorded of them.

use async_nats::Client;
use overlay_protocol::subject;
use overlay_testkit::Broker;

use super::super::broker;
use super::*;

const LIMIT: Duration = Duration::from_secs(10);
const PERIOD: Duration = Duration::from_millis(5);

/// The status that a question for a password is refused with.
async fn refused(client: &Client, body: Vec<u8>) -> String {
    let answer = client
        .request(subject::LOGIN_PASSWORD, body.into())
        .await
        .unwrap();
    let headers = answer.headers.unwrap_or_default();
    let code = headers.get("Nats-Service-Error-Code").unwrap();
    code.as_str().to_owned()
}

#[tokio::test]
async fn what_is_no_attempt_over_the_broker_is_counted_by_why() {
    let desk = Desk::new(OPEN).await;
    let of = |why: &str| format!("overlay_aaa_login_broker_dropped_total{{reason=\"{why}\"}} ");
    let text = overlay_runtime::metrics::text(&desk.cx.registry).unwrap();
    for why in ["reply_subject", "busy", "too_long", "malformed"] {
        let line = format!("{}0\n", of(why));
        assert!(text.contains(&line), "{line} is not in {text}");
    }

    let nats = Broker::plain();
    let client = async_nats::connect(nats.url()).await.unwrap();
    let places = Arc::new(Semaphore::new(broker::AT_A_TIME));
    broker::serve(
        desk.service.clone(),
        client.clone(),
        Arc::clone(&places),
        &desk.cx.tasks,
        &desk.cx.shutdown,
    )
    .await
    .unwrap();
    client.flush().await.unwrap();

    assert_eq!(refused(&client, b"{".to_vec()).await, "400");
    let long = vec![b' '; broker::MAX_BYTES + 1];
    assert_eq!(refused(&client, long).await, "400");
    client
        .publish_with_reply(subject::LOGIN_PASSWORD, "elsewhere", "{}".into())
        .await
        .unwrap();
    let counted = async || desk.metric(&of("reply_subject")) > 0.0;
    eventually(LIMIT, PERIOD, counted).await;
    // A place is given back once its answer is sent: those of the questions above are.
    let all = u32::try_from(broker::AT_A_TIME).unwrap();
    let held = places.acquire_many(all).await.unwrap();
    assert_eq!(refused(&client, b"{}".to_vec()).await, "503");
    drop(held);
    for why in ["reply_subject", "busy", "too_long", "malformed"] {
        assert_eq!(desk.metric(&of(why)), 1.0, "{why}");
    }
    assert!(desk.records().is_empty());

    // With places again, a question is an attempt, and recorded.
    let login = serde_json::to_vec(&desk.request("bob", "wrong")).unwrap();
    let answer = client
        .request(subject::LOGIN_PASSWORD, login.into())
        .await
        .unwrap();
    assert_eq!(answer.payload, r#"{"error":"Login failed"}"#);
    assert_eq!(desk.reasons(), ["password"]);
}
