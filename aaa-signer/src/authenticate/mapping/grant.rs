//! What the rules grant, put into what the token says.

use std::path::Path;

use overlay_runtime::err_chain;
use tokio::io::AsyncReadExt as _;

use super::{Facts, Mapped, Rules};
use crate::authenticate::{Person, Refusal};
use crate::login::Reason;

/// The largest policy that is put into a token; brokers and nodes take no larger tokens.
const MAX_POLICY: u64 = 256 * 1024;

impl Rules {
    /// Gives somebody what the rules grant for these facts.
    pub(crate) async fn grant(&self, person: Person, facts: &Facts) -> Result<Person, Refusal> {
        let Some(Mapped {
            grants,
            applied,
            skipped,
        }) = self.apply(facts)
        else {
            let groups = facts.groups.len();
            let message = format!(
                "no rule is for {}, who is in {groups} groups",
                person.callerid
            );
            return Err(Refusal::new(Reason::NotAllowed, message));
        };
        tracing::debug!(
            callerid = person.callerid,
            ?applied,
            ?skipped,
            "rules of a login"
        );
        let opa_policy = match &grants.policy_file {
            Some(path) => Some(read(path).await.map_err(|error| {
                let error = err_chain(&error);
                let message = format!("policy {}: {error}", path.display());
                Refusal::new(Reason::UserFile, message)
            })?),
            None => None,
        };
        Ok(Person {
            agents: grants.agents,
            opa_policy,
            organisation: grants.organisation,
            permissions: Some(grants.permissions),
            tenant: grants.tenant,
            validity: grants.validity,
            ..person
        })
    }
}

async fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let file = tokio::fs::File::open(path).await?;
    file.take(MAX_POLICY + 1).read_to_string(&mut text).await?;
    if text.is_empty() || u64::try_from(text.len()).is_ok_and(|length| length > MAX_POLICY) {
        let message = format!("it is empty or larger than {MAX_POLICY} bytes");
        return Err(std::io::Error::other(message));
    }
    Ok(text)
}
