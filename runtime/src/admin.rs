//! The admin listener: health, metrics and log level over HTTP.
//!
//! | Request | Answer |
//! | --- | --- |
//! | `GET /live` | 200: the process runs |
//! | `GET /ready` | 200 or 503, with the report as JSON |
//! | `GET /metrics` | Prometheus' text format |
//! | `GET /version` | component, version and commit as JSON |
//! | `GET /log` | the level |
//! | `PUT /log` | sets the level given in the body: 204, or 400 with the reason |
//!
//! There is no log-in, hence loopback by default.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::Registry;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::exit::err_chain;
use crate::launch::App;
use crate::readiness::Readiness;
use crate::telemetry::LogControl;

/// The largest request body: a log level with its directives.
const MAX_BODY: usize = 4096;

/// What the listener shows.
#[derive(Clone, Debug)]
pub(crate) struct Admin {
    pub(crate) app: App,
    pub(crate) readiness: Readiness,
    pub(crate) registry: Registry,
    pub(crate) log: LogControl,
}

/// A listener at work; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Listening {
    pub(crate) address: SocketAddr,
    _task: JoinSet<()>,
}

/// Why the listener cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("listen on {address} for the admin requests")]
pub(crate) struct BindError {
    address: SocketAddr,
    source: std::io::Error,
}

impl Admin {
    /// Binds the address and serves until the value is dropped.
    pub(crate) async fn listen(self, address: SocketAddr) -> Result<Listening, BindError> {
        let failed = |source| BindError { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let mut task = JoinSet::new();
        task.spawn(async move {
            if let Err(error) = axum::serve(listener, self.router()).await {
                tracing::error!(error = err_chain(&error), "admin listener ended");
            }
        });
        Ok(Listening {
            address,
            _task: task,
        })
    }

    fn router(self) -> Router {
        Router::new()
            .route("/live", get(|| async { "live\n" }))
            .route("/ready", get(ready))
            .route("/metrics", get(metrics))
            .route("/version", get(version))
            .route("/log", get(level).put(set_level))
            .layer(DefaultBodyLimit::max(MAX_BODY))
            .with_state(self)
    }
}

async fn ready(State(admin): State<Admin>) -> Response {
    let report = admin.readiness.report();
    let is_ready = report.is_ready();
    let status = if is_ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let mut body = serde_json::to_value(report).unwrap_or_default();
    body["ready"] = is_ready.into();
    (status, json(&body)).into_response()
}

async fn metrics(State(admin): State<Admin>) -> Response {
    match crate::metrics::text(&admin.registry) {
        Ok(text) => ([(CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, err_chain(&error)).into_response(),
    }
}

async fn version(State(admin): State<Admin>) -> Response {
    let App {
        component,
        version,
        commit,
        profile,
    } = admin.app;
    json(&serde_json::json!({
        "component": component,
        "version": version,
        "commit": commit,
        "profile": profile,
    }))
    .into_response()
}

fn json(value: &serde_json::Value) -> impl IntoResponse + use<> {
    ([(CONTENT_TYPE, "application/json")], format!("{value}\n"))
}

async fn level(State(admin): State<Admin>) -> String {
    format!("{}\n", admin.log.level())
}

async fn set_level(State(admin): State<Admin>, level: String) -> Response {
    match admin.log.set_level(level.trim()) {
        Ok(()) => {
            tracing::info!(level = level.trim(), "log level changed");
            StatusCode::NO_CONTENT.into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}
