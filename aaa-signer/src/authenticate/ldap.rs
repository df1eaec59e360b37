//! People of a directory, with the directory's password: whoever can bind is who they say.
//!
//! What somebody types is only ever a value, escaped, in a name or a filter. Who it is is what their entry
//! says, as directories take `BOB` for `bob`. An empty password is never sent, since directories take it
//! for a bind without one and say yes (RFC 4513, 5.1.2). Referrals are not followed.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use overlay_protocol::SecretText;
use overlay_runtime::Secrets;
use rustls::ClientConfig;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::mapping::Facts;
use super::trust::{self, TrustError};
use super::{Attempt, Authenticator, Person, Refusal};
use crate::config::Ldap;
use crate::login::Reason;
use directory::{Directory, DirectoryError};
use entry::Entry;

mod directory;
mod entry;
#[cfg(test)]
mod tests;

pub(crate) use entry::spelled;

/// Name of the method, and kind of its caller ids.
const NAME: &str = "ldap";

/// The longest name that is looked for.
const MAX_TYPED: usize = 256;

/// Refusals leave at whole multiples of this time, so that they do not tell a wrong password from an unknown name.
const STEP: Duration = Duration::from_millis(250);

/// Asks a directory.
#[derive(Debug)]
pub(crate) struct LdapAuthenticator {
    asker: Arc<Asker>,
    slots: Semaphore,
}

/// What is needed to ask.
#[derive(Debug)]
struct Asker {
    settings: Ldap,
    tls: Arc<ClientConfig>,
    secrets: Secrets,
}

impl LdapAuthenticator {
    /// Prepares the questions; the directory is asked when somebody logs in, as it may be down at present.
    pub(crate) fn new(settings: Ldap, secrets: &Secrets) -> Result<Self, TrustError> {
        let tls = Arc::new(trust::tls(settings.ca_file.as_deref())?);
        let slots = Semaphore::new(settings.connections);
        Ok(Self {
            asker: Arc::new(Asker {
                settings,
                tls,
                secrets: secrets.clone(),
            }),
            slots,
        })
    }

    /// Asks within the limit; whatever a foreign answer does to the library ends with this one question.
    async fn ask(&self, username: &str, password: &SecretText) -> Result<Person, Refusal> {
        if password.is_empty() {
            return Err(Refusal::new(Reason::Password, "the password is empty"));
        }
        if username.is_empty()
            || username.len() > MAX_TYPED
            || username.chars().any(char::is_control)
        {
            let message = "the name is empty, too long or has control characters";
            return Err(Refusal::new(Reason::UnknownUser, message));
        }
        let limit = self.asker.settings.timeout;
        let asked = async {
            let Ok(_slot) = self.slots.acquire().await else {
                return Err(Reason::Busy.into());
            };
            let asker = Arc::clone(&self.asker);
            let (username, password) = (username.to_owned(), password.clone());
            let mut task = JoinSet::new();
            task.spawn(async move { asker.ask(&username, &password).await });
            match task.join_next().await {
                Some(Ok(verdict)) => verdict,
                Some(Err(error)) => {
                    let message = format!("the directory's answer cannot be read: {error}");
                    Err(Refusal::new(Reason::Unavailable, message))
                }
                None => Err(Reason::Busy.into()),
            }
        };
        tokio::time::timeout(limit, asked)
            .await
            .unwrap_or_else(|_| {
                let message = format!(
                    "the directory did not answer within {} ms",
                    limit.as_millis()
                );
                Err(Refusal::new(Reason::Unavailable, message))
            })
    }
}

impl Authenticator for LdapAuthenticator {
    fn name(&self) -> &'static str {
        NAME
    }

    fn authenticate<'a>(&'a self, attempt: &'a Attempt) -> BoxFuture<'a, Result<Person, Refusal>> {
        async {
            let begun = Instant::now();
            let verdict = self.ask(&attempt.username, &attempt.password).await;
            // A right password that is refused for want of a rule is not told by its time either.
            let answered =
                |refusal: &Refusal| !matches!(refusal.reason, Reason::Unavailable | Reason::Busy);
            if verdict.as_ref().is_err_and(answered) {
                wait_for_step(begun).await;
            }
            verdict
        }
        .boxed()
    }

    fn pretend<'a>(&'a self, _attempt: &'a Attempt) -> BoxFuture<'a, ()> {
        wait_for_step(Instant::now()).boxed()
    }
}

impl Asker {
    async fn ask(&self, typed: &str, password: &SecretText) -> Result<Person, Refusal> {
        let mut directory = Directory::connect(&self.settings, &self.tls).await?;
        let (entry, groups) = directory
            .recognise(&self.settings, &self.secrets, typed, password)
            .await?;
        directory.close().await;
        self.person(typed, &entry, groups).await
    }

    async fn person(
        &self,
        typed: &str,
        entry: &Entry,
        groups: std::collections::BTreeSet<String>,
    ) -> Result<Person, Refusal> {
        let settings = &self.settings;
        let attribute = &settings.name_attribute;
        let refused = |problem: &str| {
            let message = format!("{}: {attribute}: {problem}", entry.dn());
            Refusal::new(Reason::Provider, message)
        };
        let name = match entry.values(attribute) {
            [] => return Err(refused("the entry has none that may be read")),
            [name] => name,
            names => names
                .iter()
                .find(|name| name.eq_ignore_ascii_case(typed))
                .ok_or_else(|| refused("the entry has several, and none is what was typed"))?,
        };
        let callerid = settings
            .names
            .callerid(NAME, name)
            .map_err(|error| refused(&error.to_string()))?;
        let of_entry = |attribute: &String| {
            let values = entry.values(attribute);
            (!values.is_empty()).then(|| (attribute.clone(), values.to_vec()))
        };
        let facts = Facts {
            groups,
            claims: settings.rules.claims().filter_map(of_entry).collect(),
        };
        let properties = settings
            .properties
            .iter()
            .filter_map(|(property, attribute)| {
                let (_, values) = of_entry(attribute)?;
                Some((property.clone(), values.join(",")))
            });
        let person = Person {
            name: name.clone(),
            callerid,
            properties: properties.collect(),
            ..Person::default()
        };
        settings.rules.grant(person, &facts).await
    }
}

impl From<DirectoryError> for Refusal {
    fn from(error: DirectoryError) -> Self {
        let reason = match error {
            DirectoryError::Unavailable(_) => Reason::Unavailable,
            DirectoryError::Unknown => Reason::UnknownUser,
            DirectoryError::Password(_) => Reason::Password,
            DirectoryError::Refused { .. } | DirectoryError::Unusable(_) => Reason::Provider,
        };
        Self::new(reason, error.to_string())
    }
}

/// Waits until a whole number of steps has passed.
async fn wait_for_step(begun: Instant) {
    let step = STEP.as_millis();
    let steps = begun.elapsed().as_millis() / step + 1;
    let factor = u32::try_from(steps).unwrap_or(u32::MAX);
    tokio::time::sleep_until(begun + STEP.saturating_mul(factor)).await;
}
