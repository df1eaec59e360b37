//! Those who guess, and those who are not to suffer from it.

use super::*;

#[tokio::test]
async fn five_hundred_wrong_passwords_lock_the_name_for_a_while() {
    let desk = Desk::new(OPEN).await;
    for guess in 0..500 {
        let answer = desk.log_in("bob", &format!("guess {guess}")).await;
        assert_answer!(answer, LoginAnswer::Failed);
    }
    assert_answer!(desk.log_in("bob", "secret").await, LoginAnswer::Failed);
    let reasons = desk.reasons();
    assert_eq!(reasons.len(), 501, "each is recorded");
    let wrong = reasons
        .iter()
        .filter(|reason| *reason == "password")
        .count();
    assert_eq!(
        wrong, 6,
        "the clock stands still: five for nothing, and the one that locks"
    );
    assert_eq!(reasons.last().unwrap(), "locked");
    assert_eq!(desk.metric("overlay_aaa_password_hashes_total "), 501.0);
    // The lock is short after a few and ends by itself.
    desk.cx.clock.advance(Duration::from_secs(2));
    token(desk.log_in("bob", "secret").await);
    assert_answer!(desk.log_in("bob", "wrong").await, LoginAnswer::Failed);
    token(desk.log_in("bob", "secret").await);
}

#[tokio::test]
async fn another_spelling_of_a_name_has_no_guesses_of_its_own() {
    let desk = Desk::new(OPEN).await;
    for name in ["bob", "Bob", "BOB", "bOb", "boB", "BOb"] {
        assert_answer!(desk.log_in(name, "guess").await, LoginAnswer::Failed);
    }
    assert_answer!(desk.log_in("bob", "secret").await, LoginAnswer::Failed);
    assert_eq!(desk.reasons().last().unwrap(), "locked");
}

#[tokio::test]
async fn a_lock_grows_but_not_for_ever_and_is_the_same_for_who_does_not_exist() {
    let mut logs = Vec::new();
    for user in ["bob", "nobody-here"] {
        let desk = Desk::new(OPEN).await;
        for _ in 0..30 {
            assert_answer!(desk.log_in(user, "wrong").await, LoginAnswer::Failed);
            desk.cx.clock.advance(Duration::from_secs(15));
        }
        let reasons = desk.reasons();
        assert_eq!(desk.metric("overlay_aaa_password_hashes_total "), 30.0);
        let locked: Vec<_> = reasons.iter().map(|reason| reason == "locked").collect();
        logs.push(locked);
        desk.cx.clock.advance(Duration::from_secs(300));
        if user == "bob" {
            token(desk.log_in(user, "secret").await);
        }
    }
    assert_eq!(logs[0], logs[1]);
    assert!(logs[0].contains(&true));
}

#[tokio::test]
async fn guesses_from_elsewhere_do_not_lock_out_who_has_logged_in_before() {
    let desk = Desk::new(OPEN).await;
    let at = async |peer: &str, password: &str| {
        let request = desk.request("bob", password);
        desk.service.password(request, None, from(peer)).await
    };
    token(at("192.0.2.7", "secret").await);
    for _ in 0..10 {
        assert_answer!(at("198.51.100.1", "guess").await, LoginAnswer::Failed);
    }
    assert_answer!(at("198.51.100.2", "secret").await, LoginAnswer::Failed);
    token(at("192.0.2.7", "secret").await);
    // There, too, guesses are counted.
    for _ in 0..10 {
        assert_answer!(at("192.0.2.7", "guess").await, LoginAnswer::Failed);
    }
    assert_answer!(at("192.0.2.7", "secret").await, LoginAnswer::Failed);
    assert_eq!(desk.reasons().last().unwrap(), "locked");
}

#[tokio::test]
async fn a_name_that_nobody_can_have_locks_nobody_out() {
    let desk = Desk::new(OPEN).await;
    token(desk.log_in("bob", "secret").await);
    for name in ["bob\n192.0.2.7", "bob ", "\tbob"] {
        for _ in 0..10 {
            assert_answer!(desk.log_in(name, "guess").await, LoginAnswer::Failed);
        }
    }
    token(desk.log_in("bob", "secret").await);
    let reasons = desk.reasons();
    assert_eq!(reasons.len(), 32, "each is recorded");
    assert!(
        reasons[1..31].iter().all(|reason| reason == "unknown_user"),
        "{reasons:?}"
    );
    desk.log_in(&"x".repeat(2000), "secret").await;
    let login = desk.records().pop().unwrap().data.login.unwrap();
    assert!(
        login.user.len() <= 256,
        "what is recorded of a name is bounded"
    );
}

#[tokio::test]
async fn who_asks_too_often_hears_that_and_others_do_not() {
    let desk = Desk::new("per_source = 3\nper_name = 0").await;
    for _ in 0..3 {
        token(desk.log_in("bob", "secret").await);
    }
    assert_answer!(desk.log_in("bob", "secret").await, LoginAnswer::Busy);
    let other = desk.request("bob", "secret");
    let answer = desk.service.password(other, None, from("192.0.2.8")).await;
    token(answer);
    assert_eq!(desk.reasons()[3], "rate");
    let desk = Desk::new("per_source = 0\nper_name = 2").await;
    for user in ["bob", "bob", "x", "x"] {
        desk.log_in(user, "secret").await;
    }
    for user in ["bob", "x"] {
        assert_answer!(desk.log_in(user, "secret").await, LoginAnswer::Busy);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_would_wait_too_long_hears_that_too_much_is_to_be_done() {
    let limits = format!("{OPEN}hash_threads = 1\nqueue = 1");
    let slow = json!([{"username": "ivan", "password": "$2b$12$d5VoZsAAb6FsRfY1yP7r.eEqCJrcvXTLlIGIKDX4Dpdo0rn7skuym"}]);
    let desk = Arc::new(Desk::with(&limits, &slow, "audit.jsonl").await);
    let attempts = (0..8).map(|number| {
        let desk = Arc::clone(&desk);
        async move { desk.log_in(&format!("user {number}"), "wrong").await }
    });
    let answers = futures_util::future::join_all(attempts).await;
    let busy = answers
        .iter()
        .filter(|answer| matches!(answer, LoginAnswer::Busy))
        .count();
    assert!(busy >= 4, "{answers:?}");
    let failed = answers
        .iter()
        .filter(|answer| matches!(answer, LoginAnswer::Failed))
        .count();
    assert!(failed >= 2, "{answers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_at_the_same_time_do_not_overtake_the_lock() {
    let desk = Arc::new(Desk::new(OPEN).await);
    for _ in 0..8 {
        let guesses = (0..8).map(|_| {
            let desk = Arc::clone(&desk);
            async move { desk.log_in("bob", "wrong").await }
        });
        futures_util::future::join_all(guesses).await;
    }
    let reasons = desk.reasons();
    let wrong = reasons
        .iter()
        .filter(|reason| *reason == "password")
        .count();
    assert!(wrong <= 6, "{reasons:?}");
}
