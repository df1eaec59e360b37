//! `overlay provision nodes`: where nodes stand on their way into the fleet, and what to do about it.

mod show;

pub(in crate::commands) use self::show::instant;

use overlay_protocol::id::Identity;
use overlay_protocol::provisioning::control::{
    MAX_NODES, NodeReply, NodeRequest, NodesReply, NodesRequest, name,
};
use overlay_protocol::provisioning::{NodeRecord, NodeState};
use serde_json::json;

use clap::Subcommand;

use super::control::{Act, Control, Reach};
use crate::app::App;
use crate::error::Failure;
use crate::text;

/// Lists are read in pages; more nodes than any cell has.
const MAX_LISTED: usize = 1_000_000;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List nodes and where they stand
    #[command(visible_alias = "ls")]
    List(List),
    /// Show what is known of a node, and the last decisions about it
    Show(One),
    /// Take nodes up at once, whatever they wait for
    Retry(Several),
    /// Leave nodes alone until they are released
    Quarantine(Several),
    /// End a quarantine, and let a node take its name and its one-time token once more
    ///
    /// Needed before a machine whose name is in use or holds a valid token is enrolled anew, as after a
    /// reinstallation, unless the helper confirms such nodes.
    Release(Several),
}

#[derive(Debug, clap::Args)]
struct List {
    /// Only nodes in this state: waiting, enrolling, restarting, member, deferred, failed, quarantined, refused
    #[arg(long, value_name = "STATE")]
    state: Option<NodeState>,
    /// List so many at most
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,
    /// Print names only
    #[arg(long)]
    names: bool,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, clap::Args)]
struct One {
    /// The node
    #[arg(value_name = "IDENTITY")]
    identity: Identity,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, clap::Args)]
struct Several {
    /// The nodes
    #[arg(value_name = "IDENTITY", required = true)]
    identities: Vec<Identity>,
    /// Why, for other operators and for the audit
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    reason: String,
    #[command(flatten)]
    reach: Reach,
}

pub(super) async fn run(args: Args, app: &App) -> Result<(), Failure> {
    match args.verb {
        Verb::List(args) => list(args, app).await,
        Verb::Show(args) => one(args, app).await,
        Verb::Retry(args) => several(args, Act::Retry, app).await,
        Verb::Quarantine(args) => several(args, Act::Quarantine, app).await,
        Verb::Release(args) => several(args, Act::Release, app).await,
    }
}

async fn list(args: List, app: &App) -> Result<(), Failure> {
    let control = Control::open(app, &args.reach).await?;
    let wanted = args.limit.unwrap_or(MAX_LISTED);
    let mut nodes: Vec<NodeRecord> = Vec::new();
    let mut total;
    loop {
        let request = NodesRequest {
            state: args.state,
            offset: nodes.len(),
            limit: MAX_NODES.min(wanted.saturating_sub(nodes.len())),
        };
        let page: NodesReply = control.ask(name::NODES, &request).await?;
        total = page.total;
        let came = page.nodes.len();
        nodes.extend(page.nodes);
        if came == 0 || nodes.len() >= wanted {
            break;
        }
    }
    nodes.truncate(wanted);
    if app.output.is_json() {
        return app.output.json(&json!({ "nodes": nodes, "total": total }));
    }
    if args.names {
        return nodes
            .iter()
            .try_for_each(|node| app.output.line(&node.identity));
    }
    if nodes.is_empty() {
        let of_state = args
            .state
            .map_or_else(String::new, |state| format!(" {state}"));
        return app.output.line(format!("No{of_state} nodes"));
    }
    app.output.line(show::table(&nodes))?;
    let shown = nodes.len();
    if total > u64::try_from(shown).unwrap_or(u64::MAX) {
        app.output.note(format!("{shown} of {total} nodes shown"));
    }
    Ok(())
}

async fn one(args: One, app: &App) -> Result<(), Failure> {
    let control = Control::open(app, &args.reach).await?;
    let request = NodeRequest {
        identity: args.identity,
        reason: String::new(),
    };
    let reply: NodeReply = control.ask(name::NODE, &request).await?;
    if reply.record.is_none() && reply.audit.is_empty() {
        let identity = request.identity;
        return Err(
            Failure::new(format!("the provisioner does not know a node {identity}")).hint(
                "has it connected? A login that is refused is in `overlay events --type refused`",
            ),
        );
    }
    if app.output.is_json() {
        return app.output.json(&reply);
    }
    app.output.text(show::node(&reply))
}

async fn several(args: Several, act: Act, app: &App) -> Result<(), Failure> {
    let control = Control::open(app, &args.reach).await?;
    let mut results = Vec::new();
    let mut failed = 0_usize;
    for identity in args.identities {
        let shown = identity.to_string();
        let request = NodeRequest {
            identity,
            reason: args.reason.clone(),
        };
        let (ok, said) = match control.act(act.action(), &request).await {
            Ok(done) => (true, text::visible(&done.message)),
            Err(failure) => {
                failed += 1;
                (false, failure.line())
            }
        };
        if !app.output.is_json() {
            let sign = if ok { '✓' } else { '✗' };
            app.output.line(format!("{sign} {shown}: {said}"))?;
        }
        results.push(json!({ "identity": shown, "ok": ok, "message": said }));
    }
    if app.output.is_json() {
        app.output.json(&results)?;
    }
    if failed == 0 {
        return Ok(());
    }
    Err(Failure::new(format!(
        "{failed} of {} nodes: {} was refused",
        results.len(),
        act.action()
    ))
    .hint("`overlay provision nodes list` shows who is known, and where they stand"))
}
