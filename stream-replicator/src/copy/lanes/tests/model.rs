//! A target that is a model: a stream with the broker's rules, links that lose and delay, and others.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use super::super::*;
use crate::copy::window::{Tail, Want};

pub(super) const LAST: u64 = 60;
pub(super) const IN_FLIGHT: usize = 6;

/// The subject of a message in the target.
pub(super) fn subject(sequence: u64) -> u64 {
    sequence * 7 % 5
}

pub(super) fn lane(sequence: u64, guard: Guard) -> Lane {
    Lane {
        key: match guard {
            // A key has several subjects, and a subject one key.
            Guard::Subjects => subject(sequence) % 3,
            Guard::Ids => sequence * 5 % 7 % 4,
        },
        place: subject(sequence),
        time_ms: i64::try_from(sequence).unwrap(),
    }
}

/// A stream with the broker's rules for identifiers and order.
#[derive(Debug, Default, Clone)]
pub(super) struct Stream {
    /// Subject and source sequence of each message; no sequence for others' messages.
    pub(super) messages: Vec<(u64, Option<u64>)>,
    pub(super) ids: HashMap<(u64, u8), u64>,
    pub(super) busy: bool,
    /// A subject that it takes nothing of for the moment.
    pub(super) stuck: Option<u64>,
    /// Messages that it never takes.
    pub(super) poison: Vec<u64>,
    /// Messages that never come to it, and that nobody answers.
    pub(super) mute: Vec<u64>,
    /// The last message of the source.
    pub(super) end: u64,
}

#[derive(Debug, Clone)]
pub(super) struct Wire {
    pub(super) token: Token,
    pub(super) sequence: u64,
    pub(super) variant: u8,
    pub(super) expect: Expect,
}

#[derive(Debug, Clone)]
pub(super) enum Reply {
    Stored(u64, bool),
    Refused(Refusal),
}

/// One worker with its connection.
pub(super) struct Worker {
    pub(super) lanes: Lanes<u64>,
    pub(super) guard: Guard,
    pub(super) to_target: VecDeque<Wire>,
    pub(super) to_worker: VecDeque<(Token, Reply)>,
    pub(super) next: u64,
    pub(super) ended: Option<Stop>,
}

pub(super) struct World {
    pub(super) guard: Guard,
    pub(super) stream: Stream,
    pub(super) worker: Worker,
    /// What an earlier connection still holds, in its order.
    pub(super) late: VecDeque<Wire>,
    pub(super) frozen: Option<Worker>,
    pub(super) now: Instant,
    /// Position that was written down, and the target's sequence that belongs to it.
    pub(super) mark: (u64, u64),
    pub(super) buried: Vec<u64>,
}

impl Stream {
    /// What it says to a message; nothing where nobody hears it.
    pub(super) fn take(&mut self, wire: &Wire) -> Option<Reply> {
        (!self.mute.contains(&wire.sequence)).then(|| self.judge(wire))
    }

    fn judge(&mut self, wire: &Wire) -> Reply {
        let (sequence, subject) = (wire.sequence, subject(wire.sequence));
        if self.busy || self.stuck == Some(subject) {
            return Reply::Refused(Refusal::Busy("full".to_owned()));
        }
        if self.poison.contains(&sequence) {
            let poison = if sequence.is_multiple_of(2) {
                Poison::TooLarge
            } else {
                Poison::NotTaken
            };
            return Reply::Refused(Refusal::Poison(poison));
        }
        let id = (sequence, wire.variant);
        if let Some(stored) = self.ids.get(&id) {
            return Reply::Stored(*stored, true);
        }
        let follows = match wire.expect {
            Expect::LastOfSubject(last) => last == self.last_of(subject),
            Expect::Nothing => true,
            Expect::LastSequence(_) | Expect::LastId(..) | Expect::LastOwn(_) => {
                panic!("{:?}", wire.expect)
            }
        };
        if !follows {
            return Reply::Refused(Refusal::Order);
        }
        self.messages.push((subject, Some(sequence)));
        self.ids.insert(id, self.last());
        Reply::Stored(self.last(), false)
    }

