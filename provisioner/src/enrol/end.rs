//! The end of an enrolment: its record, its audit, and the pause before the next.

use std::time::Duration;

use overlay_protocol::lifecycle::{Event, EventKind};
use overlay_protocol::provisioning::audit::{self, Details, Kind};
use overlay_protocol::provisioning::{Issued, NodeRecord, NodeState};
use overlay_tokens::UnixTime;

use super::command::{Command, Finished, NameState, Outcome, Why};
use super::facts::Verdict;
use super::{Enrolment, Stage, judge};
use crate::reason::Reason;
use crate::time::{after, until};

/// Reason in the record of a node that replaces its software; the message is the version.
pub(super) const UPGRADING: &str = "upgrading";
/// Reason in the record of a node that was shut down.
const SHUT_DOWN: &str = "shut_down";
/// How long a node that another provisioner works on is left to it; nodes keep the lock for two minutes.
const BUSY: Duration = Duration::from_secs(60);

/// Pause after a connection that is not the member whose name it has; the member itself may come meanwhile.
const SET_ASIDE: Duration = Duration::from_secs(60);

/// Whether something of ours is at fault, and not the node.
fn is_ours(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::HelperFailed | Reason::HelperOutput | Reason::IssueFailed | Reason::StoreFailed
    )
}

/// How it ends.
#[derive(Debug)]
pub(super) enum End {
    Enrolled,
    ShutDown,
    Upgraded(String),
    Deferred(Why),
    /// A rate does not let it through yet.
    Limited(Duration),
    Refused(Why),
    Failed(Why),
    Quarantine(Why),
    /// It was not even begun.
    LeftAlone {
        why: Why,
        pause: Option<Duration>,
    },
    /// Not the node's fault: nothing is recorded.
    Stopped(Why),
}

impl Enrolment {
    pub(super) fn end(&mut self, end: End, now: UnixTime, out: &mut Vec<Command>) {
        let finished = match end {
            End::Enrolled => self.enrolled(now, out),
            End::ShutDown => {
                let mut record = self.settled(NodeState::Waiting, now);
                record.set_reason(SHUT_DOWN, "the helper had the node shut down");
                self.keep(record, Kind::Shutdown, None, now, out);
                settled(Outcome::ShutDown)
            }
            End::Upgraded(version) => {
                let mut record = self.settled(NodeState::Waiting, now);
                record.set_reason(UPGRADING, &version);
                self.keep(record, Kind::Upgraded, None, now, out);
                Finished {
                    outcome: Outcome::Upgraded { version },
                    pause: None,
                }
            }
            End::Deferred(why) if self.stands_for_another(now) => {
                self.set_aside(Kind::Deferred, why, now, out)
            }
            End::Refused(why) if self.stands_for_another(now) => {
                self.set_aside(Kind::Refused, why, now, out)
            }
            End::Failed(why) if self.stands_for_another(now) => {
                self.set_aside(Kind::Failed, why, now, out)
            }
            End::Failed(why) if is_ours(why.reason) => self.unavailable(why, now, out),
            End::Deferred(why) => self.deferred(why, now, out),
            End::Limited(pause) => Finished {
                outcome: Outcome::Deferred(Why::new(
                    Reason::RateLimited,
                    "too many nodes begin with this token, or at this site",
                )),
                pause: Some(pause),
            },
            End::Refused(why) => self.failed(Kind::Refused, why, now, out),
            End::Failed(why) => self.failed(Kind::Failed, why, now, out),
            End::Quarantine(why) => self.quarantine(why, now, out),
            End::LeftAlone { why, pause } => Finished {
                outcome: if why.reason == Reason::Quarantined {
                    Outcome::Quarantined(why)
                } else {
                    Outcome::Stopped(why)
                },
                pause,
            },
            End::Stopped(why) => Finished {
                pause: (why.reason == Reason::Busy).then(|| self.entropy.jitter(BUSY)),
                outcome: Outcome::Stopped(why),
            },
        };
        self.stage = Stage::Done;
        self.calls.clear();
        self.facts.delivery = None;
        out.push(Command::Finish(finished));
    }

