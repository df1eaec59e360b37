//! A caller by HTTP, written on the socket so that the driver costs less than what it measures.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail, ensure};
use overlay_protocol::SecretText;
use overlay_protocol::signing::{HttpSignRequest, HttpSignResponse};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::request::Person;
use crate::bench::load::Caller;

/// A stream of either kind.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// How a service is reached.
#[derive(Clone)]
pub(crate) struct Reach {
    pub(crate) address: SocketAddr,
    /// With TLS, unless plain HTTP is asked.
    pub(crate) tls: Option<TlsConnector>,
    /// Whether a connection is used again.
    pub(crate) keep: bool,
}

/// One client.
pub(crate) struct Poster {
    reach: Reach,
    open: Option<Box<dyn Stream>>,
    buffer: Vec<u8>,
}

/// Somebody who has requests signed by HTTP.
pub(crate) struct HttpCaller {
    poster: Poster,
    person: Person,
    caller: usize,
    number: usize,
}

impl Reach {
    async fn connect(&self) -> Result<Box<dyn Stream>> {
        let stream = TcpStream::connect(self.address).await.context("connect")?;
        stream.set_nodelay(true).context("set nodelay")?;
        let Some(tls) = &self.tls else {
            return Ok(Box::new(stream));
        };
        let name = ServerName::try_from("localhost").context("name the server")?;
        let stream = tls.connect(name, stream).await.context("TLS handshake")?;
        Ok(Box::new(stream))
    }
}

impl Poster {
    pub(crate) fn new(reach: Reach) -> Self {
        Self {
            reach,
            open: None,
            buffer: Vec::new(),
        }
    }

    /// Posts JSON, and yields the body of the answer, which must be status 200.
    pub(crate) async fn post(&mut self, path: &str, body: &[u8]) -> Result<&[u8]> {
        let connection = if self.reach.keep {
            "keep-alive"
        } else {
            "close"
        };
        let mut request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: {connection}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        let mut stream = match self.open.take() {
            Some(stream) => stream,
            None => self.reach.connect().await?,
        };
        stream.write_all(&request).await.context("send a request")?;
        stream.flush().await.context("send a request")?;
        self.buffer.clear();
        let head = loop {
            if let Some(found) = head(&self.buffer)? {
                break found;
            }
            if !read_more(&mut stream, &mut self.buffer).await? {
                bail!("the connection ended before the answer");
            }
        };
        let end = match head.body {
            Body::Length(length) => head.bytes + length,
            Body::Pieces | Body::ToTheEnd => usize::MAX,
        };
        while self.buffer.len() < end && read_more(&mut stream, &mut self.buffer).await? {}
        if self.reach.keep && matches!(head.body, Body::Length(_)) {
            self.open = Some(stream);
        }
        let status = self.buffer.get(9..12).unwrap_or_default();
        ensure!(
            status == b"200",
            "status {}",
            String::from_utf8_lossy(status)
        );
        if matches!(head.body, Body::Pieces) {
            let body = joined(self.buffer.get(head.bytes..).unwrap_or_default())?;
            self.buffer.truncate(head.bytes);
            self.buffer.extend_from_slice(&body);
        }
        let body = self.buffer.get(head.bytes..end.min(self.buffer.len()));
        body.context("read the body")
    }
}

/// Whether there was more.
async fn read_more(stream: &mut Box<dyn Stream>, buffer: &mut Vec<u8>) -> Result<bool> {
    Ok(stream.read_buf(buffer).await.context("read an answer")? > 0)
}

/// The head of an answer.
struct Head {
    bytes: usize,
    body: Body,
}

/// Where a body ends.
enum Body {
    Length(usize),
    /// In pieces, each with its length; only on connections that are not used again.
    Pieces,
    ToTheEnd,
}

fn head(bytes: &[u8]) -> Result<Option<Head>> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&bytes[..end]).context("read the head")?;
    let mut body = Body::ToTheEnd;
    for (name, value) in text.lines().filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            body = Body::Length(
                value
                    .trim()
                    .parse()
                    .context("read the length of the body")?,
            );
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            body = Body::Pieces;
        }
    }
    Ok(Some(Head {
        bytes: end + 4,
        body,
    }))
}

/// A body that came in pieces.
fn joined(mut bytes: &[u8]) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = bytes.iter().position(|byte| *byte == b'\n');
        let line = line.context("find the length of a piece")?;
        let length = std::str::from_utf8(&bytes[..line]).context("read the length of a piece")?;
        let length =
            usize::from_str_radix(length.trim(), 16).context("read the length of a piece")?;
        if length == 0 {
            return Ok(body);
        }
        let begin = line + 1;
        body.extend_from_slice(bytes.get(begin..begin + length).context("read a piece")?);
        bytes = bytes.get(begin + length + 2..).context("read a piece")?;
    }
}

impl HttpCaller {
    pub(crate) fn new(reach: Reach, person: Person, caller: usize) -> Self {
        Self {
            poster: Poster::new(reach),
            person,
            caller,
            number: 0,
        }
    }
}

impl Caller for HttpCaller {
    async fn once(&mut self) -> Result<()> {
        self.number += 1;
        let question = self.person.question(self.caller, self.number)?;
        let token = SecretText::from(self.person.token.as_str());
        let body = HttpSignRequest::new(token, &question.request, question.signature);
        let body = serde_json::to_vec(&body).context("write the body")?;
        let answer = self.poster.post("/choria/v1/sign", &body).await?;
        let answer: HttpSignResponse = serde_json::from_slice(answer).context("read the answer")?;
        ensure!(answer.error.is_empty(), "refused: {}", answer.error);
        self.person
            .check(&answer.secure_request_bytes()?, self.number)
    }
}
