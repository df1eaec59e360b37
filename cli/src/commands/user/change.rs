//! `overlay user add`, `passwd`, `disable`, `enable`, `remove`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use overlay_protocol::id::Tenant;
use overlay_tokens::claims::delegated;
use serde_json::{Map, Value};

use super::file::{UsersFile, unknown};
use super::password::PasswordArgs;
use super::record::Record;
use super::totp;
use crate::app::App;
use crate::error::{Failure, Hint};

/// Longest name that the login service takes.
const MAX_NAME_BYTES: usize = 256;

/// Permissions that a token can have.
const PERMISSIONS: [&str; 13] = [
    "streams_admin",
    "streams_user",
    "events_viewer",
    "election_user",
    "system_user",
    "governor",
    "org_admin",
    "fleet_management",
    "signed_fleet_management",
    "service",
    "authentication_delegator",
    "provisioner",
    "audit_viewer",
];

/// A user's name.
#[derive(Debug, clap::Args)]
pub(super) struct Name {
    /// User
    #[arg(value_name = "NAME")]
    name: String,
}

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  overlay user add rip --acl 'rpcutil.*' --acl puppet.status
  overlay user add bot --policy bot.rego --validity 1h --password-stdin < password
  overlay user add boss --acl '*' --totp --permission events_viewer

