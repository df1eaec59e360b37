//! The record on real files and a real broker: what is acknowledged is there, whatever ends.

mod crash;
mod file;
mod spool;
mod stream;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use overlay_aaa_signer::audit::{Audit, AuditError, AuditStream, Durable, Entry, Parts, Settings};
use overlay_protocol::audit::{Data, Decision, Kind, SIGNATURE_PROTOCOL};
use overlay_protocol::id::Identity;
use overlay_runtime::{CancellationToken, Clock, Readiness, Tasks};
use overlay_testkit::mint::{self, Organisation};
use overlay_testkit::{Broker, eventually};
use overlay_tokens::audit::{Place, Sealer, Verdict, Verifier};
use overlay_tokens::claims::{ServerClaims, ServerPermissions};
use overlay_tokens::issue::ServerToken;
use overlay_tokens::{Issuers, Key, Unverified};
use prometheus::Registry;
use serde_json::value::RawValue;

pub(crate) const LONG: Duration = Duration::from_secs(30);
pub(crate) const PERIOD: Duration = Duration::from_millis(20);
pub(crate) const CHAIN: &str = "aaa-1.test";

/// The organisation of all tests here: always the same, so that processes agree.
pub(crate) fn organisation() -> Organisation {
    Organisation::with_key(Key::from_seed([7; 32]))
}

pub(crate) fn issuers() -> Issuers {
    organisation().issuers()
}

fn sealer(identity: &str) -> Arc<Sealer> {
    let login = organisation().server(ServerToken {
        identity: identity.to_owned(),
        permissions: Some(ServerPermissions {
            service_host: true,
            ..ServerPermissions::default()
        }),
        ..ServerToken::default()
    });
    let token = Unverified::<ServerClaims>::decode(&login.token)
        .unwrap()
        .verify(&issuers(), mint::now())
        .unwrap();
    Arc::new(Sealer::new(&token, login.key).unwrap())
}

/// A writer of the chain.
pub(crate) struct Writer {
    pub(crate) audit: Audit,
    pub(crate) registry: Registry,
    tasks: Tasks,
    shutdown: CancellationToken,
}

impl Writer {
    pub(crate) fn start(settings: Settings, client: Option<async_nats::Client>) -> Self {
        let (registry, tasks, shutdown) = (Registry::new(), Tasks::new(), CancellationToken::new());
        let sealer = sealer(CHAIN);
        let parts = Parts {
            settings,
            chain: Identity::new(CHAIN).unwrap(),
            seals: Arc::new(move || Some(Arc::clone(&sealer))),
            issuers: issuers(),
            site: "test".to_owned(),
            client,
            clock: Clock::system(),
            part: Readiness::new().part("audit"),
        };
        let audit = Audit::start(parts, &registry, &tasks, &shutdown).unwrap();
        Self {
            audit,
            registry,
            tasks,
            shutdown,
        }
    }

    /// Starts, and waits until records can be made.
    pub(crate) async fn ready(settings: Settings, client: Option<async_nats::Client>) -> Self {
        let writer = Self::start(settings, client);
        eventually(LONG, PERIOD, || async { writer.audit.is_ready() }).await;
        writer
    }

    pub(crate) async fn record(&self, decision: Decision) -> Result<Durable, AuditError> {
        self.audit.record(entry(decision)).await
    }

    /// Ends the chain in good order.
    pub(crate) async fn close(self) {
        let Self {
            audit,
            tasks,
            shutdown,
            ..
        } = self;
        shutdown.cancel();
        drop(audit);
        eventually(LONG, PERIOD, || async { tasks.running().is_empty() }).await;
    }

    /// Whether the task that writes has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.tasks.running().is_empty()
    }

    /// Sum of a metric over all its labels that hold `label`.
    pub(crate) fn count(&self, metric: &str, label: &str) -> u64 {
        metric_of(&self.registry, metric, label)
    }
}

pub(crate) fn metric_of(registry: &Registry, metric: &str, label: &str) -> u64 {
    let text = prometheus::TextEncoder::new()
        .encode_to_string(&registry.gather())
        .unwrap();
    text.lines()
        .filter(|line| line.starts_with(metric) && line.contains(label))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .map(|value| format!("{value:.0}").parse::<u64>().unwrap())
        .sum()
}

