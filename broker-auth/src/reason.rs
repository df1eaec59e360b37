//! Why a login was refused: a code for metrics and machines, a sentence for people.

use std::fmt;

/// Why a login was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// No TLS, and not through a proxy that ends it.
    NotEncrypted,
    /// A leaf node: these have static users.
    LeafNode,
    /// An MQTT connection.
    Mqtt,
    /// A kind of connection that did not exist when this was written.
    UnknownConnection,
    /// Neither token nor certificate.
    NothingPresented,
    /// A certificate alone, where certificates alone count for nothing, or from a host they do not count from.
    CertificateAlone,
    /// Not a token at all: segments, encoding, JSON, claims of a wrong type.
    TokenMalformed,
    /// A signature algorithm that tokens do not use, or not for this purpose.
    TokenAlgorithm,
    /// A purpose that nobody logs in with.
    UnknownPurpose,
    /// A token for another purpose than this login needs.
    WrongPurpose,
    /// No organisation in the token.
    NoOrganisation,
    /// An organisation without a configured issuer.
    UnknownOrganisation,
    /// Not signed by the organisation's issuer.
    NotSignedByIssuer,
    /// Issued by a chain issuer whose chain does not lead to the organisation's issuer.
    BrokenChain,
    /// The token's time is over.
    TokenExpired,
    /// The time of the chain issuer that made the token is over.
    IssuerExpired,
    /// The token's time has not come.
    TokenNotYetValid,
    /// No caller id, or one with control characters.
    BadCallerId,
    /// No identity, or one that would reach into others' subjects.
    BadIdentity,
    /// A collective that would reach into others' subjects.
    BadCollective,
    /// No public key, or one that is none.
    BadPublicKey,
    /// The token, its issuer or its holder is on the deny list.
    Denied,
    /// The chain issuer that made the token is older than the cell allows.
    IssuerTooOld,
    /// The broker's nonce was not signed.
    NonceNotSigned,
    /// The broker offered no nonce: nobody can prove to hold a key.
    NonceNotOffered,
    /// The nonce's signature is not base64url of 64 bytes.
    NonceSignatureMalformed,
    /// The nonce was signed by another key than the token's, or another nonce was signed.
    NonceSignatureWrong,
    /// Provisioning is off in this cell.
    ProvisioningOff,
    /// A provisioning token signed with RSA, and no signer configured for these.
    ProvisioningSignerUnknown,
    /// A node that shows a verified certificate is not an unprovisioned one.
    ProvisioningWithCertificate,
    /// An unprovisioned node came under a name that no node can have.
    BadNodeName,
    /// A provisioning token that is good for one node, shown by another.
    AnotherNodesToken,
    /// Extensions of ours in a provisioning token that are not understood.
    BadTokenExtensions,
    /// The provisioner's password is missing or wrong.
    ProvisionerPassword,
    /// The provisioner came without a token.
    ProvisionerToken,
    /// The token does not make its holder a provisioner.
    NotAProvisioner,
    /// A provisioner of another organisation.
    ForeignProvisioner,
    /// The system user's password is missing or wrong.
    SystemPassword,
    /// The system user came without a token or a verified certificate.
    SystemToken,
    /// The token does not let its holder into the system account.
    NotASystemUser,
    /// Logins do not come over the broker in this cell.
    LoginOff,
    /// What somebody who has yet to log in gives as the key of the session is none.
    LoginKey,
    /// This service's own trial of itself.
    SelfCheck,
}

