//! What goes into the lanes and comes out of them.

use std::time::Instant;

use crate::copy::answer::Poison;
use crate::copy::silence::Silence;

/// What keeps a message from being stored twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guard {
    /// Each subject has one key: the last sequence of its subject in the target.
    Subjects,
    /// Its identifier, as long as the target remembers it.
    Ids,
}

/// Where a message belongs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Lane {
    /// Its key, as a number.
    pub(crate) key: u64,
    /// Its subject in the target, as a number.
    pub(crate) place: u64,
    /// When the source took it, in milliseconds.
    pub(crate) time_ms: i64,
}

/// A question about a message that may be in the target.
#[derive(Debug)]
pub(crate) struct Ask<'a, T> {
    pub(crate) index: u64,
    /// Messages of its subject up to this sequence of the target need not be looked at; none at all without one.
    pub(crate) since: Option<u64>,
    /// Sequence in the target of what has its identifier.
    pub(crate) twin: Option<u64>,
    pub(crate) item: &'a T,
}

/// What the target has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Last sequence of the subject; 0 for none.
    pub(crate) last: u64,
    /// Highest source sequence of ours in what was looked at.
    pub(crate) source: Option<u64>,
    /// Whether that is all there is; else it is asked for again from there on.
    pub(crate) is_all: bool,
    /// Whose the message of the same identifier is.
    pub(crate) twin: Option<Twin>,
}

/// Whose a message of the same identifier is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Twin {
    /// It is ours: the message itself.
    Ours,
    /// Somebody else's.
    Theirs,
}

/// A message, open or done.
#[derive(Debug)]
pub(super) struct Entry<T> {
    pub(super) sequence: u64,
    /// Source sequences up to this one need nothing further once this entry is done.
    pub(super) covers: u64,
    pub(super) bytes: usize,
    pub(super) lane: Lane,
    /// Its copy is behind this sequence of the target.
    pub(super) floor: u64,
    /// Last known sequence of the target when it was sent.
    pub(super) sent_at: u64,
    /// Refusals that make it poison, and nothing else.
    pub(super) refusals: usize,
    /// Whether its identifier was found on its way before.
    pub(super) held: bool,
    pub(super) silence: Silence,
    /// Which of all that were sent it was.
    pub(super) turn: u64,
    /// How often it did not arrive, for whatever reason.
    pub(super) faults: u32,
    pub(super) attempt: u32,
    pub(super) variant: u8,
    pub(super) stage: Stage,
    /// Nothing once it is done.
    pub(super) item: Option<T>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stage {
    /// Another message of its key is before it.
    Waiting,
    Ready,
    Flying,
    Later,
    Asked(Doubt),
    Dead,
    Done,
}

/// Why the target is asked about a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Doubt {
    Order,
    Silence,
    InProcess,
    /// Sequence in the target of what has its identifier.
    Duplicate(u64),
    Poison(Poison),
}

/// What is known of a subject in the target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) last: u64,
    /// Highest source sequence of ours in it.
    pub(super) source: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Flow,
    Pause(Instant),
    /// What the target has is to be read.
    Tail,
    Offline,
    Stopped,
}
