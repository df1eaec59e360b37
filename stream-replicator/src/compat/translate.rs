//! From the original's keys to ours.

use overlay_runtime::Fault;
use serde_json::{Map, Value, json};
use time::format_description::well_known::Rfc3339;

use super::original::{ChoriaConnection, Files, Heartbeats, Original, Stream};
use super::url::Addresses;

impl Original {
    /// Turns what the original reads into our keys, which [`crate::Config`] checks.
    ///
    /// # Errors
    ///
    /// What the original finds only when a worker is made, or what has no meaning here.
    pub fn table(&self) -> Result<toml::Table, Vec<Fault>> {
        let mut out = Out::default();
        let mut table = Map::new();
        table.insert("name".to_owned(), self.name.as_str().into());
        put(&mut table, "state_dir", &self.state_store);
        let streams: Vec<Value> = self
            .streams
            .iter()
            .enumerate()
            .map(|(number, stream)| stream.table(number, &mut out).into())
            .collect();
        table.insert("streams".to_owned(), streams.into());
        if let Some(heartbeats) = &self.heartbeats {
            table.insert("heartbeats".to_owned(), heartbeats.table(&mut out).into());
        }
        table.insert("log".to_owned(), json!({ "level": self.level() }));
        let listen = if self.monitor_port > 0 {
            out.notice("monitor_port is served on all interfaces, as in the original, and without log-in; [admin] listen names another address");
            format!("0.0.0.0:{}", self.monitor_port)
        } else {
            "off".to_owned()
        };
        table.insert("admin".to_owned(), json!({ "listen": listen }));
        if !self.logfile.is_empty() {
            out.notice("logfile is passed over: the log goes to standard error");
        }
        if self.profiling && self.monitor_port > 0 {
            out.notice("profiling is passed over: no profiler is served");
        }
        for key in &self.unknown {
            out.notice(format!("{key} is not known, and passed over"));
        }
        if out.unverified {
            out.notice(
                "certificates of brokers are verified also with Choria tokens: the original believes any, unless cert and key are set. \
                 Set ca, or keep the old way by a second file with [original] choria_unverified = true",
            );
        }
        table.insert("original".to_owned(), json!({ "notices": out.notices }));
        if !out.faults.is_empty() {
            return Err(out.faults);
        }
        toml::Table::try_from(table).map_err(|error| vec![Fault::new("", error.to_string())])
    }

    fn level(&self) -> &'static str {
        match self.loglevel.as_str() {
            "debug" => "debug",
            "warn" => "warn",
            _ => "info",
        }
    }
}

/// What is told beside the keys.
#[derive(Default)]
struct Out {
    faults: Vec<Fault>,
    notices: Vec<String>,
    /// Whether a connection is verified that the original would not verify.
    unverified: bool,
}

impl Out {
    fn notice(&mut self, notice: impl Into<String>) {
        let notice = notice.into();
        if !self.notices.contains(&notice) {
            self.notices.push(notice);
        }
    }
}