    pub(super) fn last(&self) -> u64 {
        u64::try_from(self.messages.len()).unwrap()
    }

    pub(super) fn numbered(&self) -> impl DoubleEndedIterator<Item = (u64, u64, Option<u64>)> + '_ {
        (1_u64..)
            .zip(&self.messages)
            .map(|(at, (subject, source))| (at, *subject, *source))
            .collect::<Vec<_>>()
            .into_iter()
    }

    pub(super) fn last_of(&self, wanted: u64) -> u64 {
        let mut of = self.numbered().filter(|(_, subject, _)| *subject == wanted);
        of.next_back().map_or(0, |(at, ..)| at)
    }

    pub(super) fn ours(&self) -> Vec<u64> {
        self.messages.iter().filter_map(|(_, ours)| *ours).collect()
    }

    pub(super) fn tail(&self, since: u64, guard: Guard) -> Tail {
        let behind = self.numbered().filter(|(at, ..)| *at > since);
        let mut all: Vec<u64> = behind.filter_map(|(_, _, ours)| ours).collect();
        all.sort_unstable();
        Tail {
            last: self.last(),
            ours: None,
            all: (guard == Guard::Ids).then_some(all),
            own: None,
            foreign: false,
            same: true,
        }
    }

    /// What the program asks of a subject: its last message, and where that is another's, those of a part before.
    pub(super) fn found(&self, wanted: u64, since: Option<u64>, twin: Option<u64>) -> Found {
        const PART: usize = 3;
        let twin = twin.map(
            |at| match self.messages[usize::try_from(at - 1).unwrap()].1 {
                Some(_) => Twin::Ours,
                None => Twin::Theirs,
            },
        );
        let of: Vec<_> = self
            .numbered()
            .filter(|(_, subject, _)| *subject == wanted && since.is_some())
            .collect();
        match of.last() {
            None => Found {
                is_all: true,
                twin,
                ..Found::default()
            },
            Some((at, _, Some(source))) => Found {
                last: *at,
                source: Some(*source),
                is_all: true,
                twin,
            },
            Some((last, _, None)) => {
                let part: Vec<_> = of
                    .iter()
                    .filter(|(at, ..)| Some(*at) > since)
                    .take(PART)
                    .collect();
                let reached = part.last().map_or(*last, |(at, ..)| *at);
                Found {
                    last: reached,
                    source: part.iter().filter_map(|(_, _, ours)| *ours).max(),
                    is_all: reached == *last,
                    twin,
                }
            }
        }
    }
}

impl Worker {
    pub(super) fn begin(stream: &Stream, guard: Guard, mark: (u64, u64)) -> Self {
        let limits = Limits {
            messages: IN_FLIGHT,
            // What one that is never answered holds up must not fill it before that is certain.
            bytes: if stream.mute.is_empty() {
                2_000
            } else {
                1_000_000
            },
            ask_messages: 1,
            ask_bytes: 1,
            silence: Duration::from_secs(10),
            settle: Duration::from_secs(2),
            tries: 2,
        };
        let seen = stream.ours().last().copied().unwrap_or(0);
        Self {
            lanes: Lanes::new(limits, guard, (mark.0, seen), mark.1),
            guard,
            to_target: VecDeque::new(),
            to_worker: VecDeque::new(),
            next: mark.0 + 1,
            ended: None,
        }
    }

