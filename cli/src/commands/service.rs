//! What a service agent of ours answered, or why it did not.

use overlay_client::Outcome;
use overlay_protocol::rpc::{self, RpcReply, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::Failure;
use crate::text;

/// A service agent, as it is spoken of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Service {
    /// Its name.
    pub(super) agent: &'static str,
    /// One that answers for it: "provisioner".
    pub(super) one: &'static str,
}

impl Service {
    /// The outputs of `action`, or what the reply says instead.
    pub(super) fn accept<R: DeserializeOwned>(
        self,
        action: &str,
        reply: RpcReply,
    ) -> Result<R, Failure> {
        let Self { agent, one } = self;
        let said = text::visible(&reply.statusmsg);
        match reply.statuscode {
            StatusCode::Ok => {}
            StatusCode::UnknownAction => {
                return Err(
                    Failure::new(format!("this {one} has no action `{action}`: {said}")).hint(
                        "its version differs from this program's; `overlay --version` tells this one",
                    ),
                );
            }
            StatusCode::Aborted
            | StatusCode::MissingData
            | StatusCode::InvalidData
            | StatusCode::UnknownError => {
                let failure = Failure::new(format!("the {one} refused: {said}"));
                return Err(if said.to_lowercase().contains("not authorized") {
                    failure.hint(format!(
                        "the list of agents in the caller's token must name `{agent}.{action}`, `{agent}.*` or `*`"
                    ))
                } else {
                    failure
                });
            }
        }
        let Value::Object(data) = reply.data else {
            return Err(Failure::new(format!("the {one}'s answer is no object")));
        };
        rpc::from_data(data).map_err(|error| {
            Failure::from(error).context(format!("the {one}'s answer cannot be read"))
        })
    }

    /// Why nobody answered: the broker's refusal if there was one, else `silence`.
    pub(super) fn unanswered(self, outcome: &Outcome, silence: Failure) -> Failure {
        match outcome.notices.refusals.first() {
            Some(refusal) => Failure::new(format!("the broker does not allow it: {refusal}")).hint(
                "requests to services need a token with fleet management; see it with `overlay jwt view FILE`",
            ),
            None => silence.hint("one that does not believe the caller says nothing; its log tells"),
        }
    }
}
