//! One process for each question: the protocol of Choria's provisioner.
//!
//! The question is standard input, the answer standard output; exit code 0 says that it is one. Beyond the original the
//! process leads a group of its own, which is killed whole when the time is over, when it writes too much, and when the
//! process has ended but something that it started holds its output.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{ChildStdin, ChildStdout};

use super::group::{Group, describe};
use super::stderr::{self, Budget};
use super::{AskError, Bounds, HelperStartError};

/// How long after the end of the process others may hold its output.
const AFTER_EXIT: Duration = Duration::from_millis(200);

/// Lines of standard error that one run may log.
const STDERR: Budget = Budget {
    lines: 50,
    period: None,
};

/// Runs the helper.
#[derive(Debug)]
pub(super) struct Runner {
    command: Vec<String>,
    bounds: Bounds,
}

impl Runner {
    pub(super) fn new(command: &[String], bounds: Bounds) -> Result<Self, HelperStartError> {
        if command.is_empty() {
            return Err(HelperStartError::NoCommand);
        }
        Ok(Self {
            command: command.to_vec(),
            bounds,
        })
    }

    /// Runs it once.
    pub(super) async fn ask(&self, identity: &str, question: &[u8]) -> Result<Vec<u8>, AskError> {
        let (mut group, pipes) = Group::spawn(&self.command)?;
        let run = async {
            let mut output = Vec::new();
            let status = {
                let write = write(pipes.stdin, question);
                let read = read(pipes.stdout, &mut output, self.bounds.max_output);
                let told = stderr::log(pipes.stderr, identity, STDERR);
                // A fault of the output ends the talk at once.
                let talk = async {
                    let write = async {
                        write.await;
                        Ok(())
                    };
                    let told = async {
                        told.await;
                        Ok(())
                    };
                    tokio::try_join!(read, write, told).map(|_ended| ())
                };
                tokio::pin!(talk);
                tokio::select! {
                    // All pipes are closed: nothing can be said any more.
                    read = &mut talk => {
                        read?;
                        let status = group.wait().await?;
                        group.all_gone();
                        status
                    }
                    status = group.wait() => {
                        let status = status?;
                        // What the process wrote is in the pipe; others that hold it are not waited for long.
                        match tokio::time::timeout(AFTER_EXIT, &mut talk).await {
                            Ok(read) => {
                                read?;
                                group.all_gone();
                            }
                            Err(_) => {
                                tracing::warn!(identity, "what the helper started holds its output, and is killed");
                                group.kill();
                                group.all_gone();
                            }
                        }
                        status
                    }
                }
            };
            match (status.success(), output.is_empty()) {
                (false, _) => Err(AskError::Exit(describe(status))),
                (true, true) => Err(AskError::NoOutput),
                (true, false) => Ok(output),
            }
        };
        match tokio::time::timeout(self.bounds.limit, run).await {
            Ok(Err(fault @ AskError::TooMuchOutput { .. })) => {
                group.end().await;
                Err(fault)
            }
            Ok(outcome) => outcome,
            Err(_) => {
                group.end().await;
                Err(AskError::TimedOut(self.bounds.limit))
            }
        }
    }
}

/// Writes the question and closes; a helper need not read it.
async fn write(mut stdin: ChildStdin, question: &[u8]) {
    if let Err(error) = stdin.write_all(question).await
        && error.kind() != ErrorKind::BrokenPipe
    {
        tracing::debug!(%error, "the helper did not take its question");
    }
}

async fn read(
    mut stdout: ChildStdout,
    output: &mut Vec<u8>,
    max_output: usize,
) -> Result<(), AskError> {
    let mut chunk = vec![0; 16 * 1024];
    loop {
        let read = stdout
            .read(&mut chunk)
            .await
            .map_err(|error| AskError::Exit(format!("unreadable output: {error}")))?;
        if read == 0 {
            return Ok(());
        }
        if output.len() + read > max_output {
            return Err(AskError::TooMuchOutput { limit: max_output });
        }
        output.extend_from_slice(chunk.get(..read).unwrap_or_default());
    }
}
