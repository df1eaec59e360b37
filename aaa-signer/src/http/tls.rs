//! Certificate, key and clients' authorities: read whole, and read again when they change.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use overlay_runtime::{SecretError, Secrets, err_chain};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest as _, Sha256};

use crate::config::TlsFiles;

use super::metrics::{Metrics, Reload};

/// No certificate file is larger: more is a wrong file.
const MAX_BYTES: u64 = 1024 * 1024;

/// Why the files make no TLS.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// A file cannot be read.
    #[error("read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The key's file cannot be read, or others may read it.
    #[error("read the key")]
    Key(#[source] SecretError),
    /// A file is not PEM, or has nothing of what it should have.
    #[error("{} holds no {what} in PEM", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
    /// The certificate and the key do not go together, or are of a kind that is not supported.
    #[error("{} and {} make no TLS", certificate.display(), key.display())]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What rustls said.
        source: rustls::Error,
    },
    /// The authorities of clients cannot be used.
    #[error("{} makes no authorities of clients", path.display())]
    ClientAuthorities {
        /// The file.
        path: PathBuf,
        /// What rustls said.
        reason: String,
    },
}

/// TLS as the files last made it.
#[derive(Debug)]
pub(super) struct Tls {
    files: TlsFiles,
    secrets: Secrets,
    metrics: Metrics,
    current: RwLock<Arc<ServerConfig>>,
    first: Seen,
}

/// What a look at the files saw, by the digest of their content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen(Option<[u8; 32]>);

impl Tls {
    /// Reads the files.
    pub(super) fn load(
        files: TlsFiles,
        secrets: &Secrets,
        metrics: Metrics,
    ) -> Result<Self, TlsError> {
        let material = Material::read(&files, secrets)?;
        let current = material.make(&files)?;
        metrics.certificate_expires(material.expires());
        Ok(Self {
            files,
            secrets: secrets.clone(),
            metrics,
            current: RwLock::new(Arc::new(current)),
            first: Seen(Some(material.digest())),
        })
    }

    /// TLS of a connection that begins now.
    pub(super) fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// How often [`Self::look`] is due.
    pub(super) fn interval(&self) -> std::time::Duration {
        self.files.reload
    }

    /// What was seen at the start.
    pub(super) fn first(&self) -> Seen {
        self.first
    }

    /// Looks at the files again. What differs from `judged` and is as it was at the `last` look is taken, or refused
    /// and then not judged again: between the two looks nobody was half way through replacing a pair.
    pub(super) fn look(&self, last: Seen, judged: &mut Seen) -> Seen {
        let material = Material::read(&self.files, &self.secrets);
        let seen = Seen(material.as_ref().ok().map(Material::digest));
        if seen != last || seen == *judged {
            return seen;
        }
        *judged = seen;
        let made =
            material.and_then(|material| Ok((material.make(&self.files)?, material.expires())));
        match made {
            Ok((config, expires)) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
                self.metrics.certificate_expires(expires);
                self.metrics.reloaded(Reload::Taken);
                tracing::info!(certificate = %self.files.certificate.display(), "new certificate taken");
            }
            Err(error) => {
                self.metrics.reloaded(Reload::Refused);
                tracing::error!(
                    error = err_chain(&error),
                    "the new certificate cannot be used: the one before stays"
                );
            }
        }
        seen
    }
}

/// What the files hold.
struct Material {
    certificate: Vec<u8>,
    key: overlay_runtime::Secret,
    client_ca: Option<Vec<u8>>,
}

impl Material {
    fn read(files: &TlsFiles, secrets: &Secrets) -> Result<Self, TlsError> {
        Ok(Self {
            certificate: read(&files.certificate)?,
            key: secrets.read(&files.key).map_err(TlsError::Key)?,
            client_ca: files.client_ca.as_deref().map(read).transpose()?,
        })
    }

    fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        let authorities = self.client_ca.as_deref().unwrap_or_default();
        for part in [&self.certificate, self.key.expose(), authorities] {
            digest.update(part.len().to_be_bytes());
            digest.update(part);
        }
        digest.finalize().into()
    }

    /// When the certificate ends, unix seconds.
    fn expires(&self) -> Option<i64> {
        let first = CertificateDer::from_pem_slice(&self.certificate).ok()?;
        let (_, certificate) = x509_parser::parse_x509_certificate(&first).ok()?;
        Some(certificate.validity().not_after.timestamp())
    }

    fn make(&self, files: &TlsFiles) -> Result<ServerConfig, TlsError> {
        let chain = certificates(&self.certificate, &files.certificate)?;
        let key =
            PrivateKeyDer::from_pem_slice(self.key.expose()).map_err(|_| TlsError::Content {
                path: files.key.clone(),
                what: "private key",
            })?;
        let pair = |source| TlsError::Pair {
            certificate: files.certificate.clone(),
            key: files.key.clone(),
            source,
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(pair)?;
        let builder = match (&self.client_ca, &files.client_ca) {
            (Some(pem), Some(path)) => {
                builder.with_client_cert_verifier(client_verifier(pem, path, provider)?)
            }
            _ => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(chain, key).map_err(pair)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn client_verifier(
    pem: &[u8],
    path: &Path,
    provider: Arc<rustls::crypto::CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let failed = |reason: String| TlsError::ClientAuthorities {
        path: path.to_owned(),
        reason,
    };
    let mut roots = RootCertStore::empty();
    for authority in certificates(pem, path)? {
        roots
            .add(authority)
            .map_err(|error| failed(error.to_string()))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| failed(error.to_string()))
}

fn certificates(pem: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let none = || TlsError::Content {
        path: path.to_owned(),
        what: "certificate",
    };
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    all.ok().filter(|all| !all.is_empty()).ok_or_else(none)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    use std::io::Read as _;
    let failed = |source| TlsError::Read {
        path: path.to_owned(),
        source,
    };
    let file = fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    Ok(bytes)
}

/// What is wrong with the files, for the check of a configuration.
pub(super) fn inspect(files: &TlsFiles, secrets: &Secrets) -> Result<(), TlsError> {
    Material::read(files, secrets)?.make(files).map(drop)
}
