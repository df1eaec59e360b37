//! `overlay cell up`: runs a cell in the foreground.
//!
//! Everything happens in one future on the main thread. That matters: the kernel's death signal, which
//! ends the children with us, follows the *thread* that started them, and the main thread lives as long as
//! the process.

mod child;
mod logs;
mod ready;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::{join, join_all, select_all};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

use self::child::{Command, Handle, Program, Supervised};
use self::logs::{Logs, Ready};
use self::ready::Expected;
use super::layout::{
    AAA_JWT, AAA_TOML, BROKER_AUTH_TOML, BROKER_CONF, CELL_SOURCE_JWT, LOGIN_JWT, Layout, NODE_JWT,
    NODE_TOML, PROVISIONER_JWT, PROVISIONER_TOML, REGION_JWT, REPLICATOR_JWT, REPLICATOR_TOML,
    SECRET, SIGNER_JWT, of_node, of_replicator, of_signer,
};
use super::process::{Identity, Lock, State};
use super::settings::Settings;
use super::write::{self, Existing};
use super::{programs, templates};
use crate::app::App;
use crate::error::{Failure, Hint};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Directory of the cell
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Start no nodes
    #[arg(long)]
    no_nodes: bool,
    /// Start only these: nats-server, broker-auth-1, aaa-signer-1, provisioner-1, replicator-1, identities of nodes
    #[arg(
        long,
        value_name = "NAME,...",
        value_delimiter = ',',
        conflicts_with = "no_nodes"
    )]
    only: Vec<String>,
}

/// How long each kind of program may take until it is ready.
const BROKER_LIMIT: Duration = Duration::from_secs(30);
const LOGIN_LIMIT: Duration = Duration::from_secs(60);
const SIGNERS_LIMIT: Duration = Duration::from_secs(30);
const PROVISIONERS_LIMIT: Duration = Duration::from_secs(30);
const NODES_LIMIT: Duration = Duration::from_secs(30);
/// A region may be away, and the cell is of use all the same.
const REPLICATORS_LIMIT: Duration = Duration::from_secs(10);

/// Programs by the order in which they start; they stop in reverse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Broker,
    Login,
    Signers,
    Provisioners,
    Nodes,
    Replicators,
}

impl Stage {
    const ALL: [Self; 6] = [
        Self::Broker,
        Self::Login,
        Self::Signers,
        Self::Provisioners,
        Self::Nodes,
        Self::Replicators,
    ];

    /// How long its programs may take until they are ready.
    fn limit(self) -> Duration {
        match self {
            Self::Broker => BROKER_LIMIT,
            Self::Login => LOGIN_LIMIT,
            Self::Signers => SIGNERS_LIMIT,
            Self::Provisioners => PROVISIONERS_LIMIT,
            Self::Nodes => NODES_LIMIT,
            Self::Replicators => REPLICATORS_LIMIT,
        }
    }

    /// Whether a cell is of use without it: its programs go on trying.
    fn is_optional(self) -> bool {
        match self {
            Self::Broker | Self::Login => false,
            Self::Signers | Self::Provisioners | Self::Nodes | Self::Replicators => true,
        }
    }
}

pub(super) async fn run(args: &Args, app: &App) -> Result<(), Failure> {
    let (settings, layout) = Settings::load(&args.dir)?;
    let lock = Lock::take(&layout)?;
    let programs = plan(&settings, &layout, args, app)?;
    let expected = Expected::of(&programs, &settings);
    expected.ports_are_free(&settings)?;

    let logs = Logs::new(app.output.clone());
    let (mut handles, children): (Vec<_>, Vec<_>) = programs
        .into_iter()
        .map(|(stage, program)| {
            let (handle, child) = Supervised::new(program, &logs);
            ((stage, handle), child)
        })
        .unzip();
    let gone = Notify::new();
    let director = Director {
        settings: &settings,
        layout: &layout,
        expected,
        ready: logs.announcer(),
        gone: &gone,
        app,
    };
    let children = join_all(children.into_iter().map(Supervised::run));
    let mut work = std::pin::pin!(join(director.direct(&mut handles), children));
    let result = tokio::select! {
        (result, _) = &mut work => result,
        // Nobody reads any more: all stop, in order.
        printed = logs.print() => {
            gone.notify_one();
            (&mut work).await.0.and(printed)
        }
    };
    logs.flush().await.ok();
    State::remove(&layout)?;
    drop(lock);
    result
}

