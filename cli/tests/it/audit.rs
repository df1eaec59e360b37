//! `overlay audit`: the record in files and in the stream, as it is and as others left it.
#![allow(clippy::unwrap_used, reason = "helper of tests")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use overlay_protocol::audit::{
    Data, Decision, Head, Kind, LoginFacts, Reasons, RpcFacts, SIGNATURE_PROTOCOL, TokenFacts,
};
use overlay_testkit::Broker;
use overlay_testkit::mint::{self, Organisation};
use overlay_tokens::audit::{Chain, Sealer};
use overlay_tokens::claims::{ServerClaims, ServerPermissions};
use overlay_tokens::issue::ServerToken;
use overlay_tokens::{UnixTime, Unverified};
use serde_json::value::RawValue;

use crate::desk::{self, Run, assert_shown};

const CHAIN: &str = "aaa-1.lhr";
/// 2027-01-15 08:00:00.
const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

/// A record that somebody keeps, and a desk to look at it.
struct Record {
    dir: tempfile::TempDir,
    organisation: Organisation,
    sealer: Sealer,
    chain: Chain,
    lines: Vec<Vec<u8>>,
}

impl Record {
    fn new() -> Self {
        Self::at("nats://127.0.0.1:1")
    }

    fn at(url: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let organisation = Organisation::new();
        desk::configure(dir.path(), url, &organisation);
        let login = organisation.server(ServerToken {
            identity: CHAIN.to_owned(),
            validity: Duration::from_secs(100 * 365 * 24 * 3600),
            permissions: Some(ServerPermissions {
                service_host: true,
                ..ServerPermissions::default()
            }),
            ..ServerToken::default()
        });
        let token = Unverified::<ServerClaims>::decode(&login.token)
            .unwrap()
            .verify(&organisation.issuers(), mint::now())
            .unwrap();
        let sealer = Sealer::new(&token, login.key).unwrap();
        let mut record = Self {
            dir,
            organisation,
            sealer,
            chain: Chain::new(CHAIN, Head::START),
            lines: Vec::new(),
        };
        record.seal(Kind::Opened);
        record
    }

    fn seal(&mut self, kind: Kind) {
        let line = self
            .chain
            .seal(kind, Some(&self.sealer), NOW, Data::default());
        self.lines.push(line);
    }

    fn add(&mut self, kind: Kind, data: &Data) {
        let subject = data.callerid.clone();
        let line = self.chain.append(kind, &subject, NOW, &data.to_json());
        self.lines.push(line);
    }

    /// What a day may bring: logins, requests, what was denied.
    fn with_a_day(mut self) -> Self {
        self.add(Kind::Login, &login("up=bob", Decision::Allow));
        let refused = Data {
            callerid: String::new(),
            ..login("up=eve", Decision::Deny)
        };
        self.add(Kind::Login, &refused);
        self.add(Kind::Signature, &request("up=bob", "rpcutil", "ping", None));
        self.add(
            Kind::Signature,
            &request("up=bob", "package", "install", Some("policy")),
        );
        self.add(
            Kind::Signature,
            &request("up=ceo", "rpcutil", "ping", Some("token")),
        );
        self.seal(Kind::Checkpoint);
        self.add(Kind::Signature, &request("up=amy", "rpcutil", "ping", None));
        self.seal(Kind::Closed);
        self
    }

    fn write(&self, name: &str) -> PathBuf {
        write(self.dir.path(), name, &self.lines)
    }

    fn run(&self, args: &[&str]) -> Run {
        desk::run(self.dir.path(), args, None)
    }
}

fn write(dir: &Path, name: &str, lines: &[Vec<u8>]) -> PathBuf {
    let path = dir.join(name);
    let mut text = lines.join(&b'\n');
    text.push(b'\n');
    std::fs::write(&path, text).unwrap();
    path
}

fn login(caller: &str, decision: Decision) -> Data {
    Data {
        callerid: caller.to_owned(),
        action: Some(decision),
        site: "lhr".to_owned(),
        time: NOW.secs,
        login: Some(LoginFacts {
            method: if decision == Decision::Allow {
                "userlist".to_owned()
            } else {
                String::new()
            },
            user: caller.trim_start_matches("up=").to_owned(),
            ..LoginFacts::default()
        }),
        decision: Some(Reasons {
            reason: if decision == Decision::Allow {
                "allowed".to_owned()
            } else {
                "password".to_owned()
            },
            ..Reasons::default()
        }),
        via: "http".to_owned(),
        peer: "192.0.2.7".to_owned(),
        ..Data::default()
    }
}

