//! Messages that are sent and get no answer, while the target answers what is sent after them.

use std::time::Instant;

use super::window::Limits;

/// What is known of one message's silence since it was last answered.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Silence {
    /// How often it was sent and nothing came.
    times: usize,
    /// How often its stream answered what was sent after it meanwhile.
    alone: usize,
    /// The first and the last of these.
    span: Option<(Instant, Instant)>,
}

impl Silence {
    /// No answer came; `alone`: what was sent after it on the same connection has one.
    pub(super) fn note(&mut self, alone: bool, now: Instant) {
        self.times += 1;
        if alone {
            self.alone += 1;
            let first = self.span.map_or(now, |(first, _)| first);
            self.span = Some((first, now));
        }
    }

    /// It is not this message alone: what showed so counts no more.
    pub(super) fn spare(&mut self) {
        self.alone = 0;
        self.span = None;
    }

    pub(super) fn times(self) -> usize {
        self.times
    }

    /// Whether people are to know.
    pub(super) fn is_long(self, limits: &Limits) -> bool {
        self.times >= limits.tries
    }

    /// Whether it is this message that is not answered, and not a line or a target that does not work.
    pub(super) fn is_certain(self, limits: &Limits) -> bool {
        let long = limits.silence.saturating_mul(2);
        self.alone >= limits.tries
            && self
                .span
                .is_some_and(|(first, last)| last.saturating_duration_since(first) >= long)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LIMITS: Limits = Limits {
        messages: 1,
        bytes: 1,
        ask_messages: 1,
        ask_bytes: 1,
        silence: Duration::from_secs(10),
        settle: Duration::from_secs(2),
        tries: 3,
    };

    #[test]
    fn only_what_is_silent_alone_often_and_for_long_is_certain() {
        #[expect(
            clippy::disallowed_methods,
            reason = "only a place to begin to count from"
        )]
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut silence = Silence::default();
        for time in 0..20 {
            silence.note(false, at(time * 10));
            assert_eq!(silence.is_long(&LIMITS), time >= 2);
            assert!(!silence.is_certain(&LIMITS));
        }
        for time in 0..10 {
            silence.note(true, at(1000 + time));
            assert!(!silence.is_certain(&LIMITS), "too soon");
        }
        silence.note(true, at(1020));
        assert!(silence.is_certain(&LIMITS));
        silence.spare();
        assert!(silence.is_long(&LIMITS) && !silence.is_certain(&LIMITS));
        let mut seldom = Silence::default();
        seldom.note(true, at(0));
        seldom.note(true, at(100));
        assert!(!seldom.is_certain(&LIMITS), "two may be chance");
    }
}
