//! `bench audit`: records kept a second, acknowledged one by one, and records verified a second.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use overlay_aaa_signer::audit::{Audit, AuditStream, Entry, Parts, Settings};
use overlay_protocol::audit::{Data, Decision, Kind, Reasons, RpcFacts, SIGNATURE_PROTOCOL};
use overlay_protocol::id::Identity;
use overlay_runtime::{CancellationToken, Clock, Readiness, Tasks};
use overlay_testkit::mint::now;
use overlay_tokens::audit::{Place, Sealer, Verifier};
use overlay_tokens::claims::ServerClaims;
use overlay_tokens::{Issuers, Unverified, file};
use prometheus::Registry;

use super::load::{self, Caller, Span};
use super::process::cpu_seconds;
use super::report::{Report, at, median, say};
use super::sign::{Policy, World};

/// Flags of `bench audit`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Callers at once, each of which waits for its record
    #[arg(short = 'c', long, value_delimiter = ',', default_values = ["1", "8", "64", "512"])]
    callers: Vec<usize>,
    /// Seconds that are measured, after one that is not
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Runs; figures are medians
    #[arg(long, default_value_t = 3)]
    runs: usize,
}

/// Measures.
///
/// # Errors
///
/// When the cell can't be started, or a record was not kept, or what was kept does not verify.
pub(crate) fn run(options: &Options) -> Result<Report> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start a runtime")?;
    let world = World::start()?;
    let mut report = Report::new("audit");
    let issuers = world.cell.organisation()?.issuers();
    let path = world.scratch().join("audit.jsonl");
    runtime.block_on(kept(options, &world, Some(&path), &mut report))?;
    runtime.block_on(kept(options, &world, None, &mut report))?;
    verified(options, &path, &issuers, &mut report)?;
    Ok(report)
}

