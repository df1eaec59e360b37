//! One run: nodes come, announce themselves, and are counted until the last one that lives has restarted.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use overlay_testkit::emulated::{AfterRestart, Behaviour, Fleet, Seen};
use overlay_testkit::http_get;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::process::{cpu_seconds, descriptors, helper_seconds, peak_mib, resident_mib};
use super::super::report::{at, say};
use super::Options;
use super::world::{Provisioner, World};

/// What this process needs beside the connections of nodes.
const OWN_DESCRIPTORS: usize = 500;
/// What a real node sleeps before it starts again.
const RESTART: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(10);
/// How often is looked at how many nodes wait.
const LOOK: Duration = Duration::from_millis(250);
/// Where nodes are that wait for their turn or for a place.
const WAITING: [&str; 3] = ["waiting", "contacting", "later"];
/// Counts each login of a provisioner; a connection is one.
const LOGINS: &str = "overlay_broker_auth_logins_allowed_total{role=\"provisioner\"} ";
/// So many nodes of each kind are shown when something went wrong.
const ODD: usize = 5;
/// How long a node may be done a second time.
const SETTLE: Duration = Duration::from_millis(500);

/// What one run found.
#[derive(Debug, Default)]
pub(super) struct Run {
    pub(super) per_minute: f64,
    pub(super) wall_s: f64,
    pub(super) enrolled: usize,
    pub(super) lost: usize,
    pub(super) doubled: usize,
    pub(super) calls: usize,
    /// Logins of nodes that the broker refused; they came again, as real nodes do.
    pub(super) refused: usize,
    /// Milliseconds from a node's first request to its restart, sorted.
    pub(super) took_ms: Vec<f64>,
    /// Seconds from the start to each restart, sorted.
    pub(super) done_s: Vec<f64>,
    pub(super) cpu_ms: Spent,
    pub(super) connections: f64,
    pub(super) provisioner_mib: f64,
    pub(super) most: Waiting,
    pub(super) broker_mib: f64,
    pub(super) connected_s: f64,
    pub(super) members_s: Option<f64>,
}

/// How many nodes waited for their turn or a place with one provisioner, and what it held then.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Waiting {
    pub(super) nodes: f64,
    pub(super) resident_mib: f64,
}

/// Processor time by who spent it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spent {
    pub(super) provisioner: f64,
    pub(super) helper: f64,
    pub(super) broker: f64,
    pub(super) broker_auth: f64,
    pub(super) emulator: f64,
}

impl Run {
    pub(super) fn line(&self) -> String {
        let cpu = &self.cpu_ms;
        format!(
            "{:.0} nodes a minute ({} in {:.2} s), p50 {:.1} ms, p99 {:.1} ms, CPU ms a node: provisioner {:.2}, helper {:.2}, nats-server {:.2}, broker-auth {:.2}, emulator {:.2}; {:.0} connections, {:.1} MiB with {:.0} nodes waiting, {:.1} MiB at the most, lost {}, doubled {}, logins refused and tried again {}",
            self.per_minute,
            self.enrolled,
            self.wall_s,
            at(&self.took_ms, 500),
            at(&self.took_ms, 990),
            cpu.provisioner,
            cpu.helper,
            cpu.broker,
            cpu.broker_auth,
            cpu.emulator,
            self.connections,
            self.most.resident_mib,
            self.most.nodes,
            self.provisioner_mib,
            self.lost,
            self.doubled,
            self.refused
        )
    }

    pub(super) fn json(&self) -> Value {
        let cpu = &self.cpu_ms;
        json!({
            "nodes_per_minute": self.per_minute, "wall_s": self.wall_s, "enrolled": self.enrolled, "lost": self.lost,
            "doubled": self.doubled, "logins_refused": self.refused, "calls": self.calls, "connections": self.connections,
            "per_node_ms": { "p50": at(&self.took_ms, 500), "p99": at(&self.took_ms, 990) },
            "done_s": { "p50": at(&self.done_s, 500), "p90": at(&self.done_s, 900) },
            "cpu_ms_per_node": {
                "provisioner": cpu.provisioner, "helper": cpu.helper, "nats_server": cpu.broker,
                "broker_auth": cpu.broker_auth, "emulator": cpu.emulator,
            },
            "most_waiting": { "nodes": self.most.nodes, "provisioner_mib": self.most.resident_mib },
            "peak_mib": { "provisioner": self.provisioner_mib, "nats_server": self.broker_mib },
            "connected_s": self.connected_s, "members_s": self.members_s,
        })
    }
}

