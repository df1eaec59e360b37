//! `[audit]`: where the record is kept, and what happens when it cannot be.

use std::path::PathBuf;
use std::time::Duration;

use overlay_protocol::id::Identity;
use overlay_protocol::subject;
use overlay_runtime::nats::{self, Auth, BrokerUrl};
use overlay_runtime::{Fault, Period};
use serde::Deserialize;

pub(super) const REFERENCE: &str = include_str!("audit/reference.toml");

/// How long a record may take, unless set.
const LIMIT: Duration = Duration::from_secs(5);
/// Records that may wait, unless set.
const QUEUE: usize = 4096;
const MOST_QUEUE: usize = 1 << 20;
const REPLICAS: u8 = 1;
const MOST_REPLICAS: u8 = 5;
const MAX_AGE: Duration = Duration::from_secs(400 * 24 * 3600);
const STREAM_BYTES: u64 = 2 << 30;
const LEAST_STREAM_BYTES: u64 = 1 << 20;
const SPOOL_BYTES: u64 = 256 << 20;
const LEAST_SPOOL_BYTES: u64 = 1 << 20;
const CHECKPOINT_EVERY: Duration = Duration::from_secs(60);
const CHECKPOINT_RECORDS: u64 = 1000;

/// The table as files hold it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawAudit {
    to: Option<Vec<Place>>,
    on_outage: OnOutage,
    name: Option<String>,
    limit: Option<Period>,
    queue: Option<usize>,
    stream: Option<RawStream>,
    file: Option<RawFile>,
    spool: Option<RawSpool>,
    checkpoints: RawCheckpoints,
    original: RawOriginalForm,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Place {
    Stream,
    File,
}

/// What happens while the stream cannot be reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnOutage {
    /// Nothing is signed.
    #[default]
    Refuse,
    /// Records wait on the disk of this machine.
    Spool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawStream {
    servers: Option<Vec<String>>,
    ca_file: Option<PathBuf>,
    seed_file: Option<PathBuf>,
    replicas: Option<u8>,
    max_age: Option<Period>,
    max_bytes: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawFile {
    path: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawSpool {
    directory: Option<PathBuf>,
    max_bytes: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawCheckpoints {
    every: Option<Period>,
    records: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawOriginalForm {
    logfile: Option<PathBuf>,
    topic: Option<String>,
}

/// Where the record is kept, and what happens when it cannot be.
#[derive(Debug, Clone)]
pub struct Audit {
    /// Records go into the stream.
    pub stream: Option<AuditStream>,
    /// Records go into a file.
    pub file: Option<PathBuf>,
    /// Records wait here while the stream cannot be reached; without it nothing is signed then.
    pub spool: Option<AuditSpool>,
    /// Name of the chain when there is no server token to name it.
    pub name: Option<Identity>,
    /// How long a record may take; then nothing is signed.
    pub limit: Duration,
    /// Records that may wait.
    pub queue: usize,
    /// When the chain is signed.
    pub checkpoints: Checkpoints,
    /// Copies in the form of the original.
    pub original: OriginalForm,
    /// The way into the account of the audit.
    pub link: Option<Link>,
}

/// The stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditStream {
    /// Copies in a cluster.
    pub replicas: u8,
    /// How long records are kept.
    pub max_age: Duration,
    /// Largest size; a full stream takes nothing more, and nothing is signed.
    pub max_bytes: u64,
}

/// Where records wait while the stream cannot be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditSpool {
    /// Its directory.
    pub directory: PathBuf,
    /// Its largest size; when it is full, nothing is signed.
    pub max_bytes: u64,
}

/// When the chain is signed, beside each begin and end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoints {
    /// After this time, if there are new records.
    pub every: Duration,
    /// After so many records.
    pub records: u64,
}

/// Copies of the records of signatures in the form of the original.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OriginalForm {
    /// File of lines as its `logfile` auditor writes them.
    pub logfile: Option<PathBuf>,
    /// Subject for documents as its `jetstream` auditor publishes them.
    pub topic: Option<String>,
}

