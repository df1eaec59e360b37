//! `[audit]`: where the record is kept.

use std::path::PathBuf;

use overlay_runtime::Fault;
use serde::Deserialize;

pub(super) const REFERENCE: &str = r#"# Where the record is kept.
[audit.file]
path = "/var/lib/overlay-aaa-signer/audit.jsonl"
"#;

/// The table as files hold it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawAudit {
    file: RawFile,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawFile {
    path: Option<PathBuf>,
}

/// Where the record is kept.
#[derive(Debug, Clone)]
pub struct Audit {
    /// A file.
    pub file: Option<PathBuf>,
}

impl RawAudit {
    #[expect(clippy::unnecessary_wraps, reason = "the other tables can be wrong")]
    pub(super) fn check(self, _at: &str, _faults: &mut Vec<Fault>) -> Option<Audit> {
        Some(Audit {
            file: self.file.path,
        })
    }
}
