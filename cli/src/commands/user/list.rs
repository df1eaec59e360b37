//! `overlay user list`: who may log in, and what with.

use std::collections::BTreeMap;
use std::path::Path;

use overlay_tokens::claims::delegated;
use serde_json::json;

use super::record::Record;
use crate::app::App;
use crate::error::Failure;
use crate::text::table;

pub(super) fn run(path: &Path, app: &App) -> Result<(), Failure> {
    let users = super::look(path)?.users;
    let mut names = BTreeMap::new();
    for user in &users {
        let first = names.insert(delegated(user.name()), user.name());
        let problem = match first {
            None => continue,
            Some(first) if first == user.name() => "comes twice".to_owned(),
            Some(first) => format!("is one caller with {first:?} to nodes"),
        };
        app.output.warn(format!(
            "{:?} {problem}: the login service does not take the file",
            user.name()
        ));
    }
    if app.output.is_json() {
        let users: Vec<_> = users.iter().map(as_json).collect();
        return app.output.json(&users);
    }
    if users.is_empty() {
        app.output.note(format!("{} has no users", path.display()));
        return Ok(());
    }
    let mut table = table(&[
        "User",
        "Password",
        "Second factor",
        "May run",
        "Permissions",
        "Tenant",
    ]);
    for user in &users {
        table.add_row([
            user.name().to_owned(),
            password(user).to_owned(),
            if has_factor(user) { "totp" } else { "" }.to_owned(),
            rights(user),
            user.permissions().join(", "),
            user.text("tenant").to_owned(),
        ]);
    }
    app.output.line(table)
}

/// What is shown of a user: no hash and no secret.
fn as_json(user: &Record) -> serde_json::Value {
    json!({
        "username": user.name(),
        "password": password(user),
        "disabled": user.is_true("disabled"),
        "totp": has_factor(user),
        "acls": user.texts("acls"),
        "acls_file": user.text("acls_file"),
        "opa_policy": user.is_set("opa_policy"),
        "opa_policy_file": user.text("opa_policy_file"),
        "organization": user.text("organization"),
        "permissions": user.permissions(),
        "tenant": user.text("tenant"),
        "validity": user.text("validity"),
    })
}

fn password(user: &Record) -> &'static str {
    let stored = user.text("password");
    if user.is_true("disabled") {
        "disabled"
    } else if user.is_set("password_file") {
        "file"
    } else if stored.starts_with("$argon2id$") {
        "argon2id"
    } else if stored.starts_with("$2") {
        "bcrypt"
    } else {
        "none"
    }
}

fn has_factor(user: &Record) -> bool {
    user.is_set("totp") || user.is_set("totp_file")
}

fn rights(user: &Record) -> String {
    let mut rights = user.texts("acls").join(", ");
    let policy = match (user.is_set("opa_policy"), user.text("opa_policy_file")) {
        (true, _) => "policy",
        (false, "") => "",
        (false, file) => file,
    };
    if !policy.is_empty() {
        if !rights.is_empty() {
            rights.push_str("; ");
        }
        rights.push_str(policy);
    }
    rights
}
