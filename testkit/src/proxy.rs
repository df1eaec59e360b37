//! A bad network: a TCP proxy that delays, cuts, refuses and captures.

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
const IN_FLIGHT: usize = 256;

/// A proxy in front of one address; ends when dropped, and all its connections with it.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    target: watch::Sender<SocketAddr>,
    delay: watch::Sender<Duration>,
    refuse: watch::Sender<bool>,
    stall: watch::Sender<bool>,
    /// Grows by one at each cut; connections of an older number end.
    cuts: watch::Sender<usize>,
    accepted: AtomicUsize,
    to_target: Mutex<Option<Vec<u8>>>,
    to_client: Mutex<Option<Vec<u8>>>,
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
            delay: watch::Sender::new(Duration::ZERO),
            refuse: watch::Sender::new(false),
            stall: watch::Sender::new(false),
            cuts: watch::Sender::new(0),
            accepted: AtomicUsize::new(0),
            to_target: Mutex::default(),
            to_client: Mutex::default(),
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
        self.shared.delay.send_replace(delay);
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

    /// Passes everything on again, what was held back first.
    pub fn flow(&self) {
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
            *self.shared.captured(direction) = Some(Vec::new());
        }
    }

    /// What clients sent since [`Self::capture`].
    pub fn sent(&self) -> Vec<u8> {
        self.shared
            .captured(Direction::ToTarget)
            .clone()
            .unwrap_or_default()
    }

    /// What clients were sent since [`Self::capture`].
    pub fn received(&self) -> Vec<u8> {
        self.shared
            .captured(Direction::ToClient)
            .clone()
            .unwrap_or_default()
    }
}

impl Shared {
    fn captured(&self, direction: Direction) -> std::sync::MutexGuard<'_, Option<Vec<u8>>> {
        match direction {
            Direction::ToTarget => &self.to_target,
            Direction::ToClient => &self.to_client,
        }
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, direction: Direction, chunk: &[u8]) {
        if let Some(kept) = self.captured(direction).as_mut()
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
    let (sender, mut receiver) = mpsc::channel::<(Instant, Vec<u8>)>(IN_FLIGHT);
    let read = async move {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            let chunk = buffer.get(..length).unwrap_or_default().to_vec();
            shared.keep(direction, &chunk);
            let due = Instant::now() + *shared.delay.borrow();
            if sender.send((due, chunk)).await.is_err() {
                return;
            }
        }
    };
    let write = async {
        let mut stall = shared.stall.subscribe();
        while let Some((due, chunk)) = receiver.recv().await {
            tokio::time::sleep_until(due).await;
            if stall.wait_for(|stalled| !stalled).await.is_err()
                || to.write_all(&chunk).await.is_err()
            {
                return;
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
