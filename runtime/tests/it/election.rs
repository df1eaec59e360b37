use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::kv::Store;
use overlay_runtime::nats::election::{self, BUCKET, Caution, Leadership, Metrics, Settings};
use overlay_runtime::{CancellationToken, Context, Tasks};
use overlay_testkit::{Broker, Proxy, eventually};

use crate::{LIMIT, PERIOD};

const TERM: Duration = Duration::from_secs(4);

/// One process that takes part.
struct Candidate {
    leadership: Leadership,
    tasks: Tasks,
    shutdown: CancellationToken,
    context: Context,
}

impl Candidate {
    async fn join(url: &str, name: &str, caution: Caution) -> Self {
        let settings = Settings {
            caution,
            ..Settings::new("test", name)
        };
        Self::join_with(url, settings).await
    }

    async fn join_with(url: &str, settings: Settings) -> Self {
        let context = Context::new().unwrap();
        let client = async_nats::connect(url).await.unwrap();
        let metrics = Metrics::register(&context.registry).unwrap();
        let (tasks, shutdown) = (context.tasks.clone(), context.shutdown.clone());
        let leadership = election::start(client, settings, metrics, &tasks, shutdown.clone());
        Self {
            leadership,
            tasks,
            shutdown,
            context,
        }
    }

    fn leads(&self) -> bool {
        self.leadership.is_leader()
    }
}

async fn won(candidate: &Candidate) {
    let mut leadership = candidate.leadership.clone();
    tokio::time::timeout(LIMIT, leadership.won()).await.unwrap();
}

/// The bucket as a Choria broker makes it.
async fn bucket(broker: &Broker) -> Store {
    let client = async_nats::connect(broker.url()).await.unwrap();
    let jetstream = jetstream::new(client);
    let config = jetstream::stream::Config {
        name: format!("KV_{BUCKET}"),
        subjects: vec![format!("$KV.{BUCKET}.>")],
        max_age: TERM,
        max_messages_per_subject: 1,
        max_message_size: 1024,
        discard: jetstream::stream::DiscardPolicy::New,
        deny_delete: true,
        allow_rollup: true,
        allow_direct: true,
        ..jetstream::stream::Config::default()
    };
    jetstream.create_stream(config).await.unwrap();
    jetstream.get_key_value(BUCKET).await.unwrap()
}

