//! The node at work: the only part that touches the broker.
//!
//! ```text
//! connect ─> subscribe ─> message ─> authorise ─> queue ─> worker ─> dispatch ─> seal ─> publish
//!    ^                                  │ refused: counted, never answered      (outbox: waits for
//!    └── lost: resolve anew, wait, retry └ queue full: counted, logged            a connection)
//! ```

mod beat;
mod connect;
mod outbox;
mod registration;
mod session;
mod settle;
mod steward;
mod throttle;
mod tls;
mod workers;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use overlay_protocol::lifecycle::EventKind;
use overlay_runtime::{Backoff, CancellationToken, Clock};
use overlay_tokens::UnixTime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::VERSION;
use crate::agent::Agent;
use crate::agents::Agents;
use crate::authorise::Receiver;
use crate::config::{Authorization, Config, Role, Tls};
use crate::dispatch::Dispatcher;
use crate::effect::{Ending, Orders};
use crate::error::{RunError, StartError};
use crate::identity::Credentials;
use crate::link::Link;
use crate::node::Node;
use crate::replay::Seen;
use crate::resolve::Resolver;

use self::beat::Beat;
use self::connect::{Connector, Papers};
use self::outbox::Outbox;
use self::session::{End, Session};
use self::steward::Farewell;
use self::workers::Worker;

/// A connection that lived this long makes the next wait short again.
const STEADY: Duration = Duration::from_secs(30);

/// A node that is ready to run.
#[derive(Debug)]
pub struct Server {
    config: Config,
    agents: Agents,
    clock: Clock,
    grace: Duration,
    orders: Option<Orders>,
}

impl Server {
    /// A node with the built-in agents.
    pub fn new(config: Config, clock: Clock) -> Self {
        Self {
            config,
            agents: Agents::builtin(),
            clock,
            grace: Duration::from_secs(10),
            orders: None,
        }
    }

    /// Adds an agent.
    #[must_use]
    pub fn with_agent(mut self, agent: Arc<dyn Agent>) -> Self {
        self.agents.add(agent);
        self
    }

    /// Carries out what actions set off.
    #[must_use]
    pub fn with_orders(mut self, orders: Orders) -> Self {
        self.orders = Some(orders);
        self
    }

    /// Sets how long running actions may take to finish at the end.
    #[must_use]
    pub fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Runs until `shutdown`, or until an action ends it; `connected` is called at the first connection.
    pub async fn run(
        self,
        shutdown: CancellationToken,
        connected: impl FnOnce() + Send,
    ) -> Result<Ending, RunError> {
        let grace = self.grace;
        let running = self.start(shutdown.child_token())?;
        Ok(running.until_shutdown(connected, grace).await)
    }

    fn start(self, shutdown: CancellationToken) -> Result<Running, StartError> {
        let Self {
            config,
            agents,
            clock,
            grace: _,
            orders,
        } = self;
        for notice in &config.notices {
            tracing::warn!(file = config.config_file, "{notice}");
        }
        let now = UnixTime::from(clock.now());
        let (papers, credentials) = papers(&config, now)?;
        if config.broker.tls == Tls::Unverified {
            tracing::warn!("brokers are not verified: whoever is in between may pose as one");
        }
        if let Authorization::Unsupported(name) = config.authorization {
            tracing::error!(
                provider = name,
                "this node cannot judge that policy language: every call is denied"
            );
        }
        let link = Arc::new(Link::new(
            config.broker.connect_timeout,
            config.broker.servers.srv_domain.clone(),
        ));
        let node = Arc::new(Node::new(&config, agents, Arc::clone(&link), now.secs));
        let receiver = Receiver::new(&config);
        let dispatcher = Dispatcher::new(&config, Arc::clone(&node));
        let (current, clients) = watch::channel(None);
        let outbox = Outbox::new(clients.clone(), Arc::clone(&node.stats));
        let (jobs, queue) = mpsc::channel(config.rpc.queue);
        let mut tasks = JoinSet::new();
        let worker = Arc::new(Worker {
            dispatcher,
            outbox: outbox.clone(),
            credentials,
            sign_replies: config.rpc.sign_replies,
            clock: clock.clone(),
        });
        let mut workers = JoinSet::new();
        workers.spawn(workers::work(queue, worker, config.rpc.workers));
        let beat = Beat {
            node: Arc::clone(&node),
            outbox,
            clock: clock.clone(),
            plain_events: config.plain_events,
        };
        let (farewell, last) = watch::channel(Farewell::default());
        if let Some(orders) = orders {
            let served = steward::serve(orders, beat.clone(), clients, farewell, shutdown.clone());
            tasks.spawn(served);
        }
        if let Role::Unprovisioned(ticket) = &config.role
            && !ticket.claims().chrd.is_empty()
        {
            let file = ticket.claims().chrd.clone().into();
            tasks.spawn(beat.clone().registration(file));
        }
        if let Some((file, every)) = config.status.clone() {
            tasks.spawn(beat.clone().status_file(file, every));
        }
        Ok(Running {
            resolver: Resolver::new(config.broker.servers.clone()),
            connector: Connector::new(config.broker, &node, papers, clock.clone()),
            session: Session::new(
                node,
                receiver,
                Seen::new(config.rpc.replay_entries),
                jobs,
                clock,
            ),
            alive_interval: config.alive_interval,
            current,
            beat,
            tasks,
            workers,
            shutdown,
            farewell: last,
        })
    }
}