    pub(super) fn step(
        &mut self,
        stream: &Stream,
        buried: &mut Vec<u64>,
        now: Instant,
        limit: usize,
    ) {
        if self.ended.is_some() {
            return;
        }
        for _message in 0..limit {
            if self.next > stream.end || !self.lanes.has_room() {
                break;
            }
            if self.next.is_multiple_of(11) {
                self.lanes.pass(self.next);
            } else {
                self.lanes
                    .push(self.next, 100, lane(self.next, self.guard), self.next);
            }
            self.next += 1;
        }
        while let Some(send) = self.lanes.next_send(now) {
            assert!(send.asks && *send.item == send.sequence);
            self.to_target.push_back(Wire {
                token: send.token,
                sequence: send.sequence,
                variant: send.variant,
                expect: send.expect,
            });
        }
        assert!(self.lanes.under_way <= IN_FLIGHT);
        let flying = self
            .lanes
            .entries
            .iter()
            .filter(|entry| entry.stage == Stage::Flying);
        let keys: Vec<u64> = flying.map(|entry| entry.lane.key).collect();
        let distinct: HashSet<&u64> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len(), "two of one key are under way");
        assert_eq!(keys.len(), self.lanes.under_way);
        match self.lanes.want(now) {
            Want::Tail(since) => {
                let tail = stream.tail(since, self.guard);
                self.lanes.tail(&tail, |done| check(&done, stream, buried));
            }
            Want::Asks => {
                let asks: Vec<_> = self
                    .lanes
                    .asks()
                    .map(|ask| (ask.index, ask.since, ask.twin, *ask.item))
                    .collect();
                for (index, since, twin, sequence) in asks {
                    let found = stream.found(subject(sequence), since, twin);
                    self.lanes
                        .found(index, found, now, |done| check(&done, stream, buried));
                }
            }
            Want::Dead(_) => {
                let (sequence, _) = self.lanes.poisoned().unwrap();
                let is_due = stream.poison.contains(&sequence) || stream.mute.contains(&sequence);
                assert!(is_due, "{sequence} was no poison");
                buried.push(sequence);
                self.lanes.buried(|done| {
                    if done.item == sequence {
                        assert!(!done.copied);
                    } else {
                        check(&done, stream, buried);
                    }
                });
            }
            Want::Over => self.lanes.tell(|done| check(&done, stream, buried)),
            Want::Stop(stop) => self.ended = Some(stop),
            Want::Nothing | Want::Answers(_) | Want::Look(_) | Want::Wait(_) | Want::Link => {}
        }
    }

    pub(super) fn answer(&mut self, stream: &Stream, buried: &[u64], now: Instant) {
        if let Some((token, reply)) = self.to_worker.pop_front() {
            match reply {
                Reply::Stored(sequence, duplicate) => {
                    self.lanes.stored(token, sequence, duplicate, |done| {
                        check(&done, stream, buried);
                    });
                }
                Reply::Refused(refusal) => self.lanes.refused(token, refusal, now),
            }
        }
    }
}

/// What is said to be copied is there.
pub(super) fn check(done: &Done<u64>, stream: &Stream, buried: &[u64]) {
    assert!(done.copied);
    let there = stream.ours().contains(&done.item) || buried.contains(&done.item);
    assert!(there, "{} is said to be copied", done.item);
}