fn request(caller: &str, agent: &str, action: &str, denied: Option<&str>) -> Data {
    let message =
        format!(r#"{{"agent":"{agent}","action":"{action}","data":{{"package":"httpd"}}}}"#);
    let message = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, message);
    let request = format!(
        r#"{{"protocol":"io.choria.protocol.v2.request","message":"{message}","id":"id-{agent}-{action}","caller":"{caller}"}}"#
    );
    Data {
        protocol: SIGNATURE_PROTOCOL.to_owned(),
        callerid: caller.to_owned(),
        action: Some(if denied.is_some() {
            Decision::Deny
        } else {
            Decision::Allow
        }),
        site: "lhr".to_owned(),
        time: NOW.secs,
        request: RawValue::from_string(request).ok(),
        decision: Some(Reasons {
            reason: denied.unwrap_or("allowed").to_owned(),
            message: denied
                .map(|reason| format!("the {reason} says no"))
                .unwrap_or_default(),
            rule: (denied != Some("token")).then(|| "agents[0] rpcutil.*".to_owned()),
            tenant: (caller == "up=amy").then(|| "acme".to_owned()),
            ..Reasons::default()
        }),
        token: Some(TokenFacts {
            verified: denied != Some("token"),
            ..TokenFacts::default()
        }),
        rpc: Some(RpcFacts {
            agent: agent.to_owned(),
            action: action.to_owned(),
        }),
        via: "rpc".to_owned(),
        ..Data::default()
    }
}

/// Hashes and directories of one run are not those of the next.
fn steady(text: &str, dir: &Path) -> String {
    let hash = regex::Regex::new("[0-9a-f]{64}").unwrap();
    hash.replace_all(text, "[HASH]")
        .replace(&format!("{}/", dir.display()), "")
}

#[test]
fn a_copy_that_somebody_touched_is_caught_and_the_place_is_named() {
    let record = Record::new().with_a_day();
    let dir = record.dir.path();
    let mut shown = String::new();
    let mut look = |what: &str, lines: &[Vec<u8>], code: i32| {
        let path = write(dir, "copy.jsonl", lines);
        let run = record.run(&["audit", "verify", path.to_str().unwrap()]);
        assert_eq!(run.code, code, "{what}: {run:#?}");
        shown.push_str(&format!("== {what}\n{}{}", run.stdout, run.stderr));
    };
    look("as it was", &record.lines, 0);
    let mut changed = record.lines.clone();
    let text = String::from_utf8(changed[4].clone()).unwrap();
    changed[4] = text.replace("\"deny\"", "\"allow\"").into_bytes();
    look("a line changed", &changed, 1);
    let mut removed = record.lines.clone();
    removed.remove(4);
    look("a line removed", &removed, 1);
    let mut swapped = record.lines.clone();
    swapped.swap(3, 4);
    look("two lines swapped", &swapped, 1);
    let mut again = record.lines.clone();
    again.insert(6, again[4].clone());
    look("a line twice", &again, 1);
    let mut forged = record.lines.clone();
    forged.truncate(6);
    let mut chain = Chain::new(
        CHAIN,
        Head {
            sequence: 6,
            hash: overlay_protocol::audit::LineHash::of(&forged[5]),
        },
    );
    forged.push(chain.seal(Kind::Closed, None, NOW, Data::default()));
    look("an end made anew", &forged, 1);
    let head = record.sealer.head(record.chain.head(), NOW);
    let head = serde_json::to_string(&head).unwrap();
    std::fs::write(dir.join("copy.jsonl.head"), head).unwrap();
    look("with the signed head", &record.lines, 0);
    look("the end cut off", &record.lines[..6], 1);
    look("the beginning elsewhere", &record.lines[3..], 0);
    assert_shown!("audit_verify", steady(&shown, dir));
}

#[test]
fn a_line_without_its_end_and_one_that_is_no_record_are_told() {
    let record = Record::new().with_a_day();
    let path = record.write("audit.jsonl");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, [&whole, &whole[..100]].concat()).unwrap();
    record
        .run(&["audit", "verify", "audit.jsonl"])
        .fails(1, "1 fault");
    std::fs::write(&path, [b"hello\n", &whole[..]].concat()).unwrap();
    let run = record.run(&["audit", "verify", "audit.jsonl"]);
    assert_eq!(run.code, 1);
    assert!(
        run.stdout
            .contains("audit.jsonl:1: changed: this is no audit record"),
        "{run:?}"
    );
}

