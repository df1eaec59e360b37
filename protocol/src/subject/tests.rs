use proptest::prelude::*;

use super::{
    audit_of, broadcast_agent, fleet_probe, fleet_reply, is_valid, is_valid_permission,
    lifecycle_event, node, permission, replies_of_instance, reply, reply_of_instance, stream,
    submission, unprovisioned_node, vetted,
};
use crate::id::{AgentName, Collective, Identity};

fn choria() -> Collective {
    Collective::new("choria").unwrap()
}

#[test]
fn subjects_are_those_of_the_protocol() {
    let agent = AgentName::new("rpcutil").unwrap();
    assert_eq!(
        broadcast_agent(&choria(), &agent),
        "choria.broadcast.agent.rpcutil"
    );
    assert_eq!(
        node(&choria(), &Identity::new("n1.example.net").unwrap()),
        "choria.node.n1.example.net"
    );
    assert_eq!(reply(&choria(), "72dc", "2ecv"), "choria.reply.72dc.2ecv");
    assert_eq!(
        lifecycle_event("startup", "server").unwrap(),
        "choria.lifecycle.event.startup.server"
    );
}

#[test]
fn texts_that_would_break_a_subject_make_none() {
    assert_eq!(lifecycle_event("startup", ""), None);
    assert_eq!(lifecycle_event("startup", "a b.>"), None);
    assert_eq!(submission(&choria(), "a.>"), None);
    assert_eq!(submission(&choria(), "a..b"), None);
}

#[test]
fn permissions_are_judged_as_the_broker_judges_them() {
    for good in [
        "a",
        "*",
        ">",
        "a.*.b",
        "a.>",
        "$SYS.REQ.USER.INFO",
        "star*",
        "a.b>c",
        "é.a",
    ] {
        assert!(is_valid_permission(good), "{good}");
    }
    for bad in [
        "", ".", "a.", ".a", "a..b", ">.a", "a.>.b", "a b", "a\tb", "a\u{0}", "a queue",
    ] {
        assert!(!is_valid_permission(bad), "{bad:?}");
        assert!(!is_valid(bad), "{bad:?}");
    }
    assert!(!is_valid("a.*"));
    assert!(!is_valid("a.>"));
    assert!(is_valid("a.b"));
}

#[test]
fn every_constant_permission_is_valid() {
    let lists: [&[&str]; 8] = [
        &permission::STREAMS_USER_PUBLISH,
        &permission::EVENTS_VIEWER_SUBSCRIBE,
        &permission::ELECTION_USER_PUBLISH,
        &permission::GOVERNOR_PUBLISH,
        &permission::FLEET_PUBLISH,
        &permission::SERVER_PUBLISH,
        &permission::UNPROVISIONED_SUBSCRIBE,
        &permission::UNPROVISIONED_PUBLISH,
    ];
    for subject in lists.iter().flat_map(|list| list.iter()) {
        assert!(is_valid_permission(subject), "{subject}");
    }
    for subject in permission::server_streams_publish("acme") {
        assert!(
            subject.starts_with("choria.streams.") || subject.starts_with("$JS."),
            "{subject}"
        );
        assert!(is_valid_permission(&subject), "{subject}");
    }
    assert_eq!(stream::ELECTION, format!("KV_{}", stream::ELECTION_BUCKET));
}

proptest! {
    #[test]
    fn no_name_reaches_into_another_subject(text in "\\PC{0,20}") {
        if let Ok(identity) = Identity::new(text) {
            prop_assert!(is_valid(&node(&choria(), &identity)));
        }
    }
}

#[test]
fn subjects_of_enrolment_are_made_of_whole_names() {
    let n1 = Identity::new("n1.example.net").unwrap();
    assert_eq!(unprovisioned_node(&n1), "provisioning.node.n1.example.net");
    assert_eq!(
        fleet_probe(&choria(), &n1),
        "fleet.choria.node.n1.example.net"
    );
    assert_eq!(vetted("startup").unwrap(), "provisioning.vetted.startup");
    assert_eq!(vetted("a.b"), None);
    assert_eq!(vetted(""), None);
    assert_eq!(
        reply_of_instance("7f2a", "i1", "3MO9").unwrap(),
        "provisioning.reply.7f2a.i1.3MO9"
    );
    assert_eq!(reply_of_instance("7f2a", "i1.i2", "3MO9"), None);
    assert_eq!(reply_of_instance("7f2a", "*", "3MO9"), None);
    assert_eq!(
        replies_of_instance("7f2a", "i1").unwrap(),
        "provisioning.reply.7f2a.i1.>"
    );
    assert_eq!(replies_of_instance("", "i1"), None);
    assert_eq!(
        fleet_reply("choria.reply.72dc.2ecv").unwrap(),
        "fleet.choria.reply.72dc.2ecv"
    );
    for bad in [
        "choria.node.n1",
        "reply.a",
        "choria.reply",
        "a.reply.>",
        "a.reply.b c",
        "",
    ] {
        assert_eq!(fleet_reply(bad), None, "{bad}");
    }
    assert_eq!(audit_of(&n1), "overlay.audit.provisioning.*.n1.example.net");
    assert_eq!(stream::token_used("a.b"), None);
    assert_eq!(stream::token_used("37dG").unwrap(), "used.37dG");
}

#[test]
fn an_unprovisioned_node_hears_only_itself_and_broadcasts() {
    let n1 = Identity::new("n1.example.net").unwrap();
    let subjects = permission::unprovisioned_subscribe(&n1);
    assert_eq!(subjects.len(), 5);
    assert!(subjects.iter().all(|subject| is_valid(subject)));
    assert!(
        permission::UNPROVISIONED_EVENTS
            .iter()
            .all(|subject| is_valid(subject))
    );
}

#[test]
fn a_provisioner_neither_deletes_nor_empties_streams() {
    let subjects = permission::provisioner_publish();
    for subject in &subjects {
        assert!(is_valid_permission(subject), "{subject}");
        assert!(!subject.contains("STREAM.DELETE") && !subject.contains("STREAM.PURGE"));
        assert!(!subject.starts_with("$JS.API.>") && subject != ">");
    }
    assert!(subjects.contains(&"$JS.API.CONSUMER.CREATE.KV_PROVISIONING_NODES.>".to_owned()));
    assert!(subjects.contains(&"$KV.PROVISIONING_CLAIMS.>".to_owned()));
    assert_eq!(
        permission::PROVISIONER_BUCKETS.map(|bucket| format!("KV_{bucket}")),
        permission::PROVISIONER_STREAMS[2..]
    );
}
