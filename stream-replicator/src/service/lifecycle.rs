//! What nodes say of themselves: who stops in good order has not crashed.

use overlay_protocol::envelope::Limits;
use overlay_protocol::lifecycle::{COMPONENT_SERVER, Event, EventKind};

use crate::track::Nanos;

/// Where nodes say it; what others say, and that nodes are alive, is nothing to us.
pub(super) const SUBJECTS: [&str; 2] = [
    "choria.lifecycle.event.shutdown.server",
    "choria.lifecycle.event.startup.server",
];

/// A node that starts or stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sign {
    pub(super) identity: String,
    pub(super) stops: bool,
    /// When it was heard: clocks of nodes are not asked.
    pub(super) at: Nanos,
}

/// Whether messages on the subject are such signs.
pub(super) fn is_of(subject: &str) -> bool {
    SUBJECTS.contains(&subject)
}

/// Reads what a node says; nothing when it is something else, or is said by something else.
pub(super) fn sign(body: &[u8], at: Nanos) -> Option<Sign> {
    let event = Event::decode(body, &Limits::default()).ok()?;
    if event.component != COMPONENT_SERVER || event.identity.is_empty() {
        return None;
    }
    let stops = match event.kind {
        EventKind::Shutdown => true,
        EventKind::Startup { .. } => false,
        EventKind::Alive { .. }
        | EventKind::Provisioned
        | EventKind::Upgraded { .. }
        | EventKind::Governor { .. }
        | EventKind::Refused(_) => return None,
    };
    Some(Sign {
        identity: event.identity,
        stops,
        at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_nodes_that_start_or_stop_are_heard() {
        let at = Nanos::default();
        let event = |kind, component: &str, identity: &str| {
            let event = Event::new("1", identity, component, 1, kind);
            sign(&event.to_cloudevent_json(), at)
        };
        let startup = || EventKind::Startup {
            version: "1".to_owned(),
        };
        let stops = event(EventKind::Shutdown, COMPONENT_SERVER, "h1").unwrap();
        assert_eq!((stops.identity.as_str(), stops.stops), ("h1", true));
        assert!(!event(startup(), COMPONENT_SERVER, "h1").unwrap().stops);
        assert_eq!(event(EventKind::Shutdown, "provisioner", "h1"), None);
        assert_eq!(event(EventKind::Shutdown, COMPONENT_SERVER, ""), None);
        let alive = EventKind::Alive {
            version: "1".to_owned(),
        };
        assert_eq!(event(alive, COMPONENT_SERVER, "h1"), None);
        assert_eq!(sign(b"{", at), None);
    }
}
