//! `bench sign`: signatures a second by RPC and HTTP, with the processor time and the memory of the service.

mod http;
mod request;
mod rpc;
mod world;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;
use tokio_rustls::TlsConnector;

use super::load::{self, Seen, Span};
use super::process::resident_mib;
use super::report::{Report, at, median, say};

pub(super) use self::http::{Poster, Reach};
pub(super) use self::request::hex;
pub(super) use self::world::{Audit, POLICY, Policy, Service, Setup, World};

use self::http::HttpCaller;
use self::request::Person;
use self::rpc::RpcCaller;
use self::world::Via;

/// Flags of `bench sign`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// By which ways
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["rpc", "http"])]
    via: Vec<Via>,
    /// What decides
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["actionlist", "rego"])]
    policy: Vec<Policy>,
    /// Where the record goes; a signature leaves once it is flushed there, or acknowledged
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["stream", "file"])]
    audit: Vec<Audit>,
    /// Clients at once
    #[arg(short = 'c', long, value_delimiter = ',', default_values = ["1", "8", "64"])]
    clients: Vec<usize>,
    /// Clients at once of one more run by RPC, in which every request must be answered; 0: none
    #[arg(long, default_value_t = 512)]
    flood: usize,
    /// People, each with a token and a key, who share the clients
    #[arg(long, default_value_t = 16)]
    people: usize,
    /// Seconds that are measured, after one that is not
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Seconds after which an answer is given up
    #[arg(long, default_value_t = 5)]
    patience: u64,
    /// Runs; figures are medians
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Use an HTTP connection again; the original's service never lets a client do that
    #[arg(long)]
    keep: bool,
    /// HTTP with TLS
    #[arg(long)]
    tls: bool,
    /// Another program with the original's two faces and its `aaasvc.json`, which records to a file
    #[arg(long, value_name = "PROGRAM")]
    peer: Option<PathBuf>,
}

/// Measures.
///
/// # Errors
///
/// When the cell or the service can't be started, or when requests were not answered.
pub(crate) fn run(options: &Options) -> Result<Report> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start a runtime")?;
    let world = World::start()?;
    let mut report = Report::new("sign");
    let mut lost = 0;
    for policy in &options.policy {
        for audit in &options.audit {
            if options.peer.is_some() && *audit == Audit::Stream {
                continue;
            }
            for via in &options.via {
                let cell = Measured {
                    options,
                    world: &world,
                    runtime: &runtime,
                    via: *via,
                    policy: *policy,
                    audit: *audit,
                };
                lost += cell.measure(&mut report)?;
            }
        }
    }
    if lost > 0 && options.peer.is_none() {
        bail!("{lost} requests were not answered");
    }
    Ok(report)
}

/// One combination of ways, of which each number of clients is measured on one service.
struct Measured<'a> {
    options: &'a Options,
    world: &'a World,
    runtime: &'a tokio::runtime::Runtime,
    via: Via,
    policy: Policy,
    audit: Audit,
}

