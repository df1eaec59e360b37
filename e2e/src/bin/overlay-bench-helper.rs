//! The provisioner's helper of `bench provision`: answers at once or after a delay, in each of the three ways.
//!
//! `overlay-bench-helper process|persistent|http DELAY_MS HOSTS [PORT]`. As small as can be: what is measured is the
//! provisioner.

use std::io::{BufRead, BufReader, Read, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Answers that wait for their delay.
const WAITING: usize = 4096;

/// What each answer depends on.
struct Manner {
    delay: Duration,
    hosts: String,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |index: usize| arguments.get(index).map(String::as_str).unwrap_or_default();
    let manner = Manner {
        delay: Duration::from_millis(argument(1).parse().unwrap_or_default()),
        hosts: argument(2).to_owned(),
    };
    let result = match argument(0) {
        "persistent" => persistent(manner),
        "http" => http(manner, argument(3)),
        _ => process(&manner),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

impl Manner {
    fn answer(&self, question: &[u8]) -> Result<Value> {
        let question: Value = serde_json::from_slice(question)?;
        let directory = question["ed25519_pubkey"]["directory"]
            .as_str()
            .unwrap_or("/etc/choria");
        let mut answer = json!({
            "defer": false,
            "msg": "enrolled by the benchmark",
            "configuration": {
                "identity": question["identity"],
                "plugin.choria.server.provision": "false",
                "plugin.choria.middleware_hosts": self.hosts,
                "plugin.security.provider": "choria",
                "plugin.security.choria.token_file": format!("{directory}/server.jwt"),
                "plugin.security.choria.seed_file": format!("{directory}/server.seed"),
                "collectives": "choria",
                "main_collective": "choria",
                "registration": "file_content",
                "rpcauthorization": "1",
                "rpcauthprovider": "aaasvc",
            },
            "server_claims": { "permissions": { "submission": true, "streams": true } },
        });
        if let Some(id) = question.get("id") {
            answer["id"] = id.clone();
        }
        Ok(answer)
    }
}

fn process(manner: &Manner) -> Result<()> {
    let mut question = Vec::new();
    std::io::stdin().lock().read_to_end(&mut question)?;
    thread::sleep(manner.delay);
    std::io::stdout().write_all(manner.answer(&question)?.to_string().as_bytes())
}

/// A line in, a line out; those that wait do not hold up the reader.
fn persistent(manner: Manner) -> Result<()> {
    let (waiting, due) = mpsc::sync_channel::<(Instant, String)>(WAITING);
    let writer = thread::spawn(move || -> Result<()> {
        let mut output = std::io::stdout().lock();
        while let Ok((when, line)) = due.recv() {
            thread::sleep(when.saturating_duration_since(now()));
            output.write_all(line.as_bytes())?;
            output.flush()?;
        }
        Ok(())
    });
    for line in std::io::stdin().lock().split(b'\n') {
        let line = format!("{}\n", manner.answer(&line?)?);
        if waiting.send((now() + manner.delay, line)).is_err() {
            break;
        }
    }
    drop(waiting);
    writer.join().unwrap_or(Ok(()))
}

fn http(manner: Manner, port: &str) -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port.parse().unwrap_or_default()))?;
    let manner = Arc::new(manner);
    for stream in listener.incoming() {
        let (stream, manner) = (stream?, Arc::clone(&manner));
        thread::spawn(move || serve(stream, &manner));
    }
    Ok(())
}

fn serve(stream: TcpStream, manner: &Manner) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line == "\r\n" {
                break;
            }
            let (name, value) = line.split_once(':').unwrap_or_default();
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().unwrap_or_default();
            }
        }
        let mut question = vec![0; length];
        reader.read_exact(&mut question)?;
        thread::sleep(manner.delay);
        let body = manner.answer(&question)?.to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        reader
            .get_mut()
            .write_all(format!("{head}{body}").as_bytes())?;
    }
}

#[expect(clippy::disallowed_methods, reason = "the delay is a real one")]
fn now() -> Instant {
    Instant::now()
}