/// What is to be run; a program that nobody asked for need not be installed.
fn plan(
    settings: &Settings,
    layout: &Layout,
    args: &Args,
    app: &App,
) -> Result<Vec<(Stage, Program)>, Failure> {
    let mut plan = Plan {
        only: &args.only,
        names: Vec::new(),
        found: BTreeMap::new(),
        programs: Vec::new(),
        app,
    };
    if plan.wants("nats-server") {
        let nats = programs::nats_server(app)?;
        let program = Program::new("nats-server", &nats)
            .argument("-c")
            .argument(layout.path(BROKER_CONF))
            // As in the systemd unit: fewer collections while many log in.
            .variable("GOGC", "400", app)
            .variable("GOMEMLIMIT", "2GiB", app);
        plan.programs.push((Stage::Broker, program));
    }
    for index in 0..settings.run.broker_auth {
        if let Some(program) =
            plan.ours(&format!("broker-auth-{}", index + 1), "overlay-broker-auth")?
        {
            let (config, port) = (BROKER_AUTH_TOML, settings.admin_port(index));
            let program = one_of_several(program, layout, config, index, &admin(port))?;
            plan.programs.push((Stage::Login, program));
        }
    }
    plan.signers(settings, layout)?;
    if settings.enrols() && !layout.path(PROVISIONER_JWT).exists() {
        app.output.warn(
            "the provisioner has no token and is not started; `overlay cell check` says what to do",
        );
    } else {
        for index in 0..settings.run.provisioners {
            if let Some(program) =
                plan.ours(&format!("provisioner-{}", index + 1), "overlay-provisioner")?
            {
                let (config, port) = (PROVISIONER_TOML, settings.provisioner_port(index));
                let program = one_of_several(program, layout, config, index, &admin(port))?;
                plan.programs.push((Stage::Provisioners, program));
            }
        }
    }
    let nodes = settings.run.nodes.iter().filter(|_| !args.no_nodes);
    for identity in nodes {
        if !layout.path(&of_node(identity, NODE_JWT)).exists() {
            app.output.warn(format!(
                "node {identity} has no token and is not started; `overlay cell check` says what to do"
            ));
        } else if let Some(program) = plan.ours(identity, "overlay-server")? {
            let program = program
                .argument("--config")
                .argument(layout.path(&of_node(identity, NODE_TOML)));
            plan.programs.push((Stage::Nodes, program));
        }
    }
    plan.replicators(settings, layout)?;
    plan.finish()
}

/// Programs as they are chosen, and the names that could have been.
struct Plan<'a> {
    only: &'a [String],
    names: Vec<String>,
    /// Programs of ours that were found.
    found: BTreeMap<&'static str, programs::Program>,
    programs: Vec<(Stage, Program)>,
    app: &'a App,
}