#[test]
fn verification_takes_an_issuer_an_expectation_and_no_configuration() {
    let record = Record::new().with_a_day();
    record.write("audit.jsonl");
    let json = record
        .run(&["audit", "verify", "audit.jsonl", "--json"])
        .ok()
        .json();
    assert_eq!(json["whole"], true);
    assert_eq!(json["signatures"], true);
    assert_eq!(json["chains"][0]["sealed"], 9);
    let expect = format!(
        "{CHAIN}:{}:{}",
        record.chain.head().sequence,
        record.chain.head().hash
    );
    let verify = ["audit", "verify", "audit.jsonl", "--expect", &expect];
    record.run(&verify).ok();
    write(record.dir.path(), "audit.jsonl", &record.lines[..5]);
    record.run(&verify).fails(1, "not whole");
    record
        .run(&["audit", "verify", "audit.jsonl", "--expect", "x:1"])
        .fails(2, "CHAIN:NUMBER:HASH");
    write(record.dir.path(), "audit.jsonl", &record.lines[2..]);
    record
        .run(&["audit", "verify", "audit.jsonl", "--complete"])
        .fails(1, "not whole");
    std::fs::remove_file(record.dir.path().join("client.toml")).unwrap();
    let bare = |args: &[&str]| {
        let mut command = desk::command(record.dir.path());
        command.env_remove("OVERLAY_CONFIG").args(args);
        let output = command.output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    record.write("audit.jsonl");
    let (code, stdout, stderr) = bare(&["audit", "verify", "audit.jsonl"]);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    assert!(stdout.contains("signatures not checked") && stderr.contains("--issuer"));
    let issuer = record.organisation.public().to_string();
    let (code, stdout, _) = bare(&["audit", "verify", "audit.jsonl", "--issuer", &issuer]);
    assert_eq!(code, Some(0));
    assert!(stdout.contains("signed to its end"), "{stdout}");
    let stranger = mint::key().public().to_string();
    let (code, stdout, _) = bare(&["audit", "verify", "audit.jsonl", "--issuer", &stranger]);
    assert_eq!(code, Some(1));
    assert!(stdout.contains("bad checkpoint"), "{stdout}");
}

#[test]
fn records_are_found_by_what_is_in_them() {
    let record = Record::new().with_a_day();
    record.write("audit.jsonl");
    let search = |args: &[&str]| {
        let all = [&["audit", "search", "--from", "audit.jsonl"], args].concat();
        record.run(&all).ok()
    };
    assert_shown!("audit_search", search(&[]).stdout);
    assert_shown!("audit_search_all", search(&["--all", "--last", "4"]).stdout);
    let found = |args: &[&str]| -> Vec<u64> {
        let json = search(&[args, &["--json"]].concat()).json();
        json.as_array()
            .unwrap()
            .iter()
            .map(|record| record["sequence"].as_str().unwrap().parse().unwrap())
            .collect()
    };
    assert_eq!(found(&["--caller", "up=bob"]), [2, 4, 5]);
    assert_eq!(found(&["--caller", "*y"]), [8]);
    assert_eq!(found(&["--caller", "eve"]), [3]);
    assert_eq!(found(&["--agent", "rpcutil"]), [4, 6, 8]);
    assert_eq!(found(&["--action", "inst*"]), [5]);
    assert_eq!(found(&["--decision", "deny"]), [3, 5, 6]);
    assert_eq!(found(&["--reason", "policy"]), [5]);
    assert_eq!(found(&["--tenant", "acme"]), [8]);
    assert_eq!(found(&["--request", "id-package-install"]), [5]);
    assert_eq!(found(&["--kind", "login"]), [2, 3]);
    assert_eq!(found(&["--kind", "closed"]), [9]);
    assert_eq!(found(&["HTTPD", "--caller", "up=amy"]), [8]);
    assert_eq!(found(&["nowhere"]), [] as [u64; 0]);
    assert_eq!(found(&["--until", "2027-01-15T08:00:00Z"]), [] as [u64; 0]);
    assert_eq!(found(&["--since", "2027-01-15", "--last", "1"]), [8]);
    assert!(search(&["nowhere"]).stderr.contains("No such records"));
    record
        .run(&["audit", "search", "--since", "yesterday"])
        .fails(2, "not a time");
    let mut lines = record.lines.clone();
    lines.remove(3);
    write(record.dir.path(), "audit.jsonl", &lines);
    assert!(search(&[]).stderr.contains("not whole"));
}

#[test]
fn an_exported_record_verifies_and_the_forms_of_the_original_are_spoken() {
    let record = Record::new().with_a_day();
    let path = record.write("audit.jsonl");
    let export = |args: &[&str]| {
        let all = [&["audit", "export", "--from", "audit.jsonl"], args].concat();
        record.run(&all)
    };
    export(&["copy.jsonl"]).ok();
    let copy = record.dir.path().join("copy.jsonl");
    assert_eq!(std::fs::read(&copy).unwrap(), std::fs::read(&path).unwrap());
    export(&["copy.jsonl"]).fails(1, "--force");
    let json = export(&["copy.jsonl", "--force", "--json"]).ok().json();
    assert_eq!(json["records"], 9);
    let run = record.run(&["audit", "verify", "copy.jsonl"]).ok();
    assert!(
        run.stdout
            .contains("must go to 9 at least: copy.jsonl.head\n"),
        "{run:?}"
    );
    write(record.dir.path(), "copy.jsonl", &record.lines[..5]);
    let run = record.run(&["audit", "verify", "copy.jsonl"]);
    assert_eq!(run.code, 1);
    assert!(run.stdout.contains("the end is missing"), "{run:?}");
    let old = export(&["-", "--format", "choria-logfile"]).ok().stdout;
    assert_eq!(old.lines().count(), 4);
    let line: serde_json::Value = serde_json::from_str(old.lines().next().unwrap()).unwrap();
    assert_eq!(line["auditor"], "logfile");
    assert_eq!(line["caller"], "up=bob");
    let documents = export(&["-", "--format", "choria-jetstream"]).ok().stdout;
    let document: serde_json::Value =
        serde_json::from_str(documents.lines().nth(1).unwrap()).unwrap();
    assert_eq!(document["action"], "deny");
    assert_eq!(document.as_object().unwrap().len(), 6);
    write(record.dir.path(), "audit.jsonl", &record.lines[..3]);
    let mut lines = record.lines.clone();
    lines.remove(3);
    write(record.dir.path(), "audit.jsonl", &lines);
    export(&["-"]).fails(1, "not whole");
}

#[test]
fn a_file_that_grows_is_followed() {
    let mut record = Record::new().with_a_day();
    let path = record.write("audit.jsonl");
    let mut command = desk::command(record.dir.path());
    command
        .args([
            "audit",
            "tail",
            "--from",
            "audit.jsonl",
            "-n",
            "1",
            "--count",
            "3",
            "--json",
        ])
        .stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next =
        || -> serde_json::Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    assert_eq!(next()["subject"], "up=amy");
    let mut file = std::fs::File::options().append(true).open(path).unwrap();
    for caller in ["up=x", "up=y"] {
        let before = record.lines.len();
        record.add(Kind::Signature, &request(caller, "rpcutil", "ping", None));
        // in two pieces, as it may be seen
        let line = record.lines[before].clone();
        let (first, second) = line.split_at(50);
        file.write_all(first).unwrap();
        file.flush().unwrap();
        file.write_all(second).unwrap();
        file.write_all(b"\n").unwrap();
        assert_eq!(next()["subject"], caller);
    }
    assert!(child.wait().unwrap().success());
}

/// A broker with one account, in which readers find the stream under the names that they have for it.
fn broker() -> Broker {
    Broker::builder()
        .jetstream()
        .config(
            r#"mappings {
  "overlay.audit.api.STREAM.INFO.AAA_AUDIT": "$JS.API.STREAM.INFO.AAA_AUDIT"
  "overlay.audit.api.DIRECT.GET.AAA_AUDIT": "$JS.API.DIRECT.GET.AAA_AUDIT"
}"#,
        )
        .start()
}

