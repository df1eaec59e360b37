//! Which nodes a command is for.

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use overlay_client::config::DiscoveryMethod;
use overlay_client::nodes::{self, Format, Inventory};
use overlay_client::{Config, Fleet, Question, Window};
use overlay_protocol::filter::Filter;
use overlay_protocol::id::Identity;

use crate::app::App;
use crate::args::{DiscoveryArgs, FilterArgs};
use crate::error::{Failure, Hint};

/// After this time a command that waits for standard input says so.
const PATIENCE: Duration = Duration::from_secs(2);

/// How the nodes are going to be found.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The method's name for people.
    pub(crate) method: &'static str,
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// They are known already.
    Known(Vec<Identity>),
    /// They must be asked.
    Ask(Box<Question>),
}

/// The nodes found.
#[derive(Debug)]
pub(crate) struct Selected {
    pub(crate) nodes: Vec<Identity>,
    pub(crate) method: &'static str,
    pub(crate) took: Duration,
}

impl Plan {
    /// Decides how to find the nodes for `agent`; reads files and, where allowed, standard input.
    pub(crate) async fn make(
        app: &App,
        config: &Config,
        filters: &FilterArgs,
        how: &DiscoveryArgs,
        agent: &str,
    ) -> Result<Self, Failure> {
        let filter = parse(filters, Some(agent))?;
        let options = Options::parse(&how.options)?;
        let chosen = how
            .dm
            .as_deref()
            .map(str::parse::<DiscoveryMethod>)
            .transpose();
        let chosen = chosen.map_err(Failure::usage)?;
        if let Some(file) = how.nodes.as_deref().or(match chosen {
            Some(DiscoveryMethod::File) => options.file.as_deref(),
            _ => None,
        }) {
            let format = options.format.unwrap_or_else(|| Format::of(file));
            let known = listed(&read_file(file)?, format, file.display(), &filter)?;
            return Ok(Self {
                method: "flatfile",
                source: Source::Known(known),
            });
        }
        let may_be_piped =
            chosen.is_none() && filters.select.is_none() && filters.identity.is_empty();
        if may_be_piped && let Some(text) = piped(app).await? {
            let known = listed(&text, Format::Results, "standard input", &filter)?;
            return Ok(Self {
                method: "flatfile",
                source: Source::Known(known),
            });
        }
        let mut method = chosen.unwrap_or(config.discovery.method);
        if filters.select.is_some() && chosen.is_none() && method == DiscoveryMethod::File {
            method = DiscoveryMethod::Broadcast;
        }
        match method {
            DiscoveryMethod::File => Err(Failure::usage("no file to read nodes from")
                .hint("give --nodes FILE, or --do file=FILE")),
            DiscoveryMethod::Inventory => {
                let file = options
                    .file
                    .as_ref()
                    .or(config.discovery.inventory_file.as_ref());
                let file = file.ok_or_else(|| {
                    Failure::usage("no inventory file to find nodes in")
                        .hint("give --do file=FILE, or set discovery.inventory_file")
                })?;
                let inventory = Inventory::parse(&read_file(file)?)
                    .hint(format!("{} must be an inventory in JSON", file.display()))?;
                let collective = filters.target.as_ref().unwrap_or(&config.collective);
                let known = inventory.select(collective.as_str(), &filter)?;
                Ok(Self {
                    method: "inventory",
                    source: Source::Known(known),
                })
            }
            DiscoveryMethod::Broadcast => {
                let source = match nodes::named_by(&filter) {
                    Some(known) => Source::Known(known),
                    None => Source::Ask(Box::new(Question {
                        collective: filters.target.clone(),
                        filter,
                        window: window(config, how.discovery_timeout, how.discovery_window),
                        enough: None,
                    })),
                };
                Ok(Self {
                    method: "mc",
                    source,
                })
            }
        }
    }

    /// Whether nobody needs to be asked.
    pub(crate) fn is_known(&self) -> bool {
        matches!(self.source, Source::Known(_))
    }

    /// The nodes, without asking anybody.
    pub(crate) fn known(self) -> Option<Selected> {
        match self.source {
            Source::Known(nodes) => Some(Selected {
                nodes,
                method: self.method,
                took: Duration::ZERO,
            }),
            Source::Ask(_) => None,
        }
    }

