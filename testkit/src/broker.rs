//! A real nats-server that lives as long as its value.

mod cluster;
mod config;

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use serde_json::Value;
use tempfile::TempDir;

use crate::eventually::poll_blocking;
use crate::nats_server::{self, NatsServer, Version};

pub use cluster::Cluster;
pub use config::{Builder, TlsFiles};

use config::Ports;

const START_LIMIT: Duration = Duration::from_secs(20);
const STOP_LIMIT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(10);
/// Another process may be quicker at a port that was free.
const ATTEMPTS: usize = 3;
/// Lines of the log shown when a test fails.
const SHOWN_LINES: usize = 60;

/// A real nats-server on free ports of 127.0.0.1; killed when dropped.
///
/// Its files are removed with it, unless the thread is panicking: then the end of the log is
/// printed and the files stay.
#[derive(Debug)]
pub struct Broker {
    settings: Builder,
    program: NatsServer,
    ports: Ports,
    /// `None` while the broker is down.
    child: Option<Child>,
    dir: Option<TempDir>,
    path: PathBuf,
}

impl Broker {
    /// Begins to describe a broker.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Starts a broker without JetStream, TLS or accounts.
    ///
    /// # Panics
    ///
    /// When it does not come up.
    #[track_caller]
    pub fn plain() -> Self {
        Self::builder().start()
    }

    fn launch(settings: Builder) -> Result<Self, String> {
        let program = match &settings.program {
            Some(program) => program.clone(),
            None => nats_server::locate().map_err(|error| error.to_string())?,
        };
        let dir = tempfile::Builder::new()
            .prefix("overlay-broker-")
            .tempdir()
            .map_err(|error| format!("make a directory for the broker: {error}"))?;
        let mut broker = Self {
            path: dir.path().to_path_buf(),
            settings,
            program,
            ports: Ports::free(),
            child: None,
            dir: Some(dir),
        };
        for _ in 1..ATTEMPTS {
            match broker.try_start_again() {
                Err(reason) if reason.contains("address already in use") => {
                    broker.child = None;
                    broker.ports = Ports::free();
                }
                started => return started.map(|()| broker),
            }
        }
        broker.try_start_again()?;
        Ok(broker)
    }

    /// Version of the running program.
    pub fn version(&self) -> Version {
        self.program.version
    }

    /// The URL for clients: `nats://127.0.0.1:PORT`, or `tls://localhost:PORT` with TLS.
    pub fn url(&self) -> String {
        let port = self.port();
        if self.settings.tls.is_some() {
            format!("tls://localhost:{port}")
        } else {
            format!("nats://127.0.0.1:{port}")
        }
    }

    /// The port for clients; it stays over restarts.
    pub fn port(&self) -> u16 {
        self.ports.client
    }

    /// The URL of the websocket listener, if there is one.
    pub fn websocket_url(&self) -> Option<String> {
        if !self.settings.websocket {
            return None;
        }
        let port = self.ports.websocket;
        Some(if self.settings.tls.is_some() {
            format!("wss://localhost:{port}")
        } else {
            format!("ws://127.0.0.1:{port}")
        })
    }

    /// The port of nats-server's HTTP monitoring.
    pub fn monitoring_port(&self) -> u16 {
        self.ports.monitoring
    }

    /// Fetches a page of nats-server's HTTP monitoring, such as `/varz` or `/connz?auth=1`.
    ///
    /// # Panics
    ///
    /// When there is no answer, or none in JSON.
    #[track_caller]
    pub fn monitoring(&self, page: &str) -> Value {
        match crate::http::get_ok(self.monitoring_port(), page) {
            Ok(body) => match serde_json::from_str(&body) {
                Ok(value) => value,
                Err(error) => panic!("monitoring page {page}: {error}: {body}"),
            },
            Err(error) => panic!("monitoring page {page}: {error}"),
        }
    }

    /// The process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// The directory with configuration, log, ports file and store.
    pub fn dir(&self) -> &Path {
        &self.path
    }

    /// The path of the configuration file.
    pub fn config_path(&self) -> PathBuf {
        self.path.join("nats-server.conf")
    }

    /// The whole log so far, over all starts.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.path.join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Ends the broker with SIGTERM and waits for its exit.
    ///
    /// # Panics
    ///
    /// When it does not exit in time.
    #[track_caller]
    pub fn stop(&mut self) -> Option<ExitStatus> {
        self.signal(Signal::TERM);
        self.reap()
    }

