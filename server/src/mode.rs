//! What the node is when it starts: a member of its cell, or one that waits to be enrolled. Findings in, a verdict out.
//!
//! The rules are those of Choria's servers, made safe:
//!
//! - Where a node cannot provision afterwards, nothing of what it has is given up.
//! - Good credentials and a usable configuration make a member, unless the configuration asks for provisioning. Choria
//!   enrols such a node again and again while its token says that provisioning is the default.
//! - `provision = true` counts whatever the token's default is, so that `reprovision` always works.
//! - A configuration that was delivered and cannot be used, or names files that are not there, is as good as none; one
//!   that a person wrote is that person's to mend.

/// What the configuration and the credentials it names are worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// None of the files exists.
    Missing,
    /// There is one.
    Present(State),
}

/// A configuration that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// What it says of provisioning, if anything.
    pub provision: Option<bool>,
    /// Token and key.
    pub credentials: Credentials,
    /// Why it is of no use to a member, if so.
    pub fault: Option<Unusable>,
}

/// Token and key of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// They fit each other and the node, and have not expired.
    Good,
    /// The configuration names none.
    Unnamed,
    /// They are of no use, and why.
    Unusable(String),
    /// They are good, and another node's.
    OtherNode(String),
}

/// Why a configuration is of no use to a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unusable {
    /// Part of it was written by a person.
    ByHand(String),
    /// It was delivered by a provisioner.
    Delivered(String),
}

/// The provisioning token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invitation {
    /// There is no file.
    None,
    /// There is one of no use, and why.
    Ignored(String),
    /// There is one.
    Usable {
        /// Whether it makes provisioning the default.
        default: bool,
    },
}

/// What the node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A member, if its configuration and credentials let it.
    Member,
    /// One that waits to be enrolled.
    Unprovisioned,
    /// Neither: there is nothing to go by.
    Nothing,
}

/// What the node is, and what follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What the node is.
    pub mode: Mode,
    /// Why, for the log; none for a plain member.
    pub reason: Option<String>,
    /// Whether token and key are of no use to anybody and go.
    pub forget: bool,
}

impl Verdict {
    fn member(reason: Option<String>) -> Self {
        Self {
            mode: Mode::Member,
            reason,
            forget: false,
        }
    }

    fn unprovisioned(reason: String) -> Self {
        Self {
            mode: Mode::Unprovisioned,
            reason: Some(reason),
            forget: false,
        }
    }

    fn nothing(reason: String) -> Self {
        Self {
            mode: Mode::Nothing,
            reason: Some(reason),
            forget: false,
        }
    }
}

/// Says what the node is.
///
/// `wanted` is what the environment and the operator's own files say of provisioning when nothing else was found.
pub fn decide(document: &Document, invitation: &Invitation, wanted: Option<bool>) -> Verdict {
    match document {
        Document::Missing => missing(invitation, wanted),
        Document::Present(state) => present(state, invitation),
    }
}

fn missing(invitation: &Invitation, wanted: Option<bool>) -> Verdict {
    match invitation {
        Invitation::None => Verdict::nothing(
            "there is no configuration, and no provisioning token to get one with".to_owned(),
        ),
        Invitation::Ignored(why) => Verdict::nothing(format!(
            "there is no configuration, and the provisioning token is of no use: {why}"
        )),
        Invitation::Usable { default } => match wanted {
            Some(true) => Verdict::unprovisioned("there is no configuration yet".to_owned()),
            Some(false) => Verdict::nothing(
                "there is no configuration, and provisioning is switched off".to_owned(),
            ),
            None if *default => Verdict::unprovisioned("there is no configuration yet".to_owned()),
            None => Verdict::nothing(
                "there is no configuration, and the provisioning token does not make provisioning \
                 the default (`chpd`)"
                    .to_owned(),
            ),
        },
    }
}

fn present(state: &State, invitation: &Invitation) -> Verdict {
    let Some(reason) = wish(state) else {
        return Verdict::member(None);
    };
    let default = match invitation {
        Invitation::Usable { default } => *default,
        Invitation::None => {
            return Verdict::member(Some(format!(
                "{reason}; there is no provisioning token, so the node stays what it is"
            )));
        }
        Invitation::Ignored(why) => {
            return Verdict::member(Some(format!(
                "{reason}; the provisioning token is of no use ({why}), so the node stays what it is"
            )));
        }
    };
    if !default && state.provision != Some(true) {
        return Verdict::member(Some(format!(
            "{reason}; the provisioning token does not make provisioning the default (`chpd`), so \
             the node stays what it is and keeps its files"
        )));
    }
    Verdict {
        forget: matches!(state.credentials, Credentials::Unusable(_)),
        ..Verdict::unprovisioned(reason)
    }
}