impl Stream {
    fn table(&self, number: usize, out: &mut Out) -> Map<String, Value> {
        let at = |key: &str| format!("streams[{number}].{key}");
        let mut table = Map::new();
        put(&mut table, "stream", &self.stream);
        put(&mut table, "name", &self.name);
        put(&mut table, "target_stream", &self.target_stream);
        put(&mut table, "prefix", &self.target_subject_prefix);
        put(&mut table, "remove", &self.target_subject_remove);
        // An empty name is none, whatever stands above.
        table.insert(
            "candidate".to_owned(),
            self.leader_election_name.as_str().into(),
        );
        if !self.filter_subject.is_empty() {
            table.insert("filters".to_owned(), json!([self.filter_subject]));
        }
        table.insert("create_target".to_owned(), (!self.no_target_create).into());
        table.insert("ephemeral".to_owned(), self.ephemeral.into());
        table.insert("target_initiated".to_owned(), self.target_initiated.into());
        if self.target_initiated && self.no_target_create {
            out.faults.push(Fault::new(
                at("no_target_create"),
                "target initiated streams requires no_target_create to not be set",
            ));
        }
        for (key, url, place, tls, choria) in [
            (
                "source_url",
                &self.source_url,
                "source",
                &self.source_tls,
                &self.source_choria,
            ),
            (
                "target_url",
                &self.target_url,
                "target",
                &self.target_tls,
                &self.target_choria,
            ),
        ] {
            if url.is_empty() {
                let fault = Fault::new(at(key), format!("{key} is required"));
                out.faults.push(fault.remedy("write nats://HOST:PORT"));
                continue;
            }
            let tls = tls.clone().unwrap_or_default();
            let choria = choria.clone().unwrap_or_default();
            let side = endpoint(&at(key), url, &tls, &choria, out);
            table.insert(place.to_owned(), side.into());
        }
        table.insert("start".to_owned(), self.start().into());
        if !self.times.max_age.is_zero() {
            table.insert("max_age".to_owned(), period(self.times.max_age));
        }
        self.sampling(&at, &mut table, out);
        table
    }

    /// Of several places to begin, the original takes the first of these.
    fn start(&self) -> String {
        if self.start_at_end {
            return "end".to_owned();
        }
        if self.start_sequence > 0 {
            return format!("sequence:{}", self.start_sequence);
        }
        if !self.times.start_delta.is_zero() {
            return format!("ago:{}", millis(self.times.start_delta));
        }
        let time = self
            .times
            .start_time
            .and_then(|at| at.format(&Rfc3339).ok());
        time.map_or_else(|| "all".to_owned(), |time| format!("time:{time}"))
    }

    fn sampling(
        &self,
        at: &impl Fn(&str) -> String,
        table: &mut Map<String, Value>,
        out: &mut Out,
    ) {
        let mut sampling = Map::new();
        put(&mut sampling, "field", &self.inspect_field);
        put(&mut sampling, "header", &self.inspect_header);
        if self.inspect_subject_token != 0 {
            sampling.insert("token".to_owned(), self.inspect_subject_token.into());
        }
        let is_inspected = !sampling.is_empty();
        let interval = self.times.inspect;
        if !is_inspected || interval.is_zero() {
            let why = match (is_inspected, interval.is_zero()) {
                (true, _) => "samples nothing without inspect_duration",
                (false, false) => {
                    "samples nothing without inspect_field, inspect_header or inspect_subject_token"
                }
                (false, true) => "",
            };
            if !why.is_empty() {
                out.notice(format!("{} {why}: all is copied", at("inspect")));
            }
            if self.advisory.is_some() {
                out.notice(format!(
                    "{} is passed over without sampling",
                    at("advisory")
                ));
            }
            return;
        }
        if self.inspect_field.is_empty() {
            out.notice(format!(
                "{}: messages are sampled by header or subject token now; the original copies such a stream in full",
                at("inspect")
            ));
        }
        sampling.insert("interval".to_owned(), period(interval));
        let warn = self.times.warn;
        if warn.is_zero() {
            out.notice(format!(
                "{} of nothing would tell of every silence: half of inspect_duration is taken",
                at("warn_duration")
            ));
        } else if warn > interval {
            out.notice(format!(
                "{} is longer than inspect_duration, after which a value is gone: none is told of before",
                at("warn_duration")
            ));
            sampling.insert("warn".to_owned(), period(interval));
        } else {
            sampling.insert("warn".to_owned(), period(warn));
        }
        if !self.inspect_force_field.is_empty() {
            if self.inspect_field.is_empty() {
                out.notice(format!(
                    "{} is passed over without inspect_field",
                    at("inspect_force_field")
                ));
            } else {
                put(&mut sampling, "force", &self.inspect_force_field);
            }
        }
        if self.size_trigger > 0.0 {
            sampling.insert("size_trigger".to_owned(), self.size_trigger.into());
        } else if self.size_trigger < 0.0 {
            out.notice(format!("{} below nothing is none", at("size_trigger")));
        }
        table.insert("sampling".to_owned(), sampling.into());
        if let Some(advisory) = &self.advisory {
            let advisory = json!({ "subject": advisory.subject, "reliable": advisory.reliable });
            table.insert("advisory".to_owned(), advisory);
        }
    }
}

