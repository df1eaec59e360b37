//! What a connection may publish and subscribe to: the lists of each role, as the Choria broker grants them.
//!
//! What must hold: no side of a [`Permissions`] is ever without a list, because nats-server reads an absent list as
//! "everything". A side on which nothing is granted denies everything by name.

use std::borrow::Cow;
use std::time::Duration;

use overlay_protocol::id::{Collective, Identity};
use overlay_protocol::subject::{self, is_valid_permission, permission as piece};
use overlay_tokens::PublicKey;
use overlay_tokens::claims::{ClientClaims, ServerClaims};

use crate::policy::ProvisioningCompat;

/// How an unprovisioned node may answer: once, for as long as its slowest action may take.
const UNPROVISIONED_ANSWERS: Answers = Answers {
    each: 1,
    within: Duration::from_secs(120),
};

/// One subject of a list; most are constants.
pub type Subject = Cow<'static, str>;

/// The lists of both directions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permissions {
    /// What may be published.
    pub publish: Side,
    /// What may be subscribed to.
    pub subscribe: Side,
    /// Whether the reply subject of a received message may be published to, although no list has it.
    pub answers: Option<Answers>,
}

/// Answers to received messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answers {
    /// How many to each message.
    pub each: u32,
    /// How long after it was received.
    pub within: Duration,
}

/// The lists of one direction; at least one of them has an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side {
    allow: Vec<Subject>,
    deny: Vec<Subject>,
}

/// Permissions made from a token, and what in the token was no subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// The lists.
    pub permissions: Permissions,
    /// Subjects of the token that the broker would not take; they were left out.
    pub dropped: Vec<String>,
}

/// The names of a node, checked so that none reaches into another's subjects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeNames {
    /// The node's identity.
    pub identity: Identity,
    /// Its collectives; may be empty.
    pub collectives: Vec<Collective>,
}

impl Side {
    /// Everything.
    #[must_use]
    pub fn all() -> Self {
        Self {
            allow: vec![Cow::Borrowed(piece::ALL)],
            deny: Vec::new(),
        }
    }

    /// Nothing.
    #[must_use]
    pub fn nothing() -> Self {
        Self {
            allow: Vec::new(),
            deny: vec![Cow::Borrowed(piece::ALL)],
        }
    }

    /// Only what is listed: nothing when the list is empty.
    #[must_use]
    pub fn only(allow: Vec<Subject>) -> Self {
        if allow.is_empty() {
            Self::nothing()
        } else {
            Self {
                allow,
                deny: Vec::new(),
            }
        }
    }

    /// Everything but what is listed.
    #[must_use]
    pub fn all_but(deny: &[&'static str]) -> Self {
        Self {
            deny: constants(deny).collect(),
            ..Self::all()
        }
    }

    /// What is allowed; empty means nothing, for then [`Side::deny`] has everything.
    #[must_use]
    pub fn allow(&self) -> &[Subject] {
        &self.allow
    }

    /// What is denied, whatever is allowed.
    #[must_use]
    pub fn deny(&self) -> &[Subject] {
        &self.deny
    }
}

impl Permissions {
    fn of(publish: Side, subscribe: Side) -> Self {
        Self {
            publish,
            subscribe,
            answers: None,
        }
    }

    /// No restriction within the account.
    #[must_use]
    pub fn unrestricted() -> Self {
        Self::of(Side::all(), Side::all())
    }

    /// Connected, and no more.
    #[must_use]
    pub fn nothing() -> Self {
        Self::of(Side::nothing(), Side::nothing())
    }

    /// A node that has yet to be provisioned: `node`, or any where nothing is said.
    #[must_use]
    pub fn unprovisioned(node: Option<&Identity>, compat: ProvisioningCompat) -> Self {
        let mut publish: Vec<Subject> = constants(&piece::UNPROVISIONED_EVENTS).collect();
        if compat.any_reply {
            publish.push(Cow::Borrowed(piece::UNPROVISIONED_ANY_REPLY));
        }
        let requests = match node {
            Some(node) => Cow::Owned(subject::unprovisioned_node(node)),
            None => Cow::Borrowed(piece::UNPROVISIONED_ANY_NODE),
        };
        let broadcasts = constants(&piece::UNPROVISIONED_BROADCASTS);
        Self {
            answers: Some(UNPROVISIONED_ANSWERS),
            ..Self::of(
                Side::only(publish),
                Side::only(std::iter::once(requests).chain(broadcasts).collect()),
            )
        }
    }

    /// The provisioner: requests to nodes that have yet to be provisioned, its own streams, its word to the fleet.
    #[must_use]
    pub fn provisioner() -> Self {
        let publish = piece::provisioner_publish().into_iter().map(Cow::Owned);
        Self::of(
            Side::only(publish.collect()),
            Side::only(constants(&piece::PROVISIONER_SUBSCRIBE).collect()),
        )
    }

    /// Somebody who has yet to log in: requests to the login service, and its answers to this key.
    #[must_use]
    pub fn login(key: &PublicKey) -> Self {
        Self::of(
            Side::only(constants(&piece::LOGIN_PUBLISH).collect()),
            Side::only(vec![Cow::Owned(piece::login_subscribe(key.as_bytes()))]),
        )
    }

    /// A verified certificate without a token, where such connections publish and subscribe.
    #[must_use]
    pub fn pub_sub() -> Self {
        let side = Side::all_but(&piece::PUBSUB_DENY);
        Self::of(side.clone(), side)
    }

