//! From the command line to the exit code.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use prometheus::Registry;
use tokio_util::sync::CancellationToken;

use crate::args::{self, Action};
use crate::config::{self, Environment, Fault, FileConfig, Loaded, Settings, Threads};
use crate::context::Context;
use crate::exit::Exit;
use crate::secret::Secrets;
use crate::shutdown::Signals;
use crate::tasks::Tasks;
use crate::{metrics, nats, notify, telemetry};

/// How long the broker may take to take our last messages.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);
/// How long blocking work may keep the process after everything else ended.
const BLOCKING_LIMIT: Duration = Duration::from_secs(1);

/// Which program this is; made by [`app!`](crate::app).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct App {
    /// The component, for example `broker-auth`.
    pub component: &'static str,
    /// Its version.
    pub version: &'static str,
    /// The commit it was built from, or `unknown`.
    pub commit: &'static str,
    /// How it was built.
    pub profile: &'static str,
}

/// Names the program that is being compiled.
#[macro_export]
macro_rules! app {
    () => {
        $crate::App::new(
            env!("CARGO_PKG_NAME"),
            env!("CARGO_PKG_VERSION"),
            option_env!("OVERLAY_COMMIT"),
            cfg!(debug_assertions),
        )
    };
}

impl App {
    /// Called by [`app!`](crate::app).
    pub fn new(
        package: &'static str,
        version: &'static str,
        commit: Option<&'static str>,
        debug: bool,
    ) -> Self {
        Self {
            component: package.strip_prefix("overlay-").unwrap_or(package),
            version,
            commit: commit.unwrap_or("unknown"),
            profile: if debug { "debug" } else { "release" },
        }
    }

    fn program(&self) -> String {
        format!("overlay-{}", self.component)
    }
}

/// Runs a component as a process: does what the command line asks, and yields the exit code.
///
/// `run` gets the checked configuration and the context. It may stay until the shutdown, or return
/// once it has started its tasks; an error of it, or of a task, stops the process and fails it.
pub fn launch<C, R, F>(app: App, run: R) -> ExitCode
where
    C: FileConfig,
    R: FnOnce(C, Context) -> F,
    F: Future<Output = anyhow::Result<()>>,
{
    let environment: Environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let args = std::env::args_os().skip(1);
    act(app, args, &environment, run).into()
}

fn act<C, R, F>(
    app: App,
    args: impl Iterator<Item = OsString>,
    environment: &Environment,
    run: R,
) -> Exit
where
    C: FileConfig,
    R: FnOnce(C, Context) -> F,
    F: Future<Output = anyhow::Result<()>>,
{
    let action = match args::parse(args) {
        Ok(action) => action,
        Err(error) => {
            let usage = args::usage(&app.program(), &config::environment_prefix(app.component));
            say(
                &mut std::io::stderr(),
                &format!("{}: {error}\n\n{usage}", app.program()),
            );
            return Exit::Usage;
        }
    };
    let secrets = Secrets::new(environment.get("CREDENTIALS_DIRECTORY").map(PathBuf::from));
    let load = |files: &[PathBuf]| C::load(app.component, files, environment);
    let text = match action {
        Action::Help => args::usage(&app.program(), &config::environment_prefix(app.component)),
        Action::Version => format!("{} {} ({})\n", app.program(), app.version, app.commit),
        Action::PrintReference => C::reference(),
        Action::PrintConfig(files) => match load(&files) {
            Ok(loaded) => loaded.masked(),
            Err(faults) => return refuse(app, &faults),
        },
        Action::Check(files) => match load(&files).and_then(|loaded| inspect(loaded, &secrets)) {
            Ok(_) => return Exit::Success,
            Err(faults) => return refuse(app, &faults),
        },
        Action::Run(files) => match load(&files).and_then(|loaded| inspect(loaded, &secrets)) {
            Ok(loaded) => return work(app, loaded, secrets, run),
            Err(faults) => return refuse(app, &faults),
        },
    };
    say(&mut std::io::stdout(), &text);
    Exit::Success
}

/// Looks at the files that the configuration names.
fn inspect<C: FileConfig>(loaded: Loaded<C>, secrets: &Secrets) -> Result<Loaded<C>, Vec<Fault>> {
    let mut faults = loaded.config.inspect(secrets);
    if let Some(broker) = loaded.config.runtime().broker {
        faults.extend(broker.inspect(secrets));
    }
    if faults.is_empty() {
        Ok(loaded)
    } else {
        Err(faults)
    }
}

fn refuse(app: App, faults: &[Fault]) -> Exit {
    let mut text = String::new();
    for fault in faults {
        text.push_str(&format!("{}: configuration: {fault}\n", app.program()));
    }
    say(&mut std::io::stderr(), &text);
    Exit::Config
}

/// Writes for people; a reader that has gone away is no fault.
fn say(to: &mut impl std::io::Write, text: &str) {
    drop(to.write_all(text.as_bytes()).and_then(|()| to.flush()));
}

