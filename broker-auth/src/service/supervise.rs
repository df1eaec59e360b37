//! Keeps helpers at work: none of them may take the answering of logins with it.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use overlay_runtime::CancellationToken;

use crate::metrics::Metrics;

/// Wait before a helper that ended begins anew.
const PAUSE: Duration = Duration::from_secs(1);

/// Work until the shutdown; what it knows outlasts an end before that.
pub(super) trait Helper: Send + 'static {
    /// Name in logs and metrics.
    const NAME: &'static str;

    /// Works until the shutdown.
    fn work(
        &mut self,
        shutdown: &CancellationToken,
    ) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// Lets a helper work until the shutdown, and begin anew when it ends or panics before.
pub(super) async fn keep(
    mut helper: impl Helper,
    metrics: Metrics,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    keep_on(&mut helper, &metrics, &shutdown).await;
    Ok(())
}

/// Does the same with a helper that is still of use afterwards.
pub(super) async fn keep_on<H: Helper>(
    helper: &mut H,
    metrics: &Metrics,
    shutdown: &CancellationToken,
) {
    loop {
        let outcome = AssertUnwindSafe(helper.work(shutdown)).catch_unwind().await;
        if shutdown.is_cancelled() {
            return;
        }
        let end = match outcome {
            Ok(Ok(())) => "it ended".to_owned(),
            Ok(Err(error)) => format!("{error:#}"),
            Err(_panic) => "it panicked".to_owned(),
        };
        metrics.restarts(H::NAME).inc();
        tracing::error!(
            helper = H::NAME,
            end,
            "a helper of this service ended and begins anew; logins are answered all the while"
        );
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus::Registry;

    use super::*;

    struct Frail {
        runs: usize,
    }

    impl Helper for Frail {
        const NAME: &'static str = "frail";

        async fn work(&mut self, shutdown: &CancellationToken) -> anyhow::Result<()> {
            self.runs += 1;
            match self.runs {
                1 => Ok(()),
                2 => anyhow::bail!("no more"),
                3 => panic!("a fault of ours"),
                _ => {
                    shutdown.cancel();
                    Ok(())
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_helper_that_ends_fails_or_panics_begins_anew_and_is_counted() {
        let metrics = Metrics::register(&Registry::new()).unwrap();
        let mut helper = Frail { runs: 0 };
        let started = tokio::time::Instant::now();
        keep_on(&mut helper, &metrics, &CancellationToken::new()).await;
        assert_eq!((helper.runs, metrics.restarts("frail").get()), (4, 3));
        assert_eq!(started.elapsed(), 3 * PAUSE);
    }
}
