//! A target that is a model: a stream with the broker's rules, links that lose and delay, and others.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::super::*;

pub(super) const LAST: u64 = 60;

/// A stream with the broker's rules for identifiers and order.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// Source sequence of each message; nothing for others' messages.
    pub(super) messages: Vec<Option<u64>>,
    pub(super) ids: HashMap<(u64, u8), u64>,
    pub(super) last_id: Option<(u64, u8)>,
    pub(super) busy: bool,
    /// Whether the subjects of the copies are told apart from others'.
    pub(super) has_own: bool,
    /// Messages that it never takes.
    pub(super) poison: Vec<u64>,
    /// Messages that never come to it, and that nobody answers.
    pub(super) mute: Vec<u64>,
}

#[derive(Debug, Clone)]
pub(super) struct Wire {
    pub(super) token: Token,
    pub(super) sequence: u64,
    pub(super) variant: u8,
    pub(super) expect: Expect,
    pub(super) asks: bool,
}

#[derive(Debug, Clone)]
pub(super) enum Reply {
    Stored(u64, bool),
    Refused(Refusal),
}

/// One worker with its connection.
pub(super) struct Worker {
    pub(super) window: Window<u64>,
    pub(super) to_target: VecDeque<Wire>,
    pub(super) to_worker: VecDeque<(Token, Reply)>,
    pub(super) next: u64,
    pub(super) ended: Option<Stop>,
}

pub(super) struct World {
    pub(super) stream: Stream,
    pub(super) worker: Worker,
    /// What an earlier connection still holds, in its order.
    pub(super) late: VecDeque<Wire>,
    /// A replica that was frozen with what it knew.
    pub(super) frozen: Option<Worker>,
    pub(super) now: Instant,
    /// Source sequences that were given up by name.
    pub(super) buried: Vec<u64>,
    pub(super) sharing: Sharing,
    pub(super) chain: Chain,
    pub(super) skips: bool,
}

impl Stream {
    /// What it says to a message; nothing where nobody hears it.
    pub(super) fn take(&mut self, wire: &Wire) -> Option<Reply> {
        (!self.mute.contains(&wire.sequence)).then(|| self.judge(wire))
    }

    fn judge(&mut self, wire: &Wire) -> Reply {
        let id = (wire.sequence, wire.variant);
        if self.busy {
            return Reply::Refused(Refusal::Busy("full".to_owned()));
        }
        if self.poison.contains(&wire.sequence) {
            return Reply::Refused(Refusal::Poison(Poison::TooLarge));
        }
        if let Some(sequence) = self.ids.get(&id) {
            return Reply::Stored(*sequence, true);
        }
        let follows = match wire.expect {
            Expect::LastSequence(sequence) => sequence == self.last(),
            Expect::LastId(sequence, variant) => self.last_id == Some((sequence, variant)),
            Expect::LastOwn(sequence) => self.last_own() == sequence,
            Expect::LastOfSubject(_) | Expect::Nothing => true,
        };
        if !follows {
            return Reply::Refused(Refusal::Order);
        }
        self.messages.push(Some(wire.sequence));
        self.last_id = Some(id);
        self.ids.insert(id, self.last());
        Reply::Stored(self.last(), false)
    }

    pub(super) fn last(&self) -> u64 {
        u64::try_from(self.messages.len()).unwrap()
    }

    pub(super) fn last_own(&self) -> u64 {
        self.ours(0).map_or(0, |(_, place)| place)
    }

    pub(super) fn ours(&self, since: u64) -> Option<(u64, u64)> {
        let since = usize::try_from(since).unwrap();
        let found = self.messages.iter().enumerate().skip(since).rev();
        found
            .filter_map(|(place, message)| Some(((*message)?, u64::try_from(place).unwrap() + 1)))
            .next()
    }

    pub(super) fn tail(&self, since: u64, chain: Chain, own: bool) -> Tail {
        let from = usize::try_from(since).unwrap().min(self.messages.len());
        Tail {
            last: self.last(),
            ours: self.ours(since.min(self.last())),
            all: (chain == Chain::Sequences).then(|| {
                let mut all: Vec<u64> = self.messages[from..].iter().copied().flatten().collect();
                all.sort_unstable();
                all
            }),
            own: own.then(|| self.last_own()),
            foreign: self.messages[from..].iter().any(Option::is_none),
            same: true,
        }
    }
}

