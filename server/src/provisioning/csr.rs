//! A key and a certificate request for cells that use x509: RSA of 2048 bits, as Choria's provisioners expect it.

use rsa::RsaPrivateKey;
use rsa::pkcs1::{EncodeRsaPrivateKey as _, EncodeRsaPublicKey as _};
use rsa::pkcs1v15::SigningKey;
use rsa::pkcs8::EncodePublicKey as _;
use rsa::rand_core::{CryptoRng, Error as RandomError, RngCore};
use rsa::signature::{SignatureEncoding as _, Signer as _};
use sha2::Sha256;
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::der::asn1::{Any, BitString, ObjectIdentifier, SetOfVec};
use x509_cert::der::pem::{LineEnding, encode_string};
use x509_cert::der::{Decode as _, Encode as _, Tag};
use x509_cert::name::{RdnSequence, RelativeDistinguishedName};
use x509_cert::request::{CertReq, CertReqInfo, Version};
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use zeroize::Zeroizing;

const BITS: usize = 2048;

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const COUNTRY: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.6");
const LOCALITY: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.7");
const ORGANISATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");
const UNIT: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.11");
const SHA256_WITH_RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");

/// Longest part of a name, in characters.
const MAX_NAME: usize = 128;

/// Why there is no request.
#[derive(Debug, thiserror::Error)]
pub enum CsrError {
    /// The key could not be made.
    #[error("Could not create private key: {0}")]
    Key(String),
    /// The request could not be made.
    #[error("Could not create CSR: {0}")]
    Request(String),
}

/// Whom the request is for; what is empty is left out.
#[derive(Debug, Clone, Copy, Default)]
pub struct Subject<'a> {
    /// Common name.
    pub common_name: &'a str,
    /// Country.
    pub country: &'a str,
    /// Locality.
    pub locality: &'a str,
    /// Organisation.
    pub organisation: &'a str,
    /// Organisational unit.
    pub unit: &'a str,
}

/// A key and a request for it, all PEM.
#[derive(Debug)]
pub struct Request {
    /// The private key, PKCS#1.
    pub private_key: Zeroizing<String>,
    /// The public key: PKCS#1 under the label of SPKI, which is how Choria's nodes write it.
    pub public_key: String,
    /// The request, PKCS#10, signed with SHA-256.
    pub csr: String,
}

/// Makes a key and a request; takes a good part of a second.
///
/// # Errors
///
/// [`CsrError`]; its texts are those of Choria's nodes.
pub fn make(subject: Subject<'_>) -> Result<Request, CsrError> {
    let key =
        RsaPrivateKey::new(&mut System, BITS).map_err(|error| CsrError::Key(error.to_string()))?;
    let failed = |error: &dyn std::fmt::Display| CsrError::Request(error.to_string());
    let public = key.to_public_key();
    let spki = public.to_public_key_der().map_err(|error| failed(&error))?;
    let info = CertReqInfo {
        version: Version::V1,
        subject: name(subject)?,
        public_key: SubjectPublicKeyInfoOwned::from_der(spki.as_bytes())
            .map_err(|error| failed(&error))?,
        attributes: SetOfVec::new(),
    };
    let signed = info.to_der().map_err(|error| failed(&error))?;
    let signature = SigningKey::<Sha256>::new(key.clone())
        .try_sign(&signed)
        .map_err(|error| failed(&error))?;
    let request = CertReq {
        info,
        algorithm: AlgorithmIdentifierOwned {
            oid: SHA256_WITH_RSA,
            parameters: Some(Any::null()),
        },
        signature: BitString::from_bytes(&signature.to_bytes()).map_err(|error| failed(&error))?,
    };
    let pem = |label, der: &[u8]| {
        encode_string(label, LineEnding::LF, der).map_err(|error| failed(&error))
    };
    let public = public.to_pkcs1_der().map_err(|error| failed(&error))?;
    Ok(Request {
        private_key: key
            .to_pkcs1_pem(LineEnding::LF)
            .map_err(|error| CsrError::Key(error.to_string()))?,
        public_key: pem("PUBLIC KEY", public.as_bytes())?,
        csr: pem(
            "CERTIFICATE REQUEST",
            &request.to_der().map_err(|error| failed(&error))?,
        )?,
    })
}

