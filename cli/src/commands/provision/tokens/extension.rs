//! Fingerprints of authorities, for what this stack adds to a provisioning token.

use std::path::Path;

use anyhow::{Context, anyhow};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use sha2::{Digest, Sha256};

/// SHA-256 of a certificate's DER.
pub(in crate::commands) type Fingerprint = [u8; 32];

/// The fingerprints of all certificates in a PEM file.
pub(super) fn fingerprints_of(path: &Path) -> anyhow::Result<Vec<Fingerprint>> {
    let pem = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let found = fingerprints(&pem).with_context(|| format!("cannot use {}", path.display()))?;
    if found.is_empty() {
        return Err(anyhow!("{} holds no certificate", path.display()));
    }
    Ok(found)
}

/// The same of a PEM text.
pub(in crate::commands) fn fingerprints(pem: &[u8]) -> anyhow::Result<Vec<Fingerprint>> {
    CertificateDer::pem_slice_iter(pem)
        .map(|certificate| {
            let certificate = certificate.context("it is no PEM")?;
            Ok(Sha256::digest(&certificate).into())
        })
        .collect()
}
