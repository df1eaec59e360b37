//! `[deny]`: whose requests are signed no more.

use std::collections::BTreeSet;
use std::time::Duration;

use overlay_runtime::{Fault, Period};
use overlay_tokens::UnixTime;
use overlay_tokens::claims::ClientClaims;
use serde::Deserialize;

const DAY: Duration = Duration::from_secs(24 * 3600);

pub(super) const REFERENCE: &str = r#"# Whose requests are signed no more, whoever sends them. The broker's login service has a table like it, which keeps them from the
# broker: write into both.
[deny]
# Ids (jti) of tokens. The id of a chain issuer's token shuts out all tokens that it issued.
# tokens = []
# Caller ids.
# callers = []
# Chain issuers whose tokens were made longer ago, with all that they issued. Default: none for their age.
# issuers_older_than = "400d"
"#;

/// The table as files hold it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawDeny {
    tokens: BTreeSet<String>,
    callers: BTreeSet<String>,
    issuers_older_than: Option<Period>,
}

/// Whose requests are signed no more.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Denied {
    /// Ids of tokens, and of chain issuers' tokens with all that they issued.
    pub tokens: BTreeSet<String>,
    /// Caller ids.
    pub callers: BTreeSet<String>,
    /// Chain issuers whose tokens were made longer ago than this, in seconds, with all that they issued.
    pub issuers_older_than: Option<i64>,
}

impl RawDeny {
    pub(super) fn check(self, at: &str, faults: &mut Vec<Fault>) -> Denied {
        let oldest = self.issuers_older_than.map(|Period(age)| age);
        if oldest.is_some_and(|age| age < DAY) {
            let fault = Fault::new(format!("{at}.issuers_older_than"), "is below a day");
            faults.push(fault.remedy("leave it out, or write how old an issuer's token may be"));
        }
        Denied {
            tokens: self.tokens,
            callers: self.callers,
            issuers_older_than: oldest.map(|age| i64::try_from(age.as_secs()).unwrap_or(i64::MAX)),
        }
    }
}

impl Denied {
    /// Whether the holder of a token is denied at `now`.
    pub fn has(&self, claims: &ClientClaims, now: UnixTime) -> bool {
        let issuer = claims.standard.chain_issuer_id();
        self.tokens.contains(&claims.standard.jti)
            || issuer.is_some_and(|id| self.tokens.contains(id))
            || self.callers.contains(&claims.callerid)
            || self
                .issuers_older_than
                .is_some_and(|most| claims.standard.is_of_issuer_older_than(most, now))
    }
}
