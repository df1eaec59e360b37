//! What holders of the shared token try on each other, and what the provisioner may touch.

use std::time::Duration;

use async_nats::jetstream::{self, kv, stream};
use overlay_testkit::eventually_blocking;
use overlay_testkit::mint::Organisation;
use overlay_tokens::issue::ProvisioningToken;
use serde_json::json;

use crate::cell::{Cell, OFTEN, PROVISIONER_PASSWORD, SOON};
use crate::login::{client, fleet, provisioning_token};
use crate::provision::{STARTUP, VETTED, admin, bare, provisioner};
use crate::raw::{Connect, Raw};

/// A token that is good for one node.
fn bound(organisation: &Organisation, identity: &str) -> Connect {
    let extensions = json!({ "overlay": { "identity": identity } });
    Connect::token(&organisation.provisioning(ProvisioningToken {
        token: "s3cret".into(),
        urls: vec!["nats://127.0.0.1:4222".to_owned()],
        extensions: extensions.as_object().cloned(),
        ..ProvisioningToken::default()
    }))
}

/// A request of the provisioner to a node, with a reply subject.
fn ask(provisioner: &mut Raw, node: &str, reply: &str) {
    provisioner.publish(&format!("provisioning.node.{node}"), reply, "request");
    assert_eq!(provisioner.told(), Vec::<String>::new());
}

#[test]
fn provision_case_13_a_node_hears_nobody_but_its_provisioner() {
    let cell = Cell::of_overlay(VETTED, "");
    let mut node = cell.login(&bare(&cell.parts.organisation, "n1")).unwrap();
    for subject in [
        ">",
        "*",
        "*.>",
        "*.*",
        "*.*.*",
        "*.node.n2",
        "*.*.n2",
        "provisioning.>",
        "provisioning.*.>",
        "provisioning.node.>",
        "provisioning.node.*",
        "provisioning.node.n2",
        "provisioning.node.n1.>",
        "provisioning.node.n2 group",
        "provisioning.reply.>",
        "provisioning.reply.*.*",
        "provisioning.vetted.>",
        "provisioning.registration.>",
        "provisioning.broadcast.>",
        "provisioning.broadcast.agent.>",
        "provisioning.broadcast.agent.*",
        "provisioning.broadcast.agent.other",
        "provisioning.broadcast.service.provisioner",
        "*.broadcast.service.provisioner",
        "choria.>",
        "choria.lifecycle.>",
        "choria.lifecycle.event.startup.server",
        "choria.broadcast.service.provisioner",
        STARTUP,
        "overlay.>",
        "overlay.audit.provisioning.>",
        "fleet.>",
        "_INBOX.>",
        "_R_.>",
        "$JS.>",
        "$JS.API.>",
        "$JS.ACK.>",
        "$KV.>",
        "$SYS.>",
        "$SRV.>",
    ] {
        assert!(!node.may_subscribe(subject), "{subject}");
    }
}

#[test]
fn provision_case_13_a_node_says_nothing_in_anothers_name() {
    let cell = Cell::of_overlay(VETTED, "");
    let mut node = cell.login(&bare(&cell.parts.organisation, "n1")).unwrap();
    for subject in [
        "provisioning.node.n1",
        "provisioning.node.n2",
        "provisioning.node.y",
        "provisioning.broadcast.agent.discovery",
        "provisioning.broadcast.agent.choria_provision",
        "provisioning.broadcast.service.provisioner",
        "provisioning.reply.abc.def",
        "provisioning.reply.abc.instance.id",
        "provisioning.vetted.startup",
        "provisioning.registration.other",
        "choria.lifecycle.event.startup.server",
        "choria.lifecycle.event.shutdown.server",
        "choria.lifecycle.event.startup.provisioner",
        "choria.lifecycle.event.refused.broker_auth",
        "choria.lifecycle.event.governor.provision_mode_server",
        "choria.lifecycle.event.x.provision_mode_server",
        "choria.lifecycle.x",
        "choria.machine.transition",
        "choria.node.n1",
        "choria.broadcast.agent.discovery",
        "choria.broadcast.service.provisioner",
        "choria.reply.abc.def",
        "choria.streams.STREAM.INFO.KV_CHORIA_LEADER_ELECTION",
        "choria.streams.$KV.CHORIA_LEADER_ELECTION.provisioner",
        "$KV.CHORIA_LEADER_ELECTION.provisioner",
        "$KV.PROVISIONING_CLAIMS.n2",
        "$KV.PROVISIONING_CONTROL.paused",
        "$KV.PROVISIONING_NODES.n2",
        "overlay.audit.provisioning.enrolled",
        "overlay.audit.provisioning.enrolled.n2",
        "fleet.choria.node.n1",
        "fleet.choria.reply.abc.def",
        "$JS.API.INFO",
        "$JS.API.STREAM.PURGE.PROVISIONING_EVENTS",
        "$JS.API.CONSUMER.MSG.NEXT.PROVISIONING_EVENTS.provisioner",
        "$JS.ACK.PROVISIONING_EVENTS.provisioner.1.1.1.1.0",
        "$SYS.REQ.USER.INFO",
        "$SYS.REQ.ACCOUNT.PING.CONNZ",
        "_INBOX.x",
        "x",
    ] {
        assert!(!node.may_publish(subject), "{subject}");
    }
}