    /// Ends the broker with SIGKILL and waits for its exit.
    ///
    /// # Panics
    ///
    /// When it does not exit in time.
    #[track_caller]
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        if let Some(status) = self.reap() {
            debug_assert_eq!(status.signal(), Some(Signal::KILL.as_raw()));
        }
    }

    /// Freezes the process with SIGSTOP, and waits until all its threads stand still.
    ///
    /// # Panics
    ///
    /// When it does not stand still in time.
    #[track_caller]
    pub fn pause(&self) {
        self.signal(Signal::STOP);
        let options = WaitOptions::UNTRACED | WaitOptions::NOHANG;
        let stopped = poll_blocking(STOP_LIMIT, POLL, || {
            let status = waitpid(self.raw_pid(), options).ok().flatten();
            status.is_some_and(|(_, status)| status.stopped())
        });
        assert!(stopped.is_ok(), "nats-server did not stand still in time");
    }

    /// Lets a frozen process go on (SIGCONT).
    pub fn unpause(&self) {
        self.signal(Signal::CONT);
    }

    /// Tells the broker to move its clients away and to end (SIGUSR2).
    pub fn lame_duck(&self) {
        self.signal(Signal::USR2);
    }

    /// Starts the broker again on the same ports, with the same store.
    ///
    /// # Panics
    ///
    /// When it runs already, or does not come up.
    #[track_caller]
    pub fn start_again(&mut self) {
        if let Err(reason) = self.try_start_again() {
            panic!("{reason}");
        }
    }

    /// Stops and starts the broker.
    ///
    /// # Panics
    ///
    /// When it does not exit in time or does not come up again.
    #[track_caller]
    pub fn restart(&mut self) {
        self.stop();
        self.start_again();
    }

    /// Replaces the text that [`Builder::config`] gave; takes effect at a start or a reload.
    ///
    /// # Panics
    ///
    /// When the file cannot be written.
    #[track_caller]
    pub fn set_config(&mut self, text: impl Into<String>) {
        self.settings.extra = text.into();
        if let Err(reason) = self.write_config() {
            panic!("{reason}");
        }
    }

    /// Makes the broker read its configuration again (SIGHUP), and waits for its verdict.
    ///
    /// # Errors
    ///
    /// The broker's own words when it refuses the new configuration.
    pub fn reload(&self) -> Result<(), String> {
        let before = self.log().len();
        self.signal(Signal::HUP);
        poll_blocking(START_LIMIT, POLL, || {
            let log = self.log();
            let news = log.get(before..).unwrap_or_default();
            if news.contains("Reloaded server configuration") {
                return Some(Ok(()));
            }
            news.lines()
                .find(|line| line.contains("Failed to reload"))
                .map(|line| Err(line.to_owned()))
        })
        .unwrap_or_else(|_| Err(format!("no word of a reload within {START_LIMIT:?}")))
    }

    fn write_config(&self) -> Result<(), String> {
        let text = self.settings.text(&self.path, self.ports);
        fs::write(self.config_path(), text)
            .map_err(|error| format!("write the broker's configuration: {error}"))
    }

    fn try_start_again(&mut self) -> Result<(), String> {
        if self.child.is_some() {
            return Err("the broker runs already".to_owned());
        }
        self.write_config()?;
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.path.join("log"))
            .map_err(|error| format!("open the broker's log: {error}"))?;
        let child = Command::new(&self.program.path)
            .arg("--config")
            .arg(self.config_path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|error| format!("start {}: {error}", self.program.path.display()))?;
        let ports_file = self.path.join(format!("nats-server_{}.ports", child.id()));
        // A link or a copy may have another name, and the ports file is named after it.
        let named = self.path.join(format!(
            "{}_{}.ports",
            file_name(&self.program.path),
            child.id()
        ));
        self.child = Some(child);
        let ready = poll_blocking(START_LIMIT, POLL, || {
            if let Some(Ok(Some(status))) = self.child.as_mut().map(Child::try_wait) {
                return Some(Err(format!("nats-server ended: {status}")));
            }
            (is_written(&ports_file) || is_written(&named)).then_some(Ok(()))
        });
        match ready {
            Ok(Ok(())) => Ok(()),
            Ok(Err(reason)) => Err(self.with_log(&reason)),
            Err(_) => Err(self.with_log(&format!("no ports file within {START_LIMIT:?}"))),
        }
    }

    fn with_log(&self, reason: &str) -> String {
        format!("{reason}\n{}", self.log_tail())
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let first = lines.len().saturating_sub(SHOWN_LINES);
        lines.get(first..).unwrap_or_default().join("\n")
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.raw_pid() {
            // A process that has just ended by itself is not a fault here: whoever waits sees it.
            let _ended = kill_process(pid, signal);
        }
    }

    fn raw_pid(&self) -> Option<Pid> {
        i32::try_from(self.pid()?).ok().and_then(Pid::from_raw)
    }

    #[track_caller]
    fn reap(&mut self) -> Option<ExitStatus> {
        let mut child = self.child.take()?;
        let status = poll_blocking(STOP_LIMIT, POLL, || child.try_wait().ok().flatten());
        match status {
            Ok(status) => Some(status),
            Err(_) => {
                drop(child.kill());
                drop(child.wait());
                panic!("{}", self.with_log("nats-server did not end in time"));
            }
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
        if std::thread::panicking()
            && let Some(dir) = self.dir.take()
        {
            let path = dir.keep();
            crate::output::show(&format!(
                "end of the broker's log (whole in {}):\n{}",
                path.display(),
                self.log_tail()
            ));
        }
    }
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// nats-server writes its ports when it listens at all of them.
fn is_written(ports_file: &Path) -> bool {
    fs::read(ports_file).is_ok_and(|text| serde_json::from_slice::<Value>(&text).is_ok())
}
