//! The admin listener of a program under test: its readiness and its metrics.

use std::time::Duration;

use crate::http::get;
use crate::{Process, eventually, eventually_blocking};

const SOON: Duration = Duration::from_secs(60);
const OFTEN: Duration = Duration::from_millis(50);

/// The admin listener at a port of 127.0.0.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admin(pub u16);

impl Admin {
    /// Waits until the program can do its work.
    ///
    /// # Panics
    ///
    /// When that takes too long; the message has what `process` wrote.
    #[track_caller]
    pub fn wait_until_ready(self, process: &Process) {
        eventually_blocking(SOON, OFTEN, || match get(self.0, "/ready") {
            Ok((200, _)) => Ok(()),
            Ok((status, body)) => Err(format!("{status}: {body}\n{}", process.stderr())),
            Err(error) => Err(format!("{error}\n{}", process.stderr())),
        });
    }

    /// The value of one series, by its name with labels; 0 when absent.
    pub fn metric(self, series: &str) -> f64 {
        let Ok((_, text)) = get(self.0, "/metrics") else {
            return 0.0;
        };
        text.lines()
            .find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
            .unwrap_or_default()
    }

    /// Waits until a series has at least this value.
    ///
    /// # Panics
    ///
    /// When that takes too long; the message has what `process` wrote.
    pub async fn wait_for_metric(self, process: &Process, series: &str, least: f64) {
        eventually(SOON, OFTEN, || async {
            let value = self.metric(series);
            if value >= least {
                Ok(())
            } else {
                Err(format!("{series} is {value}\n{}", process.stderr()))
            }
        })
        .await;
    }
}
