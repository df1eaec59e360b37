//! Who may be worked on: many nodes may be asked for the first time, few have a place, restarted ones need none.

use std::collections::VecDeque;

use super::node::NodeId;

/// How far a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It is claimed and asked for the first time.
    Contacting,
    /// It answered, and waits for a place.
    Ready,
    /// It has a place.
    Working,
    /// It was restarted, and is awaited in the fleet.
    Settling,
}

/// Bounds, and how many nodes are at which stage.
#[derive(Debug)]
pub(super) struct Places {
    first_contact: usize,
    workers: usize,
    contacting: usize,
    ready: VecDeque<NodeId>,
    working: usize,
    settling: usize,
}

impl Places {
    pub(super) fn new(first_contact: usize, workers: usize) -> Self {
        Self {
            first_contact,
            workers,
            contacting: 0,
            ready: VecDeque::new(),
            working: 0,
            settling: 0,
        }
    }

    /// Whether one more may be asked: nodes that answered and wait for a place count as well.
    pub(super) fn has_room(&self) -> bool {
        self.contacting + self.ready.len() < self.first_contact && self.ready.len() < self.workers
    }

    pub(super) fn enter(&mut self, id: NodeId, stage: Stage) {
        match stage {
            Stage::Contacting => self.contacting += 1,
            Stage::Ready => self.ready.push_back(id),
            Stage::Working => self.working += 1,
            Stage::Settling => self.settling += 1,
        }
    }

    pub(super) fn leave(&mut self, id: NodeId, stage: Stage) {
        match stage {
            Stage::Contacting => self.contacting = self.contacting.saturating_sub(1),
            Stage::Ready => self.ready.retain(|ready| *ready != id),
            Stage::Working => self.working = self.working.saturating_sub(1),
            Stage::Settling => self.settling = self.settling.saturating_sub(1),
        }
    }

    /// The next that waits for a place and gets one, first come first served; it has left the others.
    pub(super) fn next(&mut self) -> Option<NodeId> {
        if self.working >= self.workers {
            return None;
        }
        self.ready.pop_front()
    }

    /// Nodes that are asked for the first time, or wait for a place.
    pub(super) fn contacting(&self) -> usize {
        self.contacting + self.ready.len()
    }

    pub(super) fn working(&self) -> usize {
        self.working
    }

    pub(super) fn settling(&self) -> usize {
        self.settling
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_go_to_those_who_came_first_and_the_dead_hold_none() {
        let mut places = Places::new(3, 1);
        for id in 1..=2 {
            assert!(places.has_room());
            places.enter(id, Stage::Contacting);
        }
        for id in 1..=2 {
            places.leave(id, Stage::Contacting);
            places.enter(id, Stage::Ready);
        }
        assert!(!places.has_room(), "enough wait for a place");
        assert_eq!(places.next(), Some(1));
        places.enter(1, Stage::Working);
        assert_eq!(places.next(), None);
        places.leave(1, Stage::Working);
        places.leave(2, Stage::Ready);
        assert!(places.has_room());
        assert_eq!(
            (places.next(), places.contacting(), places.working()),
            (None, 0, 0)
        );
    }
}
