//! What a node's token says.

use std::collections::BTreeMap;
use std::time::Duration;

use overlay_protocol::id::{Collective, Identity, Ksuid, MAX_NAME_BYTES};
use overlay_protocol::subject;
use overlay_tokens::claims::{DEFAULT_OU, ServerClaims};
use overlay_tokens::issue::{IssueError, ServerToken};
use overlay_tokens::{PublicKey, UnixTime};

use crate::answer::WantedClaims;
use crate::policy::Issue;

/// Issuer of tokens as long as the chain has not named the real one.
const ISSUER: &str = "Choria Provisioner";
/// Collectives are kept in the record of the node, which must stay small.
const MOST_COLLECTIVES: usize = 64;
const COLLECTIVES: &str = "collectives";
const SECURITY: &str = "plugin.security.provider";

/// Why the helper's wishes cannot become a token that a broker would take.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClaimsError {
    #[error("the helper wants the collective {0:?}, which is no name of one")]
    Collective(String),
    #[error("the helper wants the subject {0:?}, which a broker does not take in a permission")]
    Subject(String),
    #[error("the helper wants the token to end at {0}, which is beyond all calendars")]
    Expiry(i64),
    #[error("the helper wants more than {MOST_COLLECTIVES} collectives")]
    TooMany,
    #[error("the helper wants an organisation whose name is too long")]
    Organisation,
    #[error("the token cannot be made")]
    Issue(#[from] IssueError),
}

/// Claims for a node, and what was passed over on the way.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) claims: ServerClaims,
    pub(crate) note: Option<String>,
}

/// Makes the claims: name and key are the node's, the rest is the helper's within the rules.
pub(crate) fn build(
    identity: &Identity,
    key: PublicKey,
    wanted: Option<&WantedClaims>,
    configuration: &BTreeMap<String, String>,
    rules: &Issue,
    now: UnixTime,
    random: [u8; 16],
) -> Result<Built, ClaimsError> {
    let none = WantedClaims::default();
    let wanted = wanted.unwrap_or(&none);
    let collectives = collectives(wanted, configuration);
    if collectives.len() > MOST_COLLECTIVES {
        return Err(ClaimsError::TooMany);
    }
    if wanted
        .ou
        .as_ref()
        .is_some_and(|ou| ou.len() > MAX_NAME_BYTES)
    {
        return Err(ClaimsError::Organisation);
    }
    for collective in &collectives {
        if Collective::new(collective.as_str()).is_err() {
            return Err(ClaimsError::Collective(collective.clone()));
        }
    }
    for subject in &wanted.pub_subjects {
        if !subject::is_valid_permission(subject) {
            return Err(ClaimsError::Subject(subject.clone()));
        }
    }
    let (validity, note) = validity(wanted.exp, rules, now)?;
    let seconds = u64::try_from(now.secs).unwrap_or_default();
    let id = Ksuid::from_parts(seconds, random).map_err(IssueError::from)?;
    let claims = ServerToken {
        identity: identity.to_string(),
        collectives,
        public_key: Some(key),
        validity,
        ou: wanted
            .ou
            .clone()
            .filter(|ou| !ou.is_empty())
            .unwrap_or_else(|| DEFAULT_OU.to_owned()),
        issuer: ISSUER.to_owned(),
        permissions: wanted.permissions,
        pub_subjects: wanted.pub_subjects.clone(),
    }
    .claims_with_id(now, id)?;
    Ok(Built { claims, note })
}

/// Those of the claims, else those of the configuration, else the one that goes with the security provider.
fn collectives(wanted: &WantedClaims, configuration: &BTreeMap<String, String>) -> Vec<String> {
    if !wanted.collectives.is_empty() {
        return wanted.collectives.clone();
    }
    let configured: Vec<_> = configuration
        .get(COLLECTIVES)
        .into_iter()
        .flat_map(|names| names.split(','))
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    if !configured.is_empty() {
        return configured;
    }
    let one = match configuration.get(SECURITY).map(String::as_str) {
        Some("choria") => "choria",
        Some(_) | None => "mcollective",
    };
    vec![one.to_owned()]
}

