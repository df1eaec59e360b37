//! `overlay facts`: the values of a fact, and who has them.

use std::collections::BTreeMap;

use overlay_client::{Answer, Call, Target, ddl as descriptions};
use overlay_protocol::filter::Filter;
use overlay_protocol::rpc::RpcRequest;
use serde::Serialize;
use serde_json::Value;

use crate::app::App;
use crate::args::{DiscoveryArgs, FilterArgs};
use crate::error::Failure;
use crate::results::{self, Row, Stats, Tally};
use crate::select::Plan;
use crate::text::{plain, table};

const AGENT: &str = "rpcutil";
const ACTION: &str = "get_fact";
/// What a node says that does not have the fact.
const MISSING: &str = "nil";

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  overlay facts os.family                 how many nodes have which
  overlay facts site -C web --show-nodes  by site, with names
  overlay facts cpus --table --reverse

Exit code: 0, also when no node has the fact (counted as nil); 1 when there are no nodes.")]
pub(crate) struct Args {
    /// The fact; parts of it with dots
    fact: String,
    /// Print a table
    #[arg(short, long)]
    table: bool,
    /// Name the nodes of each value
    #[arg(short = 'n', long)]
    show_nodes: bool,
    /// The most frequent value first
    #[arg(short, long)]
    reverse: bool,
    #[command(flatten)]
    filters: FilterArgs,
    #[command(flatten)]
    discovery: DiscoveryArgs,
}

/// The nodes with one value.
#[derive(Debug, Default, Serialize)]
struct Found {
    count: usize,
    identities: Vec<String>,
}

pub(crate) async fn run(args: Args, app: &App) -> Result<(), Failure> {
    let config = app.config()?;
    let ddl = descriptions::resolve(AGENT, &[])?;
    let timeout = std::time::Duration::from_secs(ddl.metadata.timeout) + config.discovery.timeout;
    let plan = Plan::make(app, &config, &args.filters, &args.discovery, AGENT).await?;
    let fleet = app.fleet(config, "facts").await?;
    let selected = plan.run(app, &fleet).await?;
    if selected.nodes.is_empty() {
        return Err(Failure::new("did not discover any nodes")
            .hint("see who matches with `overlay find` and the same filters"));
    }
    let inputs = serde_json::Map::from_iter([("fact".to_owned(), Value::from(args.fact.as_str()))]);
    let bar = app.output.progress(selected.nodes.len());
    let call = Call {
        request: RpcRequest {
            agent: AGENT.to_owned(),
            action: ACTION.to_owned(),
            data: inputs,
        },
        collective: args.filters.target.clone(),
        target: Target::Nodes(selected.nodes),
        filter: Filter::default(),
        timeout,
        batches: None,
    };
    let limits = fleet.limits();
    let mut found: BTreeMap<String, Found> = BTreeMap::new();
    let mut tally = Tally::default();
    let asked = fleet.call(&call, |answer: &Answer| {
        bar.step();
        let row = Row::new(answer, &limits);
        tally.count(&row);
        if row.is_ok() {
            let value = match row.data.get("value") {
                None | Some(Value::Null) => MISSING.to_owned(),
                Some(value) => plain(value),
            };
            let entry = found.entry(value).or_default();
            entry.count += 1;
            entry.identities.push(row.sender);
        }
    });
    let outcome = app.until_interrupted(fleet.stop(), asked).await??;
    drop(bar);
    results::warn(&app.output, &outcome);
    if outcome.answered == 0 {
        return Err(Failure::new("no responses received").hint(
            "the nodes were found, but none answered in time: try `overlay req rpcutil ping`",
        ));
    }
    for entry in found.values_mut() {
        entry.identities.sort_unstable();
    }
    if app.output.is_json() {
        return app.output.json(&found);
    }
    let mut found: Vec<(String, Found)> = found.into_iter().collect();
    found.sort_by_key(|(_, entry)| entry.count);
    if args.reverse {
        found.reverse();
    }
    let with_nodes = args.show_nodes || app.global.verbose;
    if args.table {
        return app
            .output
            .text(format_args!("{}\n\n", as_table(&found, with_nodes)));
    }
    let stats = Stats::new(&outcome, tally, selected.took);
    let mut text = format!(
        "Report for fact: {}\n\n{}\n",
        args.fact,
        lines(&found, with_nodes)
    );
    text.push_str(&stats.footer(&app.output, app.global.verbose));
    app.output.text(text)
}

fn lines(found: &[(String, Found)], with_nodes: bool) -> String {
    let width = found
        .iter()
        .map(|(value, _)| value.chars().count())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for (value, entry) in found {
        text.push_str(&format!("  {value:width$} found {} times\n", entry.count));
        if with_nodes {
            let names: Vec<String> = entry
                .identities
                .iter()
                .map(|n| format!("    {n}\n"))
                .collect();
            text.push_str(&format!("\n{}\n", names.concat()));
        }
    }
    text
}

fn as_table(found: &[(String, Found)], with_nodes: bool) -> comfy_table::Table {
    let headings: &[&str] = if with_nodes {
        &["Fact", "Matches", "Nodes"]
    } else {
        &["Fact", "Matches"]
    };
    let mut table = table(headings);
    for (value, entry) in found {
        let mut cells = vec![value.clone(), entry.count.to_string()];
        if with_nodes {
            cells.push(entry.identities.join("\n"));
        }
        table.add_row(cells);
    }
    table
}
