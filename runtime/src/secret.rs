//! Secrets, read from files that nobody else may read.

use std::fmt;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use zeroize::{Zeroize as _, Zeroizing};

/// The largest secret that is read: more is a wrong file.
const MAX_BYTES: u64 = 64 * 1024;

/// A secret: masked when shown, wiped when dropped, never serialised.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

/// Reads secrets: from systemd's credential directory when it has them, else from their files.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    credentials: Option<PathBuf>,
}

/// Why a secret could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// The file cannot be read.
    #[error("read secret file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Others may read the file.
    #[error("secret file {} has mode {mode:04o}, which lets others read it; chmod 0600", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is too large to be a secret.
    #[error("secret file {} is larger than {MAX_BYTES} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file holds nothing.
    #[error("secret file {} is empty", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The secret is not text.
    #[error("the secret is not text")]
    NotText,
}

impl Secret {
    /// Takes bytes as a secret.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// The bytes themselves.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The secret as text, without white space around it.
    ///
    /// # Errors
    ///
    /// When it is not UTF-8.
    pub fn expose_text(&self) -> Result<&str, SecretError> {
        std::str::from_utf8(&self.0)
            .map(str::trim)
            .map_err(|_| SecretError::NotText)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

impl Secrets {
    /// Looks into `credentials` first: systemd's `$CREDENTIALS_DIRECTORY`, if there is one.
    pub fn new(credentials: Option<PathBuf>) -> Self {
        Self { credentials }
    }

    /// Whether systemd guards the file: it lies in the credential directory, links followed.
    ///
    /// Credentials have mode 0440 there, and systemd alone decides who may enter the directory.
    pub fn guards(&self, path: &Path) -> bool {
        self.credentials.as_ref().is_some_and(|dir| {
            let dir = std::fs::canonicalize(dir);
            let path = std::fs::canonicalize(path);
            matches!((dir, path), (Ok(dir), Ok(path)) if path.starts_with(&dir))
        })
    }

    /// Where a configured file is that is no secret but comes with one, such as a token: a credential with the same file
    /// name, else the path itself.
    pub fn locate(&self, path: &Path) -> PathBuf {
        self.credential(path).unwrap_or_else(|| path.to_owned())
    }

    fn credential(&self, path: &Path) -> Option<PathBuf> {
        self.credentials
            .as_ref()
            .zip(path.file_name())
            .map(|(dir, name)| dir.join(name))
            .filter(|credential| credential.is_file())
    }

    /// Reads the secret of a configured path.
    ///
    /// A credential with the same file name comes first; systemd guards its directory. Else the
    /// file is read, which only its owner may be able to read.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, others may read it, or it is empty or far too large.
    pub fn read(&self, path: &Path) -> Result<Secret, SecretError> {
        match self.credential(path) {
            Some(credential) => read(&credential, Mode::Guarded),
            None => read(path, Mode::OwnerOnly),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    OwnerOnly,
    Guarded,
}

fn read(path: &Path, expected: Mode) -> Result<Secret, SecretError> {
    let failed = |source| SecretError::Read {
        path: path.to_owned(),
        source,
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o7777;
    if expected == Mode::OwnerOnly && mode & 0o077 != 0 {
        return Err(SecretError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    let mut bytes = Vec::new();
    let read = file.take(MAX_BYTES + 1).read_to_end(&mut bytes);
    let secret = Secret::new(std::mem::take(&mut bytes));
    bytes.zeroize();
    read.map_err(failed)?;
    if secret.expose().len() as u64 > MAX_BYTES {
        return Err(SecretError::TooLarge {
            path: path.to_owned(),
        });
    }
    if secret.expose().trim_ascii().is_empty() {
        return Err(SecretError::Empty {
            path: path.to_owned(),
        });
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};

    use super::*;

    fn file(dir: &Path, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = dir.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn a_file_of_the_owner_alone_is_read_and_trimmed() {
        let dir = tempfile::tempdir().unwrap();
        let path = file(dir.path(), "seed", "SUAX\n", 0o600);
        let secret = Secrets::default().read(&path).unwrap();
        assert_eq!(secret.expose_text().unwrap(), "SUAX");
        assert_eq!(secret.expose(), b"SUAX\n");
    }

    #[test]
    fn a_file_that_others_may_read_is_refused_with_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        for mode in [0o640, 0o604, 0o644, 0o620] {
            let path = file(dir.path(), "seed", "SUAX", mode);
            let error = Secrets::default().read(&path).unwrap_err();
            assert!(matches!(error, SecretError::Exposed { mode: m, .. } if m == mode));
            fs::remove_file(path).unwrap();
        }
    }

    #[test]
    fn a_credential_of_that_name_comes_first_whatever_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let credentials = tempfile::tempdir().unwrap();
        file(credentials.path(), "seed", "from systemd", 0o440);
        let path = file(dir.path(), "seed", "from the file", 0o600);
        let other = file(dir.path(), "other", "from the file", 0o600);
        let secrets = Secrets::new(Some(credentials.path().to_owned()));
        assert_eq!(secrets.read(&path).unwrap().expose(), b"from systemd");
        assert_eq!(secrets.read(&other).unwrap().expose(), b"from the file");
        assert_eq!(secrets.locate(&path), credentials.path().join("seed"));
        assert_eq!(secrets.locate(&other), other);
    }

    #[test]
    fn only_files_below_the_credential_directory_are_guarded() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("credentials");
        let beside = root.path().join("credentials-not");
        fs::create_dir(&dir).unwrap();
        fs::create_dir(&beside).unwrap();
        let credential = file(&dir, "seed", "SUAX", 0o440);
        let elsewhere = file(&beside, "seed", "SUAX", 0o440);
        let link = dir.join("link");
        std::os::unix::fs::symlink(&elsewhere, &link).unwrap();
        let secrets = Secrets::new(Some(dir.clone()));
        assert!(secrets.guards(&credential));
        assert!(!secrets.guards(&elsewhere));
        assert!(!secrets.guards(&dir.join("../credentials-not/seed")));
        assert!(!secrets.guards(&link));
        assert!(!secrets.guards(&dir.join("absent")));
        assert!(!Secrets::default().guards(&credential));
    }

    #[test]
    fn empty_large_and_absent_files_are_faults() {
        let dir = tempfile::tempdir().unwrap();
        let secrets = Secrets::default();
        let empty = file(dir.path(), "empty", " \n", 0o600);
        assert!(matches!(
            secrets.read(&empty),
            Err(SecretError::Empty { .. })
        ));
        let large = file(dir.path(), "large", &"x".repeat(65 * 1024), 0o600);
        assert!(matches!(
            secrets.read(&large),
            Err(SecretError::TooLarge { .. })
        ));
        let absent = dir.path().join("absent");
        assert!(matches!(
            secrets.read(&absent),
            Err(SecretError::Read { .. })
        ));
    }

    #[test]
    fn is_masked_when_shown() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret(***)");
        assert!(matches!(
            Secret::new(vec![0xff]).expose_text(),
            Err(SecretError::NotText)
        ));
    }
}
