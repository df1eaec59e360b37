//! Waiting until the broker has taken what the node said.

use std::time::Duration;

use async_nats::Client;
use bytes::Bytes;
use futures_util::StreamExt;

use crate::node::Node;

/// A node whose own messages do not come back within this time works on without that proof.
const HEAR_TIMEOUT: Duration = Duration::from_secs(2);

/// The client library does not tell when it has left; it is looked at so often.
const LEAVE_POLL: Duration = Duration::from_millis(5);

/// Leaves the broker in order, so that it reads all that was sent before the connection ends. False when that took too
/// long.
///
/// A member need not: it has heard itself.
pub(super) async fn leave(client: &Client, node: &Node) -> bool {
    if !node.is_unprovisioned() {
        return true;
    }
    let left = async {
        if client.drain().await.is_err() {
            return;
        }
        // The library's state stays as it was; only that it takes nothing more tells that it has left.
        while client.flush().await.is_ok() {
            tokio::time::sleep(LEAVE_POLL).await;
        }
    };
    tokio::time::timeout(HEAR_TIMEOUT, left).await.is_ok()
}

/// Waits until the broker has taken everything said so far, as far as the node can know. False when that took too long.
///
/// A node that waits to be enrolled may not hear itself; that its messages have left is all that it can wait for.
pub(super) async fn settle(client: &Client, node: &Node) -> bool {
    if !node.is_unprovisioned() {
        return hear_oneself(client).await;
    }
    matches!(
        tokio::time::timeout(HEAR_TIMEOUT, client.flush()).await,
        Ok(Ok(()))
    )
}

/// Waits until the broker has taken everything said so far: it takes what one connection says in
/// order, so a message of one's own comes back only after that. False when none came in time.
async fn hear_oneself(client: &Client) -> bool {
    let inbox = client.new_inbox();
    let heard = async {
        let mut own = client.subscribe(inbox.clone()).await.ok()?;
        client.publish(inbox, Bytes::new()).await.ok()?;
        own.next().await
    };
    matches!(
        tokio::time::timeout(HEAR_TIMEOUT, heard).await,
        Ok(Some(_message))
    )
}
