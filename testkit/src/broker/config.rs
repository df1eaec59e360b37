//! What a test wants of its broker, and the configuration file that follows.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::mint::CalloutKeys;
use crate::nats_server::{self, NatsServer};
use crate::port::free_port;

use super::{Broker, Cluster};

/// A trusted key that nobody has: it makes the broker offer a nonce to everybody, as that of a cell does.
const NOBODY: &str = "UB5BATDDWTX2EUP3IYENVYPYK7FQK6DSUXXUD36A5BAKH4M6DPSLD325";

/// Ports of a broker on 127.0.0.1. No other broker of this process ever has one of them: whoever waits for a broker that
/// is down must not find another test's in its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    pub(super) client: u16,
    pub(super) monitoring: u16,
    pub(super) websocket: u16,
}

impl Ports {
    pub(super) fn free() -> Self {
        Self {
            client: free_port(),
            monitoring: free_port(),
            websocket: free_port(),
        }
    }
}

/// PEM files of a TLS server.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The certificate of the authority that signed `cert`.
    pub ca: PathBuf,
    /// The server's certificate.
    pub cert: PathBuf,
    /// The server's private key.
    pub key: PathBuf,
}

/// Says what broker a test wants; begins at [`Broker::builder`].
#[derive(Clone, Debug)]
pub struct Builder {
    pub(super) program: Option<NatsServer>,
    pub(super) name: String,
    pub(super) jetstream: bool,
    pub(super) websocket: bool,
    pub(super) tls: Option<TlsFiles>,
    pub(super) max_control_line: Option<u32>,
    pub(super) debug: bool,
    pub(super) extra: String,
    pub(super) cluster: Option<ClusterMember>,
}

/// Place of a broker in a cluster.
#[derive(Clone, Debug)]
pub(super) struct ClusterMember {
    pub(super) own: u16,
    pub(super) others: Vec<u16>,
}

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            program: None,
            name: "testkit".to_owned(),
            jetstream: false,
            websocket: false,
            tls: None,
            max_control_line: None,
            debug: false,
            extra: String::new(),
            cluster: None,
        }
    }

    /// Uses a given program instead of the one that [`nats_server::locate`] finds.
    #[must_use]
    pub fn program(mut self, program: NatsServer) -> Self {
        self.program = Some(program);
        self
    }

    /// Uses the newest program of a line such as `2.12`.
    ///
    /// # Panics
    ///
    /// When there is none; the message names the remedy.
    #[must_use]
    pub fn version(self, wanted: &str) -> Self {
        match nats_server::locate_version(wanted) {
            Ok(program) => self.program(program),
            Err(error) => panic!("{error}"),
        }
    }

    /// Sets the server's name.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Turns JetStream on, with a store that goes with the broker.
    #[must_use]
    pub fn jetstream(mut self) -> Self {
        self.jetstream = true;
        self
    }

    /// Adds a websocket listener (with TLS when the broker has it).
    #[must_use]
    pub fn websocket(mut self) -> Self {
        self.websocket = true;
        self
    }

    /// Demands TLS of clients; no client certificate is asked for.
    #[must_use]
    pub fn tls(mut self, files: &TlsFiles) -> Self {
        self.tls = Some(files.clone());
        self
    }

    /// Sets the longest protocol line; CONNECT with tokens needs more than the default 4,096.
    #[must_use]
    pub fn max_control_line(mut self, bytes: u32) -> Self {
        self.max_control_line = Some(bytes);
        self
    }

    /// Writes debug lines to the broker's log.
    #[must_use]
    pub fn debug(mut self) -> Self {
        self.debug = true;
        self
    }

    /// Appends text of nats-server's configuration language (accounts, authorization, limits).
    #[must_use]
    pub fn config(mut self, text: impl AsRef<str>) -> Self {
        self.extra.push_str(text.as_ref());
        self.extra.push('\n');
        self
    }

    /// Lets a login service decide (auth callout), with the accounts of a cell and JetStream.
    #[must_use]
    pub fn callout(self, keys: &CalloutKeys) -> Self {
        self.jetstream()
            .max_control_line(65_536)
            .config(keys.config())
    }

    /// Starts the broker and waits until it listens.
    ///
    /// # Panics
    ///
    /// When it does not come up; the message holds its log.
    #[track_caller]
    pub fn start(self) -> Broker {
        match self.try_start() {
            Ok(broker) => broker,
            Err(reason) => panic!("{reason}"),
        }
    }

    /// Starts the broker, or says why it does not come up.
    ///
    /// # Errors
    ///
    /// A text for people, with the broker's log.
    pub fn try_start(self) -> Result<Broker, String> {
        Broker::launch(self)
    }

    /// Starts a cluster of three such brokers, named `<name>-1` to `<name>-3`.
    ///
    /// # Panics
    ///
    /// When it does not come up; the message holds the logs.
    #[track_caller]
    pub fn start_cluster(self) -> Cluster {
        match Cluster::launch(&self) {
            Ok(cluster) => cluster,
            Err(reason) => panic!("{reason}"),
        }
    }

    /// The text of the configuration file.
    pub(super) fn text(&self, dir: &Path, ports: Ports) -> String {
        let mut text = String::new();
        let quoted = |path: &Path| format!("{:?}", path.display().to_string());
        let mut line = |args: std::fmt::Arguments<'_>| {
            text.write_fmt(args)
                .expect("writing to a string cannot fail");
            text.push('\n');
        };
        line(format_args!("server_name: {:?}", self.name));
        line(format_args!("listen: {}", listen(ports.client)));
        line(format_args!("http: {}", listen(ports.monitoring)));
        line(format_args!("ports_file_dir: {}", quoted(dir)));
        line(format_args!("debug: {}", self.debug));
        line(format_args!("logtime: true"));
        line(format_args!(
            "proxies {{ trusted: [ {{ key: {NOBODY} }} ] }}"
        ));
        if let Some(bytes) = self.max_control_line {
            line(format_args!("max_control_line: {bytes}"));
        }
        let tls = self.tls.as_ref().map_or_else(String::new, |files| {
            format!(
                "tls {{ cert_file: {}, key_file: {}, timeout: 10 }}",
                quoted(&files.cert),
                quoted(&files.key)
            )
        });
        line(format_args!("{tls}"));
        if self.jetstream {
            let store = quoted(&dir.join("store"));
            // Without limits the broker takes its share of what is free, and does not start when accounts set more aside.
            line(format_args!(
                "jetstream {{ store_dir: {store}, max_file_store: 64GB, max_memory_store: 4GB }}"
            ));
        }
        if self.websocket {
            let security = if tls.is_empty() { "no_tls: true" } else { &tls };
            let listen = listen(ports.websocket);
            line(format_args!(
                "websocket {{ listen: {listen}\n {security} }}"
            ));
        }
        if let Some(member) = &self.cluster {
            let routes: Vec<String> = member
                .others
                .iter()
                .map(|port| format!("\"nats-route://127.0.0.1:{port}\""))
                .collect();
            line(format_args!(
                "cluster {{ name: testkit, listen: {}, routes: [ {} ] }}",
                listen(member.own),
                routes.join(", ")
            ));
        }
        text.push_str(&self.extra);
        text
    }
}

fn listen(port: u16) -> String {
    format!("\"127.0.0.1:{port}\"")
}
