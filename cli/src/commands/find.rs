//! `overlay find`: nodes by filters.

use crate::app::App;
use crate::args::{DiscoveryArgs, FilterArgs};
use crate::error::Failure;
use crate::select::Plan;

/// Discovery finds nodes that can be asked about themselves.
const AGENT: &str = "rpcutil";

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  overlay find                                    all nodes
  overlay find -F os.family=redhat -C apache      with this fact and that class
  overlay find -I /^web/                          by name
  overlay find -S \"with('apache') && fact('cpus') > 4\"
  overlay req rpcutil ping -j | overlay find      those that answered before

Facts compare with = (or ==), !=, <, <=, >, >= and =~ /regex/; all filters given must hold.
Exit code: 0, even when nobody is found.")]
pub(crate) struct Args {
    #[command(flatten)]
    filters: FilterArgs,
    #[command(flatten)]
    discovery: DiscoveryArgs,
}

pub(crate) async fn run(args: Args, app: &App) -> Result<(), Failure> {
    let config = app.config()?;
    let plan = Plan::make(app, &config, &args.filters, &args.discovery, AGENT).await?;
    let selected = if plan.is_known() {
        plan.known()
    } else {
        let fleet = app.fleet(config, "find").await?;
        Some(plan.run(app, &fleet).await?)
    };
    let Some(selected) = selected else {
        return Err(Failure::new("no way to find nodes"));
    };
    if app.output.is_json() {
        return app.output.json(&selected.nodes);
    }
    for node in &selected.nodes {
        app.output.line(node)?;
    }
    if app.global.verbose {
        app.output.note(format_args!(
            "\nDiscovered {} nodes using the {} method in {:.2} seconds",
            selected.nodes.len(),
            selected.method,
            selected.took.as_secs_f64(),
        ));
    }
    Ok(())
}