fn work<C, R, F>(app: App, loaded: Loaded<C>, secrets: Secrets, run: R) -> Exit
where
    C: FileConfig,
    R: FnOnce(C, Context) -> F,
    F: Future<Output = anyhow::Result<()>>,
{
    let settings = loaded.config.runtime();
    let log = match telemetry::init(&settings.log) {
        Ok(log) => log,
        Err(error) => {
            say(
                &mut std::io::stderr(),
                &format!("{}: log: {error}\n", app.program()),
            );
            return Exit::Config;
        }
    };
    tracing::info!(
        component = app.component,
        version = app.version,
        commit = app.commit,
        profile = app.profile,
        "starting"
    );
    tracing::debug!(config = loaded.masked(), "configuration");
    let runtime = match async_runtime(settings.threads) {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "the async runtime cannot start");
            return Exit::Failure;
        }
    };
    let served = runtime.block_on(Box::pin(serve(
        app,
        settings,
        log,
        loaded.config,
        secrets,
        run,
    )));
    runtime.shutdown_timeout(BLOCKING_LIMIT);
    match served {
        Ok(()) => {
            tracing::info!("ended as asked");
            Exit::Success
        }
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "failed");
            Exit::of(&error)
        }
    }
}

fn async_runtime(threads: Threads) -> std::io::Result<tokio::runtime::Runtime> {
    let mut builder = match threads {
        Threads::PerProcessor => tokio::runtime::Builder::new_multi_thread(),
        Threads::Workers(number) => {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(number.get());
            builder
        }
        Threads::Current => tokio::runtime::Builder::new_current_thread(),
    };
    builder.enable_all().build()
}

async fn serve<C, R, F>(
    app: App,
    settings: Settings,
    log: telemetry::LogControl,
    config: C,
    secrets: Secrets,
    run: R,
) -> anyhow::Result<()>
where
    C: FileConfig,
    R: FnOnce(C, Context) -> F,
    F: Future<Output = anyhow::Result<()>>,
{
    let shutdown = CancellationToken::new();
    // Ends with this function: signals and messages to systemd go on until the very end.
    let mut helpers = tokio::task::JoinSet::new();
    helpers.spawn(Signals::install()?.follow(shutdown.clone()));
    let registry = Registry::new();
    metrics::register_process(&registry, app.component, app.version, app.commit)?;
    let mut context = Context::with(shutdown.clone(), registry, secrets)?;
    let readiness = context.readiness.clone();
    helpers.spawn(notify::follow(readiness.clone()));
    helpers.spawn(notify::watchdog());
    let _admin = listen(app, &settings, log, &context).await?;

    if let Some(broker) = &settings.broker {
        match context.connector.connect(broker).await {
            Ok(client) => context.nats = Some(client),
            // A stop while waiting for the broker is a stop as asked.
            Err(nats::ConnectError::Stopped) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    let client = context.nats.clone();
    let tasks = context.tasks.clone();
    let outcome = supervise(
        run(config, context),
        &tasks,
        &shutdown,
        settings.grace,
        || {
            readiness.stopping();
            notify::stopping();
        },
    )
    .await;
    if let Some(client) = client {
        nats::drain(&client, DRAIN_LIMIT).await;
    }
    outcome
}

/// Waits for the shutdown or the first fault, then stops everything within the grace period.
async fn supervise(
    run: impl Future<Output = anyhow::Result<()>>,
    tasks: &Tasks,
    shutdown: &CancellationToken,
    grace: Duration,
    stopping: impl FnOnce(),
) -> anyhow::Result<()> {
    let mut run = std::pin::pin!(run);
    let mut running = true;
    // The shutdown is looked at first: an end that follows from it is none before it.
    let mut outcome = tokio::select! {
        biased;
        () = shutdown.cancelled() => Ok(()),
        result = &mut run => {
            running = false;
            result
        }
        end = tasks.first_end() => Err(end.into_error()),
    };
    if !running && outcome.is_ok() && !tasks.running().is_empty() {
        outcome = tokio::select! {
            biased;
            () = shutdown.cancelled() => Ok(()),
            end = tasks.first_end() => Err(end.into_error()),
        };
    }
    if let Err(error) = &outcome {
        tracing::error!(error = format!("{error:#}"), "stopping because of a fault");
    }
    stopping();
    shutdown.cancel();
    let started = tokio::time::Instant::now();
    if running {
        match tokio::time::timeout(grace, &mut run).await {
            Ok(Ok(())) => {}
            // The first fault is the one to tell the caller; this one is told here.
            Ok(Err(error)) if outcome.is_err() => {
                tracing::warn!(error = format!("{error:#}"), "fault while stopping");
            }
            Ok(Err(error)) => outcome = Err(error),
            Err(_) => tracing::warn!(?grace, "grace period over, the component still works"),
        }
    }
    tasks.join(grace.saturating_sub(started.elapsed())).await;
    if let Some(error) = tasks.take_fault() {
        if outcome.is_ok() {
            return Err(error);
        }
        tracing::warn!(error = format!("{error:#}"), "fault while stopping");
    }
    outcome
}

#[cfg(feature = "admin")]
async fn listen(
    app: App,
    settings: &Settings,
    log: telemetry::LogControl,
    context: &Context,
) -> anyhow::Result<Option<crate::admin::Listening>> {
    let Some(address) = settings.admin else {
        return Ok(None);
    };
    let admin = crate::admin::Admin {
        app,
        readiness: context.readiness.clone(),
        registry: context.registry.clone(),
        log,
    };
    let listening = admin.listen(address).await?;
    tracing::info!(address = %listening.address, "admin listener");
    Ok(Some(listening))
}

#[cfg(not(feature = "admin"))]
#[expect(clippy::unused_async, reason = "same shape as with the feature")]
async fn listen(
    _app: App,
    settings: &Settings,
    _log: telemetry::LogControl,
    _context: &Context,
) -> anyhow::Result<Option<std::convert::Infallible>> {
    if settings.admin.is_some() {
        tracing::warn!("built without the admin listener: its address is not used");
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