async fn publish(jetstream: &async_nats::jetstream::Context, lines: &[Vec<u8>]) {
    let subject = format!("overlay.audit.aaa.{CHAIN}");
    let payload = lines.join(&b'\n').into();
    jetstream
        .publish(subject, payload)
        .await
        .unwrap()
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stream_is_read_followed_and_verified() {
    let broker = broker();
    let client = async_nats::connect(broker.url()).await.unwrap();
    let jetstream = async_nats::jetstream::new(client);
    let mut record = Record::at(&broker.url()).with_a_day();
    record
        .run(&["audit", "verify"])
        .fails(1, "no stream of records");
    let stream = jetstream
        .create_stream(async_nats::jetstream::stream::Config {
            name: "AAA_AUDIT".to_owned(),
            subjects: vec!["overlay.audit.aaa.>".to_owned()],
            allow_direct: true,
            ..Default::default()
        })
        .await
        .unwrap();
    record.run(&["audit", "verify"]).ok();
    for batch in record.lines.chunks(2) {
        publish(&jetstream, batch).await;
    }
    let run = record.run(&["audit", "verify"]).ok();
    assert!(run.stdout.contains("9 records are whole"), "{run:?}");
    let json = record
        .run(&["audit", "search", "--caller", "up=bob", "--json"])
        .ok()
        .json();
    assert_eq!(json.as_array().unwrap().len(), 3);
    record.run(&["audit", "export", "all.jsonl"]).ok();
    record.run(&["audit", "verify", "all.jsonl"]).ok();
    let run = record.run(&["audit", "tail", "--no-follow"]).ok();
    assert_eq!(run.stdout.lines().count(), 6, "{run:?}");
    let run = record.run(&["audit", "tail", "--count", "2"]).ok();
    let newest: Vec<_> = run.stdout.lines().collect();
    assert!(
        newest.len() == 2 && newest[1].contains("aaa-1.lhr 8"),
        "{run:?}"
    );

    let mut command = desk::command(record.dir.path());
    command
        .args(["audit", "tail", "-n", "0", "--count", "1", "--json"])
        .stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // whatever is published before it listens is in the stream all the same, but among the old ones
    let reader = tokio::task::spawn_blocking(move || lines.next().unwrap().unwrap());
    while !reader.is_finished() {
        let before = record.lines.len();
        record.add(Kind::Signature, &request("up=new", "rpcutil", "ping", None));
        publish(&jetstream, &record.lines[before..]).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(reader.await.unwrap().contains("up=new"));
    assert!(child.wait().unwrap().success());
    record.run(&["audit", "verify"]).ok();

    stream.delete_message(3).await.unwrap();
    let run = record.run(&["audit", "verify"]);
    assert_eq!(run.code, 1);
    assert!(
        run.stdout
            .contains("message 4, line 1: missing: records 5 to 6 of aaa-1.lhr"),
        "{run:?}"
    );
    let state = stream.get_info().await.unwrap().state;
    stream.delete_message(state.last_sequence).await.unwrap();
    let run = record.run(&["audit", "verify", "--json"]);
    assert_eq!(run.code, 1);
    let kinds: Vec<_> = run.json()["faults"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fault| fault["kind"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(kinds, ["truncated", "missing"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_whose_beginning_was_removed_before_its_time_is_not_whole() {
    let broker = broker();
    let client = async_nats::connect(broker.url()).await.unwrap();
    let jetstream = async_nats::jetstream::new(client);
    let record = Record::at(&broker.url()).with_a_day();
    let config = async_nats::jetstream::stream::Config {
        name: "AAA_AUDIT".to_owned(),
        subjects: vec!["overlay.audit.aaa.>".to_owned()],
        allow_direct: true,
        max_age: Duration::from_secs(86_400),
        ..Default::default()
    };
    jetstream.create_stream(&config).await.unwrap();
    for batch in record.lines.chunks(2) {
        publish(&jetstream, batch).await;
    }
    record.run(&["audit", "verify"]).ok();
    let emptied = async_nats::jetstream::stream::Config {
        max_messages: 2,
        ..config.clone()
    };
    jetstream.update_stream(&emptied).await.unwrap();
    jetstream.update_stream(&config).await.unwrap();
    let run = record.run(&["audit", "verify"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(
        run.stdout
            .contains("missing: messages before 4 were removed"),
        "{run:?}"
    );
    record.run(&["audit", "verify", "--partial"]).ok();

    // the same in a stream that was made anew
    jetstream.delete_stream("AAA_AUDIT").await.unwrap();
    jetstream.create_stream(&config).await.unwrap();
    publish(&jetstream, &record.lines[4..]).await;
    let run = record.run(&["audit", "verify"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(
        run.stdout.contains("records before 5 of aaa-1.lhr"),
        "{run:?}"
    );
    record.run(&["audit", "verify", "--partial"]).ok();
}
