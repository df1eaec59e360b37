//! Puts the parts together: connections, the record, the signer, and its faces.
//!
//! ```text
//! broker, account choria ── requests ──> agent ──┐
//! HTTP ──────────────────────────────────────────┼──> signer ──> audit ── broker, account aaa │ file
//! broker, account aaa ── logins ──> login ───────┘
//! ```

mod agent;
mod lifecycle;
mod login;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_nats::Client;
use overlay_policy::Rego;
use overlay_protocol::envelope::Limits;
use overlay_runtime::{Context, nats};
use overlay_tokens::UnixTime;

use crate::audit::{self, Audit};
use crate::config::{Config, Keys, Signer as SignerConfig};
use crate::error::StartError;
use crate::http::{Faces, Server};
use crate::keyring::{Keeper, Keyring};
use crate::login::{LoginService, Memory, Revocations, Setup};
use crate::metrics::Metrics;
use crate::rpc::Face;
use crate::sign::{Judge, Rules};
use crate::signer::{Parts, Signer, Unproved};

use agent::Agent;
use lifecycle::Teller;

/// Messages that wait at a subscription; they are taken up at once, so this is for bursts only.
const SUBSCRIPTION: usize = 16_384;
/// How long the start waits for the list of ended sessions.
const SESSIONS_LIMIT: Duration = Duration::from_secs(10);
/// Servers on which the bucket of logins is kept when nobody logs in here.
const REPLICAS: usize = 1;

/// Logs in, decides, signs and records until the shutdown.
///
/// # Errors
///
/// When a key, a connection or a listener fails at the start. Whatever fails later shows in readiness.
pub async fn run(config: Config, cx: Context) -> anyhow::Result<()> {
    for notice in &config.notices {
        tracing::warn!("{notice}");
    }
    let now = UnixTime::from(cx.clock.now());
    let keys = Keys::load(&config, &cx.secrets, now).map_err(StartError::keys)?;
    let metrics = Metrics::register(&cx.registry, &config.site).context("register metrics")?;
    // A taken port fails before anybody is asked anything.
    let server = match &config.http {
        Some(http) => Some(Server::bind(http, &cx.secrets, &cx.registry).await?),
        None => None,
    };
    let part = cx.readiness.part("keys");
    let (keyring, keeper) =
        Keeper::new(&config, keys, &cx.secrets, &cx.clock, metrics.clone(), part);
    cx.tasks.spawn("keys", keeper.keep(cx.shutdown.clone()));

    let records = match config.audit.connection(config.broker.as_ref()) {
        Some(settings) => Some(cx.connector.connect(&settings).await?),
        None => None,
    };
    let audit = start_audit(&config, &cx, &keyring, records.clone())?;
    // The record goes on for as long as the service does, whoever writes to it.
    let (held, shutdown) = (audit.clone(), cx.shutdown.clone());
    cx.tasks.spawn("record", async move {
        shutdown.cancelled().await;
        drop(held);
        Ok(())
    });
    let replicas = config
        .login
        .as_ref()
        .map_or(REPLICAS, |login| login.replicas);
    let memory = Memory::open(records.as_ref(), replicas, cx.clock.clone(), &cx.registry).await?;
    let revocations = Revocations::start(&memory, &cx.tasks, cx.shutdown.clone());

    // Before anybody is served: what has ended must not begin again with a start.
    revocations.known(SESSIONS_LIMIT).await?;

    let signer = config.signer.as_ref().map(|settings| {
        let rules = Rules::new(&config, settings);
        Arc::new(Signer::new(Parts {
            judge: Judge::new(rules, rego(&config), settings.tokens),
            keyring: keyring.clone(),
            audit: audit.clone(),
            revocations: revocations.clone(),
            clock: cx.clock.clone(),
            metrics: metrics.clone(),
            in_flight: settings.in_flight.get(),
            unproved: Unproved::new(settings.unproved_per_second, settings.unproved_burst),
        }))
    });
    let login = match &config.login {
        Some(settings) => {
            let setup = Setup {
                config: settings,
                site: &config.site,
                issuers: &config.issuers,
                audit,
                memory,
                revocations,
                client: records,
            };
            Some(Arc::new(LoginService::start(setup, &cx).await?))
        }
        None => None,
    };
    if let (Some(settings), Some(signer)) = (&config.signer, &signer)
        && settings.service
    {
        serve_rpc(&config, settings, signer, &keyring, &metrics, &cx).await?;
    }
    if let Some(server) = server {
        let faces = Faces {
            signer,
            login,
            readiness: cx.readiness.clone(),
            registry: cx.registry.clone(),
        };
        let serving = server.serve(faces, cx.tasks.clone(), cx.shutdown.clone());
        cx.tasks.spawn("http", serving);
    }
    cx.started.release();
    Ok(())
}

fn rego(config: &Config) -> Rego {
    Rego::new(overlay_policy::Limits {
        time: config.policy.time_limit,
        policies: config.policy.policies,
        policy_bytes: config.policy.max_policy_bytes,
        ..overlay_policy::Limits::default()
    })
}

fn start_audit(
    config: &Config,
    cx: &Context,
    keyring: &Keyring,
    client: Option<Client>,
) -> anyhow::Result<Audit> {
    let seals = keyring.clone();
    let keys = keyring.current();
    let chain = match &keys.server {
        Some(server) => server.identity.clone(),
        None => config
            .audit
            .name
            .clone()
            .context("the record has no name")?,
    };
    let parts = audit::Parts {
        settings: config.audit.clone(),
        chain,
        seals: Arc::new(move || {
            let keys = seals.current();
            keys.server
                .as_ref()
                .map(|server| Arc::clone(&server.sealer))
        }),
        issuers: config.issuers.clone(),
        site: config.site.clone(),
        client,
        clock: cx.clock.clone(),
        part: cx.readiness.part("audit"),
    };
    Ok(Audit::start(parts, &cx.registry, &cx.tasks, &cx.shutdown)?)
}

/// Starts the RPC agent, where there are brokers.
async fn serve_rpc(
    config: &Config,
    settings: &SignerConfig,
    signer: &Arc<Signer>,
    keyring: &Keyring,
    metrics: &Metrics,
    cx: &Context,
) -> anyhow::Result<()> {
    let keys = keyring.current();
    let (Some(broker), Some(server)) = (&config.broker, &keys.server) else {
        return Ok(());
    };
    let collective = settings.collectives.first();
    let connection = nats::Settings {
        subscription_capacity: broker.subscription_capacity.max(SUBSCRIPTION),
        inbox_prefix: collective.map(|collective| server.holder.inbox_prefix(collective)),
        ..broker.clone()
    };
    let client = cx
        .connector
        .connect_with(&connection, || login::options(keyring, &cx.clock))
        .await?;
    let identity = server.identity.to_string();
    let teller = Teller {
        client: client.clone(),
        identity: identity.clone(),
        clock: cx.clock.clone(),
    };
    let agent = Arc::new(Agent::new(
        Face {
            identity,
            collectives: settings.collectives.clone(),
            limits: Limits::default(),
        },
        Arc::clone(signer),
        keyring.clone(),
        client,
        metrics.clone(),
        cx,
    ));
    let requests = agent.subscribe().await.context("subscribe to requests")?;
    cx.tasks
        .spawn("agent", agent.work(requests, teller, cx.shutdown.clone()));
    Ok(())
}
