//! What is decided on single messages, for whoever asks to see it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use overlay_protocol::replication::control::Traced;
use tokio::sync::broadcast;

/// Decisions that one listener may lag behind before it misses some.
const CAPACITY: usize = 1024;

/// Tells decisions to those who listen, and costs one look when nobody does; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    listeners: AtomicUsize,
    decisions: broadcast::Sender<Traced>,
}

/// Gets decisions until it is dropped.
#[derive(Debug)]
pub(crate) struct Listener {
    inner: Arc<Inner>,
    decisions: broadcast::Receiver<Traced>,
}

impl Default for Trace {
    fn default() -> Self {
        let inner = Inner {
            listeners: AtomicUsize::new(0),
            decisions: broadcast::Sender::new(CAPACITY),
        };
        Self {
            inner: Arc::new(inner),
        }
    }
}

impl Trace {
    /// Tells a decision; it is made up only if somebody listens.
    pub(crate) fn decided(&self, decision: impl FnOnce() -> Traced) {
        if self.inner.listeners.load(Ordering::Relaxed) > 0 {
            // Fails when the last listener has just gone.
            self.inner.decisions.send(decision()).ok();
        }
    }

    /// Listens from now on.
    pub(crate) fn listen(&self) -> Listener {
        let decisions = self.inner.decisions.subscribe();
        self.inner.listeners.fetch_add(1, Ordering::Relaxed);
        Listener {
            inner: Arc::clone(&self.inner),
            decisions,
        }
    }
}

impl Listener {
    /// The next decision, and how many were missed before it; nothing when the worker is gone.
    pub(crate) async fn next(&mut self) -> Option<(Traced, u64)> {
        let mut missed = 0;
        loop {
            match self.decisions.recv().await {
                Ok(decision) => return Some((decision, missed)),
                Err(broadcast::error::RecvError::Lagged(by)) => missed += by,
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.inner.listeners.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn decisions_are_made_up_only_for_listeners() {
        let trace = Trace::default();
        trace.decided(|| unreachable!("nobody listens"));
        let mut listener = trace.listen();
        trace.decided(|| Traced {
            sequence: 7,
            ..Traced::default()
        });
        let (decision, missed) = listener.next().await.unwrap();
        assert_eq!((decision.sequence, missed), (7, 0));
        for sequence in 0..3000 {
            trace.decided(|| Traced {
                sequence,
                ..Traced::default()
            });
        }
        let (decision, missed) = listener.next().await.unwrap();
        assert_eq!(decision.sequence, missed);
        assert!(missed > 0);
        drop(listener);
        trace.decided(|| unreachable!("nobody listens any more"));
    }
}
