//! `overlay audit verify`: whether anything was changed, removed, moved or cut off, and where.

use std::fs;
use std::path::{Path, PathBuf};

use overlay_protocol::audit::Head;
use overlay_tokens::audit::{ChainVerdict, Fault, FaultKind, Place, SignedHead, Verdict, Verifier};
use overlay_tokens::{Issuers, PublicKey, file};
use serde::Serialize;
use serde_json::json;

use super::source::{From, Read};
use super::stream::State;
use crate::app::App;
use crate::error::{Failure, Hint};
use crate::output::Color;
use crate::text::visible;

/// A service without work signs its chain each hour; twice that long, in seconds, nothing may have been recorded.
const PAUSE: i64 = 7200;

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  overlay audit verify                                  the stream
  overlay audit verify audit.jsonl.1 audit.jsonl        files, in their order
  overlay audit verify audit.jsonl --issuer 8a88e3…     without a configuration, anywhere
  overlay audit verify --expect aaa-1.lhr:120:5f2c…     what was noted earlier must be there

Each record names the hash of the one before, and the service signs the chain from time to time. A changed, removed or
moved record is found by that, and named. A beginning of the stream that is gone before its time is told. A cut end is found by what lies elsewhere: the head that the service or an
export keeps beside a file (FILE.head), the last sequence of the stream, or --expect. Exit code 1 when anything is wrong.")]
pub(super) struct Args {
    /// Files, in the order in which they were written; without any, the stream
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Public key of the organisation's issuer, or a file that holds it; else those of the configuration
    #[arg(long, value_name = "KEY")]
    issuer: Option<String>,
    /// A record that must be there: CHAIN:NUMBER:HASH, as an earlier verification told
    #[arg(long, value_name = "RECORD", value_parser = expectation)]
    expect: Vec<Expectation>,
    /// Each chain must be there from its first record on
    #[arg(long)]
    complete: bool,
    /// The stream may begin later than its age explains: after a long pause, or when the record was kept elsewhere before
    #[arg(long, conflicts_with_all = ["files", "complete"])]
    partial: bool,
}

#[derive(Debug, Clone)]
struct Expectation {
    chain: String,
    head: Head,
}

fn expectation(text: &str) -> Result<Expectation, String> {
    let mut parts = text.rsplitn(3, ':');
    let (hash, number, chain) = (parts.next(), parts.next(), parts.next());
    let head = number.zip(hash).and_then(|(number, hash)| {
        Some(Head {
            sequence: number.parse().ok()?,
            hash: hash.parse().ok()?,
        })
    });
    match (chain, head) {
        (Some(chain), Some(head)) if !chain.is_empty() => Ok(Expectation {
            chain: chain.to_owned(),
            head,
        }),
        (Some(_) | None, _) => Err("not CHAIN:NUMBER:HASH".to_owned()),
    }
}

pub(super) async fn run(args: Args, app: &App) -> Result<(), Failure> {
    let issuers = issuers(app, args.issuer.as_deref())?;
    let is_offline = !args.files.is_empty();
    if issuers.is_none() && !is_offline {
        app.output.warn(
            "no issuer is known, so that signatures are not checked: set `issuers` in the configuration",
        );
    }
    let mut verifier = Verifier::new(issuers);
    if args.complete {
        verifier.expect_begins();
    }
    let mut heads = Heads::default();
    for Expectation { chain, head } in args.expect {
        heads.0.push(Known {
            chain: chain.clone(),
            sequence: head.sequence,
            from: "--expect".to_owned(),
            signed: false,
        });
        verifier.expect(chain, head);
    }
    for path in &args.files {
        heads.read(path, &mut verifier);
    }
    let from = From { files: args.files };
    let read = from
        .read(app, |place, line| {
            verifier.line(place, line);
            Ok(())
        })
        .await?;
    let state = read.stream.as_ref().map(|(state, _last)| *state);
    let is_emptied = look_at_end(read, &mut verifier, app);
    let mut verdict = verifier.finish();
    if let Some(state) = state
        && !args.complete
        && !args.partial
        && !is_emptied
    {
        look_at_beginning(state, crate::commands::now().secs, &mut verdict);
    }
    if app.output.is_json() {
        let mut value = serde_json::to_value(&verdict)?;
        if let Some(members) = value.as_object_mut() {
            members.insert("whole".to_owned(), json!(verdict.is_whole()));
            members.insert("known_ends".to_owned(), json!(heads.0));
        }
        app.output.json(&value)?;
    } else {
        show(&verdict, is_offline.then_some(&heads), app)?;
    }
    let faults = u64::try_from(verdict.faults.len()).unwrap_or(u64::MAX) + verdict.more_faults;
    match faults {
        0 => Ok(()),
        1 => Err(Failure::new("the record is not whole: 1 fault")),
        _ => Err(Failure::new(format!(
            "the record is not whole: {faults} faults"
        ))),
    }
}

