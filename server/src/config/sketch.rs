//! What a configuration says that also counts when it is of no use to a member, or not there at all.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use overlay_protocol::id::{Collective, Identity};
use overlay_protocol::provisioning::COLLECTIVE;
use overlay_runtime::{Fault, FileConfig, Secret, Settings, Threads};
use serde_json::json;

use super::check::broker::verification_is_demanded;
use super::check::{enrolment, parsed, time};
use super::{
    Authorization, Broker, Config, Enrolment, Login, Password, RawConfig, Role, Rpc, Tls, reference,
};
use crate::compat;
use crate::provisioning::Ticket;

/// How often the status file is written while the node waits.
const STATUS_INTERVAL: Duration = Duration::from_secs(10);

/// The life of a request to a node that waits: its provisioner is at work now, not in five hours.
const MAX_TTL: Duration = Duration::from_secs(3600);

/// The parts of a configuration that count in any case.
#[derive(Debug, Clone)]
pub(crate) struct Sketch {
    /// The name that is configured.
    pub(crate) identity: Option<Identity>,
    /// The token that is named.
    pub(crate) token_file: Option<PathBuf>,
    /// The seed that is named, or goes with the token.
    pub(crate) seed_file: Option<PathBuf>,
    /// How and when the node is enrolled.
    pub(crate) enrolment: Enrolment,
    /// Whether a member's brokers must prove who they are.
    pub(crate) verifies: bool,
    status: Option<(PathBuf, Duration)>,
    plain_events: bool,
    runtime: Settings,
}

impl FileConfig for Sketch {
    type Raw = RawConfig;

    fn check(raw: RawConfig) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        let identity = raw
            .identity
            .as_deref()
            .and_then(|text| parsed("identity", text, &mut faults));
        let every = time(
            "status.interval",
            raw.status.interval.as_deref(),
            STATUS_INTERVAL,
            &mut faults,
        );
        let enrolment = enrolment(&raw.provisioning, &mut faults);
        let log = raw.log.clone().check("log", &mut faults);
        let (grace, threads) = raw.process.clone().check(Threads::Current);
        if !faults.is_empty() {
            return Err(faults);
        }
        let token_file = raw.token_file.clone();
        Ok(Self {
            identity,
            seed_file: raw
                .seed_file
                .clone()
                .or_else(|| token_file.as_ref().map(|file| file.with_extension("key"))),
            token_file,
            enrolment,
            verifies: raw.broker.tls.unwrap_or(true) && verification_is_demanded(&raw),
            status: raw
                .status
                .file
                .clone()
                .map(|file| (file, every.max(Duration::from_secs(1)))),
            plain_events: raw.lifecycle.plain_events.unwrap_or(false),
            runtime: Settings {
                log,
                grace,
                threads,
                ..Settings::default()
            },
        })
    }

    fn reference() -> String {
        reference::text()
    }

    fn runtime(&self) -> Settings {
        self.runtime.clone()
    }

    fn read_foreign(path: &Path) -> Option<Result<toml::Table, Vec<Fault>>> {
        compat::has_extension(path).then(|| compat::read_table(path))
    }
}

impl Sketch {
    /// The parts of a member's configuration.
    pub(crate) fn of(config: &Config) -> Self {
        let membership = config.membership();
        Self {
            identity: Some(config.identity.clone()),
            token_file: membership.map(|own| own.token_file.clone()),
            seed_file: membership.map(|own| own.seed_file.clone()),
            enrolment: config.enrolment.clone(),
            verifies: config.broker.tls.is_verified(),
            status: config.status.clone(),
            plain_events: config.plain_events,
            runtime: config.runtime.clone(),
        }
    }

    /// With the token and key that lie beside a configuration, where none are named.
    pub(crate) fn with_former(mut self, configuration: &Path) -> Self {
        if self.token_file.is_none() {
            self.token_file = Some(configuration.with_file_name("server.jwt"));
            self.seed_file = Some(configuration.with_file_name("server.seed"));
        }
        self
    }

    /// Without a status file, which another node of this process writes.
    pub(crate) fn without_status(mut self) -> Self {
        self.status = None;
        self
    }

    /// The configuration of a node that waits to be enrolled, by the token it has.
    ///
    /// # Errors
    ///
    /// A fault of this program: the name of the collective is none.
    pub(crate) fn waiting(
        self,
        identity: Identity,
        ticket: Arc<Ticket>,
        config_file: &Path,
        tls: Tls,
    ) -> Result<Config, Fault> {
        let collective = Collective::new(COLLECTIVE)
            .map_err(|error| Fault::new("", format!("collective {COLLECTIVE}: {error}")))?;
        let claims = ticket.claims();
        let file = |text: &str| (!text.is_empty()).then(|| PathBuf::from(text));
        let login = (!claims.chusr.is_empty()).then(|| Login {
            user: claims.chusr.clone(),
            password: Password::Given(Secret::new(claims.chpwd.expose().to_owned())),
        });
        let config_items = BTreeMap::from([
            ("identity".to_owned(), json!(identity.as_str())),
            ("collectives".to_owned(), json!([COLLECTIVE])),
            ("main_collective".to_owned(), json!(COLLECTIVE)),
            ("rpcauthorization".to_owned(), json!(false)),
            ("plugin.security.provider".to_owned(), json!("choria")),
            (
                "plugin.choria.middleware_hosts".to_owned(),
                json!(ticket.servers().hosts),
            ),
        ]);
        Ok(Config {
            collectives: vec![collective.clone()],
            main_collective: collective,
            broker: Broker {
                servers: ticket.servers().clone(),
                tls,
                certificate: None,
                login,
                connect_timeout: Duration::from_secs(5),
            },
            facts_files: file(&claims.chf).into_iter().collect(),
            classes_file: None,
            refresh: Duration::from_secs(1),
            rpc: Rpc {
                max_ttl: MAX_TTL,
                sign_replies: false,
                workers: 4,
                queue: 32,
                max_request_bytes: 1024 * 1024,
                replay_entries: 1024,
                max_action_time: Duration::from_secs(3600),
            },
            authorization: Authorization::Off,
            policies: None,
            audit_file: None,
            status: self.status,
            alive_interval: Duration::from_secs(30 * 60),
            config_items,
            config_file: config_file.display().to_string(),
            notices: Vec::new(),
            plain_events: self.plain_events,
            enrolment: self.enrolment,
            path: String::new(),
            runtime: self.runtime,
            role: Role::Unprovisioned(ticket),
            identity,
        })
    }
}