/// A started node.
#[derive(Debug)]
struct Running {
    resolver: Resolver,
    connector: Connector,
    session: Session,
    alive_interval: Duration,
    current: watch::Sender<Option<async_nats::Client>>,
    beat: Beat,
    tasks: JoinSet<()>,
    workers: JoinSet<()>,
    shutdown: CancellationToken,
    farewell: watch::Receiver<Farewell>,
}

impl Running {
    async fn until_shutdown(mut self, connected: impl FnOnce() + Send, grace: Duration) -> Ending {
        let shutdown = self.shutdown.clone();
        let mut connected = Some(connected);
        let mut attempt = 0_usize;
        while !shutdown.is_cancelled() {
            let opened = tokio::select! {
                () = shutdown.cancelled() => break,
                opened = self.open(&mut attempt) => opened,
            };
            let Some((client, mut events, url)) = opened else {
                continue;
            };
            self.current.send_replace(Some(client.clone()));
            let since = Instant::now();
            let end = self
                .session
                .hold(&client, &mut events, &url, &shutdown, async {
                    // Not before the node hears: what a first connection owes is left to the next one if it fails.
                    if let Some(connected) = connected.take() {
                        self.beat
                            .say(EventKind::Startup {
                                version: VERSION.to_owned(),
                            })
                            .await;
                        self.tasks
                            .spawn(self.beat.clone().alive(self.alive_interval));
                        connected();
                    }
                })
                .await;
            match end {
                End::Shutdown => break,
                End::Lost => {
                    self.current.send_replace(None);
                    self.session.lost();
                    if since.elapsed() > STEADY {
                        attempt = 0;
                    }
                    self.pause(&mut attempt).await;
                }
            }
        }
        self.finish(grace).await
    }

    /// Connects to the first broker that lets the node in; `None` after all of them failed.
    async fn open(&mut self, attempt: &mut usize) -> Option<connect::Opened> {
        let brokers = match self.resolver.brokers(&connect::random_below).await {
            Ok(brokers) => brokers,
            Err(error) => {
                let reason = overlay_runtime::err_chain(&error);
                tracing::error!(error = reason, "no broker to connect to");
                self.session.node().link.failed(reason);
                self.pause(attempt).await;
                return None;
            }
        };
        self.session.node().link.set_servers(brokers.clone());
        for url in brokers {
            match self.connector.open(&url).await {
                Ok((client, events)) => return Some((client, events, url)),
                Err(error) => {
                    let reason = overlay_runtime::err_chain(&error);
                    tracing::warn!(broker = url, error = reason, "could not connect");
                    self.session.node().link.failed(format!("{url}: {reason}"));
                }
            }
            self.pause(attempt).await;
        }
        None
    }

    async fn pause(&self, attempt: &mut usize) {
        let wait = Backoff::RECONNECT.jittered(*attempt);
        *attempt = attempt.saturating_add(1);
        tokio::select! {
            () = self.shutdown.cancelled() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }

    /// Takes nothing more, lets running actions finish and answer, and says goodbye.
    async fn finish(self, grace: Duration) -> Ending {
        let Self {
            session,
            beat,
            mut tasks,
            mut workers,
            current,
            farewell,
            ..
        } = self;
        let farewell = *farewell.borrow();
        tasks.abort_all();
        let waiting = session.close();
        tracing::info!(waiting, "stopping: finishing the requests taken");
        let done = async { while workers.join_next().await.is_some() {} };
        if tokio::time::timeout(grace, done).await.is_err() {
            tracing::warn!("actions still ran after the time allowed, they are ended");
            workers.abort_all();
        }
        let client = current.borrow().clone();
        if let Some(client) = client {
            if !farewell.said {
                beat.say(EventKind::Shutdown).await;
            }
            if settle::settle(&client, &beat.node).await && settle::leave(&client, &beat.node).await
            {
                tracing::debug!("the broker has taken all that was said");
            } else {
                tracing::warn!("the broker did not take the last messages in time");
            }
        }
        farewell.ending.unwrap_or(Ending::Stop)
    }
}

/// What the node shows to a broker, and what it signs replies with.
fn papers(
    config: &Config,
    now: UnixTime,
) -> Result<(Papers, Option<Arc<Credentials>>), StartError> {
    match &config.role {
        Role::Member(own) => {
            let credentials = Arc::new(Credentials::new(
                config.identity.clone(),
                own.token_file.clone(),
                own.seed_file.clone(),
            ));
            // Fails early on what only a person can mend; later reads only make a try to connect fail.
            credentials.read(now)?;
            Ok((Papers::Member(Arc::clone(&credentials)), Some(credentials)))
        }
        Role::Unprovisioned(ticket) => Ok((Papers::Ticket(Arc::clone(ticket)), None)),
    }
}

/// Set once a connection was made, so that only later ones wait.
#[derive(Debug, Clone, Default)]
struct Once(Arc<AtomicBool>);

impl Once {
    fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
