//! Replays the corpora on the stable compiler, and mutated inputs if asked to.
//!
//! ```text
//! replay [--only TARGET] [--mutate N] [--seed S]
//! ```
//!
//! Prints `fuzz <target>: N inputs` for each target and `N passed, M failed` at the end; exits 1 if an input failed.
//! Mutation is deterministic: the same seed over the same corpus makes the same inputs. Inputs that fail are kept under
//! `artifacts/<target>/`.

use std::fs;
use std::io::{self, Write as _};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use overlay_fuzz::{TARGETS, Target};
use sha2::{Digest as _, Sha256};

/// Stack of the thread that runs the targets: what tests and runtime workers have.
const STACK: usize = 2 << 20;

/// Longest mutated input.
const MAX_INPUT: usize = 16 << 10;

/// Failing inputs that are kept for one target.
const MAX_KEPT: usize = 20;

/// Pieces that the parsers look for.
const WORDS: [&str; 64] = [
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    "\"",
    "'",
    "`",
    "\\",
    "/",
    ":",
    ",",
    ".",
    "..",
    "#",
    "@",
    "|",
    "!",
    "?",
    "*",
    "=",
    "==",
    "=~",
    "!=",
    "<",
    ">=",
    "&&",
    " or ",
    " and ",
    " not ",
    " in ",
    "any(",
    "len(",
    "with(",
    "fact(",
    "let a = ",
    ";",
    "null",
    "true",
    "false",
    "0",
    "-1",
    "1.5",
    "1e309",
    "9223372036854775807",
    "18446744073709551616",
    "[[:alpha:]]",
    "{1000}",
    "\\pL",
    "(?i)",
    "\u{0}",
    "\u{e9}",
    "\u{10ffff}",
    "\\u0000",
    "\\ud800",
    "@reverse",
    "@dig:",
    "#(",
    "\n",
    "eyJ",
    "aW5zZWN1cmU=",
    "-----BEGIN ",
    "..1000000",
];

struct Options {
    only: Option<String>,
    mutate: u64,
    seed: u64,
}

#[derive(Default)]
struct Counts {
    passed: u64,
    failed: u64,
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{message}\nusage: replay [--only TARGET] [--mutate N] [--seed S]");
            return ExitCode::from(64);
        }
    };
    // A failing input is reported once, by what it says and where its bytes are.
    panic::set_hook(Box::new(|_| {}));
    let worker = thread::Builder::new()
        .stack_size(STACK)
        .spawn(move || run(&options));
    match worker.map(thread::JoinHandle::join) {
        Ok(Ok(Ok(counts))) => {
            println!("{} passed, {} failed", counts.passed, counts.failed);
            if counts.failed == 0 {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Ok(Ok(Err(error))) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
        Ok(Err(_)) | Err(_) => {
            eprintln!("the replay itself failed");
            ExitCode::FAILURE
        }
    }
}

fn options() -> Result<Options, String> {
    let mut options = Options {
        only: None,
        mutate: 0,
        seed: 1,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(flag) = arguments.next() {
        let value = arguments
            .next()
            .ok_or_else(|| format!("{flag} needs a value"))?;
        let number = || value.parse().map_err(|_| format!("{flag} needs a number"));
        match flag.as_str() {
            "--only" => options.only = Some(value),
            "--mutate" => options.mutate = number()?,
            "--seed" => options.seed = number()?,
            _ => return Err(format!("unknown flag {flag}")),
        }
    }
    match &options.only {
        Some(only) if !TARGETS.iter().any(|(name, _)| name == only) => {
            Err(format!("unknown target {only}"))
        }
        Some(_) | None => Ok(options),
    }
}

fn run(options: &Options) -> io::Result<Counts> {
    let mut counts = Counts::default();
    for (name, target) in TARGETS {
        if options.only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        let mut replay = Replay {
            name,
            target,
            counts: Counts::default(),
            slowest: Duration::ZERO,
        };
        let corpus = corpus(name)?;
        for input in &corpus {
            replay.feed(input)?;
        }
        println!("fuzz {name}: {} inputs", corpus.len());
        if options.mutate > 0 {
            replay.mutate(&corpus, options)?;
        }
        counts.passed += replay.counts.passed;
        counts.failed += replay.counts.failed;
    }
    Ok(counts)
}

fn directory(kind: &str, target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(kind)
        .join(target)
}

/// Reads the inputs of a target in the order of their names.
fn corpus(target: &str) -> io::Result<Vec<Vec<u8>>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory("corpus", target))? {
        paths.push(entry?.path());
    }
    paths.sort();
    paths.iter().map(fs::read).collect()
}

