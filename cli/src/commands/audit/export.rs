//! `overlay audit export`: the record in a file of its own.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use overlay_protocol::audit::{Kind, Record, original_document, original_line};
use overlay_tokens::audit::{ChainVerdict, Verdict, Verifier};
use serde_json::json;

use super::source::From;
use super::verify::{head_file, issuers};
use crate::app::App;
use crate::error::Failure;

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  overlay audit export audit.jsonl                        all records, as they are
  overlay audit export - | gzip > audit.jsonl.gz          on standard output
  overlay audit export old.log --format choria-logfile    signatures, as Choria's logfile auditor writes them

Records in the format `lines` can be verified anywhere: overlay audit verify FILE --issuer KEY. What is exported is
verified on the way; faults are told, and the exit code is 1 then. FILE.head says where each chain ends: keep a copy of it
elsewhere, and a cut end of FILE is found.")]
pub(super) struct Args {
    /// File to write, which must not be there yet; - for standard output
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Form of the records
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Lines)]
    format: Format,
    /// Only records of this chain, that is of one instance of the service
    #[arg(long, value_name = "CHAIN")]
    chain: Option<String>,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    from: From,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Lines of JSON, as they were written: the chain
    Lines,
    /// Lines of the original's logfile auditor, signatures only
    ChoriaLogfile,
    /// Documents of the original's jetstream auditor, signatures only, one in a line
    ChoriaJetstream,
}

/// Where records go.
enum Target<'a> {
    Output(&'a App),
    File(BufWriter<File>),
}

impl Target<'_> {
    fn line(&mut self, line: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Output(app) => app.output.line(String::from_utf8_lossy(line)),
            Self::File(file) => {
                file.write_all(line)?;
                Ok(file.write_all(b"\n")?)
            }
        }
    }

    fn end(self) -> Result<(), Failure> {
        match self {
            Self::Output(_) => Ok(()),
            Self::File(file) => {
                let file = file
                    .into_inner()
                    .map_err(std::io::IntoInnerError::into_error)?;
                Ok(file.sync_all()?)
            }
        }
    }
}

impl Format {
    /// A record in this form; nothing if it has none.
    fn write(self, line: &[u8]) -> Option<Vec<u8>> {
        if self == Self::Lines {
            return Some(line.to_vec());
        }
        let record = Record::decode(line).ok()?;
        if record.kind != Kind::Signature {
            return None;
        }
        match self {
            Self::Lines => None,
            Self::ChoriaLogfile => original_line(&record.data),
            Self::ChoriaJetstream => original_document(&record.data),
        }
    }
}

pub(super) async fn run(args: Args, app: &App) -> Result<(), Failure> {
    let mut target = open(&args, app)?;
    let mut verifier = Verifier::new(issuers(app, None)?);
    let mut count = 0_u64;
    let read = args
        .from
        .read(app, |place, line| {
            verifier.line(place, line);
            let is_meant = args.chain.as_ref().is_none_or(|chain| {
                Record::decode(line).is_ok_and(|record| record.chain == *chain)
            });
            if let Some(line) = args.format.write(line).filter(|_line| is_meant) {
                target.line(&line)?;
                count += 1;
            }
            Ok(())
        })
        .await?;
    target.end()?;
    for place in read.torn {
        verifier.cut(place, "the last line has no end");
    }
    let verdict = verifier.finish();
    if args.format == Format::Lines && args.file != Path::new("-") {
        write_heads(&args, &verdict)?;
    }
    if args.file != Path::new("-") {
        if app.output.is_json() {
            app.output.json(&json!({
                "file": args.file.display().to_string(),
                "records": count,
                "whole": verdict.is_whole(),
                "chains": verdict.chains,
            }))?;
        } else {
            app.output
                .line(format_args!("{count} records in {}", args.file.display()))?;
        }
    }
    for fault in &verdict.faults {
        app.output.warn(fault);
    }
    if verdict.is_whole() {
        Ok(())
    } else {
        Err(Failure::new("what was exported is not whole"))
    }
}

/// Writes beside the file where its chains end, so that a cut end is found.
fn write_heads(args: &Args, verdict: &Verdict) -> Result<(), Failure> {
    let path = head_file(&args.file);
    let mut file = create(&path, args.force)?;
    let meant = |chain: &&ChainVerdict| {
        let name = args.chain.as_ref();
        name.is_none_or(|name| *name == chain.name)
    };
    for chain in verdict.chains.iter().filter(meant) {
        let head = json!({
            "chain": chain.name,
            "sequence": chain.last,
            "hash": chain.hash.to_string(),
            "time": crate::commands::now().secs,
            "sealed": chain.sealed,
        });
        writeln!(file, "{head}")?;
    }
    Ok(file.sync_all()?)
}

fn open<'a>(args: &Args, app: &'a App) -> Result<Target<'a>, Failure> {
    if args.file == Path::new("-") {
        return Ok(Target::Output(app));
    }
    Ok(Target::File(BufWriter::new(create(
        &args.file, args.force,
    )?)))
}

/// Makes a file that only its owner reads.
fn create(path: &Path, replace: bool) -> Result<File, Failure> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .create_new(!replace)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| {
            let is_there = error.kind() == std::io::ErrorKind::AlreadyExists;
            let failure = Failure::from(error).context(format!("cannot write {}", path.display()));
            if is_there {
                failure.hint("--force replaces it")
            } else {
                failure
            }
        })
}
