//! Many emulated nodes: how they are described, and what is known of them.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use overlay_protocol::lifecycle::EventKind;
use overlay_tokens::{Unverified, claims};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::behaviour::Behaviour;
use super::connection::{Command, Common, Connection, Reconnect};
use super::node::Node;
use super::record::{Counters, Seen, Tally};
use super::wire::Door;
use crate::mint::Login;

/// Logins at once unless said otherwise.
const LOGINS: usize = 32;
/// How long the first logins may take, for each thousand of nodes.
const START_LIMIT: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(5);

type Behave = Box<dyn Fn(usize, &str) -> Behaviour>;
type Membership = Box<dyn Fn(&str) -> Login>;

/// Says what nodes there are; begins at [`Fleet::builder`].
pub struct Builder {
    port: u16,
    tls: bool,
    token: String,
    user: Option<(String, String)>,
    names: Vec<String>,
    shared: bool,
    behave: Behave,
    membership: Option<Membership>,
    reconnect: Option<Reconnect>,
    logins: usize,
    places: usize,
}

/// Emulated nodes; they leave when this is dropped.
#[derive(Debug)]
pub struct Fleet {
    common: Arc<Common>,
    names: HashMap<String, usize>,
    nodes: Vec<Arc<Mutex<Seen>>>,
    /// For each node its connection's commands and its place there.
    commands: Vec<(mpsc::Sender<Command>, usize)>,
    tasks: JoinSet<()>,
}

impl Fleet {
    /// Begins to describe nodes of a broker on a port of 127.0.0.1.
    pub fn builder(port: u16) -> Builder {
        Builder {
            port,
            tls: false,
            token: String::new(),
            user: None,
            names: Vec::new(),
            shared: false,
            behave: Box::new(|_, _| Behaviour::default()),
            membership: None,
            reconnect: None,
            logins: LOGINS,
            places: Semaphore::MAX_PERMITS,
        }
    }

    /// Publishes the startup events of all nodes, and yields when that began; a node that has no connection does so
    /// once it has one.
    pub async fn announce(&self) -> Instant {
        let began = Instant::now();
        for (commands, place) in &self.commands {
            // A connection of many announces them all at the first of them.
            if *place == 0 {
                drop(commands.send(Command::Announce(None)).await);
            }
        }
        began
    }

    /// Publishes the startup event of one node.
    ///
    /// # Panics
    ///
    /// When there is no such node.
    #[track_caller]
    pub fn announce_one(&self, name: &str) -> impl Future<Output = ()> {
        self.command(name, Command::Announce(Some(self.place(name).1)))
    }

    /// Publishes another lifecycle event of one node.
    ///
    /// # Panics
    ///
    /// When there is no such node.
    #[track_caller]
    pub fn event(&self, name: &str, kind: EventKind) -> impl Future<Output = ()> {
        self.command(name, Command::Event(self.place(name).1, kind))
    }

    /// Publishes a message on the connection of one node.
    ///
    /// # Panics
    ///
    /// When there is no such node.
    #[track_caller]
    pub fn publish(
        &self,
        name: &str,
        subject: &str,
        payload: impl Into<Vec<u8>>,
    ) -> impl Future<Output = ()> {
        self.command(name, Command::Publish(subject.to_owned(), payload.into()))
    }

    /// Subscribes on the connection of one node; what arrives is in [`Seen::foreign`], a refusal in
    /// [`Seen::complaints`].
    ///
    /// # Panics
    ///
    /// When there is no such node.
    #[track_caller]
    pub fn subscribe(&self, name: &str, subject: &str) -> impl Future<Output = ()> {
        self.command(name, Command::Subscribe(subject.to_owned()))
    }

    /// Drops the connection of one node as a network does.
    ///
    /// # Panics
    ///
    /// When there is no such node.
    #[track_caller]
    pub fn cut(&self, name: &str) -> impl Future<Output = ()> {
        self.command(name, Command::Cut)
    }

    /// What one node saw so far.
    ///
    /// # Panics
    ///
    /// When there is no such node.
    #[track_caller]
    pub fn node(&self, name: &str) -> Seen {
        read(self.place(name).0)
    }

    /// What all nodes saw so far, in the order of their names as given.
    pub fn all(&self) -> Vec<Seen> {
        self.nodes.iter().map(read).collect()
    }

    /// Names of the nodes for which something holds, sorted.
    pub fn names_where(&self, holds: impl Fn(&Seen) -> bool) -> Vec<String> {
        let found = self.names.iter().filter(|(_, index)| {
            self.nodes
                .get(**index)
                .is_some_and(|seen| holds(&lock(seen)))
        });
        let mut names: Vec<String> = found.map(|(name, _)| name.clone()).collect();
        names.sort();
        names
    }

    /// Sums over all nodes.
    pub fn tally(&self) -> Tally {
        self.common.counters.tally()
    }

    /// Nodes that were told to restart.
    pub fn restarted(&self) -> usize {
        self.tally().restarted
    }

    /// Ends all connections.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }

    #[track_caller]
    fn place(&self, name: &str) -> (&Arc<Mutex<Seen>>, usize) {
        let index = self.names.get(name);
        let found = index.and_then(|index| {
            let (_, place) = self.commands.get(*index)?;
            Some((self.nodes.get(*index)?, *place))
        });
        found.unwrap_or_else(|| panic!("no emulated node is called {name}"))
    }

    #[track_caller]
    fn command(&self, name: &str, command: Command) -> impl Future<Output = ()> {
        let index = self.names.get(name).copied().unwrap_or(usize::MAX);
        let sender = self.commands.get(index).map(|(sender, _)| sender.clone());
        async move {
            if let Some(sender) = sender {
                // A node that has left for good hears nothing.
                drop(sender.send(command).await);
            }
        }
    }
}

