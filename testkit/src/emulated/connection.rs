//! One connection of emulated nodes, over its lives.

use std::io::{ErrorKind, Result};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use overlay_protocol::id::{AgentName, Collective, Identity};
use overlay_protocol::lifecycle::{self, EventKind};
use overlay_protocol::subject;
use overlay_tokens::{Unverified, claims};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use super::node::{AGENTS, Deed, Leave, Node};
use super::record::{Counters, Standing};
use super::wire::{Credentials, Door, Frame, Link};

const COLLECTIVE: &str = "provisioning";
/// Subscriptions of one node: a broadcast subject for each agent, and its own.
const SUBSCRIPTIONS: usize = AGENTS.len() + 1;
/// Agents of a member that answer here.
const MEMBER_AGENTS: [&str; 2] = ["discovery", "rpcutil"];
/// A login that takes longer is given up and tried again.
const LOGIN_LIMIT: Duration = Duration::from_secs(30);
/// Wait before the second try of a login that must not fail.
const MEMBER_RETRY: Duration = Duration::from_millis(250);
/// Between which a growing wait lies.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// What the fleet tells a connection.
#[derive(Clone, Debug)]
pub(super) enum Command {
    /// Publish a startup event, of one node or of all.
    Announce(Option<usize>),
    /// Publish another event of a node.
    Event(usize, EventKind),
    /// Publish anything.
    Publish(String, Vec<u8>),
    /// Subscribe to anything, to see what the broker says of it.
    Subscribe(String),
    /// Drop the connection as a network does.
    Cut,
}

/// How long a connection waits before it tries again.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reconnect {
    Fixed(Duration),
    Growing,
}

/// What all connections share.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) door: Door,
    pub(super) user: Option<(String, String)>,
    pub(super) counters: Arc<Counters>,
    /// Logins at once.
    pub(super) logins: Semaphore,
    /// Connections at once.
    pub(super) places: Semaphore,
    pub(super) reconnect: Option<Reconnect>,
    /// The nodes are members from the start.
    pub(super) members: bool,
}

/// One connection of one node, or of many.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) index: usize,
    pub(super) common: Arc<Common>,
    pub(super) nodes: Vec<Node>,
    pub(super) commands: mpsc::Receiver<Command>,
    /// Tries since the last login.
    pub(super) tries: u32,
}

/// Why a connection ended.
enum End {
    Lost,
    Left(Leave),
    /// The fleet is no more.
    Over,
}

/// Deeds that are due later.
#[derive(Default)]
struct Pending(Vec<(Instant, usize, Vec<Deed>)>);

impl Connection {
    /// Lives until the nodes have left for good.
    pub(super) async fn live(mut self) {
        let common = Arc::clone(&self.common);
        let Ok(_place) = common.places.acquire().await else {
            return;
        };
        if common.members {
            return self.member(true).await;
        }
        let mut first = true;
        let mut announce = false;
        loop {
            let entered = self.enter(first).await;
            first = false;
            let Some(mut link) = entered else {
                return;
            };
            self.tries = 0;
            Counters::add(&common.counters.connected);
            Counters::add(&common.counters.entered);
            let end = self.serve(&mut link, announce).await;
            common.counters.connected.fetch_sub(1, Ordering::Relaxed);
            announce = false;
            match end {
                End::Over => return,
                End::Lost => {
                    Counters::add(&common.counters.lost);
                    if common.reconnect.is_none() {
                        self.stand(&Standing::Gone);
                        return;
                    }
                    self.stand(&Standing::Connecting);
                    self.pause().await;
                }
                End::Left(Leave::Back(after)) => {
                    drop(link);
                    self.stand(&Standing::Gone);
                    tokio::time::sleep(after).await;
                    self.nodes.iter_mut().for_each(Node::reboot);
                    announce = true;
                }
                End::Left(Leave::Member(after)) => {
                    drop(link);
                    self.stand(&Standing::Gone);
                    tokio::time::sleep(after).await;
                    return self.member(false).await;
                }
                End::Left(Leave::ForGood | Leave::Silently) => {
                    self.stand(&Standing::Gone);
                    return;
                }
            }
        }
    }

    fn stand(&self, standing: &Standing) {
        for node in &self.nodes {
            node.note(|seen| seen.standing = standing.clone());
        }
    }

