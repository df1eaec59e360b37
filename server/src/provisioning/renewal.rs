//! A member fetches a new token before its own ends, without leaving the fleet for it.
//!
//! ```text
//! waits ── due ──> second connection, as a node that waits to be enrolled ── configure, restart ──> begins anew
//!   ^                    │ nobody came, or it cannot connect
//!   └──── pause ─────────┘
//! ```
//!
//! Until the restart nothing of what the member lives by is touched.

use std::time::Duration;

use overlay_tokens::claims::ServerClaims;
use overlay_tokens::{UnixTime, Unverified};

use crate::config::Enrolment;

/// Of a token's life this part is left when its holder begins to renew, unless configured.
const PART: u32 = 3;

/// How long a round waits for a provisioner.
pub(crate) const ROUND: Duration = Duration::from_secs(15 * 60);

/// Pauses between rounds are part of the time that is left, within these bounds.
const PAUSE_PART: u32 = 20;
const SHORTEST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(6 * 3600);

/// While there is nothing to do the files are looked at this often: somebody else may have renewed the token.
const LOOK: Duration = Duration::from_secs(3600);

/// When a token is renewed. No clock: the time is an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewal {
    /// When it or its issuer ends, in Unix seconds.
    ends: i64,
    /// How long before that its holder begins.
    before: Duration,
}

impl Renewal {
    /// The plan for a server token; none when it says nothing of its end.
    pub fn of(token: &str, enrolment: &Enrolment) -> Option<Self> {
        let token = Unverified::<ServerClaims>::decode(token).ok()?;
        let standard = &token.claims_unverified().standard;
        let ends = standard.expires_at()?;
        let issued = standard.iat.unwrap_or(ends);
        let life = span(issued, ends);
        Some(Self {
            ends,
            before: enrolment
                .renew_before
                .map_or(life / PART, |before| before.min(life)),
        })
    }

    /// How long to wait at `now`; `roll` is a random number of 0 to 1, which spreads a fleet whose tokens end together
    /// over half of the time that is left.
    pub fn wait(&self, now: UnixTime, roll: f64) -> Duration {
        let begin = self.ends.saturating_sub(seconds(self.before));
        let until = span(now.secs, begin);
        let spread = (self.before / 2).mul_f64(roll.clamp(0.0, 1.0));
        // Once it is time, whoever starts now does not wait for the rest of the others.
        if until.is_zero() {
            return Duration::ZERO;
        }
        until.saturating_add(spread)
    }

    /// The next look at the files, while waiting for so long.
    pub fn look(wait: Duration) -> Duration {
        wait.min(LOOK)
    }

    /// How long to pause after a round in which nothing came of it.
    pub fn pause(&self, now: UnixTime, roll: f64) -> Duration {
        let pause = (self.left(now) / PAUSE_PART).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
        pause.mul_f64(0.5 + roll.clamp(0.0, 1.0))
    }

    fn left(&self, now: UnixTime) -> Duration {
        span(now.secs, self.ends)
    }
}

fn span(from: i64, to: i64) -> Duration {
    Duration::from_secs(u64::try_from(to.saturating_sub(from)).unwrap_or_default())
}

fn seconds(span: Duration) -> i64 {
    i64::try_from(span.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(before: Option<u64>) -> Renewal {
        let life = Duration::from_secs(900);
        Renewal {
            ends: 1900,
            before: before.map_or(life / PART, Duration::from_secs),
        }
    }

    fn at(secs: i64) -> UnixTime {
        UnixTime::from_secs(secs)
    }

    #[test]
    fn the_last_third_of_its_life_is_for_renewing_a_token() {
        let plan = plan(None);
        assert_eq!(plan.wait(at(1000), 0.0), Duration::from_secs(600));
        assert_eq!(plan.wait(at(1000), 1.0), Duration::from_secs(750));
        assert_eq!(plan.wait(at(1600), 1.0), Duration::ZERO);
        assert_eq!(plan.wait(at(5000), 1.0), Duration::ZERO);
    }

    #[test]
    fn pauses_shorten_as_the_end_comes_near_and_never_vanish() {
        let plan = plan(Some(400));
        assert_eq!(plan.pause(at(1500), 0.5), Duration::from_secs(20));
        assert_eq!(plan.pause(at(1890), 0.5), SHORTEST_PAUSE);
        assert_eq!(plan.pause(at(9999), 0.0), SHORTEST_PAUSE / 2);
        let year = Renewal {
            ends: 365 * 86_400,
            before: Duration::from_secs(100 * 86_400),
        };
        assert_eq!(
            year.pause(at(300 * 86_400), 0.5),
            Duration::from_secs(280_800).min(LONGEST_PAUSE)
        );
    }

    #[test]
    fn waiting_is_looked_up_from_by_the_hour() {
        assert_eq!(Renewal::look(Duration::from_secs(86_400)), LOOK);
        assert_eq!(
            Renewal::look(Duration::from_secs(5)),
            Duration::from_secs(5)
        );
    }
}