pub(crate) fn entry(decision: Decision) -> Entry {
    entry_of(
        decision,
        r#"{"protocol":"io.choria.protocol.v2.request","id":"x"}"#,
    )
}

pub(crate) fn entry_of(decision: Decision, request: &str) -> Entry {
    Entry {
        kind: Kind::Signature,
        data: Data {
            protocol: SIGNATURE_PROTOCOL.to_owned(),
            callerid: "up=bob".to_owned(),
            action: Some(decision),
            site: "test".to_owned(),
            time: mint::now().secs,
            request: RawValue::from_string(request.to_owned()).ok(),
            ..Data::default()
        },
    }
}

pub(crate) fn in_file(path: &Path) -> Settings {
    Settings {
        file: Some(path.to_owned()),
        ..Settings::default()
    }
}

pub(crate) fn in_stream() -> Settings {
    Settings {
        stream: Some(AuditStream {
            max_bytes: 64 << 20,
            ..AuditStream::default()
        }),
        ..Settings::default()
    }
}

/// A client that comes back fast.
pub(crate) async fn client(broker: &Broker) -> async_nats::Client {
    async_nats::ConnectOptions::new()
        .reconnect_delay_callback(|_attempt| Duration::from_millis(20))
        .retry_on_initial_connect()
        .connect(broker.url())
        .await
        .unwrap()
}

/// The lines of the stream, with their places; and its last sequence.
pub(crate) async fn stream_lines(client: &async_nats::Client) -> Vec<(Place, Vec<u8>)> {
    let jetstream = async_nats::jetstream::new(client.clone());
    let mut stream = jetstream.get_stream("AAA_AUDIT").await.unwrap();
    let last = stream.info().await.unwrap().state.last_sequence;
    let mut lines = Vec::new();
    for sequence in 1..=last {
        let Ok(message) = stream.get_raw_message(sequence).await else {
            continue;
        };
        for (line, number) in message.payload.split(|byte| *byte == b'\n').zip(1..) {
            let place = Place::Stream {
                sequence,
                line: number,
            };
            lines.push((place, line.to_vec()));
        }
    }
    lines
}

/// The lines of a file, with their places.
pub(crate) fn file_lines(path: &Path) -> Vec<(Place, Vec<u8>)> {
    let bytes = std::fs::read(path).unwrap();
    let name: Arc<str> = path.display().to_string().into();
    bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .zip(1..)
        .map(|(line, number)| {
            let place = Place::File {
                name: Arc::clone(&name),
                line: number,
            };
            (place, line.to_vec())
        })
        .collect()
}

pub(crate) fn verify(lines: &[(Place, Vec<u8>)]) -> Verdict {
    let mut verifier = Verifier::new(Some(issuers()));
    for (place, line) in lines {
        verifier.line(place.clone(), line);
    }
    verifier.finish()
}

/// The lines, verified: nothing is wrong with them.
#[track_caller]
pub(crate) fn assert_whole(lines: &[(Place, Vec<u8>)]) -> Verdict {
    let verdict = verify(lines);
    assert!(verdict.is_whole(), "{:#?}", verdict.faults);
    verdict
}

/// Each acknowledged record stands in the lines, as the one that was acknowledged.
#[track_caller]
pub(crate) fn assert_has(lines: &[(Place, Vec<u8>)], acknowledged: &[Durable]) {
    let there: std::collections::BTreeMap<u64, Kind> = lines
        .iter()
        .map(|(_, line)| overlay_protocol::audit::Record::decode(line).unwrap())
        .map(|record| (record.sequence, record.kind))
        .collect();
    for durable in acknowledged {
        assert_eq!(
            there.get(&durable.sequence),
            Some(&Kind::Signature),
            "acknowledged record {} is not there",
            durable.sequence
        );
    }
    let different: std::collections::BTreeSet<u64> = acknowledged
        .iter()
        .map(|durable| durable.sequence)
        .collect();
    assert_eq!(different.len(), acknowledged.len(), "a number given twice");
}
