//! How many nodes may begin in a time, by token and by site.
//!
//! The generic cell rate algorithm: each key has the time at which it would be empty again; a node adds the time that one
//! takes, and may not if that were further ahead than a burst. Each instance counts for itself.

use std::collections::HashMap;
use std::time::Duration;

use overlay_tokens::UnixTime;

use crate::config::Rate;
use crate::enrol::Admission;

/// Keys that are remembered. A key that is forgotten begins anew, with a whole burst.
const MOST_KEYS: usize = 10_000;

/// The rates, and what was let through.
#[derive(Debug)]
pub struct Limiter {
    token: Option<Rate>,
    site: Option<Rate>,
    tokens: HashMap<String, i64>,
    sites: HashMap<String, i64>,
}

impl Limiter {
    /// Bounds nodes by their token and their site; nothing: no bound.
    #[must_use]
    pub fn new(token: Option<Rate>, site: Option<Rate>) -> Self {
        Self {
            token,
            site,
            tokens: HashMap::new(),
            sites: HashMap::new(),
        }
    }

    /// Lets a node through and counts it, or tells when to come again. One that has to wait for one rate does not count
    /// against the other.
    pub fn admit(&mut self, token: &str, site: Option<&str>, now: UnixTime) -> Admission {
        let now = now.as_nanos();
        let by_token = self
            .token
            .map(|rate| judge(rate, self.tokens.get(token), now));
        let by_site = self
            .site
            .zip(site)
            .map(|(rate, site)| judge(rate, self.sites.get(site), now));
        let pause = [&by_token, &by_site]
            .into_iter()
            .filter_map(|judged| judged.as_ref()?.err())
            .max();
        if let Some(pause) = pause {
            return Admission::Later(pause);
        }
        if let Some(Ok(empty)) = by_token {
            keep(&mut self.tokens, token, empty, now);
        }
        if let (Some(Ok(empty)), Some(site)) = (by_site, site) {
            keep(&mut self.sites, site, empty, now);
        }
        Admission::Granted
    }
}

/// The time at which the key would be empty again, or how long to wait.
fn judge(rate: Rate, empty: Option<&i64>, now: i64) -> Result<i64, Duration> {
    let one = nanos(rate.per / rate.nodes.get()).max(1);
    let most = one.saturating_mul(i64::from(rate.burst.get()));
    let empty = empty.copied().unwrap_or(now).max(now).saturating_add(one);
    let ahead = empty.saturating_sub(now).saturating_sub(most);
    match u64::try_from(ahead) {
        Ok(wait @ 1..) => Err(Duration::from_nanos(wait)),
        Ok(0) | Err(_) => Ok(empty),
    }
}

fn nanos(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}

fn keep(known: &mut HashMap<String, i64>, key: &str, empty: i64, now: i64) {
    if known.len() >= MOST_KEYS && !known.contains_key(key) {
        known.retain(|_, empty| *empty > now);
        if known.len() >= MOST_KEYS {
            known.clear();
        }
    }
    known.insert(key.to_owned(), empty);
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::*;
    use crate::time::after;

    const START: UnixTime = UnixTime::from_secs(1_000_000);

    fn rate(nodes: u32, per: u64, burst: u32) -> Rate {
        Rate {
            nodes: NonZeroU32::new(nodes).unwrap(),
            per: Duration::from_secs(per),
            burst: NonZeroU32::new(burst).unwrap(),
        }
    }

    #[test]
    fn a_burst_passes_and_the_rest_waits_for_its_turn() {
        let mut limiter = Limiter::new(Some(rate(60, 60, 3)), None);
        for _ in 0..3 {
            assert_eq!(limiter.admit("t", None, START), Admission::Granted);
        }
        let second = Duration::from_secs(1);
        assert_eq!(limiter.admit("t", None, START), Admission::Later(second));
        assert_eq!(limiter.admit("other", None, START), Admission::Granted);
        let later = after(START, second);
        assert_eq!(limiter.admit("t", None, later), Admission::Granted);
        assert_eq!(limiter.admit("t", None, later), Admission::Later(second));
    }

    #[test]
    fn a_node_that_waits_for_its_site_does_not_count_against_its_token() {
        let mut limiter = Limiter::new(Some(rate(1, 60, 1)), Some(rate(1, 60, 1)));
        assert_eq!(limiter.admit("a", Some("lon"), START), Admission::Granted);
        assert!(matches!(
            limiter.admit("b", Some("lon"), START),
            Admission::Later(_)
        ));
        assert_eq!(limiter.admit("b", Some("fra"), START), Admission::Granted);
        assert_eq!(limiter.admit("c", None, START), Admission::Granted);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut limiter = Limiter::new(Some(rate(1, 60, 1)), None);
        for key in 0..MOST_KEYS * 2 + 1 {
            assert_eq!(
                limiter.admit(&key.to_string(), None, START),
                Admission::Granted
            );
        }
        assert!(limiter.tokens.len() <= MOST_KEYS);
    }

    proptest! {
        #[test]
        fn no_more_pass_than_the_rate_and_a_burst_allow(
            nodes in 1_u32..50,
            burst in 1_u32..20,
            steps in prop::collection::vec(0_u64..3000, 1..200),
        ) {
            let mut limiter = Limiter::new(Some(rate(nodes, 10, burst)), None);
            let mut now = START;
            let mut passed = 0_u64;
            for step in &steps {
                now = after(now, Duration::from_millis(*step));
                if limiter.admit("t", None, now) == Admission::Granted {
                    passed += 1;
                }
            }
            let elapsed: u64 = steps.iter().sum();
            let most = u64::from(burst) + elapsed * u64::from(nodes) / 10_000 + 1;
            prop_assert!(passed <= most, "{passed} of at most {most}");
        }
    }
}