    /// Whether a member holds the name, and this connection has not proved to be it. Such a one must not touch what is known
    /// of the member: else anybody could keep it from renewing.
    fn stands_for_another(&self, now: UnixTime) -> bool {
        let held = |prior| judge::held_until(prior, now).is_some();
        self.lasting.former_key.is_none()
            && !self.lasting.configured
            && self
                .prior
                .as_deref()
                .is_some_and(|prior| held(prior) && !prior.confirmed)
    }

    /// Ends it with an audit and a pause, and leaves the record alone.
    fn set_aside(
        &mut self,
        kind: Kind,
        why: Why,
        now: UnixTime,
        out: &mut Vec<Command>,
    ) -> Finished {
        let audit = self.audit(kind, Some(&why), now);
        out.push(Command::Audit(Box::new(audit)));
        let pause = Some(self.entropy.jitter(SET_ASIDE));
        let outcome = match kind {
            Kind::Refused => Outcome::Refused(why),
            Kind::Deferred => Outcome::Deferred(why),
            Kind::Enrolled
            | Kind::Renewed
            | Kind::Failed
            | Kind::Quarantined
            | Kind::Released
            | Kind::Retried
            | Kind::Paused
            | Kind::Resumed
            | Kind::Shutdown
            | Kind::Upgraded => Outcome::Failed(why),
        };
        Finished { outcome, pause }
    }

    /// Something of ours failed: the node comes again, later each time, and nothing counts against it. Told once for all
    /// that follow.
    fn unavailable(&mut self, why: Why, now: UnixTime, out: &mut Vec<Command>) -> Finished {
        let known = self
            .prior
            .as_deref()
            .is_some_and(|prior| prior.reason.as_deref() == Some(why.reason.as_str()));
        let mut record = self.record(NodeState::Failed, now);
        record.set_reason(why.reason.as_str(), &why.message);
        let retry = &self.policy.retry;
        let pause = grown(retry.first, retry.longest, record.attempts);
        let pause = self.entropy.jitter(pause);
        record.not_before = Some(after(now, pause).secs);
        // A token that was issued is told of in any case.
        if known && self.issued_token().is_none() {
            out.push(Command::Record(Box::new(record)));
        } else {
            self.keep(record, Kind::Failed, Some(&why), now, out);
        }
        Finished {
            outcome: Outcome::Failed(why),
            pause: Some(pause),
        }
    }

    fn enrolled(&mut self, now: UnixTime, out: &mut Vec<Command>) -> Finished {
        let mut record = self.settled(NodeState::Member, now);
        record.confirmed = false;
        out.push(Command::Record(Box::new(record)));
        settled(Outcome::Enrolled {
            renewed: self.is_renewal(),
        })
    }

    fn deferred(&mut self, why: Why, now: UnixTime, out: &mut Vec<Command>) -> Finished {
        let mut record = self.record(NodeState::Deferred, now);
        record.deferrals = record.deferrals.saturating_add(1);
        record.failures = 0;
        record.first_failure = None;
        record.set_reason(why.reason.as_str(), &why.message);
        let retry = &self.policy.retry;
        let pause = grown(retry.defer_first, retry.defer_longest, record.deferrals);
        let pause = self.entropy.jitter(pause);
        record.not_before = Some(after(now, pause).secs);
        self.keep(record, Kind::Deferred, Some(&why), now, out);
        Finished {
            outcome: Outcome::Deferred(why),
            pause: Some(pause),
        }
    }

