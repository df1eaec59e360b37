//! `overlay audit search`: records that are meant, oldest first.

use overlay_protocol::audit::Record;
use overlay_tokens::audit::Verifier;
use serde_json::Value;

use super::select::{Select, has_text};
use super::show;
use super::source::From;
use super::verify::issuers;
use crate::app::App;
use crate::error::Failure;
use crate::output::pretty;

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  overlay audit search --caller up=bob --since 2h
  overlay audit search --decision deny --json | jq -r '.[].data.decision.reason' | sort | uniq -c
  overlay audit search --agent package --action 'inst*' --tenant acme
  overlay audit search --request 2ecvzXAzWRTIbJ5YMQTXGLJmC8V
  overlay audit search httpd --from /var/lib/overlay-aaa-signer/audit.jsonl

A record that is not whole is said on standard error; overlay audit verify tells where.")]
pub(super) struct Args {
    /// A text in the record or in the message of its request, in letters of any case
    #[arg(value_name = "TEXT")]
    text: Option<String>,
    #[command(flatten)]
    select: Select,
    /// Show the last ones only
    #[arg(long, value_name = "COUNT")]
    last: Option<usize>,
    #[command(flatten)]
    from: From,
}

pub(super) async fn run(args: Args, app: &App) -> Result<(), Failure> {
    let now = crate::commands::now().secs;
    let mut verifier = Verifier::new(issuers(app, None)?);
    let mut results = Results::new(app, args.last);
    args.from
        .read(app, |place, line| {
            verifier.line(place, line);
            // what is no record is told below
            let Ok(record) = Record::decode(line) else {
                return Ok(());
            };
            let is_meant = args.select.matches(&record, now)
                && args
                    .text
                    .as_ref()
                    .is_none_or(|text| has_text(line, &record, text));
            if is_meant {
                return results.add(line, &record);
            }
            Ok(())
        })
        .await?;
    results.end()?;
    let faults = verifier.finish().faults.len();
    if faults > 0 {
        app.output.warn(format_args!(
            "the record is not whole ({faults} faults): see overlay audit verify"
        ));
    }
    Ok(())
}

/// Shows records as they are found, or the last ones at the end.
struct Results<'a> {
    app: &'a App,
    last: Option<usize>,
    kept: std::collections::VecDeque<String>,
    shown: u64,
}

impl<'a> Results<'a> {
    fn new(app: &'a App, last: Option<usize>) -> Self {
        Self {
            app,
            last,
            kept: std::collections::VecDeque::new(),
            shown: 0,
        }
    }

    fn add(&mut self, line: &[u8], record: &Record) -> Result<(), Failure> {
        let text = if self.app.output.is_json() {
            let value: Value = serde_json::from_slice(line)?;
            pretty(&value, b"  ")?.replace('\n', "\n  ")
        } else {
            show::line(self.app, record)
        };
        let Some(last) = self.last else {
            return self.show(&text);
        };
        self.kept.push_back(text);
        if self.kept.len() > last {
            self.kept.pop_front();
        }
        Ok(())
    }

    fn show(&mut self, text: &str) -> Result<(), Failure> {
        let is_first = self.shown == 0;
        self.shown += 1;
        if self.app.output.is_json() {
            let before = if is_first { "[\n  " } else { ",\n  " };
            return self.app.output.text(format_args!("{before}{text}"));
        }
        self.app.output.line(text)
    }

    fn end(&mut self) -> Result<(), Failure> {
        for text in std::mem::take(&mut self.kept) {
            self.show(&text)?;
        }
        if self.app.output.is_json() {
            return self
                .app
                .output
                .line(if self.shown == 0 { "[]" } else { "\n]" });
        }
        if self.shown == 0 {
            self.app.output.note("No such records");
        }
        Ok(())
    }
}
