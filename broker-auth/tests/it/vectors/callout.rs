//! Callout requests as nats-server sent them, with the decision due.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use overlay_broker_auth::{
    Attempt, Certificates, Decision, Login, Memory, NodeExpiry, Password, Policy, Provisioning,
    Role, Side, System, decide,
};
use overlay_protocol::subject::is_valid_permission;
use overlay_testkit::vectors::{Loader, Outcome, for_cases};
use overlay_tokens::UnixTime;
use overlay_tokens::broker_jwt::{
    AccountKey, CalloutRequest, CalloutVerifier, CurveKey, decode_request,
};
use serde_json::Value;

use super::broker::{ORGANISATION, issuers, text};

pub(crate) fn requests(file: &Value, _loader: &Loader) -> Outcome {
    let settings = &file["settings"];
    let mut outcome = Outcome::default();
    outcome.run("the keys in the settings", || keys(settings).map(|_| ()));
    outcome.merge(for_cases(file, |case| check(case, settings)));
    outcome
}

fn policy(settings: &Value) -> Result<Policy, String> {
    let node_expiry = if settings["cap_exp"] == true {
        NodeExpiry::Always
    } else {
        NodeExpiry::Never
    };
    let password = |member: &str| Password::new(text(settings, member));
    Ok(Policy {
        provisioning: Some(Provisioning {
            password: password("provisioner_password"),
            without_token: false,
            compat: super::rules::AS_RECORDED,
        }),
        system: Some(System {
            user: text(settings, "system_user").to_owned(),
            password: password("system_password"),
        }),
        certificates: Certificates::PubSub,
        node_expiry,
        ..Policy::new(issuers(&settings["org"])?, ORGANISATION, Memory::new(0))
    })
}

/// The keys of the recorded service; their seeds must make the public keys that the server was configured with.
fn keys(settings: &Value) -> Result<(AccountKey, CurveKey), String> {
    let seed = |member: &str| -> Result<[u8; 32], String> {
        let text = text(settings, member);
        let bytes: Option<Vec<u8>> = (0..text.len() / 2)
            .map(|at| {
                text.get(2 * at..2 * at + 2)
                    .and_then(|pair| u8::from_str_radix(pair, 16).ok())
            })
            .collect();
        bytes
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(format!("{member} is no seed"))
    };
    let account = AccountKey::from_raw(seed("callout_issuer_raw_seed_hex")?)
        .map_err(|error| error.to_string())?;
    let curve = CurveKey::from_raw(seed("xkey_raw_seed_hex")?);
    if (account.public(), curve.public())
        == (
            text(settings, "callout_issuer"),
            text(settings, "xkey_public"),
        )
    {
        Ok((account, curve))
    } else {
        Err("the seeds make other public keys".to_owned())
    }
}

fn check(case: &Value, settings: &Value) -> Result<(), String> {
    let now = UnixTime::from_secs(case["now"].as_i64().ok_or("no time")?);
    let bytes = text(case, "request_jwt").as_bytes();
    let request = decode_request(bytes, text(settings, "callout_issuer"), now)
        .map_err(|error| error.to_string())?;
    if let Some(sealed) = case["sealed_request_b64"].as_str() {
        let opened = open(sealed, text(case, "header_nats_server_xkey"), settings, now)?;
        if opened != request {
            return Err("the sealed request is another".to_owned());
        }
    }
    let decision = decide(&Attempt::from(&request), &policy(settings)?, now);
    let expect = &case["expect"];
    match (decision, text(expect, "verdict")) {
        (Decision::Refuse(_), "refuse") => Ok(()),
        (Decision::Allow(login), "allow") => compare(expect, &login, &request),
        (Decision::Refuse(refusal), _) => Err(format!("refused: {}", refusal.message())),
        (Decision::Allow(login), _) => Err(format!("allowed: {login:?}")),
    }
}

fn open(
    sealed: &str,
    sender: &str,
    settings: &Value,
    now: UnixTime,
) -> Result<CalloutRequest, String> {
    let (account, curve) = keys(settings)?;
    let sealed = STANDARD.decode(sealed).map_err(|error| error.to_string())?;
    CalloutVerifier::new(account.public())
        .decode_sealed(&curve, sender, &sealed, now)
        .map_err(|error| error.to_string())
}

fn compare(expect: &Value, login: &Login, request: &CalloutRequest) -> Result<(), String> {
    let found = (login.account.as_str(), login.name.as_str());
    let due = (text(expect, "account"), text(expect, "name"));
    if found != due {
        return Err(format!("{found:?}, {due:?} due"));
    }
    compare_expiry(expect, login, request)?;
    compare_side("pub", expect, login.role, &login.permissions.publish)?;
    compare_side("sub", expect, login.role, &login.permissions.subscribe)
}

/// Where we differ: a session that a token opened ends with the token, that of a system user or an unprovisioned node, too.
fn compare_expiry(expect: &Value, login: &Login, request: &CalloutRequest) -> Result<(), String> {
    let mut due = expect["exp"].as_i64();
    if matches!(login.role, Role::System | Role::Unprovisioned) {
        let claims =
            super::rules::claims(request.connect_opts.auth_token.expose()).unwrap_or_default();
        due = [&claims["exp"], &claims["issexp"]]
            .into_iter()
            .filter_map(Value::as_i64)
            .min();
    }
    if login.expires == due {
        Ok(())
    } else {
        Err(format!("ends at {:?}, {due:?} due", login.expires))
    }
}

fn compare_side(name: &str, expect: &Value, role: Role, side: &Side) -> Result<(), String> {
    let due = |list: &str| -> BTreeSet<&str> {
        let subjects = expect[name][list]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str);
        let valid = subjects.filter(|subject| is_valid_permission(subject));
        super::rules::without_tales(role, &valid.collect())
    };
    let found = |list: &'static str| -> BTreeSet<&str> {
        let subjects = if list == "allow" {
            side.allow()
        } else {
            side.deny()
        };
        subjects.iter().map(AsRef::as_ref).collect()
    };
    for list in ["allow", "deny"] {
        if found(list) != due(list) {
            return Err(format!(
                "{name}.{list}: {:?}, {:?} due",
                found(list),
                due(list)
            ));
        }
    }
    Ok(())
}
