//! The little HTTP that loopback monitoring needs: one GET, plain, bounded.

use std::time::Duration;

use anyhow::{Context, anyhow};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(5);
/// 20,000 connections are some 15 MB of JSON.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// What a server on loopback answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn json<T: DeserializeOwned>(&self) -> anyhow::Result<T> {
        serde_json::from_slice(&self.body).context("the answer is no JSON of the form expected")
    }
}

/// Asks `127.0.0.1:port` for `path`.
pub(super) async fn get(port: u16, path: &str) -> anyhow::Result<Answer> {
    timeout(LIMIT, exchange(port, path))
        .await
        .map_err(|_elapsed| anyhow!("no answer within {} s", LIMIT.as_secs()))
        .flatten()
        .with_context(|| format!("cannot ask http://127.0.0.1:{port}{path}"))
}

async fn exchange(port: u16, path: &str) -> anyhow::Result<Answer> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    // HTTP/1.0: the end of the body is the end of the connection, no chunks.
    let request = format!("GET {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\nAccept: */*\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_BYTES).read_to_end(&mut answer).await?;
    parse(&answer)
}

fn parse(answer: &[u8]) -> anyhow::Result<Answer> {
    let end = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .ok_or_else(|| anyhow!("the answer is no HTTP"))?;
    let (head, body) = answer.split_at(end);
    let status = str::from_utf8(head)?
        .split_ascii_whitespace()
        .nth(1)
        .and_then(|status| status.parse().ok())
        .ok_or_else(|| anyhow!("the answer has no status"))?;
    Ok(Answer {
        status,
        body: body.get(4..).unwrap_or_default().to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_and_body_are_read() {
        let answer = parse(b"HTTP/1.0 503 Service Unavailable\r\nA: b\r\n\r\n{\"a\":1}").unwrap();
        assert_eq!(answer.status, 503);
        assert_eq!(answer.json::<serde_json::Value>().unwrap()["a"], 1);
    }

    #[test]
    fn what_is_no_http_is_refused() {
        assert!(parse(b"SSH-2.0-x\r\n").is_err());
        assert!(parse(b"HTTP\r\n\r\n").is_err());
    }
}
