//! As much of NATS's client protocol as an emulated node needs, with little memory a connection.

use std::fmt;
use std::io::{Error, ErrorKind, Result};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use overlay_tokens::Key;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::tls;

/// An emptied buffer that grew beyond this is given back.
const KEPT_BYTES: usize = 16 * 1024;
const READ_BYTES: usize = 2 * 1024;
/// What one frame may hold; brokers of tests allow 1 MiB.
const MAX_FRAME_BYTES: usize = 9 * 1024 * 1024;
/// Connections from one source address: it has some 28,000 ports, and those of closed connections rest for a minute.
const PER_ADDRESS: usize = 10_000;

/// Where the broker is and how it is reached.
#[derive(Clone)]
pub(super) struct Door {
    port: u16,
    tls: Option<TlsConnector>,
}

/// What a connection shows at login.
#[derive(Clone, Debug, Default)]
pub(super) struct Credentials {
    pub(super) name: String,
    pub(super) token: Option<Arc<str>>,
    pub(super) user: Option<(String, String)>,
    /// The key that signs the broker's nonce; without one nothing is signed.
    pub(super) key: Option<Key>,
}

/// One thing that the broker said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    Message {
        sid: usize,
        subject: String,
        payload: Vec<u8>,
    },
    Ping,
    Pong,
    Error(String),
    /// `INFO` and `+OK`.
    Other,
}

