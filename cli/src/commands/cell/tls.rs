//! Certificates of a cell: its own authority and the certificates of broker and login, or given ones.
//!
//! ECDSA on P-256 throughout: a handshake with it costs the broker the least, and every Choria speaks it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, Error, RootCertStore};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::build::Files;
use super::layout::{
    AAA_CERT, AAA_CERT_KEY, BROKER_CERT, BROKER_KEY, CA_CERT, CA_KEY, Kind, PUBLIC, SECRET,
};
use super::settings::Settings;
use crate::commands::provision::{Fingerprint, fingerprints};

const CA_VALIDITY: Duration = Duration::from_secs(10 * 365 * 86_400);
/// Apple's limit for server certificates, which others follow.
const BROKER_VALIDITY: Duration = Duration::from_secs(825 * 86_400);
/// Clocks of nodes may be behind by this much.
const BACKDATED: Duration = Duration::from_secs(3600);

/// Certificates that the user brought: PEM texts.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) cert: Vec<u8>,
    pub(super) key: Zeroizing<Vec<u8>>,
    pub(super) ca: Vec<u8>,
}

/// Adds what is missing of the authority and of the certificates: the broker's, and that of login by HTTPS.
pub(super) fn files(
    files: &mut Files<'_>,
    settings: &Settings,
    given: Option<&Given>,
    now: OffsetDateTime,
) -> anyhow::Result<()> {
    let mut pairs = vec![(BROKER_CERT, BROKER_KEY)];
    if settings.signs() {
        pairs.push((AAA_CERT, AAA_CERT_KEY));
    }
    if let Some(given) = given {
        let presented = given.presented()?;
        add_absent(files, CA_CERT, PUBLIC, &given.ca)?;
        for (cert, key) in pairs {
            add_absent(files, cert, PUBLIC, &presented)?;
            add_absent(files, key, SECRET, &given.key)?;
        }
        return Ok(());
    }
    let has_ca = files.existing(CA_CERT)?.is_some();
    let mut missing = Vec::new();
    for (cert, key) in pairs {
        if files.existing(cert)?.is_none() || files.existing(key)?.is_none() {
            missing.push((cert, key));
        }
    }
    if missing.is_empty() && has_ca {
        return Ok(());
    }
    if has_ca && files.existing(CA_KEY)?.is_none() {
        return missing
            .into_iter()
            .try_for_each(|pair| like_the_brokers(files, pair));
    }
    let ca_key = key_pair(files, CA_KEY)?;
    let params = ca_params(settings, now)?;
    if !has_ca {
        files.add(
            CA_CERT,
            PUBLIC,
            Kind::Signed,
            params.self_signed(&ca_key)?.pem(),
        );
        // What another authority signed is of no use beside a new one.
        missing = vec![(BROKER_CERT, BROKER_KEY)];
        if settings.signs() {
            missing.push((AAA_CERT, AAA_CERT_KEY));
        }
    }
    let ca = files
        .content(CA_CERT)?
        .ok_or_else(|| anyhow!("there is no {CA_CERT}"))?;
    let issuer = Issuer::new(params, ca_key);
    for (cert_path, key_path) in missing {
        let key = key_pair(files, key_path)?;
        let cert = server_params(settings, now)?.signed_by(&key, &issuer)?;
        let presented = presented(cert.pem().as_bytes(), &ca)?;
        files.add(cert_path, PUBLIC, Kind::Signed, presented);
    }
    Ok(())
}

fn add_absent(files: &mut Files<'_>, path: &str, mode: u32, content: &[u8]) -> anyhow::Result<()> {
    if files.existing(path)?.is_none() {
        files.add(path, mode, Kind::Key, content);
    }
    Ok(())
}

/// Where the authority's key is elsewhere, login by HTTPS has the broker's certificate: it names the same hosts.
fn like_the_brokers(files: &mut Files<'_>, (cert, key): (&str, &str)) -> anyhow::Result<()> {
    let of_broker = (files.existing(BROKER_CERT)?, files.existing(BROKER_KEY)?);
    let (Some(broker_cert), Some(broker_key)) = of_broker else {
        return Err(anyhow!(
            "{BROKER_CERT} or its key is missing and there is no {CA_KEY} to sign a new one with"
        ));
    };
    add_absent(files, cert, PUBLIC, &broker_cert)?;
    add_absent(files, key, SECRET, &broker_key)
}

impl Given {
    /// What the broker presents.
    pub(super) fn presented(&self) -> anyhow::Result<Vec<u8>> {
        presented(&self.cert, &self.ca)
    }
}

