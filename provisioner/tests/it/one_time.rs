//! Tokens that are good once: the second use, by another node or by the same, and what lets a node use one again.

use overlay_protocol::provisioning::NodeState;
use overlay_protocol::provisioning::audit::Kind;
use overlay_testkit::emulated::{Fleet, Step};
use overlay_testkit::eventually;
use overlay_tokens::claims::OverlayExtension;
use overlay_tokens::issue::ProvisioningToken;
use serde_json::{Map, json};

use crate::cell::{Cell, OFTEN, Provisioner, SOON, all_enrolled_once, leaving};
use crate::operator::Operator;

const FIRST: &str = "n1.example.net";
const SECOND: &str = "n2.example.net";
/// A node that was enrolled a moment ago is believed again soon.
const SOON_FREE: &str =
    "[retry]\nfirst = \"1h\"\n[streams.claims]\nlease = \"5s\"\nkeep = \"1s\"\n";

/// A node of a name that shows a token, and says that it is there.
async fn bare(cell: &Cell, name: &str, token: &str) -> Fleet {
    let node = cell
        .nodes()
        .names([name])
        .behaviour(leaving().shows_token(token))
        .start()
        .await;
    node.announce().await;
    node
}

/// Waits until a node was refused for its token, and yields who used it, as its audit says.
async fn refused(cell: &Cell, provisioner: &Provisioner, name: &str) -> String {
    eventually(SOON, OFTEN, || async {
        let records = cell.audit().await;
        let of_node = |identity: &overlay_protocol::id::Identity| identity.as_str() == name;
        let last = records
            .into_iter()
            .rfind(|record| record.identity.as_ref().is_some_and(of_node));
        match last {
            Some(last)
                if last.kind == Kind::Refused
                    && last.details.reason.as_deref() == Some("token_used") =>
            {
                Ok(last.details.message.unwrap_or_default())
            }
            other => Err(format!(
                "{name}: {other:?}\n{}",
                provisioner.process.stderr()
            )),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_used_is_refused_until_an_operator_releases_its_node() {
    let cell = Cell::start().await;
    let provisioner = cell.provisioner(SOON_FREE);
    let mut extensions = Map::new();
    OverlayExtension {
        one_time: true,
        ..OverlayExtension::default()
    }
    .write(&mut extensions);
    let token = cell.token_of(|token| ProvisioningToken {
        extensions: Some(extensions),
        ..token
    });
    let first = bare(&cell, FIRST, &token).await;
    all_enrolled_once(&first, &provisioner).await;
    eventually(SOON, OFTEN, || async {
        let record = cell.record(FIRST).await;
        record.is_some_and(|record| record.state == NodeState::Member)
    })
    .await;

    let second = bare(&cell, SECOND, &token).await;
    let message = refused(&cell, &provisioner, SECOND).await;
    assert!(message.contains(FIRST), "{message}");
    let record = cell.record(SECOND).await.unwrap();
    assert_eq!(
        (record.state, record.reason.as_deref()),
        (NodeState::Refused, Some("token_used"))
    );

    // The node itself has no second use either, and stays the member that it was.
    let again = bare(&cell, FIRST, &token).await;
    refused(&cell, &provisioner, FIRST).await;
    assert_eq!(cell.record(FIRST).await.unwrap().state, NodeState::Member);
    for (fleet, name) in [(&second, SECOND), (&again, FIRST)] {
        assert_eq!(fleet.node(name).calls_of(Step::Gen25519), 0, "{name}");
    }

    let operator = Operator::new(&cell, &["*"]).await;
    operator.done("release", json!({"identity": FIRST})).await;
    operator.done("retry", json!({"identity": FIRST})).await;
    all_enrolled_once(&again, &provisioner).await;
    assert_eq!(second.node(SECOND).configured, 0);
    let kinds = cell.audit_of(FIRST).await;
    assert_eq!(
        kinds,
        ["enrolled", "refused", "released", "retried", "enrolled"]
    );
}
