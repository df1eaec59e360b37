//! Waiting for a condition: short period, long limit, last status in the failure.

use std::fmt::Display;
use std::time::Duration;

use tokio::time::Instant;

/// What a polled condition may return.
pub trait Settle {
    /// What the wait yields once the condition holds.
    type Done;

    /// Yields the result, or says in words how things stand.
    fn settle(self) -> Result<Self::Done, String>;
}

impl Settle for bool {
    type Done = ();

    fn settle(self) -> Result<(), String> {
        if self {
            Ok(())
        } else {
            Err("condition is false".to_owned())
        }
    }
}

impl<T> Settle for Option<T> {
    type Done = T;

    fn settle(self) -> Result<T, String> {
        self.ok_or_else(|| "no value".to_owned())
    }
}

impl<T, E: Display> Settle for Result<T, E> {
    type Done = T;

    fn settle(self) -> Result<T, String> {
        self.map_err(|error| error.to_string())
    }
}

/// Polls `condition` every `period` until it settles.
///
/// A poll that takes longer than what is left of `limit` is cut off.
///
/// # Panics
///
/// When `limit` is over; the message holds the last status.
#[track_caller]
pub fn eventually<C, F, S>(
    limit: Duration,
    period: Duration,
    mut condition: C,
) -> impl Future<Output = S::Done>
where
    C: FnMut() -> F,
    F: Future<Output = S>,
    S: Settle,
{
    let caller = std::panic::Location::caller();
    async move {
        let deadline = Instant::now() + limit;
        let mut last = "never polled to an end".to_owned();
        loop {
            match tokio::time::timeout_at(deadline, condition()).await {
                Ok(status) => match status.settle() {
                    Ok(done) => return done,
                    Err(status) => last = status,
                },
                Err(_) => panic!("not within {limit:?} at {caller}: last status: {last}"),
            }
            if Instant::now() + period >= deadline {
                panic!("not within {limit:?} at {caller}: last status: {last}");
            }
            tokio::time::sleep(period).await;
        }
    }
}

/// Does what [`eventually()`] does, for tests without an async runtime.
///
/// # Panics
///
/// When `limit` is over; the message holds the last status.
#[track_caller]
pub fn eventually_blocking<C, S>(limit: Duration, period: Duration, mut condition: C) -> S::Done
where
    C: FnMut() -> S,
    S: Settle,
{
    match poll_blocking(limit, period, &mut condition) {
        Ok(done) => done,
        Err(last) => panic!("not within {limit:?}: last status: {last}"),
    }
}

/// Polls until the condition settles, or yields the last status.
pub(crate) fn poll_blocking<C, S>(
    limit: Duration,
    period: Duration,
    mut condition: C,
) -> Result<S::Done, String>
where
    C: FnMut() -> S,
    S: Settle,
{
    let deadline = Instant::now() + limit;
    loop {
        match condition().settle() {
            Ok(done) => return Ok(done),
            Err(status) if Instant::now() + period >= deadline => return Err(status),
            Err(_) => std::thread::sleep(period),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(1);
    const LIMIT: Duration = Duration::from_millis(20);
    const PATIENT: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn yields_what_the_condition_settled_on() {
        let mut polls = 0;
        let done = eventually(PATIENT, SHORT, || {
            polls += 1;
            let now = polls;
            async move { (now == 3).then_some(now) }
        })
        .await;
        assert_eq!(done, 3);
    }

    #[tokio::test]
    #[should_panic(expected = "last status: still two left")]
    async fn says_the_last_status_when_the_limit_is_over() {
        eventually(LIMIT, SHORT, || async { Err::<(), _>("still two left") }).await;
    }

    #[tokio::test]
    #[should_panic(expected = "never polled to an end")]
    async fn cuts_off_a_poll_that_hangs() {
        eventually(LIMIT, SHORT, std::future::pending::<Result<(), String>>).await;
    }

    #[test]
    #[should_panic(expected = "last status: condition is false")]
    fn blocking_wait_says_the_last_status() {
        eventually_blocking(Duration::from_millis(5), SHORT, || false);
    }
}
