//! How old a request is, when no two clocks agree.
//!
//! A request carries the second in which its server made it. What matters is not the difference to our clock but how much
//! larger it is than the smallest one seen lately from that server: that much has the request waited on its way to us.
//! Our side of the difference is a clock that nobody sets. When a server's clock is set back, all its requests look old:
//! if none looks fresh for a while, it is the clock, for what waited in a queue is soon worked off.

use std::collections::HashMap;
use std::time::Duration;

use overlay_tokens::UnixTime;

/// Servers that are remembered; more than a cluster has.
const SERVERS: usize = 256;
/// How long the smallest difference counts, in seconds; it counts for as long again while a newer one is found.
const WINDOW: i64 = 10;
/// How long all requests of a server may be stale before its clock is taken to have been set.
const ALL_STALE: Duration = Duration::from_secs(2);

/// Differences to the clocks of servers.
#[derive(Debug)]
pub(crate) struct Ages {
    limit: Duration,
    servers: HashMap<String, Window>,
}

/// A moment by two clocks of ours.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    /// The time of day, which somebody may set.
    pub(crate) day: UnixTime,
    /// The time since some moment, the same for all requests, which nobody sets.
    pub(crate) steady: Duration,
}

/// What is known of a request's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Age {
    /// How long the request waited, to within the second that servers round to.
    pub(crate) waited: Duration,
    /// Whether that is more than the limit.
    pub(crate) stale: bool,
    /// How many seconds the server's clock is behind ours.
    pub(crate) behind: i64,
}

#[derive(Debug)]
struct Window {
    since: i64,
    smallest: i64,
    before: Option<i64>,
    /// Since when no request was fresh.
    stale_since: Option<Duration>,
}

impl Ages {
    /// Begins without servers; what waited longer than `limit` is stale.
    pub(crate) fn new(limit: Duration) -> Self {
        Self {
            limit,
            servers: HashMap::new(),
        }
    }

    /// Takes note of a request of `server`, made in the second `made`, at `now`.
    pub(crate) fn note(&mut self, server: &str, made: i64, now: Moment) -> Age {
        let steady = i64::try_from(now.steady.as_secs()).unwrap_or(i64::MAX);
        let difference = steady.saturating_sub(made);
        let (smallest, stale) = if let Some(window) = self.servers.get_mut(server) {
            window.note(difference, now.steady, steady, self.limit)
        } else {
            if self.servers.len() >= SERVERS {
                // Servers change their keys at each start; whatever is forgotten here is learned again at once.
                self.servers.clear();
            }
            let window = Window::new(difference, steady);
            self.servers.insert(server.to_owned(), window);
            (difference, false)
        };
        Age {
            waited: waited(difference, smallest),
            stale,
            behind: now.day.secs.saturating_sub(steady).saturating_add(smallest),
        }
    }
}

impl Window {
    fn new(difference: i64, now: i64) -> Self {
        Self {
            since: now,
            smallest: difference,
            before: None,
            stale_since: None,
        }
    }

    /// The smallest difference that counts, and whether the request is stale.
    fn note(
        &mut self,
        difference: i64,
        now: Duration,
        seconds: i64,
        limit: Duration,
    ) -> (i64, bool) {
        if seconds.saturating_sub(self.since) >= WINDOW {
            self.before = Some(self.smallest);
            self.since = seconds;
            self.smallest = difference;
        }
        self.smallest = self.smallest.min(difference);
        let smallest = self
            .before
            .map_or(self.smallest, |before| before.min(self.smallest));
        if waited(difference, smallest) <= limit {
            self.stale_since = None;
            return (smallest, false);
        }
        let since = *self.stale_since.get_or_insert(now);
        if now.saturating_sub(since) < ALL_STALE {
            return (smallest, true);
        }
        *self = Self::new(difference, seconds);
        (difference, false)
    }
}

fn waited(difference: i64, smallest: i64) -> Duration {
    Duration::from_secs(u64::try_from(difference.saturating_sub(smallest)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(3);
    /// The process began this many seconds after the day did.
    const BEGAN: i64 = 900;

    /// A moment at which both our clocks are right.
    fn at(secs: i64) -> Moment {
        day(secs, secs)
    }

    /// A moment at which our time of day says `day` and is truly `secs`.
    fn day(day: i64, secs: i64) -> Moment {
        Moment {
            day: UnixTime::from_secs(day),
            steady: Duration::from_secs(u64::try_from(secs - BEGAN).unwrap()),
        }
    }

    #[test]
    fn a_request_is_as_old_as_it_is_later_than_its_fellows() {
        let mut ages = Ages::new(LIMIT);
        let waited = |age: Age| (age.waited.as_secs(), age.stale);
        assert_eq!(waited(ages.note("N1", 1000, at(1000))), (0, false));
        assert_eq!(waited(ages.note("N1", 1001, at(1004))), (3, false));
        assert_eq!(waited(ages.note("N1", 1001, at(1005))), (4, true));
        assert_eq!(waited(ages.note("N1", 1005, at(1005))), (0, false));
    }

    #[test]
    fn clocks_that_differ_by_minutes_make_nothing_old() {
        let mut ages = Ages::new(LIMIT);
        for (server, behind) in [("N1", 600), ("N2", -600)] {
            for second in 0..100 {
                let age = ages.note(server, 10_000 + second - behind, at(10_000 + second));
                let fresh = Age {
                    waited: Duration::ZERO,
                    stale: false,
                    behind,
                };
                assert_eq!(age, fresh);
            }
        }
    }

    #[test]
    fn our_clock_may_be_set_and_nothing_gets_old() {
        let mut ages = Ages::new(LIMIT);
        for (second, step) in (1000..1100).zip([0, 60, -3600, 7].into_iter().cycle()) {
            let age = ages.note("N1", second, day(second + step, second));
            assert_eq!((age.stale, age.behind), (false, step));
        }
    }

    #[test]
    fn a_server_whose_clock_is_set_back_is_believed_again_after_two_seconds() {
        let mut ages = Ages::new(LIMIT);
        ages.note("N1", 1000, at(1000));
        let stale: Vec<_> = (1..40)
            .map(|second| ages.note("N1", 940 + second, at(1000 + second)))
            .map(|age| age.stale)
            .collect();
        assert_eq!(stale[..3], [true, true, false]);
        assert!(stale[3..].iter().all(|stale| !stale));
    }

    #[test]
    fn a_fresh_request_among_stale_ones_keeps_them_stale() {
        let mut ages = Ages::new(LIMIT);
        for second in 1000..1009 {
            assert!(!ages.note("N1", second, at(second)).stale);
            let late = ages.note("N1", second - 5, at(second));
            assert!(late.stale, "{second}");
        }
    }

    #[test]
    fn what_waited_while_the_process_was_stopped_is_old() {
        let mut ages = Ages::new(LIMIT);
        ages.note("N1", 1000, at(1000));
        for _ in 0..1000 {
            let age = ages.note("N1", 1001, at(1012));
            assert_eq!((age.waited.as_secs(), age.stale), (11, true));
        }
    }

    #[test]
    fn no_number_of_servers_takes_more_memory_than_the_bound() {
        let mut ages = Ages::new(LIMIT);
        let end = Moment {
            day: UnixTime::from_secs(i64::MAX),
            steady: Duration::MAX,
        };
        for server in 0..10_000 {
            ages.note(&server.to_string(), i64::MIN, end);
        }
        assert!(ages.servers.len() <= SERVERS);
    }
}