    fn failed(&mut self, kind: Kind, why: Why, now: UnixTime, out: &mut Vec<Command>) -> Finished {
        let state = if kind == Kind::Refused {
            NodeState::Refused
        } else {
            NodeState::Failed
        };
        let mut record = self.record(state, now);
        let rules = self.policy.quarantine;
        let first = record
            .first_failure
            .map(UnixTime::from_secs)
            .filter(|first| after(*first, rules.window) > now && record.failures > 0);
        record.failures = match first {
            Some(_) => record.failures.saturating_add(1),
            None => 1,
        };
        record.first_failure = Some(first.unwrap_or(now).secs);
        record.set_reason(why.reason.as_str(), &why.message);
        if record.failures >= rules.failures.get() {
            let message = format!(
                "{} failures in a row, the last: {}",
                record.failures, why.message
            );
            self.prior = Some(Box::new(record));
            return self.quarantine(Why::new(Reason::Quarantined, message), now, out);
        }
        let retry = &self.policy.retry;
        let pause = grown(retry.first, retry.longest, record.failures);
        let pause = self.entropy.jitter(pause);
        record.not_before = Some(after(now, pause).secs);
        self.keep(record, kind, Some(&why), now, out);
        let outcome = if kind == Kind::Refused {
            Outcome::Refused(why)
        } else {
            Outcome::Failed(why)
        };
        Finished {
            outcome,
            pause: Some(pause),
        }
    }

    fn quarantine(&mut self, why: Why, now: UnixTime, out: &mut Vec<Command>) -> Finished {
        let mut record = self.record(NodeState::Quarantined, now);
        let pause = self.policy.quarantine.duration;
        record.since = now.secs;
        record.not_before = pause.map(|pause| after(now, pause).secs);
        record.set_reason(why.reason.as_str(), &why.message);
        self.keep(record, Kind::Quarantined, Some(&why), now, out);
        Finished {
            outcome: Outcome::Quarantined(why),
            pause,
        }
    }

    /// Keeps a record, and before it what was done, for ever.
    fn keep(
        &mut self,
        record: NodeRecord,
        kind: Kind,
        why: Option<&Why>,
        now: UnixTime,
        out: &mut Vec<Command>,
    ) {
        let audit = self.audit(kind, why, now);
        out.push(Command::Audit(Box::new(audit)));
        out.push(Command::Record(Box::new(record)));
    }

    /// The record of a node with which nothing is wrong any more.
    fn settled(&self, state: NodeState, now: UnixTime) -> NodeRecord {
        let mut record = self.record(state, now);
        record.attempts = 0;
        record.failures = 0;
        record.first_failure = None;
        record.deferrals = 0;
        record.reason = None;
        record.message = None;
        record.not_before = None;
        record
    }

    /// What is known of the node now, in a state.
    pub(super) fn record(&self, state: NodeState, now: UnixTime) -> NodeRecord {
        let mut record = self
            .prior
            .as_deref()
            .cloned()
            .unwrap_or_else(|| NodeRecord::new(self.identity.clone(), now.secs));
        if record.state != state {
            record.since = now.secs;
        }
        record.state = state;
        record.updated = now.secs;
        record.found = Some(self.found.as_str().to_owned());
        record.instance = Some(self.policy.instance.clone());
        if !self.lasting.configured {
            record.attempts = record.attempts.saturating_add(1);
        }
        if let Some(shown) = &self.facts.shown {
            record.token = Some(shown.facts.clone());
            record.site.clone_from(&shown.site);
        }
        if let Some(inventory) = &self.facts.inventory {
            record.version = Some(inventory.version.clone());
        }
        if let Some(placement) = self.placement() {
            record.placement = Some(placement);
        }
        record
    }

    /// Whether a member renews while it serves on; one that came back bare and proves its old key is enrolled anew.
    pub(super) fn is_renewal(&self) -> bool {
        self.lasting.former_key.is_some() && self.lasting.name != Some(NameState::Free)
    }

    /// The token that was issued in this enrolment; once the node has it, it stands in the record alone.
    pub(super) fn issued_token(&self) -> Option<&Issued> {
        let in_record = || {
            let prior = self.prior.as_deref().filter(|_| self.lasting.configured);
            prior.and_then(|prior| prior.issued.as_ref())
        };
        self.facts.issued.as_ref().or_else(in_record)
    }

    fn placement(&self) -> Option<String> {
        let answer = self.facts.answer.as_ref()?;
        Some(answer.placement.clone()).filter(|placement| !placement.is_empty())
    }