impl Measured<'_> {
    fn name(&self) -> String {
        format!("{:?} {:?} {:?}", self.via, self.policy, self.audit).to_lowercase()
    }

    /// Measures, and yields how many requests were lost.
    fn measure(&self, report: &mut Report) -> Result<usize> {
        let options = self.options;
        let name = self.name();
        let setup = Setup {
            audit: self.audit,
            policy: self.policy,
            tls: options.tls,
            users: None,
            peer: options.peer.clone(),
        };
        let service = self.world.service(&setup, &name.replace(' ', "-"))?;
        let idle = resident_mib(service.running.pid())?;
        let flood = (self.via == Via::Rpc && options.flood > 0).then_some(options.flood);
        let mut lost = 0;
        for clients in options.clients.iter().copied().chain(flood) {
            let mut runs = Vec::new();
            for _ in 0..options.runs.max(1) {
                let seen = self.runtime.block_on(self.once(&service, clients))?;
                let mut row = seen.row();
                row["name"] = json!(name);
                row["clients"] = json!(clients);
                row["idle_mib"] = json!(idle);
                report.row(row);
                lost += seen.lost;
                runs.push(seen);
            }
            summarise(report, &name, clients, &runs);
        }
        let last = resident_mib(service.running.pid())?;
        report.figure(format!("{name}: idle memory"), idle, "MiB");
        report.figure(format!("{name}: memory at the end"), last, "MiB");
        Ok(lost)
    }

    async fn once(&self, service: &Service, clients: usize) -> Result<Seen> {
        let options = self.options;
        let people = self
            .world
            .people(options.people.clamp(1, clients), self.policy)?;
        let person = |client: usize| -> Result<Person> {
            let person = people.get(client % people.len().max(1));
            person.cloned().context("there is a person")
        };
        let span = Span {
            warm: Duration::from_secs(1),
            measured: Duration::from_secs(options.seconds),
            patience: Duration::from_secs(options.patience),
        };
        let cell = &self.world.cell;
        let watched: Vec<u32> = [service.running.pid(), cell.broker.pid()]
            .into_iter()
            .chain(cell.responders.iter().map(super::process::Running::pid))
            .collect();
        match self.via {
            Via::Http => {
                let reach = Reach {
                    address: service.http,
                    tls: options
                        .tls
                        .then(|| connector(&self.world.ca()))
                        .transpose()?,
                    keep: options.keep,
                };
                let callers = (0..clients)
                    .map(|client| Ok(HttpCaller::new(reach.clone(), person(client)?, client)))
                    .collect::<Result<Vec<_>>>()?;
                load::run(callers, span, &watched).await
            }
            Via::Rpc => {
                let mut callers = Vec::new();
                for client in 0..clients {
                    let ca = self.world.ca();
                    callers
                        .push(RpcCaller::connect(cell.port, &ca, person(client)?, client).await?);
                }
                load::run(callers, span, &watched).await
            }
        }
    }
}

fn summarise(report: &mut Report, name: &str, clients: usize, runs: &[Seen]) {
    let middle =
        |value: &dyn Fn(&Seen) -> f64| median(&mut runs.iter().map(value).collect::<Vec<_>>());
    let name = format!("{name}, {clients} clients");
    let (rate, service) = (
        middle(&Seen::per_second),
        middle(&|seen| seen.per_thousand(0)),
    );
    let times = [500, 990, 999].map(|share| middle(&|seen| at(&seen.took_ms, share)));
    let [p50, p99, p999] = times;
    let peak = middle(&|seen| seen.peak);
    let lost: usize = runs.iter().map(|seen| seen.lost).sum();
    say(&format!(
        "{name}: {rate:.0}/s, p50 {p50:.2} p99 {p99:.2} p99.9 {p999:.2} ms, CPU s per 1000: service {service:.3}, nats-server {:.3}, \
         driver {:.3}; memory {:.1}, {:.1}, {:.1}, peak {peak:.1} MiB; lost {lost}",
        middle(&|seen| seen.per_thousand(1)),
        middle(&|seen| seen.driver * 1000.0 / seen.took_ms.len().max(1) as f64),
        middle(&|seen| seen.resident[0]),
        middle(&|seen| seen.resident[1]),
        middle(&|seen| seen.resident[2]),
    ));
    if let Some(error) = runs.iter().find_map(|seen| seen.first_error.as_ref()) {
        say(&format!("  first error: {error}"));
    }
    report.figure(format!("{name}: rate"), rate, "1/s");
    report.figure(format!("{name}: p50"), p50, "ms");
    report.figure(format!("{name}: p99"), p99, "ms");
    report.figure(format!("{name}: p99.9"), p999, "ms");
    report.figure(format!("{name}: per 1,000"), service, "CPU s");
    report.figure(format!("{name}: peak memory"), peak, "MiB");
    report.figure(format!("{name}: not answered"), lost as f64, "");
}

/// TLS to whom that authority vouches for.
pub(super) fn connector(ca: &Path) -> Result<TlsConnector> {
    let mut roots = rustls::RootCertStore::empty();
    let certificates =
        CertificateDer::pem_file_iter(ca).with_context(|| format!("read {}", ca.display()))?;
    for certificate in certificates {
        roots
            .add(certificate.context("read a certificate")?)
            .context("trust the authority")?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("set up TLS")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
