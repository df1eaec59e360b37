//! The user list: names, hashes and rights in a file, Choria's with additions of ours.

pub mod foreign;
mod list;
mod record;
mod source;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::fmt;
use std::fs::File;
use std::hash::RandomState;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use overlay_protocol::SecretText;
use sha2::{Digest as _, Sha256};

use super::password::{Compared, Comparer, Crowded, Hasher, Stored};
use super::totp::{self, Totp};
use super::{Attempt, Authenticator, Person, Refusal};
use crate::login::{Memory, Metrics, Reason};

pub(crate) use list::{Form, MAX_NAME_BYTES};
pub(crate) use record::permissions;
pub(crate) use source::{Look, Source, SourceError};

use list::{Kept, User, UserList};

/// Its name in configuration, records and labels.
pub(crate) const NAME: &str = "userlist";
/// Longest file that a record may name: a policy, a list of actions, a hash, a secret.
const MAX_FILE_BYTES: u64 = 256 * 1024;

/// Looks people up in a list.
#[derive(Debug)]
pub(crate) struct Userlist {
    source: Arc<Source>,
    hasher: Hasher,
    memory: Memory,
    metrics: Metrics,
    decoys: RandomState,
}

impl Userlist {
    /// Looks people up in what `source` has.
    pub(crate) fn new(source: Source, hasher: Hasher, memory: Memory, metrics: Metrics) -> Self {
        metrics.users(source.list().len());
        Self {
            source: Arc::new(source),
            hasher,
            memory,
            metrics,
            decoys: RandomState::new(),
        }
    }

    /// Looks whether the file changed, off the threads that others wait for; tells what came of it.
    pub(crate) async fn refresh(&self) {
        let source = Arc::clone(&self.source);
        let Ok(look) = tokio::task::spawn_blocking(move || source.look()).await else {
            return;
        };
        self.tell(&look);
    }

    fn tell(&self, look: &Look) {
        match look {
            Look::Same => return,
            Look::New(users) => {
                self.metrics.users(*users);
                tracing::info!(users, "users file read");
            }
            Look::Mended => tracing::info!("users file is good again"),
            Look::Broken(why) => {
                tracing::error!(error = %why, "users file cannot be used: the users read before stay");
            }
        }
        self.metrics.users_file(look);
    }

    /// Why the file cannot be used now, when that is so; the users read before stay.
    pub(crate) fn fault(&self) -> Option<String> {
        self.source.fault()
    }

    /// Looks at the file, finds the name, and compares the password: one piece of work on one thread.
    async fn look_up(&self, attempt: &Attempt) -> Result<Looked, Crowded> {
        let (source, decoys, attempt) = (
            Arc::clone(&self.source),
            self.decoys.clone(),
            attempt.clone(),
        );
        let (look, looked) = self
            .hasher
            .work(move |comparer| {
                let look = source.look();
                let looked = Looked::new(&source.list(), &decoys, &attempt, comparer);
                (look, looked)
            })
            .await?;
        self.tell(&look);
        Ok(looked)
    }

    async fn decide(&self, attempt: &Attempt) -> Result<Person, Refusal> {
        let Looked {
            user,
            secret,
            code,
            compared,
        } = self
            .look_up(attempt)
            .await
            .map_err(|_crowded| Reason::Busy)?;
        let user = user.ok_or(Reason::UnknownUser)?;
        if user.disabled {
            return Err(Reason::Disabled.into());
        }
        let secret = secret?;
        match compared {
            Compared::Fits => {}
            Compared::Differs => return Err(Reason::Password.into()),
            Compared::Cut => return Err(Reason::PasswordCut.into()),
            Compared::Unusable => return Err(Reason::NoPassword.into()),
        }
        let mut person = person(&user).await?;
        if let Some(totp) = secret {
            self.second_factor(&user, &totp, code, attempt).await?;
            person.factor = Some("totp");
        }
        Ok(person)
    }

    async fn second_factor(
        &self,
        user: &User,
        totp: &Totp,
        code: Option<SecretText>,
        attempt: &Attempt,
    ) -> Result<(), Refusal> {
        let step = code
            .and_then(|code| totp.step_of(code.expose(), attempt.now.secs))
            .ok_or(Reason::SecondFactor)?;
        let name = hex::encode(&Sha256::digest(&user.name)[..16]);
        let key = format!("totp.{name}.{step}");
        match self.memory.once(&key, totp::REMEMBERED).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Reason::SecondFactorReused.into()),
            Err(error) => Err(Refusal::new(Reason::Busy, error.to_string())),
        }
    }
}

