//! A cell whose streams are copied, and a region that takes them: what one hands to the other, and what that is good for.
#![allow(
    clippy::unwrap_used,
    reason = "a helper that fails is a test that fails"
)]

use std::fs;
use std::time::Duration;

use async_nats::{Auth, ConnectOptions};
use overlay_testkit::eventually;
use overlay_tokens::Key;
use serde_json::{Value, json};

use crate::cell_permissions::User;
use crate::cell_run::up;
use crate::cell_support::{Place, fails, has, overlay, snapshot, succeeds};

const LIMIT: Duration = Duration::from_secs(60);
const PERIOD: Duration = Duration::from_millis(50);

/// A region that takes copies of cell `test`, and where it put what that cell needs.
fn region(sites: &[&str]) -> (Place, String) {
    let region = Place::new();
    let flags: Vec<&str> = sites.iter().flat_map(|site| ["--site", site]).collect();
    succeeds(&region.init(&flags));
    let pass = region.path("sites/test").display().to_string();
    (region, pass)
}

#[test]
fn a_region_says_where_a_cell_copies_to_and_the_cell_does_so() {
    let (region, pass) = region(&["test=NODE_DOCUMENTS"]);
    let place = Place::new();
    succeeds(&place.init(&["--region", &pass, "--sample", "NODE_DOCUMENTS=sender"]));
    let config = place.read("stream-replicator/stream-replicator.toml");
    let config: Value =
        serde_json::to_value(toml::from_str::<toml::Value>(&config).unwrap()).unwrap();
    assert_eq!(config["target"]["servers"], json!([region.url()]));
    assert_eq!(config["source"]["servers"], json!([place.url()]));
    assert_eq!(
        fs::read(config["target"]["ca_file"].as_str().unwrap()).unwrap(),
        fs::read(region.path("tls/ca.pem")).unwrap()
    );
    let streams = config["streams"].as_array().unwrap();
    let names: Vec<_> = streams.iter().map(|stream| &stream["stream"]).collect();
    assert_eq!(
        names,
        [
            "CHORIA_EVENTS",
            "CHORIA_MACHINE",
            "NODE_DOCUMENTS",
            "OVERLAY_REPLICATION_ADVISORIES"
        ]
    );
    assert_eq!(streams[2]["target_stream"], "test_NODE_DOCUMENTS");
    assert_eq!(streams[2]["prefix"], "replica.test.NODE_DOCUMENTS");
    assert_eq!(streams[2]["sampling"]["field"], "sender");
    assert!(streams[0].get("sampling").is_none());
    assert!(
        streams
            .iter()
            .all(|stream| stream["create_target"] == false)
    );

    // The streams are made at the region, by its login service and not by the cell.
    let conf = region.read("broker/nats-server.conf");
    assert!(conf.contains("\"$JS.API.STREAM.CREATE.test_NODE_DOCUMENTS\""));
    assert!(conf.contains("max_file_store: 21GB"), "{conf}");
    let login = region.read("broker-auth/broker-auth.toml");
    assert!(
        login.contains("[streams.copies.test_CHORIA_EVENTS]"),
        "{login}"
    );
    assert!(login.contains("replication = false"));
    assert!(
        place
            .read("broker-auth/broker-auth.toml")
            .contains("replication = true")
    );
}

#[test]
fn each_token_of_a_replicator_is_for_one_thing() {
    let (_region, pass) = region(&["test"]);
    let place = Place::new();
    succeeds(&place.init(&["--region", &pass, "--replicators", "2"]));
    for index in [1, 2] {
        let server = place.token(&format!("stream-replicator/{index}/server.jwt"));
        assert_eq!(server["identity"], format!("replicator-{index}.test"));
    }
    let source = place.token("stream-replicator/cell.jwt");
    assert_eq!(source["callerid"], "replicator=test");
    let granted = source["permissions"].as_object();
    assert!(!granted.into_iter().flatten().any(|(_, is)| *is == true));
    let subjects = source["pub_subjects"].to_string();
    assert!(subjects.contains("CONSUMER.CREATE.CHORIA_EVENTS"));
    assert!(!subjects.contains("STREAM.CREATE"), "{subjects}");
    assert!(!subjects.contains("CHORIA_EXECUTOR"), "{subjects}");
    // Closed to all but its owner, whatever else the directory holds.
    for (name, mode, _) in snapshot(&place.path("stream-replicator")) {
        assert_eq!(mode & 0o077, 0, "{name}");
    }
}

