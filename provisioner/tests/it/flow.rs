//! From an announcement, or a scan, to a member.

use overlay_protocol::provisioning::NodeState;
use overlay_testkit::emulated::{Behaviour, Step};
use overlay_testkit::{eventually, mint};
use overlay_tokens::Unverified;
use overlay_tokens::claims::ServerClaims;

use crate::cell::{Cell, OFTEN, SOON, all_enrolled_once, leaving};

const NODE: &str = "n00000.example.net";

#[tokio::test(flavor = "multi_thread")]
async fn provision_case_16_a_node_that_announces_itself_becomes_a_member() {
    let cell = Cell::start().await;
    let provisioner = cell.provisioner("");
    let fleet = cell.nodes().count(1).start().await;
    fleet.announce().await;
    all_enrolled_once(&fleet, &provisioner).await;
    provisioner.wait_for_outcome("enrolled", 1.0).await;

    let seen = fleet.node(NODE);
    let first: Vec<_> = seen
        .order
        .iter()
        .copied()
        .filter(|step| *step != Step::Discovery)
        .collect();
    assert_eq!(&first[first.len() - 2..], [Step::Configure, Step::Restart]);
    assert_eq!(seen.callers.len(), 1, "{:?}", seen.callers);
    assert_eq!(seen.settings()["identity"], NODE);

    // The token verifies with nothing but the organisation's key.
    let token = Unverified::<ServerClaims>::decode(seen.server_token().unwrap())
        .unwrap()
        .verify(&cell.organisation.issuers(), mint::now())
        .unwrap();
    assert_eq!(token.identity, NODE);
    assert!(
        token.standard.iss.starts_with("C-"),
        "{}",
        token.standard.iss
    );

    let record = cell.record(NODE).await.unwrap();
    assert_eq!(record.state, NodeState::Member);
    assert_eq!(record.enrolments.len(), 1);
    assert_eq!(record.issued.unwrap().id, token.standard.jti);
    let audit = cell.audit().await;
    let enrolled = audit
        .iter()
        .find(|record| record.kind.to_string() == "enrolled")
        .unwrap();
    assert_eq!(enrolled.identity.as_ref().unwrap().as_str(), NODE);
    assert_eq!(
        enrolled.details.public_key.as_deref(),
        Some(token.standard.public_key.as_str())
    );
    assert_eq!(
        enrolled.details.issued.as_ref().unwrap().id,
        token.standard.jti
    );
    assert!(enrolled.details.helper.is_some() && enrolled.details.token.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn provision_case_44_one_scan_finds_all_that_wait_however_long_they_take_to_answer() {
    let cell = Cell::start().await;
    let fleet = cell
        .nodes()
        .count(200)
        .behave(|index, _| match index % 4 {
            0 => leaving().slow(Step::Discovery, std::time::Duration::from_secs(4)),
            _ => leaving(),
        })
        .start()
        .await;
    let provisioner = cell.provisioner("");
    all_enrolled_once(&fleet, &provisioner).await;
    assert_eq!(provisioner.metric("overlay_provisioner_scans_total"), 1.0);
    assert_eq!(
        provisioner.metric("overlay_provisioner_found_total{by=\"scan\"}"),
        200.0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn provision_case_45_announcements_in_a_storm_are_each_done_once_whatever_comes_twice() {
    let cell = Cell::start().await;
    let provisioner = cell.provisioner("");
    let fleet = cell
        .nodes()
        .count(500)
        .behaviour(leaving().announcements(3))
        .start()
        .await;
    fleet.announce().await;
    all_enrolled_once(&fleet, &provisioner).await;
    provisioner.wait_for_outcome("enrolled", 500.0).await;
    let connections = provisioner.metrics();
    assert!(connections.contains("choria_provisioner_provisioned{site=\"lon\"} 500"));
}

#[tokio::test(flavor = "multi_thread")]
async fn announcements_made_while_no_provisioner_is_there_wait_in_their_stream() {
    let cell = Cell::start().await;
    // The streams are made by the first provisioner.
    drop(cell.provisioner(""));
    let fleet = cell.nodes().count(20).start().await;
    fleet.announce().await;
    let witness = cell.witness().await;
    eventually(SOON, OFTEN, || async {
        let mut stream = witness.get_stream("PROVISIONING_EVENTS").await.unwrap();
        stream.info().await.unwrap().state.messages >= 20
    })
    .await;
    let provisioner = cell.provisioner("");
    all_enrolled_once(&fleet, &provisioner).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn provision_case_46_dead_nodes_do_not_hold_up_the_others() {
    let cell = Cell::start().await;
    let fleet = cell
        .nodes()
        .count(100)
        .behave(|index, _| match index % 5 {
            0 => Behaviour::dead(),
            _ => leaving(),
        })
        .start()
        .await;
    let patient = "[limits]\nworkers = 2\n[calls]\nfirst_contact = \"5m\"\nwhole = \"15m\"\n";
    let provisioner = cell.provisioner(patient);
    fleet.announce().await;
    // Long before one of the dead was waited for.
    eventually(SOON, OFTEN, || async {
        let enrolled = fleet.names_where(|seen| seen.restarts > 0).len();
        if enrolled == 80 {
            Ok(())
        } else {
            Err(format!("{enrolled}\n{}", provisioner.process.stderr()))
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_fleet_hears_is_what_was_vetted() {
    use futures_util::StreamExt as _;
    use overlay_protocol::envelope::Limits;
    use overlay_protocol::lifecycle::Event;

    let cell = Cell::start().await;
    let observer = cell.fleet().await;
    let mut events = observer
        .subscribe("choria.lifecycle.event.*.provision_mode_server")
        .await
        .unwrap();
    observer.flush().await.unwrap();
    let provisioner = cell.provisioner("");
    let fleet = cell.nodes().count(1).start().await;
    fleet.announce().await;
    // In the name of a node that is not there.
    fleet
        .publish(
            NODE,
            "choria.lifecycle.event.startup.provision_mode_server",
            crate::cell::startup("victim.example.net"),
        )
        .await;
    all_enrolled_once(&fleet, &provisioner).await;
    let mut kinds = Vec::new();
    while kinds.len() < 3 {
        let message = tokio::time::timeout(SOON, events.next())
            .await
            .unwrap()
            .unwrap();
        let event = Event::decode(&message.payload, &Limits::default()).unwrap();
        assert_eq!(event.identity, NODE);
        kinds.push(event.kind.type_name());
    }
    assert_eq!(kinds, ["startup", "provisioned", "shutdown"]);
}