    /// Logs in, again and again if the fleet reconnects; nothing if that is over.
    async fn enter(&mut self, first: bool) -> Option<Link> {
        let common = Arc::clone(&self.common);
        let node = self.nodes.first()?;
        let credentials = Credentials {
            name: node.identity.clone(),
            token: (!node.token.is_empty()).then(|| Arc::clone(&node.token)),
            user: common.user.clone(),
            key: None,
        };
        let mut unsettled = first;
        loop {
            let result = self.login(&credentials).await;
            let standing = match &result {
                Ok(_) => Standing::Unprovisioned,
                Err(error) => self.failed(error),
            };
            let decided = common.reconnect.is_none() || standing != Standing::Connecting;
            self.stand(&standing);
            if std::mem::take(&mut unsettled) {
                if decided {
                    Counters::add(&common.counters.settled);
                } else {
                    unsettled = true;
                }
            }
            match (result, common.reconnect) {
                (Ok(link), _) => return Some(link),
                (Err(_), None) => return None,
                (Err(_), Some(_)) => self.pause().await,
            }
        }
    }

    /// Counts a login that failed, and tells where that leaves the nodes.
    fn failed(&self, error: &std::io::Error) -> Standing {
        if error.kind() == ErrorKind::PermissionDenied {
            Counters::add(&self.common.counters.refused);
            return Standing::Refused(error.to_string());
        }
        Counters::add(&self.common.counters.failed);
        Standing::Connecting
    }

    /// Waits before the next login.
    async fn pause(&mut self) {
        let wait = match self.common.reconnect {
            Some(Reconnect::Fixed(wait)) => wait,
            None => MEMBER_RETRY,
            Some(Reconnect::Growing) => {
                let base = FIRST_WAIT
                    .saturating_mul(1 << self.tries.min(6))
                    .min(LONGEST_WAIT);
                // 50 to 150 percent, by a number that nobody can foresee.
                let key = crate::mint::key().public().to_string();
                let share = key
                    .get(..2)
                    .and_then(|hex| u32::from_str_radix(hex, 16).ok());
                base / 2 + base * share.unwrap_or_default() / 255
            }
        };
        self.tries += 1;
        tokio::time::sleep(wait).await;
    }

    /// One login, with the subscriptions of every node made.
    async fn login(&self, credentials: &Credentials) -> Result<Link> {
        let _turn = self.common.logins.acquire().await;
        let entry = async {
            let mut link = self.common.door.enter(self.index, credentials).await?;
            for (index, node) in self.nodes.iter().enumerate() {
                subscribe(&mut link, index, node);
            }
            settle(&mut link).await?;
            Ok(link)
        };
        match tokio::time::timeout(LOGIN_LIMIT, entry).await {
            Ok(result) => result,
            Err(_) => Err(ErrorKind::TimedOut.into()),
        }
    }

    async fn serve(&mut self, link: &mut Link, announce: bool) -> End {
        let mut pending = Pending::default();
        if announce && self.announce(link, None).await.is_err() {
            return End::Lost;
        }
        loop {
            let due = pending.next();
            tokio::select! {
                frame = link.next() => {
                    let Ok(frame) = frame else { return End::Lost };
                    if let Some(end) = self.take(link, frame, &mut pending) {
                        drop(link.flush().await);
                        return end;
                    }
                    // One write for all that came in one read.
                    if !link.has_more() && link.flush().await.is_err() {
                        return End::Lost;
                    }
                }
                command = self.commands.recv() => match command {
                    None => return End::Over,
                    Some(Command::Cut) => return End::Lost,
                    Some(command) => if self.obey(link, command).await.is_err() {
                        return End::Lost;
                    }
                },
                () = tokio::time::sleep_until(due.unwrap_or_else(far)), if due.is_some() => {
                    for (index, deeds) in pending.take_due(Instant::now()) {
                        if let Some(end) = self.perform(link, index, deeds) {
                            drop(link.flush().await);
                            return end;
                        }
                    }
                    if link.flush().await.is_err() {
                        return End::Lost;
                    }
                }
            }
        }
    }

