//! Which certificates of directories and providers are believed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::{ClientConfig, RootCertStore};

/// Why no certificate can be checked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrustError {
    /// The authorities cannot be read.
    #[error("authorities in {}", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// The authorities' file holds no certificate that can be used.
    #[error("no usable certificate in {}", .0.display())]
    NoAuthority(PathBuf),
    /// The system has no authorities.
    #[error("the system has no certificate authorities; name some by ca_file")]
    System,
    /// TLS cannot be set up.
    #[error("TLS")]
    Tls(#[from] rustls::Error),
}

/// TLS towards servers whose certificates are signed by the authorities of the file, or by the system's.
pub(crate) fn tls(ca_file: Option<&Path>) -> Result<ClientConfig, TrustError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(ca_file)?)
        .with_no_client_auth())
}

/// The authorities of the file, or the system's.
fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, TrustError> {
    let mut roots = RootCertStore::empty();
    let Some(path) = ca_file else {
        let found = rustls_native_certs::load_native_certs();
        let (added, _ignored) = roots.add_parsable_certificates(found.certs);
        return if added == 0 {
            Err(TrustError::System)
        } else {
            Ok(roots)
        };
    };
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|source| TrustError::Authorities {
            path: path.to_owned(),
            source,
        })?;
    let (added, _ignored) = roots.add_parsable_certificates(certificates);
    if added == 0 {
        return Err(TrustError::NoAuthority(path.to_owned()));
    }
    Ok(roots)
}
