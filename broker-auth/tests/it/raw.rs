//! A connection to the broker line by line, so that nothing is hidden: neither what is presented nor what is answered.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use overlay_testkit::mint::Login;
use overlay_tokens::{Key, sign_nonce};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(60);

/// What is presented in CONNECT.
#[derive(Clone, Default)]
pub(crate) struct Connect {
    pub(crate) token: String,
    pub(crate) jwt: String,
    pub(crate) user: String,
    pub(crate) pass: String,
    pub(crate) name: String,
    pub(crate) lang: String,
    pub(crate) key: Option<Key>,
    /// Instead of a signature by `key`.
    pub(crate) sig: Option<String>,
}

/// An open connection.
pub(crate) struct Raw {
    /// What the broker said first.
    pub(crate) info: Value,
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
}

trait Stream: Read + Write + Send {}

impl<S: Read + Write + Send> Stream for S {}

/// Stands for a stream while it is wrapped.
struct Closed;

impl Read for Closed {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Ok(0)
    }
}

impl Write for Closed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Connect {
    pub(crate) fn of(login: &Login) -> Self {
        Self {
            token: login.token.clone(),
            key: Some(login.key.clone()),
            ..Self::named()
        }
    }

    pub(crate) fn token(token: &str) -> Self {
        Self {
            token: token.to_owned(),
            ..Self::named()
        }
    }

    pub(crate) fn named() -> Self {
        Self {
            name: "raw".to_owned(),
            lang: "go".to_owned(),
            ..Self::default()
        }
    }

    pub(crate) fn called(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    pub(crate) fn user(mut self, user: &str, pass: &str) -> Self {
        (self.user, self.pass) = (user.to_owned(), pass.to_owned());
        self
    }

    pub(crate) fn signed_by(mut self, key: &Key) -> Self {
        self.key = Some(key.clone());
        self
    }

    pub(crate) fn sig(mut self, sig: &str) -> Self {
        self.sig = Some(sig.to_owned());
        self
    }
}

impl Raw {
    /// Reads INFO and makes the handshake, as Choria's clients do.
    pub(crate) fn open(port: u16, ca: &Path) -> Self {
        let mut raw = Self::plain(port);
        let roots = {
            let mut roots = RootCertStore::empty();
            roots
                .add(CertificateDer::from_pem_file(ca).unwrap())
                .unwrap();
            roots
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        raw.stream = Box::new(StreamOwned::new(
            connection,
            std::mem::replace(&mut raw.stream, Box::new(Closed)),
        ));
        raw
    }

    /// Reads INFO and stays unencrypted.
    pub(crate) fn plain(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut raw = Self {
            info: Value::Null,
            stream: Box::new(stream),
            buffer: Vec::new(),
        };
        let line = raw.line().unwrap();
        raw.info = serde_json::from_str(line.strip_prefix("INFO ").unwrap()).unwrap();
        raw
    }

    pub(crate) fn nonce(&self) -> &str {
        self.info["nonce"].as_str().unwrap_or_default()
    }

    /// Presents and waits for the broker's word: the connection, or the error that it sent.
    pub(crate) fn login(mut self, connect: &Connect) -> Result<Self, String> {
        self.send(&format!(
            "CONNECT {}\r\nPING\r\n",
            self.connect_json(connect)
        ));
        loop {
            match self.line() {
                Ok(line) if line == "PONG" => return Ok(self),
                Ok(line) if line.starts_with("-ERR") => return Err(line),
                Ok(_) => {}
                Err(error) => return Err(format!("closed: {error}")),
            }
        }
    }

    fn connect_json(&self, connect: &Connect) -> Value {
        let sig = connect.sig.clone().or_else(|| {
            connect
                .key
                .as_ref()
                .map(|key| sign_nonce(key, self.nonce()).unwrap())
        });
        let mut json = json!({
            "verbose": false, "pedantic": false, "tls_required": true, "name": connect.name, "lang": connect.lang,
            "version": "1.52.0", "protocol": 1, "echo": true, "headers": true, "no_responders": true,
        });
        for (member, text) in [
            ("auth_token", connect.token.clone()),
            ("jwt", connect.jwt.clone()),
            ("user", connect.user.clone()),
            ("pass", connect.pass.clone()),
            ("sig", sig.unwrap_or_default()),
        ] {
            if !text.is_empty() {
                json[member] = text.into();
            }
        }
        json
    }

    pub(crate) fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
        self.stream.flush().unwrap();
    }

