//! `[login]`: who may log in, and how.

use std::path::PathBuf;

use overlay_runtime::Fault;
use serde::Deserialize;

use super::TokenFiles;
use super::raw::token_files;

pub(super) const REFERENCE: &str = r#"# Who may log in. Without this table nobody may.
# [login]
# The chain issuer, which signs the tokens of those who log in.
# token_file = "/etc/overlay/aaa-signer/issuer.jwt"
# seed_file = "/etc/overlay/aaa-signer/issuer.seed"
"#;

/// The table as files hold it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawLogin {
    token_file: Option<PathBuf>,
    seed_file: Option<PathBuf>,
}

/// Who may log in, and how.
#[derive(Debug, Clone)]
pub struct Login {
    /// The chain issuer.
    pub issuer: TokenFiles,
}

impl RawLogin {
    pub(super) fn check(self, at: &str, faults: &mut Vec<Fault>) -> Option<Login> {
        let issuer = token_files(at, "the chain issuer", self.token_file, self.seed_file, faults);
        Some(Login { issuer: issuer? })
    }
}
