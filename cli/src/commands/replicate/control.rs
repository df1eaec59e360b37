//! Requests to the replicators' service agent: all replicas hear them, and those answer that have something to say.

use std::str::FromStr;
use std::time::Duration;

use overlay_client::{Answer, Call, Fleet, Outcome, Target};
use overlay_protocol::filter::Filter;
use overlay_protocol::replication::control::{SERVICE, Selection, name};
use overlay_protocol::rpc::{self, RpcRequest};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::app::App;
use crate::args::seconds;
use crate::commands::service::Service;
use crate::error::Failure;
use crate::output::Progress;
use crate::results;

const AGENT: Service = Service {
    agent: SERVICE,
    one: "replicator",
};
/// How long one more replica is waited for.
const QUIET: Duration = Duration::from_millis(700);

/// How replicators are reached.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Reach {
    /// Only workers of this replicator, by the name of its site
    #[arg(long, value_name = "NAME")]
    replicator: Option<String>,
    /// Wait so long for an answer
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "10")]
    timeout: Duration,
}

/// Workers as people name them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Workers {
    stream: String,
    worker: String,
}

/// Replicators as an operator reaches them.
#[derive(Debug)]
pub(super) struct Control<'a> {
    app: &'a App,
    fleet: Fleet,
    reach: Reach,
    /// Whether the command shows by itself what it waits for.
    is_quiet: bool,
}

impl FromStr for Workers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (stream, worker) = match text.split_once('/') {
            Some((_, "")) => return Err("expected STREAM or STREAM/WORKER".to_owned()),
            Some((stream, worker)) => (stream, worker),
            None => (text, ""),
        };
        if worker.contains('/') || (stream.is_empty() && worker.is_empty()) {
            return Err("expected STREAM or STREAM/WORKER".to_owned());
        }
        Ok(Self {
            stream: stream.to_owned(),
            worker: worker.to_owned(),
        })
    }
}

impl Reach {
    /// Which workers are meant.
    pub(super) fn selection(&self, workers: Option<&Workers>) -> Selection {
        let workers = workers.cloned().unwrap_or_default();
        Selection {
            replicator: self.replicator.clone().unwrap_or_default(),
            stream: workers.stream,
            worker: workers.worker,
        }
    }
}

impl<'a> Control<'a> {
    pub(super) async fn open(app: &'a App, reach: &Reach) -> Result<Self, Failure> {
        let fleet = app.fleet(app.config()?, "replicate").await?;
        Ok(Self {
            app,
            fleet,
            reach: reach.clone(),
            is_quiet: false,
        })
    }

    /// For commands that show by themselves what they wait for.
    pub(super) fn quietly(self) -> Self {
        Self {
            is_quiet: true,
            ..self
        }
    }

    /// Asks all replicas; a failure when none has an answer.
    pub(super) async fn ask<R: DeserializeOwned>(
        &self,
        action: &str,
        inputs: &impl Serialize,
    ) -> Result<Vec<R>, Failure> {
        self.ask_for(action, inputs, Duration::ZERO).await
    }

    /// Asks all replicas for what takes them so long.
    pub(super) async fn ask_for<R: DeserializeOwned>(
        &self,
        action: &str,
        inputs: &impl Serialize,
        takes: Duration,
    ) -> Result<Vec<R>, Failure> {
        let call = Call {
            request: RpcRequest {
                agent: SERVICE.to_owned(),
                action: action.to_owned(),
                data: rpc::to_data(inputs),
            },
            collective: None,
            target: Target::Hosts { quiet: QUIET },
            filter: Filter::default(),
            timeout: self.reach.timeout + takes,
            batches: None,
        };
        let limits = self.fleet.limits();
        let mut replies = Vec::new();
        let spinner = if self.is_quiet {
            Progress::none()
        } else {
            self.app.output.spinner("asking the replicators")
        };
        let asked = self
            .fleet
            .call(&call, |answer: &Answer| replies.push(answer.body(&limits)));
        let outcome = self
            .app
            .until_interrupted(self.fleet.stop(), asked)
            .await??;
        drop(spinner);
        if replies.is_empty() {
            return Err(self.silence(action, &outcome));
        }
        results::warn(&self.app.output, &outcome);
        let mut good = Vec::new();
        let mut bad = Vec::new();
        for reply in replies {
            let reply = reply.map_err(|error| {
                Failure::from(error).context("a replicator's answer cannot be read")
            });
            match reply.and_then(|reply| AGENT.accept(action, reply)) {
                Ok(reply) => good.push(reply),
                Err(failure) => bad.push(failure),
            }
        }
        match bad.pop() {
            Some(failure) if good.is_empty() => Err(failure),
            failure => {
                for failure in failure.into_iter().chain(bad) {
                    self.app.output.warn(failure.line());
                }
                Ok(good)
            }
        }
    }

    fn silence(&self, action: &str, outcome: &Outcome) -> Failure {
        let silence = Failure::new(format!(
            "no replicator answers within {} s",
            self.reach.timeout.as_secs_f32()
        ))
        .hint(if action == name::STATUS {
            "is one running, with a home broker configured?"
        } else {
            "one answers only for workers that it has, and only while it leads; `overlay replicate status` shows them"
        });
        AGENT.unanswered(outcome, silence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_named_by_stream_and_name() {
        let workers = |stream: &str, worker: &str| Workers {
            stream: stream.to_owned(),
            worker: worker.to_owned(),
        };
        assert_eq!("NODES".parse(), Ok(workers("NODES", "")));
        assert_eq!("NODES/W1".parse(), Ok(workers("NODES", "W1")));
        assert_eq!("/W1".parse(), Ok(workers("", "W1")));
        for wrong in ["", "/", "NODES/", "NODES/W1/x"] {
            assert!(wrong.parse::<Workers>().is_err(), "{wrong}");
        }
    }
}