    /// Whether `subject` may be published.
    pub(crate) fn may_publish(&mut self, subject: &str) -> bool {
        self.send(&format!("PUB {subject} 0\r\n\r\n"));
        self.told()
            .iter()
            .all(|line| !line.contains("Permissions Violation for Publish"))
    }

    /// Whether `subject` may be subscribed to.
    pub(crate) fn may_subscribe(&mut self, subject: &str) -> bool {
        self.send(&format!("SUB {subject} 1\r\n"));
        let told = self.told();
        self.send("UNSUB 1\r\n");
        told.iter()
            .all(|line| !line.contains("Permissions Violation for Subscription"))
    }

    /// Sends a request with the reply subject `inbox`, which must be allowed, and returns the answer's payload.
    pub(crate) fn request(&mut self, subject: &str, inbox: &str, payload: &str) -> String {
        self.send(&format!(
            "SUB {inbox} 9\r\nPUB {subject} {inbox} {}\r\n{payload}\r\n",
            payload.len()
        ));
        loop {
            let line = self.line().unwrap();
            if line.starts_with("MSG ") || line.starts_with("HMSG ") {
                let answer = self.line().unwrap();
                self.send("UNSUB 9\r\n");
                return answer;
            }
            assert!(!line.starts_with("-ERR"), "{line}");
        }
    }

    /// Publishes; the broker's errors come with the next lines.
    pub(crate) fn publish(&mut self, subject: &str, reply: &str, payload: &str) {
        self.send(&format!(
            "PUB {subject} {reply} {}\r\n{payload}\r\n",
            payload.len()
        ));
    }

    /// Waits for the next message: its subject, its reply subject and its payload.
    pub(crate) fn message(&mut self) -> (String, String, String) {
        loop {
            let line = self.line().unwrap();
            assert!(!line.starts_with("-ERR"), "{line}");
            let Some(head) = line.strip_prefix("MSG ").or(line.strip_prefix("HMSG ")) else {
                continue;
            };
            let parts: Vec<_> = head.split(' ').collect();
            // Subject and subscription, perhaps a reply subject, one or two lengths.
            let lengths = if line.starts_with("HMSG") { 2 } else { 1 };
            let reply = if parts.len() > 2 + lengths {
                parts[2]
            } else {
                ""
            };
            let (subject, reply) = (parts[0].to_owned(), reply.to_owned());
            // Headers end with an empty line.
            while lengths == 2 && !self.line().unwrap().is_empty() {}
            return (subject, reply, self.line().unwrap());
        }
    }

    /// All lines until the broker answers a ping.
    pub(crate) fn told(&mut self) -> Vec<String> {
        self.send("PING\r\n");
        let mut told = Vec::new();
        loop {
            match self.line() {
                Ok(line) if line == "PONG" => return told,
                // The broker repeats itself after a login.
                Ok(line) if line.starts_with("INFO ") => {}
                Ok(line) => told.push(line),
                Err(error) => panic!("closed while waiting for a pong: {error}, after {told:?}"),
            }
        }
    }

    /// The first line of the next message's content: its payload, or the first of its headers.
    pub(crate) fn reply(&mut self) -> String {
        loop {
            let line = self.line().unwrap();
            if line.starts_with("MSG ") || line.starts_with("HMSG ") {
                return self.line().unwrap();
            }
            assert!(!line.starts_with("-ERR"), "{line}");
        }
    }

    /// Whether the broker says `text` before it answers a ping or closes the connection.
    pub(crate) fn until_told(&mut self, text: &str) -> bool {
        self.send("PING\r\n");
        loop {
            match self.line() {
                Ok(line) if line.to_lowercase().contains(text) => return true,
                Ok(line) if line == "PONG" => return false,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
    }

    /// All lines until the broker closes the connection.
    pub(crate) fn until_closed(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        loop {
            match self.line() {
                Ok(line) if line == "PING" => self.send("PONG\r\n"),
                Ok(line) => told.push(line),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    panic!("not closed within {LIMIT:?}: {told:?}")
                }
                Err(_) => return told,
            }
        }
    }

    fn line(&mut self) -> std::io::Result<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..end + 2).take(end).collect();
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            let mut bytes = [0; 8192];
            match self.stream.read(&mut bytes)? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                read => self.buffer.extend_from_slice(&bytes[..read]),
            }
        }
    }
}
