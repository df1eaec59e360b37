//! The state of enrolment as text.

use std::fmt::Write as _;

use overlay_protocol::provisioning::NodeState;
use overlay_protocol::provisioning::control::StatusReply;

use super::rate::{Rate, on_the_way};
use crate::commands::provision::nodes::instant;
use crate::duration::Text;
use crate::text;

/// Everything, once.
pub(super) fn whole(status: &StatusReply) -> String {
    let mut shown = format!("{}\n", heading(status));
    let mut nodes = text::table(&["State", "Nodes"]);
    for state in NodeState::ALL {
        if let Some(count) = status.nodes.get(&state) {
            nodes.add_row([state.to_string(), count.to_string()]);
        }
    }
    if !status.nodes.is_empty() {
        writeln!(shown, "\n{nodes}").ok();
    }
    let mut instances = text::table(&[
        "Instance",
        "Mode",
        "Site",
        "Since",
        "Waiting",
        "Called",
        "Enrolling",
        "Enrolled",
        "Failed",
        "Put off",
        "Refused",
    ]);
    for instance in &status.instances {
        instances.add_row([
            text::visible(&instance.id),
            instance.mode.as_str().to_owned(),
            text::visible(&instance.site),
            instant(instance.started),
            instance.waiting.to_string(),
            instance.contacting.to_string(),
            instance.enrolling.to_string(),
            instance.enrolled.to_string(),
            instance.failed.to_string(),
            instance.deferred.to_string(),
            instance.refused.to_string(),
        ]);
    }
    if !status.instances.is_empty() {
        writeln!(shown, "\n{instances}").ok();
    }
    shown
}

fn heading(status: &StatusReply) -> String {
    let count = status.instances.len();
    let plural = if count == 1 { "" } else { "s" };
    if !status.paused {
        return format!("Provisioning goes on: {count} instance{plural}");
    }
    let mut shown = format!("Provisioning is PAUSED ({count} instance{plural})");
    if let Some(pause) = &status.pause {
        write!(
            shown,
            ": by {} since {}",
            text::visible(&pause.by),
            instant(pause.since)
        )
        .ok();
        if !pause.reason.is_empty() {
            write!(shown, ", {}", text::visible(&pause.reason)).ok();
        }
    }
    shown
}

/// One look on one line.
pub(super) fn line(status: &StatusReply, rate: &Rate) -> String {
    let mut parts = vec![format!("{} on the way", on_the_way(status))];
    parts.push(format!("{} enrolled", rate.enrolled()));
    if let Some(per_minute) = rate.per_minute() {
        parts.push(format!("{per_minute} a minute"));
    }
    if let Some(left) = rate.left() {
        parts.push(format!("{} left", Text(left)));
    }
    for state in [
        NodeState::Deferred,
        NodeState::Failed,
        NodeState::Quarantined,
        NodeState::Refused,
    ] {
        if let Some(count) = status.nodes.get(&state).filter(|count| **count > 0) {
            parts.push(format!("{count} {state}"));
        }
    }
    if status.paused {
        parts.push("PAUSED".to_owned());
    }
    parts.join(", ")
}

/// One look as a picture of several lines.
pub(super) fn picture(status: &StatusReply, rate: &Rate) -> String {
    let counts: Vec<String> = NodeState::ALL
        .into_iter()
        .filter_map(|state| Some(format!("{state} {}", status.nodes.get(&state)?)))
        .collect();
    let mut shown = heading(status);
    write!(shown, "\n  {}", line(status, rate)).ok();
    if !counts.is_empty() {
        write!(shown, "\n  {}", counts.join("   ")).ok();
    }
    shown
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use overlay_protocol::provisioning::control::{InstanceStatus, Pause};

    use super::*;

    #[test]
    fn a_look_has_counts_rate_and_who_paused() {
        let instance = InstanceStatus {
            id: "i1".to_owned(),
            waiting: 30,
            enrolled: 10,
            ..InstanceStatus::default()
        };
        let mut status = StatusReply {
            instances: vec![instance],
            nodes: [(NodeState::Member, 10), (NodeState::Failed, 2)].into(),
            ..StatusReply::default()
        };
        let mut rate = Rate::default();
        rate.enter(Duration::ZERO, &status);
        status.instances[0].enrolled = 20;
        rate.enter(Duration::from_secs(10), &status);
        assert_eq!(
            line(&status, &rate),
            "30 on the way, 10 enrolled, 60 a minute, 30s left, 2 failed"
        );
        status.paused = true;
        status.pause = Some(Pause {
            by: "up=bob".to_owned(),
            reason: "maintenance\u{1b}".to_owned(),
            since: 0,
        });
        let shown = whole(&status);
        assert!(
            shown.contains("PAUSED (1 instance): by up=bob since 1970-01-01 00:00:00, maintenance"),
            "{shown}"
        );
        assert!(!shown.contains('\u{1b}'));
        assert!(picture(&status, &rate).contains("member 10   failed 2"));
    }
}