#[test]
fn a_node_answers_what_it_was_asked_once_and_nothing_else() {
    let cell = Cell::of_overlay(VETTED, "");
    let organisation = &cell.parts.organisation;
    let mut asker = cell.login(&provisioner(organisation)).unwrap();
    asker.send("SUB provisioning.reply.> 1\r\n");
    asker.told();
    let mut asked = cell.login(&bare(organisation, "n1")).unwrap();
    asked.send("SUB provisioning.node.n1 1\r\n");
    asked.told();
    let mut peer = cell.login(&bare(organisation, "n2")).unwrap();
    peer.send("SUB provisioning.node.n2 1\r\n");
    peer.told();

    let reply = "provisioning.reply.uid.i1.r1";
    ask(&mut asker, "n1", reply);
    let (_, heard, _) = asked.message();
    assert_eq!(heard, reply);
    assert!(!peer.may_publish(reply), "a peer answers in its name");
    asked.publish(reply, "", "answer");
    assert_eq!(asked.told(), Vec::<String>::new());
    let (subject, _, payload) = asker.message();
    assert_eq!((subject.as_str(), payload.as_str()), (reply, "answer"));
    assert!(!asked.may_publish(reply), "a second answer");
    assert!(!asked.may_publish("provisioning.reply.uid.i1.r2"));

    // The subject of its next request is as good once, after any number that it left unanswered.
    for request in 0..100 {
        ask(
            &mut asker,
            "n1",
            &format!("provisioning.reply.uid.i1.s{request}"),
        );
        asked.message();
    }
    assert!(asked.may_publish("provisioning.reply.uid.i1.s7"));
    assert!(!peer.may_publish("provisioning.reply.uid.i1.s8"));
}

