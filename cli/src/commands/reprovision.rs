//! `overlay reprovision`: sends members back to be enrolled anew.

use std::collections::BTreeMap;
use std::io::{BufRead, IsTerminal};
use std::path::PathBuf;
use std::time::Duration;

use overlay_client::{Answer, Call, Fleet, Target};
use overlay_protocol::filter::Filter;
use overlay_protocol::id::{Collective, Identity};
use overlay_protocol::provisioning::AGENT;
use overlay_protocol::provisioning::control::NodeRequest;
use overlay_protocol::rpc::RpcRequest;
use overlay_tokens::SecretText;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::app::App;
use crate::args::{DiscoveryArgs, FilterArgs, seconds};
use crate::commands::jwt::provisioner::read_secret;
use crate::commands::provision::{Act, Control, Reach};
use crate::error::{Failure, Hint};
use crate::output::Progress;
use crate::results::{self, Row};
use crate::select::Plan;
use crate::text;

const ACTION: &str = "reprovision";
/// What the provisioner says of a node that it has no record of.
const UNKNOWN: &str = "Nothing is known of";
/// Names shown before the question.
const SHOWN: usize = 8;

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  overlay reprovision -I n1.example.net --token-file node.secret
  overlay reprovision -F site=lhr --token-file node.secret --batch 200 --batch-sleep 30 --yes

Each node drops its configuration and credentials, restarts and asks to be enrolled; it is out of
the fleet until that is done. Its name is released first, so that the provisioner lets it take the
name again. `overlay provision status --watch` shows them coming. A node whose token only runs out
needs none of this: nodes renew by themselves.")]
pub(crate) struct Args {
    #[command(flatten)]
    filters: FilterArgs,
    #[command(flatten)]
    discovery: DiscoveryArgs,
    /// File with the secret of the nodes' provisioning token, - for standard input
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    /// So many nodes at a time
    #[arg(long, value_name = "SIZE", default_value_t = 100, value_parser = size)]
    batch: usize,
    /// Pause between two batches
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "1")]
    batch_sleep: Duration,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Leave names as they are: for a fleet whose provisioner is Choria's, which asks nothing of names
    #[arg(long)]
    no_release: bool,
    #[command(flatten)]
    reach: Reach,
}

fn size(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("a batch has at least one node".to_owned()),
        Ok(size) => Ok(size),
    }
}

/// What became of a node.
#[derive(Debug, Serialize)]
struct Fate {
    identity: String,
    ok: bool,
    message: String,
}

pub(crate) async fn run(args: Args, app: &App) -> Result<(), Failure> {
    if args.token_file.as_os_str() == "-" && !args.yes {
        return Err(
            Failure::usage("the secret comes on standard input, so nobody can be asked")
                .hint("add --yes"),
        );
    }
    let secret = read_secret(&args.token_file)
        .hint("it is the secret that the nodes' provisioning token was made with")?;
    if secret.is_empty() {
        return Err(Failure::new("the secret is empty"));
    }
    let config = app.config()?;
    let plan = Plan::make(app, &config, &args.filters, &args.discovery, AGENT).await?;
    let fleet = app.fleet(config, ACTION).await?;
    let nodes = plan.run(app, &fleet).await?.nodes;
    if nodes.is_empty() {
        return Err(Failure::new("did not discover any nodes").hint(
            "nodes that can be sent back have the agent `choria_provision` and a provisioning.jwt",
        ));
    }
    if !args.yes {
        confirm(&nodes, app).await?;
    }
    let control = Control::over(app, fleet, &args.reach);
    let sending = Sending {
        args: &args,
        app,
        control: &control,
        secret,
    };
    let fates = sending.send(&nodes).await?;
    tell(&fates, app)
}

async fn confirm(nodes: &[Identity], app: &App) -> Result<(), Failure> {
    let names: Vec<String> = nodes.iter().take(SHOWN).map(Identity::to_string).collect();
    let more = if nodes.len() > SHOWN { ", …" } else { "" };
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(format!(
            "{} nodes would leave the fleet to be enrolled anew, and nobody can be asked",
            nodes.len()
        ))
        .hint("add --yes"));
    }
    app.output.note(format!(
        "{} nodes leave the fleet until they are enrolled anew: {}{more}\nGo on? [y/N] ",
        nodes.len(),
        names.join(", ")
    ));
    let reading = tokio::task::spawn_blocking(|| {
        let mut answer = String::new();
        let read = std::io::stdin().lock().read_line(&mut answer);
        read.map(|_| answer)
    });
    let answer = tokio::select! {
        answer = reading => answer??,
        _ = tokio::signal::ctrl_c() => String::new(),
    };
    if ["y", "yes"].contains(&answer.trim().to_lowercase().as_str()) {
        return Ok(());
    }
    Err(Failure::new("nothing was done"))
}

