//! TLS without an authority known beforehand: towards any broker, when the configuration says so, or towards a broker
//! whose authority a provisioning token pins.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use sha2::{Digest as _, Sha256};

/// Why TLS could not be set up.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsError {
    /// A certificate or key could not be read.
    #[error("could not read {}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: pem::Error,
    },
    /// Certificate and key do not fit, or no protocol version is left.
    #[error(transparent)]
    Rustls(#[from] Error),
}

/// Why a broker is not the one that was pinned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum PinError {
    #[error(
        "none of the {shown} certificates that the broker shows is one that the provisioning token \
         pins: it may be another broker, or it does not send its authority's certificate"
    )]
    Unknown { shown: usize },
}

/// A configuration that takes any broker certificate.
pub(super) fn unverified(
    certificate: Option<&(PathBuf, PathBuf)>,
) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Arc::new(AnyCertificate(Arc::clone(&provider)));
    config(provider, verifier, certificate)
}

/// A configuration that takes brokers of authorities whose certificates have these SHA-256 sums.
pub(super) fn pinned(
    sums: &[[u8; 32]],
    certificate: Option<&(PathBuf, PathBuf)>,
) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Arc::new(PinnedAuthority {
        provider: Arc::clone(&provider),
        sums: sums.to_vec(),
    });
    config(provider, verifier, certificate)
}

fn config(
    provider: Arc<CryptoProvider>,
    verifier: Arc<dyn ServerCertVerifier>,
    certificate: Option<&(PathBuf, PathBuf)>,
) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let Some((certificate, key)) = certificate else {
        return Ok(builder.with_no_client_auth());
    };
    let failed = |path: &PathBuf| {
        let path = path.clone();
        move |source| TlsError::Pem { path, source }
    };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(failed(certificate))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(failed(key))?;
    Ok(builder.with_client_auth_cert(chain, key)?)
}

/// Takes any certificate; that its holder has the key is still checked.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

/// Takes a certificate that leads to one of the pinned ones, is in force and carries the broker's name.
#[derive(Debug)]
struct PinnedAuthority {
    provider: Arc<CryptoProvider>,
    sums: Vec<[u8; 32]>,
}

impl PinnedAuthority {
    fn is_pinned(&self, certificate: &CertificateDer<'_>) -> bool {
        let sum: [u8; 32] = Sha256::digest(certificate).into();
        self.sums.contains(&sum)
    }
}

impl ServerCertVerifier for PinnedAuthority {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let mut roots = RootCertStore::empty();
        for certificate in intermediates
            .iter()
            .chain([end_entity])
            .filter(|shown| self.is_pinned(shown))
        {
            roots.add(certificate.clone().into_owned())?;
        }
        if roots.is_empty() {
            let shown = intermediates.len().saturating_add(1);
            // As text: other forms of the library's error do not show theirs.
            return Err(Error::General(PinError::Unknown { shown }.to_string()));
        }
        let verifier =
            WebPkiServerVerifier::builder_with_provider(roots.into(), Arc::clone(&self.provider))
                .build()
                .map_err(|error| Error::General(error.to_string()))?;
        verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        AnyCertificate(Arc::clone(&self.provider)).verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        AnyCertificate(Arc::clone(&self.provider)).verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use overlay_testkit::mint::Authority;

    use super::*;

    struct Shown {
        chain: Vec<CertificateDer<'static>>,
        authority: CertificateDer<'static>,
        now: UnixTime,
    }

    fn shown() -> Shown {
        let authority = Authority::new();
        let files = authority.server("broker", &["localhost", "127.0.0.1"]);
        let read = |path| {
            CertificateDer::pem_file_iter(path)
                .unwrap()
                .collect::<Result<Vec<_>, _>>()
                .unwrap()
        };
        let seconds = overlay_testkit::mint::now().secs;
        Shown {
            chain: read(files.cert),
            authority: read(authority.ca_file()).remove(0),
            now: UnixTime::since_unix_epoch(Duration::from_secs(seconds.try_into().unwrap())),
        }
    }

    fn judge(
        sums: &[[u8; 32]],
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &str,
        now: UnixTime,
    ) -> Result<(), String> {
        let verifier = PinnedAuthority {
            provider: Arc::new(ring::default_provider()),
            sums: sums.to_vec(),
        };
        let name = ServerName::try_from(name.to_owned()).unwrap();
        verifier
            .verify_server_cert(leaf, chain, &name, &[], now)
            .map(|_| ())
            .map_err(|error| error.to_string())
    }

    fn sum(certificate: &CertificateDer<'_>) -> [u8; 32] {
        Sha256::digest(certificate).into()
    }

    #[test]
    fn a_pinned_authority_vouches_for_the_brokers_it_signed_by_their_names() {
        let Shown {
            chain,
            authority,
            now,
        } = shown();
        let (leaf, ca) = (&chain[0], [authority.clone()]);
        let pins = [[7; 32], sum(&authority)];
        judge(&pins, leaf, &ca, "localhost", now).unwrap();
        judge(&pins, leaf, &ca, "127.0.0.1", now).unwrap();
        assert!(judge(&pins, leaf, &ca, "other.example.net", now).is_err());
        let early = UnixTime::since_unix_epoch(Duration::ZERO);
        assert!(judge(&pins, leaf, &ca, "localhost", early).is_err());
    }

    #[test]
    fn other_authorities_and_chains_that_only_show_the_pinned_one_are_refused() {
        let Shown {
            chain,
            authority,
            now,
        } = shown();
        let pins = [sum(&authority)];
        // The authority is not shown: there is nothing to hold the pin against.
        let error = judge(&pins, &chain[0], &[], "localhost", now).unwrap_err();
        assert!(error.contains("pins"), "{error}");
        let other = shown();
        let error = judge(
            &pins,
            &other.chain[0],
            std::slice::from_ref(&other.authority),
            "localhost",
            now,
        )
        .unwrap_err();
        assert!(error.contains("pins"), "{error}");
        // The pinned certificate stands in the chain of a leaf that it did not sign.
        assert!(judge(&pins, &other.chain[0], &[authority], "localhost", now).is_err());
    }
}
