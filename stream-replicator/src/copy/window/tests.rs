//! The window against a target that is a model: a stream with the broker's rules, links that lose and delay, and others.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

const LAST: u64 = 60;

/// A stream with the broker's rules for identifiers and order.
#[derive(Debug, Default)]
struct Stream {
    /// Source sequence of each message; nothing for others' messages.
    messages: Vec<Option<u64>>,
    ids: HashMap<(u64, u8), u64>,
    last_id: Option<(u64, u8)>,
    busy: bool,
    /// Messages that it never takes.
    poison: Vec<u64>,
}

#[derive(Debug, Clone)]
struct Wire {
    token: Token,
    sequence: u64,
    variant: u8,
    expect: Expect,
    asks: bool,
}

#[derive(Debug, Clone)]
enum Reply {
    Stored(u64, bool),
    Refused(Refusal),
}

/// One worker with its connection.
struct Worker {
    window: Window<u64>,
    to_target: VecDeque<Wire>,
    to_worker: VecDeque<(Token, Reply)>,
    next: u64,
    ended: Option<Stop>,
}

struct World {
    stream: Stream,
    worker: Worker,
    /// What an earlier connection still holds, in its order.
    late: VecDeque<Wire>,
    /// A replica that was frozen with what it knew.
    frozen: Option<Worker>,
    now: Instant,
    /// Source sequences that were given up by name.
    buried: Vec<u64>,
    sharing: Sharing,
    chain: Chain,
    skips: bool,
}

impl Stream {
    fn take(&mut self, wire: &Wire) -> Reply {
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
            Expect::Nothing => true,
        };
        if !follows {
            return Reply::Refused(Refusal::Order);
        }
        self.messages.push(Some(wire.sequence));
        self.last_id = Some(id);
        self.ids.insert(id, self.last());
        Reply::Stored(self.last(), false)
    }

    fn last(&self) -> u64 {
        u64::try_from(self.messages.len()).unwrap()
    }

    fn ours(&self, since: u64) -> Option<(u64, u64)> {
        let since = usize::try_from(since).unwrap();
        let found = self.messages.iter().enumerate().skip(since).rev();
        found
            .filter_map(|(place, message)| Some(((*message)?, u64::try_from(place).unwrap() + 1)))
            .next()
    }

    fn tail(&self, since: u64, chain: Chain) -> Tail {
        let from = usize::try_from(since).unwrap().min(self.messages.len());
        Tail {
            last: self.last(),
            ours: self.ours(since.min(self.last())),
            all: (chain == Chain::Sequences).then(|| {
                let mut all: Vec<u64> = self.messages[from..].iter().copied().flatten().collect();
                all.sort_unstable();
                all
            }),
            foreign: self.messages[from..].iter().any(Option::is_none),
            same: true,
        }
    }
}

impl Worker {
    fn begin(
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
        let end = Tail {
            last: stream.last(),
            ours: None,
            all: None,
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
    fn step(
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
                let tail = world.tail(since, self.window.chain);
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
                assert!(world.poison.contains(&sequence), "{sequence} was no poison");
                buried.push(sequence);
                self.window.buried(|done| assert!(!done.copied));
            }
            Want::Stop(stop) => self.ended = Some(stop),
            Want::Nothing | Want::Answers(_) | Want::Wait(_) | Want::Link => {}
        }
    }

