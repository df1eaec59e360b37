//! Permission lists recorded from the Choria broker's authenticator, compared as sets.

use std::collections::BTreeSet;

use overlay_broker_auth::{NodeNames, Permissions, ProvisioningCompat, Side};
use overlay_protocol::id::{Collective, Identity};
use overlay_protocol::subject::is_valid_permission;
use overlay_testkit::vectors::{Loader, Outcome, for_cases};
use overlay_tokens::Unverified;
use overlay_tokens::claims::{Claims, ClientClaims, Purpose, ServerClaims};
use serde_json::Value;

use super::broker::text;
use super::rules;
use crate::matcher;

pub(crate) fn permission_lists(file: &Value, _loader: &Loader) -> Outcome {
    for_cases(file, check)
}

fn check(case: &Value) -> Result<(), String> {
    let (token, user) = (text(case, "auth_token"), text(case, "user"));
    if rules::is_wild_node(&rules::claims(token).unwrap_or_default()) {
        return match names(&claims(token)?) {
            Ok(_) => Err("names with wildcards are taken".to_owned()),
            Err(_) => Ok(()),
        };
    }
    let recorded = &case["expect"]["permissions"];
    if user.is_empty() && matches!(overlay_tokens::purpose(token), Ok(Purpose::Provisioning)) {
        return narrower(recorded);
    }
    let ours = permissions(token, user)?;
    compare("publish", &recorded["publish"], &ours.publish)?;
    compare("subscribe", &recorded["subscribe"], &ours.subscribe)
}

/// The lists for a connection whose token was accepted.
fn permissions(token: &str, user: &str) -> Result<Permissions, String> {
    if !user.is_empty() {
        return Ok(Permissions::unrestricted());
    }
    if token.is_empty() {
        return Ok(Permissions::pub_sub());
    }
    match overlay_tokens::purpose(token).map_err(|error| error.to_string())? {
        Purpose::Client => {
            let claims: ClientClaims = claims(token)?;
            Ok(Permissions::client(&claims, claims.ou().unwrap_or_default()).permissions)
        }
        Purpose::Server => {
            let claims: ServerClaims = claims(token)?;
            Ok(
                Permissions::server(&claims, &names(&claims)?, claims.ou().unwrap_or_default())
                    .permissions,
            )
        }
        other @ (Purpose::Provisioning | Purpose::Unknown(_)) => Err(format!("purpose {other}")),
    }
}

/// What an unprovisioned node gets here is part of what it gets there, and the requests to one node are the least of it.
fn narrower(recorded: &Value) -> Result<(), String> {
    let node = Identity::new("n1.example.net").map_err(|error| error.to_string())?;
    let ours = Permissions::unprovisioned(Some(&node), ProvisioningCompat::default());
    for (what, side) in [("publish", &ours.publish), ("subscribe", &ours.subscribe)] {
        let wide: Vec<_> = recorded[what]["allow"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        for subject in side.allow() {
            if !wide.iter().any(|wide| matcher::covers(wide, subject)) {
                return Err(format!("{what}: {subject} is granted by us alone"));
            }
        }
        if side.allow().is_empty() || side.allow().iter().any(|own| own.ends_with('>')) {
            return Err(format!("{what}: {side:?}"));
        }
    }
    Ok(())
}

fn claims<C: Claims>(token: &str) -> Result<C, String> {
    let token = Unverified::<C>::decode(token).map_err(|error| error.to_string())?;
    Ok(token.claims_unverified().clone())
}

fn names(claims: &ServerClaims) -> Result<NodeNames, String> {
    let identity = Identity::new(claims.identity.as_str()).map_err(|error| error.to_string())?;
    let collectives: Result<_, _> = claims
        .collectives
        .iter()
        .map(|name| Collective::new(name.as_str()))
        .collect();
    Ok(NodeNames {
        identity,
        collectives: collectives.map_err(|error| error.to_string())?,
    })
}

/// An absent list of the original means "everything" on its side, which ours says aloud; subjects that the broker would
/// not take are not in ours.
fn compare(what: &str, recorded: &Value, ours: &Side) -> Result<(), String> {
    let set = |list: &Value| -> BTreeSet<String> {
        let subjects = list
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str);
        subjects
            .filter(|subject| is_valid_permission(subject))
            .map(str::to_owned)
            .collect()
    };
    let (mut allow, deny) = (set(&recorded["allow"]), set(&recorded["deny"]));
    if allow.is_empty() && deny.is_empty() {
        allow.insert(">".to_owned());
    }
    let own = |list: &[overlay_broker_auth::Subject]| {
        list.iter()
            .map(ToString::to_string)
            .collect::<BTreeSet<_>>()
    };
    if (own(ours.allow()), own(ours.deny())) == (allow.clone(), deny.clone()) {
        Ok(())
    } else {
        Err(format!(
            "{what}: {ours:?}, due are allow {allow:?} deny {deny:?}"
        ))
    }
}