Without `--permission` a user gets `signed_fleet_management`: requests that this service signs, decides about and
records. The policy file is read at every login, so that a change counts from the next one on.")]
pub(super) struct AddArgs {
    #[command(flatten)]
    user: Name,
    #[command(flatten)]
    password: PasswordArgs,
    /// Action that the user may run: `agent.action`, `agent.*` or `*`; may be given again
    #[arg(long, value_name = "ACTION")]
    acl: Vec<String>,
    /// File of a Rego policy that decides what the user may run, instead of a list
    #[arg(long, value_name = "FILE", conflicts_with = "acl")]
    policy: Option<PathBuf>,
    /// Permission at the broker; may be given again
    #[arg(long, value_name = "NAME", value_parser = clap::builder::PossibleValuesParser::new(PERMISSIONS))]
    permission: Vec<String>,
    /// Property for policies; may be given again
    #[arg(long, value_name = "NAME=TEXT")]
    property: Vec<String>,
    /// Organisation of the token, unless the service's
    #[arg(long, alias = "organization", value_name = "NAME")]
    organisation: Option<String>,
    /// Tenant of the token
    #[arg(long, value_name = "NAME")]
    tenant: Option<Tenant>,
    /// How long a token of the user is good, such as 1h, unless the service's time
    #[arg(long, value_name = "TIME")]
    validity: Option<String>,
    /// Give the user a second factor
    #[arg(long)]
    totp: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct PasswdArgs {
    #[command(flatten)]
    user: Name,
    #[command(flatten)]
    password: PasswordArgs,
}

pub(super) async fn add(args: AddArgs, path: &Path, app: &App) -> Result<(), Failure> {
    let name = &args.user.name;
    check_name(name)?;
    let mut record = described(&args, path)?;
    // Told before a password is asked for; looked at again under the lock.
    if path.exists() {
        fresh(&UsersFile::read(path)?, name)?;
    }
    record.set("password", args.password.hash(name).await?.into());
    let secret = args.totp.then(totp::Secret::generate).transpose()?;
    if let Some(secret) = &secret {
        record.set("totp", secret.text().into());
    }
    UsersFile::change(path, app, |users| {
        fresh(users, name)?;
        users.users.push(record);
        Ok(())
    })?;
    if args.acl.is_empty() && args.policy.is_none() {
        app.output.warn(format!(
            "{name} has neither actions nor a policy, so that nothing will be signed for them; `--acl` and `--policy` give some"
        ));
    }
    app.output
        .note(format!("added {name} to {}", path.display()));
    secret.map_or(Ok(()), |secret| secret.show(name, app))
}

pub(super) async fn passwd(args: PasswdArgs, path: &Path, app: &App) -> Result<(), Failure> {
    let name = &args.user.name;
    UsersFile::read(path)?.get_mut(name)?;
    let hash = args.password.hash(name).await?;
    UsersFile::change(path, app, |users| {
        let user = users.get_mut(name)?;
        user.remove("password_file");
        user.set("password", hash.into());
        Ok(())
    })?;
    app.output.note(format!("new password for {name}"));
    Ok(())
}

pub(super) fn disable(user: &Name, disabled: bool, path: &Path, app: &App) -> Result<(), Failure> {
    let name = &user.name;
    super::look(path)?.get_mut(name)?;
    let locked = UsersFile::change(path, app, |users| {
        let user = users.get_mut(name)?;
        if disabled {
            user.set("disabled", true.into());
        } else {
            user.remove("disabled");
        }
        Ok(!user.is_set("password_file") && !user.text("password").starts_with('$'))
    })?;
    if disabled {
        app.output.note(format!(
            "{name} cannot log in any more; tokens that were issued are good until they expire"
        ));
    } else {
        app.output.note(format!("{name} can log in again"));
        if locked {
            app.output.warn(format!(
                "no password fits what the file has for {name}; `overlay user passwd {name}` sets one"
            ));
        }
    }
    Ok(())
}

pub(super) fn remove(user: &Name, path: &Path, app: &App) -> Result<(), Failure> {
    let name = &user.name;
    super::look(path)?.get_mut(name)?;
    UsersFile::change(path, app, |users| {
        let before = users.users.len();
        users.users.retain(|user| user.name() != name);
        if users.users.len() == before {
            return Err(unknown(name));
        }
        Ok(())
    })?;
    app.output
        .note(format!("removed {name} from {}", path.display()));
    Ok(())
}

fn fresh(users: &UsersFile, name: &str) -> Result<(), Failure> {
    let written = delegated(name);
    let alike = users
        .users
        .iter()
        .find(|user| delegated(user.name()) == written);
    match alike {
        None => Ok(()),
        Some(user) if user.name() == name => {
            Err(Failure::new(format!("there is a user {name:?} already"))
                .hint(format!("`overlay user passwd {name}` sets a new password")))
        }
        Some(user) => Err(Failure::new(format!(
            "nodes could not tell {name:?} from the user {:?}",
            user.name()
        ))
        .hint("they see `@` and `.` in names as `_`; take another name")),
    }
}

fn check_name(name: &str) -> Result<(), Failure> {
    let odd = name.is_empty()
        || name.trim() != name
        || name.len() > MAX_NAME_BYTES
        || name.chars().any(char::is_control);
    if odd {
        return Err(Failure::usage(format!(
            "a name is 1 to {MAX_NAME_BYTES} bytes, without spaces around it or control characters in it"
        )));
    }
    Ok(())
}

/// The record without its password.
fn described(args: &AddArgs, path: &Path) -> Result<Record, Failure> {
    let mut record = Record::named(&args.user.name);
    for action in &args.acl {
        if action != "*" && action.split('.').count() != 2 {
            return Err(Failure::usage(format!("{action:?} is no action"))
                .hint("actions are `agent.action`, `agent.*` or `*`"));
        }
    }
    if !args.acl.is_empty() {
        record.set("acls", args.acl.clone().into());
    }
    if let Some(policy) = &args.policy {
        let whole = std::path::absolute(policy)?;
        std::fs::metadata(&whole).hint(format!("no policy {}", policy.display()))?;
        record.set("opa_policy_file", relative(&whole, path)?.into());
    }
    let permissions: Map<String, Value> = if args.permission.is_empty() {
        Map::from_iter([("signed_fleet_management".to_owned(), true.into())])
    } else {
        let names = args.permission.iter().cloned();
        names.map(|name| (name, true.into())).collect()
    };
    record.set("broker_permissions", permissions.into());
    let mut properties = Map::new();
    for property in &args.property {
        let (name, text) = property
            .split_once('=')
            .filter(|(name, _)| !name.is_empty())
            .ok_or_else(|| Failure::usage(format!("{property:?} is not NAME=TEXT")))?;
        properties.insert(name.to_owned(), text.into());
    }
    if !properties.is_empty() {
        record.set("properties", properties.into());
    }
    if let Some(organisation) = &args.organisation {
        record.set("organization", organisation.as_str().into());
    }
    if let Some(tenant) = &args.tenant {
        record.set("tenant", tenant.as_str().into());
    }
    if let Some(validity) = &args.validity {
        record.set("validity", span(validity)?.into());
    }
    Ok(record)
}

/// The path of a file as the users file names it: from its own directory where it is below that, else whole.
fn relative(file: &Path, users: &Path) -> Result<String, Failure> {
    let users = std::path::absolute(users)?;
    let below = users
        .parent()
        .and_then(|directory| file.strip_prefix(directory).ok());
    let text = below.unwrap_or(file).to_str();
    text.map(str::to_owned)
        .ok_or_else(|| Failure::usage(format!("{} is not UTF-8", file.display())))
}

/// A span of time as the login service reads it.
fn span(text: &str) -> Result<String, Failure> {
    let number = text.trim_end_matches(|letter: char| letter.is_ascii_lowercase());
    let unit = text.get(number.len()..).unwrap_or_default();
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => 0,
    };
    let span = number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(seconds))
        .map(Duration::from_secs);
    match span {
        Some(span) if span >= Duration::from_secs(60) => Ok(text.to_owned()),
        Some(_) | None => Err(Failure::usage(format!(
            "{text:?} is no time of a minute or more, such as 30m, 8h or 7d"
        ))),
    }
}
