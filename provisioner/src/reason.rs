//! Why a node was not enrolled: a code for metrics and machines; the sentence for people comes with it.

use std::fmt;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident => $code:literal,)+) => {
        /// Why a node was not enrolled.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $($(#[$doc])* $name,)+
        }

        impl Reason {
            /// All reasons, in order.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The code, for metrics, records and machines.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $code,)+
                }
            }
        }
    };
}

reasons! {
    /// None of the configured secrets is the node's.
    WrongSecret => "wrong_secret",
    /// The node answered without a provisioning token.
    TokenMissing => "token_missing",
    /// Its provisioning token cannot be read.
    TokenMalformed => "token_malformed",
    /// Its provisioning token is not signed by a trusted issuer, or of no known organisation.
    TokenUntrusted => "token_untrusted",
    /// Its provisioning token has expired, or is not valid yet.
    TokenExpired => "token_expired",
    /// Its token is not for provisioning.
    TokenPurpose => "token_purpose",
    /// Its provisioning token is on the deny list.
    TokenDenied => "token_denied",
    /// Its provisioning token has extensions of ours that are not understood.
    TokenExtension => "token_extension",
    /// Its provisioning token is good for another name only.
    TokenOtherName => "token_other_name",
    /// Its provisioning token was good once, and was used.
    TokenUsed => "token_used",
    /// A node of its name is connected to the fleet.
    NameLive => "name_live",
    /// A node of its name was enrolled and its token is still good.
    NameHeld => "name_held",
    /// Whether the name is in use could not be found out.
    NameUnknown => "name_unknown",
    /// Two nodes answer by its name.
    TwoAnswers => "two_answers",
    /// More than one connection listens under its name.
    SharedName => "shared_name",
    /// It did not prove to hold the key that it showed.
    KeyUnproven => "key_unproven",
    /// Its key, signature or exchange key is none.
    KeyMalformed => "key_malformed",
    /// Its signing request cannot be read, or does not prove its key.
    CsrInvalid => "csr_invalid",
    /// Its signing request is for another name.
    CsrName => "csr_name",
    /// Its signing request has a name that is denied.
    CsrDenied => "csr_denied",
    /// It fails or loops too often.
    Quarantined => "quarantined",
    /// It failed or was put off, and its next attempt is not due.
    NotDue => "not_due",
    /// Too many nodes at once with its token or at its site.
    RateLimited => "rate_limited",
    /// The helper asked to wait.
    Deferred => "deferred",
    /// Nobody of its name is connected any more.
    Gone => "gone",
    /// It did not answer in time.
    NoAnswer => "no_answer",
    /// Its answer could not be read, or was of another form than it must be.
    BadAnswer => "bad_answer",
    /// It answered that it would or could not.
    Aborted => "aborted",
    /// Another provisioner is at work on it.
    Busy => "busy",
    /// The helper could not be run, failed or was too slow.
    HelperFailed => "helper_failed",
    /// The helper's output cannot be used.
    HelperOutput => "helper_output",
    /// The helper's private key could not be protected on its way.
    KeyTransport => "key_transport",
    /// The software could not be upgraded.
    UpgradeFailed => "upgrade_failed",
    /// The node's token could not be issued.
    IssueFailed => "issue_failed",
    /// It was restarted and not seen as a member.
    NotSeen => "not_seen",
    /// The whole took too long.
    TooSlow => "too_slow",
    /// The registry of used tokens or of limits could not be asked.
    StoreFailed => "store_failed",
    /// Provisioning is paused.
    Paused => "paused",
    /// Another instance took over.
    FenceLost => "fence_lost",
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
