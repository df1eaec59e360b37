//! Bare nodes become members: real processes throughout.

use overlay_testkit::mint::Organisation;
use overlay_testkit::{Process, eventually_blocking, mint};
use overlay_tokens::claims::ServerClaims;
use overlay_tokens::issue::{OrgIssuer, ProvisioningToken};
use overlay_tokens::{Issuers, Key, PublicKey, Unverified, file};
use serde_json::Value;
use std::time::Duration;

use crate::bare::{Bare, QUICK, provisioning_token, wait_for_state};
use crate::world::{PATIENCE, PERIOD, World};

const NAMES: [&str; 3] = ["n1.example.net", "n2.example.net", "n3.example.net"];

fn watch(world: &World) -> Process {
    Process::builder(Process::locate("overlay").unwrap())
        .args(["events", "--json"])
        .env("OVERLAY_CONFIG", world.dir().join("operator/client.toml"))
        .start()
}

/// `type component` of the events of one node, in the order in which they were seen.
fn lives(events: &Process, name: &str) -> Vec<String> {
    let mut lives = Vec::new();
    for line in events.stdout().lines() {
        let event: Value = serde_json::from_str(line).unwrap_or_default();
        let data = if event["data"].is_object() {
            &event["data"]
        } else {
            &event
        };
        if data["identity"] == name {
            let kind = data["protocol"].as_str().unwrap_or_default();
            let kind = kind.rsplit('.').next().unwrap_or_default();
            lives.push(format!(
                "{kind} {}",
                data["component"].as_str().unwrap_or_default()
            ));
        }
    }
    lives
}

#[test]
fn provision_case_16_bare_nodes_enrol_and_answer_signed_requests() {
    let world = World::new(0, &["--provisioners", "1"]);
    let _up = world.up();
    let events = watch(&world);
    // The watcher may come after the first node's first event; the last node's are all seen.
    let mut nodes: Vec<Bare> = vec![Bare::start(&world, NAMES[0], None)];
    world.wait_for_nodes(1);
    nodes.extend(
        NAMES[1..]
            .iter()
            .map(|name| Bare::start(&world, name, None)),
    );
    world.wait_for_nodes(3);
    assert_eq!(world.answering(), NAMES);

    let ping = world
        .overlay(&["req", "rpcutil", "ping", "--json"])
        .ok()
        .json();
    assert_eq!(ping["request_stats"]["ok"], 3, "{ping}");
    let trusted: PublicKey = world
        .read("issuer/organisation.public")
        .trim()
        .parse()
        .unwrap();
    let issuers = Issuers::new([("choria".to_owned(), trusted)]).unwrap();
    for (name, node) in NAMES.iter().zip(&nodes) {
        assert_eq!(node.file("server.seed").unwrap().len(), 64);
        let token = node.file("server.jwt").unwrap();
        let claims = Unverified::<ServerClaims>::decode(&token)
            .unwrap()
            .verify(&issuers, mint::now())
            .expect("the chain verifies with the organisation's key alone");
        assert_eq!(claims.identity, *name);
        wait_for_state(&world, name, &["member"]);
    }
    // Case 24: in this order, and the last as a fleet node.
    let due = [
        "startup provision_mode_server",
        "provisioned provision_mode_server",
        "shutdown provision_mode_server",
        "startup server",
    ];
    eventually_blocking(PATIENCE, PERIOD, || {
        let lives = lives(&events, NAMES[2]);
        let seen: Vec<&String> = lives
            .iter()
            .filter(|life| !life.starts_with("alive"))
            .collect();
        if seen == due {
            Ok(())
        } else {
            Err(format!("{seen:?}"))
        }
    });
}