    fn take(&mut self, link: &mut Link, frame: Frame, pending: &mut Pending) -> Option<End> {
        match frame {
            Frame::Ping => link.pong(),
            Frame::Error(words) => self.nodes.first()?.is_told(&words),
            Frame::Pong | Frame::Other => {}
            Frame::Message {
                sid,
                subject,
                payload,
            } => {
                let index = sid / SUBSCRIPTIONS;
                let node = self.nodes.get_mut(index)?;
                let others = subject.starts_with("provisioning.node.")
                    && !subject.ends_with(node.identity.as_str());
                if others || !subject.starts_with(COLLECTIVE) {
                    node.overhears(&subject);
                    return None;
                }
                let answer = node.answer(&payload);
                if answer.is_nothing() {
                    return None;
                }
                if answer.wait.is_zero() {
                    return self.perform(link, index, answer.deeds);
                }
                pending
                    .0
                    .push((Instant::now() + answer.wait, index, answer.deeds));
            }
        }
        None
    }

    fn perform(&mut self, link: &mut Link, index: usize, deeds: Vec<Deed>) -> Option<End> {
        for deed in deeds {
            match deed {
                Deed::Publish { subject, payload } => link.publish(&subject, &payload),
                Deed::Leave(Leave::Silently) => {}
                Deed::Leave(leave) if self.nodes.len() == 1 => return Some(End::Left(leave)),
                // The others on this connection stay.
                Deed::Leave(_) => {
                    for sid in index * SUBSCRIPTIONS..(index + 1) * SUBSCRIPTIONS {
                        link.unsubscribe(sid);
                    }
                }
            }
        }
        None
    }

    async fn obey(&mut self, link: &mut Link, command: Command) -> Result<()> {
        match command {
            Command::Announce(which) => return self.announce(link, which).await,
            Command::Event(index, kind) => {
                let component = lifecycle::COMPONENT_PROVISION_MODE;
                if let Some(Deed::Publish { subject, payload }) = self
                    .nodes
                    .get(index)
                    .map(|node| node.event(component, kind))
                {
                    link.publish(&subject, &payload);
                }
            }
            Command::Publish(subject, payload) => link.publish(&subject, &payload),
            Command::Subscribe(subject) => {
                link.subscribe(
                    &subject,
                    self.nodes.len() * SUBSCRIPTIONS - 1 + SUBSCRIPTIONS,
                );
            }
            Command::Cut => {}
        }
        link.flush().await
    }

    async fn announce(&mut self, link: &mut Link, which: Option<usize>) -> Result<()> {
        for (index, node) in self.nodes.iter().enumerate() {
            if which.is_some_and(|which| which != index) {
                continue;
            }
            for _ in 0..node.behaviour.announcements {
                if let Deed::Publish { subject, payload } = node.startup() {
                    link.publish(&subject, &payload);
                }
            }
            link.flush().await?;
        }
        Ok(())
    }

    /// The second half: a fleet node with the token that it was given; `from_start` when it had no first half.
    async fn member(mut self, from_start: bool) {
        let common = Arc::clone(&self.common);
        let Some(node) = self.nodes.first() else {
            return;
        };
        let (Some(token), Some(key)) = (node.membership.clone(), node.key().cloned()) else {
            node.is_told("restarted without a token");
            return;
        };
        let credentials = Credentials {
            name: node.identity.clone(),
            token: Some(Arc::clone(&token)),
            user: None,
            key: Some(key),
        };
        let mut announced = false;
        let mut settled = !from_start;
        loop {
            let entered = self.member_login(&credentials, &token, announced).await;
            if !std::mem::replace(&mut settled, true) {
                Counters::add(&common.counters.settled);
            }
            let over = match entered {
                Ok(mut link) => {
                    self.tries = 0;
                    Counters::add(&common.counters.connected);
                    Counters::add(&common.counters.entered);
                    if !std::mem::replace(&mut announced, true) {
                        Counters::add(&common.counters.members);
                    }
                    let over = self.stay(&mut link).await;
                    common.counters.connected.fetch_sub(1, Ordering::Relaxed);
                    Counters::add(&common.counters.lost);
                    over || common.reconnect.is_none()
                }
                Err(error) => {
                    self.stand(&self.failed(&error));
                    common.reconnect.is_none() && error.kind() == ErrorKind::PermissionDenied
                }
            };
            if over {
                return;
            }
            self.pause().await;
        }
    }

    async fn member_login(
        &self,
        credentials: &Credentials,
        token: &str,
        again: bool,
    ) -> Result<Link> {
        let Ok(_turn) = self.common.logins.acquire().await else {
            return Err(ErrorKind::NotConnected.into());
        };
        let entry = async {
            let mut link = self.common.door.enter(self.index, credentials).await?;
            self.begin_membership(&mut link, token, again).await?;
            Ok(link)
        };
        match tokio::time::timeout(LOGIN_LIMIT, entry).await {
            Ok(result) => result,
            Err(_) => Err(ErrorKind::TimedOut.into()),
        }
    }

