//! Questions to the person at the terminal.

use std::fs::{File, OpenOptions};
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::os::fd::AsFd as _;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr, ttyname};
use zeroize::Zeroizing;

use crate::error::Failure;

/// Terminals hand over no longer lines than this.
const MAX_LINE_BYTES: usize = 4096;

/// Asks for a line; an empty one means the default.
pub(crate) async fn line(question: &str, default: Option<&str>) -> Result<String, Failure> {
    let mut terminal = Terminal::open()?;
    let shown = match default {
        Some(default) => format!("{} [{default}]: ", question.trim_end_matches(": ")),
        None => question.to_owned(),
    };
    let answer = terminal.ask(&shown).await?;
    match (answer.trim(), default) {
        ("", Some(default)) => Ok(default.to_owned()),
        (answer, _) => Ok(answer.to_owned()),
    }
}

/// Asks for a line that is not shown while it is typed.
pub(crate) async fn hidden(question: &str) -> Result<Zeroizing<String>, Failure> {
    let mut terminal = Terminal::open()?;
    let quiet = Quiet::new(&terminal.input)?;
    let answer = terminal.ask(question).await;
    drop(quiet);
    answer
}

/// The terminal that standard input is.
struct Terminal {
    input: File,
    output: File,
}

/// A terminal that does not show what is typed, until dropped.
struct Quiet {
    terminal: File,
    before: Termios,
}

impl Terminal {
    fn open() -> Result<Self, Failure> {
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            return Err(Failure::usage("there is no terminal to ask on"));
        }
        let input = File::from(stdin.as_fd().try_clone_to_owned()?);
        // Standard input may be open for reading only; standard error may lead elsewhere.
        let named = ttyname(&input, Vec::new()).ok().and_then(|name| {
            let name = name.into_string().ok()?;
            OpenOptions::new().write(true).open(name).ok()
        });
        let output = match named {
            Some(output) => output,
            None => input.try_clone()?,
        };
        Ok(Self { input, output })
    }

    /// Shows the question and waits for a line. Ctrl-C ends the waiting.
    async fn ask(&mut self, question: &str) -> Result<Zeroizing<String>, Failure> {
        self.output.write_all(question.as_bytes())?;
        self.output.flush()?;
        let mut input = self.input.try_clone()?;
        let reading = tokio::task::spawn_blocking(move || read_line(&mut input));
        tokio::select! {
            line = reading => line?,
            interrupted = tokio::signal::ctrl_c() => {
                interrupted?;
                self.output.write_all(b"\n")?;
                Err(Failure::new("interrupted"))
            }
        }
    }
}

/// Reads up to the end of the line. A terminal hands over one line at a time, so nothing of the next is lost.
fn read_line(input: &mut File) -> Result<Zeroizing<String>, Failure> {
    let mut bytes = Zeroizing::new(vec![0_u8; MAX_LINE_BYTES]);
    let mut filled = 0;
    while filled < bytes.len() {
        let Some(room) = bytes.get_mut(filled..) else {
            break;
        };
        let read = input.read(room)?;
        filled += read;
        let is_whole = bytes
            .get(..filled)
            .is_some_and(|line| line.ends_with(b"\n"));
        if read == 0 || is_whole {
            break;
        }
    }
    if filled == 0 {
        return Err(Failure::new("the terminal was closed before an answer"));
    }
    let line = std::str::from_utf8(bytes.get(..filled).unwrap_or_default())?;
    Ok(Zeroizing::new(
        line.trim_end_matches(['\r', '\n']).to_owned(),
    ))
}

impl Quiet {
    fn new(terminal: &File) -> Result<Self, Failure> {
        let before = tcgetattr(terminal)?;
        let mut modes = before.clone();
        modes.local_modes.remove(LocalModes::ECHO);
        // The line's end is still shown: what follows begins on a line of its own.
        modes.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(terminal, OptionalActions::Flush, &modes)?;
        Ok(Self {
            terminal: terminal.try_clone()?,
            before,
        })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // Nothing can be done about a terminal that went away.
        tcsetattr(&self.terminal, OptionalActions::Now, &self.before).ok();
    }
}
