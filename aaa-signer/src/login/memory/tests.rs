use std::time::SystemTime;

use overlay_runtime::{CancellationToken, Tasks};
use overlay_testkit::{Broker, eventually};

use super::*;
use crate::login::Revocations;

const LOCKOUT: Lockout = Lockout {
    free: 1,
    first: Duration::from_secs(60),
    longest: Duration::from_secs(300),
    forget: Duration::from_secs(900),
};

fn clock() -> Clock {
    Clock::manual(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000))
}

async fn instance(url: &str) -> (Memory, async_nats::Client) {
    let client = async_nats::connect(url).await.unwrap();
    let memory = Memory::open(Some(&client), 1, clock(), &Registry::new())
        .await
        .unwrap();
    (memory, client)
}

#[tokio::test]
async fn an_instance_alone_remembers_for_as_long_as_it_was_told() {
    let clock = clock();
    let memory = Memory::alone(clock.clone());
    assert!(memory.once("a", 10).await.unwrap());
    assert!(!memory.once("a", 10).await.unwrap());
    assert!(memory.once("b", 10).await.unwrap());
    clock.advance(Duration::from_secs(11));
    assert!(memory.once("a", 10).await.unwrap());
    for expected in [false, true, true] {
        let failures = memory.failed("rip", LOCKOUT).await;
        assert_eq!(failures.is_locked(memory.now()), expected);
    }
    assert_eq!(memory.failures("rip").await.count, 3);
    assert_eq!(memory.failures("other").await.count, 0);
    memory.forgive("rip").await;
    assert_eq!(memory.failures("rip").await.count, 0);
    memory.failed("rip", LOCKOUT).await;
    clock.advance(Duration::from_secs(901));
    assert_eq!(memory.failures("rip").await.count, 0);
}

#[tokio::test]
async fn instances_share_what_was_used_who_is_locked_and_what_has_ended() {
    let broker = Broker::builder().version("2.12").jetstream().start();
    let ((one, _), (two, _)) = (instance(&broker.url()).await, instance(&broker.url()).await);
    assert!(one.once("login.abc", 60).await.unwrap());
    assert!(!two.once("login.abc", 60).await.unwrap());
    assert!(two.once("totp.abc.1", 60).await.unwrap());
    assert!(!one.once("totp.abc.1", 60).await.unwrap());
    for memory in [&one, &two, &one] {
        memory.failed("rip", LOCKOUT).await;
    }
    assert_eq!(two.failures("rip").await.count, 3);
    assert!(two.failures("rip").await.is_locked(two.now()));
    two.forgive("rip").await;
    assert_eq!(one.failures("rip").await.count, 0);
    assert!(!two.is_familiar("rip", "192.0.2.7").await);
    one.familiarise("rip", "192.0.2.7").await;
    assert!(two.is_familiar("rip", "192.0.2.7").await);
    for (name, source) in [
        ("ri", "p192.0.2.7"),
        ("rip", "192.0.2.8"),
        ("bob", "192.0.2.7"),
    ] {
        assert!(!two.is_familiar(name, source).await, "{name} {source}");
    }

    let (tasks, shutdown) = (Tasks::new(), CancellationToken::new());
    let earlier = Revocations::start(&one, &tasks, shutdown.clone());
    earlier.known(Duration::from_secs(10)).await.unwrap();
    earlier
        .revoke("3MOAJusyAQ0BoAmDMvF7W4IY7Kl", one.now() + 600)
        .await
        .unwrap();
    assert!(earlier.is_revoked("3MOAJusyAQ0BoAmDMvF7W4IY7Kl"));
    let later = Revocations::start(&two, &tasks, shutdown.clone());
    let (limit, period) = (Duration::from_secs(10), Duration::from_millis(10));
    later.known(limit).await.unwrap();
    assert!(later.is_revoked("3MOAJusyAQ0BoAmDMvF7W4IY7Kl"));
    earlier
        .revoke("odd id: *.>", one.now() + 600)
        .await
        .unwrap();
    eventually(limit, period, || async { later.is_revoked("odd id: *.>") }).await;
    assert!(!later.is_revoked("another"));
    shutdown.cancel();
}

#[tokio::test]
async fn what_has_ended_is_unknown_until_the_bucket_was_read_and_known_at_once_without_one() {
    let mut broker = Broker::builder().version("2.12").jetstream().start();
    let (memory, _client) = instance(&broker.url()).await;
    broker.stop();
    let (tasks, shutdown) = (Tasks::new(), CancellationToken::new());
    let revocations = Revocations::start(&memory, &tasks, shutdown.clone());
    let limit = Duration::from_millis(200);
    revocations.known(limit).await.unwrap_err();
    let alone = Revocations::start(&Memory::alone(clock()), &tasks, shutdown.clone());
    alone.known(limit).await.unwrap();
    shutdown.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_at_the_same_time_are_all_counted() {
    let broker = Broker::builder().version("2.12").jetstream().start();
    let (one, _) = instance(&broker.url()).await;
    let (two, _) = instance(&broker.url()).await;
    for _ in 0..5 {
        tokio::join!(one.failed("rip", LOCKOUT), two.failed("rip", LOCKOUT));
    }
    assert_eq!(one.failures("rip").await.count, 10);
}

#[tokio::test]
async fn while_the_broker_is_away_each_instance_goes_on_by_itself() {
    let mut broker = Broker::builder().version("2.12").jetstream().start();
    let (memory, client) = instance(&broker.url()).await;
    assert!(memory.once("a", 60).await.unwrap());
    assert_eq!(memory.failed("rip", LOCKOUT).await.count, 1);
    broker.stop();
    let (limit, period) = (Duration::from_secs(10), Duration::from_millis(10));
    eventually(limit, period, || async {
        client.connection_state() != async_nats::connection::State::Connected
    })
    .await;
    assert!(!memory.once("a", 60).await.unwrap());
    assert!(memory.once("b", 60).await.unwrap());
    assert!(!memory.once("b", 60).await.unwrap());
    assert_eq!(
        memory.failed("rip", LOCKOUT).await.count,
        2,
        "one of before is not forgotten"
    );
    assert!(memory.inner.faults.get() > 0);
    assert!(
        memory.revoke("abc", memory.now() + 60).await.is_err(),
        "a session that did not end everywhere did not end"
    );
    broker.start_again();
    eventually(Duration::from_secs(20), period, || async {
        memory.failures("rip").await;
        !memory.inner.away.load(Ordering::Relaxed)
            && client.connection_state() == async_nats::connection::State::Connected
    })
    .await;
}

#[tokio::test]
async fn marks_go_by_themselves() {
    let broker = Broker::builder().version("2.12").jetstream().start();
    let (one, _) = instance(&broker.url()).await;
    let (two, _) = instance(&broker.url()).await;
    assert!(one.once("short", 1).await.unwrap());
    assert!(two.once("short.x", 1).await.is_ok());
    let (three, _) = instance(&broker.url()).await;
    let shared = three.bucket().unwrap();
    eventually(
        Duration::from_secs(10),
        Duration::from_millis(50),
        || async {
            shared
                .create("short", Vec::new(), Duration::from_secs(1))
                .await
                .unwrap()
        },
    )
    .await;
}
