//! A bad network: a TCP proxy that delays, narrows, cuts, swallows, refuses and captures.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Bytes kept per direction when capturing; more is left out, not an error.
const MAX_CAPTURE: usize = 4 * 1024 * 1024;
/// Chunks on their way through a delay; a full queue pushes back on the sender.
const IN_FLIGHT: usize = 4096;
/// Bytes read at once.
const CHUNK: usize = 32 * 1024;

/// A proxy in front of one address; ends when dropped, and all its connections with it.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

/// The ways through a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client to the target.
    ToTarget,
    /// From the target to the client.
    ToClient,
    /// In both directions.
    Both,
}

#[derive(Debug)]
struct Shared {
    target: watch::Sender<SocketAddr>,
    refuse: watch::Sender<bool>,
    stall: watch::Sender<bool>,
    /// Grows by one at each cut; connections of an older number end.
    cuts: watch::Sender<usize>,
    accepted: AtomicUsize,
    to_target: Lane,
    to_client: Lane,
}

/// What holds of one direction.
#[derive(Debug, Default)]
struct Lane {
    delay: watch::Sender<Duration>,
    /// Bytes a second; 0: as many as go through.
    rate: watch::Sender<u64>,
    swallow: watch::Sender<bool>,
    captured: Mutex<Option<Vec<u8>>>,
}

#[derive(Clone, Copy)]
enum Direction {
    ToTarget,
    ToClient,
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1 for `127.0.0.1:port`.
    ///
    /// # Panics
    ///
    /// When no port is free.
    pub async fn start(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port is free");
        let address = listener.local_addr().expect("a bound listener has one");
        let shared = Arc::new(Shared {
            target: watch::Sender::new(SocketAddr::from(([127, 0, 0, 1], port))),
            refuse: watch::Sender::new(false),
            stall: watch::Sender::new(false),
            cuts: watch::Sender::new(0),
            accepted: AtomicUsize::new(0),
            to_target: Lane::default(),
            to_client: Lane::default(),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&shared)));
        Self {
            address,
            shared,
            _tasks: tasks,
        }
    }

    /// The port to connect to; it stays over everything.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The URL to connect to with NATS.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Holds everything back by `delay`, in each direction, from now on.
    pub fn delay(&self, delay: Duration) {
        self.delay_on(Way::Both, delay);
    }

    /// Holds everything that goes one way back by `delay`, from now on.
    pub fn delay_on(&self, way: Way, delay: Duration) {
        for lane in self.shared.lanes(way) {
            lane.delay.send_replace(delay);
        }
    }

    /// Lets through so many bytes a second and connection at most, in each direction; 0 takes the limit away.
    pub fn limit(&self, bytes_per_second: u64) {
        for lane in self.shared.lanes(Way::Both) {
            lane.rate.send_replace(bytes_per_second);
        }
    }

    /// Ends all connections.
    pub fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Ends new connections at once, until [`Self::accept`].
    pub fn refuse(&self) {
        self.shared.refuse.send_replace(true);
    }

    /// Takes new connections again.
    pub fn accept(&self) {
        self.shared.refuse.send_replace(false);
    }

    /// Passes nothing on while connections stay open, until [`Self::flow`]: a partition.
    pub fn stall(&self) {
        self.shared.stall.send_replace(true);
    }

    /// Loses everything that goes one way, the end of a connection too, until [`Self::flow`]: a half-open link.
    ///
    /// New connections are taken and lose likewise. A connection that lost something stays dead for good, as its ends
    /// would otherwise go on with a hole in between; only [`Self::cut`] tells them.
    pub fn swallow(&self, way: Way) {
        for lane in self.shared.lanes(way) {
            lane.swallow.send_replace(true);
        }
    }

    /// Passes everything on again, what was held back first.
    pub fn flow(&self) {
        for lane in self.shared.lanes(Way::Both) {
            lane.swallow.send_replace(false);
        }
        self.shared.stall.send_replace(false);
    }

    /// Sends new connections to another port of 127.0.0.1.
    pub fn retarget(&self, port: u16) {
        let target = SocketAddr::from(([127, 0, 0, 1], port));
        self.shared.target.send_replace(target);
    }

    /// Number of connections taken so far, refused ones included.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// Begins to keep what passes, from nothing.
    pub fn capture(&self) {
        for direction in [Direction::ToTarget, Direction::ToClient] {
            *self.shared.lane(direction).captured() = Some(Vec::new());
        }
    }

    /// What clients sent since [`Self::capture`].
    pub fn sent(&self) -> Vec<u8> {
        self.shared.to_target.captured().clone().unwrap_or_default()
    }

    /// What clients were sent since [`Self::capture`].
    pub fn received(&self) -> Vec<u8> {
        self.shared.to_client.captured().clone().unwrap_or_default()
    }
}

