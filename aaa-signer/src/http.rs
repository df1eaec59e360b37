//! Login and signing by HTTP.
//!
//! ```text
//! accept ─> places of the peer ─> TLS ─> one request after the other ─> path cleaned ─> router ─> operation
//! ```
//!
//! What must hold:
//!
//! * Everything a client sends is bounded in bytes and in time, and so is the number of its connections.
//! * Clients of the original see what they know: paths, codes and texts of its framework, and answers of texts alone.
//! * At the stop, what was asked is answered.

mod accept;
mod body;
mod choria;
mod connection;
mod json;
mod metrics;
mod native;
mod openapi;
mod operation;
mod path;
mod peer;
mod places;
mod problem;
mod serve;
mod stall;
mod tls;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::routing::{MethodRouter, get, post};
use bytes::Bytes;
use overlay_runtime::{Fault, Readiness, Secrets, Tasks, err_chain};
use prometheus::Registry;
use tokio::sync::{Semaphore, oneshot};

use crate::config::{Http, HttpLimits};
use crate::login::{self, LoginService};
use crate::signer::Signer;
use crate::via::Via;

use operation::Operation;
use peer::Peer;
use problem::Problem;

pub use choria::{SignBody, read_sign_body};
pub(crate) use serve::Server;

/// What is served.
#[derive(Debug)]
pub(crate) struct Faces {
    /// Signs; without it nothing is signed by HTTP.
    pub(crate) signer: Option<Arc<Signer>>,
    /// Logs in; without it nobody is.
    pub(crate) login: Option<Arc<LoginService>>,
    /// What `/readyz` shows.
    pub(crate) readiness: Readiness,
    /// What `/metrics` shows.
    pub(crate) registry: Registry,
}

/// What operations work with.
#[derive(Debug)]
struct Face {
    signer: Option<Arc<Signer>>,
    login: Option<Arc<LoginService>>,
    readiness: Readiness,
    registry: Registry,
    limits: HttpLimits,
    /// The answer of `/openapi.json`.
    description: Bytes,
    tasks: Tasks,
    /// Logins that are worked on, those of clients that have gone included.
    logins: Arc<Semaphore>,
}

impl Http {
    /// What is wrong with the files of the section.
    pub fn inspect(&self, secrets: &Secrets) -> Vec<Fault> {
        let Some(files) = &self.tls else {
            return Vec::new();
        };
        match tls::inspect(files, secrets) {
            Ok(()) => Vec::new(),
            Err(error) => vec![
                Fault::new("http.certificate_file", err_chain(&error))
                    .value(files.certificate.display()),
            ],
        }
    }
}

impl Face {
    fn new(faces: Faces, settings: &Http, tasks: Tasks) -> Arc<Self> {
        let Faces {
            signer,
            login,
            readiness,
            registry,
        } = faces;
        Arc::new(Self {
            signer,
            login,
            readiness,
            registry,
            limits: settings.limits,
            description: openapi::text(settings.metrics),
            tasks,
            logins: Arc::new(Semaphore::new(settings.limits.connections.get())),
        })
    }

    /// Whose request it is.
    fn peer(&self, request: &Request) -> Peer {
        request.extensions().get().copied().unwrap_or(Peer::UNKNOWN)
    }

    /// The same, as logins are told.
    fn from(&self, request: &Request) -> login::From {
        login::From {
            via: Via::Http,
            peer: self.peer(request).to_string(),
        }
    }

    /// Works to the end even if the client goes: a guess that was begun is counted and recorded.
    async fn to_the_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Problem> {
        let place = Arc::clone(&self.logins)
            .try_acquire_owned()
            .map_err(|_| Problem::Busy)?;
        let (sender, receiver) = oneshot::channel();
        self.tasks.spawn_job("http login", async move {
            let outcome = work.await;
            drop(place);
            // The client may have gone.
            drop(sender.send(outcome));
        });
        receiver.await.map_err(|_| Problem::Internal)
    }
}

/// The router of all operations; figures only where they are wanted.
fn router(face: Arc<Face>, with_metrics: bool) -> Router {
    let mut router = Router::new();
    for operation in Operation::ALL {
        if with_metrics || operation != Operation::Metrics {
            router = router.route(operation.path(), handler(operation));
        }
    }
    router
        .fallback(no_such_path)
        .method_not_allowed_fallback(other_method)
        .with_state(face)
}

fn handler(operation: Operation) -> MethodRouter<Arc<Face>> {
    match operation {
        Operation::ChoriaLogin => post(choria::login),
        Operation::ChoriaSign => post(choria::sign),
        Operation::Methods => get(native::methods),
        Operation::Password => post(native::password),
        Operation::Begin => post(native::begin),
        Operation::Continue => post(native::continue_),
        Operation::Logout => post(native::logout),
        Operation::Description => get(native::description),
        Operation::Healthz => get(native::healthz),
        Operation::Readyz => get(native::readyz),
        Operation::Metrics => get(native::metrics),
    }
}

/// A path as the client wrote it, where it was cleaned.
#[derive(Debug, Clone)]
struct Written(String);

async fn no_such_path(request: Request) -> Problem {
    let written = request.extensions().get::<Written>();
    Problem::NoSuchPath(written.map_or_else(
        || request.uri().path().to_owned(),
        |Written(path)| path.clone(),
    ))
}

async fn other_method(request: Request) -> Problem {
    let method = request.method().clone();
    match Operation::at(request.uri().path()) {
        Some(operation) => Problem::Method(method, operation.allowed()),
        None => Problem::NoSuchPath(request.uri().path().to_owned()),
    }
}

#[cfg(test)]
mod tests;
