//! Logins of several steps at somebody else's door, such as an OpenID provider's.
//!
//! No instance remembers a login that was begun: what is to be known at the next step travels, sealed,
//! in the text `flow` that the client sends back, so that any instance goes on with it. It is bound to the
//! session's public key, expires, and yields a token once.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use overlay_protocol::SecretText;
use overlay_protocol::signing::login::{Begun, MethodKind};
use overlay_tokens::{Key, PublicKey, UnixTime};

use super::Reason;
use super::memory::Memory;
use crate::authenticate::{Person, Refusal};
use seal::Sealer;

mod seal;
#[cfg(test)]
mod tests;

/// The longest code or state that a client hands on from a provider.
const MAX_HANDED_ON: usize = 4096;

/// For how long a used flow is remembered beyond its end, for clocks that differ.
const REMEMBERED: u64 = 60;

/// All logins of several steps.
#[derive(Debug)]
pub(crate) struct Flows {
    flows: Vec<Arc<dyn Flow>>,
    memory: Memory,
}

/// A login of several steps at one provider.
pub(crate) trait Flow: Send + Sync + fmt::Debug {
    /// Its name in configuration, records and labels.
    fn name(&self) -> &'static str;

    /// The ways that are offered.
    fn kinds(&self) -> Vec<MethodKind>;

    /// Begins a login; what comes out as state is handed to [`Flow::finish`].
    fn begin<'a>(&'a self, start: &'a Start) -> BoxFuture<'a, Result<Opening, Refusal>>;

    /// Goes on with a login.
    fn finish<'a>(
        &'a self,
        state: &'a [u8],
        next: &'a Next,
    ) -> BoxFuture<'a, Result<Progress, Refusal>>;
}

/// What a client begins a login with; possession of the key is proved already.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) method: String,
    pub(crate) kind: MethodKind,
    /// Where the browser brings the code; empty for a device.
    pub(crate) redirect_uri: String,
    pub(crate) public_key: PublicKey,
    pub(crate) now: UnixTime,
}

/// What a client goes on with; possession of the key is proved already.
#[derive(Debug)]
pub(crate) struct Next {
    pub(crate) flow: String,
    /// What the browser brought; empty for a device.
    pub(crate) code: SecretText,
    /// What the browser brought; empty for a device.
    pub(crate) state: String,
    pub(crate) public_key: PublicKey,
    pub(crate) now: UnixTime,
}

/// What the client is to show, and what is to be known at the next step.
#[derive(Debug)]
pub(crate) struct Opening {
    /// Without `flow`, which is made here.
    pub(crate) begun: Begun,
    pub(crate) state: zeroize::Zeroizing<Vec<u8>>,
    pub(crate) validity: Duration,
    /// Whether the first step that follows is the only one.
    pub(crate) single_step: bool,
}

/// What became of a step, as the provider's part sees it.
#[derive(Debug)]
pub(crate) enum Progress {
    /// Nothing yet; to be asked again after this time.
    Pending(Duration),
    /// Somebody was recognised.
    Person(Box<Person>),
}

/// What became of a step.
#[derive(Debug)]
pub(crate) enum Step {
    /// Nothing yet; to be asked again after these seconds.
    Pending { seconds: u64 },
    /// Somebody was recognised.
    Person {
        method: &'static str,
        person: Box<Person>,
    },
}

impl Flows {
    pub(crate) fn new(flows: Vec<Arc<dyn Flow>>, memory: Memory) -> Self {
        Self { flows, memory }
    }

    /// What is offered.
    pub(crate) fn methods(&self) -> Vec<(&'static str, MethodKind)> {
        let kinds = |flow: &Arc<dyn Flow>| {
            let name = flow.name();
            flow.kinds().into_iter().map(move |kind| (name, kind))
        };
        self.flows.iter().flat_map(kinds).collect()
    }

    /// The method that a flow's text names, for records; nothing of it is believed.
    pub(crate) fn method_of(&self, flow: &str) -> Option<&'static str> {
        let (method, _) = flow.split_once('.')?;
        let flow = self.flows.iter().find(|flow| flow.name() == method)?;
        Some(flow.name())
    }

    /// Begins a login; the state is sealed with a key that comes from `issuer`.
    pub(crate) async fn begin(&self, issuer: &Key, start: &Start) -> Result<Begun, Refusal> {
        let flow = self
            .flows
            .iter()
            .find(|flow| flow.name() == start.method && flow.kinds().contains(&start.kind))
            .ok_or(Reason::Method)?;
        let opening = flow.begin(start).await?;
        let validity = i64::try_from(opening.validity.as_secs()).unwrap_or(i64::MAX);
        let text = Sealer::new(issuer)
            .seal(
                flow.name(),
                &start.public_key,
                &seal::State {
                    expires: start.now.secs.saturating_add(validity),
                    single_step: opening.single_step,
                    of_method: opening.state,
                },
            )
            .map_err(|error| Refusal::new(Reason::Issue, error.to_string()))?;
        Ok(Begun {
            flow: text,
            expires_in: Some(opening.validity.as_secs()),
            ..opening.begun
        })
    }

    /// Goes on with a login that [`Flows::begin`] began with the same issuer, here or elsewhere.
    pub(crate) async fn finish(&self, issuer: &Key, next: &Next) -> Result<Step, Refusal> {
        let refused = |message: &str| Refusal::new(Reason::Flow, message);
        if next.code.expose().len() > MAX_HANDED_ON || next.state.len() > MAX_HANDED_ON {
            return Err(refused("the code or the state is too long"));
        }
        let flow = self
            .method_of(&next.flow)
            .and_then(|method| self.flows.iter().find(|flow| flow.name() == method))
            .ok_or_else(|| refused("it names no method"))?;
        let opened = Sealer::new(issuer)
            .open(flow.name(), &next.public_key, &next.flow)
            .map_err(|error| refused(&error.to_string()))?;
        let left = opened.state.expires.saturating_sub(next.now.secs);
        if left <= 0 {
            return Err(refused("it has expired"));
        }
        let seconds = left.unsigned_abs().saturating_add(REMEMBERED);
        if opened.state.single_step {
            self.use_up(&opened.id, seconds).await?;
        }
        match flow.finish(&opened.state.of_method, next).await? {
            Progress::Pending(wait) => Ok(Step::Pending {
                seconds: wait.as_secs().max(1),
            }),
            Progress::Person(person) => {
                if !opened.state.single_step {
                    self.use_up(&opened.id, seconds).await?;
                }
                Ok(Step::Person {
                    method: flow.name(),
                    person,
                })
            }
        }
    }

    /// Takes care that a flow is not gone on with a second time.
    async fn use_up(&self, id: &str, seconds: u64) -> Result<(), Refusal> {
        match self.memory.once(&format!("flow.{id}"), seconds).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Refusal::new(Reason::Flow, "it has been used before")),
            Err(error) => Err(Refusal::new(
                Reason::Busy,
                format!("whether the flow was used before is not known: {error}"),
            )),
        }
    }
}
