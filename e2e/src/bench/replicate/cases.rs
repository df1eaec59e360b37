//! The rows of the table: what is copied, where, by whom.

use std::time::Duration;

use super::Options;
use super::program::Program;

/// One row of the table of copies.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) size: usize,
    pub(super) source: Option<Duration>,
    pub(super) target: Option<Duration>,
    pub(super) windows: &'static [usize],
    pub(super) ours: Vec<Program>,
}

const LOCAL_WINDOWS: &[usize] = &[512, 4096];
const FAR_WINDOWS: &[usize] = &[4096];

const SHARED: (&str, &str) = ("shared target", "writers = \"many\"\n");

/// Every case, in order.
pub(super) fn all() -> Vec<Case> {
    let near = |name: &str, size| Case {
        name: name.to_owned(),
        size,
        source: None,
        target: None,
        windows: LOCAL_WINDOWS,
        ours: vec![Program::Ours],
    };
    let mut cases = vec![
        Case {
            ours: vec![Program::Ours, Program::OursTargetInitiated],
            ..near("local 256 B", 256)
        },
        near("local 1 KiB", 1024),
        near("local 2 KiB", 2048),
        Case {
            ours: vec![Program::OursWith(SHARED.0, SHARED.1)],
            windows: &[],
            ..near("local shared 256 B", 256)
        },
        Case {
            target: Some(Duration::ZERO),
            windows: FAR_WINDOWS,
            ..near("proxy without delay at the target 256 B", 256)
        },
    ];
    for round_trip in [10, 50, 150_u64] {
        let one_way = Some(Duration::from_micros(round_trip * 500));
        cases.push(Case {
            target: one_way,
            windows: FAR_WINDOWS,
            ..near(&format!("{round_trip} ms to the target 256 B"), 256)
        });
        cases.push(Case {
            source: one_way,
            windows: FAR_WINDOWS,
            ours: vec![Program::OursTargetInitiated],
            ..near(&format!("{round_trip} ms to the source 256 B"), 256)
        });
    }
    let fifty = Some(Duration::from_millis(25));
    cases.push(Case {
        target: fifty,
        windows: FAR_WINDOWS,
        ..near("50 ms to the target 2 KiB", 2048)
    });
    cases.push(Case {
        source: fifty,
        windows: FAR_WINDOWS,
        ours: vec![Program::OursTargetInitiated],
        ..near("50 ms to the source 2 KiB", 2048)
    });
    cases.push(Case {
        target: fifty,
        windows: &[],
        ours: vec![Program::OursWith(SHARED.0, SHARED.1)],
        ..near("50 ms to a shared target 256 B", 256)
    });
    cases
}

impl Case {
    /// The programs of this row besides the ceiling.
    pub(super) fn programs(&self, options: &Options) -> Vec<Program> {
        let mut programs = self.ours.clone();
        let compared = !self.windows.is_empty() && self.target != Some(Duration::ZERO);
        if let Some(peer) = options.peer.clone().filter(|_| compared) {
            if self.source.is_none() {
                programs.push(Program::Peer(peer.clone()));
            }
            if self.target.is_none() {
                programs.push(Program::PeerTargetInitiated(peer));
            }
        }
        programs
    }

    /// How many messages a program copies here: for some seconds.
    pub(super) fn messages(&self, program: Option<&Program>, options: &Options) -> u64 {
        let ours = if self.size > 1024 {
            options.messages / 2
        } else {
            options.messages
        };
        match program {
            Some(Program::Peer(_)) | Some(Program::PeerTargetInitiated(_)) => {
                let one_at_a_time =
                    self.target.is_some() || matches!(program, Some(Program::Peer(_)));
                let far = self.source.or(self.target).filter(|_| one_at_a_time);
                match far {
                    Some(delay) if !delay.is_zero() => {
                        let a_second = 500 / u64::try_from(delay.as_millis()).unwrap_or(1).max(1);
                        (a_second * 8).clamp(40, 300)
                    }
                    Some(_) | None => options.peer_messages,
                }
            }
            Some(_) | None => ours,
        }
    }
}
