//! Carries out what actions set off: events, restart, shutdown.

use overlay_protocol::lifecycle::EventKind;
use overlay_runtime::CancellationToken;
use tokio::sync::watch;
use tokio::time::Instant;

use super::beat::Beat;
use super::settle::settle;
use crate::effect::{Effect, Ending, Orders};

/// How the work is to end, once an action has said so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Farewell {
    /// What comes after.
    pub(super) ending: Option<Ending>,
    /// Whether the goodbye was said.
    pub(super) said: bool,
}

/// Takes effects until the work is to end.
pub(super) async fn serve(
    mut orders: Orders,
    beat: Beat,
    clients: watch::Receiver<Option<async_nats::Client>>,
    farewell: watch::Sender<Farewell>,
    stop: CancellationToken,
) {
    let mut due: Option<(Instant, Ending)> = None;
    loop {
        let at = due.map(|(at, _)| at);
        let effect = tokio::select! {
            effect = orders.next() => effect,
            () = until(at) => {
                if let Some((_, ending)) = due {
                    farewell.send_modify(|farewell| farewell.ending = Some(ending));
                }
                stop.cancel();
                return;
            }
        };
        match effect {
            Some(Effect::Say(kind)) => beat.say(kind).await,
            // One end is enough: a second request changes nothing.
            Some(Effect::Restart(_) | Effect::Shutdown(_)) if due.is_some() => {}
            Some(Effect::Restart(delay)) => {
                tracing::warn!(?delay, "restarting as asked");
                due = Some((Instant::now() + delay, Ending::Restart));
                beat.say(EventKind::Shutdown).await;
                farewell.send_modify(|farewell| farewell.said = true);
                let client = clients.borrow().clone();
                if let Some(client) = client {
                    settle(&client, &beat.node).await;
                }
            }
            Some(Effect::Shutdown(delay)) => {
                tracing::warn!(?delay, "shutting down as asked");
                due = Some((Instant::now() + delay, Ending::Stop));
            }
            None if due.is_none() => return,
            None => until(at).await,
        }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
