//! `overlay audit tail`: the last records and the next ones, with the chain checked as it goes.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::BufReader;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt;
use overlay_protocol::audit::Record;
use overlay_protocol::subject;
use overlay_tokens::audit::{Place, Verifier};
use serde_json::Value;

use super::select::Select;
use super::show;
use super::source::{FileLines, each_line};
use super::stream::Stream;
use super::verify::issuers;
use crate::app::App;
use crate::error::Failure;

/// Messages at the end of the stream that are looked at for the last records.
const LOOK_BACK: u64 = 200;
/// How often the stream is asked, should a message be lost on the way.
const LOOK_AROUND: Duration = Duration::from_secs(1);
/// How often a file is looked at.
const LOOK_AT_FILE: Duration = Duration::from_millis(200);

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  overlay audit tail                          the last ten records and what follows
  overlay audit tail --decision deny          what is denied, and why
  overlay audit tail --count 5                the newest five, or the next ones until there are five
  overlay audit tail --from audit.jsonl       a file that grows

The chain is checked as it goes; what does not fit is told on standard error, and the exit code is 1 then. Ends with
Ctrl-C.")]
pub(super) struct Args {
    /// Show so many of the last records first
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 10)]
    lines: usize,
    /// End after this many records
    #[arg(long, value_name = "COUNT")]
    count: Option<u64>,
    /// End with the last record there is
    #[arg(long)]
    no_follow: bool,
    #[command(flatten)]
    select: Select,
    /// Read this file instead of the stream
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
}

pub(super) async fn run(args: Args, app: &App) -> Result<(), Failure> {
    let mut tail = Tail {
        verifier: Verifier::new(issuers(app, None)?),
        last: Some(VecDeque::new()),
        shown: 0,
        faults: 0,
        now: crate::commands::now().secs,
        app,
        args: &args,
    };
    let followed = async {
        match &args.from {
            Some(path) => tail.follow_file(path).await,
            None => tail.follow_stream().await,
        }
    };
    tokio::select! {
        biased;
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        result = followed => result?,
    }
    match tail.faults {
        0 => Ok(()),
        faults => Err(
            Failure::new(format!("the record is not whole: {faults} faults"))
                .hint("overlay audit verify looks at all of it"),
        ),
    }
}

struct Tail<'a> {
    verifier: Verifier,
    /// The last records, until they are shown.
    last: Option<VecDeque<(Vec<u8>, Record)>>,
    shown: u64,
    faults: usize,
    now: i64,
    app: &'a App,
    args: &'a Args,
}

impl Tail<'_> {
    async fn follow_stream(&mut self) -> Result<(), Failure> {
        let stream = Stream::open(self.app).await?;
        let state = stream.state().await?;
        let mut live = stream
            .connection()
            .subscribe(subject::AUDIT_AAA.to_owned())
            .await?;
        let mut next = state.last.saturating_sub(LOOK_BACK).max(state.first).max(1);
        next = self.take_from(&stream, next).await?;
        self.show_last()?;
        let mut look_around = tokio::time::interval(LOOK_AROUND);
        while !self.is_done() && !self.args.no_follow {
            // what was published is a hint; what was stored is what counts
            tokio::select! {
                message = live.next() => if message.is_none() {
                    return Err(Failure::new("the connection to the broker is closed"));
                },
                _ = look_around.tick() => {
                    self.app.output.warn_of(&stream.connection().take_notices());
                }
            }
            next = self.take_from(&stream, next).await?;
        }
        Ok(())
    }

    /// Takes all messages from a sequence on; returns the sequence after them.
    async fn take_from(&mut self, stream: &Stream, mut next: u64) -> Result<u64, Failure> {
        loop {
            let found = stream.next(next).await?;
            let Some(last) = found.last().map(|lines| lines.sequence) else {
                return Ok(next);
            };
            for lines in found {
                each_line(lines.sequence, &lines.bytes, &mut |place, line| {
                    self.take(place, line)
                })?;
            }
            self.tell_faults();
            next = last + 1;
        }
    }

    async fn follow_file(&mut self, path: &Path) -> Result<(), Failure> {
        let about = || format!("cannot read {}", path.display());
        let open = || File::open(path).map_err(|error| Failure::from(error).context(about()));
        let mut file = open()?;
        let mut place = inode(&file.metadata()?);
        let mut reader = BufReader::new(file);
        let mut lines = FileLines::new(path);
        loop {
            while let Some((place, line)) = lines.next(&mut reader)? {
                self.take(place, line)?;
            }
            self.tell_faults();
            self.show_last()?;
            if self.is_done() || self.args.no_follow {
                return Ok(());
            }
            tokio::time::sleep(LOOK_AT_FILE).await;
            // a renamed file is read to its end before the next one
            if let Ok(found) = fs::metadata(path)
                && inode(&found) != place
                && lines.torn().is_none()
            {
                while let Some((place, line)) = lines.next(&mut reader)? {
                    self.take(place, line)?;
                }
                file = open()?;
                place = inode(&file.metadata()?);
                reader = BufReader::new(file);
                lines = FileLines::new(path);
            }
        }
    }

    fn take(&mut self, place: Place, line: &[u8]) -> Result<(), Failure> {
        self.verifier.line(place, line);
        let Ok(record) = Record::decode(line) else {
            return Ok(());
        };
        if !self.args.select.matches(&record, self.now) {
            return Ok(());
        }
        let Some(last) = &mut self.last else {
            return self.show(line, &record);
        };
        last.push_back((line.to_vec(), record));
        let most = self.args.count.map_or(self.args.lines, |count| {
            usize::try_from(count).map_or(self.args.lines, |count| count.min(self.args.lines))
        });
        if last.len() > most {
            last.pop_front();
        }
        Ok(())
    }

    /// Shows the last records that were there already, once.
    fn show_last(&mut self) -> Result<(), Failure> {
        for (line, record) in self.last.take().into_iter().flatten() {
            self.show(&line, &record)?;
        }
        Ok(())
    }

    fn show(&mut self, line: &[u8], record: &Record) -> Result<(), Failure> {
        if self.is_done() {
            return Ok(());
        }
        self.shown += 1;
        let output = &self.app.output;
        if output.is_json() {
            let value: Value = serde_json::from_slice(line)?;
            return output.json_line(&value);
        }
        output.line(show::line(self.app, record))
    }

    fn tell_faults(&mut self) {
        self.verifier.settle();
        for fault in self.verifier.take_faults() {
            self.faults += 1;
            self.app.output.warn(fault);
        }
    }

    fn is_done(&self) -> bool {
        self.args.count.is_some_and(|count| self.shown >= count)
    }
}

fn inode(metadata: &fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}