/// A chain with its authority, so that a new node, which has nothing but a fingerprint to compare with, finds
/// it there. A file of several authorities is left out: which of them it would be is not known here.
fn presented(cert: &[u8], ca: &[u8]) -> anyhow::Result<Vec<u8>> {
    let authorities = certificates(ca).context("the authority is no PEM")?;
    let chain = certificates(cert).context("the certificate is no PEM")?;
    let mut pem = cert.to_vec();
    if let [authority] = authorities.as_slice()
        && !chain.contains(authority)
    {
        if !pem.ends_with(b"\n") {
            pem.push(b'\n');
        }
        pem.extend_from_slice(ca);
    }
    Ok(pem)
}

/// The fingerprints of the authorities in `ca` that `cert` has too: those that a new node can compare.
pub(super) fn pins(cert: &[u8], ca: &[u8]) -> anyhow::Result<Vec<Fingerprint>> {
    let presented = fingerprints(cert)?;
    let mut pins = fingerprints(ca)?;
    pins.retain(|pin| presented.contains(pin));
    Ok(pins)
}

fn certificates(pem: &[u8]) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    Ok(CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>()?)
}

fn key_pair(files: &mut Files<'_>, path: &str) -> anyhow::Result<KeyPair> {
    if let Some(pem) = files.existing(path)? {
        return KeyPair::from_pem(str::from_utf8(&pem)?)
            .with_context(|| format!("cannot use {path}"));
    }
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    files.add(
        path,
        SECRET,
        Kind::Key,
        Zeroizing::new(key.serialize_pem()).as_str(),
    );
    Ok(key)
}

/// The authority's name must not depend on anything that changes: certificates made later refer to it.
fn ca_params(settings: &Settings, now: OffsetDateTime) -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(
        DnType::CommonName,
        format!("{} cell authority", settings.name),
    );
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = now - BACKDATED;
    params.not_after = now + CA_VALIDITY;
    Ok(params)
}

fn server_params(settings: &Settings, now: OffsetDateTime) -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::new(settings.certificate_names())?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, settings.name.as_str());
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // Client authentication for the routes of a cluster, which verify both ways.
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params.use_authority_key_identifier_extension = true;
    params.not_before = now - BACKDATED;
    params.not_after = now + BROKER_VALIDITY;
    Ok(params)
}

/// What an examination of the broker's certificate found.
#[derive(Debug)]
pub(super) struct Examined {
    pub(super) not_after: Option<OffsetDateTime>,
    /// Each fault, with the remedy.
    pub(super) faults: Vec<String>,
}

/// Examines certificate, key and authority as a node would: chain, time, each of `names`.
pub(super) fn examine(
    cert: &[u8],
    key: &[u8],
    ca: &[u8],
    names: &[String],
    now: OffsetDateTime,
) -> anyhow::Result<Examined> {
    let chain = certificates(cert).context("the certificate is no PEM")?;
    let (leaf, intermediates) = chain
        .split_first()
        .ok_or_else(|| anyhow!("the file holds no certificate"))?;
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(ca) {
        roots.add(root.context("the authority is no PEM")?)?;
    }
    let provider = Arc::new(ring::default_provider());
    let key = PrivateKeyDer::from_pem_slice(key).context("the key is no PEM")?;
    let mut faults = Vec::new();
    let certified = CertifiedKey::from_der(chain.clone(), key, &provider);
    if let Err(error) = certified {
        faults.push(format!(
            "key and certificate do not belong together: {error}"
        ));
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .context("the authority's file is of no use")?;
    let verify = |name: &str, at: OffsetDateTime| -> Result<(), Error> {
        let name = server_name(name)?;
        let at = u64::try_from(at.unix_timestamp()).unwrap_or_default();
        let at = UnixTime::since_unix_epoch(Duration::from_secs(at));
        verifier
            .verify_server_cert(leaf, intermediates, &name, &[], at)
            .map(|_verified| ())
    };
    for name in names {
        match verify(name, now) {
            Ok(()) => {}
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => faults.push(format!("it does not name {name}")),
            Err(error) => {
                faults.push(error.to_string());
                break;
            }
        }
    }
    // The time it ends is in the error that a far later check gives.
    let far = now + Duration::from_secs(200 * 365 * 86_400);
    let not_after = names.first().and_then(|name| match verify(name, far) {
        Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
            let seconds = i64::try_from(not_after.as_secs()).ok()?;
            OffsetDateTime::from_unix_timestamp(seconds).ok()
        }
        Ok(()) | Err(_) => None,
    });
    Ok(Examined { not_after, faults })
}

fn server_name(name: &str) -> Result<ServerName<'static>, Error> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(ServerName::IpAddress(address.into()));
    }
    ServerName::try_from(name.to_owned()).map_err(|_not_dns| {
        Error::General(format!("{name} is no name that a certificate can have"))
    })
}
