//! Two whole cells: what happens in one reaches the other, in full or sampled, over a line that fails, each message once.

use std::path::Path;
use std::sync::Arc;

use async_nats::jetstream::{self, stream};
use async_nats::{Auth, ConnectOptions};
use overlay_protocol::id::md5_hex;
use overlay_testkit::{Process, Proxy, eventually};
use overlay_tokens::Key;
use serde_json::{Value, json};

use crate::world::{PATIENCE, PERIOD, World};

const DOCUMENTS: &str = "NODE_DOCUMENTS";
const ADVISORIES: &str = "OVERLAY_REPLICATION_ADVISORIES";
const NODES: [&str; 4] = ["a", "b", "c", "d"];

/// A cell, the region that takes its copies, and the line between them.
struct Pair {
    site: World,
    region: World,
    line: Proxy,
    _up: [Process; 2],
}

impl Pair {
    async fn start(replicators: &str) -> Self {
        let region = World::named("region", 0, &["--site", "site=NODE_DOCUMENTS"]);
        let line = Proxy::start(region.port).await;
        // The cell knows the region by the near end of the line.
        region.edit(
            "sites/site/region.toml",
            &format!(":{}", region.port),
            &format!(":{}", line.port()),
        );
        let pass = region.dir().join("sites/site").display().to_string();
        let site = World::named(
            "site",
            1,
            &[
                "--region",
                &pass,
                "--sample",
                "NODE_DOCUMENTS=sender",
                "--replicators",
                replicators,
            ],
        );
        let config = "stream-replicator/stream-replicator.toml";
        // A vote of the dead is not good for long.
        let login = "broker-auth/broker-auth.toml";
        site.edit(login, "", "[streams.election]\nretention = \"5s\"");
        site.edit(config, "warn = \"30m\"", "warn = \"5s\"");
        let up = [region.up(), site.up()];
        Self {
            site,
            region,
            line,
            _up: up,
        }
    }

    /// How many messages a stream of the cell holds, and how many its copy.
    fn counts(&self, stream: &str) -> (u64, u64) {
        let copy = format!("site_{stream}");
        (count(&self.site, stream), count(&self.region, &copy))
    }

    /// Waits until a stream that is copied in full has as many messages at both ends, at least `least`.
    async fn wait_for_equal(&self, stream: &str, least: u64) -> u64 {
        eventually(PATIENCE, PERIOD, || async {
            match self.counts(stream) {
                (own, copy) if own == copy && own >= least => Ok(own),
                counts => Err(format!("{stream}: {counts:?}, {least} are due")),
            }
        })
        .await
    }
}

fn count(world: &World, stream: &str) -> u64 {
    let status = world.overlay(&["cell", "status", world.path(), "--json"]);
    let status = status.json();
    let streams = status["streams"].as_array().unwrap();
    let found = streams.iter().find(|found| found["name"] == stream);
    found.map_or(0, |found| found["messages"].as_u64().unwrap())
}

/// A connection of a caller who may use streams.
async fn client(world: &World, name: &str, flags: &[&str]) -> jetstream::Context {
    let config = world.caller(name, None, flags);
    let dir = config.parent().unwrap();
    let read = |file: &str| std::fs::read_to_string(dir.join(file)).unwrap();
    let token = read("client.jwt").trim().to_owned();
    let key = Arc::new(Key::from_seed_text(read("client.seed").as_bytes()).unwrap());
    let client = ConnectOptions::with_auth_callback(move |nonce| {
        let (token, key) = (token.clone(), Arc::clone(&key));
        async move {
            let mut auth = Auth::new();
            auth.token = Some(token.clone());
            auth.jwt = Some(token);
            auth.signature = Some(key.sign(&nonce).to_vec());
            Ok(auth)
        }
    })
    .custom_inbox_prefix(format!("choria.reply.{}", md5_hex(&format!("up={name}"))))
    .add_root_certificates(world.dir().join("tls/ca.pem"))
    .connect(format!("tls://localhost:{}", world.port))
    .await
    .unwrap();
    jetstream::new(client)
}

/// A stream of documents at the cell, and who may write into it.
async fn documents(site: &World) -> jetstream::Context {
    let flags = ["--stream-admin", "--publish", "node.documents.>"];
    let context = client(site, "documents", &flags).await;
    context
        .create_stream(stream::Config {
            name: DOCUMENTS.to_owned(),
            subjects: vec!["node.documents.>".to_owned()],
            ..stream::Config::default()
        })
        .await
        .unwrap();
    context
}

async fn tell(context: &jetstream::Context, nodes: &[&str]) {
    for node in nodes {
        let body = json!({ "sender": node, "data": { "os": "Debian" } }).to_string();
        let sent = context.publish(format!("node.documents.{node}"), body.into());
        sent.await.unwrap().await.unwrap();
    }
}