#[test]
fn a_second_run_changes_nothing_and_another_directory_needs_a_word() {
    let (region, pass) = region(&["test", "other"]);
    let place = Place::new();
    succeeds(&place.init(&[]));
    let said = fails(&place.cell("init", &["--region", &pass]), 1);
    assert!(
        said.contains("region: is") && said.contains("--update"),
        "{said}"
    );
    succeeds(&place.cell("init", &["--region", &pass, "--update"]));
    let before = snapshot(&place.root);
    for flags in [&[][..], &["--region", &pass][..]] {
        let said = succeeds(&place.cell("init", flags));
        assert!(said.contains("nothing was changed"), "{said}");
    }
    assert!(snapshot(&place.root) == before);

    let other = region.path("sites/other").display().to_string();
    let said = fails(&place.cell("init", &["--region", &other, "--update"]), 1);
    assert!(said.contains("is for cell other"), "{said}");
    let said = fails(&place.cell("init", &["--region", "/none", "--update"]), 1);
    assert!(said.contains("--site"), "{said}");
    let sample = ["--sample", "NODE_DOCUMENTS=sender", "--update"];
    let said = fails(&place.cell("init", &sample), 1);
    assert!(said.contains("--site test=NODE_DOCUMENTS"), "{said}");
    let said = fails(
        &place.cell("init", &["--sample", "NODE_DOCUMENTS", "--update"]),
        2,
    );
    assert!(said.contains("which is none"), "{said}");
    let twice = ["--site", "lon=A_B", "--site", "lon_A=B", "--update"];
    let said = fails(&region.cell("init", &twice), 2);
    assert!(said.contains("into one stream, lon_A_B"), "{said}");
    assert!(snapshot(&place.root) == before);
}

#[test]
fn a_renewed_token_is_brought_like_the_first() {
    let (region, pass) = region(&["test"]);
    let place = Place::new();
    succeeds(&place.init(&["--region", &pass]));
    let first = place.read("stream-replicator/region.jwt");
    fs::remove_file(region.path("sites/test/region.jwt")).unwrap();
    succeeds(&region.cell("init", &[]));
    succeeds(&place.cell("init", &["--region", &pass, "--update"]));
    let second = place.read("stream-replicator/region.jwt");
    assert!(first != second && second == region.read("sites/test/region.jwt"));
}

#[test]
fn tokens_that_are_for_other_streams_are_found() {
    let (region, pass) = region(&["test"]);
    let place = Place::new();
    succeeds(&place.init(&["--region", &pass]));
    // The region takes a further stream; its token for the cell and the cell's own are for the former ones.
    succeeds(&region.cell("init", &["--site", "test=NODE_DOCUMENTS", "--update"]));
    let found = region.check()["findings"].to_string();
    assert!(found.contains("made for other streams"), "{found}");
    fs::remove_file(region.path("sites/test/region.jwt")).unwrap();
    succeeds(&region.cell("init", &[]));
    let found = region.check()["findings"].to_string();
    assert!(!found.contains("made for other streams"), "{found}");
    succeeds(&place.cell("init", &["--region", &pass, "--update"]));
    let found = place.check()["findings"].to_string();
    assert!(found.contains("made for other streams"), "{found}");
    assert!(found.contains("stream-replicator/cell.jwt"), "{found}");

    let seed = place.read("operator/client.seed");
    place.write("stream-replicator/region.seed", &seed);
    let found = place.check()["findings"].to_string();
    assert!(found.contains("have the region make another"), "{found}");
    fs::remove_file(place.path("stream-replicator/region.seed")).unwrap();
    let found = place.check()["findings"].to_string();
    assert!(found.contains("--region DIRECTORY"), "{found}");
}