#[tokio::test]
async fn of_two_candidates_exactly_one_leads_and_the_other_follows_its_release() {
    let broker = Broker::builder().jetstream().start();
    let store = bucket(&broker).await;
    let one = Candidate::join(&broker.url(), "one", Caution::Full).await;
    won(&one).await;
    let two = Candidate::join(&broker.url(), "two", Caution::Full).await;
    assert_eq!(store.get("test").await.unwrap().unwrap(), "one");
    let revision = one.leadership.revision().unwrap();
    let mut at_once = tokio::time::interval(PERIOD);
    for _ in 0..50 {
        at_once.tick().await;
        assert!(one.leads() && !two.leads());
    }

    one.shutdown.cancel();
    let Candidate {
        leadership, tasks, ..
    } = one;
    eventually(LIMIT, PERIOD, || async { !leadership.is_leader() }).await;
    // The key stays while the former leader still works.
    assert_eq!(store.get("test").await.unwrap().unwrap(), "one");
    drop(leadership);
    eventually(LIMIT, PERIOD, || async { tasks.running().is_empty() }).await;
    won(&two).await;
    assert!(two.leadership.revision().unwrap() > revision);
    let text = overlay_runtime::metrics::text(&two.context.registry).unwrap();
    assert!(
        text.contains(r#"overlay_election_leader{election="test"} 1"#),
        "{text}"
    );
}

#[tokio::test]
async fn a_leader_that_dies_is_followed_when_its_term_is_over() {
    let broker = Broker::builder().jetstream().start();
    let _store = bucket(&broker).await;
    let proxy = Proxy::start(broker.port()).await;
    let one = Candidate::join(&proxy.url(), "one", Caution::None).await;
    won(&one).await;
    let two = Candidate::join(&broker.url(), "two", Caution::None).await;
    proxy.stall();
    eventually(LIMIT, PERIOD, || async {
        assert!(!(one.leads() && two.leads()), "two leaders");
        two.leads()
    })
    .await;
    // The former leader comes back, sees that it is none, and stays a candidate.
    proxy.flow();
    let mut at_once = tokio::time::interval(PERIOD);
    for _ in 0..50 {
        at_once.tick().await;
        assert!(two.leads() && !one.leads());
    }
}

#[tokio::test]
async fn case_45_a_leader_stands_down_when_its_key_is_overwritten() {
    let broker = Broker::builder().jetstream().start();
    let store = bucket(&broker).await;
    let mut one = Candidate::join(&broker.url(), "one", Caution::None).await;
    won(&one).await;
    store.put("test", "intruder".into()).await.unwrap();
    tokio::time::timeout(LIMIT, one.leadership.lost())
        .await
        .unwrap();
    assert!(!one.leads());
    // The intruder does not renew, so its term ends and the candidate leads again.
    won(&one).await;
}

#[tokio::test]
async fn an_evicted_leader_comes_back_over_the_marker() {
    let broker = Broker::builder().jetstream().start();
    let store = bucket(&broker).await;
    let mut one = Candidate::join(&broker.url(), "one", Caution::Full).await;
    won(&one).await;
    store.delete("test").await.unwrap();
    tokio::time::timeout(LIMIT, one.leadership.lost())
        .await
        .unwrap();
    won(&one).await;
}

#[tokio::test]
async fn a_leader_that_retakes_is_not_disturbed_by_a_candidate_of_choria_that_stops() {
    let broker = Broker::builder().jetstream().start();
    let store = bucket(&broker).await;
    let settings = Settings {
        caution: Caution::AfterDeletion(Duration::from_millis(200)),
        leader_interval: Some(Duration::from_millis(100)),
        retake: true,
        ..Settings::new("test", "one")
    };
    let one = Candidate::join_with(&broker.url(), settings).await;
    won(&one).await;
    let before = one.leadership.revision().unwrap();
    store.delete("test").await.unwrap();
    eventually(LIMIT, PERIOD, || async {
        assert!(one.leads());
        // The deletion and a renewal over it.
        one.leadership.revision() >= Some(before + 2) && store.get("test").await.unwrap().is_some()
    })
    .await;
}

#[tokio::test]
async fn a_bucket_that_no_election_can_be_held_with_is_told_until_it_fits() {
    let broker = Broker::builder().jetstream().start();
    let one = Candidate::join(&broker.url(), "one", Caution::None).await;
    let trouble = |part: &'static str| {
        let leadership = &one.leadership;
        eventually(LIMIT, PERIOD, move || async move {
            leadership.trouble().filter(|why| why.contains(part))
        })
    };
    trouble("stream not found").await;
    let client = async_nats::connect(broker.url()).await.unwrap();
    let jetstream = jetstream::new(client);
    let config = jetstream::kv::Config {
        bucket: BUCKET.to_owned(),
        ..jetstream::kv::Config::default()
    };
    jetstream.create_key_value(config).await.unwrap();
    trouble("it must be from 1 s to 1 h").await;
    jetstream.delete_key_value(BUCKET).await.unwrap();
    let _store = bucket(&broker).await;
    won(&one).await;
    assert_eq!(one.leadership.trouble(), None);
}

#[tokio::test]
async fn a_bucket_that_goes_away_is_told() {
    let broker = Broker::builder().jetstream().start();
    let store = bucket(&broker).await;
    let one = Candidate::join(&broker.url(), "one", Caution::None).await;
    won(&one).await;
    let client = async_nats::connect(broker.url()).await.unwrap();
    let jetstream = jetstream::new(client);
    jetstream.delete_key_value(BUCKET).await.unwrap();
    drop(store);
    eventually(LIMIT, PERIOD, || async { one.leadership.trouble() }).await;
    assert!(!one.leads());
}

#[tokio::test]
async fn a_part_of_a_process_takes_part_and_gives_the_key_back_when_it_ends() {
    let broker = Broker::builder().jetstream().start();
    let store = bucket(&broker).await;
    let context = Context::new().unwrap();
    let client = async_nats::connect(broker.url()).await.unwrap();
    let metrics = Metrics::register(&context.registry).unwrap();
    let stop = CancellationToken::new();
    let (mut leadership, candidacy) =
        election::candidate(client, Settings::new("test", "one"), metrics);
    let figures = leadership.figures();
    context
        .tasks
        .spawn_job("candidacy", candidacy.run(stop.clone()));
    tokio::time::timeout(LIMIT, leadership.won()).await.unwrap();
    assert!(figures.leads() && figures.attempts_as_candidate() >= 1);
    stop.cancel();
    drop(leadership);
    eventually(LIMIT, PERIOD, || async {
        context.tasks.running().is_empty()
    })
    .await;
    assert_eq!(store.get("test").await.unwrap(), None);
    assert!(!figures.leads());
}

