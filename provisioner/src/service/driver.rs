//! Drives the enrolments: thousands at a time, in one task, over one connection.
//!
//! ```text
//! announcements, scans, operators ──> queue ──> claim ──> enrolment (pure) ──> commands ──> broker, helper
//!                                                              ^                              │
//!                                                              └── replies, answers, time ────┘
//! ```
//!
//! A node is worked on only while its claim is held; its calls, the helper and its end wait until what was recorded
//! before them is acknowledged by the broker.

mod answers;
mod beat;
mod broker;
mod calls;
mod claims;
mod keep;
mod mode;
mod perform;
mod stale;

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, Subscriber};
use futures_util::StreamExt as _;
use overlay_protocol::id::{Collective, Identity, Ksuid};
use overlay_protocol::provisioning::control;
use overlay_runtime::nats::election::Leadership;
use overlay_runtime::{CancellationToken, Clock, Tasks};
use overlay_tokens::UnixTime;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};

use super::events::Announcement;
use super::issuer::Issuer;
use super::login::Credentials;
use super::mirror::{Change, Mirror};
use super::node::{Ask, Due, Node, NodeId};
use super::places::{Places, Stage};
use super::timers::Timers;
use super::wire::Speaker;
use crate::answer::{Answer, HelperFault};
use crate::candidate::{Turn, admissible};
use crate::config::{Config, Streams};
use crate::enrol::{Found, Input};
use crate::helper::Helper;
use crate::limits::Limiter;
use crate::metrics::{Dropped, Metrics};
use crate::policy::Policy;
use crate::queue::{Offered, Queue};
use crate::time::{after, until};

/// How often is looked at what has no event of its own.
const TICK: Duration = Duration::from_millis(200);
/// Answers of the helper that wait.
const HELPED: usize = 1024;
/// No enrolment takes longer than its limits and this.
const CLAIM_MARGIN: Duration = Duration::from_secs(300);

/// What the driver is made of.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) client: Client,
    pub(super) credentials: Arc<Credentials>,
    pub(super) speaker: Speaker,
    pub(super) policy: Arc<Policy>,
    pub(super) issuer: Issuer,
    pub(super) helper: Option<Arc<Helper>>,
    pub(super) mirror: Arc<Mirror>,
    pub(super) clock: Clock,
    pub(super) tasks: Tasks,
    pub(super) metrics: Metrics,
    pub(super) leadership: Option<Leadership>,
    pub(super) status: control::InstanceStatus,
    /// Whether nodes are taken up; announcements are read only then.
    pub(super) active: watch::Sender<bool>,
}

/// What comes to the driver.
#[derive(Debug)]
pub(super) struct Sources {
    pub(super) replies: Subscriber,
    pub(super) answers: Subscriber,
    pub(super) members: Subscriber,
    pub(super) found: mpsc::Receiver<Announcement>,
    pub(super) changes: mpsc::Receiver<Change>,
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) pause: watch::Receiver<Option<control::Pause>>,
}

/// What an operator wants of a node.
#[derive(Debug)]
pub(super) enum Order {
    /// Take it up at once.
    Retry(Identity),
}

/// The helper's answer about one node.
#[derive(Debug)]
struct Helped {
    node: NodeId,
    answer: Result<Box<Answer>, HelperFault>,
}

/// Works on nodes.
#[derive(Debug)]
pub(super) struct Driver {
    parts: Parts,
    collectives: Vec<Collective>,
    streams: Streams,
    interval: Duration,
    /// After this a claim is gone, whatever becomes of its instance.
    claim_age: Duration,
    /// Before the number of each question to the broker.
    inbox: String,
    /// Boxed: thousands are awaited, and the table grows by doubling.
    nodes: HashMap<NodeId, Box<Node>>,
    names: HashMap<Identity, NodeId>,
    next: NodeId,
    asks: HashMap<Ksuid, Ask>,
    timers: Timers<Due>,
    queue: Queue,
    places: Places,
    limiter: Limiter,
    /// What is kept of nodes that were never enrolled.
    notes: keep::Notes,
    inputs: VecDeque<(NodeId, Input)>,
    /// Ends of claims that are not acknowledged.
    parting: usize,
    scans: VecDeque<Ksuid>,
    next_scan: Instant,
    next_beat: Instant,
    next_alive: Instant,
    next_stale: Instant,
    /// After this a node that was restarted should have been seen.
    member: Duration,
    is_active: bool,
    /// Whether it is asked who listens under a node's name.
    counts_listeners: bool,
    /// Whether the broker was found not to tell.
    is_deaf: bool,
    /// When the last word of this instance was sent that the broker has: until some time after it, no other instance
    /// takes its claims.
    fenced: Instant,
    helped: (mpsc::Sender<Helped>, mpsc::Receiver<Helped>),
}

