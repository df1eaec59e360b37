use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;

use overlay_tokens::Key;
use sha2::{Digest as _, Sha256};

use super::*;

/// `#!/bin/sh\nexit 0\n`, packed with bzip2.
const PACKED: &str = include_str!("tests/exit-0.bz2.hex");
const PROGRAM: &[u8] = b"#!/bin/sh\nexit 0\n";

/// Serves pages by their paths, one connection after another, as long as the test lives.
fn repository(pages: Vec<(String, Vec<u8>)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let first = lines.next().unwrap().unwrap();
            while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
            let path = first.split(' ').nth(1).unwrap();
            let page = pages.iter().find(|(known, _)| known == path);
            let (status, body) = match page {
                Some((_, body)) => ("200 OK", body.as_slice()),
                None => ("404 Not Found", &b""[..]),
            };
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(body).unwrap();
        }
    });
    url
}

fn sum(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn pages(hash: &str, signature: &str, packed: Vec<u8>) -> Vec<(String, Vec<u8>)> {
    let dir = format!("/1.2.3/{}/{}", std::env::consts::OS, architecture());
    let release = serde_json::json!({"binary": "server.bz2", "hash": hash, "signature": signature});
    vec![
        (
            format!("{dir}/release.json"),
            release.to_string().into_bytes(),
        ),
        (format!("{dir}/server.bz2"), packed),
    ]
}

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("server");
        fs::write(&program, "old").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Self { dir }
    }

    fn program(&self) -> PathBuf {
        self.dir.path().join("server")
    }

    fn update(&self, repository: &str, key: Option<&PublicKey>) -> Result<(), UpdateError> {
        let target = Target {
            program: &self.program(),
            key,
        };
        update(repository, "1.2.3", target)
    }

    fn is_untouched(&self) {
        assert_eq!(fs::read(self.program()).unwrap(), b"old");
        assert!(!beside(&self.program(), ".new").exists());
    }
}

fn packed() -> Vec<u8> {
    bytes(PACKED.trim()).unwrap()
}

#[test]
fn a_program_of_the_right_sum_takes_the_place_of_the_old_one_which_is_kept() {
    let place = Place::new();
    // With and without a slash at the end.
    let url = format!("{}/", repository(pages(&sum(PROGRAM), "", packed())));
    place.update(&url, None).unwrap();
    assert_eq!(fs::read(place.program()).unwrap(), PROGRAM);
    let mode = fs::metadata(place.program()).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o755);
    assert_eq!(
        fs::read(beside(&place.program(), ".backup")).unwrap(),
        b"old"
    );
    assert!(!beside(&place.program(), ".new").exists());
}

#[test]
fn a_wrong_sum_leaves_the_program() {
    let place = Place::new();
    let url = repository(pages(&sum(b"another"), "", packed()));
    assert!(matches!(
        place.update(&url, None),
        Err(UpdateError::Checksum)
    ));
    place.is_untouched();
}

#[test]
fn with_a_key_the_release_must_be_signed_for_its_version() {
    let key = Key::from_seed([5; 32]);
    let sign = |version: &str| {
        key.sign(signed_text(version, &sum(PROGRAM)).as_bytes())
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    for bad in [String::new(), "zz".to_owned(), sign("1.2.4")] {
        let place = Place::new();
        let url = repository(pages(&sum(PROGRAM), &bad, packed()));
        let refused = place.update(&url, Some(&key.public()));
        assert!(
            matches!(refused, Err(UpdateError::Signature)),
            "{refused:?}"
        );
        place.is_untouched();
    }
    let place = Place::new();
    let url = repository(pages(&sum(PROGRAM), &sign("1.2.3"), packed()));
    place.update(&url, Some(&key.public())).unwrap();
}

#[test]
fn what_is_not_there_or_not_packed_leaves_the_program() {
    let place = Place::new();
    let url = repository(Vec::new());
    let error = place.update(&url, None).unwrap_err().to_string();
    assert!(
        error.starts_with("release 1.2.3 not found: could not download release spec: "),
        "{error}"
    );
    let url = repository(pages(&sum(PROGRAM), "", b"not packed at all".to_vec()));
    assert!(matches!(
        place.update(&url, None),
        Err(UpdateError::Download(_))
    ));
    let refused = place.update("http://127.0.0.1:1", None);
    assert!(matches!(refused, Err(UpdateError::NotFound { .. })));
    place.is_untouched();
}

#[test]
fn versions_and_names_lead_nowhere_else() {
    for name in ["", "../x", "a/b", ".hidden", "a b", "a%2f"] {
        assert!(!is_plain(name), "{name}");
    }
    assert!(is_plain("0.30.3-rc1+x~1"));
    let place = Place::new();
    let target = Target {
        program: &place.program(),
        key: None,
    };
    assert!(matches!(
        update("http://127.0.0.1:1", "../../x", target),
        Err(UpdateError::NotFound { .. })
    ));
}
