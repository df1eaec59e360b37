//! A region: what happens in the cell reaches it, in full or sampled, also over a link that was cut, and with word of nodes
//! that fall silent.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::cell::{Cell, Up};
use super::link::Link;
use super::shown::Shown;
use super::{NAME, NODES};

/// The stream of documents, copied as samples.
const DOCUMENTS: &str = "NODE_DOCUMENTS";
/// Nodes with a document, and how often each tells it.
const TELLING: usize = 5;
const EVERY_MS: u64 = 200;
/// Of each node one document in this time; a silence that is told of.
const INTERVAL: &str = "20s";
const WARN: &str = "4s";
/// The node that falls silent.
const SILENT: &str = "doc3";
/// Streams whose copies must hold as much as they.
const WHOLE: [&str; 2] = ["CHORIA_EVENTS", "OVERLAY_REPLICATION_ADVISORIES"];

/// The region, the way to it, and the nodes that tell of themselves.
#[derive(Debug)]
pub(crate) struct Region {
    cell: Cell,
    up: Up,
    link: Link,
    producer: Option<Producer>,
}

impl Region {
    /// Lets nodes tell of themselves at the cell.
    pub(crate) fn begin(&mut self, cell: &Cell) -> Result<()> {
        self.producer = Some(Producer::start(cell)?);
        Ok(())
    }

    /// Stops it, and says where it was.
    pub(crate) fn stop(mut self) -> Result<PathBuf> {
        self.up.stop()?;
        Ok(self.cell.directory().to_path_buf())
    }
}

/// Makes and starts a region, and lets the cell copy to it.
pub(crate) fn prepare(
    cell: &Cell,
    programs: &Path,
    nats_server: &Path,
    shown: &mut Shown,
) -> Result<Region> {
    shown.step("a second cell, the region: overlay cell init --site, then --region at the first");
    let mut directory = cell.directory().as_os_str().to_owned();
    directory.push("-region");
    let site = format!("{NAME}={DOCUMENTS}");
    let flags = [
        "--host",
        "localhost",
        "--site",
        &site,
        "--provisioners",
        "0",
        "--aaa-signer",
        "0",
    ];
    let region = Cell::init(
        Path::new(&directory),
        programs,
        nats_server,
        "region",
        &flags,
    )?;
    let link = Link::to(region.port())?;
    // The cell knows the region by the near end of the link.
    let pass = region.directory().join("sites").join(NAME);
    replace(
        &pass.join("region.toml"),
        &format!(":{}", region.port()),
        &format!(":{}", link.port()),
    )?;
    let taken = cell.overlay(&[
        "cell",
        "init",
        &cell.path()?,
        "--region",
        pass.to_str().context("the path is text")?,
        "--sample",
        &format!("{DOCUMENTS}=sender"),
        "--update",
    ])?;
    taken.show();
    shown.holds("the cell has what it needs to copy to the region", taken.ok);
    // Times that somebody who watches can wait for.
    let config = cell
        .directory()
        .join("stream-replicator/stream-replicator.toml");
    replace(
        &config,
        "interval = \"1h\"",
        &format!("interval = \"{INTERVAL}\""),
    )?;
    replace(&config, "warn = \"30m\"", &format!("warn = \"{WARN}\""))?;
    let up = region.up()?;
    Ok(Region {
        cell: region,
        up,
        link,
        producer: None,
    })
}

/// Shows copies, samples, a link that is cut, and a node that falls silent.
pub(crate) fn show(cell: &Cell, region: &mut Region, shown: &mut Shown) -> Result<()> {
    sampled(cell, region, shown)?;
    cut(cell, region, shown)?;
    let mut producer = region.producer.take().context("nodes tell of themselves")?;
    silent(region, &mut producer, shown)?;
    drop(producer);
    show_counts(cell, region, shown)
}

/// The copies hold what the streams hold.
pub(crate) fn show_counts(cell: &Cell, region: &Region, shown: &mut Shown) -> Result<()> {
    shown.step("how much the streams hold, here and at the region");
    let mut told = Vec::new();
    let equal = cell.eventually(Duration::from_secs(60), || {
        let (own, copies) = (cell.streams()?, region.cell.streams()?);
        let count = |streams: &std::collections::BTreeMap<String, u64>, name: &str| {
            streams.get(name).copied().unwrap_or_default()
        };
        let pairs: Vec<(&str, u64, u64)> = WHOLE
            .iter()
            .map(|name| {
                let copy = count(&copies, &format!("{NAME}_{name}"));
                (*name, count(&own, name), copy)
            })
            .collect();
        told = pairs
            .iter()
            .map(|(name, own, copy)| format!("{name}: {own} here, {copy} at the region"))
            .collect();
        Ok(pairs.iter().all(|(_, own, copy)| own == copy && *own > 0))
    })?;
    for line in &told {
        shown.line(line);
    }
    let dead = cell
        .streams()?
        .get("OVERLAY_REPLICATION_DEAD")
        .copied()
        .unwrap_or_default();
    shown.holds(
        "every message is at the region, and each once",
        equal && dead == 0,
    );
    Ok(())
}

