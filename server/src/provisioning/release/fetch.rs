//! Downloads over HTTP and HTTPS, bounded in time and size.

use std::fs::OpenOptions;
use std::io::{Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use sha2::{Digest as _, Sha256};
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

const CONNECT: Duration = Duration::from_secs(10);
const WHOLE: Duration = Duration::from_secs(600);

/// The longest description of a release.
const MAX_SMALL: u64 = 64 * 1024;
/// The longest program as it is packed, and unpacked.
const MAX_PACKED: u64 = 256 * 1024 * 1024;
const MAX_PROGRAM: u64 = 1024 * 1024 * 1024;

/// A program that was fetched.
#[derive(Debug)]
pub(super) struct Fetched {
    /// Its SHA-256 sum, in lower-case hexadecimal digits.
    pub(super) sum: String,
}

/// A client that trusts the authorities of the system.
pub(super) fn agent() -> Agent {
    let found = rustls_native_certs::load_native_certs();
    let roots = found
        .certs
        .iter()
        .map(|der| Certificate::from_der(der).to_owned())
        .collect::<Vec<_>>();
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()))
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .build();
    Agent::config_builder()
        .tls_config(tls)
        .timeout_connect(Some(CONNECT))
        .timeout_global(Some(WHOLE))
        .max_redirects(5)
        .build()
        .into()
}

/// A short document.
pub(super) fn small(agent: &Agent, url: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    body(agent, url, MAX_SMALL)?
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    Ok(bytes)
}

/// Unpacks a program into a new file that nobody else may read.
pub(super) fn program(agent: &Agent, url: &str, to: &Path) -> Result<Fetched, String> {
    let text = |error: std::io::Error| error.to_string();
    drop(std::fs::remove_file(to));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)
        .map_err(text)?;
    let packed = body(agent, url, MAX_PACKED)?;
    let mut unpacked = bzip2_rs::DecoderReader::new(packed).take(MAX_PROGRAM + 1);
    let mut digest = Sha256::new();
    let mut length = 0_u64;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let got = unpacked.read(&mut buffer).map_err(text)?;
        if got == 0 {
            break;
        }
        let part = buffer.get(..got).unwrap_or_default();
        digest.update(part);
        file.write_all(part).map_err(text)?;
        length = length.saturating_add(u64::try_from(got).unwrap_or(u64::MAX));
    }
    if length > MAX_PROGRAM {
        return Err(format!("it is longer than {MAX_PROGRAM} bytes"));
    }
    file.sync_all().map_err(text)?;
    let sum = digest
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(Fetched { sum })
}

fn body(agent: &Agent, url: &str, limit: u64) -> Result<impl Read + use<>, String> {
    let response = agent.get(url).call().map_err(|error| error.to_string())?;
    Ok(response
        .into_body()
        .into_with_config()
        .limit(limit)
        .reader())
}
