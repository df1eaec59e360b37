//! A program that believes to sit at a terminal.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::eventually::poll_blocking;

const PERIOD: Duration = Duration::from_millis(10);

/// A running program whose input and output is a pseudo-terminal; killed when dropped.
#[derive(Debug)]
pub struct Pty {
    child: Child,
    terminal: File,
    shown: Arc<Mutex<Vec<u8>>>,
    /// What was shown up to here has been expected.
    seen: usize,
    reader: Option<JoinHandle<()>>,
}

impl Pty {
    /// Starts a command at a terminal of its own.
    ///
    /// # Panics
    ///
    /// When there is no terminal to be had, or the program cannot be started.
    pub fn start(mut command: Command) -> Self {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo-terminal");
        grantpt(&terminal).expect("the pseudo-terminal is ours");
        unlockpt(&terminal).expect("the pseudo-terminal opens");
        let name = ptsname(&terminal, Vec::new()).expect("the pseudo-terminal has a name");
        let name = name.to_str().expect("its name is text");
        let theirs = OpenOptions::new()
            .read(true)
            .write(true)
            .open(name)
            .expect("the other end opens");
        let end = || {
            Stdio::from(OwnedFd::from(
                theirs.try_clone().expect("a copy of the end"),
            ))
        };
        let child = command
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .expect("the program starts");
        // Only the program holds the other end now: the reader ends with it.
        drop((command, theirs));
        let terminal = File::from(terminal);
        let shown = Arc::new(Mutex::new(Vec::new()));
        let reader = {
            let (mut from, to) = (terminal.try_clone().expect("a copy"), Arc::clone(&shown));
            std::thread::spawn(move || {
                let mut bytes = [0; 1024];
                while let Ok(read @ 1..) = from.read(&mut bytes) {
                    to.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .extend_from_slice(&bytes[..read]);
                }
            })
        };
        Self {
            child,
            terminal,
            shown,
            seen: 0,
            reader: Some(reader),
        }
    }

    /// The process id of the program.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the program shows `text`, after what was expected before.
    ///
    /// # Panics
    ///
    /// When it does not within `limit`.
    #[track_caller]
    pub fn expect(&mut self, text: &str, limit: Duration) {
        let found = poll_blocking(limit, PERIOD, || {
            let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
            let new = shown.get(self.seen..).unwrap_or_default();
            let at = new
                .windows(text.len().max(1))
                .position(|part| part == text.as_bytes());
            at.map(|at| at + text.len())
                .ok_or_else(|| String::from_utf8_lossy(new).into_owned())
        });
        match found {
            Ok(end) => self.seen += end,
            Err(shown) => panic!("{text:?} was not shown within {limit:?}: {shown:?}"),
        }
    }

    /// Types a line.
    ///
    /// # Panics
    ///
    /// When the program has gone.
    #[track_caller]
    pub fn send(&mut self, line: &str) {
        self.terminal
            .write_all(format!("{line}\n").as_bytes())
            .expect("somebody reads what is typed");
    }

    /// Everything that was shown so far, what was typed with echo included.
    pub fn shown(&self) -> String {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&shown).replace("\r\n", "\n")
    }

    /// Waits for the program's end, and returns how it ended and everything that was shown.
    ///
    /// # Panics
    ///
    /// When it does not end within `limit`.
    #[track_caller]
    pub fn wait(mut self, limit: Duration) -> (ExitStatus, String) {
        let ended = poll_blocking(limit, PERIOD, || {
            self.child
                .try_wait()
                .expect("the program can be waited for")
                .ok_or("it runs")
        });
        let Ok(status) = ended else {
            panic!("the program does not end: {:?}", self.shown());
        };
        // With the program the last holder of the other end has gone, and what it wrote has been read.
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the reader ends");
        }
        (status, self.shown())
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    #[test]
    fn a_program_at_a_terminal_is_asked_and_answered() {
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "test -t 0 && printf 'Name: ' && read name && stty -echo && printf 'Word: ' && read word && \
             stty echo && echo && echo \"$name knows ${#word} letters\"",
        ]);
        let mut pty = Pty::start(command);
        pty.expect("Name: ", LIMIT);
        pty.send("bob");
        pty.expect("Word: ", LIMIT);
        pty.send("secret");
        let (status, shown) = pty.wait(LIMIT);
        assert!(status.success(), "{shown}");
        assert!(shown.contains("bob knows 6 letters"), "{shown}");
        assert!(!shown.contains("secret"), "{shown}");
    }
}
