//! The listener: who gets in, and how it ends.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use overlay_runtime::{CancellationToken, Secrets, Tasks, err_chain};
use prometheus::Registry;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::config::Http;

use super::connection::Entrance;
use super::metrics::{Connected, Metrics};
use super::peer::Proxies;
use super::places::Places;
use super::tls::{Tls, TlsError};
use super::{Face, Faces, router};

/// How long nothing is accepted after the system had no more files: some end in the meantime.
const OUT_OF_FILES: Duration = Duration::from_millis(100);

/// Why nothing is served by HTTP.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    /// The address cannot be had.
    #[error("listen on {address} for HTTP")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The files make no TLS.
    #[error("TLS of the HTTP listener")]
    Tls(#[from] TlsError),
    /// Two parts count under one name.
    #[error("register the metrics of HTTP")]
    Metrics(#[from] prometheus::Error),
}

/// A listener that was bound and serves nothing yet.
#[derive(Debug)]
pub(crate) struct Server {
    settings: Http,
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<Arc<Tls>>,
    metrics: Metrics,
}

impl Server {
    /// Reads certificate and key and binds the address.
    ///
    /// # Errors
    ///
    /// When the files make no TLS, or the address cannot be had.
    pub(crate) async fn bind(
        settings: &Http,
        secrets: &Secrets,
        registry: &Registry,
    ) -> Result<Self, HttpError> {
        let metrics = Metrics::register(registry)?;
        let tls = match &settings.tls {
            None => None,
            Some(files) => Some(Arc::new(Tls::load(
                files.clone(),
                secrets,
                metrics.clone(),
            )?)),
        };
        let failed = |source| HttpError::Bind {
            address: settings.listen,
            source,
        };
        let listener = TcpListener::bind(settings.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self {
            settings: settings.clone(),
            listener,
            address,
            tls,
            metrics,
        })
    }

    /// Where it listens.
    #[cfg(test)]
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown`, and then until what was asked is answered.
    ///
    /// # Errors
    ///
    /// None; the form is that of a task.
    pub(crate) async fn serve(
        self,
        faces: Faces,
        tasks: Tasks,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        let Self {
            settings,
            listener,
            address,
            tls,
            metrics,
        } = self;
        let scheme = if tls.is_some() { "https" } else { "http" };
        tracing::info!("serves {scheme}://{address}");
        if tls.is_none() && !address.ip().is_loopback() {
            tracing::warn!(
                "HTTP without TLS on {address}: passwords and tokens can be read on the way"
            );
        }
        let face = Face::new(faces, &settings, tasks);
        let entrance = Arc::new(Entrance {
            router: router(face, settings.metrics),
            proxies: Proxies(settings.trusted_proxies),
            limits: settings.limits,
            tls: tls.clone(),
            metrics,
            shutdown: shutdown.clone(),
        });
        let look_after = async {
            match tls {
                Some(tls) => shutdown.run_until_cancelled(look_after(tls)).await,
                None => None,
            }
        };
        tokio::join!(admit(listener, entrance), look_after);
        Ok(())
    }
}

/// Looks at the files of TLS for as long as it is let.
async fn look_after(tls: Arc<Tls>) {
    let mut last = tls.first();
    let mut judged = last;
    loop {
        tokio::time::sleep(tls.interval()).await;
        let tls = Arc::clone(&tls);
        // The files may be on a disk that is slow at times.
        let looked = tokio::task::spawn_blocking(move || {
            let seen = tls.look(last, &mut judged);
            (seen, judged)
        });
        if let Ok((seen, now_judged)) = looked.await {
            last = seen;
            judged = now_judged;
        }
    }
}

/// Lets connections in until the shutdown, then waits for those that are there.
pub(super) async fn admit(listener: TcpListener, entrance: Arc<Entrance>) {
    let places = Places::new(entrance.limits.connections_per_peer);
    let most = entrance.limits.connections.get();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = entrance.shutdown.cancelled() => break,
            Some(ended) = connections.join_next(), if !connections.is_empty() => {
                report(ended);
            }
            // Further ones wait in the system's queue.
            accepted = listener.accept(), if connections.len() < most => {
                match accepted {
                    Ok((stream, address)) => {
                        let_in(&mut connections, &places, &entrance, stream, address);
                    }
                    Err(error) => refused(&error).await,
                }
            }
        }
        entrance
            .metrics
            .open
            .set(i64::try_from(connections.len()).unwrap_or(i64::MAX));
    }
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        report(ended);
    }
    entrance.metrics.open.set(0);
}

fn let_in(
    connections: &mut JoinSet<()>,
    places: &Arc<Places>,
    entrance: &Arc<Entrance>,
    stream: TcpStream,
    address: SocketAddr,
) {
    let place = if entrance.proxies.trust(address.ip()) {
        None
    } else {
        let place = places.take(address.ip());
        if place.is_none() {
            entrance.metrics.connected(Connected::TooManyOfPeer);
            tracing::debug!(%address, "closed: its address has too many connections");
            return;
        }
        place
    };
    // Answers are small and whole: waiting for more to send with them only delays.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%address, error = err_chain(&error), "no delay cannot be set");
    }
    let entrance = Arc::clone(entrance);
    connections.spawn(async move {
        entrance.serve(stream, address).await;
        drop(place);
    });
}

/// What `accept` failed with: a client that went, or a lack of the system's that passes.
async fn refused(error: &io::Error) {
    let went = matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    );
    if !went {
        tracing::error!(error = err_chain(error), "no connection can be accepted");
        tokio::time::sleep(OUT_OF_FILES).await;
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(error = err_chain(&error), "a connection failed");
    }
}
