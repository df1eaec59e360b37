//! The checked list of users: made whole from one reading of the file, never changed.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use overlay_protocol::id::Tenant;
use overlay_runtime::Period;
use overlay_tokens::claims::{ClientPermissions, delegated};

use super::record::Record;
use crate::authenticate::password::{Stored, StoredError};
use crate::authenticate::totp::{Totp, TotpError};

/// Longest name of a user, in bytes.
pub(crate) const MAX_NAME_BYTES: usize = 256;
/// Faults that are told of one file; who has more repairs these first.
const MAX_FAULTS: usize = 20;

/// How strictly a file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// As ours: a name that comes twice or is another's to nodes, an unknown key or a password that is no hash is a fault of the file.
    Overlay,
    /// As Choria's service reads it: the first of two equal names counts, and what is odd is told and passed over.
    Choria,
}

/// Why a file is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListError {
    /// It is no JSON list of users.
    #[error("not a JSON list of users")]
    Json(#[source] serde_json::Error),
    /// Some of its users are faulty.
    #[error("{}", .0.join("; "))]
    Faults(Vec<String>),
}

/// Users by name.
pub(crate) struct UserList {
    users: HashMap<String, Arc<User>>,
    /// Hashes with which the work is done for names that have none.
    decoys: Vec<Stored>,
}

/// Either the thing itself, or the file that has it and is read at every login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kept<T> {
    Here(T),
    In(PathBuf),
}

/// A user who is checked.
#[derive(Debug)]
pub(crate) struct User {
    pub(super) name: String,
    pub(super) password: Kept<Stored>,
    pub(super) organisation: Option<String>,
    pub(super) agents: Kept<Vec<String>>,
    pub(super) policy: Option<Kept<String>>,
    pub(super) properties: std::collections::BTreeMap<String, String>,
    pub(super) permissions: Option<ClientPermissions>,
    pub(super) totp: Option<Kept<Totp>>,
    pub(super) disabled: bool,
    pub(super) tenant: Option<String>,
    pub(super) validity: Option<Duration>,
}

impl User {
    /// Whether something that a token says stands in a file of its own.
    pub(super) fn rights_are_in_files(&self) -> bool {
        matches!(self.agents, Kept::In(_)) || matches!(self.policy, Some(Kept::In(_)))
    }
}

/// A list, and what was odd about its file without being a fault.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) list: UserList,
    pub(crate) notices: Vec<String>,
}

impl UserList {
    /// Reads a file's content; files that it names are relative to `directory`.
    pub(crate) fn decode(content: &[u8], form: Form, directory: &Path) -> Result<Read, ListError> {
        let records: Option<Vec<Record>> =
            serde_json::from_slice(content).map_err(ListError::Json)?;
        let mut checking = Checking {
            form,
            directory,
            faults: Vec::new(),
            notices: Vec::new(),
        };
        let mut users = HashMap::new();
        let mut written = HashMap::new();
        let mut decoys = Vec::new();
        for (index, record) in records.unwrap_or_default().into_iter().enumerate() {
            let user = checking.user(index, record);
            if let Kept::Here(stored) = &user.password
                && stored.is_usable()
            {
                decoys.push(stored.clone());
            }
            match users.entry(user.name.clone()) {
                Entry::Vacant(place) => {
                    let first = written
                        .entry(delegated(&user.name))
                        .or_insert_with(|| user.name.clone());
                    if *first != user.name {
                        checking.odd(format!(
                            "user {:?} (record {}) and user {first:?} are one caller to nodes, which see `@` and `.` as `_`",
                            user.name,
                            index + 1
                        ));
                    }
                    place.insert(Arc::new(user));
                }
                Entry::Occupied(_) => checking.odd(format!(
                    "user {:?} (record {}) comes twice, and only the first can count",
                    user.name,
                    index + 1
                )),
            }
        }
        if decoys.is_empty() {
            decoys.push(Stored::nobody());
        }
        let Checking {
            faults, notices, ..
        } = checking;
        if faults.is_empty() {
            Ok(Read {
                list: Self { users, decoys },
                notices,
            })
        } else {
            Err(ListError::Faults(faults))
        }
    }

    /// The user of exactly this name.
    pub(crate) fn get(&self, name: &str) -> Option<&Arc<User>> {
        self.users.get(name)
    }

    /// All users with their names, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&String, &Arc<User>)> {
        self.users.iter()
    }

    /// How many users there are.
    pub(crate) fn len(&self) -> usize {
        self.users.len()
    }

    /// The hash with which the work is done for a name that has none: always the same for a name, and over all names as dear
    /// as those of users are, so that the time tells nothing about who exists.
    pub(super) fn decoy(&self, name: &str, key: &RandomState) -> Stored {
        let count = u64::try_from(self.decoys.len()).unwrap_or(u64::MAX).max(1);
        let chosen = usize::try_from(key.hash_one(name) % count).unwrap_or_default();
        self.decoys
            .get(chosen)
            .cloned()
            .unwrap_or_else(Stored::nobody)
    }
}

impl fmt::Debug for UserList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserList")
            .field("users", &self.users.len())
            .finish_non_exhaustive()
    }
}

struct Checking<'a> {
    form: Form,
    directory: &'a Path,
    faults: Vec<String>,
    notices: Vec<String>,
}