/// A connection that the broker let in.
pub(super) struct Link {
    stream: Stream,
    read: Vec<u8>,
    write: Vec<u8>,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Door {
    pub(super) fn new(port: u16, with_tls: bool) -> Self {
        Self {
            port,
            tls: with_tls.then(tls::unverified),
        }
    }

    /// Logs in as the `index`-th connection of many.
    ///
    /// A refusal is an error of kind [`ErrorKind::PermissionDenied`] with the broker's words.
    pub(super) async fn enter(&self, index: usize, credentials: &Credentials) -> Result<Link> {
        let mut plain = self.dial(index).await?;
        let info = read_info(&mut plain).await?;
        let stream = match &self.tls {
            Some(connector) => {
                let secured = connector.connect(tls::name(), plain).await?;
                Stream::Tls(Box::new(secured))
            }
            None => Stream::Plain(plain),
        };
        let mut link = Link {
            stream,
            read: Vec::new(),
            write: Vec::new(),
        };
        let connect = credentials.connect(&info, self.tls.is_some())?;
        link.write
            .extend_from_slice(format!("CONNECT {connect}\r\nPING\r\n").as_bytes());
        link.flush().await?;
        loop {
            match link.next().await? {
                Frame::Pong => return Ok(link),
                Frame::Error(words) => return Err(Error::new(ErrorKind::PermissionDenied, words)),
                Frame::Message { .. } | Frame::Ping | Frame::Other => {}
            }
        }
    }

    async fn dial(&self, index: usize) -> Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        if let Ok(beyond @ 1..) = u8::try_from(index / PER_ADDRESS) {
            socket.bind(SocketAddr::from((
                Ipv4Addr::new(127, 0, 0, 1_u8.saturating_add(beyond)),
                0,
            )))?;
        }
        let broker = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let stream = socket.connect(broker).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

impl Credentials {
    fn connect(&self, info: &Value, tls: bool) -> Result<Value> {
        let mut connect = json!({
            "verbose": false, "pedantic": false, "tls_required": tls, "name": self.name, "lang": "go",
            "version": "1.48.0", "protocol": 1, "echo": true, "headers": true, "no_responders": true,
        });
        if let Some(token) = &self.token {
            connect["auth_token"] = json!(**token);
        }
        if let Some((user, password)) = &self.user {
            connect["user"] = json!(user);
            connect["pass"] = json!(password);
        }
        if let (Some(key), Some(token)) = (&self.key, &self.token) {
            let nonce = info["nonce"].as_str().unwrap_or_default();
            let signature = overlay_tokens::sign_nonce(key, nonce).map_err(Error::other)?;
            connect["jwt"] = json!(**token);
            connect["sig"] = json!(signature);
        }
        Ok(connect)
    }
}

impl Link {
    /// Waits for the next frame; safe to be dropped while waiting.
    pub(super) async fn next(&mut self) -> Result<Frame> {
        loop {
            if let Some((frame, taken)) = parse(&self.read)? {
                self.read.drain(..taken);
                if self.read.is_empty() && self.read.capacity() > KEPT_BYTES {
                    self.read = Vec::new();
                }
                return Ok(frame);
            }
            self.read.reserve(READ_BYTES);
            let count = match &mut self.stream {
                Stream::Plain(stream) => stream.read_buf(&mut self.read).await?,
                Stream::Tls(stream) => stream.read_buf(&mut self.read).await?,
            };
            if count == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Tells whether a whole frame has been received and not been taken.
    pub(super) fn has_more(&self) -> bool {
        parse(&self.read).is_ok_and(|parsed| parsed.is_some())
    }

    pub(super) fn subscribe(&mut self, subject: &str, sid: usize) {
        self.write
            .extend_from_slice(format!("SUB {subject} {sid}\r\n").as_bytes());
    }

    pub(super) fn unsubscribe(&mut self, sid: usize) {
        self.write
            .extend_from_slice(format!("UNSUB {sid}\r\n").as_bytes());
    }

    pub(super) fn publish(&mut self, subject: &str, payload: &[u8]) {
        self.write
            .extend_from_slice(format!("PUB {subject} {}\r\n", payload.len()).as_bytes());
        self.write.extend_from_slice(payload);
        self.write.extend_from_slice(b"\r\n");
    }

    pub(super) fn ping(&mut self) {
        self.write.extend_from_slice(b"PING\r\n");
    }

    pub(super) fn pong(&mut self) {
        self.write.extend_from_slice(b"PONG\r\n");
    }

    /// Sends what was written so far.
    pub(super) async fn flush(&mut self) -> Result<()> {
        if self.write.is_empty() {
            return Ok(());
        }
        let sent = match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(&self.write).await,
            Stream::Tls(stream) => match stream.write_all(&self.write).await {
                Ok(()) => stream.flush().await,
                Err(error) => Err(error),
            },
        };
        self.write.clear();
        if self.write.capacity() > KEPT_BYTES {
            self.write = Vec::new();
        }
        sent
    }
}

/// Reads the broker's first line and no byte more: TLS begins right after it.
async fn read_info(stream: &mut TcpStream) -> Result<Value> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.push(stream.read_u8().await?);
        if line.len() > KEPT_BYTES {
            return Err(Error::other("the broker's first line has no end"));
        }
    }
    let text = line.strip_prefix(b"INFO ").unwrap_or_default();
    serde_json::from_slice(text).map_err(Error::other)
}

/// The first frame of some bytes and its length, or nothing if it is not whole yet.
fn parse(bytes: &[u8]) -> Result<Option<(Frame, usize)>> {
    let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") else {
        return too_large(bytes.len()).map(|()| None);
    };
    let line = String::from_utf8_lossy(bytes.get(..end).unwrap_or_default());
    let mut words = line.split_ascii_whitespace();
    let operation = words.next().unwrap_or_default();
    let body = end + 2;
    let frame = match operation {
        "PING" => Frame::Ping,
        "PONG" => Frame::Pong,
        "-ERR" => {
            let words = line.strip_prefix("-ERR").unwrap_or_default();
            Frame::Error(words.trim().trim_matches('\'').to_owned())
        }
        "MSG" | "HMSG" => {
            let words: Vec<&str> = words.collect();
            let number = |word: Option<&&str>| -> Result<usize> {
                word.and_then(|word| word.parse().ok())
                    .ok_or_else(|| Error::other(format!("not understood: {line}")))
            };
            let size = number(words.last())?;
            too_large(size)?;
            let headers = match operation {
                "HMSG" => number(words.iter().rev().nth(1))?.min(size),
                _ => 0,
            };
            let Some(content) = bytes.get(body..body + size + 2) else {
                return Ok(None);
            };
            let payload = content.get(headers..size).unwrap_or_default().to_vec();
            let frame = Frame::Message {
                sid: number(words.get(1))?,
                subject: words.first().copied().unwrap_or_default().to_owned(),
                payload,
            };
            return Ok(Some((frame, body + size + 2)));
        }
        _ => Frame::Other,
    };
    Ok(Some((frame, body)))
}

fn too_large(size: usize) -> Result<()> {
    if size > MAX_FRAME_BYTES {
        return Err(Error::other(format!("a frame of {size} bytes")));
    }
    Ok(())
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door")
            .field("port", &self.port)
            .field("tls", &self.tls.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_one_by_one_and_only_when_whole() {
        let bytes = b"MSG a.b 7 reply.x 3\r\nabc\r\nHMSG a 2 12 15\r\nNATS/1.0\r\n\r\nxyz\r\nPING\r\n-ERR 'No, thanks'\r\n";
        let mut rest: &[u8] = bytes;
        let mut frames = Vec::new();
        while let Some((frame, taken)) = parse(rest).unwrap() {
            frames.push(frame);
            rest = &rest[taken..];
        }
        let message = |sid, subject: &str, payload: &[u8]| Frame::Message {
            sid,
            subject: subject.to_owned(),
            payload: payload.to_vec(),
        };
        let expected = [
            message(7, "a.b", b"abc"),
            message(2, "a", b"xyz"),
            Frame::Ping,
            Frame::Error("No, thanks".to_owned()),
        ];
        assert_eq!(frames, expected);
        for cut in 0..bytes.len() {
            // No part of the stream is taken for something else.
            assert!(parse(&bytes[..cut.min(25)]).unwrap().is_none());
        }
    }
}