/// Why a node with a configuration should be enrolled again; none for one that is fine.
fn wish(state: &State) -> Option<String> {
    if state.provision == Some(true) {
        return Some("the configuration asks for provisioning".to_owned());
    }
    match (&state.credentials, &state.fault) {
        (Credentials::Good, None) => None,
        (Credentials::Good, Some(Unusable::Delivered(why))) => Some(format!(
            "the configuration that was delivered is of no use: {why}"
        )),
        // With credentials the node is a member, and its faults are for those to mend who made them.
        (Credentials::Good, Some(Unusable::ByHand(_))) => None,
        (Credentials::Unnamed, _) => Some("the configuration names no token".to_owned()),
        (Credentials::Unusable(why) | Credentials::OtherNode(why), _) => Some(why.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: Invitation = Invitation::Usable { default: true };
    const NOT_DEFAULT: Invitation = Invitation::Usable { default: false };

    fn state(provision: Option<bool>, credentials: Credentials) -> Document {
        Document::Present(State {
            provision,
            credentials,
            fault: None,
        })
    }

    fn expired() -> Credentials {
        Credentials::Unusable("the token has expired".to_owned())
    }

    fn mode(document: &Document, invitation: &Invitation) -> Mode {
        decide(document, invitation, None).mode
    }

    #[test]
    fn without_a_configuration_the_token_decides() {
        assert_eq!(mode(&Document::Missing, &DEFAULT), Mode::Unprovisioned);
        assert_eq!(mode(&Document::Missing, &NOT_DEFAULT), Mode::Nothing);
        assert_eq!(mode(&Document::Missing, &Invitation::None), Mode::Nothing);
        let ignored = Invitation::Ignored("no auth token".to_owned());
        assert_eq!(mode(&Document::Missing, &ignored), Mode::Nothing);
        let wanted = decide(&Document::Missing, &NOT_DEFAULT, Some(true));
        assert_eq!(wanted.mode, Mode::Unprovisioned);
        let unwanted = decide(&Document::Missing, &DEFAULT, Some(false));
        assert_eq!(unwanted.mode, Mode::Nothing);
    }

    #[test]
    fn a_member_stays_one_whatever_tokens_lie_about() {
        for provision in [None, Some(false)] {
            for invitation in [DEFAULT, NOT_DEFAULT, Invitation::None] {
                let verdict = decide(&state(provision, Credentials::Good), &invitation, None);
                assert_eq!(verdict, Verdict::member(None));
            }
        }
    }

    #[test]
    fn provision_case_27_an_expired_token_is_given_up_and_the_node_enrolled_again() {
        for provision in [None, Some(false), Some(true)] {
            let verdict = decide(&state(provision, expired()), &DEFAULT, None);
            assert_eq!(verdict.mode, Mode::Unprovisioned);
            assert!(verdict.forget);
        }
    }

    #[test]
    fn nothing_is_given_up_where_the_node_cannot_provision() {
        for invitation in [
            NOT_DEFAULT,
            Invitation::None,
            Invitation::Ignored("no auth token".to_owned()),
        ] {
            let verdict = decide(&state(Some(false), expired()), &invitation, None);
            assert_eq!(verdict.mode, Mode::Member);
            assert!(!verdict.forget);
            assert!(verdict.reason.unwrap().contains("stays what it is"));
        }
    }

    #[test]
    fn asking_for_provisioning_counts_whatever_the_default_is_and_keeps_good_credentials() {
        for invitation in [DEFAULT, NOT_DEFAULT] {
            let verdict = decide(&state(Some(true), Credentials::Good), &invitation, None);
            assert_eq!(verdict.mode, Mode::Unprovisioned);
            assert!(!verdict.forget);
        }
    }

    #[test]
    fn credentials_of_another_node_are_kept_until_they_are_replaced() {
        let other = Credentials::OtherNode("the token is for `other`".to_owned());
        let verdict = decide(&state(Some(false), other), &DEFAULT, None);
        assert_eq!(verdict.mode, Mode::Unprovisioned);
        assert!(!verdict.forget);
    }

    #[test]
    fn a_delivered_configuration_of_no_use_is_fetched_anew_and_one_made_by_hand_is_not() {
        let with = |fault| {
            Document::Present(State {
                provision: Some(false),
                credentials: Credentials::Good,
                fault: Some(fault),
            })
        };
        let why = || "issuers: is needed".to_owned();
        assert_eq!(
            mode(&with(Unusable::Delivered(why())), &DEFAULT),
            Mode::Unprovisioned
        );
        assert_eq!(
            mode(&with(Unusable::Delivered(why())), &NOT_DEFAULT),
            Mode::Member
        );
        assert_eq!(mode(&with(Unusable::ByHand(why())), &DEFAULT), Mode::Member);
    }
}