impl Shared {
    fn lane(&self, direction: Direction) -> &Lane {
        match direction {
            Direction::ToTarget => &self.to_target,
            Direction::ToClient => &self.to_client,
        }
    }

    fn lanes(&self, way: Way) -> impl Iterator<Item = &Lane> {
        let to_target = matches!(way, Way::ToTarget | Way::Both).then_some(&self.to_target);
        let to_client = matches!(way, Way::ToClient | Way::Both).then_some(&self.to_client);
        to_target.into_iter().chain(to_client)
    }
}

impl Lane {
    fn captured(&self) -> std::sync::MutexGuard<'_, Option<Vec<u8>>> {
        self.captured.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long so many bytes keep the line busy.
    fn duration_of(&self, bytes: usize) -> Duration {
        let rate = *self.rate.borrow();
        let nanos = (bytes as u64)
            .saturating_mul(1_000_000_000)
            .checked_div(rate);
        Duration::from_nanos(nanos.unwrap_or_default())
    }

    fn keep(&self, chunk: &[u8]) {
        if let Some(kept) = self.captured().as_mut()
            && kept.len() + chunk.len() <= MAX_CAPTURE
        {
            kept.extend_from_slice(chunk);
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                shared.accepted.fetch_add(1, Ordering::Relaxed);
                if *shared.refuse.borrow() {
                    drop(client);
                } else {
                    connections.spawn(connection(client, Arc::clone(&shared)));
                }
            }
            Some(_ended) = connections.join_next() => {}
        }
    }
}

async fn connection(client: TcpStream, shared: Arc<Shared>) {
    let mut cuts = shared.cuts.subscribe();
    cuts.mark_unchanged();
    let target = *shared.target.borrow();
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    // What the proxy itself adds to the delay stays small.
    if client.set_nodelay(true).is_err() || server.set_nodelay(true).is_err() {
        return;
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = pipe(from_client, to_server, Direction::ToTarget, &shared) => {}
        () = pipe(from_server, to_client, Direction::ToClient, &shared) => {}
        _ = cuts.changed() => {}
    }
}

/// Reads and writes side by side, so that a delay holds chunks back without slowing the flow.
async fn pipe(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    direction: Direction,
    shared: &Shared,
) {
    let lane = shared.lane(direction);
    let (sender, mut receiver) = mpsc::channel::<(Instant, Vec<u8>)>(IN_FLIGHT);
    let read = async move {
        let mut buffer = vec![0; CHUNK];
        let mut lost = false;
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            lost |= *lane.swallow.borrow();
            if lost {
                continue;
            }
            let chunk = buffer.get(..length).unwrap_or_default().to_vec();
            lane.keep(&chunk);
            let due = Instant::now() + *lane.delay.borrow();
            if sender.send((due, chunk)).await.is_err() {
                return;
            }
        }
        if lost || *lane.swallow.borrow() {
            // The other end never hears of this one's end.
            std::future::pending::<()>().await;
        }
    };
    let write = async {
        let mut stall = shared.stall.subscribe();
        let mut free = Instant::now();
        while let Some((due, chunk)) = receiver.recv().await {
            let due = due.max(free);
            // A sleep is rounded up to the next millisecond, even one that is over before it begins.
            if due > Instant::now() {
                tokio::time::sleep_until(due).await;
            }
            if stall.wait_for(|stalled| !stalled).await.is_err()
                || to.write_all(&chunk).await.is_err()
            {
                return;
            }
            let busy = lane.duration_of(chunk.len());
            if !busy.is_zero() {
                free = Instant::now() + busy;
            }
        }
    };
    let mut write = std::pin::pin!(write);
    tokio::select! {
        () = &mut write => return,
        () = read => {}
    }
    // The reader has ended and dropped its sender: what is still on its way is delivered.
    write.await;
}
