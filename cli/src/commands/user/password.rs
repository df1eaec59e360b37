//! A new password: asked for twice or taken from standard input, and its hash.

use std::io::Read as _;

use argon2::password_hash::SaltString;
use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, Version};
use clap::ArgGroup;
use zeroize::Zeroizing;

use crate::error::Failure;
use crate::prompt;

/// Shortest password; the longest that the login service takes is 1 KiB.
const MIN_CHARACTERS: usize = 8;
const MAX_BYTES: usize = 1024;
/// Bcrypt would look at no more than this.
const BCRYPT_BYTES: usize = 72;
/// Work of new argon2id hashes: 19 MiB, two passes, one lane (OWASP, 2023).
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;

/// How a password is given and kept.
#[derive(Debug, Clone, clap::Args)]
#[command(group = ArgGroup::new("password"))]
pub(super) struct PasswordArgs {
    /// Take the password from standard input: its first line
    #[arg(long)]
    password_stdin: bool,
    /// Keep a bcrypt hash, which Choria's service reads as well, instead of argon2id
    #[arg(long)]
    bcrypt: bool,
    /// Work of a bcrypt hash, 10 to 16; each step doubles it
    #[arg(long, value_name = "N", default_value_t = 12, requires = "bcrypt", value_parser = clap::value_parser!(u32).range(10..=16))]
    cost: u32,
}

impl PasswordArgs {
    /// The password's hash.
    pub(super) async fn hash(&self, name: &str) -> Result<String, Failure> {
        let password = if self.password_stdin {
            from_stdin()?
        } else {
            ask(name).await?
        };
        check(&password, self.bcrypt)?;
        if self.bcrypt {
            return Ok(bcrypt::hash_with_result(password.as_bytes(), self.cost)?
                .format_for_version(bcrypt::Version::TwoB));
        }
        argon2id(&password)
    }
}

fn check(password: &str, bcrypt: bool) -> Result<(), Failure> {
    if password.chars().count() < MIN_CHARACTERS {
        return Err(Failure::new(format!(
            "the password has less than {MIN_CHARACTERS} characters"
        )));
    }
    if password.len() > MAX_BYTES {
        return Err(Failure::new(format!(
            "the password has more than {MAX_BYTES} bytes"
        )));
    }
    if bcrypt && password.len() > BCRYPT_BYTES {
        return Err(Failure::new(format!(
            "bcrypt would look at the first {BCRYPT_BYTES} bytes of the password only"
        ))
        .hint("leave out `--bcrypt`: argon2id takes all of it"));
    }
    Ok(())
}

fn argon2id(password: &str) -> Result<String, Failure> {
    let mut random = [0_u8; 16];
    getrandom::fill(&mut random)?;
    let failed = |error: argon2::password_hash::Error| Failure::new(format!("no hash: {error}"));
    let salt = SaltString::encode_b64(&random).map_err(failed)?;
    let params = Params::new(MEMORY_KIB, PASSES, 1, None)
        .map_err(|error| Failure::new(format!("no hash: {error}")))?;
    let hash = Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password(password.as_bytes(), &salt)
        .map_err(failed)?;
    Ok(hash.to_string())
}

async fn ask(name: &str) -> Result<Zeroizing<String>, Failure> {
    let question = format!("New password for {name}: ");
    let first = prompt::hidden(&question)
        .await
        .map_err(|failure| failure.hint("`--password-stdin` takes it from standard input"))?;
    let second = prompt::hidden("Once more: ").await?;
    if *first == *second {
        Ok(first)
    } else {
        Err(Failure::new("the two passwords differ").hint("nothing was changed"))
    }
}

fn from_stdin() -> Result<Zeroizing<String>, Failure> {
    let limit = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX) + 3;
    let mut text = Zeroizing::new(String::new());
    std::io::stdin().take(limit).read_to_string(&mut text)?;
    let line = text.split('\n').next().unwrap_or_default();
    Ok(Zeroizing::new(
        line.strip_suffix('\r').unwrap_or(line).to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use argon2::{PasswordHash, PasswordVerifier as _};

    use super::*;

    #[test]
    fn an_argon2id_hash_is_of_its_password_and_of_a_salt_of_its_own() {
        let (one, two) = (
            argon2id("correct horse").unwrap(),
            argon2id("correct horse").unwrap(),
        );
        assert_ne!(one, two);
        assert!(one.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{one}");
        let hash = PasswordHash::new(&one).unwrap();
        let verify = |password: &str| Argon2::default().verify_password(password.as_bytes(), &hash);
        assert!(verify("correct horse").is_ok());
        assert!(verify("correct horsf").is_err());
    }

    #[test]
    fn short_and_cut_passwords_are_refused() {
        assert!(check("1234567", false).is_err());
        assert!(check("12345678", false).is_ok());
        assert!(check(&"x".repeat(73), false).is_ok());
        assert!(check(&"x".repeat(73), true).is_err());
        assert!(check(&"x".repeat(1025), false).is_err());
    }
}
