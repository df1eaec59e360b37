//! A certificate authority and the certificates of servers.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use tempfile::TempDir;

use crate::broker::TlsFiles;

/// A certificate authority; its files go with it.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    dir: TempDir,
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// A new authority.
    ///
    /// # Panics
    ///
    /// When its certificate cannot be made or written.
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "testkit authority");
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params
            .self_signed(&key)
            .expect("the parameters make a certificate");
        let dir = tempfile::tempdir().expect("a directory can be made");
        fs::write(dir.path().join("ca.pem"), certificate.pem()).expect("the directory is ours");
        Self {
            issuer: Issuer::new(params, key),
            dir,
        }
    }

    /// The authority's own certificate.
    pub fn ca_file(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// The directory with all files.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The files of a server that is `localhost` and 127.0.0.1, and the names given.
    ///
    /// # Panics
    ///
    /// When a name is none, or the files cannot be written.
    pub fn server(&self, stem: &str, names: &[&str]) -> TlsFiles {
        let mut all: Vec<String> = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        all.extend(names.iter().map(|name| (*name).to_owned()));
        self.certificate(stem, all, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// The files of a client with that common name, for brokers that ask for certificates.
    ///
    /// # Panics
    ///
    /// When the name is none, or the files cannot be written.
    pub fn client(&self, stem: &str) -> TlsFiles {
        let names = vec![stem.to_owned()];
        self.certificate(stem, names, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn certificate(
        &self,
        stem: &str,
        names: Vec<String>,
        usage: ExtendedKeyUsagePurpose,
    ) -> TlsFiles {
        let mut params = CertificateParams::new(names).expect("names that certificates can hold");
        params.distinguished_name.push(DnType::CommonName, stem);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params
            .signed_by(&key, &self.issuer)
            .expect("the authority signs");
        let files = TlsFiles {
            ca: self.ca_file(),
            cert: self.dir.path().join(format!("{stem}.pem")),
            key: self.dir.path().join(format!("{stem}.key")),
        };
        fs::write(&files.cert, certificate.pem()).expect("the directory is ours");
        fs::write(&files.key, key.serialize_pem()).expect("the directory is ours");
        files
    }
}