impl Heartbeats {
    fn table(&self, out: &mut Out) -> Map<String, Value> {
        let mut table = Map::new();
        let endpoint = endpoint("heartbeats.url", &self.url, &self.tls, &self.choria, out);
        table.insert("endpoint".to_owned(), endpoint.into());
        table.insert("election".to_owned(), self.leader_election.into());
        table.insert("headers".to_owned(), json!(self.headers));
        insert_period(&mut table, &self.interval);
        let subjects = self.subjects.iter().map(|beat| {
            let mut table = Map::new();
            put(&mut table, "subject", &beat.name);
            table.insert("headers".to_owned(), json!(beat.headers));
            insert_period(&mut table, &beat.interval);
            Value::from(table)
        });
        table.insert("subjects".to_owned(), subjects.collect());
        table
    }
}

/// Brokers, certificates and login of one side.
fn endpoint(
    at: &str,
    url: &str,
    tls: &Files,
    choria: &ChoriaConnection,
    out: &mut Out,
) -> Map<String, Value> {
    let addresses = Addresses::read(url);
    let mut table = Map::new();
    table.insert("servers".to_owned(), json!(addresses.servers));
    put(&mut table, "ca_file", &tls.ca);
    put(&mut table, "cert_file", &tls.cert);
    put(&mut table, "key_file", &tls.key);
    if addresses.tls_first {
        table.insert("tls_first".to_owned(), true.into());
    }
    if addresses.insecure {
        out.notice(format!("{at} says insecure: any certificate is believed"));
        table.insert("insecure".to_owned(), true.into());
    }
    if let Some(limit) = addresses.timeout {
        table.insert("attempt_limit".to_owned(), period(limit));
    }
    for odd in &addresses.odd {
        out.notice(format!("{at}: {odd} is passed over"));
    }
    let has_choria = !choria.seed_file.is_empty() || !choria.jwt_file.is_empty();
    let in_address = addresses.credentials.is_some() || addresses.user.is_some();
    if let Some(file) = &addresses.credentials {
        put(&mut table, "credentials_file", file);
    } else if let Some((jwt, nkey)) = &addresses.user {
        put(&mut table, "jwt_file", jwt);
        put(&mut table, "nkey_file", nkey);
    }
    if has_choria && in_address {
        out.notice(format!(
            "{at} has credentials: the Choria token is passed over"
        ));
    } else if has_choria {
        let is_whole = !choria.seed_file.is_empty() && !choria.jwt_file.is_empty();
        if is_whole && choria.collective.is_empty() {
            out.faults.push(Fault::new(at, "collective is required"));
        }
        out.unverified |=
            is_whole && (tls.cert.is_empty() || tls.key.is_empty()) && !addresses.insecure;
        put(&mut table, "token_file", &choria.jwt_file);
        put(&mut table, "seed_file", &choria.seed_file);
        put(&mut table, "collective", &choria.collective);
    }
    table
}

fn put(table: &mut Map<String, Value>, key: &str, text: &str) {
    if !text.is_empty() {
        table.insert(key.to_owned(), text.into());
    }
}

/// A span that was found good, unless it is none.
fn insert_period(table: &mut Map<String, Value>, text: &str) {
    if let Ok(span) = super::duration(text)
        && !text.trim().is_empty()
    {
        table.insert("interval".to_owned(), period(span));
    }
}

/// A span as our files write it: whole milliseconds, and not less than was asked for.
fn period(span: std::time::Duration) -> Value {
    millis(span).into()
}

fn millis(span: std::time::Duration) -> String {
    format!("{}ms", span.as_nanos().div_ceil(1_000_000))
}
