//! What the rules of enrolment depend on, apart from the node itself.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use overlay_tokens::claims::ProvisioningClaims;
use overlay_tokens::{Issuers, SecretText, VerifiedCache};
use regex::Regex;

/// Everything that decides how a node is enrolled; the same for all nodes.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Whose provisioning tokens are good.
    pub issuers: Issuers,
    /// Provisioning tokens verified before: few tokens, most of them shared by many nodes.
    pub known_tokens: KnownTokens,
    /// Secrets that guard the nodes' provisioning agent (`cht`). A node is told those that are for its name, else those that are
    /// for all: whoever waits may claim any name, and would else be told the secrets of every site.
    pub secrets: Vec<NodeSecret>,
    /// Provisioning tokens, by id, that are no longer good.
    pub denied_tokens: BTreeSet<String>,
    /// Where this provisioner works, for tokens that do not say where their nodes are.
    pub site: Option<String>,
    /// Who this provisioner is, for records.
    pub provisioner: String,
    /// Which of its instances, for records.
    pub instance: String,
    /// Component in the events of nodes that wait.
    pub component: String,
    /// Tries and limits of calls.
    pub calls: Calls,
    /// Steps that are taken beside the usual ones.
    pub features: Features,
    /// When a name may be taken that is in use.
    pub names: Names,
    /// What is issued.
    pub issue: Issue,
    /// What the helper is told.
    pub helper: HelperRules,
    /// Pauses between attempts.
    pub retry: Retry,
    /// When a node is left alone.
    pub quarantine: Quarantine,
    /// Overlays that the helper may name.
    pub placements: BTreeMap<String, Placement>,
}

/// Provisioning tokens verified before.
#[derive(Debug, Clone)]
pub struct KnownTokens(pub(crate) Arc<VerifiedCache<ProvisioningClaims>>);

impl Default for KnownTokens {
    /// What a cell has of tokens, and 2 MiB at the most, whoever makes one for each node.
    fn default() -> Self {
        Self(Arc::new(VerifiedCache::new(256, 2 << 20)))
    }
}

impl Policy {
    /// The secrets that a node of this name may have, in the order in which they are tried.
    pub(crate) fn secrets_for(&self, identity: &str) -> Vec<&SecretText> {
        let by_name = self.secrets.iter().any(|secret| secret.is_named(identity));
        self.secrets
            .iter()
            .filter(|secret| {
                if by_name {
                    secret.is_named(identity)
                } else {
                    secret.names.is_empty()
                }
            })
            .map(|secret| &secret.secret)
            .collect()
    }
}

/// A secret of nodes, and which nodes have it.
#[derive(Debug, Clone)]
pub struct NodeSecret {
    /// The secret.
    pub secret: SecretText,
    /// Patterns of names, one of which must match; without any it is for all.
    pub names: Vec<Regex>,
}

impl NodeSecret {
    /// A secret of all nodes.
    #[must_use]
    pub fn of_all(secret: impl Into<SecretText>) -> Self {
        Self {
            secret: secret.into(),
            names: Vec::new(),
        }
    }

    /// Whether it is for nodes of this name and not for all.
    fn is_named(&self, identity: &str) -> bool {
        self.names.iter().any(|name| name.is_match(identity))
    }
}

/// Tries and limits of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Calls {
    /// How long a node may take for its first answer, each time it is asked.
    pub first_contact: Duration,
    /// How long a node may take for any later answer.
    pub answer: Duration,
    /// How long a node may take to replace its own software.
    pub update: Duration,
    /// Pause after the first failed try; the further ones grow by the same.
    pub pause: Duration,
    /// How long a restarted node may take to come back as a member.
    pub member: Duration,
    /// How long an enrolment may take in all, waiting for the member not counted.
    pub whole: Duration,
}

impl Default for Calls {
    fn default() -> Self {
        Self {
            first_contact: Duration::from_secs(10),
            answer: Duration::from_secs(22),
            update: Duration::from_secs(120),
            pause: Duration::from_millis(750),
            member: Duration::from_secs(120),
            whole: Duration::from_secs(600),
        }
    }
}

/// Steps that are taken beside the usual ones.
#[derive(Debug, Clone, Default)]
pub struct Features {
    /// Certificates: the node makes a signing request, which is checked.
    pub pki: Option<Pki>,
    /// Replacing the software of nodes in place.
    pub upgrades: Option<Upgrades>,
}

/// What a signing request may not have.
#[derive(Debug, Clone)]
pub struct Pki {
    /// Patterns that neither the common name nor a DNS name may match.
    pub denied: Vec<Regex>,
}

/// Where nodes get their software.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upgrades {
    /// URL of the repository.
    pub repository: String,
    /// Whether a node that cannot be upgraded is enrolled as it is.
    pub optional: bool,
}

/// When a name may be taken that is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Names {
    /// A node of that name is connected to the fleet.
    pub live: Conflict,
    /// A node of that name was enrolled and its token is still good.
    pub held: Conflict,
}

/// What to do about a name that is in use. A node that proves its old key may always keep its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Conflict {
    /// Refuse at once.
    Refuse,
    /// Refuse unless the helper confirms.
    #[default]
    Confirm,
    /// Enrol as if nothing was.
    Allow,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            live: Conflict::Confirm,
            held: Conflict::Confirm,
        }
    }
}

/// What is issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Issue {
    /// How long a node's token is good unless the helper says otherwise.
    pub validity: Duration,
    /// An expiry nearer than this is not taken from the helper.
    pub min_validity: Duration,
}

impl Default for Issue {
    fn default() -> Self {
        Self {
            validity: Duration::from_secs(365 * 86_400),
            min_validity: Duration::from_secs(3600),
        }
    }
}

/// What the helper is told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HelperRules {
    /// Whether it gets more than the original's five keys.
    pub details: bool,
    /// Whether the node's secrets (`cht`, `chpwd`) are among what it gets.
    pub secrets: bool,
}

/// Pauses between attempts; each grows to double the last, with jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// After the first failure.
    pub first: Duration,
    /// The longest.
    pub longest: Duration,
    /// After the helper's first deferral.
    pub defer_first: Duration,
    /// After its further ones, at most.
    pub defer_longest: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(5),
            longest: Duration::from_secs(900),
            defer_first: Duration::from_secs(30),
            defer_longest: Duration::from_secs(3600),
        }
    }
}

/// When a node is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quarantine {
    /// After so many failures in a row...
    pub failures: NonZeroU32,
    /// ...within so long.
    pub window: Duration,
    /// Or after it was enrolled so often without staying...
    pub enrolments: NonZeroU32,
    /// ...within so long.
    pub loop_window: Duration,
    /// How long it is left alone, unless an operator releases it; nothing: until then.
    pub duration: Option<Duration>,
}

const fn times(number: u32) -> NonZeroU32 {
    match NonZeroU32::new(number) {
        Some(number) => number,
        None => NonZeroU32::MIN,
    }
}

impl Default for Quarantine {
    fn default() -> Self {
        Self {
            failures: times(10),
            window: Duration::from_secs(86_400),
            enrolments: times(3),
            loop_window: Duration::from_secs(3600),
            duration: None,
        }
    }
}

/// An overlay that the helper may name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placement {
    /// Its brokers, for the node's configuration where the helper names none.
    pub hosts: Vec<String>,
    /// Its collectives, for the node's configuration where the helper names none.
    pub collectives: Vec<String>,
}
