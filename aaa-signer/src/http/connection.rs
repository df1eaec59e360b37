//! One connection: TLS, then one request after the other.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::Uri;
use axum::http::uri::PathAndQuery;
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use overlay_runtime::{CancellationToken, err_chain};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::config::HttpLimits;

use super::Written;
use super::metrics::{Connected, Metrics};
use super::operation::Operation;
use super::path;
use super::peer::Proxies;
use super::problem::Problem;
use super::stall::Stalling;
use super::tls::Tls;

/// The largest head of a request, and how much is read at once.
const MAX_HEAD: usize = 32 * 1024;

/// What every connection goes through.
#[derive(Debug)]
pub(super) struct Entrance {
    pub(super) router: Router,
    pub(super) proxies: Proxies,
    pub(super) limits: HttpLimits,
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) metrics: Metrics,
    pub(super) shutdown: CancellationToken,
}

impl Entrance {
    /// Serves a connection to its end.
    pub(super) async fn serve(&self, stream: TcpStream, address: SocketAddr) {
        let Some(tls) = &self.tls else {
            return self.requests(stream, address).await;
        };
        let handshake = TlsAcceptor::from(tls.current()).accept(stream);
        let handshake = timeout(self.limits.header_timeout, handshake);
        let why = match self.shutdown.run_until_cancelled(handshake).await {
            None => return,
            Some(Ok(Ok(stream))) => return self.requests(stream, address).await,
            Some(Ok(Err(error))) => err_chain(&error),
            Some(Err(_elapsed)) => "not in time".to_owned(),
        };
        self.metrics.connected(Connected::HandshakeFailed);
        tracing::debug!(%address, why, "no TLS");
    }

    async fn requests<S>(&self, stream: S, address: SocketAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let service = service_fn(|request| async move {
            Ok::<_, Infallible>(self.answer(request, address).await)
        });
        let stream = TokioIo::new(Stalling::new(stream, self.limits.body_timeout));
        let mut connection = pin!(
            http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(self.limits.header_timeout)
                .max_header_size(MAX_HEAD)
                .max_buf_size(MAX_HEAD * 2)
                // Who asks and goes at once is dealt with all the same: a guess is counted and recorded.
                .half_close(true)
                .serve_connection(stream, service)
        );
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.due() => {
                // What was asked is answered; each step of it has its own limit.
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        let outcome = match ended {
            Ok(()) => Connected::Served,
            Err(error) => {
                tracing::debug!(%address, error = err_chain(&error), "connection broken");
                Connected::Broken
            }
        };
        self.metrics.connected(outcome);
    }

    /// Waits until a connection should end.
    async fn due(&self) {
        tokio::select! {
            () = self.shutdown.cancelled() => {}
            () = sleep(self.limits.connection_age) => {}
        }
    }

    async fn answer(
        &self,
        mut request: axum::http::Request<Incoming>,
        address: SocketAddr,
    ) -> Response {
        let began = Instant::now();
        let peer = self.proxies.client(address, request.headers());
        request.extensions_mut().insert(peer);
        clean(&mut request);
        let operation = Operation::at(request.uri().path());
        let router = TowerToHyperService::new(self.router.clone());
        let work = router.call(request.map(Body::new));
        let work = timeout(
            self.limits.request_timeout,
            AssertUnwindSafe(work).catch_unwind(),
        );
        let response = match work.await {
            Ok(Ok(Ok(response))) => response,
            Ok(Ok(Err(never))) => match never {},
            Ok(Err(_panic)) => {
                tracing::error!(?operation, %peer, "a request failed");
                Problem::Internal.into_response()
            }
            Err(_elapsed) => {
                tracing::warn!(?operation, %peer, "a request took too long");
                Problem::TimedOut.into_response()
            }
        };
        self.metrics
            .answered(operation, response.status(), began.elapsed());
        response
    }
}

/// Puts the path in its clean form, and keeps the one that was written.
fn clean(request: &mut axum::http::Request<Incoming>) {
    let written = request.uri().path();
    let std::borrow::Cow::Owned(meant) = path::clean(written) else {
        return;
    };
    let written = Written(written.to_owned());
    let mut parts = request.uri().clone().into_parts();
    // The segments are those of a path that was read: they make one again.
    let Ok(meant) = PathAndQuery::try_from(meant) else {
        return;
    };
    parts.path_and_query = Some(meant);
    let Ok(uri) = Uri::from_parts(parts) else {
        return;
    };
    *request.uri_mut() = uri;
    request.extensions_mut().insert(written);
}