fn name(subject: Subject<'_>) -> Result<RdnSequence, CsrError> {
    let mut parts = Vec::new();
    for (oid, text) in [
        (COUNTRY, subject.country),
        (LOCALITY, subject.locality),
        (ORGANISATION, subject.organisation),
        (UNIT, subject.unit),
        (COMMON_NAME, subject.common_name),
    ] {
        if text.is_empty() {
            continue;
        }
        if text.chars().count() > MAX_NAME || text.chars().any(char::is_control) {
            return Err(CsrError::Request(
                "a part of the name is no name".to_owned(),
            ));
        }
        let tag = if text.bytes().all(is_printable) {
            Tag::PrintableString
        } else {
            Tag::Utf8String
        };
        let failed = |error: x509_cert::der::Error| CsrError::Request(error.to_string());
        let value = Any::new(tag, text.as_bytes()).map_err(failed)?;
        let set = SetOfVec::try_from(vec![AttributeTypeAndValue { oid, value }]).map_err(failed)?;
        parts.push(RelativeDistinguishedName(set));
    }
    Ok(RdnSequence(parts))
}

/// The letters of a PrintableString (X.680).
fn is_printable(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b" '()+,-./:=?".contains(&byte)
}

/// Randomness of the system, for a key that is made once.
struct System;

impl RngCore for System {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.fill_bytes(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill_bytes(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    #[expect(
        clippy::panic,
        reason = "a key without randomness must never be made, and this face knows no error"
    )]
    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        if let Err(error) = getrandom::fill(bytes) {
            panic!("the system gives no randomness: {error}");
        }
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), RandomError> {
        getrandom::fill(bytes)
            .map_err(|error| RandomError::new(std::io::Error::other(error.to_string())))
    }
}

impl CryptoRng for System {}

#[cfg(test)]
mod tests {
    use rsa::RsaPublicKey;
    use rsa::pkcs1::{DecodeRsaPrivateKey as _, DecodeRsaPublicKey as _};
    use rsa::pkcs1v15::{Signature, VerifyingKey};
    use rsa::signature::Verifier as _;
    use x509_cert::der::DecodePem as _;
    use x509_cert::der::pem::decode_vec;

    use super::*;

    #[test]
    fn a_request_is_signed_by_its_key_and_names_the_node() {
        let made = make(Subject {
            common_name: "m1.example.net",
            country: "NL",
            locality: "Delft",
            organisation: "Örg",
            unit: "",
        })
        .unwrap();
        let key = RsaPrivateKey::from_pkcs1_pem(&made.private_key).unwrap();
        let (label, der) = decode_vec(made.public_key.as_bytes()).unwrap();
        assert_eq!(label, "PUBLIC KEY");
        let public = RsaPublicKey::from_pkcs1_der(&der).unwrap();
        assert_eq!(public, key.to_public_key());
        let request = CertReq::from_pem(made.csr.as_bytes()).unwrap();
        let signature = Signature::try_from(request.signature.raw_bytes()).unwrap();
        VerifyingKey::<Sha256>::new(public)
            .verify(&request.info.to_der().unwrap(), &signature)
            .unwrap();
        assert_eq!(
            request.info.subject.to_string(),
            "CN=m1.example.net,O=Örg,L=Delft,C=NL"
        );
        assert!(request.info.attributes.is_empty());
        assert!(
            made.csr
                .starts_with("-----BEGIN CERTIFICATE REQUEST-----\n")
        );
        assert!(
            made.private_key
                .starts_with("-----BEGIN RSA PRIVATE KEY-----\n")
        );
    }

    #[test]
    fn names_that_are_none_are_refused() {
        for common_name in ["a\nb", "x".repeat(200).as_str()] {
            assert!(matches!(
                name(Subject {
                    common_name,
                    ..Subject::default()
                }),
                Err(CsrError::Request(_))
            ));
        }
    }
}
