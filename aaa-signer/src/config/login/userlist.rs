//! `[login.userlist]`: users in a file.

use std::path::PathBuf;

use overlay_runtime::Fault;
use serde::Deserialize;

use crate::authenticate::userlist::Form;

pub(super) const REFERENCE: &str = r#"
# Users in a file: a JSON list, as Choria's service has it, with more keys; `overlay user` keeps it.
# [login.userlist]
# file = "/etc/overlay/aaa-signer/users/users.json"
"#;

/// The table as files hold it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawUserlist {
    file: Option<PathBuf>,
    /// Reads the file as Choria's service does: what is odd is told and passed over.
    choria: bool,
    /// The users themselves, as the text of a JSON list; how `aaasvc.json` has them.
    choria_users: Option<String>,
}

/// Users in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Userlist {
    pub(crate) users: Users,
    pub(crate) form: Form,
}

/// Where the users are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Users {
    /// In a file that is followed.
    File(PathBuf),
    /// In the configuration itself.
    Here(String),
}

impl RawUserlist {
    pub(super) fn check(self, at: &str, faults: &mut Vec<Fault>) -> Option<Userlist> {
        let form = if self.choria {
            Form::Choria
        } else {
            Form::Overlay
        };
        // Both given: the file counts, as with Choria's service, but nothing of the others shines through.
        let users = match (self.file, self.choria_users) {
            (Some(file), _) => Users::File(file),
            (None, Some(users)) if self.choria => Users::Here(users),
            (None, Some(_) | None) => {
                faults.push(
                    Fault::new(format!("{at}.file"), "is missing")
                        .remedy("name the users file; `overlay user add` makes one"),
                );
                return None;
            }
        };
        Some(Userlist { users, form })
    }
}