    /// Finds the nodes.
    pub(crate) async fn run(self, app: &App, fleet: &Fleet) -> Result<Selected, Failure> {
        let method = self.method;
        let question = match self.source {
            Source::Known(nodes) => {
                return Ok(Selected {
                    nodes,
                    method,
                    took: Duration::ZERO,
                });
            }
            Source::Ask(question) => *question,
        };
        let spinner = app
            .output
            .spinner(format!("Discovering nodes using the {method} method"));
        let mut count = 0_u64;
        let asked = fleet.ping(question, |_, _| {
            count += 1;
            spinner.set_message(format!(
                "Discovering nodes using the {method} method .... {count}"
            ));
        });
        let heard = app.until_interrupted(fleet.stop(), asked).await??;
        drop(spinner);
        app.output.warn_of(&heard.notices);
        // A name that would break a subject cannot be asked anything.
        let nodes = heard
            .nodes
            .iter()
            .filter_map(|name| name.parse().ok())
            .collect();
        Ok(Selected {
            nodes,
            method,
            took: heard.took,
        })
    }
}

/// The filter of the command line.
pub(crate) fn parse(filters: &FilterArgs, agent: Option<&str>) -> Result<Filter, Failure> {
    filters.filter(agent).map_err(|error| {
        Failure::from(error)
            .context("could not parse filters")
            .hint("facts are written name=value; `overlay find --help` has examples of all filters")
    })
}

/// How long to wait: as long as was asked for, else until it is quiet.
pub(crate) fn window(config: &Config, asked: Option<Duration>, adaptive: bool) -> Window {
    let limit = asked.unwrap_or(config.discovery.timeout);
    let is_fixed = asked.is_some() || config.discovery.full;
    if is_fixed && !adaptive {
        Window::fixed(limit)
    } else {
        Window::adaptive(limit)
    }
}

/// `--do`.
#[derive(Debug, Default)]
struct Options {
    file: Option<PathBuf>,
    format: Option<Format>,
}

impl Options {
    fn parse(texts: &[String]) -> Result<Self, Failure> {
        let mut options = Self::default();
        for text in texts {
            match text.split_once('=') {
                Some(("file", file)) => options.file = Some(PathBuf::from(file)),
                Some(("format", format)) => {
                    options.format = Some(format.parse().map_err(Failure::usage)?);
                }
                _ => {
                    return Err(Failure::usage(format!("`--do {text}` is not known"))
                        .hint("known are file=FILE and format=text|json|yaml|results"));
                }
            }
        }
        Ok(options)
    }
}

/// Reads a list of nodes from a file.
pub(crate) fn from_file(file: &Path) -> Result<Vec<Identity>, Failure> {
    listed(
        &read_file(file)?,
        Format::of(file),
        file.display(),
        &Filter::default(),
    )
}

fn listed(
    text: &str,
    format: Format,
    place: impl std::fmt::Display,
    filter: &Filter,
) -> Result<Vec<Identity>, Failure> {
    let listed = nodes::parse(text, format)
        .map_err(|error| Failure::from(error).context(format!("no nodes from {place}")))?;
    Ok(nodes::filter_names(listed, filter)?)
}

fn read_file(file: &Path) -> Result<String, Failure> {
    let failed = |error: std::io::Error| {
        Failure::from(error).context(format!("cannot read {}", file.display()))
    };
    let mut text = String::new();
    let opened = std::fs::File::open(file).map_err(failed)?;
    opened
        .take(nodes::MAX_BYTES)
        .read_to_string(&mut text)
        .map_err(failed)?;
    Ok(text)
}

/// What another command pipes in, if it is JSON.
async fn piped(app: &App) -> Result<Option<String>, Failure> {
    if !is_pipe_or_file() {
        return Ok(None);
    }
    let mut reading = tokio::task::spawn_blocking(|| {
        let mut text = String::new();
        let read = std::io::stdin()
            .lock()
            .take(nodes::MAX_BYTES)
            .read_to_string(&mut text);
        // Something else than text is not meant for this command.
        read.is_ok().then_some(text)
    });
    let text = tokio::select! {
        text = &mut reading => text?,
        () = tokio::time::sleep(PATIENCE) => {
            app.output.note("waiting for a list of nodes on standard input (end it, or choose with --dm)");
            reading.await?
        }
    };
    let is_json = |text: &String| text.trim().starts_with('{') && text.trim().ends_with('}');
    Ok(text.filter(is_json))
}

fn is_pipe_or_file() -> bool {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        return false;
    }
    let Ok(stat) = rustix::fs::fstat(&stdin) else {
        return false;
    };
    let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
    matches!(
        kind,
        rustix::fs::FileType::Fifo | rustix::fs::FileType::RegularFile
    )
}
