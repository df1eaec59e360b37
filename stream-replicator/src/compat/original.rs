//! What the original reads from its file, and its rules for it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use overlay_runtime::Fault;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::duration::duration;
use super::read::Table;
use super::yaml::{self, Node};

/// The whole file, defaults filled in, with the names of its keys.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Original {
    /// The site.
    pub name: String,
    /// Copies.
    pub streams: Vec<Stream>,
    /// Where state is kept.
    pub state_store: String,
    /// Certificates of all streams.
    pub tls: Option<Files>,
    /// Login of all streams.
    pub choria: Option<ChoriaConnection>,
    /// Port of metrics on all interfaces.
    pub monitor_port: i64,
    /// Whether its profiler is served.
    pub profiling: bool,
    /// Log file.
    pub logfile: String,
    /// Log level.
    pub loglevel: String,
    /// Heartbeats.
    pub heartbeats: Option<Heartbeats>,
    /// Keys that were not known.
    #[serde(skip)]
    pub unknown: Vec<String>,
}

/// Certificates.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Files {
    /// Authorities.
    pub ca: String,
    /// Own certificate.
    pub cert: String,
    /// Its key.
    pub key: String,
}

/// A login with a Choria token.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ChoriaConnection {
    /// Seed of its key.
    pub seed_file: String,
    /// The token.
    pub jwt_file: String,
    /// Collective of replies.
    pub collective: String,
}

/// One copy.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Stream {
    /// The source stream.
    pub stream: String,
    /// Name of the worker.
    pub name: String,
    /// The target stream.
    pub target_stream: String,
    /// Put before subjects.
    pub target_subject_prefix: String,
    /// Taken out of subjects.
    pub target_subject_remove: String,
    /// Brokers of the source, with options.
    pub source_url: String,
    /// Brokers of the target, with options.
    pub target_url: String,
    /// The target stream is not made.
    pub no_target_create: bool,
    /// Read by the target.
    pub target_initiated: bool,
    /// All is copied at each start.
    pub ephemeral: bool,
    /// What is copied.
    pub filter_subject: String,
    /// First sequence.
    pub start_sequence: u64,
    /// First time.
    pub start_time: String,
    /// First age, as written.
    pub start_delta: String,
    /// Only what comes.
    pub start_at_end: bool,
    /// Certificates of both sides.
    pub tls: Option<Files>,
    /// Of the source.
    pub source_tls: Option<Files>,
    /// Of the target.
    pub target_tls: Option<Files>,
    /// Login at both sides.
    pub choria: Option<ChoriaConnection>,
    /// At the source.
    pub source_choria: Option<ChoriaConnection>,
    /// At the target.
    pub target_choria: Option<ChoriaConnection>,
    /// The oldest that is copied, as written.
    pub max_age: String,
    /// Sampled by this field.
    pub inspect_field: String,
    /// Copied in any case when this field is there.
    pub inspect_force_field: String,
    /// Sampled by this header.
    pub inspect_header: String,
    /// Sampled by this token of the subject.
    pub inspect_subject_token: i64,
    /// How often a value is copied, as written.
    pub inspect_duration: String,
    /// A silence that is told of, as written.
    pub warn_duration: String,
    /// A change of size that makes a copy.
    pub size_trigger: f64,
    /// Name in the election.
    pub leader_election_name: String,
    /// How values are told of.
    pub advisory: Option<Advisory>,
    /// The spans of time, read.
    #[serde(skip)]
    pub times: Times,
}

/// Spans of time of a copy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Times {
    /// First age.
    pub start_delta: Duration,
    /// First time.
    pub start_time: Option<OffsetDateTime>,
    /// How often a value is copied.
    pub inspect: Duration,
    /// A silence that is told of.
    pub warn: Duration,
    /// The oldest that is copied.
    pub max_age: Duration,
}

/// How values are told of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Advisory {
    /// With `%s` and `%v`.
    pub subject: String,
    /// Whether a stream must have it.
    pub reliable: bool,
}

/// Heartbeats.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Heartbeats {
    /// Brokers, with options.
    pub url: String,
    /// One of the replicas beats.
    pub leader_election: bool,
    /// Headers of all.
    pub headers: BTreeMap<String, String>,
    /// How often, as written.
    pub interval: String,
    /// Where.
    pub subjects: Vec<Beat>,
    /// Certificates.
    pub tls: Files,
    /// Login.
    pub choria: ChoriaConnection,
}

/// One subject of heartbeats.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Beat {
    /// The subject.
    #[serde(rename = "subject")]
    pub name: String,
    /// Headers beside those of all.
    pub headers: BTreeMap<String, String>,
    /// How often, as written.
    pub interval: String,
}