impl Driver {
    pub(super) fn new(parts: Parts, config: &Config, inbox: String, workers: NonZeroUsize) -> Self {
        let now = Instant::now();
        Self {
            parts,
            collectives: config.collectives.clone(),
            streams: config.streams,
            interval: config.scan.interval,
            claim_age: config.calls.whole + config.calls.member + CLAIM_MARGIN,
            inbox,
            nodes: HashMap::new(),
            names: HashMap::new(),
            next: 1,
            asks: HashMap::new(),
            timers: Timers::new(),
            queue: Queue::new(config.limits.waiting.get()),
            places: Places::new(config.limits.first_contact.get(), workers.get()),
            limiter: Limiter::new(config.token_rate, config.site_rate),
            notes: keep::Notes::new(),
            inputs: VecDeque::new(),
            parting: 0,
            scans: VecDeque::new(),
            next_scan: now,
            next_beat: now,
            next_alive: now,
            next_stale: now,
            member: config.calls.member,
            is_active: false,
            counts_listeners: config.count_listeners,
            is_deaf: false,
            fenced: now,
            helped: mpsc::channel(HELPED),
        }
    }

    /// Works until the shutdown, then lets what is under way come to a point where it can stop, for at most `grace`.
    pub(super) async fn run(
        mut self,
        mut sources: Sources,
        shutdown: CancellationToken,
        grace: Duration,
    ) -> anyhow::Result<()> {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The word that this instance is there comes before its first claim.
        self.beat().await;
        self.refresh_mode(&sources).await;
        while !shutdown.is_cancelled() {
            self.turn(&mut sources, &mut ticks, Some(&shutdown)).await;
        }
        self.set_active(false, control::InstanceMode::Draining)
            .await;
        let end = Instant::now() + grace;
        while !(self.nodes.is_empty() && self.parting == 0) && Instant::now() < end {
            self.turn(&mut sources, &mut ticks, None).await;
        }
        if !self.nodes.is_empty() {
            let left: Vec<_> = self.names.keys().take(10).collect();
            tracing::warn!(
                nodes = self.nodes.len(),
                ?left,
                "stopped in the middle of enrolments"
            );
        }
        self.farewell().await;
        Ok(())
    }

    /// Takes one thing that happened and does what follows from it.
    async fn turn(
        &mut self,
        sources: &mut Sources,
        ticks: &mut tokio::time::Interval,
        shutdown: Option<&CancellationToken>,
    ) {
        let room = self.is_active && self.queue.len() < self.queue.capacity();
        let due = self.timers.next();
        let again = self.next_again();
        tokio::select! {
            biased;
            () = cancelled(shutdown) => return,
            // Time comes first, however much else does: claims hold only while this instance says that it is there.
            _tick = ticks.tick() => self.tick(sources).await,
            () = sleep_until(due) => self.take_due().await,
            Some(message) = sources.answers.next() => self.take_answer(message).await,
            Some(message) = sources.replies.next() => self.take_reply(message),
            Some(helped) = self.helped.1.recv() => {
                self.inputs.push_back((helped.node, Input::Helper(helped.answer)));
            }
            Some(message) = sources.members.next() => self.take_member(&message).await,
            Some(order) = sources.orders.recv() => self.take_order(order),
            Some(change) = sources.changes.recv() => self.take_change(change).await,
            Some(found) = sources.found.recv(), if room => self.take_found(&found),
            () = sleep_for(again) => {}
        }
        self.settle().await;
    }

    /// Does what follows, until nothing more does.
    async fn settle(&mut self) {
        loop {
            while let Some((id, input)) = self.inputs.pop_front() {
                self.feed(id, input).await;
            }
            self.start_more().await;
            if self.inputs.is_empty() {
                return;
            }
        }
    }

    async fn feed(&mut self, id: NodeId, input: Input) {
        let now = self.now();
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        let Some(enrolment) = &mut node.enrolment else {
            return;
        };
        if matches!(input, Input::FenceLost) {
            node.is_lost = true;
            node.todo.clear();
        }
        if enrolment.is_at_rest() {
            enrolment.recall(self.parts.mirror.record(&node.identity));
        }
        node.todo.extend(enrolment.on(input, now));
        if node.stage == Stage::Settling {
            enrolment.rest();
        }
        self.perform(id).await;
        self.watch_deadline(id, now);
    }

    /// Sees to it that there is a timer not later than the enrolment's deadline.
    fn watch_deadline(&mut self, id: NodeId, now: UnixTime) {
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        let enrolment = node.enrolment.as_ref();
        node.deadline = enrolment.and_then(|machine| machine.deadline());
        if let Some(deadline) = node.deadline {
            let at = Instant::now() + until(now, deadline);
            if node.timer.is_none_or(|timer| at < timer) {
                node.timer = Some(at);
                self.timers.add(at, Due::Node(id));
            }
        }
    }