/// The subjects of a stream's messages without the prefix of copies, in order.
async fn subjects(context: &jetstream::Context, stream: &str, prefix: &str) -> Vec<String> {
    let mut stream = context.get_stream(stream).await.unwrap();
    let state = stream.info().await.unwrap().state.clone();
    let mut found = Vec::new();
    if state.messages == 0 {
        return found;
    }
    for sequence in state.first_sequence..=state.last_sequence {
        let message = stream.get_raw_message(sequence).await.unwrap();
        found.push(message.subject.trim_start_matches(prefix).to_owned());
    }
    found
}

/// Something that happens in a cell: a login that is refused is told in the stream of events.
fn happen(site: &World, times: usize) {
    let foreign = site.foreign_issuer();
    let stranger = site.caller("stranger", Some(Path::new(&foreign)), &[]);
    for _ in 0..times {
        site.overlay_as(&stranger, &["ping", "--timeout", "1s"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_in_a_cell_reaches_its_region_once_whatever_the_line_does() {
    let pair = Pair::start("1").await;
    let writer = documents(&pair.site).await;
    tell(&writer, &NODES).await;
    pair.wait_for_equal("CHORIA_EVENTS", 1).await;
    pair.wait_for_equal(ADVISORIES, 4).await;

    // Of each node one document is copied, however often it tells.
    for _ in 0..20 {
        tell(&writer, &NODES).await;
    }
    eventually(PATIENCE, PERIOD, || async {
        match pair.counts(DOCUMENTS) {
            (84, 4) => Ok(()),
            counts => Err(format!("{counts:?}")),
        }
    })
    .await;

    pair.line.refuse();
    pair.line.cut();
    happen(&pair.site, 3);
    // A node that is new while the line is down.
    tell(&writer, &["late"]).await;
    let (own, copy) = pair.counts("CHORIA_EVENTS");
    assert!(own > copy, "{own} events here, {copy} at the region");
    pair.line.accept();
    pair.wait_for_equal("CHORIA_EVENTS", own).await;
    let region = client(&pair.region, "reader", &["--stream-admin"]).await;
    eventually(PATIENCE, PERIOD, || async {
        match pair.counts(DOCUMENTS) {
            (85, 5) => Ok(()),
            counts => Err(format!("{counts:?}")),
        }
    })
    .await;
    let prefix = "replica.site.CHORIA_EVENTS.";
    let copies = subjects(&region, "site_CHORIA_EVENTS", prefix).await;
    let own = subjects(&writer, "CHORIA_EVENTS", "").await;
    assert_eq!(own, copies, "other events, or another order");
    assert_eq!(count(&pair.site, "OVERLAY_REPLICATION_DEAD"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_hears_of_a_node_that_falls_silent_and_returns() {
    let pair = Pair::start("1").await;
    let writer = documents(&pair.site).await;
    let region = client(&pair.region, "reader", &["--stream-admin"]).await;
    let prefix = format!("replica.site.{ADVISORIES}.choria.stream-replicator.advisory.");
    let copies = format!("site_{ADVISORIES}");
    let silent = "d";
    let told = || async { subjects(&region, &copies, &prefix).await };
    eventually(PATIENCE, PERIOD, || async {
        tell(&writer, &["a", "b", "c"]).await;
        if !told().await.contains(&format!("new.{silent}")) {
            tell(&writer, &[silent]).await;
        }
        match told().await.contains(&format!("timeout.{silent}")) {
            true => Ok(()),
            false => Err(format!("{:?}", told().await)),
        }
    })
    .await;
    let before = told().await;
    let silences = before.iter().filter(|word| word.starts_with("timeout."));
    assert_eq!(silences.count(), 1, "{before:?}");
    tell(&writer, &[silent]).await;
    eventually(PATIENCE, PERIOD, || async {
        match told().await.contains(&format!("recover.{silent}")) {
            true => Ok(()),
            false => Err(format!("{:?}", told().await)),
        }
    })
    .await;
    pair.wait_for_equal(ADVISORIES, 6).await;
    let kept = region.get_stream(&copies).await.unwrap();
    let subject = format!("{prefix}recover.{silent}");
    let last = kept
        .get_last_raw_message_by_subject(&subject)
        .await
        .unwrap();
    let body: Value = serde_json::from_slice(&last.payload).unwrap();
    assert_eq!(
        (&body["replicator"], &body["value"]),
        (&json!("site"), &json!(silent))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_replicator_is_replaced_by_the_other_and_nothing_comes_twice() {
    let pair = Pair::start("2").await;
    let writer = documents(&pair.site).await;
    tell(&writer, &NODES).await;
    let before = pair.wait_for_equal("CHORIA_EVENTS", 1).await;
    pair.site.kill("replicator-1");
    happen(&pair.site, 3);
    eventually(PATIENCE, PERIOD, || async {
        match pair.counts("CHORIA_EVENTS") {
            (own, copy) if own == copy && own >= before + 3 => Ok(()),
            counts => Err(format!("{counts:?}")),
        }
    })
    .await;
    let region = client(&pair.region, "reader", &["--stream-admin"]).await;
    let prefix = "replica.site.CHORIA_EVENTS.";
    assert_eq!(
        subjects(&writer, "CHORIA_EVENTS", "").await,
        subjects(&region, "site_CHORIA_EVENTS", prefix).await
    );
}