#[test]
fn a_node_with_a_forged_token_is_refused_and_the_refusal_says_why() {
    let world = World::new(0, &["--provisioners", "1"]);
    let _up = world.up();
    let forged = Organisation::new().provisioning(ProvisioningToken {
        token: world
            .read("provisioner/node.secret")
            .trim()
            .to_owned()
            .into(),
        urls: vec![format!("nats://localhost:{}", world.port)],
        by_default: true,
        protocol_v2: true,
        validity: Duration::from_secs(3600),
        ..ProvisioningToken::default()
    });
    let events = watch(&world);
    let mut node = Bare::start(&world, "forged.example.net", Some(&forged));
    let line = eventually_blocking(PATIENCE, PERIOD, || {
        let text = events.stdout();
        let refusal = text.lines().find(|line| line.contains("refused"));
        refusal.map(str::to_owned)
    });
    assert!(
        line.contains("signature") || line.contains("issuer"),
        "{line}"
    );
    assert!(
        !line.contains("eyJ"),
        "a refusal never carries a token: {line}"
    );
    assert!(node.process.has_ended().is_none(), "it goes on trying");
    assert!(node.file("server.jwt").is_none());
    assert!(world.answering().is_empty());
}

#[test]
fn a_token_for_one_name_is_good_for_no_other() {
    let world = World::new(0, &["--provisioners", "1"]);
    let _up = world.up();
    let key: Key = file::read_seed(&world.dir().join("issuer/organisation.seed")).unwrap();
    let shared = provisioning_token(&world);
    let shared = Unverified::<overlay_tokens::claims::ProvisioningClaims>::decode(&shared).unwrap();
    let mut claims = shared.claims_unverified().clone();
    let mut extensions = claims.extensions.take().unwrap_or_default();
    let mut ours = extensions
        .get("overlay")
        .cloned()
        .unwrap_or_else(|| serde_json::json!({}));
    ours["identity"] = "mine.example.net".into();
    extensions.insert("overlay".to_owned(), ours);
    claims.extensions = Some(extensions);
    let token = OrgIssuer::new(key).issue(&claims).unwrap();
    let _other = Bare::start(&world, "other.example.net", Some(&token));
    let _mine = Bare::start(&world, "mine.example.net", Some(&token));
    world.wait_for_nodes(1);
    assert_eq!(world.answering(), ["mine.example.net"]);
}

#[test]
fn provision_case_26_a_member_that_is_sent_back_comes_again_with_a_new_key() {
    let world = World::new(0, &["--provisioners", "1"]);
    world.edit("provisioner/provisioner.toml", "", QUICK);
    let _up = world.up();
    let node = Bare::start(&world, NAMES[0], None);
    world.wait_for_nodes(1);
    wait_for_state(&world, NAMES[0], &["member"]);
    let before = node.file("server.seed").unwrap();
    let secret = format!("token={}", world.read("provisioner/node.secret").trim());
    world
        .overlay(&[
            "req",
            "choria_provision",
            "reprovision",
            &secret,
            "-I",
            NAMES[0],
        ])
        .ok();
    eventually_blocking(PATIENCE, PERIOD, || {
        let seed = node.file("server.seed");
        match seed {
            Some(seed) if seed != before => Ok(()),
            other => Err(format!(
                "the seed is still {:?}",
                other.map(|seed| seed.len())
            )),
        }
    });
    world.wait_for_nodes(1);
}

#[test]
fn provision_case_27_a_node_whose_token_expired_while_it_was_off_enrols_again() {
    let world = World::new(0, &["--provisioners", "1"]);
    world.edit("provisioner/provisioner.toml", "", QUICK);
    world.edit(
        "provisioner/provisioner.toml",
        "validity = \"90d\"",
        "validity = \"10s\"\nmin_validity = \"1s\"",
    );
    let _up = world.up();
    let mut node = Bare::start(&world, NAMES[0], None);
    world.wait_for_nodes(1);
    node.process.kill();
    let token = node.file("server.jwt").unwrap();
    let claims = Unverified::<ServerClaims>::decode(&token).unwrap();
    let expires = claims.claims_unverified().standard.exp.unwrap();
    eventually_blocking(PATIENCE, PERIOD, || mint::now().secs > expires + 1);
    node.start_again(NAMES[0]);
    eventually_blocking(PATIENCE, PERIOD, || match node.file("server.jwt") {
        Some(new) if new != token => Ok(()),
        other => Err(format!("the token is {:?}", other.map(|text| text.len()))),
    });
    world.wait_for_nodes(1);
}