    /// A verified certificate without a token, where such connections count as nodes.
    #[must_use]
    pub fn server_without_token() -> Self {
        Self::of(
            Side::all_but(&piece::NO_TOKEN_PUBLISH_DENY),
            Side::all_but(&piece::NO_TOKEN_SUBSCRIBE_DENY),
        )
    }

    /// A client, by the permissions that its token claims; `ou` is the organisation that vouched for it.
    #[must_use]
    pub fn client(claims: &ClientClaims, ou: &str) -> Granted {
        let granted = claims.granted();
        if granted.org_admin {
            return Granted {
                permissions: Self::unrestricted(),
                dropped: Vec::new(),
            };
        }
        let mut publish = vec![Cow::Borrowed(piece::USER_INFO)];
        let mut subscribe = vec![
            Cow::Owned(piece::any_collective_reply(&claims.unique_id())),
            Cow::Owned(piece::any_collective_reply(&claims.unique_id_sha256())),
        ];
        let mut dropped = Vec::new();
        add_claimed(&mut publish, &claims.pub_subjects, &mut dropped);
        add_claimed(&mut subscribe, &claims.sub_subjects, &mut dropped);
        if granted.streams_admin {
            publish.push(Cow::Borrowed(piece::STREAMS_ADMIN_PUBLISH));
            subscribe.push(Cow::Borrowed(piece::STREAMS_ADMIN_SUBSCRIBE));
        }
        if granted.streams_user {
            publish.extend(constants(&piece::STREAMS_USER_PUBLISH));
            subscribe.push(Cow::Owned(piece::republish(ou)));
        }
        if granted.events_viewer {
            subscribe.extend(constants(&piece::EVENTS_VIEWER_SUBSCRIBE));
        }
        if granted.election_user {
            publish.extend(constants(&piece::ELECTION_USER_PUBLISH));
        }
        if granted.governor && (granted.streams_user || granted.streams_admin) {
            publish.extend(constants(&piece::GOVERNOR_PUBLISH));
        }
        if granted.audit_viewer {
            publish.extend(constants(&piece::AUDIT_VIEWER_PUBLISH));
            subscribe.extend(constants(&piece::AUDIT_VIEWER_SUBSCRIBE));
        }
        if granted.has_fleet_access() {
            publish.extend(constants(&piece::FLEET_PUBLISH));
        }
        Granted::checked(publish, subscribe, dropped)
    }

    /// A node, by the permissions that its token claims; a node without a collective gets nothing.
    #[must_use]
    pub fn server(claims: &ServerClaims, names: &NodeNames, ou: &str) -> Granted {
        if names.collectives.is_empty() {
            return Granted {
                permissions: Self::nothing(),
                dropped: Vec::new(),
            };
        }
        let granted = claims.granted();
        let (md5, sha256) = (claims.unique_id(), claims.unique_id_sha256());
        let mut publish: Vec<Subject> = constants(&piece::SERVER_PUBLISH).collect();
        let mut subscribe = Vec::new();
        let mut dropped = Vec::new();
        add_claimed(&mut publish, &claims.pub_subjects, &mut dropped);
        for collective in &names.collectives {
            subscribe.push(Cow::Owned(piece::broadcast_agents(collective)));
            subscribe.push(Cow::Owned(piece::node(collective, &names.identity)));
            subscribe.push(Cow::Owned(piece::reply_of(collective, &md5)));
            subscribe.push(Cow::Owned(piece::reply_of(collective, &sha256)));
            publish.push(Cow::Owned(piece::replies(collective)));
            publish.push(Cow::Owned(piece::registration(collective)));
            publish.push(Cow::Owned(piece::federation_collective(collective)));
            if granted.service_host {
                subscribe.push(Cow::Owned(piece::broadcast_services(collective)));
            }
            if granted.submission {
                publish.push(Cow::Owned(piece::submissions(collective)));
            }
            if granted.governor && granted.streams {
                publish.push(Cow::Owned(piece::governors(collective)));
            }
        }
        if granted.streams {
            subscribe.push(Cow::Owned(piece::republish(ou)));
            publish.extend(
                piece::server_streams_publish(ou)
                    .into_iter()
                    .map(Cow::Owned),
            );
        }
        Granted::checked(publish, subscribe, dropped)
    }
}

impl Granted {
    /// Leaves out whatever the broker would refuse the whole login for.
    fn checked(publish: Vec<Subject>, subscribe: Vec<Subject>, mut dropped: Vec<String>) -> Self {
        let mut side = |subjects: Vec<Subject>| {
            // Constants are sound, as a test shows, and most of a list.
            let sound = |subject: &Subject| match subject {
                Cow::Borrowed(_) => true,
                Cow::Owned(made) => is_valid_permission(made),
            };
            let (valid, invalid): (Vec<_>, Vec<_>) = subjects.into_iter().partition(sound);
            dropped.extend(invalid.into_iter().map(Cow::into_owned));
            Side::only(valid)
        };
        let permissions = Permissions::of(side(publish), side(subscribe));
        Self {
            permissions,
            dropped,
        }
    }
}

fn constants(subjects: &[&'static str]) -> impl Iterator<Item = Subject> {
    subjects.iter().copied().map(Cow::Borrowed)
}

fn add_claimed(list: &mut Vec<Subject>, claimed: &[String], dropped: &mut Vec<String>) {
    for subject in claimed {
        if is_valid_permission(subject) {
            list.push(Cow::Owned(subject.clone()));
        } else {
            dropped.push(subject.clone());
        }
    }
}

#[cfg(test)]
mod tests;
