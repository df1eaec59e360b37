//! Asks the site's helper what shall become of a node: question in, answer out, in one of three ways.
//!
//! | Way | One question is | For |
//! | --- | --- | --- |
//! | [`process`] | one process: standard input, standard output, exit code | helpers of Choria's provisioner, any language |
//! | [`persistent`] | one line to a process that stays, one line back with the same `id` | thousands of nodes a minute |
//! | [`http`] | one POST | a service of the site |
//!
//! What must hold, whatever the helper does: an answer or a fault within the time limit; no more than the
//! configured bytes in memory; no process of the helper's group outlives the time limit or holds us up by holding its
//! output (one that closed all pipes and went its own way is left alone); nothing of what it writes to standard error is lost but by the bound of lines, and none of it reaches a node.

mod fault;
mod group;
mod http;
mod persistent;
mod process;
mod stderr;
#[cfg(test)]
mod tests;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use overlay_runtime::{CancellationToken, Part, Secrets, Tasks};
use tokio::sync::Semaphore;

pub(crate) use fault::AskError;

/// How the helper is asked.
#[derive(Clone, Debug)]
pub struct HelperSettings {
    /// The way.
    pub kind: HelperKind,
    /// How long one question may take, waiting for a free helper not counted.
    pub limit: Duration,
    /// Bytes of one answer.
    pub max_output: usize,
    /// Questions that are asked at the same time; the others wait.
    pub concurrency: NonZeroUsize,
}

/// The three ways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HelperKind {
    /// A process for each question.
    Process {
        /// Program and arguments.
        command: Vec<String>,
    },
    /// Processes that stay.
    Persistent {
        /// Program and arguments.
        command: Vec<String>,
        /// How many of them.
        processes: NonZeroUsize,
    },
    /// A service.
    Http {
        /// Where questions are posted to.
        url: String,
        /// File with a bearer token.
        token_file: Option<PathBuf>,
        /// PEM file of the authorities that sign the service's certificate; without it, the system's.
        ca_file: Option<PathBuf>,
    },
}

/// Why the helper cannot be set up at all.
#[derive(Debug, thiserror::Error)]
pub enum HelperStartError {
    /// The command is empty.
    #[error("the helper's command is empty")]
    NoCommand,
    /// The service's address or certificates are unusable.
    #[error("the helper's service cannot be used")]
    Http(#[source] http::HttpStartError),
}

/// The helper, ready to be asked.
#[derive(Debug)]
pub(crate) struct Helper {
    way: Way,
    slots: Semaphore,
}

#[derive(Debug)]
enum Way {
    Process(process::Runner),
    Persistent(persistent::Pool),
    Http(Box<http::Poster>),
}

/// What all ways keep to.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    limit: Duration,
    max_output: usize,
}

impl Helper {
    /// Starts what stays; `part` shows whether persistent helpers are there.
    pub(crate) fn start(
        settings: &HelperSettings,
        tasks: &Tasks,
        shutdown: &CancellationToken,
        secrets: &Secrets,
        part: Part,
    ) -> Result<Self, HelperStartError> {
        let bounds = Bounds {
            limit: settings.limit,
            max_output: settings.max_output,
        };
        if !matches!(settings.kind, HelperKind::Persistent { .. }) {
            part.up();
        }
        let way = match &settings.kind {
            HelperKind::Process { command } => Way::Process(process::Runner::new(command, bounds)?),
            HelperKind::Persistent { command, processes } => Way::Persistent(
                persistent::Pool::start(command, *processes, bounds, tasks, shutdown, &part)?,
            ),
            HelperKind::Http {
                url,
                token_file,
                ca_file,
            } => Way::Http(Box::new(
                http::Poster::new(
                    url,
                    token_file.clone(),
                    ca_file.as_deref(),
                    secrets.clone(),
                    bounds,
                )
                .map_err(HelperStartError::Http)?,
            )),
        };
        Ok(Self {
            way,
            slots: Semaphore::new(settings.concurrency.get().min(Semaphore::MAX_PERMITS)),
        })
    }

    /// Asks; `identity` is for the log. The question is one JSON object without a line break.
    pub(crate) async fn ask(&self, identity: &str, question: Bytes) -> Result<Vec<u8>, AskError> {
        // Never closed: an error would say that the process stops.
        let Ok(_slot) = self.slots.acquire().await else {
            return Err(AskError::Unavailable("the helper is stopped".to_owned()));
        };
        match &self.way {
            Way::Process(runner) => runner.ask(identity, &question).await,
            Way::Persistent(pool) => pool.ask(&question).await,
            Way::Http(poster) => poster.ask(question).await,
        }
    }
}
