//! Requests to the provisioner's service agent.

use std::time::Duration;

use overlay_client::{Answer, Call, Fleet, Outcome, Target};
use overlay_protocol::filter::Filter;
use overlay_protocol::provisioning::SERVICE;
use overlay_protocol::provisioning::control::{DoneReply, NodeRequest, name};
use overlay_protocol::rpc::{self, RpcRequest};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::app::App;
use crate::args::seconds;
use crate::commands::service::Service;
use crate::error::Failure;
use crate::results;

const AGENT: Service = Service {
    agent: SERVICE,
    one: "provisioner",
};

/// How the provisioner is reached.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::commands) struct Reach {
    /// Wait so long for an answer
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "10")]
    timeout: Duration,
}

impl Reach {
    pub(in crate::commands) fn timeout(&self) -> Duration {
        self.timeout
    }
}

/// The provisioner as an operator reaches it.
#[derive(Debug)]
pub(in crate::commands) struct Control<'a> {
    app: &'a App,
    fleet: Fleet,
    timeout: Duration,
}

impl<'a> Control<'a> {
    pub(in crate::commands) async fn open(app: &'a App, reach: &Reach) -> Result<Self, Failure> {
        let fleet = app.fleet(app.config()?, "provision").await?;
        Ok(Self::over(app, fleet, reach))
    }

    /// Over a connection that is there already.
    pub(in crate::commands) fn over(app: &'a App, fleet: Fleet, reach: &Reach) -> Self {
        Self {
            app,
            fleet,
            timeout: reach.timeout,
        }
    }

    pub(in crate::commands) fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// Asks any one provisioner; whoever answers speaks for all of them.
    pub(in crate::commands) async fn ask<R: DeserializeOwned>(
        &self,
        action: &str,
        inputs: &impl Serialize,
    ) -> Result<R, Failure> {
        let call = Call {
            request: RpcRequest {
                agent: SERVICE.to_owned(),
                action: action.to_owned(),
                data: rpc::to_data(inputs),
            },
            collective: None,
            target: Target::Service,
            filter: Filter::default(),
            timeout: self.timeout,
            batches: None,
        };
        let limits = self.fleet.limits();
        let mut replied = None;
        let asked = self.fleet.call(&call, |answer: &Answer| {
            replied = Some(answer.body(&limits))
        });
        let stop = self.fleet.stop();
        let outcome = self.app.until_interrupted(stop, asked).await??;
        let Some(reply) = replied else {
            return Err(self.silence(&outcome));
        };
        results::warn(&self.app.output, &outcome);
        let reply = reply.map_err(|error| {
            Failure::from(error).context("the provisioner's answer cannot be read")
        })?;
        AGENT.accept(action, reply)
    }

    /// One of the actions on a node that answer with a sentence.
    pub(in crate::commands) async fn act(
        &self,
        action: &str,
        node: &NodeRequest,
    ) -> Result<DoneReply, Failure> {
        self.ask(action, node).await
    }

    fn silence(&self, outcome: &Outcome) -> Failure {
        let silence = Failure::new(format!(
            "no provisioner answers within {} s",
            self.timeout.as_secs_f32()
        ))
        .hint("is one running? `overlay cell status DIR` tells on its host");
        AGENT.unanswered(outcome, silence)
    }
}

/// What the actions on one node are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::commands) enum Act {
    Retry,
    Quarantine,
    Release,
}

impl Act {
    pub(in crate::commands) fn action(self) -> &'static str {
        match self {
            Self::Retry => name::RETRY,
            Self::Quarantine => name::QUARANTINE,
            Self::Release => name::RELEASE,
        }
    }
}