#[test]
fn copies_of_two_cells_that_would_go_into_one_stream_are_refused() {
    let region = Place::new();
    let said = fails(&region.init(&["--site", "lon=A_B", "--site", "lon_A=B"]), 2);
    assert!(said.contains("into one stream, lon_A_B"), "{said}");
    assert!(!region.path("nats-server.conf").exists());
}

#[test]
fn an_issuer_kept_elsewhere_is_told_the_replicators_tokens() {
    let (_region, pass) = region(&["test"]);
    let dir = tempfile::tempdir().unwrap();
    let seed = dir.path().join("org.seed");
    let public = dir.path().join("org.public");
    let mut keys = overlay();
    keys.args(["jwt", "keys"]).arg(&seed).arg(&public);
    succeeds(&keys.output().unwrap());
    let place = Place::new();
    let given = public.display().to_string();
    succeeds(&place.init(&["--issuer-public", &given, "--region", &pass]));
    let listed = place.read("issuer/TO-SIGN.md");
    for line in listed.lines().filter(|line| line.starts_with("overlay ")) {
        let line = line
            .replace("ORGANISATION.SEED", &seed.display().to_string())
            .replacen("overlay", env!("CARGO_BIN_EXE_overlay"), 1);
        succeeds(
            &std::process::Command::new("sh")
                .args(["-c", &line])
                .output()
                .unwrap(),
        );
    }
    let found = place.check()["findings"].to_string();
    for path in [
        "stream-replicator/cell.jwt",
        "stream-replicator/1/server.jwt",
    ] {
        assert!(place.path(path).exists());
        assert!(!found.contains(path), "{found}");
    }
}

/// Options of a login with a token, whose holder's key signs the nonce.
fn token(place: &Place, jwt: &str, seed: &str, caller: &str) -> ConnectOptions {
    let jwt = place.read(jwt).trim().to_owned();
    let key = Key::from_seed_text(place.read(seed).as_bytes()).unwrap();
    let uid = overlay_protocol::id::md5_hex(caller);
    ConnectOptions::with_auth_callback(move |nonce| {
        let (jwt, signature) = (jwt.clone(), key.sign(&nonce).to_vec());
        async move {
            let mut auth = Auth::new();
            auth.token = Some(jwt.clone());
            auth.jwt = Some(jwt);
            auth.signature = Some(signature);
            Ok(auth)
        }
    })
    .custom_inbox_prefix(format!("choria.reply.{uid}"))
}