impl Original {
    /// Reads the YAML as the original does: names in any case, unknown ones passed over, types exactly.
    ///
    /// # Errors
    ///
    /// Everything that the original refuses, or crashes on.
    pub fn read(text: &str) -> Result<Self, Vec<Fault>> {
        let node = yaml::read(text)
            .map_err(|error| vec![Fault::new("", format!("is no YAML: {error}"))])?;
        let mut faults = Vec::new();
        let mut unknown = Vec::new();
        let mut read = Self::default();
        match node {
            Node::Null => read.profiling = true,
            Node::Map(_) => {
                let table = Table::over("", &node, &mut faults, &mut unknown);
                read = table.map(Self::of).unwrap_or_default();
            }
            Node::Bool(_) | Node::Int(_) | Node::Float(_) | Node::Text(_) | Node::List(_) => {
                let problem = format!("is {}, and not a mapping", node.kind());
                return Err(vec![Fault::new("", problem)]);
            }
        }
        read.unknown = unknown;
        // What is wrong with a type has no value here: the rules would only follow from it.
        if faults.is_empty() {
            read.validate(&mut faults);
        }
        if faults.is_empty() {
            Ok(read)
        } else {
            Err(faults)
        }
    }

    fn of(table: &mut Table<'_>) -> Self {
        Self {
            name: table.text("name"),
            streams: table.list("streams", Stream::of),
            state_store: table.text("state_store"),
            tls: table.table("tls", Files::of),
            choria: table.table("choria", ChoriaConnection::of),
            monitor_port: table.number("monitor_port"),
            profiling: table.switch("profiling", true),
            logfile: table.text("logfile"),
            loglevel: table.text("loglevel"),
            heartbeats: table.table("heartbeats", Heartbeats::of),
            unknown: Vec::new(),
        }
    }

    /// The original's rules, in its order, all at once.
    fn validate(&mut self, faults: &mut Vec<Fault>) {
        if self.name.is_empty() {
            faults.push(Fault::new("name", "name is required").remedy("name this site"));
        }
        let mut names = BTreeSet::new();
        for (number, stream) in self.streams.iter_mut().enumerate() {
            let at = |key: &str| format!("streams[{number}].{key}");
            if stream.inspections() > 1 {
                faults.push(Fault::new(
                    at("inspect_field"),
                    "only one inspection mode can be set per stream",
                ));
            }
            if stream.name.is_empty() {
                stream.name.clone_from(&self.name);
            }
            if stream.stream.is_empty() {
                faults.push(Fault::new(at("stream"), "stream not specified"));
            } else if !names.insert((stream.stream.clone(), stream.name.clone())) {
                let problem = format!(
                    "duplicate stream configuration name {} for stream {}",
                    stream.name, stream.stream
                );
                faults.push(Fault::new(at("name"), problem));
            }
            if stream.target_stream.is_empty() {
                stream.target_stream.clone_from(&stream.stream);
            }
            stream.read_times(&at, faults);
            if stream.target_initiated {
                if stream.filter_subject.is_empty() {
                    faults.push(Fault::new(
                        at("filter_subject"),
                        "filter_subject is required with target_initiated",
                    ));
                }
                if !stream.max_age.is_empty() {
                    faults.push(Fault::new(
                        at("max_age"),
                        "max_age cannot be used with target_initiated",
                    ));
                }
                if stream.inspections() > 0 {
                    faults.push(Fault::new(
                        at("target_initiated"),
                        "message inspection and sampling cannot be used with target_initiated",
                    ));
                }
            }
        }
        self.inherit();
        if let Some(heartbeats) = &self.heartbeats {
            heartbeats.validate(faults);
        }
    }

    /// Certificates and logins: of the side, else of the stream, else of the file; each block as a whole.
    fn inherit(&mut self) {
        if self.streams.is_empty() {
            return;
        }
        let tls = self.tls.get_or_insert_default();
        let choria = self.choria.get_or_insert_default();
        for stream in &mut self.streams {
            let tls = stream.tls.get_or_insert_with(|| tls.clone());
            stream.source_tls.get_or_insert_with(|| tls.clone());
            stream.target_tls.get_or_insert_with(|| tls.clone());
            let choria = stream.choria.get_or_insert_with(|| choria.clone());
            stream.source_choria.get_or_insert_with(|| choria.clone());
            stream.target_choria.get_or_insert_with(|| choria.clone());
        }
    }
}

impl Files {
    fn of(table: &mut Table<'_>) -> Self {
        Self {
            ca: table.text("ca"),
            cert: table.text("cert"),
            key: table.text("key"),
        }
    }
}

impl ChoriaConnection {
    fn of(table: &mut Table<'_>) -> Self {
        Self {
            seed_file: table.text("seed_file"),
            jwt_file: table.text("jwt_file"),
            collective: table.text("collective"),
        }
    }
}

