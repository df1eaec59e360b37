//! One node, from its first answer to its life in the fleet: a state machine without a clock, a broker or a file.
//!
//! ```text
//! name free?  ┐
//! jwt         ├─> judge ─> rates ─> place ─> token used? ─> gen25519 ─> [gencsr] ─> helper ─┬─> defer
//! inventory   ┘                                                                            ├─> shutdown
//!                                     member <─ restart <─ configure <─ issue <─ [update] <┘
//! ```
//!
//! What must hold, whatever comes in and in whatever order:
//!
//! * Nothing is issued before the node's token was judged, its key proved and the helper asked.
//! * `configure` is sent for a token that was issued in this enrolment, and not again once it was answered well.
//! * It ends exactly once, with [`Command::Finish`]; after that nothing comes out.
//! * A reply that cannot be read, or lacks what it must have, is never a success.

mod call;
mod command;
mod contact;
mod deliver;
mod end;
mod facts;
mod judge;
mod key;
mod tries;

use std::sync::Arc;

use overlay_protocol::id::Identity;
use overlay_protocol::provisioning::NodeRecord;
use overlay_tokens::{SecretText, UnixTime};

use crate::entropy::Entropy;
use crate::policy::Policy;
use crate::reason::Reason;
use crate::time::after;

use end::End;
use facts::{Lasting, Learned};
use tries::Tries;

pub use command::{
    Action, Admission, Call, CallFault, CallId, Command, Finished, Found, Input, IssuedToken,
    NameState, Note, Outcome, TokenUse, Why,
};

/// The enrolment of one node.
#[derive(Debug)]
pub struct Enrolment {
    identity: Identity,
    found: Found,
    policy: Arc<Policy>,
    entropy: Entropy,
    started: UnixTime,
    /// When the input at hand came.
    now: UnixTime,
    /// What was known of the node before; once it is configured, its last record.
    prior: Option<Box<NodeRecord>>,
    /// Whether that is with whoever drives this.
    is_at_rest: bool,
    stage: Stage,
    /// When all must be over, while it does not wait for a place.
    whole: Option<UnixTime>,
    calls: Vec<Tries>,
    last_call: u32,
    /// Replies that were taken, to know a second one that differs.
    answered: Vec<(CallId, [u8; 32])>,
    facts: Learned,
    lasting: Lasting,
}

// Thousands may be awaited at a time: what is not needed then is boxed, and forgotten.
const _: () = assert!(size_of::<Enrolment>() <= 288);

/// Where the enrolment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    New,
    /// The first answers are awaited.
    Contact,
    /// Whether the rates let the node through is awaited.
    Rates,
    /// A place among the nodes that are worked on is awaited.
    Place,
    /// Whether a token that is good once was used is awaited.
    TokenUse,
    /// The node makes and proves its key.
    Key,
    /// The node makes a signing request.
    Csr,
    /// The helper decides.
    Helper,
    /// The node replaces its software.
    Update,
    /// The node is told to stop.
    Shutdown,
    /// The node's token is being signed.
    Issue,
    /// The node gets its configuration.
    Configure,
    /// The node is told to start again.
    Restart,
    /// The node is awaited in the fleet.
    Member(UnixTime),
    /// It was not seen; whether its name is connected is asked.
    Missed,
    Done,
}

fn not_seen() -> End {
    End::Failed(Why::new(
        Reason::NotSeen,
        "the node was configured and restarted, and not seen as a member since",
    ))
}

impl Enrolment {
    /// Begins the enrolment of a node of which something may be known.
    ///
    /// `entropy` is for this enrolment alone.
    #[must_use]
    pub fn new(
        identity: Identity,
        found: Found,
        prior: Option<NodeRecord>,
        policy: Arc<Policy>,
        entropy: Entropy,
        now: UnixTime,
    ) -> Self {
        Self {
            whole: Some(after(now, policy.calls.whole)),
            identity,
            found,
            policy,
            entropy,
            started: now,
            now,
            prior: prior.map(Box::new),
            is_at_rest: false,
            stage: Stage::New,
            calls: Vec::new(),
            last_call: 0,
            answered: Vec::new(),
            facts: Learned::default(),
            lasting: Lasting::default(),
        }
    }

    /// The node.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Puts the record away while the node is awaited in the fleet: thousands may be, and whoever drives this has it too.
    ///
    /// [`Self::recall`] has to come before the next input.
    pub fn rest(&mut self) {
        if matches!(self.stage, Stage::Member(_)) && self.prior.take().is_some() {
            self.is_at_rest = true;
        }
    }

