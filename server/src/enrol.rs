//! A whole node: a member, with a second connection when it renews, or one that waits to be enrolled.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use overlay_protocol::id::Identity;
use overlay_runtime::{CancellationToken, Clock};
use overlay_tokens::{UnixTime, file};

use crate::agents::choria_provision::ChoriaProvision;
use crate::config::{Config, Tls};
use crate::effect::{Ending, channel};
use crate::error::{RunError, StartError};
use crate::program::{Program, Start};
use crate::provisioning::{
    Applicant, Outlook, ROUND, Renewal, Stance, Standing, Ticket, Upcoming, changes,
};
use crate::service::Server;
use crate::{FLUSH, edge};

/// How often a node that faults keep from being a member looks whether they have passed.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// What the process gives to the node.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    pub(crate) clock: Clock,
    pub(crate) program: PathBuf,
}

/// Runs until `shutdown` or until an action ends it; `connected` is called at the first connection.
pub(crate) async fn run(
    program: Program,
    host: Host,
    shutdown: CancellationToken,
    connected: impl FnOnce() + Send,
) -> Result<Ending, RunError> {
    let Program {
        role,
        sketch,
        startup,
        files,
        ticket,
        hindered,
        reasons,
    } = program;
    for reason in &reasons {
        tracing::warn!("{reason}");
    }
    if let Some(home) = files.configuration.parent().filter(|home| home.is_dir())
        && let Err(error) = changes::recover(home, &mut changes::no_hook)
    {
        let error = overlay_runtime::err_chain(&error);
        tracing::error!(
            error,
            "files of an enrolment that was not ended could not be removed"
        );
    }
    let upcoming: Arc<dyn Upcoming> = startup;
    let standing = match &role {
        Start::Member(config) => Standing::of(config),
        Start::Unprovisioned(..) => None,
    };
    let desk = Desk {
        standing,
        sketch,
        files,
        upcoming,
        host,
    };
    match role {
        Start::Member(config) => member(*config, ticket, desk, shutdown, connected).await,
        Start::Unprovisioned(ticket, forget) => {
            for file in forget {
                match std::fs::remove_file(&file) {
                    Ok(()) => {
                        tracing::warn!(file = %file.display(), "removed: it is of no use any more")
                    }
                    Err(error) => {
                        tracing::error!(file = %file.display(), error = %error, "could not be removed");
                    }
                }
            }
            let identity = desk.identity()?;
            tracing::warn!(
                identity = identity.as_str(),
                token = %ticket.path().display(),
                "waiting to be enrolled"
            );
            let (server, applicant) = desk.waiting(Stance::Unprovisioned, identity, ticket)?;
            if hindered {
                hindered_member(server, &applicant, &desk, shutdown, connected).await
            } else {
                server.run(shutdown, connected).await
            }
        }
    }
}

/// What nodes of this process are made from.
#[derive(Debug)]
struct Desk {
    /// What a member goes by.
    standing: Option<Standing>,
    sketch: crate::config::Sketch,
    files: crate::provisioning::Files,
    upcoming: Arc<dyn Upcoming>,
    host: Host,
}

impl Desk {
    fn identity(&self) -> Result<Identity, StartError> {
        let text = self.sketch.identity_text();
        Identity::new(text.as_str()).map_err(|error| StartError::Name {
            name: text,
            reason: error.to_string(),
        })
    }

    /// How the brokers of a provisioning token are known: a member is no less careful on its second connection than on
    /// its first.
    fn tls(&self, ticket: &Ticket) -> Tls {
        match (&self.standing, ticket.tls()) {
            (_, pinned @ Tls::Pinned(_)) => pinned,
            (Some(standing), _) if standing.tls.is_verified() => standing.tls.clone(),
            (_, other) => other,
        }
    }

    fn applicant(
        &self,
        stance: Stance,
        identity: Identity,
        ticket: Arc<Ticket>,
        effects: crate::effect::Effects,
    ) -> Arc<Applicant> {
        let applicant = Applicant::new(
            stance,
            identity,
            ticket,
            self.files.clone(),
            Arc::clone(&self.upcoming),
            effects,
        );
        let key = self.sketch.enrolment.release_key;
        let applicant = applicant
            .with_program(self.host.program.clone(), key)
            .with_standing(self.standing.clone());
        Arc::new(applicant)
    }

    /// A node that waits to be enrolled, or a member's second connection.
    fn waiting(
        &self,
        stance: Stance,
        identity: Identity,
        ticket: Arc<Ticket>,
    ) -> Result<(Server, Arc<Applicant>), StartError> {
        ticket.fits(&identity)?;
        let (effects, orders) = channel();
        let applicant = self.applicant(stance, identity.clone(), Arc::clone(&ticket), effects);
        let sketch = match stance {
            Stance::Unprovisioned => self.sketch.clone(),
            Stance::Renewing | Stance::Member => self.sketch.clone().without_status(),
        };
        let mut config = sketch
            .waiting(
                identity,
                Arc::clone(&ticket),
                &self.files.configuration,
                self.tls(&ticket),
            )
            .map_err(|fault| StartError::Name {
                name: self.sketch.identity_text(),
                reason: fault.to_string(),
            })?;
        edge::complete(&mut config);
        let grace = grace(&config);
        let server = Server::new(config, self.host.clock.clone())
            .with_agent(Arc::new(ChoriaProvision::new(Arc::clone(&applicant))))
            .with_orders(orders)
            .with_grace(grace);
        Ok((server, applicant))
    }
}

