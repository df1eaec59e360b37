//! Logins and permission verdicts recorded from the Choria broker.

use overlay_broker_auth::{
    Attempt, Certificates, Decision, Hidden, Kind, Login, Memory, Password, Policy, Provisioning,
    System, Tls, decide,
};
use overlay_testkit::vectors::{Loader, Outcome, for_cases};
use overlay_tokens::{Issuers, Key, UnixTime, sign_nonce};
use serde_json::Value;

use super::rules::{self, Presented, Verdict};
use crate::matcher;

/// The organisation that runs the recorded broker.
pub(crate) const ORGANISATION: &str = "choria";

/// What the recorded broker was set to, where a file does not say.
const SETTINGS_OF: &str = "broker/logins.json";

const NONCE: &str = "0-LEW2OX3utEotM";

pub(crate) fn logins(file: &Value, loader: &Loader) -> Outcome {
    for_cases(file, |case| check(case, &policy(file, loader)?))
}

pub(crate) fn permissions(file: &Value, loader: &Loader) -> Outcome {
    for_cases(file, |case| check(case, &policy(file, loader)?))
}

pub(crate) fn settings(file: &Value, loader: &Loader) -> Outcome {
    for_cases(file, |case| {
        let mut policy = policy(file, loader)?;
        apply(&mut policy, text(case, "broker_setting"))?;
        check(case, &policy)
    })
}

/// The policy that equals how the recorded broker was configured.
pub(crate) fn policy(file: &Value, loader: &Loader) -> Result<Policy, String> {
    let recorded = loader
        .load(SETTINGS_OF)
        .map_err(|error| error.to_string())?;
    let member = |name: &str| {
        if file[name].is_object() {
            file[name].clone()
        } else {
            recorded[name].clone()
        }
    };
    let passwords = member("passwords");
    let password = |user: &str| Password::new(text(&passwords, user));
    Ok(Policy {
        provisioning: Some(Provisioning {
            password: password("provisioner"),
            without_token: false,
            compat: rules::AS_RECORDED,
        }),
        system: Some(System {
            user: "system".to_owned(),
            password: password("system"),
        }),
        certificates: Certificates::PubSub,
        ..Policy::new(issuers(&member("issuers"))?, ORGANISATION, Memory::new(0))
    })
}

/// Reads `{"<ou>": "<public key>"}`.
pub(crate) fn issuers(list: &Value) -> Result<Issuers, String> {
    let issuers = list.as_object().ok_or("no issuers")?;
    let keys: Result<Vec<_>, overlay_tokens::KeyError> = issuers
        .iter()
        .map(|(ou, key)| {
            key.as_str()
                .unwrap_or_default()
                .parse()
                .map(|key| (ou.clone(), key))
        })
        .collect();
    Issuers::new(keys.map_err(|error| error.to_string())?).map_err(|error| error.to_string())
}

/// Applies a setting of the original to our policy.
fn apply(policy: &mut Policy, setting: &str) -> Result<(), String> {
    let (key, value) = setting.split_once(" = ").unwrap_or((setting, ""));
    match (
        key.strip_prefix("plugin.choria.network.").unwrap_or(key),
        value,
    ) {
        ("client_hosts", hosts) if !hosts.is_empty() => policy.certificates = Certificates::Node,
        ("deny_server_connections", value) => policy.silence_nodes = value == "true",
        ("provisioning.provisioner_without_token", value) => {
            if let Some(provisioning) = &mut policy.provisioning {
                provisioning.without_token = value == "true";
            }
        }
        ("no plugin.security.choria.ca", _) => policy.certificates = Certificates::Ignored,
        ("no provisioning password", _) => policy.provisioning = None,
        ("no system user", _) => policy.system = None,
        // The listener without TLS; each case says itself that it had none.
        ("--disable-tls", _) => {}
        _ => return Err(format!("unknown setting {setting:?}")),
    }
    Ok(())
}