/// The way into the account of the audit and of the login service.
#[derive(Debug, Clone)]
pub struct Link {
    /// Its brokers; those of the service itself when there are none.
    pub servers: Vec<BrokerUrl>,
    /// PEM file of the authorities that sign their certificates.
    pub ca_file: Option<PathBuf>,
    /// Nkey seed of the user.
    pub seed_file: PathBuf,
}

impl Default for Audit {
    /// No place, and the defaults of everything else.
    fn default() -> Self {
        Self {
            stream: None,
            file: None,
            spool: None,
            name: None,
            limit: LIMIT,
            queue: QUEUE,
            checkpoints: Checkpoints {
                every: CHECKPOINT_EVERY,
                records: CHECKPOINT_RECORDS,
            },
            original: OriginalForm::default(),
            link: None,
        }
    }
}

impl Default for AuditStream {
    fn default() -> Self {
        Self {
            replicas: REPLICAS,
            max_age: MAX_AGE,
            max_bytes: STREAM_BYTES,
        }
    }
}

impl Audit {
    /// The connection into the account of the audit and of the login service; nothing without a seed or a broker.
    pub fn connection(&self, broker: Option<&nats::Settings>) -> Option<nats::Settings> {
        let link = self.link.as_ref()?;
        let mut settings = match (broker, link.servers.is_empty()) {
            (_, false) => nats::Settings::new("aaa-signer", link.servers.clone()),
            (Some(broker), true) => broker.clone(),
            (None, true) => return None,
        };
        "aaa-signer-records".clone_into(&mut settings.name);
        if link.ca_file.is_some() {
            settings.ca_file.clone_from(&link.ca_file);
        }
        settings.inbox_prefix = None;
        settings.auth = Auth::Nkey {
            seed_file: link.seed_file.clone(),
        };
        Some(settings)
    }
}

impl RawAudit {
    pub(super) fn check(self, at: &str, faults: &mut Vec<Fault>) -> Option<Audit> {
        let before = faults.len();
        let found = &mut Checker { at, faults };
        let wanted = |place, is_there| self.to.as_ref().map_or(is_there, |to| to.contains(&place));
        let (to_stream, to_file) = (
            wanted(Place::Stream, self.stream.is_some()),
            wanted(Place::File, self.file.is_some()),
        );
        if !to_stream && !to_file {
            found.add("to", "names no place for the record", |fault| {
                fault.remedy(
                    "write `to = [\"stream\"]` or `to = [\"file\"]`, and the table of the place",
                )
            });
        }
        let link = self.stream.as_ref().and_then(|raw| raw.link(found));
        if to_stream && link.is_none() {
            found.add("stream.seed_file", "is missing", |fault| {
                fault.remedy("name the nkey seed of the user of account `aaa`")
            });
        }
        let stream = self.stream.unwrap_or_default().check(found);
        let file = self.file.unwrap_or_default().path;
        if to_file && file.is_none() {
            found.add("file.path", "is missing", |fault| {
                fault.remedy("name the file of the records")
            });
        }
        let spool = self.spool.unwrap_or_default().check(self.on_outage, found);
        let audit = Audit {
            stream: to_stream.then_some(stream),
            file: file.filter(|_file| to_file),
            spool: spool.filter(|_spool| to_stream),
            name: name(self.name, found),
            limit: found.period("limit", self.limit, LIMIT),
            queue: self.queue.unwrap_or(QUEUE),
            checkpoints: Checkpoints {
                every: found.period(
                    "checkpoints.every",
                    self.checkpoints.every,
                    CHECKPOINT_EVERY,
                ),
                records: self.checkpoints.records.unwrap_or(CHECKPOINT_RECORDS),
            },
            original: OriginalForm {
                logfile: self.original.logfile,
                topic: self.original.topic,
            },
            link,
        };
        if audit.queue == 0 || audit.queue > MOST_QUEUE {
            found.add("queue", "is no number of records", |fault| {
                fault
                    .value(audit.queue)
                    .remedy(format!("write 1 to {MOST_QUEUE}"))
            });
        }
        if audit.checkpoints.records == 0 {
            found.add("checkpoints.records", "is 0", |fault| {
                fault.remedy("write 1 or more")
            });
        }
        if let Some(topic) = &audit.original.topic
            && !subject::is_valid(topic)
        {
            found.add("original.topic", "is no subject", |fault| {
                fault.value(topic)
            });
        }
        if audit.original.topic.is_some() && audit.link.is_none() {
            found.add("original.topic", "needs a connection", |fault| {
                fault.remedy("write [audit.stream] seed_file")
            });
        }
        (faults.len() == before).then_some(audit)
    }
}