impl Reason {
    /// All reasons, so that each metric exists from the start.
    pub const ALL: [Self; 43] = [
        Self::NotEncrypted,
        Self::LeafNode,
        Self::Mqtt,
        Self::UnknownConnection,
        Self::NothingPresented,
        Self::CertificateAlone,
        Self::TokenMalformed,
        Self::TokenAlgorithm,
        Self::UnknownPurpose,
        Self::WrongPurpose,
        Self::NoOrganisation,
        Self::UnknownOrganisation,
        Self::NotSignedByIssuer,
        Self::BrokenChain,
        Self::TokenExpired,
        Self::IssuerExpired,
        Self::TokenNotYetValid,
        Self::BadCallerId,
        Self::BadIdentity,
        Self::BadCollective,
        Self::BadPublicKey,
        Self::Denied,
        Self::IssuerTooOld,
        Self::NonceNotSigned,
        Self::NonceNotOffered,
        Self::NonceSignatureMalformed,
        Self::NonceSignatureWrong,
        Self::ProvisioningOff,
        Self::ProvisioningSignerUnknown,
        Self::ProvisioningWithCertificate,
        Self::BadNodeName,
        Self::AnotherNodesToken,
        Self::BadTokenExtensions,
        Self::ProvisionerPassword,
        Self::ProvisionerToken,
        Self::NotAProvisioner,
        Self::ForeignProvisioner,
        Self::SystemPassword,
        Self::SystemToken,
        Self::NotASystemUser,
        Self::LoginOff,
        Self::LoginKey,
        Self::SelfCheck,
    ];