/// Waits to be enrolled, or until the faults that keep the node from being a member have passed.
async fn hindered_member(
    server: Server,
    applicant: &Applicant,
    desk: &Desk,
    shutdown: CancellationToken,
    connected: impl FnOnce() + Send,
) -> Result<Ending, RunError> {
    let stop = shutdown.child_token();
    let passed = async {
        loop {
            tokio::time::sleep(LOOK_AGAIN).await;
            let now = UnixTime::from(desk.host.clock.now());
            // Whoever is at work on the node restarts it.
            if !applicant.is_busy(now) && desk.upcoming.outlook(now) == Outlook::Member {
                return;
            }
        }
    };
    let mut serving = std::pin::pin!(server.run(stop.clone(), connected));
    tokio::select! {
        ended = &mut serving => ended,
        () = passed => {
            tracing::warn!("what was wrong with the configuration that was delivered has passed: a member again");
            stop.cancel();
            serving.await?;
            Ok(Ending::Restart)
        }
    }
}

async fn member(
    mut config: Config,
    ticket: Option<Arc<Ticket>>,
    desk: Desk,
    shutdown: CancellationToken,
    connected: impl FnOnce() + Send,
) -> Result<Ending, RunError> {
    edge::complete(&mut config);
    let stop = shutdown.child_token();
    let identity = config.identity.clone();
    let token_file = config.membership().map(|own| own.token_file.clone());
    let grace = grace(&config);
    let (effects, orders) = channel();
    let mut server = Server::new(config, desk.host.clock.clone())
        .with_orders(orders)
        .with_grace(grace);
    if let Some(ticket) = &ticket {
        let applicant = desk.applicant(
            Stance::Member,
            identity.clone(),
            Arc::clone(ticket),
            effects,
        );
        server = server.with_agent(Arc::new(ChoriaProvision::new(applicant)));
    }
    let renewing = async {
        match (ticket, token_file) {
            (Some(ticket), Some(token_file)) if desk.sketch.enrolment.renew => {
                let renewing = Renewing {
                    desk: &desk,
                    identity,
                    ticket,
                    token_file,
                };
                renewing.run(stop.child_token()).await;
            }
            (_, _) => std::future::pending().await,
        }
    };
    let mut serving = std::pin::pin!(server.run(stop.clone(), connected));
    let mut renewing = std::pin::pin!(renewing);
    tokio::select! {
        ended = &mut serving => ended,
        () = &mut renewing => {
            // Everything new is in its place; the member ends in order, and the program begins with it.
            stop.cancel();
            serving.await?;
            Ok(Ending::Restart)
        }
    }
}

fn grace(config: &Config) -> Duration {
    config
        .grace()
        .saturating_sub(FLUSH)
        .max(Duration::from_secs(1))
}

/// A member that renews its token.
#[derive(Debug)]
struct Renewing<'a> {
    desk: &'a Desk,
    identity: Identity,
    ticket: Arc<Ticket>,
    token_file: PathBuf,
}

impl Renewing<'_> {
    /// Returns once a new token and what came with it are in their places.
    async fn run(self, stop: CancellationToken) {
        loop {
            let now = UnixTime::from(self.desk.host.clock.now());
            let plan = file::read_token(&self.token_file)
                .ok()
                .and_then(|text| Renewal::of(&text, &self.desk.sketch.enrolment));
            let wait = plan.map_or(Duration::MAX, |plan| plan.wait(now, roll()));
            if !wait.is_zero() {
                tokio::time::sleep(Renewal::look(wait)).await;
                continue;
            }
            let Some(plan) = plan else { continue };
            if self.round(now, &stop).await {
                return;
            }
            let pause = plan.pause(UnixTime::from(self.desk.host.clock.now()), roll());
            tracing::info!(?pause, "no new token came, trying again later");
            tokio::time::sleep(pause).await;
        }
    }

    /// One round on a second connection; true once everything new is in its place.
    async fn round(&self, now: UnixTime, stop: &CancellationToken) -> bool {
        // Somebody may have put a newer one there.
        let ticket = match Ticket::read(self.ticket.path()) {
            Ok(ticket) => Arc::new(ticket),
            Err(error) => {
                let error = overlay_runtime::err_chain(&error);
                tracing::error!(
                    error,
                    "the token ends soon, and the provisioning token is of no use"
                );
                return false;
            }
        };
        if ticket
            .claims()
            .standard
            .expires_at()
            .is_some_and(|ends| now.is_past(ends))
        {
            tracing::error!("the token ends soon, and the provisioning token has expired");
            return false;
        }
        let identity = self.identity.clone();
        let server = match self.desk.waiting(Stance::Renewing, identity, ticket) {
            Ok((server, _)) => server,
            Err(error) => {
                let error = overlay_runtime::err_chain(&error);
                tracing::error!(error, "the token ends soon, and cannot be renewed");
                return false;
            }
        };
        tracing::warn!("the token ends soon: asking for a new one on a second connection");
        let round = stop.child_token();
        let timer = async {
            tokio::time::sleep(ROUND).await;
            round.cancel();
        };
        let mut serving = std::pin::pin!(server.run(round.clone(), || {}));
        let ended = tokio::select! {
            ended = &mut serving => ended,
            () = timer => serving.await,
        };
        matches!(ended, Ok(Ending::Restart))
    }
}

fn roll() -> f64 {
    getrandom::u32().map_or(0.5, |number| f64::from(number) / f64::from(u32::MAX))
}
