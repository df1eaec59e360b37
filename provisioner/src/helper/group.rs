//! A helper's process with everything that it started.

use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

use super::AskError;

/// Variables of our own service manager: a helper that used them would speak for us.
const NOT_INHERITED: [&str; 4] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "CREDENTIALS_DIRECTORY",
];

/// A process at the head of a group of its own; the group is killed when this is dropped.
#[derive(Debug)]
pub(super) struct Group {
    child: Child,
    leader: Option<Pid>,
    /// Whether the leader was reaped and nobody was seen to be left: its number may be another's by now.
    gone: bool,
}

/// The ends of its pipes that are ours.
#[derive(Debug)]
pub(super) struct Pipes {
    pub(super) stdin: ChildStdin,
    pub(super) stdout: ChildStdout,
    pub(super) stderr: ChildStderr,
}

impl Group {
    /// Starts program and arguments.
    pub(super) fn spawn(command: &[String]) -> Result<(Self, Pipes), AskError> {
        let [program, arguments @ ..] = command else {
            return Err(AskError::Start("the command is empty".to_owned()));
        };
        let failed = |error: std::io::Error| AskError::Start(format!("{program}: {error}"));
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        for name in NOT_INHERITED {
            command.env_remove(name);
        }
        let mut child = command.spawn().map_err(failed)?;
        let leader = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let group = Self {
            child,
            leader,
            gone: false,
        };
        match pipes {
            (Some(stdin), Some(stdout), Some(stderr)) => Ok((
                group,
                Pipes {
                    stdin,
                    stdout,
                    stderr,
                },
            )),
            (_, _, _) => Err(AskError::Start(format!("{program}: it has no pipes"))),
        }
    }

    /// Waits for the end of the leader, and reaps it. Dropping the future loses nothing.
    pub(super) async fn wait(&mut self) -> Result<ExitStatus, AskError> {
        self.child
            .wait()
            .await
            .map_err(|error| AskError::Exit(format!("an unknown status: {error}")))
    }

    /// Kills whoever of the group is left.
    pub(super) fn kill(&mut self) {
        if self.gone {
            return;
        }
        if let Some(leader) = self.leader
            && let Err(error) = kill_process_group(leader, Signal::KILL)
            && error != rustix::io::Errno::SRCH
        {
            tracing::warn!(%error, "a helper's processes could not be killed");
        }
    }

    /// Kills the group and reaps its leader.
    pub(super) async fn end(mut self) {
        self.kill();
        if let Err(error) = self.child.wait().await {
            tracing::debug!(%error, "a helper's process was not reaped");
        }
        self.gone = true;
    }

    /// Notes that the leader was reaped while its pipes were closed: nobody is left to kill.
    pub(super) fn all_gone(&mut self) {
        self.gone = true;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// An exit status in words that fit after "ended with".
pub(super) fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown status".to_owned(),
    }
}
