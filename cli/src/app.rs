//! What every command gets: global flags, environment, output.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use overlay_client::config::Environment;
use overlay_client::{Config, Credentials, ExposedKey, Fleet, Stop};
use tokio::time::Instant;

use crate::args::Global;
use crate::error::Failure;
use crate::output::Output;

/// A session with less than this left is about to end.
const SOON_SECONDS: i64 = 600;
const INTERRUPTED: &str = "interrupted";

/// The process as a command sees it.
#[derive(Debug)]
pub(crate) struct App {
    /// Flags that every command has.
    pub(crate) global: Global,
    /// The one way to print.
    pub(crate) output: Output,
    /// The environment as it was at the start; commands and libraries read it from here only.
    pub(crate) environment: BTreeMap<String, String>,
    started: Instant,
    is_interrupted: AtomicBool,
}

impl App {
    pub(crate) fn new(global: Global, output: Output) -> Self {
        let environment = std::env::vars_os()
            .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self {
            global,
            output,
            environment,
            started: Instant::now(),
            is_interrupted: AtomicBool::new(false),
        }
    }

    /// How long the command has been running.
    pub(crate) fn running_for(&self) -> Duration {
        self.started.elapsed()
    }

    /// Finds and reads the client's configuration.
    pub(crate) fn config(&self) -> Result<Config, Failure> {
        let current_dir = std::env::current_dir()?;
        let environment = Environment {
            variables: self.environment.clone(),
            current_dir,
            host_name: host_name(),
            root: PathBuf::from("/"),
        };
        Ok(Config::load(self.global.config.as_deref(), &environment)?)
    }

    /// Connects to the fleet.
    pub(crate) async fn fleet(&self, config: Config, purpose: &str) -> Result<Fleet, Failure> {
        self.warn_of_exposed_key(&config.seed_file);
        let spinner = self.output.spinner("connecting to the broker");
        let fleet = Box::pin(Fleet::connect(config, purpose)).await;
        drop(spinner);
        let fleet = fleet?;
        self.warn_of_end(fleet.connection().credentials());
        Ok(fleet)
    }

    /// Warns when the session ends soon.
    pub(crate) fn warn_of_end(&self, credentials: &Credentials) {
        let now = crate::commands::now().secs;
        let left = credentials
            .expires()
            .map(|expires| expires.saturating_sub(now));
        if let Some(left) = left.filter(|left| *left < SOON_SECONDS) {
            let who = credentials.caller();
            let span = crate::commands::span(left.max(0));
            self.output.warn(format_args!(
                "the session of {who} ends in {span}; `overlay login` begins a new one"
            ));
        }
    }

    /// Warns when others may read or change a key that is about to be used.
    pub(crate) fn warn_of_exposed_key(&self, path: &Path) {
        if let Some(exposed) = ExposedKey::at(path) {
            self.output.warn(exposed);
        }
    }

    /// Runs a question; Ctrl-C ends its waiting, and what has come by then is its answer. A second one
    /// ends the command.
    pub(crate) async fn until_interrupted<T>(
        &self,
        stop: Stop,
        question: impl Future<Output = T>,
    ) -> Result<T, Failure> {
        let interrupted = async {
            tokio::signal::ctrl_c().await?;
            self.is_interrupted.store(true, Ordering::Relaxed);
            stop.stop();
            tokio::signal::ctrl_c().await
        };
        tokio::select! {
            answer = question => Ok(answer),
            result = interrupted => match result {
                Ok(()) => Err(Failure::new(INTERRUPTED)),
                Err(error) => Err(error.into()),
            }
        }
    }

    /// Whether Ctrl-C ended a question.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.is_interrupted.load(Ordering::Relaxed)
    }

    /// The end of a command that showed what it had: a failure if it was interrupted.
    pub(crate) fn end(&self, result: Result<(), Failure>) -> Result<(), Failure> {
        result?;
        if self.is_interrupted() {
            return Err(Failure::new(INTERRUPTED).hint("what is shown is what had come by then"));
        }
        Ok(())
    }
}

fn host_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}
