//! What every command gets: global flags, environment, output.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use overlay_client::config::Environment;
use overlay_client::{Config, Fleet, Stop};
use tokio::time::Instant;

use crate::args::Global;
use crate::error::Failure;
use crate::output::Output;

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
        let spinner = self.output.spinner("connecting to the broker");
        let fleet = Fleet::connect(config, purpose).await;
        drop(spinner);
        Ok(fleet?)
    }

    /// Runs a question; Ctrl-C ends its waiting, and what has come by then is shown.
    pub(crate) async fn until_interrupted<T>(
        &self,
        stop: Stop,
        question: impl Future<Output = T>,
    ) -> T {
        let interrupted = async {
            if tokio::signal::ctrl_c().await.is_ok() {
                stop.stop();
            }
            std::future::pending::<std::convert::Infallible>().await
        };
        tokio::select! {
            answer = question => answer,
            never = interrupted => match never {},
        }
    }
}

fn host_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}
