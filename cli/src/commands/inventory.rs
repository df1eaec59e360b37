//! `overlay inventory`: what a node is; with `--collectives`, which collectives there are.

mod node;

use std::collections::BTreeMap;
use std::time::Duration;

use overlay_client::{Answer, Call, Config, Fleet, Outcome, Target, ddl as descriptions};
use overlay_protocol::filter::Filter;
use overlay_protocol::id::Identity;
use overlay_protocol::rpc::RpcRequest;
use serde_json::{Map, Value, json};

use crate::app::App;
use crate::args::{DiscoveryArgs, FilterArgs};
use crate::error::Failure;
use crate::results::{self, Row, Stats, Tally};
use crate::select::Plan;
use crate::text::table;

const AGENT: &str = "rpcutil";

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  overlay inventory n1.example.net
  overlay inventory n1.example.net --json | jq .inventory.facts
  overlay inventory --collectives

Exit code: 0 when the node told, else 1.")]
pub(crate) struct Args {
    /// The node
    identity: Option<Identity>,
    /// Count the nodes of each collective instead
    #[arg(long, conflicts_with = "identity")]
    collectives: bool,
    /// Leave out the facts
    #[arg(long)]
    no_facts: bool,
    #[arg(long, hide = true)]
    facts: bool,
    #[command(flatten)]
    filters: FilterArgs,
    #[command(flatten)]
    discovery: DiscoveryArgs,
}

pub(crate) async fn run(args: Args, app: &App) -> Result<(), Failure> {
    if args.collectives {
        return collectives(args, app).await;
    }
    let Some(identity) = args.identity.clone() else {
        return Err(
            Failure::new("please specify a node to retrieve inventory for")
                .hint("overlay inventory NODE; `overlay find` lists the nodes"),
        );
    };
    let config = app.config()?;
    let timeout = timeout(&config)?;
    let fleet = app.fleet(config, "inventory").await?;
    let spinner = app.output.spinner(format!("asking {identity}"));
    let target = Target::Nodes(vec![identity.clone()]);
    let asking = Asking {
        app,
        fleet: &fleet,
        args: &args,
        timeout,
    };
    let inventory = asking.one("inventory", target.clone()).await?;
    let stats = asking.one("daemon_stats", target).await;
    drop(spinner);
    let (inventory, stats) = (
        inventory.data,
        stats.map(|row| row.data).unwrap_or_default(),
    );
    if app.output.is_json() {
        return app.output.json(&json!({
            "identity": identity,
            "inventory": inventory,
            "daemon_stats": stats,
        }));
    }
    app.output.text(node::text(
        identity.as_str(),
        &inventory,
        &stats,
        !args.no_facts,
    ))
}

/// The time that the agent has, and the time that messages need both ways.
fn timeout(config: &Config) -> Result<Duration, Failure> {
    let ddl = descriptions::resolve(AGENT, &[])?;
    Ok(Duration::from_secs(ddl.metadata.timeout) + config.discovery.timeout)
}

struct Asking<'a> {
    app: &'a App,
    fleet: &'a Fleet,
    args: &'a Args,
    timeout: Duration,
}

impl Asking<'_> {
    async fn all(&self, action: &str, target: Target) -> Result<(Vec<Row>, Outcome), Failure> {
        let call = Call {
            request: RpcRequest {
                agent: AGENT.to_owned(),
                action: action.to_owned(),
                data: Map::new(),
            },
            collective: self.args.filters.target.clone(),
            target,
            filter: Filter::default(),
            timeout: self.timeout,
            batches: None,
        };
        let limits = self.fleet.limits();
        let mut rows = Vec::new();
        let asked = self.fleet.call(&call, |answer: &Answer| {
            rows.push(Row::new(answer, &limits))
        });
        let outcome = self
            .app
            .until_interrupted(self.fleet.stop(), asked)
            .await??;
        results::warn(&self.app.output, &outcome);
        Ok((rows, outcome))
    }

    async fn one(&self, action: &str, target: Target) -> Result<Row, Failure> {
        let (rows, _) = self.all(action, target).await?;
        let Some(row) = rows.into_iter().next() else {
            return Err(Failure::new("no inventory received")
                .hint("the node is unknown, not connected, or of another collective (-T)")
                .hint("`overlay find` lists those that answer"));
        };
        if !row.is_ok() {
            return Err(Failure::new(format!(
                "{} failed: {}",
                action, row.statusmsg
            )));
        }
        Ok(row)
    }
}

async fn collectives(args: Args, app: &App) -> Result<(), Failure> {
    let config = app.config()?;
    let timeout = timeout(&config)?;
    let plan = Plan::make(app, &config, &args.filters, &args.discovery, AGENT).await?;
    let fleet = app.fleet(config, "inventory").await?;
    let selected = plan.run(app, &fleet).await?;
    if selected.nodes.is_empty() {
        return Err(Failure::new("did not discover any nodes")
            .hint("see who matches with `overlay find` and the same filters"));
    }
    let asking = Asking {
        app,
        fleet: &fleet,
        args: &args,
        timeout,
    };
    let (rows, outcome) = asking
        .all("collective_info", Target::Nodes(selected.nodes))
        .await?;
    let (mut counts, mut tally): (BTreeMap<String, usize>, _) = (BTreeMap::new(), Tally::default());
    for row in &rows {
        tally.count(row);
        let names = row.data.get("collectives").and_then(Value::as_array);
        for name in names.into_iter().flatten().filter_map(Value::as_str) {
            *counts.entry(name.to_owned()).or_default() += 1;
        }
    }
    let stats = Stats::new(&outcome, tally, selected.took);
    if app.output.is_json() {
        return app.output.json(&json!({
            "collectives": counts,
            "nodes": tally.ok,
            "no_responses": stats.no_responses,
        }));
    }
    let mut sorted: Vec<(String, usize)> = counts.into_iter().collect();
    sorted.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let mut table = table(&["Collective", "Nodes"]);
    for (name, count) in sorted {
        table.add_row([name, count.to_string()]);
    }
    let mut text = format!("Collective Report for {} nodes\n\n{table}\n\n", tally.ok);
    if !stats.no_responses.is_empty() {
        text.push_str(&stats.footer(&app.output, app.global.verbose));
    }
    app.output.text(text)
}