    fn answer(&mut self, stored: &[Option<u64>], buried: &[u64], now: Instant) {
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
    fn new(sharing: Sharing, skips: bool, poison: Vec<u64>) -> Self {
        Self::with(Chain::Ids, sharing, skips, poison)
    }

    fn with(chain: Chain, sharing: Sharing, skips: bool, poison: Vec<u64>) -> Self {
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

    fn step(&mut self, limit: usize) {
        self.worker.step(
            &mut self.stream,
            &mut self.buried,
            self.now,
            limit,
            self.skips,
        );
    }

    fn arrive(&mut self) {
        if let Some(wire) = self.worker.to_target.pop_front() {
            let reply = self.stream.take(&wire);
            if wire.asks {
                self.worker.to_worker.push_back((wire.token, reply));
            }
        }
    }

    /// The connection breaks: some of what is under way was read by the broker and comes late, the rest is gone.
    fn cut(&mut self, kept: usize) {
        let mut lost = std::mem::take(&mut self.worker.to_target);
        lost.truncate(kept);
        self.late.append(&mut lost);
        self.worker.to_worker.clear();
        self.worker.window.link_lost();
        self.worker.window.link_back();
    }

    fn restart(&mut self, kept: usize) {
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

    fn happen(&mut self, event: u8, number: u8, shared: bool) {
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
                    self.worker
                        .answer(&self.stream.messages, &self.buried, self.now);
                }
            }
            151..=170 => self.now += Duration::from_millis(u64::try_from(number * 20).unwrap()),
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
                        if wire.asks {
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
    fn heal(&mut self) {
        self.settle();
        let copied: Vec<u64> = self.stream.messages.iter().copied().flatten().collect();
        assert_eq!(copied, self.due());
    }

    fn heal_in_any_order(&mut self) {
        self.settle();
        let mut copied: Vec<u64> = self.stream.messages.iter().copied().flatten().collect();
        copied.sort_unstable();
        assert_eq!(copied, self.due());
    }

    fn due(&self) -> Vec<u64> {
        (1..=LAST)
            .filter(|sequence| !self.skips || !sequence.is_multiple_of(5))
            .filter(|sequence| !self.stream.poison.contains(sequence))
            .collect()
    }

    fn settle(&mut self) {
        self.stream.busy = false;
        self.frozen = None;
        self.late.clear();
        for _turn in 0..3000 {
            self.step(8);
            if self.worker.ended.is_some() {
                self.restart(0);
            }
            self.arrive();
            self.worker
                .answer(&self.stream.messages, &self.buried, self.now);
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

#[test]
fn without_trouble_few_answers_are_asked_for_and_everything_is_there() {
    let mut world = World::new(Sharing::Alone, false, Vec::new());
    let mut asked = 0;
    while world.worker.window.handled() < LAST {
        world.step(12);
        while !world.worker.to_target.is_empty() {
            world.arrive();
        }
        asked += world.worker.to_worker.len();
        while !world.worker.to_worker.is_empty() {
            world
                .worker
                .answer(&world.stream.messages, &world.buried, world.now);
        }
    }
    assert!(asked <= usize::try_from(LAST).unwrap() / 4 + 1, "{asked}");
    world.heal();
}

#[test]
fn sr_case_48_a_writer_that_was_overtaken_stores_nothing_more_and_knows_it() {
    let mut world = World::new(Sharing::Alone, false, Vec::new());
    world.step(4);
    for _message in 0..4 {
        world.arrive();
    }
    // Frozen with four messages stored and unanswered; another one goes on.
    let other = Worker::begin(&world.stream, Chain::Ids, Sharing::Alone, world.now, &[]);
    let mut old = std::mem::replace(&mut world.worker, other);
    for _turn in 0..6 {
        world.step(8);
        for _message in 0..8 {
            world.arrive();
        }
        while !world.worker.to_worker.is_empty() {
            world
                .worker
                .answer(&world.stream.messages, &world.buried, world.now);
        }
    }
    let before = world.stream.messages.clone();
    assert!(before.len() > 16);
    old.step(&mut world.stream, &mut world.buried, world.now, 3, false);
    while let Some(wire) = old.to_target.pop_front() {
        let reply = world.stream.take(&wire);
        assert!(!matches!(reply, Reply::Stored(_, false)), "{reply:?}");
        if wire.asks {
            old.to_worker.push_back((wire.token, reply));
        }
    }
    assert_eq!(world.stream.messages, before);
    for _turn in 0..8 {
        while !old.to_worker.is_empty() {
            old.answer(&world.stream.messages, &world.buried, world.now);
        }
        world.now += Duration::from_secs(1);
        old.step(&mut world.stream, &mut world.buried, world.now, 0, false);
    }
    assert!(
        matches!(old.ended, Some(Stop::Overtaken(_))),
        "{:?}",
        old.ended
    );
}

#[test]
fn sr_case_30_a_duplicate_that_is_not_ours_is_a_conflict_and_the_message_is_copied_all_the_same() {
    let mut world = World::new(Sharing::Alone, false, Vec::new());
    world.stream.messages.push(None);
    world.stream.ids.insert((3, 0), 1);
    world.worker = Worker::begin(&world.stream, Chain::Ids, Sharing::Alone, world.now, &[]);
    world.heal();
    assert_eq!(world.worker.window.conflicts(), 1);
}

#[test]
fn poison_is_given_up_by_name_and_what_is_behind_it_goes_on() {
    let mut world = World::new(Sharing::Alone, false, vec![1, 7, 8, LAST]);
    world.heal();
    assert_eq!(world.buried, [1, 7, 8, LAST]);
}

#[test]
fn a_target_that_lost_what_it_had_ends_the_window() {
    let mut world = World::new(Sharing::Alone, false, Vec::new());
    for _turn in 0..4 {
        world.step(4);
        for _message in 0..4 {
            world.arrive();
            world
                .worker
                .answer(&world.stream.messages, &world.buried, world.now);
        }
    }
    assert!(world.worker.window.target() > 8);
    world.stream.messages.truncate(5);
    world.stream.last_id = None;
    world.cut(0);
    world.step(0);
    world.step(0);
    assert_eq!(world.worker.ended, Some(Stop::Lost(None)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn whatever_happens_to_a_single_writer_everything_is_there_once_and_in_order(
        events in proptest::collection::vec((any::<u8>(), any::<u8>()), 0..400),
        skips in any::<bool>(),
        poison in proptest::collection::vec(1..=LAST, 0..3),
    ) {
        let mut world = World::new(Sharing::Alone, skips, poison);
        for (event, number) in events {
            world.happen(event, number, false);
        }
        world.heal();
    }

    #[test]
    fn whatever_happens_to_a_replicated_target_everything_is_there_once_and_in_order(
        events in proptest::collection::vec((any::<u8>(), any::<u8>()), 0..400),
        skips in any::<bool>(),
        poison in proptest::collection::vec(1..=LAST, 0..3),
    ) {
        let mut world = World::with(Chain::Sequences, Sharing::Alone, skips, poison);
        for (event, number) in events {
            // A frozen replica's message may find just the sequence that it names: then identifiers must still be known.
            if !(223..=230).contains(&event) {
                world.happen(event, number, false);
            }
        }
        world.heal();
    }

    #[test]
    fn another_writer_among_the_copies_in_a_replicated_target_costs_no_message_and_doubles_none(
        events in proptest::collection::vec((any::<u8>(), any::<u8>()), 0..400),
    ) {
        let mut world = World::with(Chain::Sequences, Sharing::Alone, false, Vec::new());
        for (event, number) in events {
            // Neither restarts nor replicas: who begins anew sees the last message alone.
            if !(191..=200).contains(&event) && event <= 230 {
                world.happen(event, number, true);
            }
        }
        world.heal_in_any_order();
    }

    #[test]
    fn whatever_happens_among_others_everything_is_there_once_and_in_order(
        events in proptest::collection::vec((any::<u8>(), any::<u8>()), 0..400),
        begins_shared in any::<bool>(),
    ) {
        let sharing = if begins_shared { Sharing::Shared } else { Sharing::Alone };
        let mut world = World::new(sharing, false, Vec::new());
        for (event, number) in events {
            // With others, and none that was frozen: that one's last message may still come.
            if event <= 230 {
                world.happen(event, number, true);
            }
        }
        world.heal();
    }
}