impl World {
    pub(super) fn new(guard: Guard, poison: Vec<u64>) -> Self {
        let stream = Stream {
            poison,
            end: LAST,
            ..Stream::default()
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "only a place to begin to count from"
        )]
        let now = Instant::now();
        Self {
            guard,
            worker: Worker::begin(&stream, guard, (0, 0)),
            stream,
            late: VecDeque::new(),
            frozen: None,
            now,
            mark: (0, 0),
            buried: Vec::new(),
        }
    }

    pub(super) fn step(&mut self, limit: usize) {
        self.worker
            .step(&self.stream, &mut self.buried, self.now, limit);
    }

    pub(super) fn arrive(&mut self) {
        if let Some(wire) = self.worker.to_target.pop_front() {
            let reply = self.stream.take(&wire);
            let reply = reply.map(|reply| (wire.token, reply));
            self.worker.to_worker.extend(reply);
        }
    }

    pub(super) fn answer(&mut self) {
        self.worker.answer(&self.stream, &self.buried, self.now);
    }

    /// The connection breaks: some of what is under way was read by the broker and comes late, the rest is gone.
    pub(super) fn lose(&mut self, kept: usize) {
        let mut lost = std::mem::take(&mut self.worker.to_target);
        lost.truncate(kept);
        self.late.append(&mut lost);
        self.worker.to_worker.clear();
    }

    pub(super) fn restart(&mut self, kept: usize) {
        self.lose(kept);
        self.worker = Worker::begin(&self.stream, self.guard, self.mark);
    }

    pub(super) fn write_down(&mut self) {
        let lanes = &self.worker.lanes;
        self.mark = (lanes.handled(), lanes.floor());
    }

    pub(super) fn happen(&mut self, event: u8, number: u8) {
        let number = usize::from(number);
        match event {
            0..=40 => self.step(number % 8),
            41..=95 => (0..number % 6).for_each(|_| self.arrive()),
            96..=145 => (0..number % 6).for_each(|_| self.answer()),
            146..=160 => self.now += Duration::from_millis(u64::try_from(number * 20).unwrap()),
            161..=166 => {
                self.lose(number % 8);
                self.worker.lanes.link_lost();
                self.worker.lanes.link_back();
            }
            // An answer is lost.
            167..=172 => drop(self.worker.to_worker.pop_front()),
            173..=182 => {
                for _message in 0..number % 5 {
                    if let Some(wire) = self.late.pop_front() {
                        let _reply = self.stream.take(&wire);
                    }
                }
            }
            183..=192 => self.write_down(),
            193..=202 => self.restart(number % 8),
            203..=208 => self.stream.busy = !self.stream.busy,
            209..=214 => {
                let at = u64::try_from(number % 5).unwrap();
                self.stream.stuck = self.stream.stuck.is_none().then_some(at);
            }
            215..=224 => {
                let at = u64::try_from(number % 5).unwrap();
                self.stream.messages.push((at, None));
            }
            // The window for duplicates is over.
            225..=232 if self.guard == Guard::Subjects => self.stream.ids.clear(),
            // What identifiers alone guard comes before it is; a start reads what is there.
            225..=232 if self.late.is_empty() && self.frozen.is_none() => {
                self.stream.ids.clear();
                self.restart(0);
            }
            233..=240 if self.frozen.is_none() => {
                let fresh = Worker::begin(&self.stream, self.guard, self.mark);
                self.frozen = Some(std::mem::replace(&mut self.worker, fresh));
            }
            241..=255 => {
                if let Some(mut old) = self.frozen.take() {
                    old.step(&self.stream, &mut self.buried, self.now, number % 4);
                    while let Some(wire) = old.to_target.pop_front() {
                        let reply = self.stream.take(&wire);
                        old.to_worker.extend(reply.map(|reply| (wire.token, reply)));
                    }
                    while !old.to_worker.is_empty() {
                        old.answer(&self.stream, &self.buried, self.now);
                    }
                    self.frozen = (number % 3 > 0).then_some(old);
                }
            }
            _ => {}
        }
        if self.worker.ended.is_some() {
            self.restart(0);
        }
    }

    /// Everything heals; then everything must be there, once, and in the order of the keys.
    pub(super) fn heal(&mut self) {
        self.stream.busy = false;
        self.stream.stuck = None;
        self.frozen = None;
        self.late.clear();
        for turn in 0..6000 {
            // Only among others that arrive it shows that one never does.
            if !self.stream.mute.is_empty() && turn % 10 == 0 && turn < 3000 {
                self.stream.end += 1;
            }
            self.step(8);
            if self.worker.ended.is_some() {
                self.restart(0);
            }
            self.arrive();
            self.answer();
            self.now += Duration::from_millis(100);
            if self.worker.lanes.handled() == self.stream.end {
                break;
            }
        }
        let lanes = &self.worker.lanes;
        assert_eq!(lanes.handled(), self.stream.end, "stuck: {lanes:?}");
        assert!(lanes.is_empty() && lanes.bytes == 0 && lanes.lanes.is_empty());
        let copied = self.stream.ours();
        let mut sorted = copied.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, self.due(), "{copied:?}");
        let mut keys: HashMap<u64, u64> = HashMap::new();
        for sequence in copied {
            let before = keys.insert(lane(sequence, self.guard).key, sequence);
            assert!(
                before.is_none_or(|before| before < sequence),
                "{sequence} comes behind {before:?}"
            );
        }
    }

    pub(super) fn due(&self) -> Vec<u64> {
        (1..=self.stream.end)
            .filter(|sequence| !sequence.is_multiple_of(11))
            .filter(|sequence| !self.stream.poison.contains(sequence))
            .filter(|sequence| !self.stream.mute.contains(sequence))
            .collect()
    }
}