#[tokio::test]
async fn lost_answers_do_not_end_a_term() {
    let broker = Broker::builder().jetstream().start();
    let store = bucket(&broker).await;
    let proxy = Proxy::start(broker.port()).await;
    let one = Candidate::join(&proxy.url(), "one", Caution::None).await;
    won(&one).await;
    // A connection cut again and again loses answers; renewals are asked again in time.
    let mut pause = tokio::time::interval(Duration::from_millis(700));
    for _ in 0..6 {
        pause.tick().await;
        proxy.cut();
    }
    eventually(LIMIT, PERIOD, || async { one.leads() }).await;
    assert_eq!(store.get("test").await.unwrap().unwrap(), "one");
}

#[tokio::test]
async fn a_candidate_waits_for_a_bucket_that_is_not_there_yet() {
    let broker = Broker::builder().jetstream().start();
    let one = Candidate::join(&broker.url(), "one", Caution::None).await;
    assert!(!one.leads());
    let _store = bucket(&broker).await;
    won(&one).await;
}

#[tokio::test]
async fn a_candidate_of_choria_shares_the_election() {
    let broker = Broker::builder().jetstream().start();
    let store = bucket(&broker).await;
    // What Choria's candidates do: create, then update at the known revision.
    let revision = store.create("test", "choria".into()).await.unwrap();
    let one = Candidate::join(&broker.url(), "one", Caution::None).await;
    let revision = store
        .update("test", "choria".into(), revision)
        .await
        .unwrap();
    assert!(!one.leads());
    store
        .delete_expect_revision("test", Some(revision))
        .await
        .unwrap();
    won(&one).await;
    assert!(store.create("test", "choria".into()).await.is_err());
    // Released by ours, it is free for theirs, over the marker.
    one.shutdown.cancel();
    let Candidate { leadership, .. } = one;
    drop(leadership);
    eventually(LIMIT, PERIOD, || async {
        store.create("test", "choria".into()).await
    })
    .await;
}

#[tokio::test]
async fn case_46_an_account_that_only_imports_the_bucket_can_hold_an_election() {
    let broker = Broker::builder()
        .jetstream()
        .config(
            r#"
accounts {
  choria {
    jetstream: enabled
    users: [ { user: choria, password: choria } ]
    exports: [
      { service: "$JS.API.STREAM.INFO.KV_CHORIA_LEADER_ELECTION", accounts: [ provisioning ], response_type: singleton }
      { service: "$KV.CHORIA_LEADER_ELECTION.provisioner", accounts: [ provisioning ], response_type: singleton }
    ]
  }
  provisioning {
    users: [ { user: provisioner, password: provisioner } ]
    imports: [
      { service: { account: choria, subject: "$JS.API.STREAM.INFO.KV_CHORIA_LEADER_ELECTION" }
        to: "choria.streams.STREAM.INFO.KV_CHORIA_LEADER_ELECTION" }
      { service: { account: choria, subject: "$KV.CHORIA_LEADER_ELECTION.provisioner" }
        to: "choria.streams.$KV.CHORIA_LEADER_ELECTION.provisioner" }
    ]
  }
}
"#,
        )
        .start();
    let jetstream = jetstream::new(connect_as(&broker, "choria").await);
    let config = jetstream::kv::Config {
        bucket: BUCKET.to_owned(),
        max_age: TERM,
        ..jetstream::kv::Config::default()
    };
    let store = jetstream.create_key_value(config).await.unwrap();

    let context = Context::new().unwrap();
    let metrics = Metrics::register(&context.registry).unwrap();
    let settings = Settings {
        api_prefix: Some("choria.streams".to_owned()),
        caution: Caution::None,
        ..Settings::new("provisioner", "p1")
    };
    let client = connect_as(&broker, "provisioner").await;
    let mut leadership = election::start(
        client,
        settings,
        metrics,
        &context.tasks,
        context.shutdown.clone(),
    );
    tokio::time::timeout(LIMIT, leadership.won()).await.unwrap();
    let first = leadership.revision().unwrap();
    eventually(LIMIT, PERIOD, || async {
        leadership.revision() > Some(first)
    })
    .await;
    assert_eq!(store.get("provisioner").await.unwrap().unwrap(), "p1");
}

async fn connect_as(broker: &Broker, user: &str) -> async_nats::Client {
    async_nats::ConnectOptions::with_user_and_password(user.to_owned(), user.to_owned())
        .connect(broker.url())
        .await
        .unwrap()
}
