//! What the judgement depends on beside the request.

use std::time::Duration;

use overlay_tokens::Issuers;

use crate::config::{Authorizer, Config, Denied, Signer, Tenants};

/// What the judgement depends on beside the request.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Whose tokens are good.
    pub issuers: Issuers,
    /// How long a token may still be good.
    pub max_validity: Duration,
    /// How long a request may be good.
    pub max_ttl: Duration,
    /// How much a client's clock may be ahead.
    pub clock_skew: Duration,
    /// Whether a token alone makes a caller.
    pub allow_bearer_tokens: bool,
    /// The longest request, in bytes.
    pub max_request_bytes: usize,
    /// Whose requests are served, and where they may go.
    pub tenants: Tenants,
    /// Whose requests are signed no more.
    pub denied: Denied,
    /// Which claim decides.
    pub authorizer: Authorizer,
    /// Where this service works.
    pub site: String,
}

impl Rules {
    pub fn new(config: &Config, signer: &Signer) -> Self {
        Self {
            issuers: config.issuers.clone(),
            max_validity: signer.max_validity,
            max_ttl: signer.max_ttl,
            clock_skew: signer.clock_skew,
            allow_bearer_tokens: signer.allow_bearer_tokens,
            max_request_bytes: signer.max_request_bytes,
            tenants: config.tenants.clone(),
            denied: config.denied.clone(),
            authorizer: config.policy.authorizer,
            site: config.site.clone(),
        }
    }
}
