//! How fast nodes become members, and how long the rest will take.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use overlay_protocol::provisioning::control::StatusReply;
use serde_json::{Value, json};

use crate::error::Failure;

/// The rate is that of the last so long.
const WINDOW: Duration = Duration::from_secs(30);

/// Looks at the state, and what follows from them.
#[derive(Debug, Default)]
pub(super) struct Rate {
    /// What each instance said last that it had enrolled.
    instances: BTreeMap<String, u64>,
    /// Nodes enrolled since the first look.
    enrolled: u64,
    /// When, and how many by then.
    looks: VecDeque<(Duration, u64)>,
    /// Nodes still on the way at the last look.
    left: u64,
}

/// Nodes that are known and neither members nor put off.
pub(super) fn on_the_way(status: &StatusReply) -> u64 {
    status
        .instances
        .iter()
        .map(|instance| instance.waiting + instance.contacting + instance.enrolling)
        .sum()
}

impl Rate {
    /// Enters a look, `at` so long after the beginning.
    pub(super) fn enter(&mut self, at: Duration, status: &StatusReply) {
        for instance in &status.instances {
            let last = self
                .instances
                .insert(instance.id.clone(), instance.enrolled);
            // What an instance had done before it was seen for the first time is no news, unless it is new itself.
            let before = match last {
                Some(last) => last,
                None if self.looks.is_empty() => instance.enrolled,
                None => 0,
            };
            self.enrolled += instance.enrolled.saturating_sub(before);
        }
        self.looks.push_back((at, self.enrolled));
        while self
            .looks
            .get(1)
            .is_some_and(|(second, _)| at.saturating_sub(*second) >= WINDOW)
        {
            self.looks.pop_front();
        }
        self.left = on_the_way(status);
    }

    /// Nodes enrolled since the first look.
    pub(super) fn enrolled(&self) -> u64 {
        self.enrolled
    }

    /// Nodes enrolled a minute; nothing before the second look.
    pub(super) fn per_minute(&self) -> Option<u64> {
        let (first, last) = (self.looks.front()?, self.looks.back()?);
        let millis = u64::try_from(last.0.saturating_sub(first.0).as_millis()).ok()?;
        (last.1 - first.1).checked_mul(60_000)?.checked_div(millis)
    }

    /// How long those on the way will take at this rate.
    pub(super) fn left(&self) -> Option<Duration> {
        let rate = self.per_minute().filter(|rate| *rate > 0)?;
        Some(Duration::from_secs(self.left.checked_mul(60)? / rate))
    }

    /// A status with the rate beside it, as a line of JSON.
    pub(super) fn with(&self, status: &StatusReply) -> Result<Value, Failure> {
        let mut line = serde_json::to_value(status)?;
        if let Some(line) = line.as_object_mut() {
            line.insert(
                "rate".to_owned(),
                json!({
                    "on_the_way": self.left,
                    "enrolled": self.enrolled,
                    "per_minute": self.per_minute(),
                    "seconds_left": self.left().map(|left| left.as_secs()),
                }),
            );
        }
        Ok(line)
    }
}

#[cfg(test)]
mod tests {
    use overlay_protocol::provisioning::control::InstanceStatus;

    use super::*;

    fn status(instances: &[(&str, u64, u64)]) -> StatusReply {
        let instances = instances
            .iter()
            .map(|(id, waiting, enrolled)| InstanceStatus {
                id: (*id).to_owned(),
                waiting: *waiting,
                enrolled: *enrolled,
                ..InstanceStatus::default()
            });
        StatusReply {
            instances: instances.collect(),
            ..StatusReply::default()
        }
    }

    #[test]
    fn the_rate_is_of_all_instances_and_the_rest_takes_its_time() {
        let mut rate = Rate::default();
        rate.enter(Duration::from_secs(0), &status(&[("a", 900, 100)]));
        assert_eq!((rate.per_minute(), rate.enrolled()), (None, 0));
        rate.enter(
            Duration::from_secs(10),
            &status(&[("a", 500, 300), ("b", 100, 100)]),
        );
        assert_eq!(rate.enrolled(), 300);
        assert_eq!(rate.per_minute(), Some(1800));
        assert_eq!(rate.left(), Some(Duration::from_secs(20)));
    }

    #[test]
    fn an_instance_that_starts_anew_takes_nothing_back() {
        let mut rate = Rate::default();
        rate.enter(Duration::from_secs(0), &status(&[("a", 10, 50)]));
        rate.enter(Duration::from_secs(30), &status(&[]));
        rate.enter(Duration::from_secs(60), &status(&[("c", 4, 6)]));
        assert_eq!(rate.enrolled(), 6);
    }

    #[test]
    fn only_the_last_half_minute_counts() {
        let mut rate = Rate::default();
        for second in 0..120 {
            rate.enter(
                Duration::from_secs(second),
                &status(&[("a", 1, second.min(60))]),
            );
        }
        assert_eq!(rate.per_minute(), Some(0));
        assert_eq!(rate.left(), None);
    }
}
