//! `bench verify`: signed requests verified a second on one core, and how much of that is the signature.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use overlay_protocol::envelope::v2::{Request, SecureRequest, Transport};
use overlay_protocol::json::Limits;
use overlay_tokens::request::{RequestPolicy, sign_request, verify_request};
use overlay_tokens::{Issuers, Key, UnixTime, issue};

use super::report::{Report, at};

/// Flags of `bench verify`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Requests to verify
    #[arg(short = 'n', long, default_value_t = 50_000)]
    requests: usize,
}
