//! `bench node`: what one fleet node costs its host, and how much it can do.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use futures_util::StreamExt;
use overlay_protocol::envelope::v2::{Request, Transport};
use overlay_protocol::id::Ksuid;
use overlay_tokens::claims::ClientPermissions;
use overlay_tokens::issue::ClientToken;
use overlay_tokens::{Key, file};
use tokio::time::Instant;

use super::cell::{Cell, Variant, programs};
use super::process::{Running, cpu_seconds, resident_mib};
use super::report::{Report, say};
use super::sign::POLICY;

/// Flags of `bench node`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Requests to answer
    #[arg(short = 'n', long, default_value_t = 10_000)]
    requests: usize,
    /// Requests under way at once
    #[arg(short = 'c', long, default_value_t = 16)]
    at_once: usize,
    /// Seconds of idleness to measure
    #[arg(long, default_value_t = 60)]
    idle: u64,
    /// Policies in Rego that tokens of the callers bring, for the node to judge by; 0: it asks no policy
    #[arg(long, default_value_t = 0)]
    policies: usize,
}

/// Measures.
///
/// # Errors
///
/// When the cell can't be started, or when a request stays unanswered.
pub(crate) fn run(options: &Options) -> Result<Report> {
    let cell = Cell::start(&Variant {
        sealed: true,
        gogc: None,
        responders: 1,
    })?;
    let directory = cell.node()?;
    let mut command = Command::new(programs()?.join("overlay-server"));
    command.arg("--config").arg(directory.join("server.toml"));
    if options.policies > 0 {
        command.env("OVERLAY_SERVER__AUTHORIZATION__MODE", "caller_token");
    }
    let node = Running::start(&mut command, &cell.directory.join("node.log"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let identity = directory
        .file_name()
        .context("a node has a name")?
        .to_string_lossy()
        .into_owned();
    let mut report = Report::new("node");
    runtime.block_on(measure(&cell, &node, &identity, options, &mut report))?;
    Ok(report)
}

async fn measure(
    cell: &Cell,
    node: &Running,
    identity: &str,
    options: &Options,
    report: &mut Report,
) -> Result<()> {
    let caller = Caller::connect(cell, identity, options.policies).await?;
    caller
        .ask_until_answered(Duration::from_secs(20))
        .await
        .context("wait for the node")?;
    if options.policies > 1 {
        // Each is read and compiled once.
        caller.ask_many(options.policies, 1).await?;
    }

    say(&format!("idle for {} s", options.idle));
    let before = cpu_seconds(node.pid())?;
    tokio::time::sleep(Duration::from_secs(options.idle)).await;
    let idle = (cpu_seconds(node.pid())? - before) * 60.0 / options.idle.max(1) as f64;
    report.figure("resident memory, idle", resident_mib(node.pid())?, "MiB");
    report.figure("processor time, idle, per minute", idle, "CPU s");

    let before = cpu_seconds(node.pid())?;
    let start = Instant::now();
    caller.ask_many(options.requests, options.at_once).await?;
    let wall = start.elapsed().as_secs_f64();
    let spent = cpu_seconds(node.pid())? - before;
    report.figure("requests a second", options.requests as f64 / wall, "1/s");
    report.figure(
        "processor time per 1,000 requests",
        spent * 1000.0 / options.requests as f64,
        "CPU s",
    );
    report.figure(
        "resident memory, after the requests",
        resident_mib(node.pid())?,
        "MiB",
    );
    Ok(())
}

/// An operator who signs requests for one node.
struct Caller {
    client: async_nats::Client,
    key: Arc<Key>,
    /// For requests, in turns.
    tokens: Vec<String>,
    callerid: String,
    subject: String,
    inbox: String,
}

impl Caller {
    async fn connect(cell: &Cell, identity: &str, policies: usize) -> Result<Self> {
        let operator = cell.directory.join("operator");
        let key = Arc::new(
            file::read_seed(&operator.join("client.seed")).context("read the operator's seed")?,
        );
        let token =
            file::read_token(&operator.join("client.jwt")).context("read the operator's token")?;
        let claims =
            overlay_tokens::Unverified::<overlay_tokens::claims::ClientClaims>::decode(&token)
                .context("read the operator's token")?;
        let callerid = claims.claims_unverified().callerid.clone();
        let uid = overlay_protocol::id::md5_hex(&callerid);
        let (signer, shown) = (Arc::clone(&key), token.clone());
        let client = async_nats::ConnectOptions::with_auth_callback(move |nonce| {
            let (signer, shown) = (Arc::clone(&signer), shown.clone());
            async move {
                let mut auth = async_nats::Auth::new();
                auth.token = Some(shown);
                auth.signature = Some(
                    overlay_tokens::Nonce::offered(&nonce)
                        .map_err(async_nats::AuthError::new)?
                        .sign(&signer)
                        .to_vec(),
                );
                Ok(auth)
            }
        })
        .add_root_certificates(cell.directory.join("tls/ca.pem"))
        .require_tls(true)
        .connect(format!("nats://localhost:{}", cell.port))
        .await
        .context("log the operator in")?;
        let subject = format!("choria.node.{identity}");
        let tokens = match policies {
            0 => vec![token],
            count => with_policies(cell, &callerid, &key, count)?,
        };
        Ok(Self {
            client,
            key,
            tokens,
            callerid,
            subject,
            inbox: format!("choria.reply.{uid}"),
        })
    }

    /// One signed `rpcutil#ping`, as it goes over the wire.
    fn message(&self, number: usize) -> Result<Vec<u8>> {
        let now = now();
        let nanoseconds = i64::try_from(now.as_nanos()).context("read the clock")?;
        let mut random = [0_u8; 16];
        random[..8].copy_from_slice(&u64::try_from(number)?.to_be_bytes());
        let id = Ksuid::from_parts(now.as_secs(), random)
            .context("make a request id")?
            .to_string();
        let request = Request {
            message: br#"{"agent":"rpcutil","action":"ping","data":{}}"#.to_vec(),
            id: id.clone(),
            sender: "bench".to_owned(),
            caller: self.callerid.clone(),
            collective: "choria".to_owned(),
            agent: "rpcutil".to_owned(),
            ttl: Duration::from_secs(60),
            time_ns: nanoseconds,
            filter: None,
        };
        let token = self.tokens.get(number % self.tokens.len().max(1));
        let token = token.context("there is a token")?;
        let secure = overlay_tokens::request::sign_request(request.encode(), &self.key, token);
        let mut transport = Transport::new(secure.encode());
        transport.reply = Some(format!("{}.{id}", self.inbox));
        transport.sender = Some("bench".to_owned());
        Ok(transport.encode())
    }

    async fn ask_until_answered(&self, limit: Duration) -> Result<()> {
        let end = Instant::now() + limit;
        while Instant::now() < end {
            let mut replies = self
                .client
                .subscribe(format!("{}.>", self.inbox))
                .await
                .context("subscribe")?;
            self.client
                .publish(self.subject.clone(), self.message(0)?.into())
                .await
                .context("publish")?;
            self.client.flush().await.context("flush")?;
            if tokio::time::timeout(Duration::from_millis(500), replies.next())
                .await
                .is_ok_and(|reply| reply.is_some())
            {
                return Ok(());
            }
        }
        bail!("no answer within {limit:?}")
    }

    async fn ask_many(&self, count: usize, at_once: usize) -> Result<()> {
        let mut replies = self
            .client
            .subscribe(format!("{}.>", self.inbox))
            .await
            .context("subscribe")?;
        self.client.flush().await.context("flush")?;
        let (mut sent, mut answered) = (0, 0);
        while answered < count {
            while sent < count && sent - answered < at_once {
                sent += 1;
                self.client
                    .publish(self.subject.clone(), self.message(sent)?.into())
                    .await
                    .context("publish")?;
            }
            let reply = tokio::time::timeout(Duration::from_secs(10), replies.next()).await;
            if !matches!(reply, Ok(Some(_))) {
                bail!("{answered} of {count} requests were answered, then none for 10 s");
            }
            answered += 1;
        }
        Ok(())
    }
}

/// Tokens of the operator, each with another policy of 18 lines that allows.
fn with_policies(cell: &Cell, callerid: &str, key: &Key, count: usize) -> Result<Vec<String>> {
    let organisation = cell.organisation()?;
    let token = |number| ClientToken {
        public_key: Some(key.public()),
        opa_policy: Some(format!("# {number}\n{POLICY}")),
        user_properties: [("group".to_owned(), "admins".to_owned())].into(),
        permissions: Some(ClientPermissions {
            fleet_management: true,
            ..ClientPermissions::default()
        }),
        ..ClientToken::new(callerid)
    };
    let issue = |number| organisation.client(token(number)).token;
    Ok((0..count).map(issue).collect())
}

#[expect(
    clippy::disallowed_methods,
    reason = "requests carry the time at which they are made"
)]
fn now() -> Duration {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default()
}
