//! What an action sets off beyond its answer: events, and the end of the process.
//!
//! Agents see neither the broker nor the process; they hand in effects, and the service carries
//! them out in order.

use std::time::Duration;

use overlay_protocol::lifecycle::EventKind;
use tokio::sync::mpsc;

/// Effects that wait to be carried out.
const CAPACITY: usize = 32;

/// One thing to be done.
#[derive(Debug)]
pub enum Effect {
    /// Publish an event of this node.
    Say(EventKind),
    /// Say goodbye at once; after the delay start the program again in the same process.
    Restart(Duration),
    /// After the delay say goodbye and end.
    Shutdown(Duration),
}

/// Hands in effects.
#[derive(Debug, Clone)]
pub struct Effects(mpsc::Sender<Effect>);

/// Takes effects.
#[derive(Debug)]
pub struct Orders(mpsc::Receiver<Effect>);

/// How the node's work ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The process ends.
    Stop,
    /// The program begins anew in the same process.
    Restart,
}

/// A way for effects.
pub fn channel() -> (Effects, Orders) {
    let (sender, receiver) = mpsc::channel(CAPACITY);
    (Effects(sender), Orders(receiver))
}

impl Effects {
    /// Hands in an effect; false when nobody takes it or too many wait.
    pub fn hand_in(&self, effect: Effect) -> bool {
        self.0
            .try_send(effect)
            .inspect_err(|error| tracing::error!(error = %error, "an effect of an action is lost"))
            .is_ok()
    }
}

impl Orders {
    /// The next effect; none once nobody can hand in any.
    pub async fn next(&mut self) -> Option<Effect> {
        self.0.recv().await
    }

    /// The next effect, if one waits.
    pub fn waiting(&mut self) -> Option<Effect> {
        self.0.try_recv().ok()
    }
}