/// Whom to trust: the given issuer, else those of the configuration, if there is one.
pub(super) fn issuers(app: &App, given: Option<&str>) -> Result<Option<Issuers>, Failure> {
    let Some(given) = given else {
        let config = app.config();
        return match config {
            Ok(config) => Ok(config.issuers),
            // with a file at hand nothing of it is needed
            Err(failure) if app.global.config.is_some() => Err(failure),
            Err(_no_configuration) => Ok(None),
        };
    };
    let key: PublicKey = if PublicKey::looks_like_one(given) {
        given.parse()?
    } else {
        file::read_public(Path::new(given)).hint(
            "give the issuer's public key as 64 hexadecimal digits, or a file that holds it",
        )?
    };
    Ok(Some(Issuers::trusted_signers([key])?))
}

/// Records that must be there, as something beside them says.
#[derive(Debug, Default)]
struct Heads(Vec<Known>);

#[derive(Debug, Serialize)]
struct Known {
    chain: String,
    sequence: u64,
    from: String,
    /// Whether the service itself has signed it.
    signed: bool,
}

impl Heads {
    /// Reads what the service or an export keeps beside a file: a head in each line.
    fn read(&mut self, path: &Path, verifier: &mut Verifier) {
        let path = head_file(path);
        let Ok(text) = fs::read_to_string(&path) else {
            return;
        };
        let from = path.display().to_string();
        for (line, number) in text.lines().zip(1..) {
            let place = Place::File {
                name: from.as_str().into(),
                line: number,
            };
            let known = serde_json::from_str::<SignedHead>(line)
                .map_err(|error| error.to_string())
                .and_then(|known| {
                    let head = known.head_unverified().ok_or("it has no hash")?;
                    Ok((known, head))
                });
            let (known, head) = match known {
                Ok(known) => known,
                Err(error) => {
                    verifier.cut(place, format!("this is no head of a chain: {error}"));
                    continue;
                }
            };
            let signed = !known.seal.signature.is_empty();
            if signed {
                verifier.expect_signed(place, &known);
            } else {
                verifier.expect(known.chain.as_str(), head);
            }
            self.0.push(Known {
                chain: known.chain,
                sequence: known.sequence,
                from: from.clone(),
                signed,
            });
        }
    }

    /// The furthest record of a chain that must be there.
    fn furthest(&self, chain: &str) -> Option<&Known> {
        self.0
            .iter()
            .filter(|known| known.chain == chain)
            .max_by_key(|known| known.sequence)
    }
}

/// The file beside a file of records that says where its chains end.
pub(super) fn head_file(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".head");
    name.into()
}

fn show_chain(
    chain: &ChainVerdict,
    signatures: bool,
    heads: Option<&Heads>,
    app: &App,
) -> Result<(), Failure> {
    let (name, last) = (visible(&chain.name), chain.last);
    let sealed = match chain.sealed {
        _ if !signatures => "signatures not checked".to_owned(),
        None => "not signed".to_owned(),
        Some(sealed) if sealed == last => "signed to its end".to_owned(),
        Some(sealed) => format!("signed up to {sealed}"),
    };
    let end = if chain.closed { "closed" } else { "open" };
    let output = &app.output;
    output.line(format_args!(
        "{name}: records {} to {last}, {sealed}, {end}",
        chain.first
    ))?;
    if signatures && chain.sealed != Some(last) {
        let from = chain.sealed.map_or(chain.first, |sealed| sealed + 1);
        output.line(format_args!(
            "  records {from} to {last} are linked, but not signed yet"
        ))?;
    }
    output.line(format_args!(
        "  its end, for --expect: {name}:{last}:{}",
        chain.hash
    ))?;
    match heads.map(|heads| heads.furthest(&chain.name)) {
        // the stream knows its last sequence
        None => Ok(()),
        Some(Some(known)) => {
            let by = if known.signed { ", signed" } else { "" };
            output.line(format_args!(
                "  must go to {} at least: {}{by}",
                known.sequence, known.from
            ))
        }
        Some(None) => {
            let text = format!(
                "  whether there was more after {last} cannot be told from this copy alone: --expect, FILE.head, or the stream"
            );
            output.line(output.paint(Color::Yellow, text))
        }
    }
}

