//! Signing requests of nodes.

use overlay_protocol::id::Identity;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer as _;

use crate::policy::Pki;
use crate::reason::Reason;

/// The longest request that is read.
const MAX_BYTES: usize = 64 * 1024;

/// Why a signing request is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CsrError {
    #[error("the signing request is longer than {MAX_BYTES} bytes")]
    TooLong,
    #[error("the signing request is no PEM text of a certificate request")]
    NotPem,
    #[error("the signing request cannot be read: {0}")]
    Unreadable(String),
    #[error("the signing request is not signed by its own key")]
    Unproven,
    #[error("the signing request has {0} common names, not one")]
    NoName(usize),
    #[error("common name {name:?} of the signing request does not match identity {identity:?}")]
    OtherName { name: String, identity: String },
    #[error("{name:?} in the signing request matches a denied pattern, {pattern}")]
    Denied { name: String, pattern: String },
}

impl CsrError {
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::TooLong | Self::NotPem | Self::Unreadable(_) | Self::Unproven => {
                Reason::CsrInvalid
            }
            Self::NoName(_) | Self::OtherName { .. } => Reason::CsrName,
            Self::Denied { .. } => Reason::CsrDenied,
        }
    }
}

/// Checks that a request is for this node and nobody else, and that whoever made it holds its key.
pub(crate) fn check(pem: &str, identity: &Identity, rules: &Pki) -> Result<(), CsrError> {
    if pem.len() > MAX_BYTES {
        return Err(CsrError::TooLong);
    }
    let (_rest, block) =
        x509_parser::pem::parse_x509_pem(pem.as_bytes()).map_err(|_no_pem| CsrError::NotPem)?;
    if !matches!(
        block.label.as_str(),
        "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST"
    ) {
        return Err(CsrError::NotPem);
    }
    let (rest, request) = X509CertificationRequest::from_der(&block.contents)
        .map_err(|error| CsrError::Unreadable(error.to_string()))?;
    if !rest.is_empty() {
        return Err(CsrError::Unreadable("bytes after its end".to_owned()));
    }
    request
        .verify_signature()
        .map_err(|_other_key| CsrError::Unproven)?;
    let subject = &request.certification_request_info.subject;
    let names: Vec<_> = subject
        .iter_common_name()
        .map(|name| name.as_str().unwrap_or_default())
        .collect();
    let &[name] = names.as_slice() else {
        return Err(CsrError::NoName(names.len()));
    };
    if name != identity.as_str() {
        return Err(CsrError::OtherName {
            name: name.to_owned(),
            identity: identity.to_string(),
        });
    }
    denied(name, rules)?;
    let extensions = request.requested_extensions().into_iter().flatten();
    for extension in extensions {
        if let ParsedExtension::SubjectAlternativeName(alternative) = extension {
            for general in &alternative.general_names {
                if let GeneralName::DNSName(name) = general {
                    denied(name, rules)?;
                }
            }
        }
    }
    Ok(())
}

fn denied(name: &str, rules: &Pki) -> Result<(), CsrError> {
    match rules.denied.iter().find(|pattern| pattern.is_match(name)) {
        Some(pattern) => Err(CsrError::Denied {
            name: name.to_owned(),
            pattern: pattern.as_str().to_owned(),
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};
    use regex::Regex;

    use super::*;

    fn rules() -> Pki {
        let denied = [r"\.choria$", "^admin"].map(|pattern| Regex::new(pattern).unwrap());
        Pki {
            denied: denied.to_vec(),
        }
    }

    fn request(names: &[&str], alternatives: &[&str]) -> String {
        let alternatives: Vec<_> = alternatives.iter().copied().map(str::to_owned).collect();
        let mut params = CertificateParams::new(alternatives).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for name in names {
            params.distinguished_name.push(DnType::CommonName, *name);
        }
        let key = KeyPair::generate().unwrap();
        params.serialize_request(&key).unwrap().pem().unwrap()
    }

    fn judge(pem: &str) -> Result<(), Reason> {
        let identity = Identity::new("n1.example.net").unwrap();
        check(pem, &identity, &rules()).map_err(|error| error.reason())
    }

    #[test]
    fn a_request_for_the_nodes_own_name_is_taken() {
        assert_eq!(judge(&request(&["n1.example.net"], &[])), Ok(()));
        assert_eq!(
            judge(&request(&["n1.example.net"], &["n1.example.net"])),
            Ok(())
        );
    }

    #[test]
    fn other_names_denied_names_and_no_names_are_refused() {
        for (names, alternatives, reason) in [
            (&["n2.example.net"][..], &[][..], Reason::CsrName),
            (&[], &[], Reason::CsrName),
            (&["N1.example.net"], &[], Reason::CsrName),
            (&["n1.example.net"], &["boss.choria"], Reason::CsrDenied),
            (
                &["n1.example.net"],
                &["admin.example.net"],
                Reason::CsrDenied,
            ),
        ] {
            let pem = request(names, alternatives);
            assert_eq!(judge(&pem), Err(reason), "{names:?} {alternatives:?}");
        }
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let good = request(&["n1.example.net"], &[]);
        let certificate = good.replace("CERTIFICATE REQUEST", "CERTIFICATE");
        let garbage =
            "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n";
        let long = "x".repeat(MAX_BYTES + 1);
        for pem in ["", "not pem", garbage, &certificate, &long] {
            assert_eq!(judge(pem), Err(Reason::CsrInvalid));
        }
    }

    #[test]
    fn a_request_that_another_key_signed_is_refused() {
        let pem = request(&["n1.example.net"], &[]);
        let (_, block) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
        let mut der = block.contents;
        // The last byte belongs to the signature.
        *der.last_mut().unwrap() ^= 1;
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        let forged = format!(
            "-----BEGIN CERTIFICATE REQUEST-----\n{text}\n-----END CERTIFICATE REQUEST-----\n"
        );
        assert_eq!(judge(&forged), Err(Reason::CsrInvalid));
    }
}
