//! Whole processes: what the program does with a file or arguments.

use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use overlay_stream_replicator::compat::Original;
use overlay_testkit::vectors::{self, Loader, Outcome};
use serde_json::Value;

/// As long as the original was looked at.
const LOOKED_AT: Duration = Duration::from_secs(2);
const PERIOD: Duration = Duration::from_millis(20);
const LIMIT: Duration = Duration::from_secs(30);
const USAGE: i32 = 2;
const CONFIG: i32 = 78;

pub(super) fn starts(file: &Value, _loader: &Loader) -> Outcome {
    vectors::for_cases(file, |case| {
        let expect = &case["expect"];
        let code = expect["exit_code"].as_i64();
        if let Some(args) = case["args"].as_array() {
            let args: Vec<&str> = args.iter().filter_map(Value::as_str).collect();
            let ended = wait(start(&args)?, LIMIT)?;
            return match (code, ended.code) {
                (Some(0), Some(0)) => Ok(()),
                // Usage and configuration are told apart by us.
                (Some(1), Some(USAGE | CONFIG)) => Ok(()),
                (_, ours) => Err(format!("exit code {ours:?}: {}", ended.text)),
            };
        }
        let yaml = case["yaml"].as_str().ok_or("no yaml")?;
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        let path = dir.path().join("sr.yaml");
        std::fs::write(&path, yaml).map_err(|error| error.to_string())?;
        let config = path.display().to_string();
        let child = start(&["--config", &config])?;
        let lines: Vec<&str> = expect["output"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        // The original's end with success means that every worker failed, or that there was none.
        if code.is_some() || is_refused(yaml) {
            let ended = wait(child, LIMIT)?;
            if ended.code != Some(CONFIG) {
                return Err(format!("exit code {:?}: {}", ended.code, ended.text));
            }
            return told(&ended.text, code, &lines);
        }
        still_runs(child)
    })
}

/// What the original goes on with, for ever or without what was asked for, and we refuse at the start: files that are not
/// there, halves of pairs, and streams that are copied into themselves.
fn is_refused(yaml: &str) -> bool {
    let circles = Original::read(yaml).is_ok_and(|original| {
        original.streams.iter().any(|stream| {
            stream.source_url == stream.target_url
                && stream.stream == stream.target_stream
                && stream.filter_subject.is_empty()
        })
    });
    if circles {
        return true;
    }
    let pairs = [("cert:", "key:"), ("seed_file:", "jwt_file:")];
    let half = |(one, other): &(&str, &str)| yaml.contains(one) != yaml.contains(other);
    let names = |path: &str| path.starts_with('/') && !Path::new(path).exists();
    pairs.iter().any(half) || yaml.split([' ', ',', '}', '{', '\n']).any(names)
}

/// The original's words, where they are of the configuration and not of the system or a worker.
fn told(text: &str, code: Option<i64>, lines: &[&str]) -> Result<(), String> {
    let Some(error) = lines
        .first()
        .and_then(|line| line.strip_prefix("stream-replicator: error: "))
    else {
        return Ok(());
    };
    // A log file is not opened by us: the log goes to standard error.
    if code != Some(1) || error.starts_with("open ") || text.contains(error) {
        Ok(())
    } else {
        Err(format!("{error:?} is not in {text:?}"))
    }
}

struct Ended {
    code: Option<i32>,
    text: String,
}

fn start(args: &[&str]) -> Result<Child, String> {
    Command::new(env!("CARGO_BIN_EXE_overlay-stream-replicator"))
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())
}

fn wait(mut child: Child, limit: Duration) -> Result<Ended, String> {
    let status = ended(&mut child, limit)?;
    let Some(status) = status else {
        stop(&mut child);
        return Err("still runs".to_owned());
    };
    let mut text = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        let read = stderr.read_to_string(&mut text);
        read.map_err(|error| error.to_string())?;
    }
    Ok(Ended {
        code: status.code(),
        text,
    })
}

fn ended(child: &mut Child, limit: Duration) -> Result<Option<std::process::ExitStatus>, String> {
    for _poll in 0..limit.as_millis() / PERIOD.as_millis() {
        if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
            return Ok(Some(status));
        }
        std::thread::sleep(PERIOD);
    }
    Ok(None)
}

/// It tries for ever, and ends as asked.
fn still_runs(mut child: Child) -> Result<(), String> {
    if let Some(status) = ended(&mut child, LOOKED_AT)? {
        let ended = wait(child, LIMIT)?;
        return Err(format!("ended with {status}: {}", ended.text));
    }
    let id = i32::try_from(child.id())
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    let id = id.ok_or("no process id")?;
    rustix::process::kill_process(id, rustix::process::Signal::TERM)
        .map_err(|error| error.to_string())?;
    let ended = wait(child, LIMIT)?;
    match ended.code {
        Some(0) => Ok(()),
        code => Err(format!("stopped with {code:?}: {}", ended.text)),
    }
}

fn stop(child: &mut Child) {
    drop(child.kill());
    drop(child.wait());
}
