//! How old a request is, when no two clocks agree.
//!
//! A request carries the second in which its server made it. What matters is not the difference to our clock but how much
//! larger it is than the smallest one seen lately from that server: that much has the request waited on its way to us.

use std::collections::HashMap;
use std::time::Duration;

use overlay_tokens::UnixTime;

/// Servers that are remembered; more than a cluster has.
const SERVERS: usize = 256;
/// How long the smallest difference counts, in seconds; it counts for as long again while a newer one is found.
const WINDOW: i64 = 10;

/// Differences to the clocks of servers.
#[derive(Debug, Default)]
pub(crate) struct Ages {
    servers: HashMap<String, Window>,
}

/// What is known of a request's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Age {
    /// How long the request waited, to within the second that servers round to.
    pub(crate) waited: Duration,
    /// How many seconds the server's clock is behind ours.
    pub(crate) behind: i64,
}

#[derive(Debug)]
struct Window {
    since: i64,
    smallest: i64,
    before: Option<i64>,
}

impl Ages {
    /// Takes note of a request of `server`, made in the second `made`, at `now`.
    pub(crate) fn note(&mut self, server: &str, made: i64, now: UnixTime) -> Age {
        let difference = now.secs.saturating_sub(made);
        if let Some(window) = self.servers.get_mut(server) {
            let behind = window.note(difference, now.secs);
            return Age {
                waited: seconds(difference.saturating_sub(behind)),
                behind,
            };
        }
        if self.servers.len() >= SERVERS {
            // Servers change their keys at each start; whatever is forgotten here is learned again at once.
            self.servers.clear();
        }
        let window = Window {
            since: now.secs,
            smallest: difference,
            before: None,
        };
        self.servers.insert(server.to_owned(), window);
        Age {
            waited: Duration::ZERO,
            behind: difference,
        }
    }
}

impl Window {
    fn note(&mut self, difference: i64, now: i64) -> i64 {
        // A clock that was set back ends the window, too.
        if !(0..WINDOW).contains(&now.saturating_sub(self.since)) {
            self.before = Some(self.smallest);
            self.since = now;
            self.smallest = difference;
        }
        self.smallest = self.smallest.min(difference);
        self.before
            .map_or(self.smallest, |before| before.min(self.smallest))
    }
}

fn seconds(number: i64) -> Duration {
    Duration::from_secs(u64::try_from(number).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> UnixTime {
        UnixTime::from_secs(secs)
    }

    #[test]
    fn a_request_is_as_old_as_it_is_later_than_its_fellows() {
        let mut ages = Ages::default();
        assert_eq!(ages.note("N1", 1000, at(1000)).waited, Duration::ZERO);
        assert_eq!(
            ages.note("N1", 1001, at(1005)).waited,
            Duration::from_secs(4)
        );
        assert_eq!(ages.note("N1", 1005, at(1005)).waited, Duration::ZERO);
    }

    #[test]
    fn clocks_that_differ_by_minutes_make_nothing_old() {
        let mut ages = Ages::default();
        for (server, behind) in [("N1", 600), ("N2", -600)] {
            for second in 0..100 {
                let age = ages.note(server, 10_000 + second - behind, at(10_000 + second));
                assert_eq!(
                    age,
                    Age {
                        waited: Duration::ZERO,
                        behind
                    }
                );
            }
        }
    }

    #[test]
    fn a_clock_that_is_set_makes_requests_old_for_two_windows_at_most() {
        let mut ages = Ages::default();
        ages.note("N1", 1000, at(1000));
        let waited: Vec<_> = (1..40)
            .map(|second| ages.note("N1", 1000 + second, at(1060 + second)).waited)
            .collect();
        assert_eq!(waited.iter().filter(|waited| !waited.is_zero()).count(), 10);
        assert_eq!(waited.last(), Some(&Duration::ZERO));
        assert_eq!(ages.note("N1", 1040, at(500)).waited, Duration::ZERO);
    }

    #[test]
    fn what_waited_while_the_process_was_stopped_is_old() {
        let mut ages = Ages::default();
        ages.note("N1", 1000, at(1000));
        assert_eq!(
            ages.note("N1", 1001, at(1012)).waited,
            Duration::from_secs(11)
        );
    }

    #[test]
    fn no_number_of_servers_takes_more_memory_than_the_bound() {
        let mut ages = Ages::default();
        for server in 0..10_000 {
            ages.note(&server.to_string(), i64::MIN, at(i64::MAX));
        }
        assert!(ages.servers.len() <= SERVERS);
    }
}