    /// The record of what was done.
    pub(super) fn audit(&mut self, kind: Kind, why: Option<&Why>, now: UnixTime) -> audit::Record {
        let details = Details {
            step: Some(self.step().to_owned()),
            attempt: Some(
                self.prior
                    .as_deref()
                    .map_or(0, |prior| prior.attempts)
                    .saturating_add(u32::from(!self.lasting.configured)),
            ),
            found: Some(self.found.as_str().to_owned()),
            token: match &self.facts.shown {
                Some(shown) => Some(shown.facts.clone()),
                None => self
                    .prior
                    .as_deref()
                    .filter(|_| self.lasting.configured)
                    .and_then(|prior| prior.token.clone()),
            },
            public_key: match &self.facts.public_key {
                Some(key) => Some(key.to_string()),
                None => self.issued_token().map(|issued| issued.public_key.clone()),
            },
            former_key: self.lasting.former_key.as_ref().map(|key| key.to_string()),
            issued: self.issued_token().cloned(),
            helper: self.lasting.helper.as_deref().map(Verdict::facts),
            placement: self.placement(),
            version: match kind {
                Kind::Upgraded => Some(self.wanted_version().to_owned()),
                Kind::Enrolled
                | Kind::Refused
                | Kind::Renewed
                | Kind::Deferred
                | Kind::Failed
                | Kind::Quarantined
                | Kind::Released
                | Kind::Retried
                | Kind::Paused
                | Kind::Resumed
                | Kind::Shutdown => self
                    .facts
                    .inventory
                    .as_ref()
                    .map(|inventory| inventory.version.clone()),
            },
            took_ms: u64::try_from(until(self.started, now).as_millis()).ok(),
            ..self.origin(why)
        };
        let id = self.entropy.uuid();
        audit::Record::new(id, kind, Some(self.identity.clone()), now.secs, details)
    }

    /// Who says so, and why.
    fn origin(&self, why: Option<&Why>) -> Details {
        Details {
            provisioner: self.policy.provisioner.clone(),
            instance: self.policy.instance.clone(),
            site: self.policy.site.clone().unwrap_or_default(),
            reason: why.map(|why| why.reason.as_str().to_owned()),
            message: why.map(|why| why.message.clone()),
            ..Details::default()
        }
    }

    /// Tells of a token that an earlier attempt issued and of which nothing was heard since: that attempt broke off.
    pub(super) fn tell_of_the_lost(&mut self, now: UnixTime, out: &mut Vec<Command>) {
        let Some(prior) = &self.prior else { return };
        if prior.state != NodeState::Enrolling {
            return;
        }
        let why = Why::new(
            Reason::FenceLost,
            "an earlier attempt broke off after it had issued a token",
        );
        let details = Details {
            issued: prior.issued.clone(),
            token: prior.token.clone(),
            attempt: Some(prior.attempts),
            ..self.origin(Some(&why))
        };
        let id = self.entropy.uuid();
        let identity = Some(self.identity.clone());
        let record = audit::Record::new(id, Kind::Failed, identity, now.secs, details);
        out.push(Command::Audit(Box::new(record)));
    }

    /// What the node did, as it would have said itself.
    pub(super) fn event(&mut self, kind: EventKind, now: UnixTime) -> Event {
        let id = self.entropy.uuid();
        let identity = self.identity.as_str();
        Event::new(id, identity, self.policy.component.as_str(), now.secs, kind)
    }

    fn step(&self) -> &'static str {
        match self.stage {
            Stage::New | Stage::Contact => "contact",
            Stage::Rates => "rates",
            Stage::Place => "place",
            Stage::TokenUse => "token",
            Stage::Key => "gen25519",
            Stage::Csr => "gencsr",
            Stage::Helper => "helper",
            Stage::Update => "release_update",
            Stage::Shutdown => "shutdown",
            Stage::Issue => "issue",
            Stage::Configure => "configure",
            Stage::Restart => "restart",
            Stage::Member(_) | Stage::Missed => "member",
            Stage::Done => "done",
        }
    }
}

fn settled(outcome: Outcome) -> Finished {
    Finished {
        outcome,
        pause: None,
    }
}

/// The pause after the n-th time in a row: doubled each time, up to the longest.
fn grown(first: Duration, longest: Duration, times: u32) -> Duration {
    let doublings = times.saturating_sub(1).min(30);
    first.saturating_mul(1 << doublings).min(longest)
}
