//! `overlay req`: run an action on nodes.

mod filter;
mod lines;
mod show;
mod sink;

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use overlay_client::{
    Answer, Batches, Call, Config, Fleet, Limit, LimitMethod, Target, ddl as descriptions,
};
use overlay_protocol::filter::Filter;
use overlay_protocol::rpc::RpcRequest;
use overlay_protocol::rpc::ddl::{Action, Ddl};

use self::lines::Lines;
use self::sink::Sink;
use crate::app::App;
use crate::args::{DiscoveryArgs, FilterArgs, seconds};
use crate::error::{Failure, Hint};
use crate::output::Progress;
use crate::results::{self, Row, Stats, Tally};
use crate::select::{self, Plan, Selected};

/// When a description says nothing else.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  overlay req rpcutil ping                              on all nodes
  overlay req rpcutil get_fact fact=os.family -C web    on those of a class
  overlay req rpcutil ping --limit 10%                  on a tenth of them
  overlay req puppet runonce --batch 50 --batch-sleep 30
  overlay req rpcutil ping --json | overlay req rpcutil daemon_stats
                                                        on those that answered the first

Replies are shown as the action's description says, or by --display. Errors on nodes are replies:
the exit code is 0 whatever they say, and 1 when the request could not be made or found nobody.")]
pub(crate) struct Args {
    /// The agent
    agent: String,
    /// Its action
    action: String,
    /// Inputs of the action
    #[arg(value_name = "KEY=VALUE")]
    inputs: Vec<String>,
    #[command(flatten)]
    filters: FilterArgs,
    #[command(flatten)]
    discovery: DiscoveryArgs,
    #[command(flatten)]
    sending: Sending,
    #[command(flatten)]
    showing: Showing,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Sending")]
struct Sending {
    /// Ask only so many of the nodes: 10, or 10%
    #[arg(long, value_name = "LIMIT")]
    limit: Option<String>,
    /// Choose them by chance, the same ones for the same seed
    #[arg(long, value_name = "SEED")]
    limit_seed: Option<u64>,
    /// Ask so many nodes at a time
    #[arg(long, value_name = "SIZE")]
    batch: Option<usize>,
    /// Pause between two batches (default: 1)
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    batch_sleep: Option<Duration>,
    /// Let the replies go to this subject, print the request's id, and end
    #[arg(short, long, value_name = "SUBJECT")]
    reply_to: Option<String>,
    /// Wait so long for replies, instead of what the description says
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
    /// Accepted for old scripts; one connection serves them all
    #[arg(long, value_name = "COUNT", hide = true)]
    workers: Option<usize>,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Output")]
struct Showing {
    /// Print a line of JSON for each thing that happens
    #[arg(long, conflicts_with = "json")]
    jsonl: bool,
    /// Print a table of the replies that went well
    #[arg(long)]
    table: bool,
    /// Print only the names of the nodes where it went well
    #[arg(long)]
    senders: bool,
    /// Which replies to show
    #[arg(long, value_name = "WHICH")]
    display: Option<Display>,
    /// Show only replies for which this expression is true, such as "ok() && data('value') == 'lhr'"
    #[arg(long, value_name = "EXPR")]
    filter_replies: Option<String>,
    /// Sort replies by name
    #[arg(long)]
    sort: bool,
    /// Write results to this file
    #[arg(short, long, value_name = "FILE")]
    output_file: Option<PathBuf>,
    /// Show no progress
    #[arg(long)]
    np: bool,
    /// Print results only: no figures, no progress
    #[arg(long)]
    silent: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Display {
    /// Those that went well
    Ok,
    /// Those that did not
    Failed,
    /// All
    All,
    /// None
    None,
}

pub(crate) async fn run(args: Args, app: &App) -> Result<(), Failure> {
    let config = app.config()?;
    let mut sink = Sink::open(args.showing.output_file.as_deref(), &app.output)?;
    if !args.showing.jsonl {
        return perform(&args, app, config, &mut sink).await;
    }
    // Whoever reads lines of JSON gets the error as one of them.
    match perform(&args, app, config, &mut sink).await {
        Ok(()) => Ok(()),
        Err(failure) if failure.is_pipe_closed() => Err(failure),
        Err(failure) => Lines::new(&mut sink).error(&failure),
    }
}

async fn perform(args: &Args, app: &App, config: Config, sink: &mut Sink) -> Result<(), Failure> {
    let ddl = descriptions::resolve(&args.agent, &config.library_dirs).map_err(|error| {
        Failure::from(error).context(format!(
            "could not resolve {} DDL in any resolver",
            args.agent
        ))
    })?;
    let action = action(&ddl, &args.action)?;
    let request = request(args, action)?;
    let limit: Option<Limit> = args.sending.limit.as_deref().map(str::parse).transpose()?;
    if args.sending.batch == Some(0) {
        return Err(Failure::usage("a batch has at least one node"));
    }
    let keep = filter::compile(args.showing.filter_replies.as_deref())?;
    let timeout = timeout(args, &ddl, &config);
    if ddl.metadata.service {
        no_choice(args)?;
        let fleet = app.fleet(config, "req").await?;
        let call = Call {
            request,
            collective: args.filters.target.clone(),
            target: Target::Service,
            filter: Filter::default(),
            timeout,
            batches: None,
        };
        return Asking {
            args,
            app,
            fleet: &fleet,
            action,
            keep: keep.as_ref(),
            took: Duration::ZERO,
        }
        .ask(&call, 1, sink)
        .await;
    }

    let plan = Plan::make(app, &config, &args.filters, &args.discovery, &args.agent).await?;
    let method = config.limit_method;
    let fleet = app.fleet(config, "req").await?;
    if args.showing.jsonl {
        Lines::new(sink).discovering(plan.method)?;
    }
    let selected = plan.run(app, &fleet).await?;
    announce(args, app, &selected);
    if selected.nodes.is_empty() {
        return Err(Failure::new("did not discover any nodes")
            .hint("see who matches with `overlay find` and the same filters"));
    }
    let Selected {
        nodes,
        method: how,
        took,
    } = selected;
    let nodes = limited(nodes, limit, method, args.sending.limit_seed)?;
    if args.showing.jsonl {
        Lines::new(sink).discovered(how, nodes.len(), took)?;
    }
    let count = nodes.len();
    let pause = args.sending.batch_sleep.unwrap_or(Duration::from_secs(1));
    let mut call = Call {
        request,
        collective: args.filters.target.clone(),
        target: Target::Nodes(nodes),
        filter: Filter::default(),
        timeout,
        batches: args.sending.batch.map(|size| Batches { size, pause }),
    };
    if let Some(reply_to) = &args.sending.reply_to {
        call.filter = select::parse(&args.filters, Some(&args.agent))?;
        let id = fleet.send(&call, reply_to).await?;
        app.output.warn_of(&fleet.connection().take_notices());
        return sink.line(id);
    }
    Asking {
        args,
        app,
        fleet: &fleet,
        action,
        keep: keep.as_ref(),
        took,
    }
    .ask(&call, count, sink)
    .await
}

fn action<'d>(ddl: &'d Ddl, name: &str) -> Result<&'d Action, Failure> {
    ddl.action(name).ok_or_else(|| {
        let agent = &ddl.metadata.name;
        Failure::new(format!("agent `{agent}` has no action `{name}`"))
            .hint(format!("it has {}", ddl.action_names().join(", ")))
            .hint(format!("`overlay plugin doc {agent}` describes them"))
    })
}

fn request(args: &Args, action: &Action) -> Result<RpcRequest, Failure> {
    let mut pairs = Vec::new();
    for input in &args.inputs {
        let (key, value) = input
            .split_once('=')
            .ok_or_else(|| Failure::usage(format!("`{input}` is not an input: write key=value")))?;
        pairs.push((key.to_owned(), value.to_owned()));
    }
    let data = action.convert_inputs(&pairs).map_err(|error| {
        Failure::from(error).context("invalid input").hint(format!(
            "`overlay plugin doc {}` describes the inputs",
            args.agent
        ))
    })?;
    Ok(RpcRequest {
        agent: args.agent.clone(),
        action: action.action.clone(),
        data,
    })
}

/// A service is whoever hosts it: nodes cannot be chosen.
fn no_choice(args: &Args) -> Result<(), Failure> {
    let filters = &args.filters;
    let has_filter = !(filters.fact.is_empty()
        && filters.class.is_empty()
        && filters.identity.is_empty()
        && filters.with.is_empty()
        && filters.select.is_none());
    if has_filter || args.discovery.nodes.is_some() {
        return Err(Failure::usage(format!(
            "`{}` is a service: nodes cannot be chosen",
            args.agent
        )));
    }
    Ok(())
}

/// The time that the agent has, and the time that messages need both ways.
fn timeout(args: &Args, ddl: &Ddl, config: &Config) -> Duration {
    let of_agent = match ddl.metadata.timeout {
        0 => DEFAULT_TIMEOUT,
        seconds => Duration::from_secs(seconds),
    };
    args.sending
        .timeout
        .unwrap_or(of_agent + config.discovery.timeout)
}

fn limited<T>(
    nodes: Vec<T>,
    limit: Option<Limit>,
    method: LimitMethod,
    seed: Option<u64>,
) -> Result<Vec<T>, Failure> {
    let Some(limit) = limit else { return Ok(nodes) };
    let method = if seed.is_some() {
        LimitMethod::Random
    } else {
        method
    };
    let kept = limit.apply(nodes, method, seed.unwrap_or_else(random_seed));
    kept.hint("ask for more nodes with --limit, or find more")
}

/// Another one every time, which is all that is asked of it.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
}