struct Replay {
    name: &'static str,
    target: Target,
    counts: Counts,
    slowest: Duration,
}

impl Replay {
    #[expect(
        clippy::disallowed_methods,
        reason = "how long an input takes is part of the result"
    )]
    fn feed(&mut self, input: &[u8]) -> io::Result<()> {
        let start = Instant::now();
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| (self.target)(input)));
        self.slowest = self.slowest.max(start.elapsed());
        let Err(reason) = outcome else {
            self.counts.passed += 1;
            return Ok(());
        };
        self.counts.failed += 1;
        let reason = reason
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| reason.downcast_ref::<String>().map(String::as_str));
        let hash = Sha256::digest(input)
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>();
        if self.counts.failed <= MAX_KEPT as u64 {
            let directory = directory("artifacts", self.name);
            fs::create_dir_all(&directory)?;
            fs::write(directory.join(&hash), input)?;
            println!(
                "fuzz {}: artifacts/{}/{hash}: {}",
                self.name,
                self.name,
                reason.unwrap_or("panicked")
            );
        }
        Ok(())
    }

    fn mutate(&mut self, corpus: &[Vec<u8>], options: &Options) -> io::Result<()> {
        self.slowest = Duration::ZERO;
        let mut random = Random(options.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..options.mutate {
            let input = mutated(corpus, &mut random);
            self.feed(&input)?;
        }
        println!(
            "fuzz {}: {} mutated inputs, {} failed, the slowest took {} ms",
            self.name,
            options.mutate,
            self.counts.failed,
            self.slowest.as_millis()
        );
        io::stdout().flush()
    }
}

/// A small generator of numbers, the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`, or 0.
    fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.next() % bound).unwrap_or_default()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[7]
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.below(from.len()))
    }
}

/// Changes an input of the corpus in one to eight places.
fn mutated(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = random.pick(corpus).cloned().unwrap_or_default();
    for _ in 0..=random.below(8) {
        let at = random.below(input.len() + 1);
        let longest = random.below(32);
        let length = random.below(1 + longest).min(input.len() - at);
        match random.below(9) {
            0 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
            1 => {
                let byte = random.byte();
                if let Some(old) = input.get_mut(at) {
                    *old = byte;
                }
            }
            2 => {
                let byte = random.byte();
                input.insert(at, byte);
            }
            3 => drop(input.drain(at..at + length)),
            4 => {
                let piece = input[at..at + length].to_vec();
                let factor = random.below(4);
                let times = 1 + factor * random.below(64);
                let to = random.below(input.len() + 1);
                input.splice(to..to, piece.repeat(times));
            }
            5 | 6 => {
                let word = random.pick(&WORDS).copied().unwrap_or_default();
                input.splice(at..at, word.bytes());
            }
            7 => {
                let word = random.pick(&WORDS).copied().unwrap_or_default();
                input.splice(at..at + length, word.bytes());
            }
            _ => {
                // The front of one input and the back of another.
                if let Some(other) = random.pick(corpus) {
                    let from = random.below(other.len() + 1);
                    let tail = other[from..].to_vec();
                    input.truncate(at);
                    input.extend(tail);
                }
            }
        }
        input.truncate(MAX_INPUT);
    }
    input
}
