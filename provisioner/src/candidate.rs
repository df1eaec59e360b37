//! Whether a node may be tried, by what is known of it.

use overlay_protocol::provisioning::{NodeRecord, NodeState};
use overlay_tokens::UnixTime;

/// Whether it is a node's turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It may be tried.
    Now,
    /// Not before then.
    Later(UnixTime),
    /// Not before an operator releases it.
    Never,
}

/// Tells whether a node may be tried now: it is not in quarantine, and its next attempt is due.
#[must_use]
pub fn admissible(record: Option<&NodeRecord>, now: UnixTime) -> Turn {
    let Some(record) = record else {
        return Turn::Now;
    };
    match (record.state, record.not_before.map(UnixTime::from_secs)) {
        (NodeState::Quarantined, None) => Turn::Never,
        // A member that comes back was not put off.
        (NodeState::Member, _) => Turn::Now,
        (_, Some(due)) if now < due => Turn::Later(due),
        (_, Some(_) | None) => Turn::Now,
    }
}

#[cfg(test)]
mod tests {
    use overlay_protocol::id::Identity;

    use super::*;

    #[test]
    fn a_node_waits_for_its_time_or_for_an_operator() {
        let now = UnixTime::from_secs(1000);
        let turn = |state, not_before| {
            let mut record = NodeRecord::new(Identity::new("n1").unwrap(), 0);
            record.state = state;
            record.not_before = not_before;
            admissible(Some(&record), now)
        };
        assert_eq!(admissible(None, now), Turn::Now);
        let later = Turn::Later(UnixTime::from_secs(1001));
        for state in [
            NodeState::Failed,
            NodeState::Deferred,
            NodeState::Quarantined,
        ] {
            assert_eq!(turn(state, Some(1001)), later);
            assert_eq!(turn(state, Some(1000)), Turn::Now);
        }
        assert_eq!(turn(NodeState::Quarantined, None), Turn::Never);
        assert_eq!(turn(NodeState::Failed, None), Turn::Now);
        assert_eq!(turn(NodeState::Member, Some(2000)), Turn::Now);
    }
}