    /// A node was found.
    fn offer(&mut self, identity: Identity, found: Found) {
        if self.names.contains_key(&identity) {
            return;
        }
        match self.queue.offer(identity, found, self.now()) {
            Offered::Added => self.parts.metrics.found(found),
            Offered::Known => {}
            Offered::Full => self.parts.metrics.dropped(Dropped::Full).inc(),
        }
    }

    /// When a node that was put off may be tried again, if it could be.
    fn next_again(&self) -> Option<Duration> {
        let due = self.queue.next_due()?;
        (self.is_active && self.places.has_room()).then(|| until(self.now(), due))
    }

    /// Claims nodes that wait, as far as the bounds allow.
    async fn start_more(&mut self) {
        while self.is_active && self.places.has_room() {
            let now = self.now();
            let Some((identity, found)) = self.queue.take(now) else {
                return;
            };
            if self.names.contains_key(&identity) {
                continue;
            }
            let record = self.parts.mirror.record(&identity);
            match admissible(record.as_ref(), now) {
                Turn::Now => self.claim(identity, found).await,
                Turn::Later(time) => self.put_off(identity, found, time),
                Turn::Never => {}
            }
        }
    }

    /// A node is to be tried again, not before a time.
    fn put_off(&mut self, identity: Identity, found: Found, time: UnixTime) {
        if self.queue.delay(identity, found, time) == Offered::Full {
            self.parts.metrics.dropped(Dropped::Full).inc();
        }
    }

    /// Another instance has the node: it is to be tried again after a pause, or when an instance left.
    fn set_aside(&mut self, identity: Identity, found: Found, pause: Duration) {
        if self.is_active {
            let time = after(self.now(), pause);
            if self.queue.set_aside(identity, found, time) == Offered::Full {
                self.parts.metrics.dropped(Dropped::Full).inc();
            }
        }
    }

    fn put_off_for(&mut self, identity: Identity, found: Found, pause: Duration) {
        if self.is_active {
            let time = after(self.now(), pause);
            self.put_off(identity, found, time);
        }
    }

    fn take_order(&mut self, order: Order) {
        match order {
            Order::Retry(identity) => {
                if self.is_active {
                    self.queue.remove(&identity);
                    self.offer(identity, Found::Retry);
                }
            }
        }
    }

    /// Gives places that are free to those that wait for one.
    fn grant(&mut self) {
        while let Some(id) = self.places.next() {
            if let Some(node) = self.nodes.get_mut(&id) {
                node.stage = Stage::Working;
                self.places.enter(id, Stage::Working);
                self.inputs.push_back((id, Input::Worker));
            }
        }
    }

    /// Moves a node to another stage.
    fn go(&mut self, id: NodeId, to: Stage) {
        if let Some(node) = self.nodes.get_mut(&id) {
            let from = std::mem::replace(&mut node.stage, to);
            self.places.leave(id, from);
            self.places.enter(id, to);
        }
        self.grant();
    }

    /// An operator quarantined a node: whoever works on it stops.
    async fn take_change(&mut self, change: Change) {
        self.queue.remove(&change.identity);
        let Some(&id) = self.names.get(&change.identity) else {
            return;
        };
        // What an enrolment of this instance wrote itself is known to it.
        if change.instance.as_deref() == Some(self.parts.policy.instance.as_str()) {
            return;
        }
        tracing::warn!(identity = %change.identity, operator = change.operator, "quarantined while it was enrolled");
        if let Some(node) = self.forget(id) {
            self.part(&node, None).await;
        }
    }

    async fn take_due(&mut self) {
        let now = Instant::now();
        while let Some((at, due)) = self.timers.take(now) {
            match due {
                Due::Ask(id) => self.take_silence(&id).await,
                Due::Node(id) => self.take_tick(id, at),
                Due::Write(id) => self.write_again(&id).await,
            }
        }
    }

    /// Time to tell the time, or to set the next timer: the deadline was moved, or the clock was.
    fn take_tick(&mut self, id: NodeId, at: Instant) {
        let now = self.now();
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        if node.timer != Some(at) {
            return;
        }
        node.timer = None;
        match node.deadline {
            Some(deadline) if deadline <= now => self.inputs.push_back((id, Input::Tick)),
            Some(_) | None => self.watch_deadline(id, now),
        }
    }

    fn now(&self) -> UnixTime {
        UnixTime::from(self.parts.clock.now())
    }

    fn now_ns(&self) -> i64 {
        let now = self.now();
        now.secs
            .saturating_mul(1_000_000_000)
            .saturating_add(i64::from(now.nanos))
    }
}

async fn cancelled(shutdown: Option<&CancellationToken>) {
    match shutdown {
        Some(shutdown) => shutdown.cancelled().await,
        None => std::future::pending().await,
    }
}

async fn sleep_for(span: Option<Duration>) {
    match span {
        // At least a little: a bound may keep what is due where it is.
        Some(span) => tokio::time::sleep(span.max(Duration::from_millis(20))).await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
