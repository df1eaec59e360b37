//! Messages that the target refused, and that were kept aside.

use clap::Subcommand;
use overlay_protocol::replication::control::{
    DoneReply, Letter, LetterReply, LetterRequest, LettersReply, LettersRequest, MAX_LETTERS, name,
};
use serde_json::json;

use super::control::{Control, Reach, Workers};
use crate::app::App;
use crate::error::Failure;
use crate::text;

/// Lists are read in pages; more than the stream of such messages ever has.
const MAX_LISTED: usize = 1_000_000;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List messages that were kept aside, and why
    #[command(visible_alias = "ls")]
    List(List),
    /// Show a message: headers and body
    Show(One),
    /// Publish messages anew at the source, as if they had just come, and no longer keep them aside
    Retry(Several),
    /// Give messages up: they are deleted
    Drop(Several),
}

#[derive(Debug, clap::Args)]
struct List {
    /// Only of these workers: STREAM or STREAM/WORKER
    #[arg(value_name = "WORKER")]
    workers: Option<Workers>,
    /// List so many at most
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, clap::Args)]
struct One {
    /// The worker: STREAM/WORKER
    #[arg(value_name = "WORKER")]
    workers: Workers,
    /// Number of the message, as the list has it
    #[arg(value_name = "NUMBER")]
    number: u64,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, clap::Args)]
struct Several {
    /// The worker: STREAM/WORKER
    #[arg(value_name = "WORKER")]
    workers: Workers,
    /// Numbers of the messages, as the list has them
    #[arg(value_name = "NUMBER", required_unless_present = "all")]
    numbers: Vec<u64>,
    /// All that the worker has kept aside
    #[arg(long, conflicts_with = "numbers")]
    all: bool,
    #[command(flatten)]
    reach: Reach,
}

pub(super) async fn run(args: Args, app: &App) -> Result<(), Failure> {
    match args.verb {
        Verb::List(args) => list(args, app).await,
        Verb::Show(args) => show(args, app).await,
        Verb::Retry(args) => several(args, name::RETRY, app).await,
        Verb::Drop(args) => several(args, name::DROP, app).await,
    }
}

async fn list(args: List, app: &App) -> Result<(), Failure> {
    let control = Control::open(app, &args.reach).await?;
    let wanted = args.limit.unwrap_or(MAX_LISTED);
    let letters = pages(&control, &args.reach, args.workers.as_ref(), wanted).await?;
    if app.output.is_json() {
        return app.output.json(&letters);
    }
    if letters.is_empty() {
        return app.output.line("No messages were kept aside");
    }
    let mut table = text::table(&[
        "Number", "Worker", "Sequence", "Subject", "Bytes", "Time", "Reason",
    ]);
    for letter in &letters {
        table.add_row([
            letter.number.to_string(),
            text::visible(&format!("{}/{}", letter.stream, letter.worker)),
            letter.sequence.to_string(),
            text::visible(&letter.subject),
            letter.bytes.to_string(),
            text::visible(&letter.at),
            text::visible(&letter.reason),
        ]);
    }
    app.output.line(table)
}

/// All messages, page after page. Replicas that lead other workers have other streams, so each is asked behind its last.
async fn pages(
    control: &Control<'_>,
    reach: &Reach,
    workers: Option<&Workers>,
    wanted: usize,
) -> Result<Vec<Letter>, Failure> {
    let mut request = LettersRequest {
        selection: reach.selection(workers),
        after: 0,
        limit: wanted.min(MAX_LETTERS),
    };
    let first: Vec<LettersReply> = control.ask(name::DEAD_LETTERS, &request).await?;
    let mut letters = Vec::new();
    for mut reply in first {
        loop {
            let last = reply.letters.last().map(|letter| letter.number);
            letters.append(&mut reply.letters);
            let (true, Some(last)) = (reply.more && letters.len() < wanted, last) else {
                break;
            };
            request.after = last;
            let instance = &reply.replica.instance;
            let page: Vec<LettersReply> = control.ask(name::DEAD_LETTERS, &request).await?;
            let next = page
                .into_iter()
                .find(|page| page.replica.instance == *instance);
            match next {
                Some(next) => reply = next,
                None => break,
            }
        }
    }
    letters.truncate(wanted);
    Ok(letters)
}

async fn show(args: One, app: &App) -> Result<(), Failure> {
    let control = Control::open(app, &args.reach).await?;
    let request = LetterRequest {
        selection: args.reach.selection(Some(&args.workers)),
        number: args.number,
    };
    let replies: Vec<LetterReply> = control.ask(name::DEAD_LETTER, &request).await?;
    let Some(reply) = replies.into_iter().next() else {
        return Err(Failure::new("no replicator has such a message"));
    };
    if app.output.is_json() {
        return app.output.json(&reply);
    }
    let letter = &reply.letter;
    let mut shown = format!(
        "  Subject: {}\n Sequence: {}\n     Time: {}\n   Reason: {}\n    Bytes: {}\n",
        letter.subject, letter.sequence, letter.at, letter.reason, letter.bytes
    );
    for (name, values) in &reply.headers {
        for value in values {
            shown.push_str(&format!("   Header: {name}: {value}\n"));
        }
    }
    app.output.text(text::visible(&shown))?;
    match std::str::from_utf8(&reply.body) {
        Ok(body) => app.output.text(format!("\n{}\n", text::visible(body))),
        Err(_) => app
            .output
            .text(format!("\n{}\n", data_encoding::BASE64.encode(&reply.body))),
    }
}

async fn several(args: Several, action: &str, app: &App) -> Result<(), Failure> {
    let control = Control::open(app, &args.reach).await?.quietly();
    let numbers = if args.all {
        let all = pages(&control, &args.reach, Some(&args.workers), MAX_LISTED).await?;
        all.into_iter().map(|letter| letter.number).collect()
    } else {
        args.numbers
    };
    if numbers.is_empty() {
        return app.output.line("No messages were kept aside");
    }
    let bar = app.output.progress(numbers.len());
    let mut results = Vec::new();
    let mut failed = 0_usize;
    for number in numbers {
        let request = LetterRequest {
            selection: args.reach.selection(Some(&args.workers)),
            number,
        };
        let asked: Result<Vec<DoneReply>, Failure> = control.ask(action, &request).await;
        bar.step();
        let (ok, said) = match asked {
            Ok(replies) => {
                let said = replies.first().map(|reply| text::visible(&reply.message));
                (true, said.unwrap_or_default())
            }
            Err(failure) => {
                failed += 1;
                (false, failure.line())
            }
        };
        results.push(json!({ "number": number, "ok": ok, "message": said }));
        if !app.output.is_json() {
            let sign = if ok { '✓' } else { '✗' };
            app.output.line(format!("{sign} {number}: {said}"))?;
        }
    }
    drop(bar);
    if app.output.is_json() {
        app.output.json(&results)?;
    }
    if failed == 0 {
        return Ok(());
    }
    Err(Failure::new(format!(
        "{failed} of {} messages: {action} was refused",
        results.len()
    )))
}
