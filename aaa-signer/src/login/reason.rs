//! Why nobody was logged in.

/// Why a login, a step of one, or a logout was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Reason {
    /// No public key was sent.
    NoKey,
    /// The public key is not 32 bytes in hexadecimal, or no key at all.
    BadKey,
    /// Signatures of the public key can be made up.
    WeakKey,
    /// The timestamp is no decimal number.
    BadTimestamp,
    /// The timestamp lies further ahead than clocks may differ.
    Future,
    /// The timestamp is older than the window.
    Old,
    /// The signature is not hexadecimal.
    BadSignature,
    /// The signature is not the key's over what was received.
    Signature,
    /// Name, password or second factor is longer than any.
    TooLong,
    /// The same signed request was accepted before.
    Replayed,
    /// Nobody has this name.
    UnknownUser,
    /// The password is wrong.
    Password,
    /// What is stored is no hash that a password could match.
    NoPassword,
    /// Bcrypt looks at 72 bytes, and the password has more.
    PasswordCut,
    /// The user is switched off.
    Disabled,
    /// The second factor is missing or wrong.
    SecondFactor,
    /// The second factor was used before.
    SecondFactorReused,
    /// Too many wrong passwords for the name, for now.
    Locked,
    /// A file that the user's record names cannot be read.
    UserFile,
    /// The directory or provider knows the person, and no rule lets them in.
    NotAllowed,
    /// No such method, or none that does this.
    Method,
    /// The flow is unknown, expired, or somebody else's.
    Flow,
    /// The directory or provider refused.
    Provider,
    /// The directory or provider cannot be reached.
    Unavailable,
    /// Too many attempts from one source or for one name.
    Rate,
    /// Too much is being worked on.
    Busy,
    /// The record of the login could not be made durable.
    Audit,
    /// The token could not be made or signed.
    Issue,
    /// The token of a logout is none of ours.
    Token,
}

impl Reason {
    /// All of them, for metrics that begin at zero.
    pub(crate) const ALL: [Self; 29] = [
        Self::NoKey,
        Self::BadKey,
        Self::WeakKey,
        Self::BadTimestamp,
        Self::Future,
        Self::Old,
        Self::BadSignature,
        Self::Signature,
        Self::TooLong,
        Self::Replayed,
        Self::UnknownUser,
        Self::Password,
        Self::NoPassword,
        Self::PasswordCut,
        Self::Disabled,
        Self::SecondFactor,
        Self::SecondFactorReused,
        Self::Locked,
        Self::UserFile,
        Self::NotAllowed,
        Self::Method,
        Self::Flow,
        Self::Provider,
        Self::Unavailable,
        Self::Rate,
        Self::Busy,
        Self::Audit,
        Self::Issue,
        Self::Token,
    ];

    /// Its code in records and labels.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::NoKey => "no_public_key",
            Self::BadKey => "bad_public_key",
            Self::WeakKey => "weak_public_key",
            Self::BadTimestamp => "bad_timestamp",
            Self::Future => "future",
            Self::Old => "old",
            Self::BadSignature => "bad_signature",
            Self::Signature => "signature",
            Self::TooLong => "too_long",
            Self::Replayed => "replayed",
            Self::UnknownUser => "unknown_user",
            Self::Password => "password",
            Self::NoPassword => "no_password",
            Self::PasswordCut => "password_over_72_bytes",
            Self::Disabled => "disabled",
            Self::SecondFactor => "second_factor",
            Self::SecondFactorReused => "second_factor_reused",
            Self::Locked => "locked",
            Self::UserFile => "user_file",
            Self::NotAllowed => "not_allowed",
            Self::Method => "method",
            Self::Flow => "flow",
            Self::Provider => "provider",
            Self::Unavailable => "unavailable",
            Self::Rate => "rate",
            Self::Busy => "busy",
            Self::Audit => "audit",
            Self::Issue => "issue",
            Self::Token => "token",
        }
    }

    /// What it means, for people.
    pub(crate) fn message(self) -> &'static str {
        match self {
            Self::NoKey => "no public key was sent",
            Self::BadKey => "the public key is no ed25519 key in hexadecimal",
            Self::WeakKey => "signatures of the public key can be made up",
            Self::BadTimestamp => "the timestamp is no decimal number of seconds",
            Self::Future => "the request is from the future",
            Self::Old => "the request is too old",
            Self::BadSignature => "the signature is not hexadecimal",
            Self::Signature => "the signature is not that of the public key over this request",
            Self::TooLong => "name, password or second factor is too long",
            Self::Replayed => "this very request has been accepted before",
            Self::UnknownUser => "unknown user",
            Self::Password => "wrong password",
            Self::NoPassword => "the stored password is no hash, so that no password fits",
            Self::PasswordCut => "bcrypt would look at 72 bytes of the password only",
            Self::Disabled => "the user is disabled",
            Self::SecondFactor => "the second factor is missing or wrong",
            Self::SecondFactorReused => "the second factor has been used before",
            Self::Locked => "the name is locked after too many wrong passwords",
            Self::UserFile => "a file of the user's record cannot be read",
            Self::NotAllowed => "no rule lets this person in",
            Self::Method => "there is no such login method",
            Self::Flow => "the login was not begun here, or is over",
            Self::Provider => "the provider refused",
            Self::Unavailable => "the provider cannot be reached",
            Self::Rate => "too many attempts",
            Self::Busy => "too many logins are being worked on",
            Self::Audit => "the record of the login could not be made durable",
            Self::Issue => "the token could not be signed",
            Self::Token => "the token is none of this service",
        }
    }

    /// Whether it may have been a guess at a secret, which counts towards the lock of the name.
    pub(crate) fn is_guess(self) -> bool {
        matches!(
            self,
            Self::UnknownUser
                | Self::Password
                | Self::NoPassword
                | Self::PasswordCut
                | Self::Disabled
                | Self::SecondFactor
                | Self::SecondFactorReused
        )
    }

    /// Whether trying again later may help: the answer says so instead of refusing.
    pub(crate) fn is_busy(self) -> bool {
        matches!(
            self,
            Self::Rate | Self::Busy | Self::Audit | Self::Unavailable
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_code_of_its_own() {
        let codes: std::collections::BTreeSet<_> =
            Reason::ALL.iter().map(|reason| reason.code()).collect();
        assert_eq!(codes.len(), Reason::ALL.len());
    }
}