fn announce(args: &Args, app: &App, selected: &Selected) {
    let is_quiet = args.is_quiet(app);
    if !is_quiet && (app.output.is_watched() || app.global.verbose) {
        let Selected { nodes, method, .. } = selected;
        app.output.note(format_args!(
            "Discovering nodes using the {method} method .... {}",
            nodes.len()
        ));
    }
}

impl Args {
    fn is_quiet(&self, app: &App) -> bool {
        let showing = &self.showing;
        showing.silent || showing.jsonl || showing.senders || app.output.is_json()
    }
}

/// A request about to be made.
struct Asking<'a> {
    args: &'a Args,
    app: &'a App,
    fleet: &'a Fleet,
    action: &'a Action,
    keep: Option<&'a filter::ReplyFilter>,
    /// How long finding the nodes took.
    took: Duration,
}

impl Asking<'_> {
    async fn ask(&self, call: &Call, expected: usize, sink: &mut Sink) -> Result<(), Failure> {
        let (args, app) = (self.args, self.app);
        let is_watched = !args.is_quiet(app) && !args.showing.np;
        let bar = if is_watched {
            app.output.progress(expected)
        } else {
            Progress::none()
        };
        let limits = self.fleet.limits();
        let (mut rows, mut tally, mut fault) = (Vec::new(), Tally::default(), None);
        let asked = self.fleet.call(call, |answer: &Answer| {
            bar.step();
            let row = Row::new(answer, &limits);
            tally.count(&row);
            match self.keep.map_or(Ok(true), |keep| keep.wants(&row)) {
                Ok(true) if args.showing.jsonl => {
                    let written = Lines::new(sink).result(answer, &row);
                    fault = fault.take().or(written.err());
                    rows.push(row);
                }
                Ok(true) => rows.push(row),
                Ok(false) => {}
                Err(failure) => fault = fault.take().or(Some(failure)),
            }
        });
        let outcome = app.until_interrupted(self.fleet.stop(), asked).await??;
        drop(bar);
        if let Some(fault) = fault {
            return Err(fault);
        }
        if args.showing.sort {
            rows.sort_by(|a, b| a.sender.cmp(&b.sender));
        }
        results::warn(&app.output, &outcome);
        let stats = Stats::new(&outcome, tally, self.took);
        show::show(self, &rows, &stats, sink)
    }
}
