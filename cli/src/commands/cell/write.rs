//! Writes files whole or not at all, with exactly the mode asked for.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use anyhow::Context;

/// Whether a file that exists may be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Existing {
    Keep,
    Replace,
}

/// Writes `content` beside `path`, then moves it there.
///
/// With [`Existing::Keep`] a file that appears meanwhile is an error, never overwritten. The mode does
/// not depend on the umask, and the content is never readable by more than the mode allows.
pub(super) fn file(
    path: &Path,
    mode: u32,
    content: &[u8],
    existing: Existing,
) -> anyhow::Result<()> {
    write(path, mode, content, existing).with_context(|| format!("cannot write {}", path.display()))
}

fn write(path: &Path, mode: u32, content: &[u8], existing: Existing) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = dir.join(format!(".{name}.{}.tmp", std::process::id()));
    let result = fill(&temporary, mode, content).and_then(|()| match existing {
        Existing::Replace => fs::rename(&temporary, path),
        // Unlike a rename, a link never replaces.
        Existing::Keep => fs::hard_link(&temporary, path),
    });
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => result.and(Err(error)),
        _ => result,
    }?;
    File::open(dir)?.sync_all()
}

fn fill(path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(content)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.sync_all()
}

/// Makes a directory for its owner alone; one that exists is an error, for whoever made it may look on.
pub(super) fn new_directory(path: &Path) -> anyhow::Result<()> {
    DirBuilder::new()
        .mode(0o700)
        .create(path)
        .with_context(|| format!("cannot make the directory {}", path.display()))
}

/// A number that nobody can foresee, for names of temporary files.
pub(super) fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}

/// Makes a directory with exactly this mode; one that exists is left as it is.
pub(super) fn directory(path: &Path, mode: u32) -> anyhow::Result<()> {
    make(path, mode).with_context(|| format!("cannot make the directory {}", path.display()))
}

fn make(path: &Path, mode: u32) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => fs::set_permissions(path, Permissions::from_mode(mode)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Gives a file or directory exactly this mode.
pub(super) fn set_mode(path: &Path, mode: u32) -> anyhow::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode))
        .with_context(|| format!("cannot set the mode of {}", path.display()))
}

/// Reads a file that may be absent.
pub(super) fn read_if_there(path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_its_mode_and_nothing_is_left_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        file(&path, 0o600, b"one", Existing::Keep).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_new_directory_is_its_owners_alone_and_nobody_else_made_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new");
        new_directory(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert!(new_directory(&path).is_err());
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(new_directory(&link).is_err());
        assert_ne!(random(), random());
    }

    #[test]
    fn a_file_to_keep_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        file(&path, 0o600, b"one", Existing::Keep).unwrap();
        assert!(file(&path, 0o600, b"two", Existing::Keep).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"one");
        file(&path, 0o644, b"two", Existing::Replace).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
