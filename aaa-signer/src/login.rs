//! Tokens for those who prove who they are.
//!
//! ```text
//! rate of the source ─> proof of the key, time ─> gate of the name ─> lock ─> authenticator ─> used before? ─> token ─> record
//! ```
//!
//! What must hold:
//!
//! * Nothing on the wire, neither a text nor the work done, tells whether a name exists, is locked or disabled, or which part
//!   was wrong. The log, the metrics and the record do.
//! * A token leaves after its record is durable. A refusal is recorded too, and refused whatever becomes of its record.
//! * One signed request yields one token, and a one-time code one login, at whichever instance.
//! * What was begun is finished and recorded, also when nobody waits for the answer any more.

mod attempt;
mod broker;
mod conclude;
pub(crate) mod flow;
mod gate;
mod issuer;
mod keeper;
mod limits;
pub(crate) mod memory;
mod metrics;
mod places;
mod proof;
mod reason;
mod revoked;
mod session;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use overlay_protocol::SecretText;
use overlay_protocol::signing::LoginRequest;
use overlay_protocol::signing::login::{
    Begin, Begun, Continue, Continued, Logout, Method, MethodKind, Methods,
};
use overlay_runtime::{Clock, Context, Part, Tasks};
use overlay_tokens::Issuers;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::Instant;

use crate::audit::Audit;
use crate::authenticate::Authenticator;
use crate::authenticate::ldap::LdapAuthenticator;
use crate::authenticate::oidc::OidcLogin;
use crate::authenticate::password::Hasher;
use crate::authenticate::trust::TrustError;
use crate::authenticate::userlist::{Source, SourceError, Userlist};
use crate::config;
use crate::via::Via;

use flow::{Flow, Flows};
use gate::Gates;
use issuer::Defaults;
use keeper::Keeper;
use limits::Lockout;
use proof::Window;

pub(crate) use keeper::check as check_issuer;
pub(crate) use limits::Rates;
pub(crate) use memory::Memory;
pub(crate) use metrics::Metrics;
pub(crate) use reason::Reason;
pub(crate) use revoked::Revocations;

/// Pause between two looks at the files of users and of the issuer.
const LOOK: Duration = Duration::from_secs(2);

/// Logs people in; clones are the same service.
#[derive(Debug, Clone)]
pub(crate) struct LoginService {
    inner: Arc<Inner>,
    tasks: Tasks,
}

/// What the service works with.
#[derive(Debug)]
struct Inner {
    site: String,
    window: Window,
    lockout: Lockout,
    defaults: Defaults,
    issuers: Issuers,
    keeper: Keeper,
    audit: Audit,
    memory: Memory,
    revocations: Revocations,
    authenticators: Vec<Arc<dyn Authenticator>>,
    userlist: Option<Arc<Userlist>>,
    flows: Flows,
    sources: Rates,
    names: Rates,
    gates: Gates,
    admitted: Arc<Semaphore>,
    metrics: Metrics,
    clock: Clock,
    epoch: Instant,
}

/// What a login service is made of.
#[derive(Debug)]
pub(crate) struct Setup<'a> {
    /// Its table of the configuration.
    pub config: &'a config::Login,
    /// Where the service works.
    pub site: &'a str,
    /// Whose tokens are good.
    pub issuers: &'a Issuers,
    /// Where the record is kept.
    pub audit: Audit,
    /// What the instances share.
    pub memory: Memory,
    /// Sessions that have ended.
    pub revocations: Revocations,
    /// A connection into the account of the service, for logins over the broker.
    pub client: Option<async_nats::Client>,
}

/// Where an attempt came from.
#[derive(Debug, Clone)]
pub(crate) struct From {
    /// By which way.
    pub via: Via,
    /// From which address, without a port, or connection.
    pub peer: String,
}

/// The answer to an attempt.
#[derive(Debug)]
pub(crate) enum LoginAnswer {
    /// The token.
    Token(String),
    /// It is refused.
    Failed,
    /// No token can be made at present.
    CannotSign,
    /// Too much is to be done at present.
    Busy,
}

/// The answer to the end of a session.
#[derive(Debug)]
pub(crate) enum LogoutAnswer {
    /// It is ended.
    Done,
    /// It is refused.
    Failed,
    /// Too much is to be done at present.
    Busy,
}

/// Too much is to be done at present.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Busy;

