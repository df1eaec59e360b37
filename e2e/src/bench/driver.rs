//! Logs in as a Choria program does: TCP, INFO, TLS, CONNECT with token and signed nonce, PING, PONG; then leaves.
//!
//! Written on the socket rather than with a client library, so that the driver costs less than what it measures.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use overlay_tokens::Key;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

/// Clients of the original give up after this.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who logs in.
#[derive(Debug)]
pub(crate) struct Holder {
    pub(crate) token: String,
    pub(crate) key: Key,
}

/// What a run of logins saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Milliseconds of each login that was let in, sorted.
    pub(crate) took_ms: Vec<f64>,
    pub(crate) refused: usize,
    pub(crate) last_error: Option<String>,
    pub(crate) wall: Duration,
}

/// The broker and how to reach it.
#[derive(Clone)]
pub(crate) struct Door {
    port: u16,
    connector: TlsConnector,
}

impl Door {
    /// A broker on the loopback whose certificate the CA in `ca_pem` signed for `localhost`.
    pub(crate) fn new(port: u16, ca: rustls::RootCertStore) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map(|builder| builder.with_root_certificates(ca).with_no_client_auth());
        let mut config = match config {
            Ok(config) => config,
            Err(error) => unreachable!("ring offers the default protocol versions: {error}"),
        };
        // Each login stands for a machine of its own, which has no session to resume.
        config.resumption = rustls::client::Resumption::disabled();
        Self {
            port,
            connector: TlsConnector::from(Arc::new(config)),
        }
    }

    /// One login; the connection is closed when the broker has answered.
    async fn enter(&self, holder: &Holder) -> Result<()> {
        let stream = TcpStream::connect(("127.0.0.1", self.port))
            .await
            .context("connect")?;
        stream.set_nodelay(true).context("set nodelay")?;
        let mut reader = BufReader::with_capacity(4096, stream);
        let mut line = String::new();
        reader.read_line(&mut line).await.context("read INFO")?;
        let info: serde_json::Value =
            serde_json::from_str(line.trim_start_matches("INFO ").trim_end())
                .context("parse INFO")?;
        let signature =
            overlay_tokens::sign_nonce(&holder.key, info["nonce"].as_str().unwrap_or_default())?;
        let name = ServerName::try_from("localhost").context("name the server")?;
        let mut tls = self
            .connector
            .connect(name, reader.into_inner())
            .await
            .context("TLS handshake")?;
        let connect = serde_json::json!({
            "verbose": false, "pedantic": false, "jwt": holder.token, "sig": signature,
            "auth_token": holder.token, "tls_required": true, "name": "bench", "lang": "rust", "version": "1",
            "protocol": 1, "echo": true, "headers": true, "no_responders": true,
        });
        tls.write_all(format!("CONNECT {connect}\r\nPING\r\n").as_bytes())
            .await
            .context("send CONNECT")?;
        tls.flush().await.context("send CONNECT")?;
        let mut answer = [0_u8; 512];
        let count = tls.read(&mut answer).await.context("read the answer")?;
        let text = String::from_utf8_lossy(answer.get(..count).unwrap_or_default()).into_owned();
        if !text.contains("PONG") {
            bail!("the broker answered {:?}", text.trim());
        }
        Ok(())
    }

    /// `count` logins, `at_once` at a time, the holders taken in turn.
    pub(crate) async fn storm(
        &self,
        holders: Arc<Vec<Holder>>,
        count: usize,
        at_once: usize,
    ) -> Result<Seen> {
        let next = Arc::new(AtomicUsize::new(0));
        let start = Instant::now();
        let mut workers = JoinSet::new();
        for _ in 0..at_once {
            let (door, holders, next) = (self.clone(), Arc::clone(&holders), Arc::clone(&next));
            workers.spawn(async move {
                let mut seen = Seen::default();
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count {
                        return seen;
                    }
                    let Some(holder) = holders.get(index % holders.len().max(1)) else {
                        return seen;
                    };
                    let begin = Instant::now();
                    let error = match tokio::time::timeout(PATIENCE, door.enter(holder)).await {
                        Ok(Ok(())) => {
                            seen.took_ms.push(begin.elapsed().as_secs_f64() * 1000.0);
                            continue;
                        }
                        Ok(Err(error)) => format!("{error:#}"),
                        Err(_) => "no answer in time".to_owned(),
                    };
                    seen.refused += 1;
                    seen.last_error = Some(error);
                }
            });
        }
        let mut all = Seen::default();
        while let Some(worker) = workers.join_next().await {
            let seen = worker.context("a worker of the driver ended")?;
            all.took_ms.extend(seen.took_ms);
            all.refused += seen.refused;
            all.last_error = seen.last_error.or(all.last_error);
        }
        all.wall = start.elapsed();
        all.took_ms.sort_by(f64::total_cmp);
        Ok(all)
    }
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door")
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}