impl Stream {
    fn of(table: &mut Table<'_>) -> Self {
        Self {
            stream: table.text("stream"),
            name: table.text("name"),
            target_stream: table.text("target_stream"),
            target_subject_prefix: table.text("target_subject_prefix"),
            target_subject_remove: table.text("target_subject_remove"),
            source_url: table.text("source_url"),
            target_url: table.text("target_url"),
            no_target_create: table.switch("no_target_create", false),
            target_initiated: table.switch("target_initiated", false),
            ephemeral: table.switch("ephemeral", false),
            filter_subject: table.text("filter_subject"),
            start_sequence: table.number("start_sequence"),
            start_time: table.text("start_time"),
            start_delta: table.text("start_delta"),
            start_at_end: table.switch("start_at_end", false),
            tls: table.table("tls", Files::of),
            source_tls: table.table("source_tls", Files::of),
            target_tls: table.table("target_tls", Files::of),
            choria: table.table("choria", ChoriaConnection::of),
            source_choria: table.table("source_choria", ChoriaConnection::of),
            target_choria: table.table("target_choria", ChoriaConnection::of),
            max_age: table.text("max_age"),
            inspect_field: table.text("inspect_field"),
            inspect_force_field: table.text("inspect_force_field"),
            inspect_header: table.text("inspect_header"),
            inspect_subject_token: table.number("inspect_subject_token"),
            inspect_duration: table.text("inspect_duration"),
            warn_duration: table.text("warn_duration"),
            size_trigger: table.float("size_trigger"),
            leader_election_name: table.text("leader_election_name"),
            advisory: table.table("advisory", Advisory::of),
            times: Times::default(),
        }
    }

    /// The modes of inspection that are set.
    fn inspections(&self) -> usize {
        usize::from(!self.inspect_field.is_empty())
            + usize::from(!self.inspect_header.is_empty())
            + usize::from(self.inspect_subject_token != 0)
    }

    fn read_times(&mut self, at: &impl Fn(&str) -> String, faults: &mut Vec<Fault>) {
        let mut span = |key: &str, text: &str| match duration(text) {
            Ok(span) => span,
            Err(error) => {
                faults.push(Fault::new(at(key), format!("invalid {key}: {error}")));
                Duration::ZERO
            }
        };
        let start_delta = span("start_delta", &self.start_delta);
        let inspect = span("inspect_duration", &self.inspect_duration);
        let warn = if self.warn_duration.is_empty() {
            inspect / 2
        } else {
            span("warn_duration", &self.warn_duration)
        };
        let max_age = span("max_age", &self.max_age);
        let start_time = OffsetDateTime::parse(&self.start_time, &Rfc3339).ok();
        if start_time.is_none() && !self.start_time.is_empty() {
            let fault = Fault::new(at("start_time"), "is no time such as 2026-01-02T03:04:05Z");
            faults.push(fault.value(format!("{:?}", self.start_time)));
        }
        self.times = Times {
            start_delta,
            start_time,
            inspect,
            warn,
            max_age,
        };
    }
}

impl Advisory {
    fn of(table: &mut Table<'_>) -> Self {
        Self {
            subject: table.text("subject"),
            reliable: table.switch("reliable", false),
        }
    }
}

impl Heartbeats {
    fn of(table: &mut Table<'_>) -> Self {
        Self {
            url: table.text("url"),
            leader_election: table.switch("leader_election", false),
            headers: table.texts("headers"),
            interval: table.text("interval"),
            subjects: table.list("subjects", Beat::of),
            tls: table.table("tls", Files::of).unwrap_or_default(),
            choria: table
                .table("choria", ChoriaConnection::of)
                .unwrap_or_default(),
        }
    }

    fn validate(&self, faults: &mut Vec<Fault>) {
        let interval = |key: String, text: &str, faults: &mut Vec<Fault>| {
            if let Err(error) = duration(text) {
                faults.push(Fault::new(key, format!("invalid interval: {error}")));
            }
        };
        if self.url.is_empty() {
            faults.push(Fault::new(
                "heartbeats.url",
                "url is required with heartbeat",
            ));
        }
        interval("heartbeats.interval".to_owned(), &self.interval, faults);
        if self.subjects.is_empty() {
            faults.push(Fault::new(
                "heartbeats.subjects",
                "heartbeat requires at least one subject",
            ));
        }
        for (number, beat) in self.subjects.iter().enumerate() {
            let at = |key: &str| format!("heartbeats.subjects[{number}].{key}");
            if beat.name.is_empty() {
                faults.push(Fault::new(at("subject"), "name is required with subject"));
            }
            interval(at("interval"), &beat.interval, faults);
        }
    }
}

impl Beat {
    fn of(table: &mut Table<'_>) -> Self {
        Self {
            name: table.text("subject"),
            headers: table.texts("headers"),
            interval: table.text("interval"),
        }
    }
}