    /// Tells whether the record was put away.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        self.is_at_rest
    }

    /// Gives back the record that was put away.
    pub fn recall(&mut self, record: Option<NodeRecord>) {
        if std::mem::take(&mut self.is_at_rest) {
            self.prior = record.map(Box::new);
        }
    }

    /// Takes an input and returns what is to be done.
    pub fn on(&mut self, input: Input, now: UnixTime) -> Vec<Command> {
        let mut out = Vec::new();
        self.now = now;
        if self.stage == Stage::Done {
            return out;
        }
        if let Err(end) = self.take(input, now, &mut out) {
            self.end(end, now, &mut out);
        }
        out
    }

    /// When [`Input::Tick`] is due at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<UnixTime> {
        if self.stage == Stage::Done {
            return None;
        }
        let member = if let Stage::Member(until) = self.stage {
            Some(until)
        } else {
            None
        };
        let tries = self.calls.iter().filter_map(|tries| tries.again).min();
        [member, self.whole, tries].into_iter().flatten().min()
    }

    fn take(&mut self, input: Input, now: UnixTime, out: &mut Vec<Command>) -> Result<(), End> {
        match input {
            Input::Start => self.start(now, out),
            Input::Reply {
                call,
                sender,
                reply,
            } => self.reply(call, &sender, reply, now, out),
            Input::CallFailed { call, fault } => self.call_failed(call, &fault, now, out),
            Input::Name(state) if self.stage == Stage::Missed => match state {
                NameState::Live => Err(End::Enrolled),
                NameState::Free | NameState::Unknown => Err(not_seen()),
            },
            Input::Name(state) if self.stage == Stage::Contact => {
                self.lasting.name.get_or_insert(state);
                self.contacted(now, out)
            }
            Input::Rates(admission) if self.stage == Stage::Rates => match admission {
                Admission::Granted => {
                    self.stage = Stage::Place;
                    self.whole = None;
                    out.push(Command::AwaitWorker);
                    Ok(())
                }
                Admission::Later(pause) => Err(End::Limited(pause)),
            },
            Input::Worker if self.stage == Stage::Place => self.placed(now, out),
            Input::Token(state) if self.stage == Stage::TokenUse => self.token_used(state, out),
            Input::Helper(answer) if self.stage == Stage::Helper => {
                self.helper_answered(answer, now, out)
            }
            Input::Issued(issued) if self.stage == Stage::Issue => self.issued(issued, now, out),
            Input::FenceLost => Err(End::Stopped(Why::new(
                Reason::FenceLost,
                "another instance took over",
            ))),
            Input::Paused => self.paused(),
            Input::Member
                if matches!(
                    self.stage,
                    Stage::Restart | Stage::Member(_) | Stage::Missed
                ) =>
            {
                Err(End::Enrolled)
            }
            Input::Announced => {
                self.announced(now, out);
                Ok(())
            }
            Input::Tick => self.tick(now, out),
            // Answers to what was not asked, or not any more.
            Input::Name(_)
            | Input::Rates(_)
            | Input::Worker
            | Input::Token(_)
            | Input::Helper(_)
            | Input::Issued(_)
            | Input::Member => Ok(()),
        }
    }

    /// Stops, but not between configuration and restart: half a node helps nobody.
    fn paused(&self) -> Result<(), End> {
        if matches!(self.stage, Stage::Configure | Stage::Restart) {
            return Ok(());
        }
        Err(End::Stopped(Why::new(
            Reason::Paused,
            "provisioning is paused",
        )))
    }

    /// The node began anew: what was asked before that was asked of nobody.
    ///
    /// While the member is awaited it decides nothing: anybody who waits may announce any name.
    fn announced(&mut self, now: UnixTime, out: &mut Vec<Command>) {
        if self.stage == Stage::Contact {
            self.ask_again(now, out);
        }
    }

    fn tick(&mut self, now: UnixTime, out: &mut Vec<Command>) -> Result<(), End> {
        if let Stage::Member(until) = self.stage
            && until <= now
        {
            // Its event may have been missed. A name that somebody lived under before tells nothing.
            if self.lasting.name != Some(NameState::Free) {
                return Err(not_seen());
            }
            self.stage = Stage::Missed;
            self.whole = Some(after(now, self.policy.calls.answer));
            out.push(Command::CheckName);
            return Ok(());
        }
        if self.stage == Stage::Missed && self.whole.is_some_and(|whole| whole <= now) {
            return Err(not_seen());
        }
        if self.whole.is_some_and(|whole| whole <= now) {
            return Err(End::Failed(Why::new(
                Reason::TooSlow,
                format!(
                    "it took longer than {} s",
                    self.policy.calls.whole.as_secs()
                ),
            )));
        }
        let due: Vec<_> = self
            .calls
            .iter()
            .filter(|tries| tries.again.is_some_and(|again| again <= now))
            .map(|tries| tries.action)
            .collect();
        for action in due {
            self.send(action, out);
        }
        Ok(())
    }

    /// The secret that is tried: one of those for nodes of this name.
    fn secret(&self) -> SecretText {
        let secrets = self.policy.secrets_for(self.identity.as_str());
        let secret = secrets.get(self.facts.secret).or(secrets.first());
        secret.map(|secret| (*secret).clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
