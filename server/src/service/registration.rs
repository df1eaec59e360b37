//! Registration data of a node that waits to be enrolled: a file, published again and again, by which the provisioner
//! and its helper may know more of the node.
//!
//! Choria's nodes cannot send it in protocol v2: without a token of their own the envelope lacks the caller, and its own
//! schema refuses it. Here the caller says that there is none.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use overlay_protocol::envelope::v2::{Request, SecureRequest, Transport};
use overlay_protocol::subject;
use overlay_tokens::UnixTime;
use serde::Serialize;

use super::beat::{Beat, event_id};
use super::connect::random_below;
use crate::node::Node;
use crate::stats::Count;

const EVERY: Duration = Duration::from_secs(120);

/// The longest file that is published.
const MAX_BYTES: u64 = 512 * 1024;

/// In place of a signature and of a token: there is none. The word is Choria's.
const INSECURE: &str = "insecure";

/// Nobody replies to registration data.
const TTL: Duration = Duration::from_secs(60);

#[derive(Serialize)]
struct Document<'a> {
    mtime: i64,
    file: String,
    updated: bool,
    protocol: &'static str,
    #[serde(serialize_with = "base64")]
    content: &'a [u8],
}

/// Tells which content was published last.
#[derive(Debug, Default)]
struct Seen {
    modified: Option<i64>,
}

impl Beat {
    /// Publishes the file after one to four seconds, and then every two minutes.
    pub(super) async fn registration(self, file: PathBuf) {
        let first = u64::from(random_below(4)).saturating_add(1);
        tokio::time::sleep(Duration::from_secs(first)).await;
        let mut seen = Seen::default();
        loop {
            let now = UnixTime::from(self.clock.now());
            match message(&file, &mut seen, &self.node, now) {
                Ok(bytes) => {
                    let subject = subject::PROVISIONING_REGISTRATION.to_owned();
                    self.outbox.publish(subject, bytes, Count::Event).await;
                }
                Err(error) => {
                    tracing::error!(file = %file.display(), error = %error, "no registration data");
                }
            }
            tokio::time::sleep(EVERY).await;
        }
    }
}

fn message(file: &Path, seen: &mut Seen, node: &Node, now: UnixTime) -> std::io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let opened = std::fs::File::open(file)?;
    let modified = opened.metadata()?.modified()?;
    opened.take(MAX_BYTES + 1).read_to_end(&mut content)?;
    let bytes = u64::try_from(content.len()).unwrap_or(u64::MAX);
    if content.is_empty() || bytes > MAX_BYTES {
        return Err(std::io::Error::other(format!(
            "{bytes} bytes: it must have some, and {MAX_BYTES} at most"
        )));
    }
    let mtime = modified
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_secs()).ok())
        .unwrap_or_default();
    // The first one is no news: a fleet that starts must not look like a fleet that changed.
    let updated = seen.modified.is_some_and(|before| mtime > before);
    seen.modified = Some(mtime);
    let document = serde_json::to_vec(&Document {
        mtime,
        file: file.display().to_string(),
        updated,
        protocol: "choria:registration:filecontent:1",
        content: &content,
    })?;
    let request = Request {
        message: document,
        id: event_id().replace('-', ""),
        sender: node.identity.to_string(),
        caller: format!("choria={}", node.identity),
        collective: node.main_collective.to_string(),
        agent: "registration".to_owned(),
        ttl: TTL,
        time_ns: now.as_nanos(),
        filter: None,
    };
    let secure = SecureRequest {
        request: request.encode(),
        signature: INSECURE.as_bytes().to_vec(),
        caller: INSECURE.to_owned(),
        signer: None,
    };
    let mut transport = Transport::new(secure.encode());
    transport.reply = Some(subject::DEV_NULL.to_owned());
    transport.sender = Some(node.identity.to_string());
    Ok(transport.encode())
}

fn base64<S: serde::Serializer>(bytes: &&[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(bytes))
}
