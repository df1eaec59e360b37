//! `[signer]`: who signs, and what.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use overlay_protocol::id::Collective;
use overlay_runtime::{Fault, Period};
use serde::Deserialize;

use super::TokenFiles;
use super::check::period;
use super::raw::token_files;

const SECOND: Duration = Duration::from_secs(1);
/// How long a user's token may still be good.
const MAX_VALIDITY: Duration = Duration::from_secs(24 * 3600);
/// How long a signed request may be good.
const MAX_TTL: Duration = Duration::from_secs(10 * 60);
/// How much a client's clock may be ahead.
const CLOCK_SKEW: Duration = Duration::from_secs(5);
/// Requests that are worked on at a time.
const IN_FLIGHT: usize = 2048;
/// The longest request that is signed, in bytes: its record must fit into a line.
pub const MAX_REQUEST_BYTES: usize = 384 * 1024;
/// Verified tokens that are remembered.
const TOKENS: usize = 10_000;

/// Requests a second from one source whose token is not good that are recorded, and how many at once.
const UNPROVED_PER_SECOND: u32 = 30;
const UNPROVED_BURST: u32 = 100;
/// The highest of both.
const MAX_UNPROVED: u32 = 100_000;

pub(super) const REFERENCE: &str = r#"# What is signed, and by whom. Without this table nothing is.
[signer]
# The delegator: a client token with the permission `authentication_delegator` and nothing else.
token_file = "/etc/overlay/aaa-signer/delegator.jwt"
# The seed of its key, mode 0600.
seed_file = "/etc/overlay/aaa-signer/delegator.seed"
# How long a user's token may still be good: one that is good for longer is refused, unless it has the permission `service`.
# max_validity = "24h"
# How long a request may be good. A request that asks for more is refused.
# max_ttl = "10m"
# How much the clocks of clients may be ahead of this one's.
# clock_skew = "5s"
# Whether the RPC agent `aaa_signer` is served. Needs [broker].
# service = true
# Collectives in which it is served.
# collectives = ["choria"]
# Whether a request without its caller's signature is signed: then whoever has a token needs no key. Leave it off.
# allow_bearer_tokens = false
# Requests that are worked on at a time; further ones are answered at once that they are denied.
# in_flight = 2048
# The longest request, in bytes.
# max_request_bytes = 393216
# Verified tokens that are remembered.
# tokens = 10000
# Requests a second from one address (over the broker: from all together) whose token is not good, and how many at once; further
# ones are denied and counted without a record of their own. 0: no limit.
# unproved_per_second = 30
# unproved_burst = 100
"#;

/// The table as files hold it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawSigner {
    token_file: Option<PathBuf>,
    seed_file: Option<PathBuf>,
    max_validity: Option<Period>,
    max_ttl: Option<Period>,
    clock_skew: Option<Period>,
    service: Option<bool>,
    collectives: Option<Vec<String>>,
    allow_bearer_tokens: bool,
    in_flight: Option<usize>,
    max_request_bytes: Option<usize>,
    tokens: Option<usize>,
    unproved_per_second: Option<u32>,
    unproved_burst: Option<u32>,
}

/// Who signs, and what.
#[derive(Debug, Clone)]
pub struct Signer {
    /// The delegator.
    pub delegator: TokenFiles,
    /// How long a user's token may still be good.
    pub max_validity: Duration,
    /// How long a signed request may be good.
    pub max_ttl: Duration,
    /// How much a client's clock may be ahead.
    pub clock_skew: Duration,
    /// Whether the RPC agent is served.
    pub service: bool,
    /// Where it is served.
    pub collectives: Vec<Collective>,
    /// Whether a token alone makes a caller.
    pub allow_bearer_tokens: bool,
    /// Requests that are worked on at a time.
    pub in_flight: NonZeroUsize,
    /// The longest request, in bytes.
    pub max_request_bytes: usize,
    /// Verified tokens that are remembered.
    pub tokens: usize,
    /// Requests a second from one source whose token is not good that are recorded; 0: all.
    pub unproved_per_second: u32,
    /// So many of them at once.
    pub unproved_burst: u32,
}

impl RawSigner {
    pub(super) fn check(self, at: &str, faults: &mut Vec<Fault>) -> Option<Signer> {
        let files = token_files(at, "the delegator", self.token_file, self.seed_file, faults);
        let key = |member: &str| format!("{at}.{member}");
        let max_validity = period(
            &key("max_validity"),
            self.max_validity,
            MAX_VALIDITY,
            Duration::ZERO,
            faults,
        );
        let max_ttl = period(&key("max_ttl"), self.max_ttl, MAX_TTL, SECOND, faults);
        let clock_skew = period(
            &key("clock_skew"),
            self.clock_skew,
            CLOCK_SKEW,
            Duration::ZERO,
            faults,
        );
        let collectives = collectives(&key("collectives"), self.collectives, faults);
        let in_flight = NonZeroUsize::new(self.in_flight.unwrap_or(IN_FLIGHT));
        if in_flight.is_none() {
            faults.push(Fault::new(key("in_flight"), "would let nothing through"));
        }
        let max_request_bytes = self.max_request_bytes.unwrap_or(MAX_REQUEST_BYTES);
        if max_request_bytes > MAX_REQUEST_BYTES {
            let fault = Fault::new(key("max_request_bytes"), "is more than a record holds");
            faults.push(fault.remedy(format!("write {MAX_REQUEST_BYTES} or less")));
        }
        let unproved_per_second = self.unproved_per_second.unwrap_or(UNPROVED_PER_SECOND);
        let unproved_burst = self.unproved_burst.unwrap_or(UNPROVED_BURST);
        for (member, value) in [
            ("unproved_per_second", unproved_per_second),
            ("unproved_burst", unproved_burst),
        ] {
            if value > MAX_UNPROVED {
                faults.push(Fault::new(
                    key(member),
                    format!("is more than {MAX_UNPROVED}"),
                ));
            }
        }
        Some(Signer {
            delegator: files?,
            max_validity,
            max_ttl,
            clock_skew,
            service: self.service.unwrap_or(true),
            collectives,
            allow_bearer_tokens: self.allow_bearer_tokens,
            in_flight: in_flight?,
            max_request_bytes,
            tokens: self.tokens.unwrap_or(TOKENS),
            unproved_per_second,
            unproved_burst,
        })
    }
}

pub(super) fn collectives(
    key: &str,
    raw: Option<Vec<String>>,
    faults: &mut Vec<Fault>,
) -> Vec<Collective> {
    let names = raw.unwrap_or_else(|| vec!["choria".to_owned()]);
    if names.is_empty() {
        faults.push(Fault::new(key, "names no collective").remedy("write [\"choria\"]"));
    }
    names
        .into_iter()
        .filter_map(|name| match Collective::new(name.as_str()) {
            Ok(collective) => Some(collective),
            Err(error) => {
                faults.push(Fault::new(key, error.to_string()).value(name));
                None
            }
        })
        .collect()
}
