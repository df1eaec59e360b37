//! `[login.limits]`: how often, how fast and how late somebody may try.

use std::num::NonZeroUsize;
use std::time::Duration;

use overlay_runtime::{Fault, Period};
use serde::Deserialize;

pub(super) const REFERENCE: &str = r#"
# [login.limits]
# Seconds that a signed request is good for, and by how much clocks may differ.
# window = "60s"
# clock_skew = "5s"
# Attempts a minute from one address (and as many at once), and for one name; 0: no limit.
# per_source = 60
# per_name = 30
# So many wrong passwords in a row cost nothing; the next one locks the name for `first_delay`, each further one for twice as
# long, never for more than `longest_delay`. It is forgotten when nothing went wrong for `forget`.
# free_failures = 5
# first_delay = "1s"
# longest_delay = "5m"
# forget = "15m"
# Passwords that are compared at a time (0: one for each processor) and that may wait for it; who comes then hears "busy".
# For argon2id the memory of as many hashes is kept for the next ones: 19 MiB each, as `overlay user` makes them.
# hash_threads = 0
# queue = 64
"#;

/// The table as files hold it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawLimits {
    window: Option<Period>,
    clock_skew: Option<Period>,
    per_source: Option<u32>,
    per_name: Option<u32>,
    free_failures: Option<u32>,
    first_delay: Option<Period>,
    longest_delay: Option<Period>,
    forget: Option<Period>,
    hash_threads: Option<usize>,
    queue: Option<usize>,
}

/// How often, how fast and how late somebody may try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// How old a signed request may be.
    pub window: Duration,
    /// By how much clocks may differ.
    pub clock_skew: Duration,
    /// Attempts a minute from one source; 0: no limit.
    pub per_source: u32,
    /// Attempts a minute for one name; 0: no limit.
    pub per_name: u32,
    /// So many wrong passwords in a row cost nothing.
    pub free_failures: u32,
    /// For how long the next one locks the name; twice as long for each further one.
    pub first_delay: Duration,
    /// No lock is longer.
    pub longest_delay: Duration,
    /// Wrong passwords are forgotten after so long.
    pub forget: Duration,
    /// Passwords that are compared at a time.
    pub hash_threads: NonZeroUsize,
    /// Passwords that may wait to be compared.
    pub queue: usize,
}

impl RawLimits {
    pub(super) fn check(self, at: &str, faults: &mut Vec<Fault>) -> Limits {
        let mut span = |name: &str, value: Option<Period>, default: u64, least: u64, most: u64| {
            let span = value.map_or(Duration::from_secs(default), |period| period.0);
            let bounds = Duration::from_secs(least)..=Duration::from_secs(most);
            if !bounds.contains(&span) {
                faults.push(
                    Fault::new(
                        format!("{at}.{name}"),
                        format!("is not between {least} and {most} seconds"),
                    )
                    .remedy(format!("write \"{default}s\", or leave it out")),
                );
            }
            span
        };
        let window = span("window", self.window, 60, 5, 600);
        let clock_skew = span("clock_skew", self.clock_skew, 5, 0, 60);
        let first_delay = span("first_delay", self.first_delay, 1, 1, 3600);
        let longest_delay = span("longest_delay", self.longest_delay, 300, 1, 86_400);
        let forget = span("forget", self.forget, 900, 60, 604_800);
        let processors = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let hash_threads = self
            .hash_threads
            .and_then(NonZeroUsize::new)
            .unwrap_or(processors);
        let queue = self.queue.unwrap_or(64);
        if queue > 65_536 {
            faults.push(Fault::new(format!("{at}.queue"), "is more than 65536"));
        }
        Limits {
            window,
            clock_skew,
            per_source: self.per_source.unwrap_or(60),
            per_name: self.per_name.unwrap_or(30),
            free_failures: self.free_failures.unwrap_or(5),
            first_delay,
            longest_delay,
            forget,
            hash_threads,
            queue,
        }
    }
}
