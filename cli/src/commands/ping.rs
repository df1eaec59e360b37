//! `overlay ping`: who is there and how fast they answer.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use overlay_client::nodes;
use overlay_client::{Heard, Question};
use overlay_protocol::filter::Filter;
use overlay_protocol::id::Identity;
use serde::Serialize;

use crate::app::App;
use crate::args::{FilterArgs, seconds};
use crate::duration::{Text, nanos};
use crate::error::Failure;
use crate::{select, text};

/// With up to so many known nodes, only these are asked.
const MAX_ASKED_BY_NAME: usize = 500;
/// Responses of the graph are counted in steps of so many milliseconds.
const STEP_MS: u128 = 50;
const GRAPH_WIDTH: usize = 60;

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  overlay ping                          all nodes of the collective
  overlay ping -F os.family=redhat      some of them
  overlay ping --nodes web.txt          who of a list is missing, by name
  overlay ping --names | wc -l          how many there are

Waiting ends when it has been quiet for a while; --timeout waits exactly that long.
Exit code: 0 if anybody answered, else 1; with --names always 0.")]
pub(crate) struct Args {
    /// Do not print a line for each node
    #[arg(long, overrides_with = "no_silent")]
    silent: bool,
    #[arg(long, hide = true)]
    no_silent: bool,
    /// Print only the names of those that answer
    #[arg(long)]
    names: bool,
    /// Stop at this many replies
    #[arg(long, value_name = "COUNT")]
    expect: Option<usize>,
    /// Wait exactly this long for replies
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
    /// Draw how many answered when
    #[arg(long)]
    graph: bool,
    /// Name those of this file that do not answer (text, .json, .yaml)
    #[arg(long, value_name = "FILE")]
    nodes: Option<PathBuf>,
    /// Accepted for old scripts; one connection serves them all
    #[arg(long, value_name = "COUNT", hide = true)]
    workers: Option<usize>,
    #[command(flatten)]
    filters: FilterArgs,
}

pub(crate) async fn run(args: Args, app: &App) -> Result<(), Failure> {
    let config = app.config()?;
    let mut filter = select::parse(&args.filters, None)?;
    let known = known(&args, &filter)?;
    if let Some(known) = known
        .as_ref()
        .filter(|known| known.len() <= MAX_ASKED_BY_NAME)
    {
        filter.identity = known.iter().map(Identity::to_string).collect();
    }
    let question = Question {
        collective: args.filters.target.clone(),
        filter,
        window: select::window(&config, args.timeout, false),
        enough: args.expect,
    };
    let fleet = app.fleet(config, "ping").await?;
    let mut waiting: Option<BTreeSet<&str>> = known
        .as_ref()
        .map(|known| known.iter().map(Identity::as_str).collect());
    let stop = fleet.stop();
    let mut times = Vec::new();
    let mut broken = None;
    let asked = fleet.ping(question, |sender, delay| {
        times.push((sender.to_owned(), delay));
        if let Some(waiting) = &mut waiting {
            waiting.remove(sender);
            if waiting.is_empty() {
                stop.stop();
            }
        }
        if broken.is_none() && !app.output.is_json() && !args.silent {
            let shown = if args.names {
                app.output.line(sender)
            } else {
                app.output
                    .line(format_args!("{sender:<40} time={} ms", delay.as_millis()))
            };
            // A closed pipe: nobody wants to know any more.
            if let Err(failure) = shown {
                broken = Some(failure);
                stop.stop();
            }
        }
    });
    let heard = app.until_interrupted(fleet.stop(), asked).await??;
    if let Some(failure) = broken {
        return Err(failure);
    }
    app.output.warn_of(&heard.notices);
    let missing: Vec<String> = waiting.into_iter().flatten().map(str::to_owned).collect();
    let report = Report::new(times, missing, app.running_for().saturating_sub(heard.took));
    report.print(&args, app, &heard, known.is_some())
}

/// The nodes that ought to answer, if that is known.
fn known(args: &Args, filter: &Filter) -> Result<Option<Vec<Identity>>, Failure> {
    match &args.nodes {
        Some(file) => Ok(Some(nodes::filter_names(select::from_file(file)?, filter)?)),
        None => Ok(nodes::named_by(filter)),
    }
}