fn check(case: &Value, policy: &Policy) -> Result<(), String> {
    let connect = &case["connect"];
    let expect = &case["expect"];
    let presented = Presented {
        listener: text(case, "listener"),
        token: text(connect, "auth_token"),
        user: text(connect, "user"),
        signing_seed: signing_seed(connect),
        client_sees: &expect["client_sees"],
    };
    let recorded = text(expect, "login") == "allowed";
    let rule = rules::of(&presented);
    let due = match rule {
        Some(Verdict::Refused) => false,
        Some(Verdict::Allowed) => true,
        None => recorded,
    };
    let now = UnixTime::from_secs(case["now"].as_i64().ok_or("no time")?);
    let login = log_in(case, policy, now);
    match (login, due) {
        (Err(_), false) => Ok(()),
        (Ok(login), true) if recorded => compare(expect, &login),
        (Ok(_), true) => Ok(()),
        (Ok(login), false) => Err(format!("allowed as {}, refusal due", login.name)),
        (Err(reason), true) => Err(format!("refused: {reason}")),
    }
}

/// Logs in as a case does; the error is the reason of the refusal.
fn log_in(case: &Value, policy: &Policy, now: UnixTime) -> Result<Login, String> {
    let connect = &case["connect"];
    let Some(tls) = tls(connect) else {
        return Err("the handshake fails: a certificate of another CA".to_owned());
    };
    let signature = match signing_seed(connect) {
        Some(seed) => {
            let key = Key::from_seed_text(seed.as_bytes()).map_err(|error| error.to_string())?;
            sign_nonce(&key, NONCE).map_err(|error| error.to_string())?
        }
        None => text(connect, "sig").to_owned(),
    };
    let recorded_nonce = connect["nonce_of_the_run"].as_str().unwrap_or(NONCE);
    let attempt = Attempt {
        kind: if text(case, "listener") == "leaf" {
            Kind::Leaf
        } else {
            Kind::Client
        },
        tls,
        host: "127.0.0.1",
        name: text(case, "name"),
        library: "go",
        user: text(connect, "user"),
        password: Hidden(text(connect, "pass")),
        token: Hidden::token(text(connect, "auth_token")),
        // The broker hands on its nonce only when something was signed.
        nonce: if signature.is_empty() {
            ""
        } else {
            recorded_nonce
        },
        signature: &signature,
    };
    match decide(&attempt, policy, now) {
        Decision::Allow(login) => Ok(login),
        Decision::Refuse(refusal) => Err(refusal.message()),
    }
}

fn signing_seed(connect: &Value) -> Option<&str> {
    connect["nonce_signed_with_seed"]
        .as_str()
        .or_else(|| connect["signed_with_seed"].as_str())
}

/// How the connection was secured; nothing when its handshake must have failed.
fn tls(connect: &Value) -> Option<Tls> {
    match (
        &connect["tls"],
        &connect["client_certificate"],
        &connect["verified_client_certificate"],
    ) {
        (Value::Bool(false), _, _) => Some(Tls::None),
        (_, Value::String(whose), _) if whose.contains("trusts") => Some(Tls::Verified),
        (_, Value::String(_), _) => None,
        (_, _, Value::Bool(true)) => Some(Tls::Verified),
        _ => Some(Tls::Encrypted),
    }
}

fn compare(expect: &Value, login: &Login) -> Result<(), String> {
    if let Some(account) = expect["account"].as_str()
        && account != login.account
    {
        return Err(format!("account {}, {account} due", login.account));
    }
    // Connections without a name of their own get one from us.
    if let Some(name) = expect["user_name"].as_str().filter(|name| !name.is_empty())
        && name != login.name
    {
        return Err(format!("name {}, {name} due", login.name));
    }
    let subjects = |list: &str, may: &dyn Fn(&str) -> bool| {
        let recorded = expect[list].as_object().into_iter().flatten();
        let wrong: Vec<_> = recorded
            .filter(|(subject, verdict)| {
                let tale = list == "publish" && rules::is_tale(login.role, subject);
                may(subject) != (*verdict == "allowed" && !tale)
            })
            .map(|(subject, verdict)| format!("{subject} ({verdict} due)"))
            .collect();
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(format!("{list}: {}", wrong.join(", ")))
        }
    };
    subjects("publish", &|subject| {
        matcher::may_publish(&login.permissions, subject)
    })?;
    subjects("subscribe", &|subject| {
        matcher::may_subscribe(&login.permissions, subject)
    })
}

/// A text member, or nothing of it.
pub(crate) fn text<'a>(object: &'a Value, member: &str) -> &'a str {
    object[member].as_str().unwrap_or_default()
}
