//! SIGTERM and SIGINT: the first begins an orderly stop, the second ends the process. SIGHUP changes nothing.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::exit::Exit;

/// The signals that end us, and the one that by default would, received from now on.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    pub(crate) fn install() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Cancels `shutdown` at the first signal, ends the process at the second.
    pub(crate) async fn follow(mut self, shutdown: CancellationToken) {
        let signal = self.next().await;
        tracing::info!(signal, "stopping");
        shutdown.cancel();
        let signal = self.next().await;
        tracing::warn!(signal, "second signal, ending at once");
        end_at_once();
    }

    async fn next(&mut self) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                // Sent by habit, to have files read again; it must not end a service.
                Some(()) = self.hang_up.recv() => tracing::info!(
                    "SIGHUP: nothing to do; files that may change are looked at anyway, the configuration needs a restart"
                ),
            }
        }
    }
}

#[expect(
    clippy::exit,
    reason = "the second signal asks for the end without any more steps"
)]
fn end_at_once() -> ! {
    std::process::exit(i32::from(Exit::Failure.code()))
}
