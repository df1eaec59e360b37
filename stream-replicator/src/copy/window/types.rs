//! What goes into the window and comes out of it.

use std::time::{Duration, Instant};

use crate::copy::answer::Poison;

/// How much may be under way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
    /// An answer is asked for once so many messages are sent without.
    pub(crate) ask_messages: usize,
    /// And once so many bytes are.
    pub(crate) ask_bytes: usize,
    /// A silence of this length while answers are due is a fault.
    pub(crate) silence: Duration,
    /// How long answers are waited for once something went wrong.
    pub(crate) settle: Duration,
    /// Refusals that speak of the message after which it counts as poison.
    pub(crate) tries: usize,
}

/// Who writes into the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// This worker alone, as far as anybody knows.
    Alone,
    /// Others too.
    Shared,
    /// This worker alone, by decree: what others write is an error of theirs, and changes no rule.
    Exclusive,
}

/// How a message says what it must follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chain {
    /// By the identifier of the one before it: whatever does not follow is refused, and all behind it.
    Ids,
    /// By the sequence that the one before it has. A replicated stream looks at identifiers when it is too late to refuse,
    /// and ends for good; at sequences it looks before. Another writer's message can take the place of a refused one, so
    /// every message asks for an answer, and after a doubt each message of ours is looked for.
    Sequences,
}

/// Names a message that was sent in its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    pub(in crate::copy) epoch: u32,
    pub(in crate::copy) index: u64,
}

/// What a message must follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expect {
    /// The target's last sequence.
    LastSequence(u64),
    /// The copy of this source sequence, whose identifier has this variant.
    LastId(u64, u8),
    /// The last sequence among the subjects of the copies, whatever others wrote since.
    LastOwn(u64),
    /// The last sequence of its own subject.
    LastOfSubject(u64),
    /// Nothing.
    Nothing,
}

/// A message to be sent.
#[derive(Debug)]
pub(crate) struct Send<'a, T> {
    pub(crate) token: Token,
    pub(crate) sequence: u64,
    pub(crate) variant: u8,
    pub(crate) expect: Expect,
    /// Whether an answer is asked for.
    pub(crate) asks: bool,
    pub(crate) item: &'a T,
}

/// What is to be done next, besides sending and reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Want {
    /// Nothing.
    Nothing,
    /// Answers are waited for until then.
    Answers(Instant),
    /// The target's end is to be read, from this sequence of it on.
    Tail(u64),
    /// Somebody has a message of our identifier at this sequence of the target: is it ours?
    Look(u64),
    /// The target is to be asked about single messages.
    Asks,
    /// What is done is to be told.
    Over,
    /// Something to be done is due then.
    Wait(Instant),
    /// The message at the front is poison.
    Dead(Poison),
    /// The connection is to come back.
    Link,
    /// Nothing more can be done.
    Stop(Stop),
}

/// Why nothing more can be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Somebody else writes under our name, and is ahead.
    Overtaken(u64),
    /// The target has lost what it had acknowledged; this is the last message of ours that it has.
    Lost(Option<u64>),
    /// Another stream takes what is meant for the target.
    OtherStream(String),
}

/// The target's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tail {
    /// Its last sequence.
    pub(crate) last: u64,
    /// The last source sequence of ours behind the sequence that was asked for, and where it stands.
    pub(crate) ours: Option<(u64, u64)>,
    /// All source sequences of ours behind it, in order, where they were looked for one by one.
    pub(crate) all: Option<Vec<u64>>,
    /// Sequence of the last message among the subjects of the copies, where others write and it was asked for; 0 for none.
    pub(crate) own: Option<u64>,
    /// Whether others' messages are behind the sequence that was asked for.
    pub(crate) foreign: bool,
    /// Whether it is the stream that it was before: not made anew.
    pub(crate) same: bool,
}

/// A message that the window holds no more.
#[derive(Debug)]
pub(crate) struct Done<T> {
    pub(crate) item: T,
    /// Whether the target has it.
    pub(crate) copied: bool,
}

impl Token {
    /// As it stands at the end of a reply subject.
    pub(crate) fn text(self) -> String {
        format!("{}-{}", self.epoch, self.index)
    }

    pub(crate) fn read(text: &str) -> Option<Self> {
        let (epoch, index) = text.split_once('-')?;
        Some(Self {
            epoch: epoch.parse().ok()?,
            index: index.parse().ok()?,
        })
    }
}
