//! The node's side of being enrolled: each action of the agent, one at a time. Touches the node's files, and nothing else.

mod configure;
mod credentials;
mod lifecycle;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use overlay_protocol::id::Identity;
use overlay_protocol::provisioning::action::name;
use overlay_protocol::provisioning::{AGENT, DataError, messages};
use overlay_protocol::rpc::StatusCode;
use overlay_tokens::key_transport::ExchangeKey;
use overlay_tokens::{Key, PublicKey, SecretText, UnixTime};
use serde_json::{Map, Value, json};

use super::changes::Staged;
use super::csr;
use super::lock::{self, Lock};
use super::ticket::Ticket;
use super::upcoming::{Former, Standing, Upcoming};
use crate::agent::Answer;
use crate::effect::Effects;

/// What the node is while it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stance {
    /// It waits to be enrolled.
    Unprovisioned,
    /// It is a member and asks, on a second connection, to be enrolled anew.
    Renewing,
    /// It is a member.
    Member,
}

/// The files that enrolment is about.
#[derive(Debug, Clone)]
pub struct Files {
    /// The configuration that `configure` writes; token, seed and policies lie beside it.
    pub configuration: PathBuf,
    /// Token and key that the node had before.
    pub former: Former,
}

/// A request to the agent.
#[derive(Debug)]
pub struct Asked {
    /// The action.
    pub action: String,
    /// Its inputs.
    pub data: Map<String, Value>,
    /// Who asked, as the request says.
    pub caller: String,
    /// From where.
    pub sender: String,
    /// The request's id.
    pub request: String,
    /// When it was taken up.
    pub now: UnixTime,
}

/// The node as its provisioner sees it.
#[derive(Debug)]
pub struct Applicant {
    stance: Stance,
    identity: Identity,
    ticket: Arc<Ticket>,
    files: Files,
    upcoming: Arc<dyn Upcoming>,
    release_key: Option<PublicKey>,
    standing: Option<Standing>,
    program: PathBuf,
    effects: Effects,
    state: Mutex<State>,
}

/// What is kept from one request to the next; a restart forgets it.
#[derive(Debug, Default)]
struct State {
    lock: Lock,
    exchange: Option<ExchangeKey>,
    /// A key that `gen25519` made and that is not in its file yet.
    key: Option<Key>,
    /// An RSA key that `gencsr` made for a member, until `configure` puts it beside its certificate.
    csr: Option<csr::Request>,
    /// What `configure` delivered to a member, until `restart` puts it into its place.
    staged: Option<Staged>,
    ending: bool,
}

/// An action gave up; the text is for the caller.
struct Abort(Answer);

impl Applicant {
    /// A node that is asked in this stance.
    pub fn new(
        stance: Stance,
        identity: Identity,
        ticket: Arc<Ticket>,
        files: Files,
        upcoming: Arc<dyn Upcoming>,
        effects: Effects,
    ) -> Self {
        Self {
            stance,
            identity,
            ticket,
            files,
            upcoming,
            release_key: None,
            standing: None,
            program: PathBuf::new(),
            effects,
            state: Mutex::default(),
        }
    }

    /// Names what `release_update` replaces, and the key that must have signed what comes instead.
    #[must_use]
    pub fn with_program(mut self, program: PathBuf, release_key: Option<PublicKey>) -> Self {
        self.program = program;
        self.release_key = release_key;
        self
    }

    /// Says what a member goes by now; a renewal must not make less of it.
    #[must_use]
    pub fn with_standing(mut self, standing: Option<Standing>) -> Self {
        self.standing = standing;
        self
    }

    /// Whether somebody with the right secret is at work on the node.
    pub(crate) fn is_busy(&self, now: UnixTime) -> bool {
        // An action that takes long has the state for itself.
        self.state
            .try_lock()
            .map_or(true, |state| state.lock.is_held(now.secs))
    }

    /// Does what is asked, after whatever was asked before; may take seconds.
    pub fn act(&self, asked: &Asked) -> Answer {
        let mut state = self.lock();
        let done = match asked.action.as_str() {
            name::JWT | name::GEN25519 | name::GENCSR | name::CONFIGURE | name::RELEASE_UPDATE => {
                self.locked(&mut state, asked)
            }
            name::RESTART => self.restart(&mut state, asked),
            name::SHUTDOWN => self.shutdown(&mut state, asked),
            name::REPROVISION => self.reprovision(&mut state, asked),
            other => {
                let message = format!("Unknown action {other} for agent {AGENT}");
                Err(Abort(Answer::failed(StatusCode::UnknownAction, message)))
            }
        };
        done.unwrap_or_else(|Abort(answer)| {
            tracing::warn!(
                action = asked.action,
                caller = asked.caller,
                sender = asked.sender,
                request = asked.request,
                reason = answer.message,
                "an action of enrolment was not done"
            );
            answer
        })
    }

    /// The actions for which one caller at a time has the node to itself.
    fn locked(&self, state: &mut State, asked: &Asked) -> Result<Answer, Abort> {
        let who = lock::holder(&asked.sender, &asked.caller);
        if state.lock.is_held_against(&who, asked.now.secs) {
            return Err(abort(messages::LOCKED));
        }
        match asked.action.as_str() {
            name::JWT => self.jwt(state, asked, &who),
            name::GEN25519 => self.gen25519(state, asked, &who),
            name::GENCSR => self.gencsr(state, asked, &who),
            name::CONFIGURE => self.configure(state, asked, &who),
            _ => self.release_update(state, asked, &who),
        }
    }

    /// Refuses what a member is not asked.
    fn not_member(&self, refusal: &str) -> Result<(), Abort> {
        match self.stance {
            Stance::Member => Err(abort(refusal)),
            Stance::Unprovisioned | Stance::Renewing => Ok(()),
        }
    }

    fn check_secret(&self, secret: &SecretText) -> Result<(), Abort> {
        if self.ticket.opens_for(secret) {
            Ok(())
        } else {
            Err(abort(messages::WRONG_TOKEN))
        }
    }

    /// Checks the secret, and only then gives the caller the node to itself.
    fn open(
        &self,
        state: &mut State,
        secret: &SecretText,
        who: &str,
        now: UnixTime,
    ) -> Result<(), Abort> {
        self.check_secret(secret)?;
        if state.lock.take(who, now.secs) {
            Ok(())
        } else {
            Err(abort(messages::LOCKED))
        }
    }

    /// The directory of the node's configuration, whole.
    fn home(&self) -> PathBuf {
        let whole = std::path::absolute(&self.files.configuration)
            .unwrap_or_else(|_| self.files.configuration.clone());
        whole.parent().map_or(whole.clone(), Path::to_owned)
    }

    fn token_file(&self) -> PathBuf {
        self.home().join("server.jwt")
    }

    fn seed_file(&self) -> PathBuf {
        self.home().join("server.seed")
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn abort(message: impl Into<String>) -> Abort {
    Abort(Answer::aborted(message))
}

/// Inputs of another type than they should have.
fn bad_data(asked: &Asked) -> impl Fn(DataError) -> Abort {
    let action = asked.action.clone();
    move |error| {
        let message = format!("Could not parse request data for {AGENT}#{action}: {error}");
        Abort(Answer::failed(StatusCode::InvalidData, message))
    }
}

fn message(text: String) -> Answer {
    Answer::ok(json!({ "message": text }))
}