/// Starts a cell, lets the nodes come, and measures.
pub(super) async fn once(options: &Options) -> Result<Run> {
    let world = World::start(options)?;
    let fleet = async {
        let began = Instant::now();
        let fleet = nodes(&world, options).await;
        (fleet, began.elapsed().as_secs_f64())
    };
    // A scan finds who is there when a provisioner starts; events find who comes later.
    let (provisioners, fleet, connected_s, began, before) = if options.scan_only {
        let (fleet, connected_s) = fleet.await;
        let (began, before) = (Instant::now(), spent(&world, &[])?);
        let logins = logins(&world)?;
        let provisioners = provisioners(&world, options)?;
        (provisioners, fleet, connected_s, (began, logins), before)
    } else {
        let logins = logins(&world)?;
        let provisioners = provisioners(&world, options)?;
        let (fleet, connected_s) = fleet.await;
        let before = spent(&world, &provisioners)?;
        let began = fleet.announce().await;
        (provisioners, fleet, connected_s, (began, logins), before)
    };
    let (began, logins_before) = began;

    let due = options.nodes - dead_of(options);
    let limit = began + Duration::from_secs(options.limit);
    let (mut shown, mut looked) = (began, began);
    let mut most = Waiting::default();
    while fleet.restarted() < due && Instant::now() < limit {
        tokio::time::sleep(POLL).await;
        if looked.elapsed() > LOOK {
            looked = Instant::now();
            for provisioner in &provisioners {
                let now = waiting(provisioner)?;
                if now.nodes > most.nodes {
                    most = now;
                }
            }
        }
        if shown.elapsed() > Duration::from_secs(10) {
            shown = Instant::now();
            say(&format!(
                "  {:.0} s: {:?}",
                began.elapsed().as_secs_f64(),
                fleet.tally()
            ));
        }
    }
    let after = spent(&world, &provisioners)?;
    tokio::time::sleep(SETTLE).await;
    let members_s = match options.members {
        true => Some(wait_for_members(&fleet, due, began, limit).await),
        false => None,
    };
    let tally = fleet.tally();
    let all = fleet.all();
    let mut run = Run {
        enrolled: tally.restarted,
        lost: due.saturating_sub(tally.restarted),
        doubled: tally.configured_again + tally.restarted_again,
        calls: tally.calls,
        refused: tally.refused,
        connected_s,
        members_s,
        most,
        connections: logins(&world)? - logins_before,
        broker_mib: peak_mib(world.cell.broker.pid())?,
        ..Run::default()
    };
    for provisioner in &provisioners {
        let peak = peak_mib(provisioner.process.pid())?;
        run.provisioner_mib = run.provisioner_mib.max(peak);
    }
    for seen in &all {
        if let (Some(first), Some(restarted)) = (seen.first_at, seen.restarted_at) {
            run.took_ms.push((restarted - first).as_secs_f64() * 1000.0);
            run.done_s.push((restarted - began).as_secs_f64());
        }
    }
    run.took_ms.sort_by(f64::total_cmp);
    run.done_s.sort_by(f64::total_cmp);
    run.wall_s = run.done_s.last().copied().unwrap_or_default();
    run.per_minute = run.enrolled as f64 / run.wall_s.max(1e-9) * 60.0;
    run.cpu_ms = after.less(&before).per(run.enrolled);
    keep_logs(&world.directory(), run.lost + run.doubled > 0, &all);
    fleet.stop().await;
    Ok(run)
}

fn provisioners(world: &World, options: &Options) -> Result<Vec<Provisioner>> {
    let mut provisioners = Vec::new();
    for index in 0..options.provisioners.max(1) {
        provisioners.push(world.provisioner(options, index)?);
    }
    Ok(provisioners)
}

/// The nodes, connected.
pub(super) async fn nodes(world: &World, options: &Options) -> Fleet {
    let (nodes, dead) = (options.nodes, dead_of(options));
    let most = descriptors().saturating_sub(OWN_DESCRIPTORS);
    let after = match options.members {
        true => AfterRestart::Member(RESTART),
        // Further nodes come as others leave.
        false if nodes > most => AfterRestart::Leaves,
        false => AfterRestart::Lingers,
    };
    let mut behaviour = Behaviour::default()
        .latency(Duration::from_millis(options.latency))
        .after_restart(after)
        .announcements(options.events);
    if options.scan_only {
        behaviour = behaviour.announcements(0);
    }
    Fleet::builder(world.cell.port)
        .tls()
        .token(world.token.clone())
        .count(nodes)
        .connections(most)
        .reconnect_as_nodes_do()
        .behave(move |index, _| {
            // Spread evenly over the order in which they announce themselves.
            if index * dead / nodes == (index + 1) * dead / nodes {
                behaviour.clone()
            } else {
                Behaviour::dead()
            }
        })
        .start()
        .await
}