/// How long the token is to be good; an end that is near or past is not taken.
fn validity(
    wanted: Option<i64>,
    rules: &Issue,
    now: UnixTime,
) -> Result<(Duration, Option<String>), ClaimsError> {
    let Some(end) = wanted else {
        return Ok((rules.validity, None));
    };
    let remaining = end.saturating_sub(now.secs);
    let remaining = Duration::from_secs(u64::try_from(remaining).unwrap_or_default());
    if remaining <= rules.min_validity {
        let note = format!(
            "the helper wants the token to end at {end}, which is past or within {} s; {} days are given instead",
            rules.min_validity.as_secs(),
            rules.validity.as_secs() / 86_400
        );
        return Ok((rules.validity, Some(note)));
    }
    // Four digits of years; what is later is a slip of the helper.
    if end > 253_402_300_799 {
        return Err(ClaimsError::Expiry(end));
    }
    Ok((remaining, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime::from_secs(1_795_210_698);

    fn built(wanted: &WantedClaims, configuration: &[(&str, &str)]) -> Result<Built, ClaimsError> {
        let identity = Identity::new("n1.example.net").unwrap();
        let key = overlay_tokens::Key::from_seed([3; 32]).public();
        let configuration = configuration
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        build(
            &identity,
            key,
            Some(wanted),
            &configuration,
            &Issue::default(),
            NOW,
            [9; 16],
        )
    }

    #[test]
    fn provision_case_33_an_expiry_in_the_past_becomes_the_usual_validity_with_a_warning() {
        for exp in [157_680_000, 0, -5, NOW.secs + 3600] {
            let wanted = WantedClaims {
                exp: Some(exp),
                ..WantedClaims::default()
            };
            let built = built(&wanted, &[]).unwrap();
            assert_eq!(built.claims.standard.exp, Some(NOW.secs + 365 * 86_400));
            assert!(built.note.unwrap().contains("helper"), "{exp}");
        }
        let wanted = WantedClaims {
            exp: Some(NOW.secs + 3601),
            ..WantedClaims::default()
        };
        let built = built(&wanted, &[]).unwrap();
        assert_eq!(built.claims.standard.exp, Some(NOW.secs + 3601));
        assert!(built.note.is_none());
    }

    #[test]
    fn provision_case_35_collectives_of_the_configuration_become_claims() {
        let none = WantedClaims::default();
        let collectives = |configuration: &[(&str, &str)]| {
            built(&none, configuration).unwrap().claims.collectives
        };
        assert_eq!(collectives(&[("collectives", "a,b")]), ["a", "b"]);
        assert_eq!(collectives(&[("collectives", "a, b,,c ")]), ["a", "b", "c"]);
        assert_eq!(
            collectives(&[("plugin.security.provider", "choria")]),
            ["choria"]
        );
        assert_eq!(collectives(&[("collectives", "")]), ["mcollective"]);
        let wanted = WantedClaims {
            collectives: vec!["x".to_owned()],
            ..WantedClaims::default()
        };
        let built = built(&wanted, &[("collectives", "a")]).unwrap();
        assert_eq!(built.claims.collectives, ["x"]);
    }

    #[test]
    fn claims_with_which_a_broker_would_refuse_the_node_are_not_made() {
        let collective = WantedClaims {
            collectives: vec!["a.>".to_owned()],
            ..WantedClaims::default()
        };
        let subject = WantedClaims {
            pub_subjects: vec!["a..b".to_owned()],
            ..WantedClaims::default()
        };
        let expiry = WantedClaims {
            exp: Some(i64::MAX),
            ..WantedClaims::default()
        };
        for wanted in [collective, subject, expiry] {
            assert!(built(&wanted, &[]).is_err(), "{wanted:?}");
        }
    }

    #[test]
    fn provision_case_41_the_id_has_the_time_of_issue() {
        let built = built(&WantedClaims::default(), &[]).unwrap();
        let id: Ksuid = built.claims.standard.jti.parse().unwrap();
        assert_eq!(
            i64::try_from(id.unix_seconds()).ok(),
            built.claims.standard.iat
        );
        assert_eq!(built.claims.standard.iss, ISSUER);
        assert_eq!(built.claims.ou.as_deref(), Some("choria"));
    }
}
