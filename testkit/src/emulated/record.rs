//! What happened to emulated nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Map, Value};
use tokio::time::Instant;

use super::behaviour::Step;

/// Where a node stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// Has no connection, and tries to get one.
    #[default]
    Connecting,
    /// The broker refused its login with these words.
    Refused(String),
    /// Connected with its provisioning token.
    Unprovisioned,
    /// Was told to restart, or lost its connection for good.
    Gone,
    /// Connected with the token that it was configured with.
    Member,
}

/// What one node saw and did.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Where it stands.
    pub standing: Standing,
    /// Requests by step, those that it did not answer too.
    pub calls: BTreeMap<Step, u32>,
    /// Steps in the order in which they were asked for.
    pub order: Vec<Step>,
    /// How often it took a configuration.
    pub configured: u32,
    /// The inputs of the last configuration that it took.
    pub configuration: Option<Map<String, Value>>,
    /// The private key that came with it, decrypted.
    pub private_key: Option<String>,
    /// How often it was told to restart and did.
    pub restarts: u32,
    /// How often it came back as a member.
    pub memberships: u32,
    /// `sender.caller` of everybody who asked for something.
    pub callers: BTreeSet<String>,
    /// Requests that it refused, with its words.
    pub refusals: Vec<(Step, String)>,
    /// Messages that were not for it, by subject.
    pub foreign: Vec<String>,
    /// What the broker complained of while it was connected, such as a subject that it may not use.
    pub complaints: Vec<String>,
    /// Messages that it could not read, or that were too old.
    pub unread: u32,
    /// When it first announced itself.
    pub announced_at: Option<Instant>,
    /// When it was first asked for something.
    pub first_at: Option<Instant>,
    /// When it was first configured.
    pub configured_at: Option<Instant>,
    /// When it was first told to restart.
    pub restarted_at: Option<Instant>,
    /// When it was first a member.
    pub member_at: Option<Instant>,
}

/// Sums over all nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Connections that the broker let in, as nodes or as members, and that still live.
    pub connected: usize,
    /// Logins that the broker let in, of all times.
    pub entered: usize,
    /// Logins that were refused.
    pub refused: usize,
    /// Logins that came to nothing, without a word of the broker.
    pub failed: usize,
    /// Connections that were lost.
    pub lost: usize,
    /// Nodes that took a configuration.
    pub configured: usize,
    /// Nodes that took one more than once.
    pub configured_again: usize,
    /// Nodes that were told to restart.
    pub restarted: usize,
    /// Nodes that were told more than once.
    pub restarted_again: usize,
    /// Nodes that became members.
    pub members: usize,
    /// Requests heard, of all steps.
    pub calls: usize,
}

/// The sums while they grow.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) connected: AtomicUsize,
    pub(super) entered: AtomicUsize,
    pub(super) settled: AtomicUsize,
    pub(super) refused: AtomicUsize,
    pub(super) failed: AtomicUsize,
    pub(super) lost: AtomicUsize,
    pub(super) configured: AtomicUsize,
    pub(super) configured_again: AtomicUsize,
    pub(super) restarted: AtomicUsize,
    pub(super) restarted_again: AtomicUsize,
    pub(super) members: AtomicUsize,
    pub(super) calls: AtomicUsize,
}

impl Seen {
    /// How often it was asked for a step.
    pub fn calls_of(&self, step: Step) -> u32 {
        self.calls.get(&step).copied().unwrap_or_default()
    }

    /// Tells whether it was configured and restarted once, not less and not more.
    pub fn is_enrolled_once(&self) -> bool {
        self.configured == 1 && self.restarts == 1
    }

    /// The configuration that it was given, decoded.
    pub fn settings(&self) -> Map<String, Value> {
        self.configuration
            .as_ref()
            .and_then(|inputs| inputs.get("config"))
            .and_then(Value::as_str)
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default()
    }

    /// The server token that it was given.
    pub fn server_token(&self) -> Option<&str> {
        self.configuration.as_ref()?.get("server_jwt")?.as_str()
    }
}

impl Counters {
    pub(super) fn tally(&self) -> Tally {
        let read = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        Tally {
            connected: read(&self.connected),
            entered: read(&self.entered),
            refused: read(&self.refused),
            failed: read(&self.failed),
            lost: read(&self.lost),
            configured: read(&self.configured),
            configured_again: read(&self.configured_again),
            restarted: read(&self.restarted),
            restarted_again: read(&self.restarted_again),
            members: read(&self.members),
            calls: read(&self.calls),
        }
    }

    pub(super) fn add(counter: &AtomicUsize) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