fn dead_of(options: &Options) -> usize {
    let share = options.dead.clamp(0.0, 100.0) / 100.0;
    (0..options.nodes)
        .take_while(|count| (*count as f64) < options.nodes as f64 * share)
        .count()
}

async fn wait_for_members(fleet: &Fleet, due: usize, began: Instant, limit: Instant) -> f64 {
    while fleet.tally().members < due && Instant::now() < limit {
        tokio::time::sleep(POLL).await;
    }
    began.elapsed().as_secs_f64()
}

fn waiting(provisioner: &Provisioner) -> Result<Waiting> {
    let (_, page) = http_get(provisioner.admin, "/metrics").context("ask the provisioner")?;
    let mut nodes = 0.0;
    for place in WAITING {
        let gauge = format!("overlay_provisioner_nodes{{place={place:?}}} ");
        nodes += sample(&page, &gauge)?;
    }
    Ok(Waiting {
        nodes,
        resident_mib: resident_mib(provisioner.process.pid())?,
    })
}

/// Logins of provisioners so far, as those who let them in count them.
fn logins(world: &World) -> Result<f64> {
    let mut logins = 0.0;
    for admin in &world.cell.admins {
        let (_, page) = http_get(*admin, "/metrics").context("ask broker-auth")?;
        logins += sample(&page, LOGINS)?;
    }
    Ok(logins)
}

/// One sample of a page of metrics.
fn sample(page: &str, name: &str) -> Result<f64> {
    let found = page.lines().find_map(|line| line.strip_prefix(name));
    found
        .and_then(|number| number.trim().parse().ok())
        .with_context(|| format!("find {name}"))
}

fn spent(world: &World, provisioners: &[Provisioner]) -> Result<Spent> {
    let mut spent = Spent {
        broker: cpu_seconds(world.cell.broker.pid())?,
        emulator: cpu_seconds(std::process::id())?,
        ..Spent::default()
    };
    for responder in &world.cell.responders {
        spent.broker_auth += cpu_seconds(responder.pid())?;
    }
    for provisioner in provisioners {
        spent.provisioner += cpu_seconds(provisioner.process.pid())?;
        spent.helper += helper_seconds(provisioner.process.pid())?;
    }
    if let Some(helper) = &world.helper {
        spent.helper += cpu_seconds(helper.pid())?;
    }
    Ok(spent)
}

impl Spent {
    fn less(self, before: &Self) -> Self {
        Self {
            provisioner: self.provisioner - before.provisioner,
            helper: self.helper - before.helper,
            broker: self.broker - before.broker,
            broker_auth: self.broker_auth - before.broker_auth,
            emulator: self.emulator - before.emulator,
        }
    }

    /// Milliseconds for each of some nodes.
    fn per(self, nodes: usize) -> Self {
        let each = |seconds: f64| 1000.0 * seconds / nodes.max(1) as f64;
        Self {
            provisioner: each(self.provisioner),
            helper: each(self.helper),
            broker: each(self.broker),
            broker_auth: each(self.broker_auth),
            emulator: each(self.emulator),
        }
    }
}

/// Shows what provisioners said and what became of some nodes, where something went wrong.
fn keep_logs(directory: &Path, wrong: bool, all: &[Seen]) {
    if !wrong {
        return;
    }
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.path().extension().is_some_and(|end| end == "log") {
            let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let last = lines
                .get(lines.len().saturating_sub(20)..)
                .unwrap_or_default();
            say(&format!("{}:\n{}", entry.path().display(), last.join("\n")));
        }
    }
    let odd = all.iter().filter(|seen| !seen.is_enrolled_once());
    // Those that are dead by design stand among those that nobody asked anything.
    let (asked, left): (Vec<_>, Vec<_>) = odd.partition(|seen| seen.first_at.is_some());
    for seen in asked.iter().take(ODD).chain(left.iter().take(ODD)) {
        say(&format!(
            "{:?}, {:?}, refused {:?}",
            seen.standing, seen.order, seen.refusals
        ));
    }
}