impl RawStream {
    fn link(&self, found: &mut Checker<'_>) -> Option<Link> {
        let mut servers = Vec::new();
        for text in self.servers.iter().flatten() {
            match text.parse() {
                Ok(url) => servers.push(url),
                Err(_no_url) => found.add("stream.servers", "is no address of a broker", |fault| {
                    fault.value(text)
                }),
            }
        }
        Some(Link {
            servers,
            ca_file: self.ca_file.clone(),
            seed_file: self.seed_file.clone()?,
        })
    }

    fn check(&self, found: &mut Checker<'_>) -> AuditStream {
        let stream = AuditStream {
            replicas: self.replicas.unwrap_or(REPLICAS),
            max_age: found.period("stream.max_age", self.max_age, MAX_AGE),
            max_bytes: self.max_bytes.unwrap_or(STREAM_BYTES),
        };
        if !(1..=MOST_REPLICAS).contains(&stream.replicas) {
            found.add("stream.replicas", "is no number of servers", |fault| {
                fault
                    .value(stream.replicas)
                    .remedy(format!("write 1 to {MOST_REPLICAS}"))
            });
        }
        if stream.max_bytes < LEAST_STREAM_BYTES || i64::try_from(stream.max_bytes).is_err() {
            found.add("stream.max_bytes", "is no size of a stream", |fault| {
                fault.value(stream.max_bytes)
            });
        }
        stream
    }
}

impl RawSpool {
    fn check(self, on_outage: OnOutage, found: &mut Checker<'_>) -> Option<AuditSpool> {
        if on_outage == OnOutage::Refuse {
            return None;
        }
        let max_bytes = self.max_bytes.unwrap_or(SPOOL_BYTES);
        if max_bytes < LEAST_SPOOL_BYTES {
            found.add("spool.max_bytes", "is below 1048576", |fault| {
                fault.value(max_bytes)
            });
        }
        if self.directory.is_none() {
            found.add("spool.directory", "is missing", |fault| {
                fault.remedy("name a directory on a local disk")
            });
        }
        Some(AuditSpool {
            directory: self.directory?,
            max_bytes,
        })
    }
}

fn name(raw: Option<String>, found: &mut Checker<'_>) -> Option<Identity> {
    let text = raw?;
    match Identity::new(text.as_str()) {
        Ok(name) => Some(name),
        Err(error) => {
            found.add("name", &error.to_string(), |fault| fault.value(text));
            None
        }
    }
}

/// Collects faults of one table.
struct Checker<'a> {
    at: &'a str,
    faults: &'a mut Vec<Fault>,
}

impl Checker<'_> {
    fn add(&mut self, key: &str, problem: &str, more: impl FnOnce(Fault) -> Fault) {
        let fault = Fault::new(format!("{}.{key}", self.at), problem);
        self.faults.push(more(fault));
    }

    fn period(&mut self, key: &str, raw: Option<Period>, default: Duration) -> Duration {
        let key = format!("{}.{key}", self.at);
        super::check::period(&key, raw, default, Duration::from_millis(1), self.faults)
    }
}