    async fn begin_membership(&self, link: &mut Link, token: &str, again: bool) -> Result<()> {
        let Some(node) = self.nodes.first() else {
            return Ok(());
        };
        let claims = Unverified::<claims::ServerClaims>::decode(token);
        let collectives = claims
            .map(|claims| claims.claims_unverified().collectives.clone())
            .unwrap_or_default();
        let identity = Identity::new(node.identity.as_str());
        for (index, collective) in collectives.iter().enumerate() {
            let (Ok(collective), Ok(identity)) = (Collective::new(collective.as_str()), &identity)
            else {
                continue;
            };
            let first = index * SUBSCRIPTIONS;
            link.subscribe(&subject::node(&collective, identity), first);
            for (place, agent) in MEMBER_AGENTS.into_iter().enumerate() {
                let agent = AgentName::new(agent).expect("a name");
                let broadcast = subject::broadcast_agent(&collective, &agent);
                link.subscribe(&broadcast, first + 1 + place);
            }
        }
        settle(link).await?;
        if !again {
            let startup = EventKind::Startup {
                version: node.behaviour.version.clone(),
            };
            if let Deed::Publish { subject, payload } =
                node.event(lifecycle::COMPONENT_SERVER, startup)
            {
                link.publish(&subject, &payload);
            }
            link.flush().await?;
        }
        node.note(|seen| {
            seen.standing = Standing::Member;
            if !again {
                seen.memberships += 1;
                seen.member_at.get_or_insert_with(Instant::now);
            }
        });
        Ok(())
    }

    /// Stays connected; tells whether the fleet is over.
    async fn stay(&mut self, link: &mut Link) -> bool {
        loop {
            tokio::select! {
                frame = link.next() => {
                    let Ok(frame) = frame else { return false };
                    match (frame, self.nodes.first()) {
                        (Frame::Ping, _) => link.pong(),
                        (Frame::Error(words), Some(node)) => node.is_told(&words),
                        (Frame::Message { payload, .. }, Some(node)) => {
                            if let Some(Deed::Publish { subject, payload }) = node.member_answer(&payload) {
                                link.publish(&subject, &payload);
                            }
                        }
                        (Frame::Pong | Frame::Other | Frame::Error(_) | Frame::Message { .. }, _) => {}
                    }
                    if !link.has_more() && link.flush().await.is_err() {
                        return false;
                    }
                }
                command = self.commands.recv() => match command {
                    None => return true,
                    Some(Command::Cut) => return false,
                    Some(_) => {}
                },
            }
        }
    }
}

impl Pending {
    fn next(&self) -> Option<Instant> {
        self.0.iter().map(|(due, _, _)| *due).min()
    }

    fn take_due(&mut self, now: Instant) -> Vec<(usize, Vec<Deed>)> {
        let (mut due, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.0)
            .into_iter()
            .partition(|(due, _, _)| *due <= now);
        self.0 = later;
        due.sort_by_key(|(due, _, _)| *due);
        due.into_iter()
            .map(|(_, index, deeds)| (index, deeds))
            .collect()
    }
}

fn far() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}

fn subscribe(link: &mut Link, index: usize, node: &Node) {
    let collective = Collective::new(COLLECTIVE).expect("a name");
    let sid = index * SUBSCRIPTIONS;
    for (place, agent) in AGENTS.into_iter().enumerate() {
        let agent = AgentName::new(agent).expect("a name");
        link.subscribe(&subject::broadcast_agent(&collective, &agent), sid + place);
    }
    // A name that is none gets a subject of its own making: what the broker says of it is the test's affair.
    let own = match Identity::new(node.identity.as_str()) {
        Ok(identity) => subject::node(&collective, &identity),
        Err(_) => format!("{COLLECTIVE}.node.{}", node.identity),
    };
    link.subscribe(&own, sid + AGENTS.len());
}

/// Waits until the broker has taken everything that was sent before.
async fn settle(link: &mut Link) -> Result<()> {
    link.ping();
    link.flush().await?;
    loop {
        match link.next().await? {
            Frame::Pong => return Ok(()),
            Frame::Ping => link.pong(),
            Frame::Error(words) => {
                return Err(std::io::Error::new(ErrorKind::PermissionDenied, words));
            }
            Frame::Message { .. } | Frame::Other => {}
        }
    }
}
