//! One program that is kept running.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context;
use rustix::process::Signal;
use tokio::process::Child;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::logs::{Logs, Source};
use crate::app::App;
use crate::commands::cell::process::{self, Identity};
use crate::commands::cell::programs;
use crate::error::Failure;

/// A program that dies more often than this within [`WINDOW`] is given up.
const MAX_DEATHS: usize = 5;
const WINDOW: Duration = Duration::from_secs(60);
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(8);
const LAST_WORDS: Duration = Duration::from_millis(500);
/// Above the grace period that our daemons give themselves.
const STOP_LIMIT: Duration = Duration::from_secs(45);

/// What to run, and how.
#[derive(Debug)]
pub(super) struct Program {
    name: String,
    version: String,
    path: PathBuf,
    arguments: Vec<OsString>,
    variables: Vec<(&'static str, &'static str)>,
}

impl Program {
    pub(super) fn new(name: &str, program: &programs::Program) -> Self {
        Self {
            name: name.to_owned(),
            version: program.version.clone(),
            path: program.path.clone(),
            arguments: Vec::new(),
            variables: Vec::new(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn argument(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Sets a variable of the environment, unless the user has set it.
    pub(super) fn variable(mut self, name: &'static str, value: &'static str, app: &App) -> Self {
        if !app.environment.contains_key(name) {
            self.variables.push((name, value));
        }
        self
    }

    /// Starts it in a process group of its own, so that Ctrl-C reaches only us, and in our order it.
    fn start(&self) -> anyhow::Result<Child> {
        let own = std::env::current_exe().context("cannot find this program's own file")?;
        tokio::process::Command::new(own)
            .args(["cell", "exec-child", "--parent"])
            .arg(std::process::id().to_string())
            .arg("--")
            .arg(&self.path)
            .args(&self.arguments)
            .envs(self.variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", self.name))
    }
}

/// What a child is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Command {
    Wait,
    Run,
    Stop,
    Kill,
}

/// What a child is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Status {
    Waiting,
    Running(Option<Identity>),
    Restarting,
    GivenUp(String),
    Ended,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Report {
    status: Status,
    restarts: u32,
}

/// The director's end.
#[derive(Debug)]
pub(super) struct Handle {
    name: String,
    version: String,
    command: watch::Sender<Command>,
    report: watch::Receiver<Report>,
}

impl Handle {
    /// Tells the child something; what was told before is never taken back.
    pub(super) fn command(&self, command: Command) {
        self.command.send_if_modified(|current| {
            let further = command > *current;
            *current = command.max(*current);
            further
        });
    }

    /// Name and version, for people.
    pub(super) fn title(&self) -> String {
        format!("{} {}", self.name, self.version)
    }

    pub(super) fn child(&self) -> process::Child {
        let report = self.report.borrow();
        process::Child {
            name: self.name.clone(),
            process: match report.status {
                Status::Running(process) => process,
                Status::Waiting | Status::Restarting | Status::GivenUp(_) | Status::Ended => None,
            },
            restarts: report.restarts,
        }
    }

    pub(super) async fn ended(&mut self) {
        // The sender goes when the child's future ends, which is an end too.
        self.report
            .wait_for(|report| matches!(report.status, Status::Ended | Status::GivenUp(_)))
            .await
            .ok();
    }

    pub(super) async fn given_up(&self) -> Failure {
        let mut report = self.report.clone();
        let why = report
            .wait_for(|report| matches!(report.status, Status::GivenUp(_)))
            .await
            .map(|report| report.status.clone());
        match why {
            Ok(Status::GivenUp(why)) => Failure::new(why)
                .hint(format!("its last lines are above, marked `{}`", self.name))
                .hint("`overlay cell check` may know the cause"),
            Ok(_) | Err(_) => std::future::pending().await,
        }
    }

    pub(super) async fn changed(&self) {
        let mut report = self.report.clone();
        report.mark_unchanged();
        if report.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The child's end: a future that keeps the program running until told otherwise.
#[derive(Debug)]
pub(super) struct Supervised {
    program: Program,
    source: Source,
    command: watch::Receiver<Command>,
    report: watch::Sender<Report>,
}

impl Supervised {
    pub(super) fn new(program: Program, logs: &Logs) -> (Handle, Self) {
        let (command, commands) = watch::channel(Command::Wait);
        let (report, reports) = watch::channel(Report {
            status: Status::Waiting,
            restarts: 0,
        });
        let handle = Handle {
            name: program.name.clone(),
            version: program.version.clone(),
            command,
            report: reports,
        };
        let supervised = Self {
            source: logs.source(&program.name),
            program,
            command: commands,
            report,
        };
        (handle, supervised)
    }

    /// Runs until stopped or given up.
    pub(super) async fn run(mut self) {
        if self.told(Command::Run).await >= Command::Stop {
            return self.set(Status::Ended);
        }
        let mut deaths: Vec<Instant> = Vec::new();
        loop {
            let why = match self.program.start() {
                Ok(child) => match self.watch(child).await {
                    None => return self.set(Status::Ended),
                    Some(status) if is_refusal(&status) => {
                        let name = &self.program.name;
                        let why = format!(
                            "{name} does not take its configuration ({})",
                            describe(&status)
                        );
                        return self.set(Status::GivenUp(why));
                    }
                    Some(status) => describe(&status),
                },
                Err(error) => format!("{error:#}"),
            };
            deaths.retain(|death| death.elapsed() < WINDOW);
            deaths.push(Instant::now());
            if deaths.len() > MAX_DEATHS {
                return self.set(Status::GivenUp(format!(
                    "{} died {} times within {} s, the last time with {why}",
                    self.program.name,
                    deaths.len(),
                    WINDOW.as_secs()
                )));
            }
            let wait = backoff(deaths.len());
            self.source.say(format!(
                "DIED with {why}; started again in {:.1} s",
                wait.as_secs_f32()
            ));
            self.report.send_modify(|report| {
                report.status = Status::Restarting;
                report.restarts += 1;
            });
            tokio::select! {
                () = sleep(wait) => {}
                _ = self.told(Command::Stop) => return self.set(Status::Ended),
            }
        }
    }

    /// Runs one process to its end; `None` when it was told to end.
    async fn watch(&mut self, mut child: Child) -> Option<io::Result<ExitStatus>> {
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        self.set(Status::Running(pid.and_then(Identity::of)));
        let logs = self.source.pump(child.stdout.take(), child.stderr.take());
        let mut stopped = self.command.clone();
        let mut killed = self.command.clone();
        let end = async {
            tokio::select! {
                status = child.wait() => return Some(status),
                _ = stopped.wait_for(|command| *command >= Command::Stop) => {}
            }
            stop(&mut child, async {
                killed
                    .wait_for(|command| *command >= Command::Kill)
                    .await
                    .ok();
            })
            .await;
            None
        };
        let mut logs = std::pin::pin!(logs);
        tokio::pin!(end);
        let (why, silent) = tokio::select! {
            why = &mut end => (why, false),
            () = &mut logs => ((&mut end).await, true),
        };
        if !silent {
            // What it said last; a grandchild may hold the pipes open, so not longer than a moment.
            timeout(LAST_WORDS, logs).await.ok();
        }
        why
    }

    async fn told(&mut self, least: Command) -> Command {
        self.command
            .wait_for(|command| *command >= least)
            .await
            .map_or(Command::Kill, |command| *command)
    }

    fn set(&self, status: Status) {
        self.report.send_modify(|report| report.status = status);
    }
}

/// Asks to end, then insists.
async fn stop(child: &mut Child, kill: impl Future<Output = ()>) {
    let process = child
        .id()
        .and_then(|pid| i32::try_from(pid).ok())
        .and_then(Identity::of);
    if let Some(process) = process {
        process.signal(Signal::TERM);
    }
    let ended = tokio::select! {
        ended = timeout(STOP_LIMIT, child.wait()) => ended.is_ok(),
        () = kill => false,
    };
    if !ended {
        child.kill().await.ok();
    }
}

fn backoff(deaths: usize) -> Duration {
    let doublings = u32::try_from(deaths.saturating_sub(1)).unwrap_or(u32::MAX);
    2_u32
        .checked_pow(doublings)
        .and_then(|factor| FIRST_WAIT.checked_mul(factor))
        .unwrap_or(LONGEST_WAIT)
        .min(LONGEST_WAIT)
}

/// Exit codes of our daemons for wrong arguments and wrong configuration: trying again helps nobody.
fn is_refusal(status: &io::Result<ExitStatus>) -> bool {
    matches!(status, Ok(status) if matches!(status.code(), Some(2 | 78)))
}

fn describe(status: &io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_limit() {
        let waits: Vec<u128> = (1..=7).map(|deaths| backoff(deaths).as_millis()).collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 8000, 8000]);
        assert_eq!(backoff(usize::MAX), LONGEST_WAIT);
    }

    #[test]
    fn a_command_is_never_taken_back() {
        assert!(Command::Wait < Command::Run);
        assert!(Command::Run < Command::Stop);
        assert!(Command::Stop < Command::Kill);
    }
}
