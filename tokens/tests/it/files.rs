//! Key and token files: forms, modes, and what happens to files that exist.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use overlay_tokens::file::{
    FileError, Overwrite, default_seed_path, exposure, read_public, read_seed, read_token,
    write_public, write_seed, write_token,
};

use crate::support::{client_claims, org, signed, user};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn seeds_and_keys_are_written_as_choria_writes_them() {
    let dir = tempfile::tempdir().unwrap();
    let (seed, public) = (dir.path().join("user.seed"), dir.path().join("user.public"));
    write_seed(&seed, &user(), Overwrite::No).unwrap();
    write_public(&public, &user().public(), Overwrite::No).unwrap();
    assert_eq!(fs::read(&seed).unwrap(), "03".repeat(32).as_bytes());
    assert_eq!(
        fs::read(&public).unwrap(),
        user().public().to_string().as_bytes()
    );
    assert_eq!((mode(&seed), mode(&public)), (0o600, 0o600));
    assert_eq!(read_seed(&seed).unwrap().public(), user().public());
    assert_eq!(read_public(&public).unwrap(), user().public());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn an_existing_seed_is_kept_unless_told_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("seed");
    write_seed(&path, &user(), Overwrite::No).unwrap();
    assert!(matches!(
        write_seed(&path, &org(), Overwrite::No),
        Err(FileError::Exists { .. })
    ));
    assert_eq!(read_seed(&path).unwrap().public(), user().public());
    write_seed(&path, &org(), Overwrite::Yes).unwrap();
    assert_eq!(read_seed(&path).unwrap().public(), org().public());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_token_replaces_another_and_loses_its_line_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("user.jwt");
    fs::write(&path, "old").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let token = signed(&client_claims(), &org());
    write_token(&path, &format!("{token}\n")).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), token);
    assert_eq!(mode(&path), 0o600);
    fs::write(&path, format!(" {token}\r\n")).unwrap();
    assert_eq!(read_token(&path).unwrap(), token);
    assert_eq!(default_seed_path(&path), dir.path().join("user.key"));
}

#[test]
fn a_seed_that_others_may_read_or_write_is_reported_and_still_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("seed");
    write_seed(&path, &user(), Overwrite::No).unwrap();
    assert_eq!(exposure(&path).unwrap(), None);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(exposure(&path).unwrap().unwrap().mode, 0o640);
    for mode in [0o620, 0o602] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(exposure(&path).unwrap().unwrap().mode, mode);
    }
    read_seed(&path).unwrap();
}

#[test]
fn wrong_files_are_named_with_their_fault() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    assert!(matches!(read_seed(&path), Err(FileError::Read { .. })));
    fs::write(&path, format!("{}\n", "03".repeat(32))).unwrap();
    assert!(matches!(read_seed(&path), Err(FileError::Key { .. })));
    assert!(matches!(read_public(&path), Err(FileError::Key { .. })));
    fs::write(&path, vec![b'a'; 100_000]).unwrap();
    assert!(matches!(read_seed(&path), Err(FileError::TooLong { .. })));
    assert!(matches!(read_token(&path), Err(FileError::TooLong { .. })));
    fs::write(&path, [0xff, 0xfe]).unwrap();
    assert!(matches!(read_token(&path), Err(FileError::NotText { .. })));
    assert!(matches!(
        write_token(&dir.path().join("no/such/dir"), "x"),
        Err(FileError::Write { .. })
    ));
}