/// The broker answers an event that a stream keeps on the reply subject that comes with it, with rights of its own. A
/// stream of nodes' events must not, or a node writes into every bucket of the account.
#[tokio::test(flavor = "multi_thread")]
async fn the_reply_subject_of_an_event_makes_the_broker_write_nothing() {
    let cell = Cell::of_overlay(VETTED, "");
    let organisation = &cell.parts.organisation;
    let login = organisation.provisioner("provisioner=cell");
    let user = Some(("provisioner", PROVISIONER_PASSWORD));
    let provisioner = jetstream::new(cell.client(&login, user).await);
    let mut events = provisioner
        .create_stream(stream::Config {
            name: "PROVISIONING_EVENTS".to_owned(),
            subjects: vec!["choria.lifecycle.event.*.provision_mode_server".to_owned()],
            max_bytes: 1 << 20,
            no_ack: true,
            ..stream::Config::default()
        })
        .await
        .unwrap();
    let control = provisioner
        .create_key_value(kv::Config {
            bucket: "PROVISIONING_CONTROL".to_owned(),
            max_bytes: 1 << 20,
            ..kv::Config::default()
        })
        .await
        .unwrap();
    let mut peer = cell.login(&bare(organisation, "n2")).unwrap();
    peer.send("SUB provisioning.node.n2 1\r\n");
    peer.told();
    let mut node = cell.login(&bare(organisation, "n1")).unwrap();
    let replies = [
        "$KV.PROVISIONING_CONTROL.paused",
        "provisioning.node.n2",
        "provisioning.broadcast.agent.discovery",
        "overlay.audit.provisioning.enrolled",
        "$JS.API.STREAM.PURGE.PROVISIONING_EVENTS",
        "$JS.API.STREAM.DELETE.KV_PROVISIONING_CONTROL",
    ];
    for reply in replies {
        node.publish(STARTUP, reply, "event");
    }
    assert_eq!(node.told(), Vec::<String>::new());
    eventually_blocking(SOON, OFTEN, || {
        let info = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current()
                .block_on(events.info())
                .unwrap()
                .clone()
        });
        if info.state.messages == replies.len() as u64 {
            Ok(())
        } else {
            Err(format!("{} events", info.state.messages))
        }
    });
    assert!(control.get("paused").await.unwrap().is_none());
    assert_eq!(peer.told(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_provisioner_keeps_its_own_streams_and_buckets_and_no_others() {
    let cell = Cell::of_overlay(VETTED, "");
    let login = cell.parts.organisation.provisioner("provisioner=cell");
    let user = Some(("provisioner", PROVISIONER_PASSWORD));
    let context = jetstream::new(cell.client(&login, user).await);
    for bucket in ["CLAIMS", "NODES", "CONTROL", "TOKENS"] {
        let bucket = context
            .create_key_value(kv::Config {
                bucket: format!("PROVISIONING_{bucket}"),
                max_bytes: 1 << 20,
                history: 1,
                ..kv::Config::default()
            })
            .await
            .unwrap();
        bucket
            .create("n1.example.net", "claimed".into())
            .await
            .unwrap();
        assert!(
            bucket
                .create("n1.example.net", "again".into())
                .await
                .is_err()
        );
        assert_eq!(
            bucket.get("n1.example.net").await.unwrap().unwrap(),
            "claimed"
        );
        bucket.delete("n1.example.net").await.unwrap();
    }
    let audit = context
        .create_stream(stream::Config {
            name: "PROVISIONING_AUDIT".to_owned(),
            subjects: vec!["overlay.audit.provisioning.>".to_owned()],
            max_bytes: 1 << 20,
            deny_delete: true,
            deny_purge: true,
            ..stream::Config::default()
        })
        .await
        .unwrap();
    context
        .publish("overlay.audit.provisioning.enrolled.n1", "record".into())
        .await
        .unwrap()
        .await
        .unwrap();
    drop(audit);

    let mut raw = cell.login(&provisioner(&cell.parts.organisation)).unwrap();
    for subject in [
        "$JS.API.STREAM.CREATE.OTHER",
        "$JS.API.STREAM.DELETE.PROVISIONING_AUDIT",
        "$JS.API.STREAM.PURGE.PROVISIONING_AUDIT",
        "$JS.API.STREAM.MSG.DELETE.PROVISIONING_AUDIT",
        "$JS.API.STREAM.DELETE.KV_PROVISIONING_TOKENS",
        "$KV.CHORIA_LEADER_ELECTION.other",
        "choria.lifecycle.event.startup.server",
        STARTUP,
        "choria.broadcast.agent.rpcutil",
        "choria.node.n1",
        "provisioning.reply.abc.def",
        "$SYS.REQ.SERVER.PING",
        "anything",
    ] {
        assert!(!raw.may_publish(subject), "{subject}");
    }
    for subject in [
        ">",
        "provisioning.>",
        "provisioning.node.>",
        "choria.>",
        "$JS.>",
        "fleet.>",
        "*.node.>",
    ] {
        assert!(!raw.may_subscribe(subject), "{subject}");
    }
    for subject in [
        "provisioning.reply.>",
        "provisioning.reply.uid.i1.>",
        "choria.lifecycle.event.*.provision_mode_server",
        STARTUP,
        "*.broadcast.service.provisioner",
        "choria.lifecycle.event.startup.server",
    ] {
        assert!(raw.may_subscribe(subject), "{subject}");
    }
}

/// What nodes answer to the provisioner, their secrets among it, is not to be had in the fleet's account, where an
/// administrator may hear everything; what the provisioner answers to operators is.
#[tokio::test(flavor = "multi_thread")]
async fn answers_of_nodes_stay_in_their_account_and_those_of_the_provisioner_leave_it() {
    let cell = Cell::of_overlay(VETTED, "[provisioning.compat]\nany_reply = true\n");
    let organisation = &cell.parts.organisation;
    let fleet = cell.client(&admin(organisation), None).await;
    let mut heard = fleet.subscribe("*.reply.>").await.unwrap();
    crate::cell::settle(&fleet).await;
    let mut node = cell.login(&bare(organisation, "n1")).unwrap();
    assert!(node.may_publish("provisioning.reply.uid.id"));
    let mut raw = cell.login(&provisioner(organisation)).unwrap();
    raw.publish("fleet.choria.reply.uid.id", "", "answer");
    assert_eq!(raw.told(), Vec::<String>::new());
    let message = tokio::time::timeout(SOON, futures_util::StreamExt::next(&mut heard)).await;
    let message = message.unwrap().unwrap();
    assert_eq!(
        (message.subject.as_str(), message.payload.as_ref()),
        ("choria.reply.uid.id", b"answer".as_slice())
    );
}

/// A holder of the shared token who comes under another's name hears what that node is sent, and need not answer. The
/// broker tells the provisioner how many listen.
#[test]
fn the_provisioner_sees_that_somebody_else_listens_under_a_name() {
    let cell = Cell::of_overlay(VETTED, "");
    let organisation = &cell.parts.organisation;
    let mut asker = cell.login(&provisioner(organisation)).unwrap();
    let mut asked = 0;
    let mut listeners = |asker: &mut Raw| {
        asked += 1;
        let inbox = format!("provisioning.reply.uid.i1.c{asked}");
        asker.request("$SYS.DEBUG.SUBSCRIBERS", &inbox, "provisioning.node.n1")
    };
    assert_eq!(listeners(&mut asker), "0");
    let mut node = cell.login(&bare(organisation, "n1")).unwrap();
    node.send("SUB provisioning.broadcast.agent.discovery 1\r\nSUB provisioning.node.n1 2\r\n");
    node.told();
    assert_eq!(listeners(&mut asker), "1");
    let mut silent = cell.login(&bare(organisation, "n1")).unwrap();
    assert!(!silent.may_publish("$SYS.DEBUG.SUBSCRIBERS"));
    silent.send("SUB provisioning.node.n1 group 1\r\n");
    silent.told();
    assert_eq!(listeners(&mut asker), "2");
    drop(silent);
    eventually_blocking(SOON, OFTEN, || {
        let found = listeners(&mut asker);
        if found == "1" { Ok(()) } else { Err(found) }
    });
}

#[test]
fn a_token_for_one_node_lets_no_other_name_in() {
    let cell = Cell::of_overlay(VETTED, "");
    let connect = bound(&cell.parts.organisation, "n1.example.net");
    let mut node = cell
        .login(&connect.clone().called("n1.example.net"))
        .unwrap();
    assert!(node.may_subscribe("provisioning.node.n1.example.net"));
    for other in ["n2.example.net", ""] {
        cell.login(&connect.clone().called(other))
            .map(|_| ())
            .unwrap_err();
    }
    assert_eq!(cell.service.refused("another_nodes_token"), 2.0);
    for wild in [">", "n1.>", "a b", ""] {
        let connect = Connect::token(&provisioning_token(&cell.parts.organisation));
        cell.login(&connect.called(wild)).map(|_| ()).unwrap_err();
    }
    assert_eq!(cell.service.refused("bad_node_name"), 4.0);
    let events = cell.service.process.stderr();
    assert!(
        events.contains("must connect under its identity"),
        "{events}"
    );
}

#[test]
fn switches_for_programs_of_chorias_widen_one_thing_each() {
    let cell = Cell::of_overlay(VETTED, "[provisioning.compat]\nany_node_name = true\n");
    let organisation = &cell.parts.organisation;
    let mut node = cell
        .login(&bare(organisation, "choria.mcollective"))
        .unwrap();
    assert!(node.may_subscribe("provisioning.node.n1.example.net"));
    assert!(!node.may_publish("provisioning.reply.abc.def"));
    assert!(!node.may_subscribe("provisioning.reply.>") && !node.may_subscribe(">"));
}

#[test]
fn the_connection_of_a_node_ends_with_its_token() {
    let cell = Cell::of_overlay(VETTED, "");
    let token = cell.parts.organisation.provisioning(ProvisioningToken {
        token: "s3cret".into(),
        urls: vec!["nats://127.0.0.1:4222".to_owned()],
        validity: Duration::from_secs(4),
        ..ProvisioningToken::default()
    });
    let connect = Connect::token(&token).called("n1");
    let told = cell.login(&connect).unwrap().until_closed();
    assert!(
        told.iter()
            .any(|line| line.contains("User Authentication Expired")),
        "{told:?}"
    );
    assert!(cell.login(&connect).is_err());
    assert_eq!(cell.service.refused("token_expired"), 1.0);
}

#[test]
fn a_node_that_leaks_subscriptions_is_stopped() {
    let cell = Cell::of_overlay(VETTED, "");
    let mut node = cell.login(&bare(&cell.parts.organisation, "n1")).unwrap();
    for id in 0..257 {
        node.send(&format!("SUB provisioning.node.n1 {id}\r\n"));
    }
    let told = node.until_told("maximum subscriptions");
    assert!(told, "257 subscriptions");
}

/// A flood of holders of the shared token must not keep the fleet out, nor throw the provisioner out.
#[test]
fn a_flood_of_nodes_fills_its_own_account_only() {
    let cell = Cell::of_accounts(
        |keys| {
            keys.cell_config(VETTED)
                .replace("max_connections: 25000", "max_connections: 5")
        },
        "",
    );
    let organisation = &cell.parts.organisation;
    let mut provisioner = cell.login(&provisioner(organisation)).unwrap();
    let nodes: Vec<_> = (0..10)
        .map(|index| cell.login(&bare(organisation, &format!("n{index}"))))
        .collect();
    let inside = nodes.iter().filter(|node| node.is_ok()).count();
    assert_eq!(inside, 4);
    let told = nodes.iter().find_map(|node| node.as_ref().err()).unwrap();
    assert!(
        told.contains("maximum account active connections"),
        "{told}"
    );
    assert!(provisioner.may_publish("provisioning.node.n1"));
    cell.login(&client(organisation, fleet())).unwrap();
}
