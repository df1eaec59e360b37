//! Agent `choria_provision`: lets whoever knows the secret of the provisioning token enrol the node, and begin it anew.
//!
//! The actions are the applicant's; here they get a thread, since they touch the disk, make RSA keys and download.

use std::sync::Arc;

use overlay_protocol::provisioning::AGENT;
use overlay_protocol::provisioning::action::name;
use overlay_protocol::rpc::StatusCode;
use overlay_tokens::UnixTime;

use crate::agent::{Agent, Answer, Call, Metadata, Outcome, Running};
use crate::node::Node;
use crate::provisioning::{Applicant, Asked};

const ACTIONS: [&str; 8] = [
    name::CONFIGURE,
    name::GEN25519,
    name::GENCSR,
    name::JWT,
    name::RELEASE_UPDATE,
    name::REPROVISION,
    name::RESTART,
    name::SHUTDOWN,
];

/// Seconds that callers wait for an action.
const TIMEOUT: u64 = 20;

/// The agent of one node.
#[derive(Debug)]
pub struct ChoriaProvision {
    metadata: Metadata,
    applicant: Arc<Applicant>,
}

impl ChoriaProvision {
    /// Makes the agent.
    pub fn new(applicant: Arc<Applicant>) -> Self {
        Self {
            metadata: super::builtin_metadata(AGENT, TIMEOUT),
            applicant,
        }
    }
}

impl Agent for ChoriaProvision {
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn has_action(&self, action: &str) -> bool {
        ACTIONS.contains(&action)
    }

    fn run<'a>(&'a self, call: Call<'a>, _node: &'a Node) -> Running<'a> {
        let applicant = Arc::clone(&self.applicant);
        let asked = Asked {
            action: call.action.to_owned(),
            data: call.data.clone(),
            caller: call.caller.to_owned(),
            sender: call.sender.to_owned(),
            request: call.request_id.to_owned(),
            now: UnixTime::from_secs(call.now),
        };
        Box::pin(async move {
            let acted = tokio::task::spawn_blocking(move || applicant.act(&asked)).await;
            Outcome::Reply(acted.unwrap_or_else(|error| {
                tracing::error!(error = %error, "an action of enrolment ended in a fault");
                Answer::failed(
                    StatusCode::UnknownError,
                    "the action failed inside of the node",
                )
            }))
        })
    }
}
