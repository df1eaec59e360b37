//! What somebody may do of whom a directory or an identity provider told us: rules from config
//! over groups and claims; pure.
//!
//! Rules are read in order, and what they grant adds up. A rule that contradicts what an earlier one
//! has settled (another tenant, another organisation, a policy beside a list of actions, another
//! policy) is skipped whole: nothing of one tenant's rule ever ends up in a token of another.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use overlay_tokens::claims::ClientPermissions;

pub(crate) use name::{Domains, Names, Separator};

mod grant;
mod name;
#[cfg(test)]
mod tests;

/// The rules, in the order of the file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules(Vec<Rule>);

/// Who a rule is for, and what it grants.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) when: When,
    pub(crate) grants: Grants,
}

/// Who a rule is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// Everybody who could be authenticated.
    Everyone,
    /// The members of a group.
    Group(String),
    /// Those of whom a claim, or an attribute, has this value, alone or among others.
    Claim { name: String, value: String },
}

/// What is said about somebody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The groups, as the rules spell them.
    pub(crate) groups: BTreeSet<String>,
    /// Claims or attributes, each with its values as text.
    pub(crate) claims: BTreeMap<String, Vec<String>>,
}

/// What a rule grants, or all rules together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Grants {
    /// Entries of the action list.
    pub(crate) agents: Vec<String>,
    /// The Rego policy that decides instead of an action list.
    pub(crate) policy_file: Option<PathBuf>,
    pub(crate) permissions: ClientPermissions,
    pub(crate) tenant: Option<String>,
    pub(crate) organisation: Option<String>,
    /// How long the token lives at most; of several the shortest counts.
    pub(crate) validity: Option<Duration>,
}

/// The sum of all rules that are for somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mapped {
    pub(crate) grants: Grants,
    /// The rules that were applied, and those skipped as they contradict; counted from 1.
    pub(crate) applied: Vec<usize>,
    pub(crate) skipped: Vec<usize>,
}

impl Rules {
    pub(crate) fn new(rules: Vec<Rule>) -> Self {
        Self(rules)
    }

    /// The policies that the rules name.
    pub(crate) fn policy_files(&self) -> impl Iterator<Item = &PathBuf> {
        self.0
            .iter()
            .filter_map(|rule| rule.grants.policy_file.as_ref())
    }

    /// The claims or attributes that the rules look at.
    pub(crate) fn claims(&self) -> impl Iterator<Item = &String> {
        self.0.iter().filter_map(|rule| match &rule.when {
            When::Claim { name, .. } => Some(name),
            When::Everyone | When::Group(_) => None,
        })
    }

    /// Adds up what is granted; `None` when no rule is for these facts.
    pub(crate) fn apply(&self, facts: &Facts) -> Option<Mapped> {
        let mut sum = Mapped {
            grants: Grants::default(),
            applied: Vec::new(),
            skipped: Vec::new(),
        };
        for (index, rule) in self.0.iter().enumerate() {
            if !rule.when.is_met(facts) {
                continue;
            }
            if sum.grants.contradicts(&rule.grants) {
                sum.skipped.push(index + 1);
            } else {
                sum.grants.add(&rule.grants);
                sum.applied.push(index + 1);
            }
        }
        (!sum.applied.is_empty()).then_some(sum)
    }
}

impl When {
    fn is_met(&self, facts: &Facts) -> bool {
        match self {
            Self::Everyone => true,
            Self::Group(group) => facts.groups.contains(group),
            Self::Claim { name, value } => facts
                .claims
                .get(name)
                .is_some_and(|values| values.contains(value)),
        }
    }
}

impl Grants {
    fn contradicts(&self, other: &Self) -> bool {
        let differ = |a: &Option<String>, b: &Option<String>| a.is_some() && b.is_some() && a != b;
        let beside = |a: &Self, b: &Self| a.policy_file.is_some() && !b.agents.is_empty();
        let policies =
            matches!((&self.policy_file, &other.policy_file), (Some(a), Some(b)) if a != b);
        policies
            || beside(self, other)
            || beside(other, self)
            || differ(&self.tenant, &other.tenant)
            || differ(&self.organisation, &other.organisation)
    }

    fn add(&mut self, other: &Self) {
        for agent in &other.agents {
            if !self.agents.contains(agent) {
                self.agents.push(agent.clone());
            }
        }
        let keep = |mine: &mut Option<String>, theirs: &Option<String>| {
            if mine.is_none() {
                mine.clone_from(theirs);
            }
        };
        keep(&mut self.tenant, &other.tenant);
        keep(&mut self.organisation, &other.organisation);
        if self.policy_file.is_none() {
            self.policy_file.clone_from(&other.policy_file);
        }
        self.validity = match (self.validity, other.validity) {
            (Some(mine), Some(theirs)) => Some(mine.min(theirs)),
            (mine, theirs) => mine.or(theirs),
        };
        self.permissions = union(&self.permissions, &other.permissions);
    }
}

/// Both permissions together.
fn union(a: &ClientPermissions, b: &ClientPermissions) -> ClientPermissions {
    ClientPermissions {
        streams_admin: a.streams_admin || b.streams_admin,
        streams_user: a.streams_user || b.streams_user,
        events_viewer: a.events_viewer || b.events_viewer,
        election_user: a.election_user || b.election_user,
        system_user: a.system_user || b.system_user,
        governor: a.governor || b.governor,
        org_admin: a.org_admin || b.org_admin,
        fleet_management: a.fleet_management || b.fleet_management,
        signed_fleet_management: a.signed_fleet_management || b.signed_fleet_management,
        service: a.service || b.service,
        authentication_delegator: a.authentication_delegator || b.authentication_delegator,
        provisioner: a.provisioner || b.provisioner,
        audit_viewer: a.audit_viewer || b.audit_viewer,
    }
}
