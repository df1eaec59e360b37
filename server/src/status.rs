//! The status file: what `choria tool status` reads, with a little more under `overlay`.

use std::io;
use std::path::Path;

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::VERSION;
use crate::node::Node;
use crate::stats::Snapshot;

/// How Choria writes a time that is not set.
const NO_TIME: &str = "0001-01-01T00:00:00Z";

#[derive(Debug, Serialize)]
struct Status<'a> {
    identity: &'a str,
    uptime: i64,
    connected_server: String,
    last_message: i64,
    provisioning_mode: bool,
    stats: Stats,
    certificate_expires: &'static str,
    token_expires: String,
    overlay: Own,
}

#[derive(Debug, Serialize)]
struct Stats {
    total: u64,
    valid: u64,
    invalid: u64,
    passed: u64,
    filtered: u64,
    replies: u64,
    ttlexpired: u64,
    events: u64,
}

/// What Choria's file has no place for.
#[derive(Debug, Serialize)]
struct Own {
    version: &'static str,
    /// Subjects the broker does not let the node hear.
    refused_subjects: Vec<String>,
    /// Why there is no connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
    reconnects: u64,
    stats: Snapshot,
}

/// The file's content at `now`, in Unix seconds.
pub fn render(node: &Node, now: i64) -> Vec<u8> {
    let stats = node.stats.snapshot();
    let token_expires = node
        .link
        .token_expires()
        .and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok())
        .and_then(|at| at.format(&Rfc3339).ok())
        .unwrap_or_else(|| NO_TIME.to_owned());
    let status = Status {
        identity: node.identity.as_str(),
        uptime: now.saturating_sub(node.started).max(0),
        connected_server: node.link.connected_server().unwrap_or_default(),
        last_message: stats.last_message,
        provisioning_mode: node.is_unprovisioned(),
        stats: Stats {
            total: stats.total,
            valid: stats.valid,
            invalid: stats.invalid,
            passed: stats.passed,
            filtered: stats.filtered,
            replies: stats.replies,
            ttlexpired: stats.ttl_expired,
            events: stats.events,
        },
        certificate_expires: NO_TIME,
        token_expires,
        overlay: Own {
            version: VERSION,
            refused_subjects: node.link.refused_subjects(),
            last_error: node.link.last_error(),
            reconnects: node.link.reconnects(),
            stats,
        },
    };
    serde_json::to_vec(&status).unwrap_or_default()
}

/// Writes beside the file and moves it into place, so that readers see the old or the new one.
pub fn write(file: &Path, content: &[u8]) -> io::Result<()> {
    let mut beside = file.as_os_str().to_owned();
    beside.push(".new");
    let beside = Path::new(&beside);
    std::fs::write(beside, content)?;
    #[cfg(unix)]
    std::fs::set_permissions(beside, std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    std::fs::rename(beside, file)
}
