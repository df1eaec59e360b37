//! What operators do to the record of a node, and what its record says when it is seen as a member after all.

use overlay_protocol::provisioning::{NodeRecord, NodeState};

use crate::reason::Reason;

/// Lets the next attempt begin at once, with nothing counted against the node.
pub fn retry(record: &mut NodeRecord, operator: &str, now: i64) {
    record.failures = 0;
    record.first_failure = None;
    record.deferrals = 0;
    record.not_before = None;
    touch(record, operator, now);
}

/// Leaves the node alone until it is released.
pub fn quarantine(record: &mut NodeRecord, operator: &str, reason: &str, now: i64) {
    record.state = NodeState::Quarantined;
    record.since = now;
    record.not_before = None;
    record.set_reason(
        Reason::Quarantined.as_str(),
        &format!("quarantined by {operator}: {reason}"),
    );
    touch(record, operator, now);
}

/// Ends a quarantine, forgets the enrolments that look like a loop, and lets the next attempt take the name although a
/// node of that name is connected or holds a token, and although its token was good once.
pub fn release(record: &mut NodeRecord, operator: &str, now: i64) {
    if record.state == NodeState::Quarantined {
        record.state = NodeState::Waiting;
        record.since = now;
        record.reason = None;
        record.message = None;
    }
    record.enrolments.clear();
    record.confirmed = true;
    retry(record, operator, now);
}

/// Notes that the node was seen as a member, and tells whether that is news: it was on its way there, or given up.
pub fn seen_as_member(record: &mut NodeRecord, now: i64) -> bool {
    let awaited = record.state == NodeState::Restarting
        || record.reason.as_deref() == Some(Reason::NotSeen.as_str());
    if awaited {
        record.state = NodeState::Member;
        record.since = now;
        record.updated = now;
        record.attempts = 0;
        record.failures = 0;
        record.first_failure = None;
        record.not_before = None;
        record.reason = None;
        record.message = None;
        record.confirmed = false;
    }
    awaited
}

fn touch(record: &mut NodeRecord, operator: &str, now: i64) {
    record.operator = Some(operator.to_owned());
    record.updated = now;
}

#[cfg(test)]
mod tests {
    use overlay_protocol::id::Identity;

    use super::*;

    fn record(state: NodeState) -> NodeRecord {
        let mut record = NodeRecord::new(Identity::new("n1").unwrap(), 100);
        record.state = state;
        record.failures = 9;
        record.enrolments = vec![1, 2, 3];
        record.not_before = Some(900);
        record
    }

    #[test]
    fn a_release_lifts_everything_that_keeps_a_node_from_its_name() {
        let mut record = record(NodeState::Failed);
        quarantine(&mut record, "up=ops", "too loud", 200);
        assert_eq!((record.state, record.since), (NodeState::Quarantined, 200));
        assert!(record.message.as_ref().unwrap().contains("too loud"));
        release(&mut record, "up=ops", 300);
        assert_eq!(record.state, NodeState::Waiting);
        assert!(record.confirmed && record.enrolments.is_empty());
        assert_eq!((record.failures, record.not_before), (0, None));
        assert_eq!(record.operator.as_deref(), Some("up=ops"));
    }

    #[test]
    fn a_retry_keeps_the_state() {
        let mut record = record(NodeState::Refused);
        retry(&mut record, "up=ops", 300);
        assert_eq!((record.state, record.failures), (NodeState::Refused, 0));
        assert_eq!(record.enrolments.len(), 3);
    }

    #[test]
    fn a_late_member_is_one() {
        let mut late = record(NodeState::Failed);
        late.set_reason(Reason::NotSeen.as_str(), "");
        assert!(seen_as_member(&mut late, 400));
        assert_eq!((late.state, late.since), (NodeState::Member, 400));
        assert!(!seen_as_member(&mut late, 500));
        let mut refused = record(NodeState::Refused);
        assert!(!seen_as_member(&mut refused, 500));
        assert_eq!(refused.state, NodeState::Refused);
    }
}
