use proptest::prelude::*;

use super::{
    broadcast_agent, is_valid, is_valid_permission, lifecycle_event, node, permission, reply,
    stream, submission,
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