#[tokio::test]
async fn a_replicator_reads_what_it_copies_and_writes_below_its_own_prefix() {
    let test = "a_replicator_reads_what_it_copies_and_writes_below_its_own_prefix";
    if !has(test, &["overlay-broker-auth"]) {
        return;
    }
    // One cell plays both parts: what is tried are the tokens.
    let place = Place::new();
    succeeds(&place.init(&["--site", "test"]));
    let pass = place.path("sites/test").display().to_string();
    succeeds(&place.cell("init", &["--region", &pass, "--update"]));
    let mut process = up(&place, &["--only", "nats-server,broker-auth-1"]);
    process.wait_for_line("ready: cell test is up", LIMIT);
    let source = token(
        &place,
        "stream-replicator/cell.jwt",
        "stream-replicator/cell.seed",
        "replicator=test",
    );
    let source = User::with(&place, source).await;
    let consumer = json!({
        "stream_name": "CHORIA_EVENTS",
        "config": { "name": "SR_test", "durable_name": "SR_test", "ack_policy": "explicit" },
    });
    eventually(LIMIT, PERIOD, || async {
        let answer = source
            .api("STREAM.INFO.OVERLAY_REPLICATION_DEAD", &json!({}))
            .await;
        match answer["error"].is_null() {
            true => Ok(()),
            false => Err(answer.to_string()),
        }
    })
    .await;
    for (call, body) in [
        ("STREAM.INFO.CHORIA_EVENTS", &json!({})),
        ("CONSUMER.CREATE.CHORIA_EVENTS.SR_test", &consumer),
        ("CONSUMER.INFO.CHORIA_EVENTS.SR_test", &json!({})),
        ("STREAM.INFO.KV_OVERLAY_REPLICATION", &json!({})),
        ("STREAM.INFO.OVERLAY_REPLICATION_ADVISORIES", &json!({})),
    ] {
        let answer = source.api(call, body).await;
        assert!(answer["error"].is_null(), "{call}: {answer}");
    }
    let context = async_nats::jetstream::new(source.client.clone());
    for subject in [
        "choria.stream-replicator.advisory.new.n1",
        "choria.stream-replicator.dead.CHORIA_EVENTS.test",
        "$KV.OVERLAY_REPLICATION.position.CHORIA_EVENTS.test",
        "$KV.CHORIA_LEADER_ELECTION.SR_test_CHORIA_EVENTS",
    ] {
        context
            .publish(subject, "x".into())
            .await
            .unwrap()
            .await
            .unwrap();
    }
    for subject in [
        "$JS.API.STREAM.INFO.CHORIA_EXECUTOR",
        "$JS.API.CONSUMER.CREATE.CHORIA_EXECUTOR.x",
        "$JS.API.STREAM.CREATE.MINE",
        "$JS.API.STREAM.PURGE.CHORIA_EVENTS",
        "$JS.API.STREAM.DELETE.CHORIA_EVENTS",
        "choria.lifecycle.event.startup.server",
        "choria.node.n1",
        "choria.broadcast.agent.rpcutil",
        "$KV.CHORIA_LEADER_ELECTION.provisioner",
    ] {
        source.may_not_publish(subject).await;
    }
    for subject in [">", "choria.reply.>", "choria.node.>", "_INBOX.>"] {
        source.may_not_subscribe(subject).await;
    }

    let target = token(
        &place,
        "stream-replicator/region.jwt",
        "stream-replicator/region.seed",
        "replicator=test",
    );
    let target = User::with(&place, target).await;
    let context = async_nats::jetstream::new(target.client.clone());
    eventually(LIMIT, PERIOD, || async {
        let copy = "replica.test.CHORIA_EVENTS.choria.lifecycle.event.startup.server";
        let sent = context.publish(copy, "x".into()).await.unwrap();
        let stored = sent.await.map_err(|error| error.to_string())?;
        (stored.stream == "test_CHORIA_EVENTS")
            .then_some(())
            .ok_or(stored.stream)
    })
    .await;
    let last = json!({ "last_by_subj": ">" });
    let answer = target.api("STREAM.MSG.GET.test_CHORIA_EVENTS", &last).await;
    assert!(answer["error"].is_null(), "{answer}");
    for subject in [
        "$JS.API.STREAM.CREATE.test_CHORIA_EVENTS",
        "$JS.API.STREAM.UPDATE.test_CHORIA_EVENTS",
        "$JS.API.CONSUMER.CREATE.test_CHORIA_EVENTS.x",
        "$JS.API.STREAM.MSG.GET.CHORIA_EVENTS",
        "$JS.API.STREAM.INFO.other_CHORIA_EVENTS",
        "replica.other.CHORIA_EVENTS.x",
        "replica.test.OTHER.x",
        "choria.lifecycle.event.startup.server",
    ] {
        target.may_not_publish(subject).await;
    }
    target.may_not_subscribe("replica.>").await;
    assert!(process.stop(LIMIT).success());
}
