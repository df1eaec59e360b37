//! Somebody else answers the same requests: a service of another cell's key, an intruder with the callout user's seed.

use async_nats::Client;
use overlay_testkit::{Broker, eventually};
use overlay_tokens::broker_jwt::{
    AccountKey, Permissions, UserJwt, decode_request, encode_response, encode_user,
};
use tokio::sync::watch;

use crate::cell::{OFTEN, Parts, SOON};
use crate::login::{client, fleet};
use crate::raw::Connect;

/// Answers every request at once, outside of the queue group, with a user who may do everything, signed by `account`.
async fn rival(parts: &Parts, port: u16, account: AccountKey) -> (Client, watch::Receiver<u32>) {
    let rival = parts.callout(port).await;
    let mut requests = rival.subscribe("$SYS.REQ.USER.AUTH").await.unwrap();
    rival.flush().await.unwrap();
    let asked_of = parts.keys.account.public().to_owned();
    let answering = rival.clone();
    let (answered, answers) = watch::channel(0);
    #[expect(
        clippy::disallowed_methods,
        reason = "it ends with the rival's connection"
    )]
    tokio::spawn(async move {
        while let Some(request) = futures_util::StreamExt::next(&mut requests).await {
            let now = overlay_testkit::mint::now();
            let Ok(asked) = decode_request(&request.payload, &asked_of, now) else {
                continue;
            };
            let user = UserJwt {
                account: "choria".to_owned(),
                name: "intruder".to_owned(),
                permissions: Permissions {
                    pub_allow: vec![">".to_owned()],
                    sub_allow: vec![">".to_owned()],
                    ..Permissions::default()
                },
                ..UserJwt::default()
            };
            let user = encode_user(&user, &asked.user_nkey, &account, now).unwrap();
            let answer = encode_response(
                Ok(&user),
                &asked.user_nkey,
                &asked.server_id.id,
                &account,
                now,
            )
            .unwrap();
            let told = answering
                .publish(request.reply.unwrap(), answer.into())
                .await;
            if told.is_err() {
                break;
            }
            answered.send_modify(|answered| *answered += 1);
        }
    });
    (rival, answers)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rival_with_another_key_lets_nobody_in_and_gives_nobody_more() {
    let parts = Parts::new();
    let broker = Broker::builder()
        .tls(&parts.tls)
        .jetstream()
        .max_control_line(65_536)
        .config(parts.keys.config_unsealed())
        .start();
    let service = parts.service(&[broker.port()], "");
    let (rival, mut answers) = rival(&parts, broker.port(), AccountKey::generate().unwrap()).await;
    let good = client(&parts.organisation, fleet());
    let stranger = client(&overlay_testkit::mint::Organisation::new(), fleet());
    let login = |connect: &Connect| {
        let (raw, connect) = (parts.open(broker.port()), connect.clone());
        tokio::task::spawn_blocking(move || raw.login(&connect))
    };
    let mut inside = 0.0;
    for _ in 0..20 {
        for nobody in [&Connect::named(), &stranger] {
            assert!(login(nobody).await.unwrap().is_err());
        }
        // The first answer counts: the rival may keep a good one out, and never gives it more than it has.
        if let Ok(mut member) = login(&good).await.unwrap() {
            inside += 1.0;
            let more = tokio::task::spawn_blocking(move || {
                member.may_publish("$JS.API.STREAM.CREATE.X") || member.may_subscribe(">")
            });
            // Its wrong answer may also come second, and end the connection.
            assert!(!more.await.unwrap_or(false));
        }
    }
    tokio::time::timeout(SOON, answers.wait_for(|answered| *answered >= 60))
        .await
        .expect("the rival answers each of the 60 requests")
        .unwrap();
    rival.drain().await.unwrap();
    // Whoever was kept out by it is counted, as an answer that the broker did not take.
    let told = "overlay_broker_auth_answers_not_taken_total";
    service.wait_for_metric(told, 20.0 - inside).await;
    // The moment it is gone, which the broker learns of by and by, everything is as before.
    eventually(SOON, OFTEN, || async {
        login(&good).await.unwrap().map(drop)
    })
    .await;
    let log = broker.log();
    assert!(!log.contains("panic"), "{log}");
}