impl Worker {
    pub(super) fn begin(
        stream: &Stream,
        chain: Chain,
        sharing: Sharing,
        now: Instant,
        buried: &[u64],
    ) -> Self {
        let limits = Limits {
            messages: 12,
            bytes: 10_000,
            ask_messages: 4,
            ask_bytes: 400,
            silence: Duration::from_secs(10),
            settle: Duration::from_secs(2),
            tries: 2,
        };
        let copied = stream.ours(0).map_or(0, |(source, _)| source);
        // The bookmark knows what was given up behind it.
        let handled = (copied + 1..)
            .take_while(|sequence| buried.contains(sequence))
            .last()
            .unwrap_or(copied);
        let mut window = Window::new(limits, chain, sharing, handled, stream.last());
        if stream.has_own {
            window = window.with_own_subjects();
        }
        let end = Tail {
            last: stream.last(),
            ours: None,
            all: None,
            own: None,
            foreign: false,
            same: true,
        };
        window.tail(end, now, |_done| {});
        Self {
            window,
            to_target: VecDeque::new(),
            to_worker: VecDeque::new(),
            next: handled + 1,
            ended: None,
        }
    }

    /// Reads, sends, and follows what the window wants; `limit` messages at most are read.
    pub(super) fn step(
        &mut self,
        world: &mut Stream,
        buried: &mut Vec<u64>,
        now: Instant,
        limit: usize,
        skips: bool,
    ) {
        if self.ended.is_some() {
            return;
        }
        for _message in 0..limit {
            if self.next > LAST || !self.window.has_room() {
                break;
            }
            if skips && self.next.is_multiple_of(5) {
                self.window.pass(self.next);
            } else {
                self.window.push(self.next, 100, self.next);
            }
            self.next += 1;
        }
        while let Some(send) = self.window.next_send(now) {
            let wire = Wire {
                token: send.token,
                sequence: send.sequence,
                variant: send.variant,
                expect: send.expect,
                asks: send.asks,
            };
            assert_eq!(*send.item, send.sequence);
            self.to_target.push_back(wire);
        }
        match self.window.want(now) {
            Want::Tail(since) => {
                let own = self.window.has_own && self.window.is_shared();
                let tail = world.tail(since, self.window.chain, own);
                let stored = &world.messages;
                self.window
                    .tail(tail, now, |done| check(&done, stored, buried));
            }
            Want::Look(sequence) => {
                let place = usize::try_from(sequence - 1).unwrap();
                let ours = world.messages[place].is_some();
                let stored = &world.messages;
                self.window
                    .looked(ours, now, |done| check(&done, stored, buried));
            }
            Want::Dead(_) => {
                let (sequence, _) = self.window.front().unwrap();
                let is_due = world.poison.contains(&sequence) || world.mute.contains(&sequence);
                assert!(is_due, "{sequence} was no poison");
                buried.push(sequence);
                self.window.buried(|done| assert!(!done.copied));
            }
            Want::Stop(stop) => self.ended = Some(stop),
            Want::Nothing
            | Want::Asks
            | Want::Over
            | Want::Answers(_)
            | Want::Wait(_)
            | Want::Link => {}
        }
    }

    pub(super) fn answer(&mut self, stored: &[Option<u64>], buried: &[u64], now: Instant) {
        if let Some((token, reply)) = self.to_worker.pop_front() {
            match reply {
                Reply::Stored(sequence, duplicate) => {
                    self.window.stored(token, sequence, duplicate, now, |done| {
                        check(&done, stored, buried);
                    });
                }
                Reply::Refused(refusal) => self.window.refused(token, refusal, now),
            }
        }
    }
}

/// What is said to be copied is there.
fn check(done: &Done<u64>, stored: &[Option<u64>], buried: &[u64]) {
    assert!(done.copied);
    let there = stored.contains(&Some(done.item)) || buried.contains(&done.item);
    assert!(there, "{} is said to be copied", done.item);
}

impl World {
    pub(super) fn new(sharing: Sharing, skips: bool, poison: Vec<u64>) -> Self {
        Self::with(Chain::Ids, sharing, skips, poison)
    }