    /// The code: label of the metric, `reason` of the event.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::NotEncrypted => "not_encrypted",
            Self::LeafNode => "leaf_node",
            Self::Mqtt => "mqtt",
            Self::UnknownConnection => "unknown_connection",
            Self::NothingPresented => "nothing_presented",
            Self::CertificateAlone => "certificate_alone",
            Self::TokenMalformed => "token_malformed",
            Self::TokenAlgorithm => "token_algorithm",
            Self::UnknownPurpose => "unknown_purpose",
            Self::WrongPurpose => "wrong_purpose",
            Self::NoOrganisation => "no_organisation",
            Self::UnknownOrganisation => "unknown_organisation",
            Self::NotSignedByIssuer => "not_signed_by_issuer",
            Self::BrokenChain => "broken_chain",
            Self::TokenExpired => "token_expired",
            Self::IssuerExpired => "issuer_expired",
            Self::TokenNotYetValid => "token_not_yet_valid",
            Self::BadCallerId => "bad_caller_id",
            Self::BadIdentity => "bad_identity",
            Self::BadCollective => "bad_collective",
            Self::BadPublicKey => "bad_public_key",
            Self::Denied => "denied",
            Self::IssuerTooOld => "issuer_too_old",
            Self::NonceNotSigned => "nonce_not_signed",
            Self::NonceNotOffered => "nonce_not_offered",
            Self::NonceSignatureMalformed => "nonce_signature_malformed",
            Self::NonceSignatureWrong => "nonce_signature_wrong",
            Self::ProvisioningOff => "provisioning_off",
            Self::ProvisioningSignerUnknown => "provisioning_signer_unknown",
            Self::ProvisioningWithCertificate => "provisioning_with_certificate",
            Self::BadNodeName => "bad_node_name",
            Self::AnotherNodesToken => "another_nodes_token",
            Self::BadTokenExtensions => "bad_token_extensions",
            Self::ProvisionerPassword => "provisioner_password",
            Self::ProvisionerToken => "provisioner_token",
            Self::NotAProvisioner => "not_a_provisioner",
            Self::ForeignProvisioner => "foreign_provisioner",
            Self::SystemPassword => "system_password",
            Self::SystemToken => "system_token",
            Self::NotASystemUser => "not_a_system_user",
            Self::LoginOff => "login_off",
            Self::LoginKey => "login_key",
            Self::SelfCheck => "self_check",
        }
    }

    /// The sentence: what is wrong and, where one thing helps, what helps.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::NotEncrypted => "the connection is not encrypted; tokens are only taken over TLS",
            Self::LeafNode => {
                "leaf nodes log in with the static users of the broker's configuration, not with tokens"
            }
            Self::Mqtt => "MQTT connections are not taken",
            Self::UnknownConnection => "this kind of connection is not taken",
            Self::NothingPresented => {
                "neither a token nor a verified certificate was presented; a token only in the jwt field does not reach us"
            }
            Self::CertificateAlone => "a certificate without a token does not let anybody in here",
            Self::TokenMalformed => "what was presented as a token is not one",
            Self::TokenAlgorithm => {
                "the token's signature algorithm is not one that tokens may use here"
            }
            Self::UnknownPurpose => {
                "the token's purpose is none that may log in: client, server or provisioning"
            }
            Self::WrongPurpose => "this login needs a client token, and this token is not one",
            Self::NoOrganisation => "the token names no organisation (ou)",
            Self::UnknownOrganisation => {
                "no issuer is configured for the token's organisation (ou)"
            }
            Self::NotSignedByIssuer => "the token is not signed by the issuer of its organisation",
            Self::BrokenChain => {
                "the token's issuer is not vouched for by the issuer of its organisation"
            }
            Self::TokenExpired => "the token has expired",
            Self::IssuerExpired => {
                "the issuer that made the token has expired, and the token with it"
            }
            Self::TokenNotYetValid => {
                "the token is not valid yet; compare the clocks of its issuer and of this host"
            }
            Self::BadCallerId => "the token has no usable caller id",
            Self::BadIdentity => {
                "the token has no usable identity: it is empty or has wildcards or blanks"
            }
            Self::BadCollective => {
                "a collective in the token is empty or has wildcards, dots or blanks"
            }
            Self::BadPublicKey => "the token has no usable public key",
            Self::Denied => "the token, its issuer or its holder is on the deny list",
            Self::IssuerTooOld => {
                "the issuer that made the token is older than this cell allows; issue it anew, and its tokens"
            }
            Self::NonceNotSigned => {
                "the connection did not sign the broker's nonce: the token alone proves nothing"
            }
            Self::NonceNotOffered => {
                "the broker offered no nonce to sign; its configuration lacks a user with an nkey"
            }
            Self::NonceSignatureMalformed => {
                "the signature of the broker's nonce is not base64url without padding"
            }
            Self::NonceSignatureWrong => {
                "the broker's nonce was not signed with the key that the token names"
            }
            Self::ProvisioningOff => "provisioning is switched off in this cell",
            Self::ProvisioningSignerUnknown => {
                "the provisioning token is signed with RSA, and no signer is configured for these"
            }
            Self::ProvisioningWithCertificate => {
                "a node with a verified certificate may not use a provisioning token"
            }
            Self::BadNodeName => {
                "an unprovisioned node must connect under its identity, and the connection's name is none"
            }
            Self::AnotherNodesToken => {
                "the provisioning token is good for one node, and the connection has another name"
            }
            Self::BadTokenExtensions => {
                "the provisioning token's `overlay` extensions are not understood"
            }
            Self::ProvisionerPassword => "the provisioner's password is missing or wrong",
            Self::ProvisionerToken => "the provisioner presented no token",
            Self::NotAProvisioner => "the token does not have the provisioner permission",
            Self::ForeignProvisioner => {
                "the provisioner's token is of another organisation than this cell"
            }
            Self::SystemPassword => "the system user's password is missing or wrong",
            Self::SystemToken => {
                "the system user presented neither a token nor a verified certificate"
            }
            Self::NotASystemUser => {
                "the token has neither the system_user nor the org_admin permission"
            }
            Self::LoginOff => {
                "logins over the broker are switched off in this cell; log in by HTTPS"
            }
            Self::LoginKey => {
                "whoever has yet to log in gives the public key of the session as password, and this is none"
            }
            Self::SelfCheck => "a trial of the login service by itself",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_reason_has_its_own_code_and_sentence() {
        let codes: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        let sentences: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.sentence()).collect();
        assert_eq!(
            (codes.len(), sentences.len()),
            (Reason::ALL.len(), Reason::ALL.len())
        );
    }

    #[test]
    fn all_reasons_are_listed_once() {
        let listed: BTreeSet<_> = Reason::ALL.into_iter().collect();
        assert_eq!(listed.len(), Reason::ALL.len());
        assert_eq!(listed.last(), Some(&Reason::SelfCheck));
    }
}