impl Plan<'_> {
    fn wants(&mut self, name: &str) -> bool {
        self.names.push(name.to_owned());
        self.only.is_empty() || self.only.iter().any(|wanted| wanted == name)
    }

    /// A program of ours under a name of its own, if it was asked for.
    fn ours(&mut self, name: &str, binary: &'static str) -> Result<Option<Program>, Failure> {
        if !self.wants(name) {
            return Ok(None);
        }
        let found = match self.found.entry(binary) {
            Entry::Occupied(found) => found.into_mut(),
            Entry::Vacant(vacant) => vacant.insert(programs::ours(binary, self.app)?),
        };
        Ok(Some(Program::new(name, found)))
    }

    fn signers(&mut self, settings: &Settings, layout: &Layout) -> Result<(), Failure> {
        for index in 0..settings.run.aaa_signers {
            let name = format!("aaa-signer-{}", index + 1);
            let own = of_signer(index, AAA_JWT);
            let has = |path: &str| layout.path(path).exists();
            if ![SIGNER_JWT, LOGIN_JWT, own.as_str()].into_iter().all(has) {
                self.app.output.warn(format!(
                    "{name} lacks a token and is not started; `overlay cell check` says what to do"
                ));
            } else if let Some(program) = self.ours(&name, "overlay-aaa-signer")? {
                let text = templates::aaa_signer_of(settings, layout, index);
                let program = one_of_several(program, layout, AAA_TOML, index, &text)?;
                self.programs.push((Stage::Signers, program));
            }
        }
        Ok(())
    }

    fn replicators(&mut self, settings: &Settings, layout: &Layout) -> Result<(), Failure> {
        for index in 0..settings.run.replicators {
            let name = format!("replicator-{}", index + 1);
            let own = of_replicator(index, REPLICATOR_JWT);
            let has = |path: &str| layout.path(path).exists();
            if ![CELL_SOURCE_JWT, REGION_JWT, own.as_str()]
                .into_iter()
                .all(has)
            {
                self.app.output.warn(format!(
                    "{name} lacks a token and is not started; `overlay cell check` says what to do"
                ));
            } else if let Some(program) = self.ours(&name, "overlay-stream-replicator")? {
                let text = templates::stream_replicator_of(settings, layout, index);
                let program = one_of_several(program, layout, REPLICATOR_TOML, index, &text)?;
                self.programs.push((Stage::Replicators, program));
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<Vec<(Stage, Program)>, Failure> {
        match self.only.iter().find(|name| !self.names.contains(name)) {
            None => Ok(self.programs),
            Some(unknown) => Err(Failure::usage(format!(
                "--only names {unknown:?}, which this cell has not"
            ))
            .hint(format!("it has {}", self.names.join(", ")))),
        }
    }
}

/// What an instance has otherwise than the first: where it tells its health.
fn admin(port: u16) -> String {
    format!("[admin]\nlisten = \"127.0.0.1:{port}\"\n")
}

/// Number `index` of several programs of the same configuration: all but the first have a second one, `differences`.
fn one_of_several(
    program: Program,
    layout: &Layout,
    config: &str,
    index: u16,
    differences: &str,
) -> anyhow::Result<Program> {
    let extra = layout.path(&format!("run/{}.toml", program.name()));
    let program = program.argument("--config").argument(layout.path(config));
    if index == 0 {
        return Ok(program);
    }
    write::file(&extra, SECRET, differences.as_bytes(), Existing::Replace)?;
    Ok(program.argument("--config").argument(extra))
}

/// Starts, watches and stops the children in order.
struct Director<'a> {
    settings: &'a Settings,
    layout: &'a Layout,
    expected: Expected,
    ready: Ready,
    gone: &'a Notify,
    app: &'a App,
}

impl Director<'_> {
    async fn direct(&self, handles: &mut [(Stage, Handle)]) -> Result<(), Failure> {
        let mut signals = Signals::new()?;
        let result = tokio::select! {
            result = self.start_and_watch(handles) => result,
            name = signals.next() => {
                self.app.output.note(format!("{name}: stopping"));
                Ok(())
            }
            () = self.gone.notified() => Ok(()),
        };
        if let Err(failure) = &result {
            // The cause first; the stop below takes a moment.
            self.app.output.note(failure.render().trim_end());
        }
        tokio::select! {
            () = self.stop(handles) => {}
            name = signals.next() => {
                self.app.output.warn(format!("{name} again: killing what still runs"));
                for (_, handle) in handles.iter() {
                    handle.command(Command::Kill);
                }
                for (_, handle) in handles.iter_mut() {
                    handle.ended().await;
                }
            }
        }
        // None is left waiting for a command.
        for (_, handle) in handles.iter() {
            handle.command(Command::Kill);
        }
        match result {
            Ok(()) => {
                self.app
                    .output
                    .note(format!("cell {} is down", self.settings.name));
                Ok(())
            }
            Err(_) => Err(Failure::new(format!(
                "cell {} did not stay up",
                self.settings.name
            ))),
        }
    }

    async fn start_and_watch(&self, handles: &mut [(Stage, Handle)]) -> Result<(), Failure> {
        let pid = i32::try_from(std::process::id()).unwrap_or_default();
        let process =
            Identity::of(pid).ok_or_else(|| Failure::new("cannot find this process in /proc"))?;
        let since = now();
        let note = |text: String| self.app.output.note(text);
        for stage in Stage::ALL {
            let names: Vec<String> = handles
                .iter()
                .filter(|(of, _)| *of == stage)
                .map(|(_, handle)| handle.title())
                .collect();
            if names.is_empty() {
                continue;
            }
            note(format!("starting {}", names.join(", ")));
            for (_, handle) in handles.iter().filter(|(of, _)| *of == stage) {
                handle.command(Command::Run);
            }
            let started = tokio::time::Instant::now();
            let mut ready = std::pin::pin!(self.expected.ready(stage, self.settings));
            let outcome = loop {
                tokio::select! {
                    outcome = &mut ready => break outcome,
                    failure = first_failure(handles) => return Err(failure),
                    () = any_change(handles) => self.save(process, since, handles)?,
                }
            };
            self.save(process, since, handles)?;
            match outcome {
                Ok(()) => note(format!(
                    "{}: ready after {:.1} s",
                    names.join(", "),
                    started.elapsed().as_secs_f32()
                )),
                Err(why) if stage.is_optional() => self.app.output.warn(format!("{why:#}")),
                Err(why) => return Err(why.into()),
            }
        }
        let shown = self.layout.root().display();
        self.ready
            .ready(&self.settings.name, &self.settings.broker_url());
        note(format!(
            "try:  overlay --config {} ping\nlook: overlay cell status {shown}\nCtrl-C stops the cell",
            self.layout.text(super::layout::CLIENT_TOML),
        ));
        loop {
            tokio::select! {
                failure = first_failure(handles) => return Err(failure),
                () = any_change(handles) => self.save(process, since, handles)?,
            }
        }
    }

    /// Stops what was started last first.
    async fn stop(&self, handles: &mut [(Stage, Handle)]) {
        for stage in Stage::ALL.into_iter().rev() {
            for (_, handle) in handles.iter().filter(|(of, _)| *of == stage) {
                handle.command(Command::Stop);
            }
            for (_, handle) in handles.iter_mut().filter(|(of, _)| *of == stage) {
                handle.ended().await;
            }
        }
    }

    fn save(
        &self,
        process: Identity,
        since: i64,
        handles: &[(Stage, Handle)],
    ) -> Result<(), Failure> {
        let state = State {
            process,
            since,
            processes: handles.iter().map(|(_, handle)| handle.child()).collect(),
        };
        state
            .save(self.layout)
            .hint("`overlay cell status` and `down` need this file")
    }
}

/// Waits until a child has been given up.
async fn first_failure(handles: &[(Stage, Handle)]) -> Failure {
    let failures = handles
        .iter()
        .map(|(_, handle)| Box::pin(handle.given_up()));
    let (failure, _, _) = select_all(failures).await;
    failure
}

/// Waits until a child starts or dies.
async fn any_change(handles: &[(Stage, Handle)]) {
    let changes = handles.iter().map(|(_, handle)| Box::pin(handle.changed()));
    select_all(changes).await;
}

/// The signals that ask us to stop.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "interrupt",
            _ = self.terminate.recv() => "terminate",
            _ = self.hang_up.recv() => "hang-up",
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the edge: since when the cell is up"
)]
fn now() -> i64 {
    time::OffsetDateTime::from(std::time::SystemTime::now()).unix_timestamp()
}
