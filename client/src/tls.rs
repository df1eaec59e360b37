//! TLS as the configuration demands it.

use std::path::Path;
use std::sync::Arc;

use async_nats::ConnectOptions;
use async_nats::rustls::client::WantsClientCert;
use async_nats::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use async_nats::rustls::crypto::{
    CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature,
};
use async_nats::rustls::pki_types::pem::{self, PemObject};
use async_nats::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use async_nats::rustls::{
    ClientConfig, ConfigBuilder, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use hyper_rustls::ConfigBuilderExt as _;

use crate::config::{Tls, TlsMode, Web};

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate or key file cannot be used.
    #[error("cannot use the certificate or key {}", path.display())]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// Why not.
        source: pem::Error,
    },
    /// A file of authorities holds none that can be used.
    #[error("no usable certificate in {}", .0.display())]
    NoAuthority(std::path::PathBuf),
    /// The system has no authorities.
    #[error("the system's certificates cannot be used")]
    System(#[source] std::io::Error),
    /// The pieces do not go together.
    #[error("the certificate and key cannot be used")]
    Setup(#[from] Error),
}

/// Adds what `tls` demands to the connection's options.
pub(crate) fn apply(options: ConnectOptions, tls: &Tls) -> Result<ConnectOptions, TlsError> {
    let mut options = options.require_tls(tls.mode != TlsMode::Off);
    if tls.mode == TlsMode::Insecure {
        return Ok(options.tls_client_config(unverified(tls)?));
    }
    if let Some(ca) = &tls.ca_file {
        options = options.add_root_certificates(ca.clone());
    }
    if let Some((certificate, key)) = &tls.certificate {
        options = options.add_client_certificate(certificate.clone(), key.clone());
    }
    Ok(options)
}

fn unverified(tls: &Tls) -> Result<ClientConfig, TlsError> {
    let builder = any_certificate()?;
    let Some((certificate, key)) = &tls.certificate else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates(certificate)?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|source| TlsError::File {
        path: key.clone(),
        source,
    })?;
    Ok(builder.with_client_auth_cert(chain, key)?)
}

/// TLS towards web services as the configuration demands it.
pub(crate) fn for_web(web: &Web) -> Result<ClientConfig, TlsError> {
    if web.insecure {
        return Ok(any_certificate()?.with_no_client_auth());
    }
    let provider = Arc::new(ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let Some(path) = &web.ca_file else {
        return Ok(builder
            .with_native_roots()
            .map_err(TlsError::System)?
            .with_no_client_auth());
    };
    let mut roots = RootCertStore::empty();
    let (added, _ignored) = roots.add_parsable_certificates(certificates(path)?);
    if added == 0 {
        return Err(TlsError::NoAuthority(path.clone()));
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn any_certificate() -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, TlsError> {
    let provider = Arc::new(ring::default_provider());
    Ok(ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider))))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|source| TlsError::File {
            path: path.to_owned(),
            source,
        })
}

/// Takes any certificate, but still wants proof of its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

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