#[derive(Debug, Serialize)]
struct Report {
    replies: Vec<Line>,
    statistics: Option<Statistics>,
    no_responses: Vec<String>,
    #[serde(skip)]
    delays: Vec<Duration>,
}

#[derive(Debug, Serialize)]
struct Line {
    sender: String,
    time: u64,
}

/// Times in nanoseconds.
#[derive(Debug, Serialize)]
struct Statistics {
    replies: usize,
    max: u64,
    min: u64,
    avg: u64,
    overhead: u64,
}

impl Report {
    fn new(times: Vec<(String, Duration)>, no_responses: Vec<String>, overhead: Duration) -> Self {
        let delays: Vec<Duration> = times.iter().map(|(_, delay)| *delay).collect();
        let count = u32::try_from(delays.len()).unwrap_or(u32::MAX);
        let statistics = delays
            .iter()
            .max()
            .zip(delays.iter().min())
            .map(|(max, min)| Statistics {
                replies: delays.len(),
                max: nanos(*max),
                min: nanos(*min),
                avg: nanos(delays.iter().sum::<Duration>() / count),
                overhead: nanos(overhead),
            });
        let line = |(sender, delay)| Line {
            sender,
            time: nanos(delay),
        };
        Self {
            replies: times.into_iter().map(line).collect(),
            statistics,
            no_responses,
            delays,
        }
    }

    fn print(&self, args: &Args, app: &App, heard: &Heard, is_known: bool) -> Result<(), Failure> {
        let output = &app.output;
        if output.is_json() {
            output.json(self)?;
        } else if !args.names {
            if !args.silent {
                output.text("\n\n")?;
            }
            output.line("---- ping statistics ----")?;
        }
        let Some(found) = &self.statistics else {
            self.print_missing(args, app)?;
            if args.names {
                return Ok(());
            }
            return Err(Failure::new("no responses received").hint(if is_known {
                "none of the named nodes answered; is the collective right (-T)?"
            } else {
                "no node matches, or none is connected: try `overlay find`, and `overlay cell status`"
            }));
        };
        if !output.is_json() && !args.names {
            let shown = |span| Text::rounded(Duration::from_nanos(span));
            output.line(format_args!(
                "{} replies max: {} min: {} avg: {} overhead: {}",
                found.replies,
                shown(found.max),
                shown(found.min),
                shown(found.avg),
                shown(found.overhead),
            ))?;
            if args.graph {
                output.text(graph(&self.delays))?;
            }
        }
        if heard.strays > 0 && app.global.verbose {
            output.note(format_args!(
                "{} messages were no first replies",
                heard.strays
            ));
        }
        self.print_missing(args, app)
    }

    fn print_missing(&self, args: &Args, app: &App) -> Result<(), Failure> {
        if self.no_responses.is_empty() || app.output.is_json() {
            return Ok(());
        }
        let count = self.no_responses.len();
        let shown = text::columns(&self.no_responses, 3);
        if args.names {
            // The list of those that answered stays clean.
            app.output
                .note(format_args!("No Responses from: {count}\n\n{shown}"));
            return Ok(());
        }
        app.output
            .text(format_args!("\nNo Responses from: {count}\n\n{shown}"))
    }
}

/// A bar for each step of time.
fn graph(delays: &[Duration]) -> String {
    let mut counts: Vec<usize> = Vec::new();
    for delay in delays {
        let step = usize::try_from(delay.as_millis() / STEP_MS).unwrap_or(usize::MAX);
        if counts.len() <= step {
            counts.resize(step + 1, 0);
        }
        if let Some(count) = counts.get_mut(step) {
            *count += 1;
        }
    }
    let most = counts.iter().max().copied().unwrap_or(1).max(1);
    let mut text = format!("\nResponses per {STEP_MS}ms\n\n");
    for (step, count) in counts.iter().enumerate() {
        let width = (count * GRAPH_WIDTH).div_ceil(most);
        let from = step as u128 * STEP_MS;
        text.push_str(&format!("{from:>6} ms {count:>7} {}\n", "▇".repeat(width)));
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_graph_has_a_bar_for_each_step() {
        let delays = [3, 7, 49, 50, 170].map(Duration::from_millis);
        let text = graph(&delays);
        let bars: Vec<usize> = text.lines().map(|line| line.matches('▇').count()).collect();
        assert_eq!(bars, [0, 0, 0, 60, 20, 0, 20, 0]);
    }
}
