//! Why a request is not signed: for logs, metrics and records, never for the caller.

/// Why a request is not signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// As much is worked on as may be.
    Busy,
    /// Too many whose token was not good came from there before: it leaves no record.
    Rate,
    /// It is too long.
    TooLong,
    /// The token is not to be trusted.
    Token,
    /// The token has no expiry, or is good for too long.
    Validity,
    /// The token was revoked.
    Revoked,
    /// The token names nobody.
    Caller,
    /// The caller has not signed.
    NoSignature,
    /// The signature is not the caller's over these bytes.
    Signature,
    /// It is no request.
    Request,
    /// It would be good for too long.
    Ttl,
    /// It was made long ago, or is of the future.
    Time,
    /// The message in it is none.
    Message,
    /// Envelope and message name different agents.
    Agent,
    /// The token's tenant is not served, or is missing.
    Tenant,
    /// The tenant may not address the collective.
    Collective,
    /// The policy does not allow it.
    Policy,
    /// The policy could not be evaluated.
    PolicyError,
    /// The record could not be made durable.
    Audit,
    /// A fault of this service.
    Fault,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::Busy,
        Self::Rate,
        Self::TooLong,
        Self::Token,
        Self::Validity,
        Self::Revoked,
        Self::Caller,
        Self::NoSignature,
        Self::Signature,
        Self::Request,
        Self::Ttl,
        Self::Time,
        Self::Message,
        Self::Agent,
        Self::Tenant,
        Self::Collective,
        Self::Policy,
        Self::PolicyError,
        Self::Audit,
        Self::Fault,
    ];

    /// Its name in logs, labels and records.
    pub fn label(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Rate => "rate",
            Self::TooLong => "too_long",
            Self::Token => "token",
            Self::Validity => "validity",
            Self::Revoked => "revoked",
            Self::Caller => "caller",
            Self::NoSignature => "no_signature",
            Self::Signature => "signature",
            Self::Request => "request",
            Self::Ttl => "ttl",
            Self::Time => "time",
            Self::Message => "message",
            Self::Agent => "agent",
            Self::Tenant => "tenant",
            Self::Collective => "collective",
            Self::Policy => "policy",
            Self::PolicyError => "policy_error",
            Self::Audit => "audit",
            Self::Fault => "fault",
        }
    }
}