/// Looks at the end of what was read; returns whether the stream is empty although it was not.
fn look_at_end(read: Read, verifier: &mut Verifier, app: &App) -> bool {
    for place in read.torn {
        verifier.cut(place, "the last line has no end");
    }
    let Some((state, last)) = read.stream else {
        return false;
    };
    if state.messages == 0 && state.last > 0 {
        if is_young(state.last_time, state.max_age, crate::commands::now().secs) {
            let message = format!(
                "the stream is empty, and its last message, {}, was not old enough to expire",
                state.last
            );
            verifier.cut(Place::Nowhere, message);
        } else {
            app.output.warn(format_args!(
                "the stream is empty: all of its {} messages have expired, or were removed",
                state.last
            ));
        }
        return true;
    }
    if last < state.last {
        let place = Place::Stream {
            sequence: last,
            line: 1,
        };
        let message = format!(
            "the stream's last message was {}, but nothing is there after this one",
            state.last
        );
        verifier.cut(place, message);
    }
    false
}

/// Tells when the beginning of the stream is not there and has not expired either.
fn look_at_beginning(state: State, now: i64, verdict: &mut Verdict) {
    let place = Place::Stream {
        sequence: state.first,
        line: 1,
    };
    let missing = |chain: Option<String>, message| Fault {
        kind: FaultKind::Missing,
        sequence: chain.is_some().then_some(1),
        chain,
        place: place.clone(),
        message,
    };
    if state.first > 1 && is_young(state.first_time, state.max_age, now) {
        let message = format!(
            "messages before {} were removed: it is not old enough for them to have expired (see --partial)",
            state.first
        );
        verdict.faults.push(missing(None, message));
    } else if state.first == 1 {
        for chain in verdict.chains.iter().filter(|chain| chain.first > 1) {
            let message = format!(
                "records before {} of {} are not in this stream, which has lost none: another one was removed (see --partial)",
                chain.first, chain.name
            );
            verdict
                .faults
                .push(missing(Some(chain.name.clone()), message));
        }
    }
}

/// Tells whether the message before one of this time cannot have expired yet.
fn is_young(time: Option<i64>, max_age: i64, now: i64) -> bool {
    max_age == 0 || time.is_some_and(|time| now - time < max_age - PAUSE.min(max_age / 2))
}

/// Shows what was found; `heads` is what is known of the ends of chains in files.
fn show(verdict: &Verdict, heads: Option<&Heads>, app: &App) -> Result<(), Failure> {
    for chain in &verdict.chains {
        show_chain(chain, verdict.signatures, heads, app)?;
    }
    for notice in &verdict.notices {
        app.output.line(format_args!(
            "  note in {} {}: {}",
            visible(&notice.chain),
            notice.sequence,
            visible(&notice.message)
        ))?;
    }
    for fault in &verdict.faults {
        let text = visible(&fault.to_string());
        app.output.line(app.output.paint(Color::Red, text))?;
    }
    if verdict.more_faults > 0 {
        let more = format!("and {} more faults", verdict.more_faults);
        app.output.line(app.output.paint(Color::Red, more))?;
    }
    if !verdict.is_whole() {
        return Ok(());
    }
    let text = format!(
        "{} records are whole: nothing is changed, missing or out of order",
        verdict.records
    );
    app.output.line(app.output.paint(Color::Green, text))?;
    if !verdict.signatures {
        app.output
            .note("Signatures were not checked: give --issuer, or a configuration with `issuers`");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_that_has_not_expired_was_removed() {
        let day = 86_400;
        for (time, max_age, is_removed) in [
            (Some(0), 0, true),
            (None, 0, true),
            (None, day, false),
            // two messages an hour apart, the older of which has just expired
            (Some(3600), day, false),
            (Some(7200), day, false),
            (Some(7201), day, true),
            (Some(day), day, true),
        ] {
            assert_eq!(
                is_young(time, max_age, day),
                is_removed,
                "{time:?} {max_age}"
            );
        }
    }
}