/// Why the service cannot begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum LoginError {
    /// The issuer cannot be used.
    #[error("issuer of logins")]
    Issuer(#[from] config::KeysError),
    /// The users cannot be used.
    #[error("users")]
    Users(#[from] SourceError),
    /// A directory or provider cannot be prepared for.
    #[error("directory or provider")]
    Trust(#[from] TrustError),
    /// A metric is registered already.
    #[error("metrics of the login service")]
    Metrics(#[from] prometheus::Error),
    /// The responder cannot subscribe.
    #[error("login over the broker")]
    Broker(#[source] async_nats::Error),
}

impl LoginService {
    /// Begins: reads users and issuer, follows their files, and answers over the broker where there is one.
    pub(crate) async fn start(setup: Setup<'_>, cx: &Context) -> Result<Self, LoginError> {
        let client = setup.client.clone().filter(|_| setup.config.service);
        let inner = Arc::new(Inner::new(setup, cx)?);
        let service = Self {
            inner: Arc::clone(&inner),
            tasks: cx.tasks.clone(),
        };
        let part = inner
            .userlist
            .is_some()
            .then(|| cx.readiness.part("userlist"));
        let shutdown = cx.shutdown.clone();
        cx.tasks.spawn("login files", async move {
            shutdown
                .run_until_cancelled(inner.follow(part.as_ref()))
                .await;
            Ok(())
        });
        if let Some(client) = client {
            let places = Arc::new(Semaphore::new(broker::AT_A_TIME));
            broker::serve(service.clone(), client, places, &cx.tasks, &cx.shutdown)
                .await
                .map_err(LoginError::Broker)?;
        }
        Ok(service)
    }

    /// The ways to log in, best first.
    pub(crate) fn methods(&self) -> Methods {
        let inner = &self.inner;
        let passwords = inner
            .authenticators
            .iter()
            .map(|authenticator| (authenticator.name(), MethodKind::Password));
        Methods {
            methods: passwords
                .chain(inner.flows.methods())
                .map(|(name, kind)| Method {
                    name: name.to_owned(),
                    kind,
                })
                .collect(),
            organisation: inner.defaults.organisation.clone(),
            site: inner.site.clone(),
        }
    }

    /// Logs in with a name and a password, and a one-time code where one is asked for.
    pub(crate) async fn password(
        &self,
        login: LoginRequest,
        otp: Option<SecretText>,
        from: From,
    ) -> LoginAnswer {
        let inner = Arc::clone(&self.inner);
        self.finish(async move { inner.password(login, otp, from).await })
            .await
            .unwrap_or(LoginAnswer::Busy)
    }

    /// Begins a login of several steps.
    ///
    /// # Errors
    ///
    /// When too much is to be done at present.
    pub(crate) async fn begin(&self, begin: Begin, from: From) -> Result<Begun, Busy> {
        let inner = Arc::clone(&self.inner);
        self.finish(async move { inner.begin(begin, from).await })
            .await?
    }

    /// Goes on with a login of several steps.
    ///
    /// # Errors
    ///
    /// When too much is to be done at present.
    pub(crate) async fn continue_(&self, step: Continue, from: From) -> Result<Continued, Busy> {
        let inner = Arc::clone(&self.inner);
        self.finish(async move { inner.go_on(step, from).await })
            .await?
    }

    /// Ends the session of a token.
    pub(crate) async fn logout(&self, logout: Logout, from: From) -> LogoutAnswer {
        let inner = Arc::clone(&self.inner);
        self.finish(async move { inner.logout(logout, from).await })
            .await
            .unwrap_or(LogoutAnswer::Busy)
    }

    /// Does work to its end, whether or not the caller waits for it: who hangs up is counted and recorded like others.
    async fn finish<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Busy> {
        let (answer, answered) = oneshot::channel();
        self.tasks.spawn_job("login", async move {
            // Whoever asked may be gone.
            drop(answer.send(work.await));
        });
        answered.await.map_err(|_lost| Busy)
    }
}

impl Inner {
    fn new(setup: Setup<'_>, cx: &Context) -> Result<Self, LoginError> {
        let Setup {
            config,
            site,
            issuers,
            audit,
            memory,
            revocations,
            client: _,
        } = setup;
        let limits = &config.limits;
        let metrics = Metrics::register(&cx.registry, site)?;
        let hasher = Hasher::new(limits.hash_threads, limits.queue)?;
        cx.registry.register(Box::new(hasher.counter()))?;
        let keeper = Keeper::open(&config.issuer, issuers, &cx.secrets, &cx.clock)?;
        metrics.issuer_expires(keeper.current().expires_at());
        let mut authenticators: Vec<Arc<dyn Authenticator>> = Vec::new();
        let userlist = match &config.userlist {
            None => None,
            Some(userlist) => {
                let source = match &userlist.users {
                    config::Users::File(path) => Source::open(path, userlist.form)?,
                    config::Users::Here(users) => Source::inline(users, userlist.form)?,
                };
                let userlist = Arc::new(Userlist::new(
                    source,
                    hasher,
                    memory.clone(),
                    metrics.clone(),
                ));
                authenticators.push(Arc::clone(&userlist) as Arc<dyn Authenticator>);
                Some(userlist)
            }
        };
        if let Some(ldap) = &config.ldap {
            authenticators.push(Arc::new(LdapAuthenticator::new(ldap.clone(), &cx.secrets)?));
        }
        let mut flows: Vec<Arc<dyn Flow>> = Vec::new();
        if let Some(oidc) = &config.oidc {
            flows.push(Arc::new(OidcLogin::new(oidc.clone(), &cx.secrets)?));
        }
        let seconds = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
        let places = limits.hash_threads.get().saturating_add(limits.queue);
        Ok(Self {
            site: site.to_owned(),
            window: Window {
                back: seconds(limits.window),
                ahead: seconds(limits.clock_skew),
            },
            lockout: Lockout {
                free: limits.free_failures,
                first: limits.first_delay,
                longest: limits.longest_delay,
                forget: limits.forget,
            },
            defaults: Defaults {
                organisation: config.organisation.clone(),
                validity: config.validity,
            },
            issuers: issuers.clone(),
            keeper,
            audit,
            flows: Flows::new(flows, memory.clone()),
            memory,
            revocations,
            authenticators,
            userlist,
            sources: Rates::new(limits.per_source),
            names: Rates::new(limits.per_name),
            gates: Gates::new(),
            admitted: Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS))),
            metrics,
            clock: cx.clock.clone(),
            epoch: Instant::now(),
        })
    }

    /// Follows the files of users and of the issuer.
    async fn follow(self: Arc<Self>, part: Option<&Part>) {
        loop {
            if let Some(userlist) = &self.userlist {
                userlist.refresh().await;
                if let Some(part) = part {
                    match userlist.fault() {
                        None => part.up(),
                        Some(why) => part.down(why),
                    }
                }
            }
            let inner = Arc::clone(&self);
            // Lost only at the end of the process.
            drop(tokio::task::spawn_blocking(move || inner.keeper.look(&inner.metrics)).await);
            tokio::time::sleep(LOOK).await;
        }
    }
}
