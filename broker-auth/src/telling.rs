//! Which refusals are told one by one, and how the rest is summed up; pure.
//!
//! A storm of logins with bad tokens must not become a storm of log lines and events: up to a rate each refusal is told,
//! what is above it is counted by reason and told as one.

use std::collections::BTreeMap;
use std::time::Duration;

use overlay_protocol::lifecycle;

use crate::attempt::Attempt;
use crate::decide::Refusal;
use crate::reason::Reason;

/// Reason of a summary, beside the codes of [`Reason`].
pub(crate) const SUMMARY: &str = "summary";

/// Longest foreign text in what is told, in characters.
const LONGEST: usize = 256;

/// A refusal, ready to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tale {
    /// Why.
    pub(crate) reason: Reason,
    /// What people and machines are told.
    pub(crate) refusal: lifecycle::Refusal,
}

/// Lets so many pass in a second and sums up the rest.
#[derive(Debug)]
pub(crate) struct Valve {
    per_second: u32,
    /// Tales that may pass before time goes on; whole ones and nanoseconds towards the next.
    left: u32,
    towards_next: Duration,
    held: BTreeMap<Reason, u64>,
    lost: u64,
}

impl Tale {
    /// Tells a refusal; all texts of the attempt are bounded and free of control characters.
    #[must_use]
    pub(crate) fn new(attempt: &Attempt<'_>, refusal: &Refusal, server: &str) -> Self {
        let text = |text: &str| (!text.is_empty()).then(|| bounded(text));
        Self {
            reason: refusal.reason,
            refusal: lifecycle::Refusal {
                reason: refusal.reason.code().to_owned(),
                message: refusal.message(),
                purpose: refusal.purpose_text().filter(|purpose| !purpose.is_empty()),
                caller: refusal.claimed.clone(),
                organisation: refusal.organisation.clone(),
                client_host: text(attempt.host),
                client_name: text(attempt.name),
                user: text(attempt.user),
                server_name: text(server),
            },
        }
    }

    /// Whom the refusal concerns: who the attempt says it is, else the name or the host of the connection.
    #[must_use]
    pub(crate) fn identity(&self) -> &str {
        let refusal = &self.refusal;
        [&refusal.caller, &refusal.client_name, &refusal.client_host]
            .into_iter()
            .find_map(|text| text.as_deref())
            .unwrap_or("unknown")
    }
}

impl Valve {
    /// Lets `per_second` pass in a second, and as many at once after a quiet second.
    #[must_use]
    pub(crate) fn new(per_second: u16) -> Self {
        let per_second = u32::from(per_second);
        Self {
            per_second,
            left: per_second,
            towards_next: Duration::ZERO,
            held: BTreeMap::new(),
            lost: 0,
        }
    }

    /// Says whether a refusal is told by itself, `passed` after the last question; if not, it is counted.
    pub(crate) fn lets_through(&mut self, reason: Reason, passed: Duration) -> bool {
        self.refill(passed);
        if self.left > 0 {
            self.left -= 1;
            return true;
        }
        *self.held.entry(reason).or_default() += 1;
        false
    }

    /// Counts refusals that were lost on their way here.
    pub(crate) fn count_lost(&mut self, lost: u64) {
        self.lost = self.lost.saturating_add(lost);
    }

    fn refill(&mut self, passed: Duration) {
        let Some(each) = Duration::from_secs(1).checked_div(self.per_second) else {
            return;
        };
        let passed = self.towards_next.saturating_add(passed);
        let more = u32::try_from(passed.as_nanos() / each.as_nanos()).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(more).min(self.per_second);
        self.towards_next = if self.left == self.per_second {
            Duration::ZERO
        } else {
            passed.saturating_sub(each.saturating_mul(more))
        };
    }

    /// Sums up what was not told by itself since the last summary; nothing if all was.
    pub(crate) fn summary(&mut self) -> Option<lifecycle::Refusal> {
        let held = std::mem::take(&mut self.held);
        let lost = std::mem::take(&mut self.lost);
        let all: u64 = held.values().sum::<u64>().saturating_add(lost);
        if all == 0 {
            return None;
        }
        let mut parts: Vec<_> = held
            .into_iter()
            .map(|(reason, count)| (count, reason.code()))
            .collect();
        parts.sort_unstable_by(|one, other| other.cmp(one));
        let mut parts: Vec<_> = parts
            .iter()
            .map(|(count, code)| format!("{code} {count}"))
            .collect();
        if lost > 0 {
            parts.push(format!("unknown {lost}"));
        }
        Some(lifecycle::Refusal {
            reason: SUMMARY.to_owned(),
            message: format!("{all} more logins were refused: {}", parts.join(", ")),
            ..lifecycle::Refusal::default()
        })
    }
}

fn bounded(text: &str) -> String {
    text.chars()
        .take(LONGEST)
        .map(|found| {
            if found.is_control() {
                '\u{fffd}'
            } else {
                found
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REASON: Reason = Reason::TokenExpired;

    fn passed(valve: &mut Valve, times: u32, every: Duration) -> u32 {
        (0..times)
            .map(|_| u32::from(valve.lets_through(REASON, every)))
            .sum()
    }

    #[test]
    fn a_storm_is_cut_to_the_rate_and_the_rest_is_summed_up() {
        let mut valve = Valve::new(20);
        assert_eq!(passed(&mut valve, 10_000, Duration::ZERO), 20);
        valve.lets_through(Reason::LeafNode, Duration::ZERO);
        valve.count_lost(5);
        let summary = valve.summary().unwrap();
        assert_eq!(
            summary.message,
            "9986 more logins were refused: token_expired 9980, leaf_node 1, unknown 5"
        );
        assert_eq!(valve.summary(), None);
    }

    #[test]
    fn what_comes_slower_than_the_rate_all_passes() {
        let mut valve = Valve::new(20);
        assert_eq!(passed(&mut valve, 500, Duration::from_millis(50)), 500);
        assert_eq!(valve.summary(), None);
    }

    #[test]
    fn a_steady_storm_passes_at_the_rate() {
        let mut valve = Valve::new(20);
        let through = passed(&mut valve, 10_000, Duration::from_millis(1));
        assert!((20 + 199..=20 + 201).contains(&through), "{through}");
    }

    #[test]
    fn a_rate_of_zero_tells_summaries_only() {
        let mut valve = Valve::new(0);
        assert_eq!(passed(&mut valve, 100, Duration::from_secs(1)), 0);
        assert!(
            valve
                .summary()
                .unwrap()
                .message
                .starts_with("100 more logins")
        );
    }

    #[test]
    fn a_long_pause_gives_no_more_than_a_second_does() {
        let mut valve = Valve::new(5);
        assert_eq!(passed(&mut valve, 5, Duration::ZERO), 5);
        assert!(valve.lets_through(REASON, Duration::from_secs(3600)));
        assert_eq!(passed(&mut valve, 100, Duration::ZERO), 4);
    }
}