impl Authenticator for Userlist {
    fn name(&self) -> &'static str {
        NAME
    }

    fn authenticate<'a>(&'a self, attempt: &'a Attempt) -> BoxFuture<'a, Result<Person, Refusal>> {
        Box::pin(self.decide(attempt))
    }

    fn pretend<'a>(&'a self, attempt: &'a Attempt) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            // What comes of it is not asked.
            drop(self.look_up(attempt).await);
        })
    }
}

/// What is known of a name once its password is compared.
struct Looked {
    user: Option<Arc<User>>,
    secret: Result<Option<Totp>, Refusal>,
    code: Option<SecretText>,
    compared: Compared,
}

impl Looked {
    /// Reads the disk where the record names files, and takes as long as a hash.
    fn new(list: &UserList, decoys: &RandomState, attempt: &Attempt, comparer: &Comparer) -> Self {
        let decoy = list.decoy(&attempt.username, decoys);
        let user = list.get(&attempt.username).cloned();
        let unread = |why: Refusal| (Stored::Unusable, Err(why));
        let (stored, secret) = match &user {
            None => (Stored::Unusable, Ok(None)),
            Some(user) => match kept(&user.password, list::password_of) {
                Err(refusal) => unread(refusal),
                Ok(stored) => match second_factor(user) {
                    Err(refusal) => unread(refusal),
                    Ok(totp) => (stored, Ok(totp)),
                },
            },
        };
        let has_factor = matches!(secret, Ok(Some(_)));
        let (password, code) = factors(attempt, has_factor);
        // Whatever is wrong already, this is done once for everybody.
        let compared = comparer.compare(&stored, &decoy, &password);
        Self {
            user,
            secret,
            code,
            compared,
        }
    }
}

/// The password and the second factor, which comes in a field of its own or as the last six digits of the password.
fn factors(attempt: &Attempt, has_factor: bool) -> (SecretText, Option<SecretText>) {
    let whole = attempt.password.clone();
    match &attempt.otp {
        Some(otp) if !otp.is_empty() => (whole, Some(otp.clone())),
        Some(_) | None if has_factor => match totp::split(&attempt.password) {
            Some((password, code)) => (password, Some(code)),
            None => (whole, None),
        },
        Some(_) | None => (whole, None),
    }
}

fn second_factor(user: &User) -> Result<Option<Totp>, Refusal> {
    let read = |totp| kept(totp, list::totp_of);
    user.totp.as_ref().map(read).transpose()
}

async fn person(user: &Arc<User>) -> Result<Person, Refusal> {
    if !user.rights_are_in_files() {
        return rights(user);
    }
    let user = Arc::clone(user);
    tokio::task::spawn_blocking(move || rights(&user))
        .await
        .map_err(|lost| Refusal::new(Reason::UserFile, lost.to_string()))?
}

/// Reads the disk where the record names files.
fn rights(user: &User) -> Result<Person, Refusal> {
    let agents = kept(&user.agents, list::agents_of)?;
    let policy = |policy| kept(policy, |text| Ok::<_, Infallible>(text.to_owned()));
    Ok(Person {
        name: user.name.clone(),
        callerid: format!("up={}", user.name),
        agents,
        opa_policy: user.policy.as_ref().map(policy).transpose()?,
        organisation: user.organisation.clone(),
        properties: user.properties.clone(),
        permissions: user.permissions,
        tenant: user.tenant.clone(),
        validity: user.validity,
        factor: None,
    })
}

/// The thing itself, or what its file has now.
fn kept<T: Clone, E: fmt::Display>(
    kept: &Kept<T>,
    read: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, Refusal> {
    let path = match kept {
        Kept::Here(thing) => return Ok(thing.clone()),
        Kept::In(path) => path,
    };
    let refused = |why: &dyn fmt::Display| {
        Refusal::new(Reason::UserFile, format!("{}: {why}", path.display()))
    };
    let content = text_of(path).map_err(|error| refused(&error))?;
    read(content.expose()).map_err(|error| refused(&error))
}

fn text_of(path: &Path) -> io::Result<SecretText> {
    let mut content = String::new();
    let taken = File::open(path)?
        .take(MAX_FILE_BYTES + 1)
        .read_to_string(&mut content)?;
    if u64::try_from(taken).is_ok_and(|taken| taken > MAX_FILE_BYTES) {
        return Err(io::Error::other(format!(
            "longer than {MAX_FILE_BYTES} bytes"
        )));
    }
    Ok(content.into())
}
