//! NATS credentials: a user's JWT and the seed of its key, in one file or in two.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use overlay_runtime::Secrets;
use overlay_tokens::UnixTime;
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use zeroize::Zeroizing;

use super::{LoginError, secret, text};

/// The longest file of a JWT alone.
const MAX_JWT_BYTES: usize = 64 * 1024;

/// What a user shows.
pub(super) struct Credentials {
    pub(super) jwt: String,
    pub(super) seed: Zeroizing<String>,
}

/// Reads a JWT and a seed. A file may hold both between lines of dashes, as `nsc` writes them, or one of them alone.
pub(super) fn read(
    file: &Path,
    seed_file: Option<&Path>,
    secrets: &Secrets,
) -> Result<Credentials, LoginError> {
    let missing = |path: &Path, what| LoginError::Credentials {
        path: path.to_owned(),
        what,
    };
    let Some(seed_file) = seed_file else {
        let both = secret(file, secrets)?;
        let content = text(&both, file)?;
        let mut blocks = blocks(content);
        let jwt = blocks.next().ok_or_else(|| missing(file, "user JWT"))?;
        let seed = blocks.next().ok_or_else(|| missing(file, "seed"))?;
        return Ok(Credentials {
            jwt: jwt.to_owned(),
            seed: Zeroizing::new(seed.to_owned()),
        });
    };
    let place = secrets.locate(file);
    let content = std::fs::read(&place).map_err(|source| LoginError::Read {
        path: place.clone(),
        source,
    })?;
    let content = std::str::from_utf8(&content)
        .ok()
        .filter(|content| content.len() <= MAX_JWT_BYTES)
        .ok_or_else(|| missing(&place, "user JWT"))?;
    let jwt = one(content).ok_or_else(|| missing(&place, "user JWT"))?;
    let seed = secret(seed_file, secrets)?;
    let content = text(&seed, seed_file)?;
    // A file of both is taken for a seed file too: its seed is the second block.
    let seed = blocks(content).nth(1).or_else(|| one(content));
    let seed = seed.ok_or_else(|| missing(seed_file, "seed"))?;
    Ok(Credentials {
        jwt: jwt.to_owned(),
        seed: Zeroizing::new(seed.to_owned()),
    })
}

/// What stands between lines of dashes: `-----BEGIN X-----`, the block, `------END X------`.
fn blocks(content: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    content.lines().map(str::trim).filter(move |line| {
        if line.starts_with("---") {
            inside = line.contains("BEGIN");
            return false;
        }
        inside && !line.is_empty()
    })
}

/// The first block, or the whole text when it is undecorated.
fn one(content: &str) -> Option<&str> {
    blocks(content).next().or_else(|| {
        let bare = content.trim();
        (!bare.is_empty() && !bare.contains(char::is_whitespace)).then_some(bare)
    })
}

/// When a JWT has expired by `now`; what cannot be read of it has not, as far as is known.
pub(crate) fn expired(jwt: &str, now: UnixTime) -> Option<String> {
    #[derive(Deserialize)]
    struct Claims {
        #[serde(default)]
        exp: i64,
    }
    let claims = jwt.split('.').nth(1)?;
    let claims = URL_SAFE_NO_PAD.decode(claims).ok()?;
    let Claims { exp } = serde_json::from_slice(&claims).ok()?;
    let is_past = exp > 0 && now.secs >= exp;
    is_past.then(|| {
        OffsetDateTime::from_unix_timestamp(exp)
            .ok()
            .and_then(|at| at.format(&Rfc3339).ok())
            .unwrap_or_else(|| exp.to_string())
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::PathBuf;

    use proptest::prelude::*;

    use super::*;

    const BOTH: &str = "-----BEGIN NATS USER JWT-----\neyJ.e30.c2ln\n------END NATS USER JWT------\n\n\
        ************************* IMPORTANT *************************\nkeep it\n\n\
        -----BEGIN USER NKEY SEED-----\nSUASEED\n------END USER NKEY SEED------\n";

    fn write(dir: &Path, name: &str, content: &str) -> PathBuf {
        let path = dir.join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    #[test]
    fn one_file_or_two_with_and_without_decoration() {
        let dir = tempfile::tempdir().unwrap();
        let secrets = Secrets::default();
        let both = write(dir.path(), "both.creds", BOTH);
        let jwt = write(dir.path(), "user.jwt", "eyJ.e30.c2ln\n");
        let seed = write(dir.path(), "user.nk", "SUASEED\n");
        for (file, seed_file) in [
            (&both, None),
            (&jwt, Some(&seed)),
            (&both, Some(&seed)),
            (&jwt, Some(&both)),
        ] {
            let found = read(file, seed_file.map(PathBuf::as_path), &secrets).unwrap();
            assert_eq!(
                (found.jwt.as_str(), found.seed.as_str()),
                ("eyJ.e30.c2ln", "SUASEED")
            );
        }
        for (name, content) in [("a", "nothing here"), ("b", "SUASEED"), ("c", "---")] {
            let file = write(dir.path(), name, content);
            let error = read(&file, None, &secrets).map(|_| ()).unwrap_err();
            assert!(error.to_string().contains(&*file.to_string_lossy()));
        }
    }

    #[test]
    fn an_expiry_is_read_from_the_claims() {
        let jwt = |claims: &str| format!("h.{}.s", URL_SAFE_NO_PAD.encode(claims));
        let now = UnixTime::from_secs(1000);
        assert_eq!(
            expired(&jwt(r#"{"exp":1000}"#), now).as_deref(),
            Some("1970-01-01T00:16:40Z")
        );
        for text in [jwt(r#"{"exp":1001}"#), jwt("{}"), jwt("no"), String::new()] {
            assert_eq!(expired(&text, now), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*") {
            let count = blocks(&text).count();
            prop_assert!(count <= text.lines().count());
            prop_assert!(one(&text).is_none_or(|block| !block.contains('\n')));
            drop(expired(&text, UnixTime::from_secs(0)));
        }
    }
}