    pub(super) fn with(chain: Chain, sharing: Sharing, skips: bool, poison: Vec<u64>) -> Self {
        let stream = Stream {
            poison,
            ..Stream::default()
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "only a place to begin to count from"
        )]
        let now = Instant::now();
        let worker = Worker::begin(&stream, chain, sharing, now, &[]);
        Self {
            stream,
            worker,
            late: VecDeque::new(),
            frozen: None,
            now,
            buried: Vec::new(),
            sharing,
            chain,
            skips,
        }
    }

    pub(super) fn step(&mut self, limit: usize) {
        self.worker.step(
            &mut self.stream,
            &mut self.buried,
            self.now,
            limit,
            self.skips,
        );
    }

    pub(super) fn arrive(&mut self) {
        if let Some(wire) = self.worker.to_target.pop_front() {
            let reply = self.stream.take(&wire);
            if let Some(reply) = reply.filter(|_| wire.asks) {
                self.worker.to_worker.push_back((wire.token, reply));
            }
        }
    }

    pub(super) fn arrive_all(&mut self) {
        while !self.worker.to_target.is_empty() {
            self.arrive();
        }
    }

    /// The next answer reaches the worker.
    pub(super) fn answer(&mut self) {
        self.worker
            .answer(&self.stream.messages, &self.buried, self.now);
    }

    pub(super) fn answer_all(&mut self) {
        while !self.worker.to_worker.is_empty() {
            self.answer();
        }
    }

    /// The connection breaks: some of what is under way was read by the broker and comes late, the rest is gone.
    pub(super) fn cut(&mut self, kept: usize) {
        let mut lost = std::mem::take(&mut self.worker.to_target);
        lost.truncate(kept);
        self.late.append(&mut lost);
        self.worker.to_worker.clear();
        self.worker.window.link_lost();
        self.worker.window.link_back();
    }

    pub(super) fn restart(&mut self, kept: usize) {
        let mut lost = std::mem::take(&mut self.worker.to_target);
        lost.truncate(kept);
        self.late.append(&mut lost);
        self.worker = Worker::begin(
            &self.stream,
            self.chain,
            self.sharing,
            self.now,
            &self.buried,
        );
    }

    pub(super) fn happen(&mut self, event: u8, number: u8, shared: bool) {
        let number = usize::from(number);
        match event {
            0..=40 => self.step(number % 8),
            41..=100 => {
                for _message in 0..number % 6 {
                    self.arrive();
                }
            }
            101..=150 => {
                for _answer in 0..number % 6 {
                    self.answer();
                }
            }
            // An answer is lost.
            151..=153 => drop(self.worker.to_worker.pop_front()),
            154..=170 => self.now += Duration::from_millis(u64::try_from(number * 20).unwrap()),
            171..=180 => self.cut(number % 8),
            181..=190 => {
                // What came late, in its order.
                for _message in 0..number % 5 {
                    if let Some(wire) = self.late.pop_front() {
                        let _reply = self.stream.take(&wire);
                    }
                }
            }
            191..=200 => self.restart(number % 8),
            201..=206 => {
                // The target's leader changes: the last identifier is forgotten.
                self.stream.last_id = None;
            }
            207..=214 => self.stream.busy = !self.stream.busy,
            215..=222 if shared => {
                self.stream.messages.push(None);
                self.stream.last_id = None;
            }
            // The window for duplicates is over.
            223..=230 if !shared => self.stream.ids.clear(),
            231..=240 => {
                // Another replica takes over; this one is frozen with what it has.
                let fresh = Worker::begin(
                    &self.stream,
                    self.chain,
                    self.sharing,
                    self.now,
                    &self.buried,
                );
                self.frozen = Some(std::mem::replace(&mut self.worker, fresh));
            }
            241..=255 => {
                // The frozen one goes on for a moment.
                if let Some(mut old) = self.frozen.take() {
                    old.step(
                        &mut self.stream,
                        &mut self.buried,
                        self.now,
                        number % 4,
                        self.skips,
                    );
                    while let Some(wire) = old.to_target.pop_front() {
                        let reply = self.stream.take(&wire);
                        if let Some(reply) = reply.filter(|_| wire.asks) {
                            old.to_worker.push_back((wire.token, reply));
                        }
                    }
                    while !old.to_worker.is_empty() {
                        old.answer(&self.stream.messages, &self.buried, self.now);
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

    /// Everything heals; then everything must be there, once and in order.
    pub(super) fn heal(&mut self) {
        self.settle();
        let copied: Vec<u64> = self.stream.messages.iter().copied().flatten().collect();
        assert_eq!(copied, self.due());
    }

    pub(super) fn heal_in_any_order(&mut self) {
        self.settle();
        let mut copied: Vec<u64> = self.stream.messages.iter().copied().flatten().collect();
        copied.sort_unstable();
        assert_eq!(copied, self.due());
    }

    pub(super) fn due(&self) -> Vec<u64> {
        (1..=LAST)
            .filter(|sequence| !self.skips || !sequence.is_multiple_of(5))
            .filter(|sequence| !self.stream.poison.contains(sequence))
            .filter(|sequence| !self.stream.mute.contains(sequence))
            .collect()
    }

    pub(super) fn settle(&mut self) {
        self.stream.busy = false;
        self.frozen = None;
        self.late.clear();
        for _turn in 0..3000 {
            self.step(8);
            if self.worker.ended.is_some() {
                self.restart(0);
            }
            self.arrive();
            self.answer();
            self.now += Duration::from_millis(100);
            if self.worker.window.handled() == LAST {
                break;
            }
        }
        assert_eq!(
            self.worker.window.handled(),
            LAST,
            "stuck: {:?}",
            self.worker.window
        );
    }
}