struct Sending<'a> {
    args: &'a Args,
    app: &'a App,
    control: &'a Control<'a>,
    secret: SecretText,
}

impl Sending<'_> {
    /// One batch after the other; the first that the provisioner does not let go ends it.
    async fn send(&self, nodes: &[Identity]) -> Result<Vec<Fate>, Failure> {
        let bar = self.app.output.progress(nodes.len());
        let mut fates = Vec::with_capacity(nodes.len());
        for (number, batch) in nodes.chunks(self.args.batch).enumerate() {
            if number > 0 {
                tokio::time::sleep(self.args.batch_sleep).await;
            }
            let released = if self.args.no_release {
                batch.to_vec()
            } else {
                self.release(batch, &mut fates, &bar).await?
            };
            if !released.is_empty() {
                self.call(released, &mut fates, &bar).await?;
            }
            if self.app.is_interrupted() {
                break;
            }
        }
        Ok(fates)
    }

    /// Lets the names be taken again; those that are refused stay where they are.
    async fn release(
        &self,
        batch: &[Identity],
        fates: &mut Vec<Fate>,
        bar: &Progress,
    ) -> Result<Vec<Identity>, Failure> {
        let mut released = Vec::with_capacity(batch.len());
        for identity in batch {
            let request = NodeRequest {
                identity: identity.clone(),
                reason: ACTION.to_owned(),
            };
            match self.control.act(Act::Release.action(), &request).await {
                Ok(_) => released.push(identity.clone()),
                // A node that the provisioner has not enrolled has no name to be released.
                Err(failure) if failure.line().contains(UNKNOWN) => released.push(identity.clone()),
                // Nobody to release names is nobody to enrol nodes: better now than when they are gone.
                Err(failure) if fates.is_empty() && released.is_empty() => {
                    return Err(failure
                        .context("the names cannot be released, so no node was sent back")
                        .hint(
                            "--no-release sends nodes back all the same, for Choria's provisioner",
                        ));
                }
                Err(failure) => {
                    bar.step();
                    fates.push(Fate {
                        identity: identity.to_string(),
                        ok: false,
                        message: format!("not sent back: {}", failure.line()),
                    });
                }
            }
        }
        Ok(released)
    }

    async fn call(
        &self,
        nodes: Vec<Identity>,
        fates: &mut Vec<Fate>,
        bar: &Progress,
    ) -> Result<(), Failure> {
        let fleet: &Fleet = self.control.fleet();
        let call = Call {
            request: RpcRequest {
                agent: AGENT.to_owned(),
                action: ACTION.to_owned(),
                data: self.inputs(),
            },
            collective: self.collective(),
            target: Target::Nodes(nodes),
            filter: Filter::default(),
            timeout: self.args.reach.timeout(),
            batches: None,
        };
        let limits = fleet.limits();
        let mut answered = BTreeMap::new();
        let asked = fleet.call(&call, |answer: &Answer| {
            bar.step();
            let row = Row::new(answer, &limits);
            answered.insert(row.sender.clone(), row);
        });
        let outcome = self.app.until_interrupted(fleet.stop(), asked).await??;
        results::warn(&self.app.output, &outcome);
        fates.extend(answered.into_values().map(|row| Fate {
            ok: row.is_ok(),
            message: text::visible(match row.data.get("message").and_then(Value::as_str) {
                Some(message) if row.is_ok() => message,
                _ => &row.statusmsg,
            }),
            identity: row.sender,
        }));
        fates.extend(outcome.missing.into_iter().map(|identity| {
            bar.step();
            Fate {
                identity,
                ok: false,
                message: "no answer".to_owned(),
            }
        }));
        Ok(())
    }

    fn inputs(&self) -> Map<String, Value> {
        Map::from_iter([("token".to_owned(), json!(self.secret.expose()))])
    }

    fn collective(&self) -> Option<Collective> {
        self.args.filters.target.clone()
    }
}

fn tell(fates: &[Fate], app: &App) -> Result<(), Failure> {
    let failed = fates.iter().filter(|fate| !fate.ok).count();
    if app.output.is_json() {
        app.output.json(&json!({
            "nodes": fates,
            "sent_back": fates.len() - failed,
            "failed": failed,
        }))?;
    } else {
        for fate in fates {
            let sign = if fate.ok { '✓' } else { '✗' };
            app.output
                .line(format!("{sign} {}: {}", fate.identity, fate.message))?;
        }
        app.output.line(format!(
            "\n{} of {} nodes go to be enrolled anew",
            fates.len() - failed,
            fates.len()
        ))?;
    }
    let result = if failed == 0 {
        Ok(())
    } else {
        Err(
            Failure::new(format!("{failed} of {} nodes did not go", fates.len())).hint(
                "`not authorized`: the caller's token must name `choria_provision`; `Incorrect provision token`: \
                 another secret",
            ),
        )
    };
    app.end(result)
}
