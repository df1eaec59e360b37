//! One of our programs, started as a process.

use std::ffi::OsStr;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::eventually::poll_blocking;

const PERIOD: Duration = Duration::from_millis(20);
/// A thread hears of the signal when it has a processor.
const FROZEN: Duration = Duration::from_secs(20);

/// A process whose output is kept; killed when dropped, its output shown when the test fails.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    status: Option<ExitStatus>,
    dir: TempDir,
}

/// Says how a process is started; begins at [`Process::builder`].
#[derive(Debug)]
pub struct ProcessBuilder {
    program: PathBuf,
    command: Command,
}

impl Process {
    /// Begins with the path of a program, such as `env!("CARGO_BIN_EXE_overlay-server")` in the
    /// tests of its own crate.
    pub fn builder(program: impl AsRef<Path>) -> ProcessBuilder {
        let program = program.as_ref().to_owned();
        ProcessBuilder {
            command: Command::new(&program),
            program,
        }
    }

    /// The path of a program of the workspace that was built before, such as `overlay-server`.
    ///
    /// It is looked for beside the running test, in `target/debug`, then in `target/release`.
    ///
    /// # Errors
    ///
    /// When it was not built; the text names the remedy.
    pub fn locate(name: &str) -> Result<PathBuf, String> {
        let beside_the_test = std::env::current_exe()
            .ok()
            .and_then(|test| Some(test.parent()?.parent()?.join(name)));
        let target = crate::env::target_dir();
        let built = [
            target.join("debug").join(name),
            target.join("release").join(name),
        ];
        beside_the_test
            .into_iter()
            .chain(built)
            .find(|path| path.is_file())
            .ok_or_else(|| format!("{name} is not built; run `cargo build --bin {name}`"))
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to standard error so far.
    pub fn stderr(&self) -> String {
        self.read("stderr")
    }

    /// What it wrote to standard output so far.
    pub fn stdout(&self) -> String {
        self.read("stdout")
    }

    /// Waits until a line of either output has `part` in it, and yields that line.
    ///
    /// # Panics
    ///
    /// When there is none within `limit`, or the process ended without it.
    #[track_caller]
    pub fn wait_for_line(&mut self, part: &str, limit: Duration) -> String {
        let waited = poll_blocking(limit, PERIOD, || {
            // Ended first, then read: what it wrote last is not missed.
            let ended = self.has_ended();
            let found = self.line_with(part);
            match (found, ended) {
                (Some(line), _) => Some(Ok(line)),
                (None, Some(status)) => Some(Err(format!("it ended before: {status}"))),
                (None, None) => None,
            }
        });
        let reason = match waited {
            Ok(Ok(line)) => return line,
            Ok(Err(reason)) => reason,
            Err(_) => format!("not within {limit:?}"),
        };
        panic!("{} wrote no line with {part:?}: {reason}", self.name);
    }

    /// Waits for the end.
    ///
    /// # Panics
    ///
    /// When it still runs after `limit`.
    #[track_caller]
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        match poll_blocking(limit, PERIOD, || self.has_ended()) {
            Ok(status) => status,
            Err(_) => panic!("{} still runs after {limit:?}", self.name),
        }
    }

    /// Ends it with SIGTERM and waits for the end.
    ///
    /// # Panics
    ///
    /// When it still runs after `limit`.
    #[track_caller]
    pub fn stop(&mut self, limit: Duration) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait(limit)
    }

    /// Ends it with SIGKILL.
    pub fn kill(&mut self) {
        drop(self.child.kill());
        self.status = self.child.wait().ok();
    }

    /// Sends SIGTERM without waiting.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends SIGINT without waiting.
    pub fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    /// Sends SIGHUP.
    pub fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    /// Freezes it (SIGSTOP), and waits until none of its threads runs any more.
    ///
    /// # Panics
    ///
    /// When one still does after a long time.
    #[track_caller]
    pub fn pause(&self) {
        self.signal(Signal::STOP);
        if poll_blocking(FROZEN, PERIOD, || self.is_frozen()).is_err() {
            panic!("{} still runs after SIGSTOP", self.name);
        }
    }

    /// Lets it go on (SIGCONT).
    pub fn unpause(&self) {
        self.signal(Signal::CONT);
    }

    /// How it ended, if it did.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().ok().flatten();
        }
        self.status
    }

    /// Resident memory in bytes, while it runs.
    pub fn resident_bytes(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
        let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(kib * 1024)
    }

    fn signal(&self, signal: Signal) {
        if self.status.is_some() {
            return;
        }
        if let Some(pid) = i32::try_from(self.pid()).ok().and_then(Pid::from_raw) {
            // A process that has just ended by itself is seen by whoever waits for it.
            let _ended = kill_process(pid, signal);
        }
    }

    /// Whether all threads are stopped, or have ended.
    fn is_frozen(&self) -> bool {
        let Ok(threads) = fs::read_dir(format!("/proc/{}/task", self.pid())) else {
            return true;
        };
        threads.flatten().all(|thread| {
            // The state follows the name, which is in parentheses.
            fs::read_to_string(thread.path().join("stat")).is_ok_and(|stat| {
                let state = stat.rsplit_once(") ").map(|(_, state)| state);
                state.is_some_and(|state| state.starts_with(['T', 'Z', 'X']))
            })
        })
    }

    fn line_with(&self, part: &str) -> Option<String> {
        let text = self.stdout() + &self.stderr();
        let line = text.lines().find(|line| line.contains(part));
        line.map(str::to_owned)
    }

    fn read(&self, stream: &str) -> String {
        let mut bytes = Vec::new();
        let read = fs::File::open(self.dir.path().join(stream))
            .and_then(|mut file| file.read_to_end(&mut bytes));
        match read {
            Ok(_) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) => format!("{stream} cannot be read: {error}"),
        }
    }
}

impl ProcessBuilder {
    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn current_dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Starts the process.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    #[track_caller]
    pub fn start(mut self) -> Process {
        let name = self.program.display().to_string();
        let dir = tempfile::tempdir().expect("a directory can be made");
        let output = |stream: &str| {
            let file = fs::File::create(dir.path().join(stream)).expect("the directory is ours");
            Stdio::from(file)
        };
        let spawned = self
            .command
            .stdin(Stdio::null())
            .stdout(output("stdout"))
            .stderr(output("stderr"))
            .spawn();
        match spawned {
            Ok(child) => Process {
                name,
                child,
                status: None,
                dir,
            },
            Err(error) => panic!("start {name}: {error}"),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.has_ended().is_none() {
            self.kill();
        }
        if std::thread::panicking() {
            crate::output::show(&format!(
                "{} wrote\n{}{}",
                self.name,
                self.stdout(),
                self.stderr()
            ));
        }
    }
}