impl Builder {
    /// Connects with TLS, and takes any certificate.
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Shows this provisioning token; its secret is what the nodes ask for.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = token.into();
        self
    }

    /// Shows a user and a password besides.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.user = Some((user.into(), password.into()));
        self
    }

    /// Adds nodes of these names.
    #[must_use]
    pub fn names<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.names.extend(names.into_iter().map(Into::into));
        self
    }

    /// Adds so many nodes, named `n00000.example.net` and on.
    #[must_use]
    pub fn count(self, count: usize) -> Self {
        self.names((0..count).map(|index| format!("n{index:05}.example.net")))
    }

    /// Puts all nodes on one connection, which the broker must allow; it is named after the first.
    ///
    /// A node that leaves such a connection does not come back.
    #[must_use]
    pub fn shared(mut self) -> Self {
        self.shared = true;
        self
    }

    /// All nodes behave so.
    #[must_use]
    pub fn behaviour(self, behaviour: Behaviour) -> Self {
        self.behave(move |_, _| behaviour.clone())
    }

    /// Each node behaves as is said for its place and name.
    #[must_use]
    pub fn behave(mut self, behave: impl Fn(usize, &str) -> Behaviour + 'static) -> Self {
        self.behave = Box::new(behave);
        self
    }

    /// The nodes are members from the start, each with the token and key that it is given.
    #[must_use]
    pub fn members(mut self, membership: impl Fn(&str) -> Login + 'static) -> Self {
        self.membership = Some(Box::new(membership));
        self
    }

    /// Connects again, after this wait, whenever a connection is lost or a login refused.
    #[must_use]
    pub fn reconnect(mut self, wait: Duration) -> Self {
        self.reconnect = Some(Reconnect::Fixed(wait));
        self
    }

    /// Connects again with waits that grow from half a second to twenty, half of each to half as much again by chance:
    /// as Choria's nodes do.
    #[must_use]
    pub fn reconnect_as_nodes_do(mut self) -> Self {
        self.reconnect = Some(Reconnect::Growing);
        self
    }

    /// Logs in so many at once.
    #[must_use]
    pub fn logins_at_once(mut self, count: usize) -> Self {
        self.logins = count;
        self
    }

    /// Holds at most so many connections: further nodes come as others leave.
    #[must_use]
    pub fn connections(mut self, most: usize) -> Self {
        self.places = most;
        self
    }

    /// Connects, and waits until the broker has let each node in or refused it.
    ///
    /// # Panics
    ///
    /// When the broker gives no verdict in time.
    pub async fn start(self) -> Fleet {
        let secret: Arc<str> = Unverified::<claims::ProvisioningClaims>::decode(&self.token)
            .map(|token| Arc::from(token.claims_unverified().cht.expose()))
            .unwrap_or_default();
        let token: Arc<str> = Arc::from(self.token.as_str());
        let counters = Arc::new(Counters::default());
        let nodes: Vec<Node> = self
            .names
            .iter()
            .enumerate()
            .map(|(index, name)| {
                let mut node = Node::new(
                    name.clone(),
                    Arc::new((self.behave)(index, name)),
                    Arc::clone(&token),
                    Arc::clone(&secret),
                    Arc::clone(&counters),
                );
                if let Some(membership) = &self.membership {
                    node.admit((membership)(name));
                }
                node
            })
            .collect();
        let common = Arc::new(Common {
            door: Door::new(self.port, self.tls),
            user: self.user,
            counters,
            logins: Semaphore::new(self.logins),
            places: Semaphore::new(self.places),
            reconnect: self.reconnect,
            members: self.membership.is_some(),
        });
        let mut fleet = Fleet {
            names: self.names.into_iter().zip(0..).collect(),
            nodes: nodes.iter().map(|node| Arc::clone(&node.seen)).collect(),
            commands: Vec::with_capacity(nodes.len()),
            tasks: JoinSet::new(),
            common,
        };
        let groups: Vec<Vec<Node>> = if self.shared {
            vec![nodes]
        } else {
            nodes.into_iter().map(|node| vec![node]).collect()
        };
        let expected = groups.len().min(self.places);
        for (index, nodes) in groups.into_iter().enumerate() {
            let (sender, commands) = mpsc::channel(nodes.len().clamp(4, 64));
            for place in 0..nodes.len() {
                fleet.commands.push((sender.clone(), place));
            }
            let connection = Connection {
                index,
                common: Arc::clone(&fleet.common),
                nodes,
                commands,
                tries: 0,
            };
            fleet.tasks.spawn(connection.live());
        }
        fleet.settled(expected).await;
        fleet
    }
}

impl Fleet {
    async fn settled(&self, expected: usize) {
        let limit = Instant::now() + START_LIMIT * u32::try_from(1 + expected / 1000).unwrap_or(1);
        loop {
            let settled = self.common.counters.settled.load(Ordering::Relaxed);
            if settled >= expected {
                return;
            }
            assert!(
                Instant::now() < limit,
                "{settled} of {expected} emulated nodes have connected or been refused: {:?}",
                self.tally()
            );
            tokio::time::sleep(POLL).await;
        }
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read(seen: &Arc<Mutex<Seen>>) -> Seen {
    lock(seen).clone()
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("port", &self.port)
            .field("tls", &self.tls)
            .field("nodes", &self.names.len())
            .field("shared", &self.shared)
            .finish_non_exhaustive()
    }
}