impl Checking<'_> {
    fn user(&mut self, index: usize, record: Record) -> User {
        let who = format!("user {:?} (record {})", record.username, index + 1);
        self.name(&who, &record.username);
        for key in &record.twice {
            self.odd(format!("{who}: `{key}` comes twice"));
        }
        for key in &record.unknown {
            self.odd(format!("{who}: `{key}` is no key of a user"));
        }
        let password = self.password(&who, &record);
        if !record.acls.is_empty() && !record.acls_file.is_empty() {
            self.odd(format!("{who}: `acls_file` is not read beside `acls`"));
        }
        for entry in &record.acls {
            if entry != "*" && entry.split('.').count() != 2 {
                self.notices.push(format!(
                    "{who}: {entry:?} in `acls` is no agent.action: what stands after it is denied"
                ));
            }
        }
        for (granted, what) in [
            (
                record.grants(|all| all.authentication_delegator),
                "sign for others",
            ),
            (record.grants(|all| all.provisioner), "enrol nodes"),
            (
                record.grants(|all| all.org_admin),
                "do anything in the organisation's account",
            ),
        ] {
            if granted {
                self.notices.push(format!("{who} may {what}"));
            }
        }
        let agents = if record.acls.is_empty() && !record.acls_file.is_empty() {
            Kept::In(self.path(&record.acls_file))
        } else {
            Kept::Here(record.acls)
        };
        let policy = match (
            record.opa_policy.is_empty(),
            record.opa_policy_file.is_empty(),
        ) {
            (true, true) => None,
            (true, false) => Some(Kept::In(self.path(&record.opa_policy_file))),
            (false, _) => Some(Kept::Here(record.opa_policy)),
        };
        let totp = match (record.totp.is_empty(), record.totp_file.is_empty()) {
            (true, true) => None,
            (true, false) => Some(Kept::In(self.path(&record.totp_file))),
            (false, true) => match Totp::parse(record.totp.expose()) {
                Ok(totp) => Some(Kept::Here(totp)),
                Err(error) => {
                    self.fault(format!("{who}: `totp` {error}"));
                    None
                }
            },
            (false, false) => {
                self.fault(format!("{who}: `totp` and `totp_file` exclude each other"));
                None
            }
        };
        if let Some(error) =
            some(record.tenant.clone()).and_then(|tenant| tenant.parse::<Tenant>().err())
        {
            self.fault(format!("{who}: `tenant` {:?}: {error}", record.tenant));
        }
        let validity = self.validity(&who, &record.validity);
        User {
            password,
            organisation: some(record.organization),
            agents,
            policy,
            properties: record.properties,
            permissions: record.broker_permissions,
            totp,
            disabled: record.disabled,
            tenant: some(record.tenant),
            validity,
            name: record.username,
        }
    }

    fn name(&mut self, who: &str, name: &str) {
        if name.len() > MAX_NAME_BYTES {
            self.fault(format!("{who}: the name is over {MAX_NAME_BYTES} bytes"));
        }
        if name.is_empty() || name.trim() != name || name.chars().any(char::is_control) {
            self.odd(format!(
                "{who}: the name is empty, or has spaces around it or control characters in it"
            ));
        }
    }

    fn password(&mut self, who: &str, record: &Record) -> Kept<Stored> {
        let text = record.password.expose();
        if !record.password_file.is_empty() {
            if !text.is_empty() {
                self.fault(format!(
                    "{who}: `password` and `password_file` exclude each other"
                ));
            }
            return Kept::In(self.path(&record.password_file));
        }
        match Stored::check(text) {
            Ok(stored) => return Kept::Here(stored),
            Err(error @ StoredError::Cost) => self.odd(format!("{who}: `password` {error}")),
            // An empty one is how somebody without a password is written; so is anything, for Choria.
            Err(StoredError::Kind) if text.is_empty() && record.disabled => {}
            Err(error @ StoredError::Kind) => self.odd(format!("{who}: `password` {error}")),
        }
        Kept::Here(Stored::Unusable)
    }

    fn validity(&mut self, who: &str, text: &str) -> Option<Duration> {
        if text.is_empty() {
            return None;
        }
        match text.parse::<Period>() {
            Ok(period) if period.0 >= Duration::from_secs(1) => Some(period.0),
            Ok(_) | Err(_) => {
                self.fault(format!(
                    "{who}: `validity` {text:?} is no span of time such as \"8h\""
                ));
                None
            }
        }
    }

    fn path(&self, text: &str) -> PathBuf {
        match self.form {
            Form::Overlay => self.directory.join(text),
            Form::Choria => PathBuf::from(text),
        }
    }

    /// A fault of ours, something to be told of Choria's.
    fn odd(&mut self, text: String) {
        match self.form {
            Form::Overlay => self.fault(text),
            Form::Choria => self.notices.push(text),
        }
    }

    fn fault(&mut self, text: String) {
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(text);
        }
    }
}

/// Reads what stands in a file of a password.
pub(super) fn password_of(content: &str) -> Result<Stored, StoredError> {
    Stored::check(content.trim())
}

/// Reads what stands in a file of a second factor.
pub(super) fn totp_of(content: &str) -> Result<Totp, TotpError> {
    Totp::parse(content)
}

/// Reads what stands in a file of actions: a JSON list, or one on each line, with `#` before remarks.
pub(super) fn agents_of(content: &str) -> Result<Vec<String>, serde_json::Error> {
    if content.trim_start().starts_with('[') {
        return serde_json::from_str(content);
    }
    let lines = content.lines().map(|line| {
        let end = line.find('#').unwrap_or(line.len());
        line.get(..end).unwrap_or_default().trim()
    });
    Ok(lines
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect())
}

fn some(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}
