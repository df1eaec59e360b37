//! A node as a process that replaces its own program from a repository, and begins anew as the new one.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use overlay_protocol::rpc::StatusCode;
use overlay_testkit::mint;
use overlay_tokens::Key;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::support::bare::{Bare, Events};
use crate::support::read;

const VERSION: &str = "1.2.3";
/// The program of the release: a script that goes on as the program before it, which is kept beside it.
const RELEASE: &str = include_str!("release.sh");
/// The same, packed with bzip2.
const PACKED: &str = include_str!("release.sh.bz2.hex");

/// Serves pages by their paths, one connection after another, as long as the test lives.
fn repository(pages: Vec<(String, Vec<u8>)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            serve(stream, &pages);
        }
    });
    url
}

fn serve(mut stream: TcpStream, pages: &[(String, Vec<u8>)]) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
    let path = first.split(' ').nth(1).unwrap();
    let page = pages.iter().find(|(known, _)| known == path);
    let (status, body) = match page {
        Some((_, body)) => ("200 OK", body.as_slice()),
        None => ("404 Not Found", &b""[..]),
    };
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
}

/// A repository with one release for this architecture, signed by a key for a version.
fn release(key: &Key, signed_version: &str) -> String {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let os = std::env::consts::OS;
    let sum = hex::encode(Sha256::digest(RELEASE));
    let text = format!("overlay-release.{signed_version}.{os}.{architecture}.{sum}");
    let signature = hex::encode(key.sign(text.as_bytes()));
    let description = json!({"binary": "server.bz2", "hash": sum, "signature": signature});
    let dir = format!("/{VERSION}/{os}/{architecture}");
    repository(vec![
        (
            format!("{dir}/release.json"),
            description.to_string().into(),
        ),
        (
            format!("{dir}/server.bz2"),
            hex::decode(PACKED.trim()).unwrap(),
        ),
    ])
}

/// Copied by a process of its own: a file that this one holds open for writing, if only in a child of another test, cannot
/// be run.
fn install(program: &Path) {
    let copied = Command::new("cp")
        .arg(env!("CARGO_BIN_EXE_overlay-server"))
        .arg(program)
        .status();
    assert!(copied.unwrap().success());
}

#[tokio::test]
async fn a_node_replaces_its_program_and_begins_anew_as_the_new_one() {
    let bare = Bare::with(|token| token.allow_update = true);
    let place = tempfile::tempdir().unwrap();
    let (program, kept) = (
        place.path().join("overlay-server"),
        place.path().join("overlay-server.backup"),
    );
    install(&program);
    let key = mint::key();
    let client = bare.client().await;
    let mut events = Events::of(&client).await;
    let public = key.public().to_string();
    let demanded = ("OVERLAY_SERVER__PROVISIONING__RELEASE_KEY", public.as_str());
    let node = bare.start_program(&program, &[demanded]);
    let pid = node.pid();
    events.expect("startup", "provision_mode_server").await;

    // A release that was signed as another version changes nothing.
    let data = |url: String| json!({"version": VERSION, "repository": url});
    let other = release(&key, "1.2.2");
    let refused = bare.ask(&client, "release_update", data(other)).await;
    assert_eq!(refused.statuscode, StatusCode::Aborted);
    assert!(
        refused.statusmsg.contains("is not signed by"),
        "{}",
        refused.statusmsg
    );
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1);

    let done = bare
        .ask_well(&client, "release_update", data(release(&key, VERSION)))
        .await;
    assert_eq!(done["message"], "Restarting Choria Server after 2s");
    events.expect("upgraded", "provision_mode_server").await;
    events.expect("shutdown", "provision_mode_server").await;
    events.expect("startup", "provision_mode_server").await;
    assert_eq!(read(&program), RELEASE);
    let process = Path::new("/proc").join(pid.to_string());
    assert_eq!(std::fs::read_link(process.join("exe")).unwrap(), kept);
    let environment = std::fs::read(process.join("environ")).unwrap();
    let environment = String::from_utf8_lossy(&environment).into_owned();
    assert!(environment.contains("RELEASE_OF_THIS_TEST=1.2.3"));
    assert_eq!(node.pid(), pid);

    // What runs now is a node like any other.
    bare.configure(&client, Duration::from_secs(3600)).await;
    bare.ask_well(&client, "restart", json!({"splay": 1})).await;
    events.expect("provisioned", "provision_mode_server").await;
    events.expect("shutdown", "provision_mode_server").await;
    events.expect("startup", "server").await;
    assert_eq!(node.pid(), pid);
}