/// Of many documents the region has a few, of every node one.
fn sampled(cell: &Cell, region: &Region, shown: &mut Shown) -> Result<()> {
    shown.step(&format!(
        "{TELLING} nodes tell what they are five times a second; one document of each in {INTERVAL} is copied"
    ));
    let target = format!("{NAME}_{DOCUMENTS}");
    let (mut here, mut there) = (0, 0);
    let wanted = u64::try_from(TELLING).unwrap_or(u64::MAX);
    let held = cell.eventually(Duration::from_secs(30), || {
        let of = |streams: std::collections::BTreeMap<String, u64>, name: &str| {
            streams.get(name).copied().unwrap_or_default()
        };
        there = of(region.cell.streams()?, &target);
        here = of(cell.streams()?, DOCUMENTS);
        Ok(there >= wanted && here >= 10 * wanted)
    })?;
    shown.line(&format!("{here} documents here, {there} at the region"));
    shown.holds(
        "of each node a document is at the region, and most were left out",
        held && there < here / 2,
    );
    let status = cell.overlay(&["replicate", "status"])?;
    status.show();
    shown.holds(
        "the replicator says what it does",
        status.ok && status.text.contains(DOCUMENTS),
    );
    Ok(())
}

/// The link is cut, the cell goes on; the link is back, and the region has it all.
fn cut(cell: &Cell, region: &Region, shown: &mut Shown) -> Result<()> {
    shown.step("the link to the region is cut; meanwhile three strangers are turned away");
    region.link.cut();
    let stranger = cell.caller("outsider", true, &[])?;
    for _ in 0..NODES {
        cell.overlay_as(&stranger, &["ping", "--timeout", "1"])?;
    }
    let waits = cell.eventually(Duration::from_secs(30), || {
        let (own, copies) = (cell.streams()?, region.cell.streams()?);
        let events = "CHORIA_EVENTS";
        Ok(own.get(events) > copies.get(&format!("{NAME}_{events}")))
    })?;
    let lag = cell.overlay(&["replicate", "lag"])?;
    lag.show();
    shown.holds("what happened waits at the cell", waits && lag.ok);
    shown.step("the link is back");
    region.link.restore();
    show_counts(cell, region, shown)
}

/// A node falls silent, and the region hears of it; then it is back.
#[expect(
    clippy::disallowed_methods,
    reason = "a time for the person who watches"
)]
fn silent(region: &Region, producer: &mut Producer, shown: &mut Shown) -> Result<()> {
    let advisories = |event: &str| -> Result<Option<String>> {
        let stream = format!("{NAME}_OVERLAY_REPLICATION_ADVISORIES");
        let args = ["replicate", "advisories", &stream, "--since", "10m"];
        let said = region.cell.overlay(&args)?;
        let line = said
            .text
            .lines()
            .find(|line| line.contains(event) && line.contains(SILENT));
        Ok(line.map(str::to_owned))
    };
    shown.step("overlay replicate advisories, at the region");
    let early = advisories("timeout")?;
    shown.holds(
        "the cut link was taken for nobody's silence",
        early.is_none(),
    );
    for (word, event) in [("silence", "timeout"), ("speak", "recover")] {
        shown.step(match event {
            "timeout" => "a node falls silent; at the region:",
            _ => "it is back; at the region:",
        });
        let began = Instant::now();
        producer.tell(&format!("{word} {SILENT}"))?;
        let mut line = None;
        region.cell.eventually(Duration::from_secs(30), || {
            line = advisories(event)?;
            Ok(line.is_some())
        })?;
        let seconds = began.elapsed().as_secs_f32();
        shown.line(&format!(
            "after {seconds:.1} s: {}",
            line.as_deref().unwrap_or("nothing")
        ));
        shown.holds(
            &format!("word of the node ({event}) arrives at the region"),
            line.is_some(),
        );
    }
    Ok(())
}

fn replace(path: &Path, part: &str, by: &str) -> Result<()> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    if !text.contains(part) {
        bail!("{} lacks {part}", path.display());
    }
    fs::write(path, text.replace(part, by)).with_context(|| format!("write {}", path.display()))
}

/// The command that logs in at a cell's broker as a caller of its own.
fn caller(cell: &Cell, name: &str, flags: &[&str]) -> Result<Command> {
    let config = cell.caller(name, false, flags)?;
    let directory = config.parent().context("the file is in a directory")?;
    let mut command = Command::new(cell.binary("overlay-demo-nodes"));
    command
        .args(["--url", &format!("tls://localhost:{}", cell.port())])
        .args(["--caller", &format!("up={name}")])
        .arg("--ca")
        .arg(cell.directory().join("tls/ca.pem"))
        .arg("--token")
        .arg(directory.join("client.jwt"))
        .arg("--seed")
        .arg(directory.join("client.seed"));
    Ok(command)
}

/// Nodes that tell of themselves.
#[derive(Debug)]
struct Producer(Child);

impl Producer {
    fn start(cell: &Cell) -> Result<Self> {
        let flags = [
            "--no-fleet-management",
            "--stream-admin",
            "--publish",
            "node.documents.>",
        ];
        let child = caller(cell, "documents", &flags)?
            .args(["--stream", DOCUMENTS])
            .args(["--nodes", &TELLING.to_string()])
            .args(["--every", &EVERY_MS.to_string()])
            .stdin(Stdio::piped())
            .spawn()
            .context("start overlay-demo-nodes")?;
        Ok(Self(child))
    }

    fn tell(&mut self, line: &str) -> Result<()> {
        let stdin = self.0.stdin.as_mut().context("the producer listens")?;
        writeln!(stdin, "{line}").context("tell the producer")
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        if self.0.kill().is_ok() {
            drop(self.0.wait());
        }
    }
}
