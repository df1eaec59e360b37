//! A web service that answers as it is told, one request for each connection.
#![allow(
    clippy::unwrap_used,
    dead_code,
    reason = "helper of tests; not every binary uses all of it"
)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) content_type: String,
    pub(crate) body: Vec<u8>,
}

/// What a service does with a request.
#[derive(Debug, Clone)]
pub(crate) enum Does {
    Answer(u16, String),
    /// Closes the connection without a word.
    HangUp,
    /// Says nothing, as long as the service is there.
    Nothing,
}

/// A service on a port of its own; ends when dropped.
pub(crate) struct Service {
    pub(crate) port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What bytes travel in.
trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

impl Asked {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn text(&self, member: &str) -> String {
        self.json()[member].as_str().unwrap_or_default().to_owned()
    }
}

impl Service {
    /// Starts a service in plain text.
    pub(crate) fn start(act: impl Fn(&Asked) -> Does + Send + 'static) -> Self {
        Self::run(None, act)
    }

    /// Starts a service with TLS.
    pub(crate) fn start_tls(
        config: rustls::ServerConfig,
        act: impl Fn(&Asked) -> Does + Send + 'static,
    ) -> Self {
        Self::run(Some(Arc::new(config)), act)
    }

    fn run(
        tls: Option<Arc<rustls::ServerConfig>>,
        act: impl Fn(&Asked) -> Does + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let ends = Arc::new(AtomicBool::new(false));
        let (log, is_over) = (Arc::clone(&asked), Arc::clone(&ends));
        let thread = std::thread::spawn(move || {
            let mut silent = Vec::new();
            for stream in listener.incoming() {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                let stream = stream.unwrap();
                stream
                    .set_read_timeout(Some(Duration::from_secs(10)))
                    .unwrap();
                let mut stream = wrapped(stream, tls.as_ref());
                // A client that does not trust the certificate says no more.
                let Some(request) = read(&mut *stream) else {
                    continue;
                };
                let does = act(&request);
                log.lock().unwrap().push(request);
                match does {
                    Does::HangUp => {}
                    Does::Nothing => silent.push(stream),
                    Does::Answer(status, body) => {
                        let length = body.len();
                        write!(
                            stream,
                            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                        )
                        .ok();
                        stream.flush().ok();
                    }
                }
            }
        });
        Self {
            port,
            asked,
            ends,
            thread: Some(thread),
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The requests to one page.
    pub(crate) fn asked_for(&self, path: &str) -> Vec<Asked> {
        let mut asked = self.asked();
        asked.retain(|request| request.path == path);
        asked
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        // Wakes the thread up.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

fn wrapped(stream: TcpStream, tls: Option<&Arc<rustls::ServerConfig>>) -> Box<dyn Stream> {
    match tls {
        None => Box::new(stream),
        Some(config) => {
            let connection = rustls::ServerConnection::new(Arc::clone(config)).unwrap();
            Box::new(rustls::StreamOwned::new(connection, stream))
        }
    }
}

/// Reads a request; none when the other end says no more, or no HTTP.
pub(crate) fn read(stream: &mut dyn Read) -> Option<Asked> {
    let mut bytes = Vec::new();
    let head_end = loop {
        let mut chunk = [0; 4096];
        let count = stream.read(&mut chunk).ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&chunk[..count]);
        if let Some(at) = bytes.windows(4).position(|found| found == b"\r\n\r\n") {
            break at + 4;
        }
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).ok()?;
    let header = |name: &str| {
        head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name)
                .then(|| value.trim().to_owned())
        })
    };
    let length: usize = header("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = bytes[head_end..].to_vec();
    while body.len() < length {
        let mut chunk = [0; 4096];
        let count = stream.read(&mut chunk).ok().filter(|count| *count > 0)?;
        body.extend_from_slice(&chunk[..count]);
    }
    let mut first = head.lines().next()?.split(' ').map(str::to_owned);
    Some(Asked {
        method: first.next()?,
        path: first.next()?,
        content_type: header("content-type").unwrap_or_default(),
        body,
    })
}

/// TLS with a certificate and its key.
pub(crate) fn tls(files: &overlay_testkit::TlsFiles) -> rustls::ServerConfig {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let chain = CertificateDer::pem_file_iter(&files.cert)
        .unwrap()
        .collect::<Result<Vec<_>, _>>()
        .unwrap();
    let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap()
}
