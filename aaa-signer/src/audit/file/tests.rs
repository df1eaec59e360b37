use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use overlay_protocol::audit::Kind;
use overlay_testkit::eventually_blocking;
use overlay_tokens::UnixTime;
use overlay_tokens::audit::Chain;

use super::*;

const NAME: &str = "aaa-1";

fn lines(chain: &mut Chain, count: usize) -> Vec<u8> {
    let lines: Vec<_> = (0..count)
        .map(|_index| chain.append(Kind::Login, "up=bob", UnixTime::from_secs(1), b"{}"))
        .collect();
    lines.join(&b'\n')
}

/// Processes that other tests start meanwhile hold a lock of ours until their program begins.
fn open(path: &Path) -> (LineFile, Left) {
    let (limit, period) = (Duration::from_secs(20), Duration::from_millis(5));
    eventually_blocking(limit, period, || LineFile::open(path, NAME, 77))
}

#[test]
fn a_file_is_private_and_has_one_writer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit");
    let (file, left) = open(&path);
    assert!(left.head.is_none() && !left.has_lines);
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let second = LineFile::open(&path, NAME, 77).unwrap_err();
    assert_eq!(second.kind(), io::ErrorKind::ResourceBusy);
    drop(file);
    open(&path);
}

#[test]
fn the_chain_goes_on_after_the_last_whole_line_and_the_rest_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit");
    let mut chain = Chain::new(NAME, Head::START);
    let (mut file, _) = open(&path);
    file.append(&lines(&mut chain, 3)).unwrap();
    drop(file);
    let whole = fs::read(&path).unwrap();
    let torn = lines(&mut chain.clone(), 1);
    for rest in [&torn[..torn.len() / 2], b"\0\0\0\0", b"{}\n{\"a\":1}\nx"] {
        fs::write(&path, [&whole, rest].concat()).unwrap();
        let (file, left) = open(&path);
        assert_eq!(left.head, Some(chain.head()));
        let (bytes, aside) = left.set_aside.unwrap();
        assert_eq!(bytes, u64::try_from(rest.len()).unwrap());
        assert_eq!(fs::read(&aside).unwrap(), rest);
        assert_eq!(fs::read(&path).unwrap(), whole);
        assert_eq!(file.len(), u64::try_from(whole.len()).unwrap());
        fs::remove_file(aside).unwrap();
    }
}

#[test]
fn the_head_is_that_of_the_chain_even_if_another_chain_follows() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit");
    let mut chain = Chain::new(NAME, Head::START);
    let mut other = Chain::new("other", Head::START);
    let (mut file, _) = open(&path);
    file.append(&lines(&mut chain, 2)).unwrap();
    file.append(&lines(&mut other, 2)).unwrap();
    drop(file);
    assert_eq!(open(&path).1.head, Some(chain.head()));
}

#[test]
fn what_was_taken_back_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit");
    let mut chain = Chain::new(NAME, Head::START);
    let (mut file, _) = open(&path);
    file.append(&lines(&mut chain, 2)).unwrap();
    let before = fs::read(&path).unwrap();
    let more = lines(&mut chain, 2);
    file.append(&more).unwrap();
    file.undo(more.len()).unwrap();
    assert_eq!(fs::read(&path).unwrap(), before);
    file.append(&more).unwrap();
    drop(file);
    assert_eq!(open(&path).1.head, Some(chain.head()));
}

#[test]
fn a_renamed_file_is_followed_by_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit");
    let mut chain = Chain::new(NAME, Head::START);
    let (mut file, _) = open(&path);
    assert!(!file.append(&lines(&mut chain, 2)).unwrap());
    fs::rename(&path, dir.path().join("audit.1")).unwrap();
    assert!(file.append(&lines(&mut chain, 2)).unwrap());
    assert!(!file.append(&lines(&mut chain, 2)).unwrap());
    drop(file);
    assert_eq!(open(&path).1.head, Some(chain.head()));
    let old = open(&dir.path().join("audit.1"));
    assert_eq!(old.1.head.unwrap().sequence, 2);
}

#[test]
fn lines_are_read_whole_and_after_a_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit");
    let mut chain = Chain::new(NAME, Head::START);
    let (mut file, _) = open(&path);
    file.append(&lines(&mut chain, 2)).unwrap();
    let second = chain.head();
    file.append(&lines(&mut chain, 3)).unwrap();
    let after = file.lines_after(NAME, second).unwrap().unwrap();
    assert_eq!(after.len(), 3);
    assert_eq!(LineHash::of(&after[2]), chain.head().hash);
    let elsewhere = Head {
        hash: LineHash::NONE,
        ..second
    };
    assert!(file.lines_after(NAME, elsewhere).unwrap().is_none());
    let mut from = 0;
    let mut read = Vec::new();
    loop {
        let some = file.read(from, 10).unwrap();
        if some.is_empty() {
            break;
        }
        from += u64::try_from(some.len()).unwrap();
        read.extend(some);
    }
    assert_eq!(read, fs::read(&path).unwrap());
    file.clear().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"");
}