/// Records into a file, or into the stream.
#[expect(
    clippy::field_reassign_with_default,
    reason = "the settings have members that are not for others"
)]
async fn kept(
    options: &Options,
    world: &World,
    path: Option<&Path>,
    report: &mut Report,
) -> Result<()> {
    let place = if path.is_some() { "file" } else { "stream" };
    let signer = world.cell.directory.join("aaa-signer");
    let issuers = world.cell.organisation()?.issuers();
    let token = file::read_token(&signer.join("1/server.jwt")).context("read the server token")?;
    let key = file::read_seed(&signer.join("1/server.seed")).context("read the server's seed")?;
    let token = Unverified::<ServerClaims>::decode(&token)
        .context("read the server token")?
        .verify(&issuers, now())
        .context("verify the server token")?;
    let sealer = Arc::new(Sealer::new(&token, key).context("a server token that seals")?);
    let chain: Identity = sealer.identity().parse().context("the chain's name")?;
    let client = match path {
        Some(_) => None,
        None => {
            let seed = fs::read_to_string(signer.join("aaa.nk")).context("read the nkey seed")?;
            let options = async_nats::ConnectOptions::with_nkey(seed.trim().to_owned())
                .add_root_certificates(world.ca())
                .require_tls(true);
            let url = format!("nats://localhost:{}", world.cell.port);
            Some(
                options
                    .connect(url)
                    .await
                    .context("log in to the account of the audit")?,
            )
        }
    };
    let mut settings = Settings::default();
    settings.stream = path.is_none().then(AuditStream::default);
    settings.file = path.map(Path::to_owned);
    let parts = Parts {
        settings,
        chain,
        seals: Arc::new(move || Some(Arc::clone(&sealer))),
        issuers,
        site: "bench".to_owned(),
        client,
        clock: Clock::system(),
        part: Readiness::new().part("audit"),
    };
    let (tasks, shutdown) = (Tasks::new(), CancellationToken::new());
    let audit =
        Audit::start(parts, &Registry::new(), &tasks, &shutdown).context("start the record")?;
    let person = world.people(1, Policy::ActionList)?;
    let person = person.first().context("there is a person")?;
    for callers in &options.callers {
        let mut rows = Vec::new();
        for _ in 0..options.runs.max(1) {
            let recorders = (0..*callers)
                .map(|caller| {
                    let request = person.question(caller, 1)?.request;
                    let request = String::from_utf8(request).context("a request is text")?;
                    Ok(Recorder {
                        audit: audit.clone(),
                        request,
                    })
                })
                .collect::<Result<Vec<_>>>()?;
            let span = Span {
                warm: Duration::from_secs(1),
                measured: Duration::from_secs(options.seconds),
                patience: Duration::from_secs(20),
            };
            let watched = [std::process::id(), world.cell.broker.pid()];
            let seen = load::run(recorders, span, &watched).await?;
            ensure!(
                seen.lost == 0,
                "{} records were not kept: {:?}",
                seen.lost,
                seen.first_error
            );
            let mut row = seen.row();
            row["name"] = format!("{place}, {callers} callers").into();
            report.row(row);
            rows.push(seen);
        }
        let middle = |value: &dyn Fn(&load::Seen) -> f64| {
            median(&mut rows.iter().map(value).collect::<Vec<_>>())
        };
        let name = format!("{place}, {callers} callers");
        let rate = middle(&load::Seen::per_second);
        let p99 = middle(&|seen| at(&seen.took_ms, 990));
        let each = middle(&|seen| seen.per_thousand(0));
        say(&format!(
            "{name}: {rate:.0}/s, p99 {p99:.2} ms, CPU s per 1000 {each:.4}"
        ));
        report.figure(format!("{name}: kept"), rate, "1/s");
        report.figure(format!("{name}: p99"), p99, "ms");
        report.figure(format!("{name}: per 1,000"), each, "CPU s");
    }
    shutdown.cancel();
    drop(audit);
    let limit = tokio::time::Instant::now() + Duration::from_secs(20);
    while !tasks.running().is_empty() && tokio::time::Instant::now() < limit {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// What was kept in the file, verified again and again.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn verified(options: &Options, path: &Path, issuers: &Issuers, report: &mut Report) -> Result<()> {
    let bytes = fs::read(path).context("read the record")?;
    let (mut rates, mut spent) = (Vec::new(), Vec::new());
    let mut records = 0;
    for _ in 0..options.runs.max(1) {
        let (began, before) = (Instant::now(), cpu_seconds(std::process::id())?);
        let mut verifier = Verifier::new(Some(issuers.clone()));
        let lines = bytes
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty());
        let name: Arc<str> = "audit.jsonl".into();
        for (line, number) in lines.zip(1..) {
            let name = Arc::clone(&name);
            verifier.line(Place::File { name, line: number }, line);
        }
        let verdict = verifier.finish();
        ensure!(
            verdict.faults.is_empty(),
            "what was kept does not verify: {:?}",
            verdict.faults
        );
        records = verdict.records;
        rates.push(records as f64 / began.elapsed().as_secs_f64());
        spent.push((cpu_seconds(std::process::id())? - before) * 1000.0 / records.max(1) as f64);
    }
    let (rate, each) = (median(&mut rates), median(&mut spent));
    say(&format!(
        "verified: {rate:.0}/s of {records} records, {} MiB, CPU s per 1000 {each:.4}",
        bytes.len() >> 20
    ));
    report.figure("records verified", rate, "1/s");
    report.figure("verified, per 1,000", each, "CPU s");
    Ok(())
}

/// Somebody who has decisions recorded.
struct Recorder {
    audit: Audit,
    request: String,
}

impl Caller for Recorder {
    async fn once(&mut self) -> Result<()> {
        let request = serde_json::value::RawValue::from_string(self.request.clone());
        let data = Data {
            protocol: SIGNATURE_PROTOCOL.to_owned(),
            callerid: "up=bench0".to_owned(),
            action: Some(Decision::Allow),
            site: "bench".to_owned(),
            time: now().secs,
            request: Some(request.context("a request is JSON")?),
            decision: Some(Reasons {
                reason: "allowed".to_owned(),
                rule: Some("agents[2] rpcutil.*".to_owned()),
                ..Reasons::default()
            }),
            rpc: Some(RpcFacts {
                agent: "rpcutil".to_owned(),
                action: "ping".to_owned(),
            }),
            via: "http".to_owned(),
            peer: "127.0.0.1".to_owned(),
            ..Data::default()
        };
        let entry = Entry {
            kind: Kind::Signature,
            data,
        };
        self.audit.record(entry).await.context("record")?;
        Ok(())
    }
}
